//! The operators that look at values only.

use std::cmp::Ordering;
use std::rc::Rc;

use crate::eval::{Outcome, no_overload};
use crate::operators as op;
use crate::value::Val;

/// Elements that a list may have that an expression makes; upstream joins lists without copying them.
const MAX_ITEMS: usize = 1_000_000;

/// The operators that look at values only; `None` for functions.
pub(crate) fn operator<'a>(name: &str, arguments: &[Val<'a>]) -> Option<Outcome<'a>> {
    let ordered = |wanted: fn(Ordering) -> bool| match arguments {
        [a, b] => a.compare(b).map(|order| Val::Bool(wanted(order))).ok_or_else(no_overload),
        _ => Err(no_overload()),
    };
    Some(match (name, arguments) {
        (op::EQUALS, [a, b]) => Ok(Val::Bool(a.equals(b))),
        (op::NOT_EQUALS, [a, b]) => Ok(Val::Bool(!a.equals(b))),
        (op::LESS, _) => ordered(Ordering::is_lt),
        (op::LESS_EQUALS, _) => ordered(Ordering::is_le),
        (op::GREATER, _) => ordered(Ordering::is_gt),
        (op::GREATER_EQUALS, _) => ordered(Ordering::is_ge),
        (op::NOT, [Val::Bool(on)]) => Ok(Val::Bool(!on)),
        (op::NOT, _) => Err(no_overload()),
        (op::NEGATE, [Val::Int(n)]) => n.checked_neg().map(Val::Int).ok_or_else(overflow),
        (op::NEGATE, [Val::Double(n)]) => Ok(Val::Double(-n)),
        (op::NEGATE, [Val::Duration(n)]) => Ok(Val::Duration(-n)),
        (op::NEGATE, _) => Err(no_overload()),
        (op::IN, [key, within]) => contains(key, within),
        (op::INDEX, [value, index]) => index_of(value, index),
        (op::OPTIONAL_INDEX, [value, index]) => optional_index(value.clone(), index),
        (op::ADD | op::SUBTRACT | op::MULTIPLY | op::DIVIDE | op::MODULO, [a, b]) => arithmetic(name, a, b),
        _ => return None,
    })
}

/// The error of a number that does not fit.
pub(crate) fn overflow() -> String {
    "integer overflow".to_owned()
}

/// What is at an index or key, if anything is.
pub(crate) fn optional_index<'a>(operand: Val<'a>, index: &Val<'a>) -> Outcome<'a> {
    let value = match operand {
        Val::Optional(None) => return Ok(Val::Optional(None)),
        Val::Optional(Some(value)) => (*value).clone(),
        value => value,
    };
    let found = match (index, value.items(), value.entries()) {
        (Val::Int(index), Some(items), _) => usize::try_from(*index).ok().and_then(|index| items.get(index).cloned()),
        (_, _, Some(entries)) => entries.into_iter().find(|(key, _)| key.equals(index)).map(|(_, value)| value),
        _ => None,
    };
    Ok(Val::Optional(found.map(Rc::new)))
}

fn contains<'a>(key: &Val<'a>, within: &Val<'a>) -> Outcome<'a> {
    if let Some(items) = within.items() {
        return Ok(Val::Bool(items.iter().any(|item| item.equals(key))));
    }
    match within.entries() {
        Some(entries) => Ok(Val::Bool(entries.iter().any(|(known, _)| known.equals(key)))),
        None => Err(no_overload()),
    }
}

fn index_of<'a>(value: &Val<'a>, index: &Val<'a>) -> Outcome<'a> {
    if let (Some(items), Some(number)) = (value.items(), index.number()) {
        let found = (number.fract() == 0.0 && number >= 0.0).then(|| items.get(number as usize).cloned()).flatten();
        return found.ok_or_else(|| format!("index out of bounds: {number}"));
    }
    if let Val::Optional(_) = value {
        return optional_index(value.clone(), index);
    }
    let entries = value.entries().ok_or_else(no_overload)?;
    let found = entries.into_iter().find(|(key, _)| key.equals(index)).map(|(_, value)| value);
    found.ok_or_else(|| format!("no such key: {}", index.to_text().unwrap_or_default()))
}

