//! Putting one object onto another, and taking fields out of one.
//!
//! Follows `structured-merge-diff/typed`'s Merge and RemoveItems, including the order of merged lists.

use std::collections::{BTreeMap, BTreeSet, VecDeque, btree_map::Entry};

use super::path::PathElement;
use super::set::Set;
use super::shape::{Shape, check_all_places, element_of, item_of, member_of, shape_of};
use crate::order::order;
use crate::schema::{ListType, SchemaRef};
use crate::value::{Object, Value};

/// Puts `applied` onto `live`: leaves are taken from `applied`, everything else is merged.
pub fn merge(schema: SchemaRef<'_>, live: &Value, applied: &Value) -> Result<Value, String> {
    Ok(merge_values(schema, Some(live), Some(applied))?.unwrap_or_else(|| Value::Object(Object::new())))
}

fn merge_values(schema: SchemaRef<'_>, live: Option<&Value>, applied: Option<&Value>) -> Result<Option<Value>, String> {
    let Some(decisive) = applied.or(live) else {
        return Ok(None);
    };
    if applied.is_none() {
        check_all_places(schema, decisive)?;
        return Ok(Some(decisive.clone()));
    }
    match shape_of(schema, decisive) {
        Shape::Leaf => {}
        Shape::Map => {
            let (left, right) = (live.and_then(Value::as_object), applied.and_then(Value::as_object));
            if !left.is_none_or(Object::is_empty) || !right.is_none_or(Object::is_empty) {
                return merge_objects(schema, left, right).map(Some);
            }
        }
        Shape::List(list) => {
            let left = live.and_then(Value::as_array).unwrap_or(&[]);
            let right = applied.and_then(Value::as_array).unwrap_or(&[]);
            if !left.is_empty() || !right.is_empty() {
                let items = merge_lists(schema, list, left, right)?;
                return Ok((!items.is_empty()).then_some(Value::Array(items)));
            }
        }
    }
    Ok(Some(decisive.clone()))
}

fn merge_objects(schema: SchemaRef<'_>, live: Option<&Object>, applied: Option<&Object>) -> Result<Value, String> {
    let mut merged = Object::with_capacity(live.map_or(0, Object::len).max(applied.map_or(0, Object::len)));
    let mut left = live.into_iter().flat_map(Object::iter).peekable();
    let mut right = applied.into_iter().flat_map(Object::iter).peekable();
    loop {
        let order = match (left.peek(), right.peek()) {
            (None, None) => return Ok(Value::Object(merged)),
            (Some(_), None) => std::cmp::Ordering::Less,
            (None, Some(_)) => std::cmp::Ordering::Greater,
            (Some((a, _)), Some((b, _))) => order(a, b),
        };
        let a = if order.is_le() { left.next() } else { None };
        let b = if order.is_ge() { right.next() } else { None };
        if let Some((key, _)) = a.or(b) {
            let (a, b) = (a.map(|(_, value)| value), b.map(|(_, value)| value));
            if let Some(value) = merge_values(member_of(schema, key), a, b)? {
                merged.insert(key, value);
            }
        }
    }
}

/// A list's elements with their steps; of a repeated step the value counts as null.
struct Indexed<'a> {
    steps: Vec<PathElement>,
    values: BTreeMap<PathElement, &'a Value>,
}

impl<'a> Indexed<'a> {
    fn new(
        schema: SchemaRef<'_>,
        list: &ListType,
        items: &'a [Value],
        duplicates_allowed: bool,
    ) -> Result<Self, String> {
        static NULL: Value = Value::Null;
        let mut indexed = Self { steps: Vec::with_capacity(items.len()), values: BTreeMap::new() };
        for (i, item) in items.iter().enumerate() {
            let step = element_of(schema.table, list, item).map_err(|error| format!("element {i}: {error}"))?;
            match indexed.values.entry(step.clone()) {
                Entry::Vacant(entry) => drop(entry.insert(item)),
                Entry::Occupied(mut entry) if duplicates_allowed => {
                    entry.insert(&NULL);
                }
                Entry::Occupied(_) => {
                    return Err(format!("duplicate entries for key {step}"));
                }
            }
            indexed.steps.push(step);
        }
        Ok(indexed)
    }
}

