//! The functions of CEL, of its extensions, and of Kubernetes' libraries (`k8s.io/apiserver/pkg/cel/library`).

use std::rc::Rc;

use jiff::Timestamp;
use skiff_apimachinery::quantity::Quantity;

use super::eval::{Evaluation, Outcome, no_overload};
use super::value::{SECOND, Val, duration};
use super::{network, text};
use crate::apiextensions::pattern;

/// Names that functions are grouped under.
const NAMESPACES: [&str; 6] = ["cidr", "ip", "math", "optional", "sets", "strings"];

/// All functions by name, for those who check expressions before there are values.
const NAMES: &[&str] = &[
    "add",
    "all",
    "asApproximateFloat",
    "asInteger",
    "bool",
    "bytes",
    "charAt",
    "cidr",
    "compareTo",
    "contains",
    "containsCIDR",
    "containsIP",
    "double",
    "duration",
    "dyn",
    "endsWith",
    "family",
    "find",
    "findAll",
    "format",
    "getDate",
    "getDayOfMonth",
    "getDayOfWeek",
    "getDayOfYear",
    "getEscapedPath",
    "getFullYear",
    "getHost",
    "getHostname",
    "getHours",
    "getMilliseconds",
    "getMinutes",
    "getMonth",
    "getPort",
    "getQuery",
    "getScheme",
    "getSeconds",
    "hasValue",
    "indexOf",
    "int",
    "ip",
    "isCIDR",
    "isGlobalUnicast",
    "isGreaterThan",
    "isIP",
    "isInteger",
    "isLessThan",
    "isLinkLocalMulticast",
    "isLinkLocalUnicast",
    "isLoopback",
    "isQuantity",
    "isSorted",
    "isURL",
    "isUnspecified",
    "join",
    "lastIndexOf",
    "lowerAscii",
    "masked",
    "matches",
    "max",
    "min",
    "or",
    "orValue",
    "prefixLength",
    "quantity",
    "replace",
    "reverse",
    "sign",
    "size",
    "split",
    "startsWith",
    "string",
    "sub",
    "substring",
    "sum",
    "timestamp",
    "trim",
    "type",
    "uint",
    "upperAscii",
    "url",
    "value",
    "cidr.isCanonical",
    "ip.isCanonical",
    "math.greatest",
    "math.least",
    "optional.none",
    "optional.of",
    "optional.ofNonZeroValue",
    "sets.contains",
    "sets.equivalent",
    "sets.intersects",
];

/// Whether functions are grouped under this name.
pub fn is_namespace(name: &str) -> bool {
    NAMESPACES.contains(&name)
}

/// Whether there is a function of this name.
pub fn is_known(name: &str) -> bool {
    NAMES.contains(&name)
}

/// Calls a function; the value it is called on comes first.
pub fn call<'a>(name: &str, _is_member: bool, arguments: &[Val<'a>], run: &mut Evaluation<'a>) -> Outcome<'a> {
    if let Some(done) = general(name, arguments) {
        return done;
    }
    if let Some(done) = lists(name, arguments) {
        return done;
    }
    let matched = match (name, arguments) {
        ("matches" | "find" | "findAll", [Val::Str(text), Val::Str(expression), ..]) => {
            // The cost of a match grows with both.
            run.charge((text.len() as u64 / 10 + 1) * (expression.len() as u64 / 4 + 1))?;
            Some(expressions(name, text, expression, arguments.get(2)))
        }
        _ => None,
    };
    matched
        .or_else(|| text::call(name, arguments))
        .or_else(|| conversions(name, arguments))
        .or_else(|| times(name, arguments))
        .or_else(|| quantities(name, arguments))
        .or_else(|| network::call(name, arguments))
        .unwrap_or_else(|| Err(no_overload()))
}

