//! The functions that expressions may call, and their types: CEL's own, its extensions for strings, lists, sets and
//! comprehensions of two variables, and Kubernetes' libraries (`apiserver/pkg/cel/environment/base.go`).

use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

use crate::declared::Object;
use crate::types::Type;

/// One way to call a function.
#[derive(Clone, Debug)]
pub struct Overload {
    /// Whether it is called on a value, which comes first.
    pub member: bool,
    /// Types of the arguments.
    pub arguments: Vec<Type>,
    /// Type of the result.
    pub result: Type,
}

/// Functions by name.
pub type Functions = HashMap<&'static str, Vec<Overload>>;

/// Functions of every environment.
pub fn base() -> &'static Functions {
    static BASE: LazyLock<Functions> = LazyLock::new(|| read(&[STANDARD, EXTENSIONS, KUBERNETES]));
    &BASE
}

/// Functions that expressions have that patch objects.
pub fn patches() -> &'static Functions {
    static PATCHES: LazyLock<Functions> = LazyLock::new(|| read(&["jsonpatch.escapeKey | (string) -> string"]));
    &PATCHES
}

/// A type by its name, as in signatures; capital letters are parameters.
fn named(name: &str) -> Type {
    match name {
        "dyn" => Type::Dyn,
        "null" => Type::Null,
        "bool" => Type::Bool,
        "int" => Type::Int,
        "uint" => Type::UInt,
        "double" => Type::Double,
        "string" => Type::String,
        "bytes" => Type::Bytes,
        "duration" => Type::Duration,
        "timestamp" => Type::Timestamp,
        "type" => Type::Type(None),
        parameter if parameter.len() == 1 => Type::Param(parameter.into()),
        object => opaque(object),
    }
}

/// A type of Kubernetes that has no fields.
pub fn opaque(name: &str) -> Type {
    Type::Object(Arc::new(Object { name: name.to_owned(), fields: Default::default() }))
}

/// Reads one type and returns the rest of the text.
fn read_type(text: &str) -> (Type, &str) {
    let end = text.find(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '_' | '.'))).unwrap_or(text.len());
    let (name, rest) = text.split_at(end);
    let Some(inner) = rest.strip_prefix('(').filter(|_| matches!(name, "list" | "map" | "optional" | "type")) else {
        return (named(name), rest);
    };
    let (first, rest) = read_type(inner);
    if let Some(second) = rest.strip_prefix(", ") {
        let (second, rest) = read_type(second);
        return (Type::map(first, second), rest.strip_prefix(')').unwrap_or(rest));
    }
    let rest = rest.strip_prefix(')').unwrap_or(rest);
    let ty = match name {
        "list" => Type::list(first),
        "optional" => Type::optional(first),
        _ => Type::Type(Some(Arc::new(first))),
    };
    (ty, rest)
}

/// Reads `target.(argument, …) -> result`.
fn read_overload(text: &str) -> Overload {
    let (mut arguments, mut rest) = (Vec::new(), text.trim());
    let member = !rest.starts_with('(');
    if member {
        let (target, after) = read_type_before_dot(rest);
        arguments.push(target);
        rest = after;
    }
    rest = rest.strip_prefix('(').unwrap_or(rest);
    while !rest.starts_with(')') && !rest.is_empty() {
        let (argument, after) = read_type(rest);
        arguments.push(argument);
        rest = after.strip_prefix(", ").unwrap_or(after);
    }
    let result = rest.strip_prefix(") -> ").unwrap_or("dyn");
    Overload { member, arguments, result: read_type(result).0 }
}

/// The type of what a function is called on, which ends where `.(` begins.
fn read_type_before_dot(text: &str) -> (Type, &str) {
    let at = text.find(".(").unwrap_or(text.len());
    (read_type(&text[..at]).0, text.get(at + 1..).unwrap_or(""))
}

