//! The order of a merged list: `$setElementOrder`, then the patch, then the live list.
//!
//! Elements that the patch names keep the order of the patch, the others that of the live list; the two sequences are
//! interleaved by where their elements stood in the live list.

use std::collections::HashMap;

use super::Error;
use crate::value::{Object, Value};

/// An element's identity: the value itself, or the value of its merge key.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Key<'a> {
    Null,
    Bool(bool),
    Int(i64),
    Float(u64),
    String(&'a str),
    /// An array or object, which is nobody's key; equal to other such only by address.
    Other(*const Value),
}

impl<'a> Key<'a> {
    pub(super) fn of(value: &'a Value) -> Self {
        match value {
            Value::Null => Key::Null,
            Value::Bool(b) => Key::Bool(*b),
            Value::Int(n) => Key::Int(*n),
            Value::Float(n) => Key::Float(n.to_bits()),
            Value::String(s) => Key::String(s),
            Value::Raw(_) | Value::Array(_) | Value::Object(_) => Key::Other(std::ptr::from_ref(value)),
        }
    }

    /// The identity of a list's element: with a merge key it must be an object that has it.
    pub(super) fn under(item: &'a Value, merge_key: &str) -> Result<Self, Error> {
        if merge_key.is_empty() {
            return Ok(Key::of(item));
        }
        let Value::Object(object) = item else {
            return Err(Error::wrong_type(&Value::Object(Object::new()), item));
        };
        object.get(merge_key).map(Key::of).ok_or_else(|| Error::no_merge_key(object, merge_key))
    }
}

/// First position of every element of `list`.
fn positions<'a>(list: &'a [Value], merge_key: &str) -> Result<HashMap<Key<'a>, usize>, Error> {
    let mut positions = HashMap::with_capacity(list.len());
    for (i, item) in list.iter().enumerate() {
        positions.entry(Key::under(item, merge_key)?).or_insert(i);
    }
    Ok(positions)
}

/// Splits `merged` into the elements that are in `list` and the others.
pub(super) fn by_presence(
    merged: Vec<Value>,
    list: &[Value],
    merge_key: &str,
) -> Result<(Vec<Value>, Vec<Value>), Error> {
    let present = positions(list, merge_key)?;
    let mut inside = Vec::with_capacity(merged.len());
    let mut outside = Vec::new();
    for item in merged {
        if present.contains_key(&Key::under(&item, merge_key)?) {
            inside.push(item);
        } else {
            outside.push(item);
        }
    }
    Ok((inside, outside))
}

/// Sorts `patched` by `order` and `live_only` by `live`, and merges the two.
pub(super) fn interleave(
    mut patched: Vec<Value>,
    mut live_only: Vec<Value>,
    order: &[Value],
    live: &[Value],
    merge_key: &str,
    objects: bool,
) -> Result<Vec<Value>, Error> {
    let merge_key = if objects { merge_key } else { "" };
    let order = positions(order, merge_key)?;
    let live = positions(live, merge_key)?;
    let place = |item: &Value, list: &HashMap<Key<'_>, usize>| {
        Key::under(item, merge_key).ok().and_then(|key| list.get(&key).copied())
    };
    patched.sort_by_key(|item| place(item, &order).unwrap_or(usize::MAX));
    live_only.sort_by_key(|item| place(item, &live).unwrap_or(usize::MAX));
    let mut merged = Vec::with_capacity(patched.len() + live_only.len());
    let mut patched = patched.into_iter().peekable();
    let mut live_only = live_only.into_iter().peekable();
    loop {
        let next = match (live_only.peek(), patched.peek()) {
            (Some(left), Some(right)) => match (place(left, &live), place(right, &live)) {
                (Some(left), Some(right)) if left < right => live_only.next(),
                _ => patched.next(),
            },
            (Some(_), None) => live_only.next(),
            _ => patched.next(),
        };
        match next {
            Some(item) => merged.push(item),
            None => return Ok(merged),
        }
    }
}