fn general<'a>(name: &str, arguments: &[Val<'a>]) -> Option<Outcome<'a>> {
    Some(match (name, arguments) {
        ("size", [value]) => match value.size() {
            Some(size) => Ok(Val::Int(size as i64)),
            None => Err(no_overload()),
        },
        ("dyn", [value]) => Ok(value.clone()),
        ("type", [value]) => Ok(Val::Type(value.type_name())),
        ("optional.none", []) => Ok(Val::Optional(None)),
        ("optional.of", [value]) => Ok(Val::Optional(Some(Rc::new(value.clone())))),
        ("optional.ofNonZeroValue", [value]) => {
            let zero = matches!(value, Val::Null | Val::Bool(false) | Val::Int(0) | Val::UInt(0))
                || value.size() == Some(0)
                || value.number() == Some(0.0);
            Ok(Val::Optional((!zero).then(|| Rc::new(value.clone()))))
        }
        ("hasValue", [Val::Optional(value)]) => Ok(Val::Bool(value.is_some())),
        ("value", [Val::Optional(value)]) => match value {
            Some(value) => Ok((**value).clone()),
            None => Err("optional.none() dereference".to_owned()),
        },
        ("orValue", [Val::Optional(value), other]) => {
            Ok(value.as_ref().map_or_else(|| other.clone(), |v| (**v).clone()))
        }
        ("or", [Val::Optional(value), other]) => {
            Ok(if value.is_some() { Val::Optional(value.clone()) } else { other.clone() })
        }
        ("math.greatest" | "math.least", arguments) => {
            let all = match arguments {
                [list] if list.items().is_some() => list.items().unwrap_or_default(),
                values => values.to_vec(),
            };
            return Some(extreme(&all, name == "math.greatest"));
        }
        _ => return None,
    })
}

fn extreme<'a>(values: &[Val<'a>], greatest: bool) -> Outcome<'a> {
    let mut values = values.iter();
    let mut best = values.next().ok_or_else(|| "min or max called on an empty list".to_owned())?;
    for value in values {
        let order = value.compare(best).ok_or_else(no_overload)?;
        if (greatest && order.is_gt()) || (!greatest && order.is_lt()) {
            best = value;
        }
    }
    Ok(best.clone())
}

fn lists<'a>(name: &str, arguments: &[Val<'a>]) -> Option<Outcome<'a>> {
    let first = arguments.first()?.items()?;
    let position = |found: Option<usize>| Ok(Val::Int(found.map_or(-1, |at| at as i64)));
    let other = arguments.get(1);
    Some(match (name, other) {
        ("isSorted", None) => {
            let sorted = first.windows(2).map(|pair| pair[0].compare(&pair[1]).map(|order| order.is_le()));
            sorted
                .collect::<Option<Vec<_>>>()
                .map(|all| Val::Bool(all.into_iter().all(|ok| ok)))
                .ok_or_else(no_overload)
        }
        ("sum", None) => sum(&first),
        ("min", None) => extreme(&first, false),
        ("max", None) => extreme(&first, true),
        ("indexOf", Some(value)) => position(first.iter().position(|item| item.equals(value))),
        ("lastIndexOf", Some(value)) => position(first.iter().rposition(|item| item.equals(value))),
        ("reverse", None) => Ok(Val::list(first.into_iter().rev().collect())),
        ("join", separator) => {
            let separator = separator.and_then(Val::as_str).unwrap_or("");
            let texts = first.iter().map(Val::as_str).collect::<Option<Vec<_>>>();
            texts.map(|texts| Val::text(texts.join(separator))).ok_or_else(no_overload)
        }
        ("sets.contains", Some(other)) => match other.items() {
            Some(other) => Ok(Val::Bool(includes(&first, &other))),
            None => Err(no_overload()),
        },
        ("sets.equivalent", Some(other)) => match other.items() {
            Some(other) => Ok(Val::Bool(includes(&first, &other) && includes(&other, &first))),
            None => Err(no_overload()),
        },
        ("sets.intersects", Some(other)) => match other.items() {
            Some(other) => Ok(Val::Bool(first.iter().any(|a| other.iter().any(|b| a.equals(b))))),
            None => Err(no_overload()),
        },
        _ => return None,
    })
}

fn includes<'a>(all: &[Val<'a>], wanted: &[Val<'a>]) -> bool {
    wanted.iter().all(|wanted| all.iter().any(|known| known.equals(wanted)))
}

