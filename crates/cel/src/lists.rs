//! Functions of lists and maps.

use std::rc::Rc;

use crate::eval::{Outcome, no_overload};
use crate::operators as op;
use crate::text;
use crate::value::Val;

/// Numbers that one range may have.
const MAX_RANGE: i64 = 1_000_000;

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

/// Calls a function of lists or maps; `None` if it is none.
pub(crate) fn call<'a>(name: &str, arguments: &[Val<'a>]) -> Option<Outcome<'a>> {
    match (name, arguments) {
        ("lists.range", [Val::Int(n)]) if *n > MAX_RANGE => {
            return Some(Err(format!("range size exceeds {MAX_RANGE}")));
        }
        ("lists.range", [Val::Int(n)]) => return Some(Ok(Val::list((0..*n).map(Val::Int).collect()))),
        (op::MAP_INSERT, arguments) => return Some(inserted(arguments)),
        _ => {}
    }
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
        ("min" | "max", None) if first.is_empty() => Err(format!("{name} called on empty list")),
        ("min", None) => extreme(&first, false),
        ("max", None) => extreme(&first, true),
        ("indexOf", Some(value)) => position(first.iter().position(|item| item.equals(value))),
        ("lastIndexOf", Some(value)) => position(first.iter().rposition(|item| item.equals(value))),
        ("first", None) => Ok(Val::Optional(first.first().cloned().map(Rc::new))),
        ("last", None) => Ok(Val::Optional(first.last().cloned().map(Rc::new))),
        ("unwrapOpt" | "optional.unwrap", None) => Ok(Val::list(
            first
                .iter()
                .filter_map(|item| if let Val::Optional(Some(v)) = item { Some((**v).clone()) } else { None })
                .collect(),
        )),
        ("slice", Some(Val::Int(from))) => slice(&first, *from, arguments.get(2)),
        ("flatten", depth) => match depth {
            None => Ok(Val::list(flatten(first, 1))),
            Some(Val::Int(depth)) if *depth < 0 => Err("level must be non-negative".to_owned()),
            Some(Val::Int(depth)) => Ok(Val::list(flatten(first, *depth))),
            Some(_) => Err(no_overload()),
        },
        ("sort", None) => sorted(first.clone(), &first),
        (op::SORT_BY_KEYS, Some(keys)) => match keys.items() {
            Some(keys) => sorted(first, &keys),
            None => Err(no_overload()),
        },
        ("distinct", None) => {
            let mut kept: Vec<Val<'a>> = Vec::new();
            for item in first {
                if !kept.iter().any(|known| known.equals(&item)) {
                    kept.push(item);
                }
            }
            Ok(Val::list(kept))
        }
        ("reverse", None) => Ok(Val::list(first.into_iter().rev().collect())),
        ("join", separator) => {
            let separator = separator.and_then(Val::as_str).unwrap_or("");
            let texts = first.iter().map(Val::as_str).collect::<Option<Vec<_>>>();
            let Some(texts) = texts else { return Some(Err(no_overload())) };
            let length = texts.iter().map(|text| text.len().saturating_add(separator.len())).sum::<usize>();
            if length > text::MAX_LENGTH { Err(text::too_long()) } else { Ok(Val::text(texts.join(separator))) }
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

fn slice<'a>(items: &[Val<'a>], from: i64, to: Option<&Val<'a>>) -> Outcome<'a> {
    let Some(Val::Int(to)) = to else { return Err(no_overload()) };
    match (usize::try_from(from), usize::try_from(*to)) {
        (Ok(_), Ok(_)) if from > *to => {
            Err(format!("cannot slice({from}, {to}), start index must be less than or equal to end index"))
        }
        (Ok(_), Ok(end)) if end > items.len() => {
            Err(format!("cannot slice({from}, {to}), list is length {}", items.len()))
        }
        (Ok(start), Ok(end)) => Ok(Val::list(items[start..end].to_vec())),
        _ => Err(format!("cannot slice({from}, {to}), negative indexes not supported")),
    }
}

fn flatten(items: Vec<Val<'_>>, depth: i64) -> Vec<Val<'_>> {
    let mut out = Vec::with_capacity(items.len());
    for item in items {
        match item.items() {
            Some(inner) if depth > 0 => out.extend(flatten(inner, depth - 1)),
            _ => out.push(item),
        }
    }
    out
}

/// Sorted by what belongs to each element.
fn sorted<'a>(items: Vec<Val<'a>>, keys: &[Val<'a>]) -> Outcome<'a> {
    if keys.windows(2).any(|pair| pair[0].compare(&pair[1]).is_none()) {
        return Err("list elements must have the same type".to_owned());
    }
    let mut pairs = items.into_iter().zip(keys).collect::<Vec<_>>();
    pairs.sort_by(|(_, a), (_, b)| a.compare(b).unwrap_or(std::cmp::Ordering::Equal));
    Ok(Val::list(pairs.into_iter().map(|(item, _)| item).collect()))
}

/// A map with one more entry, or those of another map.
fn inserted<'a>(arguments: &[Val<'a>]) -> Outcome<'a> {
    let (mut entries, added) = match arguments {
        [map, key, value] => (map.entries(), Some(vec![(key.clone(), value.clone())])),
        [map, other] => (map.entries(), other.entries()),
        _ => (None, None),
    };
    let (Some(entries), Some(added)) = (entries.as_mut(), added) else { return Err(no_overload()) };
    for (key, value) in added {
        if entries.iter().any(|(known, _)| known.equals(&key)) {
            return Err(format!("insert failed: key {} already exists", key.to_text().unwrap_or_default()));
        }
        entries.push((key, value));
    }
    Ok(Val::Map(Rc::new(std::mem::take(entries))))
}