fn arithmetic<'a>(name: &str, a: &Val<'a>, b: &Val<'a>) -> Outcome<'a> {
    match (a, b) {
        (Val::Int(a), Val::Int(b)) => {
            let done = match name {
                op::ADD => a.checked_add(*b),
                op::SUBTRACT => a.checked_sub(*b),
                op::MULTIPLY => a.checked_mul(*b),
                op::DIVIDE if *b == 0 => return Err("division by zero".to_owned()),
                op::DIVIDE => a.checked_div(*b),
                _ if *b == 0 => return Err("modulus by zero".to_owned()),
                _ => a.checked_rem(*b),
            };
            done.map(Val::Int).ok_or_else(overflow)
        }
        (Val::UInt(a), Val::UInt(b)) => {
            let done = match name {
                op::ADD => a.checked_add(*b),
                op::SUBTRACT => a.checked_sub(*b),
                op::MULTIPLY => a.checked_mul(*b),
                op::DIVIDE if *b == 0 => return Err("division by zero".to_owned()),
                op::DIVIDE => a.checked_div(*b),
                _ if *b == 0 => return Err("modulus by zero".to_owned()),
                _ => a.checked_rem(*b),
            };
            done.map(Val::UInt).ok_or_else(|| "unsigned integer overflow".to_owned())
        }
        (Val::Double(a), Val::Double(b)) => match name {
            op::ADD => Ok(Val::Double(a + b)),
            op::SUBTRACT => Ok(Val::Double(a - b)),
            op::MULTIPLY => Ok(Val::Double(a * b)),
            op::DIVIDE => Ok(Val::Double(a / b)),
            _ => Err(no_overload()),
        },
        (Val::Str(a), Val::Str(b)) if name == op::ADD => Ok(Val::text(format!("{a}{b}"))),
        (Val::Bytes(a), Val::Bytes(b)) if name == op::ADD => Ok(Val::Bytes([a.as_ref(), b.as_ref()].concat().into())),
        (Val::Duration(a), Val::Duration(b)) if name == op::ADD => Ok(Val::Duration(a + b)),
        (Val::Duration(a), Val::Duration(b)) if name == op::SUBTRACT => Ok(Val::Duration(a - b)),
        (Val::Timestamp(at), Val::Duration(n)) | (Val::Duration(n), Val::Timestamp(at)) if name == op::ADD => {
            moved(*at, *n)
        }
        (Val::Timestamp(at), Val::Duration(n)) if name == op::SUBTRACT => moved(*at, -n),
        (Val::Timestamp(a), Val::Timestamp(b)) if name == op::SUBTRACT => {
            Ok(Val::Duration(a.as_nanosecond() - b.as_nanosecond()))
        }
        _ if name == op::ADD && a.has_unique_elements() => match (a.items(), b.items()) {
            (Some(mut a), Some(b)) => {
                for item in b {
                    if !a.iter().any(|known| known.equals(&item)) {
                        a.push(item);
                    }
                }
                Ok(Val::Set(Rc::new(a)))
            }
            _ => Err(no_overload()),
        },
        _ if name == op::ADD => match (a.items(), b.items()) {
            (Some(a), Some(b)) if a.len() + b.len() > MAX_ITEMS => Err(format!("list exceeds {MAX_ITEMS} elements")),
            (Some(mut a), Some(b)) => {
                a.extend(b);
                Ok(Val::list(a))
            }
            _ => Err(no_overload()),
        },
        _ => Err(no_overload()),
    }
}

fn moved<'a>(at: jiff::Timestamp, nanos: i128) -> Outcome<'a> {
    let moved = jiff::Timestamp::from_nanosecond(at.as_nanosecond() + nanos);
    moved.map(Val::Timestamp).map_err(|_| "timestamp overflow".to_owned())
}
