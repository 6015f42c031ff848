//! What differs between two objects, as sets of field paths.
//!
//! Follows `structured-merge-diff/typed`'s Compare and ToFieldSet, with their treatment of empty containers, duplicate
//! elements and fields that are never absent.

use std::collections::BTreeMap;

use super::path::{PathElement, same};
use super::set::{Node, Set};
use super::shape::{Shape, absent, check_places, element_of, item_of, member_of, shape_of};
use crate::order::order;
use crate::schema::{ListType, SchemaRef};
use crate::value::{Object, Value};

/// The fields in which an object differs from an older one. No field is in two of the sets.
#[derive(Debug, Default, PartialEq)]
pub struct Comparison {
    /// Fields that only the older object has.
    pub removed: Set,
    /// Fields that both have, with different values.
    pub modified: Set,
    /// Fields that only the newer object has.
    pub added: Set,
}

impl Comparison {
    /// Whether the objects are the same.
    pub fn is_same(&self) -> bool {
        self.removed.is_empty() && self.modified.is_empty() && self.added.is_empty()
    }

    /// Without these fields and everything below them.
    #[must_use]
    pub fn without(self, fields: &Set) -> Self {
        if fields.is_empty() {
            return self;
        }
        Self {
            removed: self.removed.recursive_difference(fields),
            modified: self.modified.recursive_difference(fields),
            added: self.added.recursive_difference(fields),
        }
    }

    fn push(&mut self, element: impl FnOnce() -> PathElement, own: Own, below: Comparison) {
        if own == Own::default() && below.is_same() {
            return;
        }
        let element = element();
        for (set, member, children) in [
            (&mut self.removed, own.removed, below.removed),
            (&mut self.modified, own.modified, below.modified),
            (&mut self.added, own.added, below.added),
        ] {
            if member || !children.is_empty() {
                set.add(Node { element: element.clone(), member, children });
            }
        }
    }
}

/// In which of the sets a path itself is.
#[derive(Clone, Copy, Default, PartialEq)]
struct Own {
    removed: bool,
    modified: bool,
    added: bool,
}

/// Compares an object with an older one. An error is an element that has no place in its list.
pub fn compare(schema: SchemaRef<'_>, older: &Value, newer: &Value) -> Result<Comparison, String> {
    let mut out = Comparison::default();
    walk(schema, Some(older), Some(newer), &mut out)?;
    Ok(out)
}

/// The fields that a value sets.
pub fn fields_of(schema: SchemaRef<'_>, value: &Value) -> Result<Set, String> {
    let mut out = Set::new();
    collect(schema, value, &mut out)?;
    Ok(out)
}

fn walk(
    schema: SchemaRef<'_>,
    older: Option<&Value>,
    newer: Option<&Value>,
    out: &mut Comparison,
) -> Result<Own, String> {
    let mut own = Own { removed: newer.is_none(), modified: false, added: older.is_none() };
    let shapes = [older.map(|value| shape_of(schema, value)), newer.map(|value| shape_of(schema, value))];
    match shapes {
        [Some(first), Some(second)] if std::mem::discriminant(&first) != std::mem::discriminant(&second) => {
            // Untyped data that changed between a scalar and a map is walked as both.
            walk_shape(first, schema, older, newer, &mut own, out)?;
            walk_shape(second, schema, older, newer, &mut own, out)?;
        }
        [_, Some(shape)] | [Some(shape), None] => walk_shape(shape, schema, older, newer, &mut own, out)?,
        [None, None] => {}
    }
    Ok(own)
}

fn walk_shape(
    shape: Shape<'_>,
    schema: SchemaRef<'_>,
    older: Option<&Value>,
    newer: Option<&Value>,
    own: &mut Own,
    out: &mut Comparison,
) -> Result<(), String> {
    let is_leaf = match shape {
        Shape::Leaf => true,
        Shape::Map => {
            let (older, newer) = (older.and_then(Value::as_object), newer.and_then(Value::as_object));
            let empty = older.is_none_or(Object::is_empty) && newer.is_none_or(Object::is_empty);
            if !empty {
                walk_objects(schema, older, newer, out)?;
            }
            empty
        }
        Shape::List(list) => {
            let older = older.and_then(Value::as_array).unwrap_or(&[]);
            let newer = newer.and_then(Value::as_array).unwrap_or(&[]);
            if older == newer {
                check_places(schema, list, newer)?;
            } else {
                walk_lists(schema, list, older, newer, out)?;
            }
            older.is_empty() && newer.is_empty()
        }
    };
    if let (true, Some(older), Some(newer)) = (is_leaf, older, newer) {
        own.modified |= !same(older, newer);
    }
    Ok(())
}