fn sum<'a>(items: &[Val<'a>]) -> Outcome<'a> {
    let overflow = || "integer overflow".to_owned();
    match items.first() {
        None => Ok(Val::Int(0)),
        Some(Val::Double(_)) => {
            items.iter().map(Val::number).sum::<Option<f64>>().map(Val::Double).ok_or_else(no_overload)
        }
        Some(Val::Duration(_)) => {
            let all = items.iter().map(|item| if let Val::Duration(n) = item { Some(*n) } else { None });
            all.sum::<Option<i128>>().map(Val::Duration).ok_or_else(no_overload)
        }
        Some(_) => {
            let mut total = 0_i64;
            for item in items {
                let Val::Int(n) = item else { return Err(no_overload()) };
                total = total.checked_add(*n).ok_or_else(overflow)?;
            }
            Ok(Val::Int(total))
        }
    }
}

fn expressions<'a>(name: &str, text: &str, expression: &str, limit: Option<&Val<'a>>) -> Outcome<'a> {
    let regex = pattern::compile(expression)?;
    Ok(match name {
        "matches" => Val::Bool(regex.is_match(text)),
        "find" => Val::text(regex.find(text).map_or(String::new(), |found| found.as_str().to_owned())),
        _ => {
            let limit = match limit {
                Some(Val::Int(n)) if *n >= 0 => usize::try_from(*n).unwrap_or(usize::MAX),
                _ => usize::MAX,
            };
            let found = regex.find_iter(text).take(limit).map(|found| Val::text(found.as_str().to_owned()));
            Val::list(found.collect())
        }
    })
}

fn conversions<'a>(name: &str, arguments: &[Val<'a>]) -> Option<Outcome<'a>> {
    let [value] = arguments else { return None };
    Some(match (name, value) {
        ("string", value) => value.to_text().map(Val::text).ok_or_else(no_overload),
        ("int", Val::Int(n)) => Ok(Val::Int(*n)),
        ("int", Val::UInt(n)) => i64::try_from(*n).map(Val::Int).map_err(|_| "integer overflow".to_owned()),
        ("int", Val::Double(n)) if n.abs() < 9.2e18 => Ok(Val::Int(n.trunc() as i64)),
        ("int", Val::Str(text)) => text.parse().map(Val::Int).map_err(|_| conversion(text, "int")),
        ("int", Val::Timestamp(at)) => Ok(Val::Int(at.as_second())),
        ("uint", Val::UInt(n)) => Ok(Val::UInt(*n)),
        ("uint", Val::Int(n)) => u64::try_from(*n).map(Val::UInt).map_err(|_| "unsigned integer overflow".to_owned()),
        ("uint", Val::Str(text)) => text.parse().map(Val::UInt).map_err(|_| conversion(text, "uint")),
        ("double", Val::Str(text)) => text.parse().map(Val::Double).map_err(|_| conversion(text, "double")),
        ("double", value) => value.number().map(Val::Double).ok_or_else(no_overload),
        ("bool", Val::Bool(on)) => Ok(Val::Bool(*on)),
        ("bool", Val::Str(text)) => match text.as_ref() {
            "true" | "True" | "TRUE" | "t" | "1" => Ok(Val::Bool(true)),
            "false" | "False" | "FALSE" | "f" | "0" => Ok(Val::Bool(false)),
            other => Err(conversion(other, "bool")),
        },
        ("bytes", Val::Str(text)) => Ok(Val::Bytes(text.as_bytes().into())),
        ("bytes", Val::Bytes(bytes)) => Ok(Val::Bytes(bytes.clone())),
        ("duration", Val::Duration(n)) => Ok(Val::Duration(*n)),
        ("duration", Val::Str(text)) => duration(text).map(Val::Duration).ok_or_else(|| conversion(text, "duration")),
        ("timestamp", Val::Timestamp(at)) => Ok(Val::Timestamp(*at)),
        ("timestamp", Val::Str(text)) => {
            text.parse::<Timestamp>().map(Val::Timestamp).map_err(|_| conversion(text, "timestamp"))
        }
        _ => return None,
    })
}

fn conversion(text: &str, to: &str) -> String {
    format!("type conversion error from 'string' to '{to}': {text:?}")
}