fn read(tables: &[&'static str]) -> Functions {
    let mut functions = Functions::new();
    for line in tables.iter().flat_map(|table| table.lines()) {
        let Some((names, overloads)) = line.split_once(" | ") else { continue };
        for name in names.split(' ') {
            functions.entry(name).or_default().extend(overloads.split(" | ").map(read_overload));
        }
    }
    functions
}

/// `name … | overload | overload`; order matters where several fit.
const STANDARD: &str = "
_?_:_ | (bool, A, A) -> A
_&&_ _||_ | (bool, bool) -> bool
!_ @not_strictly_false | (bool) -> bool
_==_ _!=_ | (A, A) -> bool
_<_ _<=_ _>_ _>=_ | (bool, bool) -> bool | (int, int) -> bool | (int, double) -> bool | (int, uint) -> bool | (uint, uint) -> bool | (uint, double) -> bool | (uint, int) -> bool | (double, double) -> bool | (double, int) -> bool | (double, uint) -> bool | (string, string) -> bool | (bytes, bytes) -> bool | (timestamp, timestamp) -> bool | (duration, duration) -> bool
_+_ | (bytes, bytes) -> bytes | (double, double) -> double | (duration, duration) -> duration | (duration, timestamp) -> timestamp | (timestamp, duration) -> timestamp | (int, int) -> int | (list(A), list(A)) -> list(A) | (string, string) -> string | (uint, uint) -> uint
_-_ | (double, double) -> double | (duration, duration) -> duration | (int, int) -> int | (timestamp, duration) -> timestamp | (timestamp, timestamp) -> duration | (uint, uint) -> uint
_*_ _/_ | (double, double) -> double | (int, int) -> int | (uint, uint) -> uint
_%_ | (int, int) -> int | (uint, uint) -> uint
-_ | (double) -> double | (int) -> int
_[_] | (list(A), int) -> A | (map(A, B), A) -> B | (optional(list(A)), int) -> optional(A) | (optional(map(A, B)), A) -> optional(B)
_[?_] | (list(A), int) -> optional(A) | (optional(list(A)), int) -> optional(A) | (map(A, B), A) -> optional(B) | (optional(map(A, B)), A) -> optional(B)
@in | (A, list(A)) -> bool | (A, map(A, B)) -> bool
size | (bytes) -> int | bytes.() -> int | (list(A)) -> int | list(A).() -> int | (map(A, B)) -> int | map(A, B).() -> int | (string) -> int | string.() -> int
type | (A) -> type(A)
bool | (bool) -> bool | (string) -> bool
bytes | (bytes) -> bytes | (string) -> bytes
double | (double) -> double | (int) -> double | (string) -> double | (uint) -> double
duration | (duration) -> duration | (int) -> duration | (string) -> duration
dyn | (A) -> dyn
int | (int) -> int | (double) -> int | (duration) -> int | (string) -> int | (timestamp) -> int | (uint) -> int
string | (string) -> string | (bool) -> string | (bytes) -> string | (double) -> string | (duration) -> string | (int) -> string | (timestamp) -> string | (uint) -> string
timestamp | (timestamp) -> timestamp | (int) -> timestamp | (string) -> timestamp
uint | (uint) -> uint | (double) -> uint | (int) -> uint | (string) -> uint
contains endsWith startsWith | string.(string) -> bool
matches | (string, string) -> bool | string.(string) -> bool
getFullYear getMonth getDayOfYear getDayOfMonth getDate getDayOfWeek | timestamp.() -> int | timestamp.(string) -> int
getHours getMinutes getSeconds getMilliseconds | timestamp.() -> int | timestamp.(string) -> int | duration.() -> int
optional.of optional.ofNonZeroValue | (V) -> optional(V)
optional.none | () -> optional(V)
value | optional(V).() -> V
hasValue | optional(V).() -> bool
or | optional(V).(optional(V)) -> optional(V)
orValue | optional(V).(V) -> V
first last | list(V).() -> optional(V)
optional.unwrap | (list(optional(V))) -> list(V)
unwrapOpt | list(optional(V)).() -> list(V)
";

const EXTENSIONS: &str = "
charAt | string.(int) -> string
indexOf lastIndexOf | string.(string) -> int | string.(string, int) -> int
lowerAscii upperAscii trim | string.() -> string
replace | string.(string, string) -> string | string.(string, string, int) -> string
split | string.(string) -> list(string) | string.(string, int) -> list(string)
substring | string.(int) -> string | string.(int, int) -> string
format | string.(list(dyn)) -> string
strings.quote | (string) -> string
join | list(string).() -> string | list(string).(string) -> string
sets.contains sets.equivalent sets.intersects | (list(T), list(T)) -> bool
slice | list(T).(int, int) -> list(T)
flatten | list(list(T)).() -> list(T) | list(dyn).(int) -> list(dyn)
sort | list(int).() -> list(int) | list(uint).() -> list(uint) | list(double).() -> list(double) | list(bool).() -> list(bool) | list(duration).() -> list(duration) | list(timestamp).() -> list(timestamp) | list(string).() -> list(string) | list(bytes).() -> list(bytes)
@sortByAssociatedKeys | list(T).(list(int)) -> list(T) | list(T).(list(uint)) -> list(T) | list(T).(list(double)) -> list(T) | list(T).(list(bool)) -> list(T) | list(T).(list(duration)) -> list(T) | list(T).(list(timestamp)) -> list(T) | list(T).(list(string)) -> list(T) | list(T).(list(bytes)) -> list(T)
lists.range | (int) -> list(int)
reverse | list(T).() -> list(T)
distinct | list(T).() -> list(T)
cel.@mapInsert | (map(K, V), K, V) -> map(K, V) | (map(K, V), map(K, V)) -> map(K, V)
";

const KUBERNETES: &str = "
url | (string) -> kubernetes.URL
isURL | (string) -> bool
getScheme getHost getHostname getPort getEscapedPath | kubernetes.URL.() -> string
getQuery | kubernetes.URL.() -> map(string, list(string))
find | string.(string) -> string
findAll | string.(string) -> list(string) | string.(string, int) -> list(string)
isSorted | list(int).() -> bool | list(uint).() -> bool | list(double).() -> bool | list(bool).() -> bool | list(duration).() -> bool | list(timestamp).() -> bool | list(string).() -> bool | list(bytes).() -> bool
sum | list(int).() -> int | list(uint).() -> uint | list(double).() -> double | list(duration).() -> duration
min max | list(int).() -> int | list(uint).() -> uint | list(double).() -> double | list(bool).() -> bool | list(duration).() -> duration | list(timestamp).() -> timestamp | list(string).() -> string | list(bytes).() -> bytes
indexOf lastIndexOf | list(A).(A) -> int
quantity | (string) -> kubernetes.Quantity
isQuantity | (string) -> bool
sign | kubernetes.Quantity.() -> int
isGreaterThan isLessThan | kubernetes.Quantity.(kubernetes.Quantity) -> bool | kubernetes.Semver.(kubernetes.Semver) -> bool
compareTo | kubernetes.Quantity.(kubernetes.Quantity) -> int | kubernetes.Semver.(kubernetes.Semver) -> int
asApproximateFloat | kubernetes.Quantity.() -> double
asInteger | kubernetes.Quantity.() -> int
isInteger | kubernetes.Quantity.() -> bool
add sub | kubernetes.Quantity.(kubernetes.Quantity) -> kubernetes.Quantity | kubernetes.Quantity.(int) -> kubernetes.Quantity
ip | (string) -> net.IP | net.CIDR.() -> net.IP
ip.isCanonical isIP isCIDR | (string) -> bool
family | net.IP.() -> int
isUnspecified isLoopback isLinkLocalMulticast isLinkLocalUnicast isGlobalUnicast | net.IP.() -> bool
cidr | (string) -> net.CIDR
containsIP | net.CIDR.(string) -> bool | net.CIDR.(net.IP) -> bool
containsCIDR | net.CIDR.(string) -> bool | net.CIDR.(net.CIDR) -> bool
prefixLength | net.CIDR.() -> int
masked | net.CIDR.() -> net.CIDR
string | (net.IP) -> string | (net.CIDR) -> string
semver | (string) -> kubernetes.Semver | (string, bool) -> kubernetes.Semver
isSemver | (string) -> bool | (string, bool) -> bool
major minor patch | kubernetes.Semver.() -> int
validate | kubernetes.NamedFormat.(string) -> optional(list(string))
format.named | (string) -> optional(kubernetes.NamedFormat)
format.dns1123Label format.dns1123Subdomain format.dns1035Label format.qualifiedName format.dns1123LabelPrefix format.dns1123SubdomainPrefix format.dns1035LabelPrefix format.labelValue format.uri format.uuid format.byte format.date format.datetime | () -> kubernetes.NamedFormat
path | kubernetes.authorization.Authorizer.(string) -> kubernetes.authorization.PathCheck
group | kubernetes.authorization.Authorizer.(string) -> kubernetes.authorization.GroupCheck
serviceAccount | kubernetes.authorization.Authorizer.(string, string) -> kubernetes.authorization.Authorizer
resource | kubernetes.authorization.GroupCheck.(string) -> kubernetes.authorization.ResourceCheck
subresource namespace name fieldSelector labelSelector | kubernetes.authorization.ResourceCheck.(string) -> kubernetes.authorization.ResourceCheck
check | kubernetes.authorization.PathCheck.(string) -> kubernetes.authorization.Decision | kubernetes.authorization.ResourceCheck.(string) -> kubernetes.authorization.Decision
allowed errored | kubernetes.authorization.Decision.() -> bool
reason error | kubernetes.authorization.Decision.() -> string
";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_read() {
        let shown = |name: &str| {
            let overloads = base()[name].iter().map(|overload| {
                let arguments = overload.arguments.iter().map(Type::to_string).collect::<Vec<_>>();
                format!(
                    "{}{} -> {}",
                    if overload.member { "member " } else { "" },
                    arguments.join(", "),
                    overload.result
                )
            });
            overloads.collect::<Vec<_>>()
        };
        assert_eq!(shown("_?_:_"), ["bool, A, A -> A"]);
        assert_eq!(shown("orValue"), ["member optional_type(V), V -> V"]);
        assert_eq!(shown("getQuery"), ["member kubernetes.URL -> map(string, list(string))"]);
        assert_eq!(shown("optional.none"), [" -> optional_type(V)"]);
        assert_eq!(shown("flatten"), ["member list(list(T)) -> list(T)", "member list(dyn), int -> list(dyn)"]);
        assert_eq!(shown("type"), ["A -> type(A)"]);
    }
}
