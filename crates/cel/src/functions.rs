//! The functions of CEL, of its extensions, and of Kubernetes' libraries (`k8s.io/apiserver/pkg/cel/library`).

use std::rc::Rc;

use skiff_apimachinery::quantity::Quantity;

use crate::arithmetic::moment;
use crate::eval::{Outcome, no_overload};
use crate::pattern;
use crate::value::{SECOND, Val, duration, rfc3339};
use crate::{authz, library, lists, network, text};

/// Calls a function; the value it is called on comes first.
pub(crate) fn call<'a>(name: &str, arguments: &[Val<'a>]) -> Outcome<'a> {
    let matched = || match (name, arguments) {
        ("matches" | "find" | "findAll", [Val::Str(text), Val::Str(expression), ..]) => {
            Some(expressions(name, text, expression, arguments.get(2)))
        }
        _ => None,
    };
    general(name, arguments)
        .or_else(|| authz::call(name, arguments))
        .or_else(|| lists::call(name, arguments))
        .or_else(matched)
        .or_else(|| text::call(name, arguments))
        .or_else(|| network::call(name, arguments))
        .or_else(|| conversions(name, arguments))
        .or_else(|| times(name, arguments))
        .or_else(|| quantities(name, arguments))
        .or_else(|| library::call(name, arguments))
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
        _ => return None,
    })
}

fn expressions<'a>(name: &str, text: &str, expression: &str, limit: Option<&Val<'a>>) -> Outcome<'a> {
    let regex = pattern::recent(expression)?;
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
        ("string", Val::Bytes(bytes)) => match String::from_utf8(bytes.to_vec()) {
            Ok(text) => Ok(Val::text(text)),
            Err(_) => Err("invalid UTF-8 in bytes, cannot convert to string".to_owned()),
        },
        ("string", value) => value.to_text().map(Val::text).ok_or_else(no_overload),
        ("int", Val::Int(n)) => Ok(Val::Int(*n)),
        ("int", Val::UInt(n)) => i64::try_from(*n).map(Val::Int).map_err(|_| "integer overflow".to_owned()),
        ("int", Val::Double(n)) if n.abs() < 9.2e18 => Ok(Val::Int(n.trunc() as i64)),
        ("int", Val::Str(text)) => text.parse().map(Val::Int).map_err(|_| conversion("int")),
        ("int", Val::Timestamp(at)) => Ok(Val::Int(at.as_second())),
        ("int", Val::Duration(n)) => i64::try_from(*n).map(Val::Int).map_err(|_| "integer overflow".to_owned()),
        ("uint", Val::UInt(n)) => Ok(Val::UInt(*n)),
        ("uint", Val::Int(n)) => u64::try_from(*n).map(Val::UInt).map_err(|_| "unsigned integer overflow".to_owned()),
        ("uint", Val::Double(n)) if *n >= 0.0 && *n < 1.8e19 => Ok(Val::UInt(n.trunc() as u64)),
        ("uint" | "int", Val::Double(_)) => Err("integer overflow".to_owned()),
        ("uint", Val::Str(text)) => text.parse().map(Val::UInt).map_err(|_| conversion("uint")),
        ("double", Val::Str(text)) => text.parse().map(Val::Double).map_err(|_| conversion("double")),
        ("double", value) => value.number().map(Val::Double).ok_or_else(no_overload),
        ("bool", Val::Bool(on)) => Ok(Val::Bool(*on)),
        ("bool", Val::Str(text)) => match text.as_ref() {
            "true" | "True" | "TRUE" | "t" | "1" => Ok(Val::Bool(true)),
            "false" | "False" | "FALSE" | "f" | "0" => Ok(Val::Bool(false)),
            _ => Err(conversion("bool")),
        },
        ("bytes", Val::Str(text)) => Ok(Val::Bytes(text.as_bytes().into())),
        ("bytes", Val::Bytes(bytes)) => Ok(Val::Bytes(bytes.clone())),
        ("duration", Val::Duration(n)) => Ok(Val::Duration(*n)),
        ("duration", Val::Str(text)) => {
            duration(text).map(Val::Duration).ok_or_else(|| conversion("google.protobuf.Duration"))
        }
        ("duration", Val::Int(n)) => Ok(Val::Duration(i128::from(*n))),
        ("timestamp", Val::Int(n)) => moment(i128::from(*n) * SECOND),
        ("timestamp", Val::Timestamp(at)) => Ok(Val::Timestamp(*at)),
        ("timestamp", Val::Str(text)) => {
            rfc3339(text).map(Val::Timestamp).ok_or_else(|| conversion("google.protobuf.Timestamp"))
        }
        _ => return None,
    })
}

fn conversion(to: &str) -> String {
    format!("type conversion error from 'string' to '{to}'")
}

/// A zone that is written as its distance, such as `-02:30`.
fn offset(text: &str) -> Option<jiff::tz::TimeZone> {
    let (sign, rest) = match text.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, text.strip_prefix('+').unwrap_or(text)),
    };
    let (hours, minutes) = rest.split_once(':')?;
    let seconds = hours.parse::<i32>().ok()?.checked_mul(3600)?;
    let seconds = seconds.checked_add(minutes.parse::<i32>().ok()?.checked_mul(60)?)?.checked_mul(sign)?;
    jiff::tz::Offset::from_seconds(seconds).ok().map(jiff::tz::TimeZone::fixed)
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
                Some(name) => match offset(name).or_else(|| jiff::tz::TimeZone::get(name).ok()) {
                    Some(zone) => zone,
                    None => return Some(Err(format!("unknown time zone {name}"))),
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
        ("add", [Val::Quantity(a), Val::Quantity(b)]) => of((**a).plus(**b)),
        ("add", [Val::Quantity(a), Val::Int(b)]) => of((**a).plus(Quantity::from_value(*b))),
        ("sub", [Val::Quantity(a), Val::Quantity(b)]) => of((**a).minus(**b)),
        ("sub", [Val::Quantity(a), Val::Int(b)]) => of((**a).minus(Quantity::from_value(*b))),
        ("isLessThan", [Val::Quantity(a), Val::Quantity(b)]) => Ok(Val::Bool(a < b)),
        ("isGreaterThan", [Val::Quantity(a), Val::Quantity(b)]) => Ok(Val::Bool(a > b)),
        ("compareTo", [Val::Quantity(a), Val::Quantity(b)]) => Ok(Val::Int(a.cmp(b) as i64)),
        _ => return None,
    })
}
