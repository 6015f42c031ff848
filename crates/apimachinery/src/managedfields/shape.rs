//! How a value is owned: as a whole, by member, or by element.
//!
//! The counterpart of `structured-merge-diff/typed`'s resolution of a schema against a value.

use crate::schema::{FieldDef, ListKind, ListType, Scalar, SchemaRef, Type, TypeDef, TypeTable};
use crate::value::{Object, Value};

use super::path::PathElement;

/// How a value is owned.
#[derive(Clone, Copy)]
pub(super) enum Shape<'a> {
    /// As a whole: a scalar, or an atomic list or map.
    Leaf,
    /// By member.
    Map,
    /// By element.
    List(&'a ListType),
}

/// The shape of a value under its schema. Untyped data is owned by member, its lists as a whole.
pub(super) fn shape_of<'a>(schema: SchemaRef<'a>, value: &Value) -> Shape<'a> {
    match schema.ty {
        Type::Scalar(_) => Shape::Leaf,
        Type::Struct(_) | Type::Map(_) if schema.is_atomic() => Shape::Leaf,
        Type::Struct(_) | Type::Map(_) => Shape::Map,
        Type::List(list) if list.kind == ListKind::Atomic => Shape::Leaf,
        Type::List(list) => Shape::List(list),
        Type::Any => match value {
            Value::Object(_) | Value::Null => Shape::Map,
            _ => Shape::Leaf,
        },
    }
}

static ANY: Type = Type::Any;

/// The schema of a member; what the schema does not know is untyped.
pub(super) fn member_of<'a>(schema: SchemaRef<'a>, name: &str) -> SchemaRef<'a> {
    schema.member(name).unwrap_or(SchemaRef::new(schema.table, &ANY))
}

/// The schema of a list's elements.
pub(super) fn item_of(schema: SchemaRef<'_>) -> SchemaRef<'_> {
    schema.item().unwrap_or(SchemaRef::new(schema.table, &ANY))
}

/// What a struct field of a built-in kind holds when it is absent, or `None` if absence is nothing.
///
/// Upstream compares Go structs, in which a nested struct is always there and a field that is never omitted has its
/// zero value; so nobody comes to own `.spec` by being the first to set `.spec.replicas`. The tables tell these fields
/// by what Go always writes, other schemas by an empty or zero default. Custom resources are compared as they are.
pub(super) fn absent(def: &TypeDef, field: &str) -> Option<&'static Value> {
    static NULL: Value = Value::Null;
    static OBJECT: Value = Value::Object(Object::new());
    static STRING: Value = Value::String(compact_str::CompactString::const_new(""));
    static ZERO: Value = Value::Int(0);
    static FALSE: Value = Value::Bool(false);
    if !def.name.starts_with("io.k8s.") {
        return None;
    }
    let FieldDef { default, required, wire, ty, .. } = def.field(field)?;
    if !wire.pointer && !wire.proto.numbers().is_empty() {
        match ty {
            Type::Struct(_) => return Some(&OBJECT),
            Type::Scalar(Scalar::String) if wire.keep_empty => return Some(&STRING),
            Type::Scalar(Scalar::Int32 | Scalar::Int64) if wire.keep_empty => return Some(&ZERO),
            Type::Scalar(Scalar::Bool) if wire.keep_empty => return Some(&FALSE),
            _ => {}
        }
    }
    match default {
        Some(Value::Object(object)) if object.is_empty() => Some(&OBJECT),
        Some(Value::String(text)) if text.is_empty() => Some(&STRING),
        Some(Value::Int(0)) => Some(&ZERO),
        Some(Value::Bool(false)) => Some(&FALSE),
        _ if *required || wire.keep_empty => Some(&NULL),
        _ => None,
    }
}

/// A key field of a list's element: its value, else its default.
pub(super) fn key_value<'a>(
    table: &'a TypeTable,
    list: &'a ListType,
    item: &'a Object,
    key: &str,
) -> Option<&'a Value> {
    item.get(key).or_else(|| {
        let Type::Struct(id) = &list.item else { return None };
        let def = table.def(*id);
        // What Go always writes has its zero value where nothing was said.
        let zero = || absent(def, key).filter(|zero| !matches!(zero, Value::Null | Value::Object(_)));
        def.field(key)?.default.as_ref().or_else(zero)
    })
}

/// The step that selects an element of a set or keyed list.
pub(super) fn element_of(table: &TypeTable, list: &ListType, item: &Value) -> Result<PathElement, String> {
    if list.kind == ListKind::Set {
        return match item {
            Value::Object(_) | Value::Raw(_) => {
                Err("associative list without keys has an element that's a map type".into())
            }
            Value::Array(_) => Err("not supported: associative list with lists as elements".into()),
            Value::Null => Err("associative list without keys has an element that's an explicit null".into()),
            scalar => Ok(PathElement::Value(scalar.clone())),
        };
    }
    let object = match item {
        Value::Object(object) => object,
        Value::Null => return Err("associative list with keys may not have a null element".into()),
        _ => return Err("associative list with keys may not have non-map elements".into()),
    };
    let mut keys: Vec<_> = list
        .map_keys
        .iter()
        .filter_map(|key| Some((key.clone(), key_value(table, list, object, key)?.clone())))
        .collect();
    if keys.is_empty() {
        let names: Vec<String> = list.map_keys.iter().map(|key| format!("{key:?}")).collect();
        return Err(format!(
            "associative list with keys has an element that omits all key fields [{}] (and doesn't have default values \
             for any key fields)",
            names.join(" ")
        ));
    }
    keys.sort_by(|a, b| a.0.cmp(&b.0));
    Ok(PathElement::Key(keys))
}