fn walk_objects(
    schema: SchemaRef<'_>,
    older: Option<&Object>,
    newer: Option<&Object>,
    out: &mut Comparison,
) -> Result<(), String> {
    let def = schema.struct_def();
    let missing = |side: Option<&Object>, key: &str| match (side, def) {
        (Some(_), Some(def)) => absent(def, key),
        _ => None,
    };
    let mut left = older.into_iter().flat_map(Object::iter).peekable();
    let mut right = newer.into_iter().flat_map(Object::iter).peekable();
    loop {
        let order = match (left.peek(), right.peek()) {
            (None, None) => return Ok(()),
            (Some(_), None) => std::cmp::Ordering::Less,
            (None, Some(_)) => std::cmp::Ordering::Greater,
            (Some((a, _)), Some((b, _))) => order(a, b),
        };
        let a = if order.is_le() { left.next() } else { None };
        let b = if order.is_ge() { right.next() } else { None };
        let Some(key) = a.or(b).map(|(key, _)| key) else {
            return Ok(());
        };
        let a = a.map(|(_, value)| value).or_else(|| missing(older, key));
        let b = b.map(|(_, value)| value).or_else(|| missing(newer, key));
        let mut below = Comparison::default();
        let own = walk(member_of(schema, key), a, b, &mut below)?;
        out.push(|| PathElement::Field(key.into()), own, below);
    }
}

fn walk_lists(
    schema: SchemaRef<'_>,
    list: &ListType,
    older: &[Value],
    newer: &[Value],
    out: &mut Comparison,
) -> Result<(), String> {
    let mut elements: BTreeMap<PathElement, [Vec<&Value>; 2]> = BTreeMap::new();
    for (side, items) in [older, newer].into_iter().enumerate() {
        for (i, item) in items.iter().enumerate() {
            let element = element_of(schema.table, list, item).map_err(|error| format!("element {i}: {error}"))?;
            elements.entry(element).or_default()[side].push(item);
        }
    }
    let item_schema = item_of(schema);
    for (element, [left, right]) in elements {
        let mut below = Comparison::default();
        let mut own = Own::default();
        match (left.as_slice(), right.as_slice()) {
            ([] | [_], [] | [_]) => {
                own = walk(item_schema, left.first().copied(), right.first().copied(), &mut below)?;
            }
            // Duplicates count as one atomic element, and losing or getting them as a change of the element.
            ([_, _, ..], [_, _, ..]) => {
                let equal = left.len() == right.len() && left.iter().zip(&right).all(|(a, b)| same(a, b));
                own.modified = !equal;
            }
            ([_, _, ..], rest) => {
                if let Some(item) = rest.first() {
                    own = walk(item_schema, None, Some(item), &mut below)?;
                }
                own.removed = true;
            }
            (rest, _) => {
                if let Some(item) = rest.first() {
                    own = walk(item_schema, Some(item), None, &mut below)?;
                }
                own.added = true;
            }
        }
        out.push(|| element, own, below);
    }
    Ok(())
}

/// Collects what is below a value; returns whether the value itself counts as set.
fn collect(schema: SchemaRef<'_>, value: &Value, out: &mut Set) -> Result<bool, String> {
    match (shape_of(schema, value), value) {
        (Shape::Leaf, _) => return Ok(true),
        (Shape::Map, Value::Object(object)) => {
            let def = schema.struct_def();
            for (key, item) in object.iter() {
                let mut children = Set::new();
                let mut member = collect(member_of(schema, key), item, &mut children)?;
                member |= item.is_null() || item.as_object().is_some_and(Object::is_empty);
                member |= def.is_none_or(|def| def.field(key).is_none());
                out.add(Node { element: PathElement::Field(key.into()), member, children });
            }
        }
        (Shape::List(list), Value::Array(items)) => {
            let mut elements: BTreeMap<PathElement, Vec<&Value>> = BTreeMap::new();
            for (i, item) in items.iter().enumerate() {
                let element = element_of(schema.table, list, item).map_err(|error| format!("element {i}: {error}"))?;
                elements.entry(element).or_default().push(item);
            }
            for (element, items) in elements {
                let mut children = Set::new();
                if let [item] = items.as_slice() {
                    collect(item_of(schema), item, &mut children)?;
                }
                out.add(Node { element, member: true, children });
            }
        }
        _ => {}
    }
    Ok(false)
}
