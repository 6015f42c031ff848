//! Values of CEL: what expressions compute with. Objects and lists of a custom resource are looked at in place.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::net::IpAddr;
use std::rc::Rc;

use jiff::Timestamp;
use skiff_apimachinery::quantity::Quantity;
use skiff_apimachinery::schema::ListKind;
use skiff_apimachinery::value::Value;

use crate::authz::Authz;
use crate::declared::{Declared, Shape};
use crate::semver::Semver;
use crate::types::Type;

/// Parts of two values that are compared with each other.
const MAX_COMPARED: usize = 10_000_000;
/// The beginning of year 1, in seconds from 1970.
pub(crate) const FIRST_SECOND: i64 = -62_135_596_800;
/// Nanoseconds in a second.
pub const SECOND: i128 = 1_000_000_000;

/// A value.
#[derive(Clone, Debug)]
pub enum Val<'a> {
    /// `null`.
    Null,
    /// A boolean.
    Bool(bool),
    /// A signed integer.
    Int(i64),
    /// An unsigned integer.
    UInt(u64),
    /// A float.
    Double(f64),
    /// A string.
    Str(Cow<'a, str>),
    /// Bytes.
    Bytes(Rc<[u8]>),
    /// A list that an expression made.
    List(Rc<Vec<Val<'a>>>),
    /// A list that came of one whose elements have no order.
    Set(Rc<Vec<Val<'a>>>),
    /// A map that an expression made.
    Map(Rc<Vec<(Val<'a>, Val<'a>)>>),
    /// An object or list of the resource, under its type.
    Json(&'a Value, Option<&'a Declared>),
    /// An object that an expression made: its type, and its fields by name.
    Made(Rc<(String, Vec<(String, Val<'a>)>)>),
    /// Fields that are computed when they are looked at.
    Lazy(Rc<dyn Lazy<'a> + 'a>),
    /// What asks whether somebody may do something.
    Authz(Authz<'a>),
    /// A version.
    Semver(Rc<Semver>),
    /// A format by its name.
    Format(&'static str),
    /// Nanoseconds.
    Duration(i128),
    /// A moment.
    Timestamp(Timestamp),
    /// `resource.Quantity`.
    Quantity(Rc<Quantity>),
    /// A URL, as it was written.
    Url(Rc<str>),
    /// An address.
    Ip(IpAddr),
    /// A range of addresses: address and length of the prefix.
    Cidr(IpAddr, u8),
    /// A type.
    Type(Cow<'static, str>),
    /// Something or nothing.
    Optional(Option<Rc<Val<'a>>>),
}

impl<'a> Val<'a> {
    /// A string.
    pub fn text(text: impl Into<Cow<'a, str>>) -> Self {
        Val::Str(text.into())
    }

    /// A list.
    pub fn list(items: Vec<Val<'a>>) -> Self {
        Val::List(Rc::new(items))
    }

    /// A value of a resource.
    pub fn of(value: &'a Value, ty: Option<&'a Declared>) -> Self {
        let plain = match ty.map(|ty| &ty.shape) {
            Some(Shape::Plain(ty)) => Some(ty),
            _ => None,
        };
        match value {
            Value::Null => Val::Null,
            Value::Bool(on) => Val::Bool(*on),
            Value::Int(n) if matches!(plain, Some(Type::Double)) => Val::Double(*n as f64),
            Value::Int(n) => Val::Int(*n),
            Value::Float(n) if matches!(plain, Some(Type::Int)) => Val::Int(*n as i64),
            Value::Float(n) => Val::Double(*n),
            Value::String(text) => of_text(text, plain),
            Value::Raw(text) => Val::Str(Cow::Borrowed(text)),
            Value::Array(_) | Value::Object(_) => Val::Json(value, ty),
        }
    }

    /// The name of its type in errors.
    pub fn type_name(&self) -> Cow<'static, str> {
        Cow::Borrowed(match self {
            Val::Null => "null_type",
            Val::Bool(_) => "bool",
            Val::Int(_) => "int",
            Val::UInt(_) => "uint",
            Val::Double(_) => "double",
            Val::Str(_) => "string",
            Val::Bytes(_) => "bytes",
            Val::List(_) | Val::Set(_) | Val::Json(Value::Array(_), _) => "list",
            Val::Json(_, Some(Declared { shape: Shape::Object(object), .. })) => return object.name.clone().into(),
            Val::Map(_) | Val::Json(..) | Val::Lazy(_) => "map",
            Val::Made(made) => return made.0.clone().into(),
            Val::Duration(_) => "google.protobuf.Duration",
            Val::Timestamp(_) => "google.protobuf.Timestamp",
            Val::Quantity(_) => "kubernetes.Quantity",
            Val::Url(_) => "kubernetes.URL",
            Val::Ip(_) => "net.IP",
            Val::Cidr(..) => "net.CIDR",
            Val::Semver(_) => "kubernetes.Semver",
            Val::Format(_) => "kubernetes.NamedFormat",
            Val::Authz(authz) => authz.type_name(),
            Val::Type(_) => "type",
            Val::Optional(_) => "optional_type",
        })
    }

    /// The string, if it is one.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Val::Str(text) => Some(text),
            _ => None,
        }
    }

    /// The elements of a list; `None` for anything else.
    pub fn items(&self) -> Option<Vec<Val<'a>>> {
        match self {
            Val::List(items) | Val::Set(items) => Some(items.to_vec()),
            Val::Json(Value::Array(items), ty) => {
                let of_items = ty.and_then(Declared::items);
                Some(items.iter().map(|item| Val::of(item, of_items)).collect())
            }
            _ => None,
        }
    }

    /// The entries of a map; `None` for anything else.
    pub fn entries(&self) -> Option<Vec<(Val<'a>, Val<'a>)>> {
        match self {
            Val::Map(entries) => Some(entries.to_vec()),
            Val::Json(Value::Object(members), ty) => {
                let of = |key: &str| ty.and_then(|ty| ty.member(key));
                Some(members.iter().map(|(key, value)| (Val::text(key), Val::of(value, of(key)))).collect())
            }
            _ => None,
        }
    }

    /// Whether it is a list.
    pub(crate) fn is_list(&self) -> bool {
        matches!(self, Val::List(_) | Val::Set(_) | Val::Json(Value::Array(_), _))
    }

    /// Whether it is a map, or an object of a resource.
    pub(crate) fn is_map(&self) -> bool {
        matches!(self, Val::Map(_) | Val::Json(Value::Object(_), _))
    }

    /// An element of a list; what else there is is not looked at.
    pub(crate) fn item(&self, index: usize) -> Option<Val<'a>> {
        match self {
            Val::List(items) | Val::Set(items) => items.get(index).cloned(),
            Val::Json(Value::Array(items), ty) => {
                items.get(index).map(|item| Val::of(item, ty.and_then(Declared::items)))
            }
            _ => None,
        }
    }

    /// What a map has under a key.
    pub(crate) fn at_key(&self, key: &Val<'a>) -> Option<Val<'a>> {
        match self {
            Val::Map(entries) => entries.iter().find(|(known, _)| known.equals(key)).map(|(_, value)| value.clone()),
            _ => self.member(key.as_str()?),
        }
    }

    /// Number of characters, bytes, elements or entries.
    pub fn size(&self) -> Option<usize> {
        match self {
            Val::Str(text) => Some(text.chars().count()),
            Val::Bytes(bytes) => Some(bytes.len()),
            Val::List(items) | Val::Set(items) => Some(items.len()),
            Val::Map(entries) => Some(entries.len()),
            Val::Json(Value::Array(items), _) => Some(items.len()),
            Val::Json(Value::Object(members), _) => Some(members.len()),
            _ => None,
        }
    }

    /// The member of a map or object.
    pub fn member(&self, name: &str) -> Option<Val<'a>> {
        match self {
            Val::Json(value, ty) => {
                let found = value.get(name)?;
                Some(Val::of(found, ty.and_then(|ty| ty.member(name))))
            }
            Val::Made(made) => made.1.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone()),
            Val::Map(entries) => {
                entries.iter().find(|(key, _)| key.as_str() == Some(name)).map(|(_, value)| value.clone())
            }
            _ => None,
        }
    }

    /// The field that an expression names; names of objects' fields are escaped there.
    pub fn field(&self, name: &str) -> Option<Val<'a>> {
        match self {
            Val::Json(value, Some(Declared { shape: Shape::Object(object), .. })) => {
                let member = object.field(name)?;
                // A field that is null is as good as absent.
                let found = value.get(&member.key).filter(|found| !found.is_null())?;
                Some(Val::of(found, Some(&member.ty)))
            }
            _ => self.member(name),
        }
    }

    /// Whether the elements are unique scalars without an order.
    pub(crate) fn has_unique_elements(&self) -> bool {
        let unique = |ty: &Declared| matches!(ty.shape, Shape::List(_, ListKind::Set));
        matches!(self, Val::Set(_)) || matches!(self, Val::Json(Value::Array(_), Some(ty)) if unique(ty))
    }

    /// Whether the order of the elements means nothing.
    fn is_set(&self) -> bool {
        let set = |ty: &Declared| matches!(ty.shape, Shape::List(_, ListKind::Set | ListKind::Map));
        matches!(self, Val::Set(_)) || matches!(self, Val::Json(Value::Array(_), Some(ty)) if set(ty))
    }

    /// Whether two values are the same, as far as can be told.
    pub fn equals(&self, other: &Val<'a>) -> bool {
        self.try_equals(other).unwrap_or(false)
    }

    /// Whether two values are the same; `None` if they have too many parts: values may share parts, so that a few of
    /// them make any number.
    pub(crate) fn try_equals(&self, other: &Val<'a>) -> Option<bool> {
        self.same(other, &mut { MAX_COMPARED })
    }

    fn same(&self, other: &Val<'a>, left: &mut usize) -> Option<bool> {
        *left = left.checked_sub(1)?;
        if let (Some(a), Some(b)) = (self.items(), other.items()) {
            if a.len() != b.len() {
                return Some(false);
            }
            // Sets mostly come in the same order.
            let in_order = every(a.iter().zip(&b), |(a, b)| a.same(b, left))?;
            if in_order || !(self.is_set() || other.is_set()) {
                return Some(in_order);
            }
            return every(a.iter(), |a| some(b.iter(), |b| a.same(b, left)));
        }
        if let (Some(a), Some(b)) = (self.entries(), other.entries()) {
            if a.len() != b.len() {
                return Some(false);
            }
            return every(a.iter(), |(key, value)| {
                let Some((_, found)) = b.iter().find(|(known, _)| known.equals(key)) else { return Some(false) };
                value.same(found, left)
            });
        }
        Some(match (self, other) {
            (Val::Null, Val::Null) => true,
            (Val::Bytes(a), Val::Bytes(b)) => a == b,
            (Val::Url(a), Val::Url(b)) => a == b,
            (Val::Ip(a), Val::Ip(b)) => a == b,
            (Val::Cidr(a, n), Val::Cidr(b, m)) => a == b && n == m,
            (Val::Type(a), Val::Type(b)) => a == b,
            (Val::Format(a), Val::Format(b)) => a == b,
            (Val::Made(a), Val::Made(b)) => {
                if a.0 != b.0 || a.1.len() != b.1.len() {
                    return Some(false);
                }
                return every(a.1.iter(), |(name, value)| {
                    let Some((_, found)) = b.1.iter().find(|(known, _)| known == name) else { return Some(false) };
                    value.same(found, left)
                });
            }
            (Val::Optional(Some(a)), Val::Optional(Some(b))) => return a.same(b, left),
            (Val::Optional(a), Val::Optional(b)) => a.is_none() && b.is_none(),
            (a, b) => a.compare(b) == Some(Ordering::Equal),
        })
    }

    /// The order of two values of types that have one.
    pub fn compare(&self, other: &Val<'a>) -> Option<Ordering> {
        match (self, other) {
            (Val::Bool(a), Val::Bool(b)) => Some(a.cmp(b)),
            (Val::Int(a), Val::Int(b)) => Some(a.cmp(b)),
            (Val::UInt(a), Val::UInt(b)) => Some(a.cmp(b)),
            (Val::Int(a), Val::UInt(b)) => Some(i128::from(*a).cmp(&i128::from(*b))),
            (Val::UInt(a), Val::Int(b)) => Some(i128::from(*a).cmp(&i128::from(*b))),
            (Val::Str(a), Val::Str(b)) => Some(a.as_ref().cmp(b.as_ref())),
            (Val::Bytes(a), Val::Bytes(b)) => Some(a.cmp(b)),
            (Val::Duration(a), Val::Duration(b)) => Some(a.cmp(b)),
            (Val::Timestamp(a), Val::Timestamp(b)) => Some(a.cmp(b)),
            (Val::Quantity(a), Val::Quantity(b)) => a.partial_cmp(b),
            (Val::Semver(a), Val::Semver(b)) => Some(a.cmp(b)),
            _ => self.number()?.partial_cmp(&other.number()?),
        }
    }

    /// The number, as a float.
    pub fn number(&self) -> Option<f64> {
        match self {
            Val::Int(n) => Some(*n as f64),
            Val::UInt(n) => Some(*n as f64),
            Val::Double(n) => Some(*n),
            _ => None,
        }
    }

    /// As `string()` writes it; `None` where it has no text.
    pub fn to_text(&self) -> Option<String> {
        Some(match self {
            Val::Bool(on) => on.to_string(),
            Val::Int(n) => n.to_string(),
            Val::UInt(n) => n.to_string(),
            Val::Double(n) => crate::text::double(*n),
            Val::Str(text) => text.to_string(),
            Val::Bytes(bytes) => String::from_utf8(bytes.to_vec()).ok()?,
            Val::Duration(n) => duration_text(*n),
            Val::Timestamp(at) => at.to_string(),
            Val::Quantity(quantity) => quantity.to_string(),
            Val::Semver(version) => version.to_string(),
            Val::Url(url) => url.to_string(),
            Val::Ip(ip) => ip.to_string(),
            Val::Cidr(ip, length) => format!("{ip}/{length}"),
            Val::Type(name) => name.clone().into_owned(),
            Val::Null => "null".to_owned(),
            _ => return None,
        })
    }
}

/// Whether something holds for all; `None` if that cannot be told.
fn every<T>(mut all: impl Iterator<Item = T>, mut holds: impl FnMut(T) -> Option<bool>) -> Option<bool> {
    all.try_fold(true, |_, one| match holds(one) {
        Some(true) => Ok(true),
        other => Err(other),
    })
    .map_or_else(|stopped| stopped, Some)
}

/// Whether something holds for any; `None` if that cannot be told.
fn some<T>(all: impl Iterator<Item = T>, mut holds: impl FnMut(T) -> Option<bool>) -> Option<bool> {
    every(all, |one| holds(one).map(|held| !held)).map(|none| !none)
}

fn of_text<'a>(text: &'a str, ty: Option<&Type>) -> Val<'a> {
    let plain = || Val::Str(Cow::Borrowed(text));
    match ty {
        Some(Type::Timestamp) => timestamp(text).map_or_else(plain, Val::Timestamp),
        Some(Type::Duration) => duration(text).map_or_else(plain, Val::Duration),
        Some(Type::Bytes) => {
            use base64::Engine;
            let decoded = base64::engine::general_purpose::STANDARD.decode(text);
            decoded.map_or_else(|_| plain(), |bytes| Val::Bytes(bytes.into()))
        }
        _ => plain(),
    }
}