/// Checks that each element of a list, and of the lists in it, has a step that selects it. The error is that of
/// [`element_of`].
pub(super) fn check_places(schema: SchemaRef<'_>, list: &ListType, items: &[Value]) -> Result<(), String> {
    for (i, item) in items.iter().enumerate() {
        if !has_place(schema.table, list, item) {
            element_of(schema.table, list, item).map_err(|error| format!("element {i}: {error}"))?;
        }
        check_all_places(item_of(schema), item)?;
    }
    Ok(())
}

/// [`check_places`] for all lists in a value.
pub(super) fn check_all_places(schema: SchemaRef<'_>, value: &Value) -> Result<(), String> {
    match (shape_of(schema, value), value) {
        (Shape::List(list), Value::Array(items)) => check_places(schema, list, items),
        (Shape::Map, Value::Object(object)) if !matches!(schema.ty, Type::Any) => {
            let nested = object.iter().filter(|(_, value)| matches!(value, Value::Object(_) | Value::Array(_)));
            nested.map(|(key, value)| check_all_places(member_of(schema, key), value)).collect()
        }
        _ => Ok(()),
    }
}

/// Whether [`element_of`] has a step for an element.
fn has_place(table: &TypeTable, list: &ListType, item: &Value) -> bool {
    match (list.kind, item) {
        (ListKind::Set, _) => !matches!(item, Value::Null | Value::Array(_) | Value::Object(_) | Value::Raw(_)),
        (_, Value::Object(object)) => list.map_keys.iter().any(|key| key_value(table, list, object, key).is_some()),
        _ => false,
    }
}

/// Checks a value against its schema as apply does; the messages name the paths.
pub(super) fn validate(schema: SchemaRef<'_>, value: &Value, duplicates_allowed: bool) -> Result<(), String> {
    let mut check = Check { duplicates_allowed, path: String::new(), errors: Vec::new() };
    check.value(schema, value);
    match check.errors.as_slice() {
        [] => Ok(()),
        [error] => Err(error.clone()),
        errors => Err(format!("errors:\n  {}", errors.join("\n  "))),
    }
}

struct Check {
    duplicates_allowed: bool,
    path: String,
    errors: Vec<String>,
}

impl Check {
    fn error(&mut self, message: impl AsRef<str>) {
        let message = message.as_ref();
        self.errors.push(if self.path.is_empty() { message.into() } else { format!("{}: {message}", self.path) });
    }

    fn below(&mut self, step: &PathElement, check: impl FnOnce(&mut Self)) {
        let length = self.path.len();
        self.path.push_str(&step.to_string());
        check(self);
        self.path.truncate(length);
    }

    fn value(&mut self, schema: SchemaRef<'_>, value: &Value) {
        match (schema.ty, value) {
            (_, Value::Null) | (Type::Any, _) => {}
            (Type::Scalar(scalar), _) => self.scalar(*scalar, value),
            (Type::List(list), Value::Array(items)) => self.list(schema, list, items),
            (Type::List(_), _) => self.error(format!("expected list, got &{{{}}}", go(value))),
            (Type::Struct(_) | Type::Map(_), Value::Object(object)) => self.object(schema, object),
            (Type::Struct(_) | Type::Map(_), _) => self.error(format!("expected map, got &{{{}}}", go(value))),
        }
    }

    fn scalar(&mut self, scalar: Scalar, value: &Value) {
        let is_scalar = !matches!(value, Value::Array(_) | Value::Object(_) | Value::Raw(_));
        match scalar {
            Scalar::FieldsV1 => {}
            Scalar::Bool if value.as_bool().is_none() => {
                self.error(format!("expected boolean, got &{{{}}}", go(value)));
            }
            Scalar::Int32 | Scalar::Int64 | Scalar::Double if !matches!(value, Value::Int(_) | Value::Float(_)) => {
                let kind = crate::patch::go_type_name(value);
                self.error(format!("expected numeric (int or float), got {kind}"));
            }
            Scalar::String | Scalar::Bytes | Scalar::Duration if value.as_str().is_none() => {
                self.error(format!("expected string, got &value.valueUnstructured{{Value:{}}}", go(value)));
            }
            Scalar::Quantity | Scalar::IntOrString | Scalar::Time | Scalar::MicroTime if !is_scalar => {
                self.error(format!("expected any scalar, got &{{{}}}", go(value)));
            }
            _ => {}
        }
    }

    fn list(&mut self, schema: SchemaRef<'_>, list: &ListType, items: &[Value]) {
        let mut seen = std::collections::BTreeSet::new();
        for (i, item) in items.iter().enumerate() {
            let step = if list.kind == ListKind::Atomic {
                PathElement::Index(i as i64)
            } else {
                match element_of(schema.table, list, item) {
                    Ok(step) => step,
                    Err(error) => return self.error(format!("element {i}: {error}")),
                }
            };
            self.below(&step, |check| check.value(item_of(schema), item));
            if list.kind != ListKind::Atomic && !self.duplicates_allowed && seen.contains(&step) {
                self.error(format!("duplicate entries for key {step}"));
            }
            seen.insert(step);
        }
    }

    fn object(&mut self, schema: SchemaRef<'_>, object: &Object) {
        for (key, value) in object.iter() {
            let step = PathElement::Field(key.into());
            match schema.member(key) {
                Some(member) => self.below(&step, |check| check.value(member, value)),
                // Upstream stops at a struct's first unknown field.
                None => return self.below(&step, |check| check.error("field not declared in schema")),
            }
        }
    }
}

fn go(value: &Value) -> String {
    crate::patch::go_text(value)
}
