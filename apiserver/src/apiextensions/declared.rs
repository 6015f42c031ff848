//! The types that expressions see in a schema (`apiserver/pkg/cel/common/schemas.go`).
//!
//! Sizes are the largest that a request could carry, where the schema does not say less.

use std::collections::BTreeMap;
use std::sync::Arc;

use skiff_apimachinery::schema::ListKind;
use skiff_apimachinery::value::Value;
use skiff_cel::declared::{Declared, Member, Object, Shape};
use skiff_cel::escape::escape;
use skiff_cel::types::Type;

use super::schema::{Bounds, Schema};

/// Bytes of a request, at most.
pub const MAX_REQUEST: u64 = 3 * 1024 * 1024;
const MIN_DURATION: u64 = 3;
const MAX_DURATION: u64 = 32;
const DATE: u64 = 12;
const MIN_DATE_TIME: u64 = 21;
const MAX_DATE_TIME: u64 = 32;

/// The type of values under a schema; `None` where expressions cannot look at them.
///
/// `name` is what its objects are called. A resource, whole or embedded, has its kind and name in any case.
pub fn of(schema: &Schema, name: &str, is_resource: bool) -> Option<Declared> {
    let sized = |ty: Type, max_elements: u64, min_size: u64| Declared {
        shape: Shape::Plain(ty),
        max_elements: Some(max_elements),
        min_size,
    };
    if schema.int_or_string {
        return Some(sized(Type::Dyn, limit(schema.length, 4).unwrap_or(MAX_REQUEST - 2), 1));
    }
    Some(match schema.ty.as_str() {
        "array" => {
            let items = schema.items.as_deref()?;
            let of_items = of(items, &format!("{name}.@idx"), items.embedded)?;
            let max = limit(schema.item_count, 1).unwrap_or((MAX_REQUEST - 2) / (of_items.min_size + 1));
            let kind = schema.list_type.unwrap_or(ListKind::Atomic);
            Declared { shape: Shape::List(Arc::new(of_items), kind), max_elements: Some(max), min_size: 2 }
        }
        "object" => match schema.additional_schema() {
            Some(additional) => {
                let of_values = of(additional, &format!("{name}.@elem"), additional.embedded)?;
                let max = limit(schema.property_count, 1).unwrap_or((MAX_REQUEST - 2) / (of_values.min_size + 6));
                Declared { shape: Shape::Map(Arc::new(of_values)), max_elements: Some(max), min_size: 2 }
            }
            None => object(schema, name, is_resource),
        },
        "string" => match schema.format.as_str() {
            "byte" => sized(Type::Bytes, limit(schema.length, 1).unwrap_or(MAX_REQUEST - 2), 2),
            "duration" => sized(Type::Duration, MAX_DURATION, MIN_DURATION),
            "date" => sized(Type::Timestamp, DATE, DATE),
            "date-time" => sized(Type::Timestamp, MAX_DATE_TIME, MIN_DATE_TIME),
            _ => sized(Type::String, string_length(schema), 2),
        },
        "boolean" => Declared { min_size: 4, ..Declared::plain(Type::Bool) },
        "number" => Declared::plain(Type::Double),
        "integer" => Declared::plain(Type::Int),
        _ => return None,
    })
}

/// An upper bound, times bytes per element.
fn limit(bounds: Bounds, bytes: u64) -> Option<u64> {
    bounds.max.map(|max| u64::try_from(max).unwrap_or(0).saturating_mul(bytes))
}

fn string_length(schema: &Schema) -> u64 {
    let longest = || schema.allowed.iter().filter_map(Value::as_str).map(|text| text.len() as u64).max();
    // A character has four bytes at most.
    limit(schema.length, 4).or_else(longest).unwrap_or(MAX_REQUEST - 2)
}

fn object(schema: &Schema, name: &str, is_resource: bool) -> Declared {
    // Braces are always there, and so is what is required and gets no default.
    let mut min_size = 2;
    let mut fields = BTreeMap::new();
    for (key, property) in &schema.properties {
        let Some(ty) = of(property, &format!("{name}.{key}"), property.embedded) else { continue };
        if schema.required.contains(key) && property.default.is_none() {
            min_size += key.len() as u64 + ty.min_size + 4;
        }
        if let Some(escaped) = escape(key) {
            fields.insert(escaped, Member { key: key.to_string(), ty: Arc::new(ty) });
        }
    }
    if is_resource {
        add_meta(&mut fields, name);
    }
    let object = Arc::new(Object { name: name.to_owned(), fields });
    Declared { shape: Shape::Object(object), max_elements: None, min_size }
}

/// Adds the kind and the name that every resource has.
fn add_meta(fields: &mut BTreeMap<String, Member>, name: &str) {
    let text = || Declared { max_elements: Some(MAX_REQUEST - 2), min_size: 2, ..Declared::plain(Type::String) };
    let has_name = |ty: &Declared| match &ty.shape {
        Shape::Object(object) => object.fields.contains_key("name") && object.fields.contains_key("generateName"),
        _ => false,
    };
    let complete = ["kind", "apiVersion"].iter().all(|key| fields.contains_key(*key))
        && fields.get("metadata").is_some_and(|member| has_name(&member.ty));
    if complete {
        return;
    }
    let metadata = Object::new(format!("{name}.metadata"), [("name", text()), ("generateName", text())]);
    for (key, ty) in [("kind", text()), ("apiVersion", text()), ("metadata", Declared::object(metadata))] {
        fields.insert(key.to_owned(), Member { key: key.to_owned(), ty: Arc::new(ty) });
    }
}