/// Merges two lists. The applied order wins for the elements it has; the others keep their place among them.
fn merge_lists(
    schema: SchemaRef<'_>,
    list: &ListType,
    live: &[Value],
    applied: &[Value],
) -> Result<Vec<Value>, String> {
    let right = Indexed::new(schema, list, applied, false)?;
    let left = Indexed::new(schema, list, live, true)?;
    let item_schema = item_of(schema);
    let mut merged = Vec::with_capacity(live.len().max(applied.len()));
    let mut push = |a: Option<&Value>, b: Option<&Value>| -> Result<(), String> {
        merged.extend(merge_values(item_schema, a, b)?);
        Ok(())
    };
    // Steps of both lists in the applied order: the next of them is where a live element may be merged in place.
    let mut shared: VecDeque<&PathElement> =
        right.steps.iter().filter(|step| left.values.contains_key(*step)).collect();
    let mut next_shared = shared.pop_front();
    let mut done: BTreeSet<&PathElement> = BTreeSet::new();
    let (mut l, mut r) = (0, 0);
    while l < left.steps.len() || r < right.steps.len() {
        if let (Some(step), Some(applied_step)) = (left.steps.get(l), right.steps.get(r)) {
            if step == applied_step {
                done.insert(applied_step);
                push(left.values.get(step).copied(), right.values.get(step).copied())?;
                (l, r) = (l + 1, r + 1);
                next_shared = shared.pop_front();
                continue;
            }
            if right.values.contains_key(step) && next_shared.is_some_and(|next| next != step) {
                // In both, but not the one that is due.
                l += 1;
                continue;
            }
        }
        if let Some(step) = left.steps.get(l) {
            if !right.values.contains_key(step) {
                push(live.get(l), None)?;
                l += 1;
                continue;
            }
            if done.contains(step) {
                l += 1;
            }
        }
        if let Some(step) = right.steps.get(r) {
            done.insert(step);
            push(left.values.get(step).copied(), right.values.get(step).copied())?;
            r += 1;
            if next_shared == Some(step) {
                next_shared = shared.pop_front();
            }
        }
    }
    Ok(merged)
}

/// Takes the members of `fields` out of a value. A container that loses everything stays as an empty one.
pub fn remove(schema: SchemaRef<'_>, value: &Value, fields: &Set) -> Value {
    remove_items(schema, value, fields).unwrap_or_else(|| Value::Object(Object::new()))
}

fn remove_items(schema: SchemaRef<'_>, value: &Value, fields: &Set) -> Option<Value> {
    match (shape_of(schema, value), value) {
        // Nothing of an atomic list or map is left when something in it goes.
        (Shape::Leaf, Value::Array(_) | Value::Object(_)) => None,
        (Shape::Leaf, scalar) => Some(scalar.clone()),
        (Shape::Map, Value::Object(object)) => {
            let mut kept = Object::with_capacity(object.len());
            let mut touched = false;
            for (key, item) in object.iter() {
                let node = fields.get(&PathElement::Field(key.into()));
                if node.is_some_and(|node| node.member) {
                    continue;
                }
                match node {
                    Some(node) => {
                        touched = true;
                        kept.insert(key, without(member_of(schema, key), item, &node.children));
                    }
                    None => drop(kept.insert(key, item.clone())),
                }
            }
            (touched || !kept.is_empty()).then_some(Value::Object(kept))
        }
        (Shape::List(list), Value::Array(items)) => {
            let mut kept = Vec::with_capacity(items.len());
            let mut touched = false;
            for item in items {
                let node = element_of(schema.table, list, item).ok().and_then(|step| fields.get(&step));
                if node.is_some_and(|node| node.member) {
                    continue;
                }
                match node {
                    Some(node) => {
                        touched = true;
                        kept.push(without(item_of(schema), item, &node.children));
                    }
                    None => kept.push(item.clone()),
                }
            }
            (touched || !kept.is_empty()).then_some(Value::Array(kept))
        }
        _ => None,
    }
}

fn without(schema: SchemaRef<'_>, item: &Value, fields: &Set) -> Value {
    remove_items(schema, item, fields).unwrap_or_else(|| match item {
        Value::Object(_) => Value::Object(Object::new()),
        Value::Array(_) => Value::Array(Vec::new()),
        _ => Value::Null,
    })
}
