//! The operators that look at values only.

use std::cmp::Ordering;
use std::rc::Rc;

use crate::eval::{Outcome, TOO_EXPENSIVE, no_overload};
use crate::operators as op;
use crate::value::{FIRST_SECOND, Val};

/// Elements that a list may have that an expression makes; upstream joins lists without copying them.
pub(crate) const MAX_ITEMS: usize = 1_000_000;

/// The operators that look at values only; `None` for functions.
pub(crate) fn operator<'a>(name: &str, arguments: &[Val<'a>]) -> Option<Outcome<'a>> {
    let ordered = |wanted: fn(Ordering) -> bool| match arguments {
        [a, b] => a.compare(b).map(|order| Val::Bool(wanted(order))).ok_or_else(no_overload),
        _ => Err(no_overload()),
    };
    Some(match (name, arguments) {
        (op::EQUALS, [a, b]) => a.try_equals(b).map(Val::Bool).ok_or_else(too_expensive),
        (op::NOT_EQUALS, [a, b]) => a.try_equals(b).map(|same| Val::Bool(!same)).ok_or_else(too_expensive),
        (op::LESS, _) => ordered(Ordering::is_lt),
        (op::LESS_EQUALS, _) => ordered(Ordering::is_le),
        (op::GREATER, _) => ordered(Ordering::is_gt),
        (op::GREATER_EQUALS, _) => ordered(Ordering::is_ge),
        (op::NOT, [Val::Bool(on)]) => Ok(Val::Bool(!on)),
        (op::NOT, _) => Err(no_overload()),
        (op::NEGATE, [Val::Int(n)]) => n.checked_neg().map(Val::Int).ok_or_else(overflow),
        (op::NEGATE, [Val::Double(n)]) => Ok(Val::Double(-n)),
        (op::NEGATE, [Val::Duration(n)]) => duration(-n),
        (op::NEGATE, _) => Err(no_overload()),
        (op::IN, [key, within]) => contains(key, within),
        (op::INDEX, [value, index]) => index_of(value, index),
        (op::OPTIONAL_INDEX, [value, index]) => optional_index(value.clone(), index),
        (op::ADD | op::SUBTRACT | op::MULTIPLY | op::DIVIDE | op::MODULO, [a, b]) => arithmetic(name, a, b),
        _ => return None,
    })
}

fn too_expensive() -> String {
    TOO_EXPENSIVE.to_owned()
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
    let found = match index {
        Val::Int(index) if value.is_list() => usize::try_from(*index).ok().and_then(|index| value.item(index)),
        index => value.at_key(index),
    };
    Ok(Val::Optional(found.map(Rc::new)))
}

fn contains<'a>(key: &Val<'a>, within: &Val<'a>) -> Outcome<'a> {
    if let Some(items) = within.items() {
        return Ok(Val::Bool(items.iter().any(|item| item.equals(key))));
    }
    if !within.is_map() {
        return Err(no_overload());
    }
    Ok(Val::Bool(within.at_key(key).is_some()))
}

fn index_of<'a>(value: &Val<'a>, index: &Val<'a>) -> Outcome<'a> {
    if let (true, Some(number)) = (value.is_list(), index.number()) {
        let found = (number.fract() == 0.0 && number >= 0.0).then(|| value.item(number as usize)).flatten();
        return found.ok_or_else(|| format!("index out of bounds: {number}"));
    }
    if let Val::Optional(_) = value {
        return optional_index(value.clone(), index);
    }
    if !value.is_map() {
        return Err(no_overload());
    }
    value.at_key(index).ok_or_else(|| format!("no such key: {}", index.to_text().unwrap_or_default()))
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
        (Val::Duration(a), Val::Duration(b)) if name == op::ADD => duration(a + b),
        (Val::Duration(a), Val::Duration(b)) if name == op::SUBTRACT => duration(a - b),
        (Val::Timestamp(at), Val::Duration(n)) | (Val::Duration(n), Val::Timestamp(at)) if name == op::ADD => {
            moment(at.as_nanosecond() + n)
        }
        (Val::Timestamp(at), Val::Duration(n)) if name == op::SUBTRACT => moment(at.as_nanosecond() - n),
        (Val::Timestamp(a), Val::Timestamp(b)) if name == op::SUBTRACT => {
            duration(a.as_nanosecond() - b.as_nanosecond())
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

/// A duration of so many nanoseconds, which Go holds in 64 bits.
pub(crate) fn duration<'a>(nanos: i128) -> Outcome<'a> {
    match i64::try_from(nanos) {
        Ok(_) => Ok(Val::Duration(nanos)),
        Err(_) => Err("duration overflow".to_owned()),
    }
}

/// The moment so many nanoseconds after 1970, in the years from 1 to 9999.
pub(crate) fn moment<'a>(nanos: i128) -> Outcome<'a> {
    let at = jiff::Timestamp::from_nanosecond(nanos).ok().filter(|at| at.as_second() >= FIRST_SECOND);
    at.map(Val::Timestamp).ok_or_else(|| "timestamp overflow".to_owned())
}