/// A moment, or the beginning of a day.
fn timestamp(text: &str) -> Option<Timestamp> {
    text.parse().ok().or_else(|| format!("{text}T00:00:00Z").parse().ok())
}

/// Reads a moment in the years from 1 to 9999 as Go reads RFC 3339, which is strict.
pub(crate) fn rfc3339(text: &str) -> Option<Timestamp> {
    const FIRST: &[u8] = b"dddd-dd-ddTdd:dd:dd";
    let fits = |text: &[u8], shape: &[u8]| {
        let fits = |(c, wanted): (&u8, &u8)| if *wanted == b'd' { c.is_ascii_digit() } else { c == wanted };
        text.len() == shape.len() && text.iter().zip(shape).all(fits)
    };
    let (first, rest) = text.as_bytes().split_at_checked(FIRST.len())?;
    let zone = rest.strip_prefix(b".").or(rest.strip_prefix(b",")).map_or(rest, |fraction| {
        let digits = fraction.iter().take_while(|c| c.is_ascii_digit()).count();
        // A point without digits leaves something that is no zone.
        if digits > 0 { &fraction[digits..] } else { rest }
    });
    let known = fits(first, FIRST) && (zone == b"Z" || fits(zone, b"+dd:dd") || fits(zone, b"-dd:dd"));
    // There are no leap seconds, and no year 0.
    if !known || first.ends_with(b":60") {
        return None;
    }
    text.parse::<Timestamp>().ok().filter(|at| at.as_second() >= FIRST_SECOND)
}