fn times<'a>(name: &str, arguments: &[Val<'a>]) -> Option<Outcome<'a>> {
    let field = name.strip_prefix("get")?;
    let number = match arguments {
        [Val::Duration(n)] => match field {
            "Hours" => n / (3600 * SECOND),
            "Minutes" => n / (60 * SECOND),
            "Seconds" => n / SECOND,
            "Milliseconds" => (n / (SECOND / 1000)) % 1000,
            _ => return None,
        },
        [Val::Timestamp(at), ..] => {
            let zone = match arguments.get(1).and_then(Val::as_str) {
                None => jiff::tz::TimeZone::UTC,
                Some(name) => match jiff::tz::TimeZone::get(name) {
                    Ok(zone) => zone,
                    Err(_) => return Some(Err(format!("unknown time zone {name}"))),
                },
            };
            let at = at.to_zoned(zone);
            i128::from(match field {
                "FullYear" => i64::from(at.year()),
                "Month" => i64::from(at.month()) - 1,
                "Date" => i64::from(at.day()),
                "DayOfMonth" => i64::from(at.day()) - 1,
                "DayOfWeek" => i64::from(at.weekday().to_sunday_zero_offset()),
                "DayOfYear" => i64::from(at.day_of_year()) - 1,
                "Hours" => i64::from(at.hour()),
                "Minutes" => i64::from(at.minute()),
                "Seconds" => i64::from(at.second()),
                "Milliseconds" => i64::from(at.millisecond()),
                _ => return None,
            })
        }
        _ => return None,
    };
    Some(i64::try_from(number).map(Val::Int).map_err(|_| "integer overflow".to_owned()))
}

fn quantities<'a>(name: &str, arguments: &[Val<'a>]) -> Option<Outcome<'a>> {
    const NANO: i64 = 1_000_000_000;
    let of = |quantity: Quantity| Ok(Val::Quantity(Rc::new(quantity)));
    Some(match (name, arguments) {
        ("quantity", [Val::Str(text)]) => match Quantity::parse(text) {
            Ok(quantity) => of(quantity),
            Err(error) => Err(error.to_string()),
        },
        ("isQuantity", [Val::Str(text)]) => Ok(Val::Bool(Quantity::parse(text).is_ok())),
        ("isInteger", [Val::Quantity(quantity)]) => Ok(Val::Bool(Quantity::from_value(quantity.value()) == **quantity)),
        ("asInteger", [Val::Quantity(quantity)]) => {
            let value = quantity.value();
            let exact = Quantity::from_value(value) == **quantity;
            if exact { Ok(Val::Int(value)) } else { Err("cannot convert value to integer".to_owned()) }
        }
        ("asApproximateFloat", [Val::Quantity(quantity)]) => {
            let value = quantity.value();
            let small = value.unsigned_abs() < NANO.unsigned_abs();
            Ok(Val::Double(if small { quantity.milli_value() as f64 / 1000.0 } else { value as f64 }))
        }
        ("sign", [Val::Quantity(quantity)]) => {
            Ok(Val::Int(if quantity.is_zero() { 0 } else { if quantity.is_negative() { -1 } else { 1 } }))
        }
        ("add", [Val::Quantity(a), Val::Quantity(b)]) => of((**a).clone().plus((**b).clone())),
        ("add", [Val::Quantity(a), Val::Int(b)]) => of((**a).clone().plus(Quantity::from_value(*b))),
        ("sub", [Val::Quantity(a), Val::Quantity(b)]) => of((**a).clone().minus((**b).clone())),
        ("sub", [Val::Quantity(a), Val::Int(b)]) => of((**a).clone().minus(Quantity::from_value(*b))),
        ("isLessThan", [Val::Quantity(a), Val::Quantity(b)]) => Ok(Val::Bool(a < b)),
        ("isGreaterThan", [Val::Quantity(a), Val::Quantity(b)]) => Ok(Val::Bool(a > b)),
        ("compareTo", [Val::Quantity(a), Val::Quantity(b)]) => Ok(Val::Int(a.cmp(b) as i64)),
        _ => return None,
    })
}