/// Fields that are computed when they are looked at.
pub trait Lazy<'a> {
    /// The value of a field, or why there is none.
    fn get(&self, name: &str) -> Result<Val<'a>, String>;
}

impl std::fmt::Debug for dyn Lazy<'_> + '_ {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Lazy")
    }
}

/// Reads a Go duration such as `1h30m`, in nanoseconds; a sign may lead.
pub fn duration(text: &str) -> Option<i128> {
    let (sign, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Some(0);
    }
    let mut total = 0_i128;
    loop {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, after) = rest.split_at(digits);
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') {
            return None;
        }
        let units = after.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(after.len());
        let unit = match &after[..units] {
            "h" => 3600 * SECOND,
            "m" => 60 * SECOND,
            "s" => SECOND,
            "ms" => SECOND / 1000,
            "us" | "\u{b5}s" | "\u{3bc}s" => 1000,
            "ns" => 1,
            _ => return None,
        };
        let whole = if whole.is_empty() { 0 } else { whole.parse::<i64>().ok()? };
        let fraction = format!("0.{fraction}0").parse::<f64>().ok()?;
        total += i128::from(whole) * unit + (fraction * unit as f64) as i128;
        rest = &after[units..];
        if rest.is_empty() {
            return i64::try_from(total).ok().map(|total| sign * i128::from(total));
        }
    }
}

/// As CEL writes a duration: seconds.
fn duration_text(nanos: i128) -> String {
    let (whole, fraction) = (nanos / SECOND, (nanos % SECOND).unsigned_abs());
    if fraction == 0 {
        return format!("{whole}s");
    }
    let sign = if nanos < 0 && whole == 0 { "-" } else { "" };
    let digits = format!("{fraction:09}");
    format!("{sign}{whole}.{}s", digits.trim_end_matches('0'))
}
