//! Whether a tree already is what its own JSON would be read as.
//!
//! What a patch made has to be decoded under the schema, which finds unknown fields and wrong types and writes scalars
//! in their canonical form. Nearly always there is nothing to find: most of the tree was decoded before. Telling so
//! costs a fraction of writing it and reading it again.

use super::{MAX_DEPTH, read, scalar};
use crate::schema::{FieldDef, Scalar, SchemaRef, Type};
use crate::value::{Object, Value};

/// Whether [`decode`](super::decode) of what [`write`](super::write) makes of the value would give the same value and
/// nothing to report. `false` may also mean that only decoding it can tell.
pub fn conforms(value: &Value, schema: SchemaRef<'_>) -> bool {
    at_depth(value, schema, 0)
}

fn at_depth(value: &Value, schema: SchemaRef<'_>, depth: usize) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(_) => matches!(schema.ty, Type::Any | Type::Scalar(Scalar::Bool)),
        Value::Int(number) => match schema.ty {
            Type::Any | Type::Scalar(Scalar::Int64 | Scalar::Double) => true,
            Type::Scalar(Scalar::Int32 | Scalar::IntOrString) => i32::try_from(*number).is_ok(),
            _ => false,
        },
        // A whole one is read as an integer.
        Value::Float(_) => false,
        Value::String(text) => match schema.ty {
            Type::Any | Type::Scalar(Scalar::String | Scalar::IntOrString | Scalar::Duration) => true,
            ty => scalar::string(text.clone(), ty).is_ok_and(|read| read.as_ref() == Some(value)),
        },
        Value::Raw(_) => matches!(schema.ty, Type::Scalar(Scalar::FieldsV1)),
        Value::Array(items) => match schema.item() {
            Some(item) if depth < MAX_DEPTH => items.iter().all(|value| element(value, item, depth + 1)),
            _ => false,
        },
        Value::Object(object) => depth < MAX_DEPTH && members(object, schema, depth + 1),
    }
}

fn element(value: &Value, schema: SchemaRef<'_>, depth: usize) -> bool {
    at_depth(value, schema, depth) && (!value.is_null() || *schema.ty == Type::Any)
}

fn members(object: &Object, schema: SchemaRef<'_>, depth: usize) -> bool {
    match schema.ty {
        Type::Struct(_) => object.iter().all(|(key, value)| match schema.field_def(key) {
            Some(field) => field_conforms(key, value, field, schema, depth),
            None => schema.member(key).is_some_and(|member| at_depth(value, member, depth)),
        }),
        Type::Map(map) => {
            let member = SchemaRef::new(schema.table, &map.value);
            object.iter().all(|(_, value)| element(value, member, depth))
        }
        Type::Any => object.iter().all(|(_, value)| at_depth(value, schema, depth)),
        Type::Scalar(_) | Type::List(_) => false,
    }
}

fn field_conforms(key: &str, value: &Value, field: &FieldDef, schema: SchemaRef<'_>, depth: usize) -> bool {
    read::is_kept(key, value, field) && at_depth(value, SchemaRef::new(schema.table, &field.ty), depth)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json;
    use crate::schema::{ListKind, ListType, MapType, TypeDef, TypeTable};
    use crate::value;

    /// Says what decoding says, for each of these in a field of each type.
    #[test]
    fn a_tree_conforms_just_when_reading_it_changes_nothing() {
        let scalars = [
            Scalar::Bool,
            Scalar::Int32,
            Scalar::Int64,
            Scalar::Double,
            Scalar::String,
            Scalar::Bytes,
            Scalar::Quantity,
            Scalar::IntOrString,
            Scalar::Time,
            Scalar::MicroTime,
            Scalar::Duration,
        ];
        let mut types: Vec<Type> = scalars.into_iter().map(Type::Scalar).collect();
        types.push(Type::Any);
        let list = |item| ListType { item, kind: ListKind::Atomic, map_keys: Vec::new(), patch_merge_key: None };
        types.push(Type::List(Box::new(list(Type::Scalar(Scalar::String)))));
        types.push(Type::Map(Box::new(MapType { value: Type::Scalar(Scalar::Quantity), atomic: false })));
        let values = [
            value!(null),
            value!(true),
            value!(false),
            value!(0),
            value!(7),
            value!(5_000_000_000_i64),
            Value::Float(1.5),
            Value::Float(1.0),
            value!(""),
            value!("a"),
            value!("YQ=="),
            value!("1000m"),
            value!("1"),
            value!("2026-01-01T00:00:00Z"),
            value!("2026-01-01T00:00:00.000000Z"),
            value!("2026-01-01T01:00:00+01:00"),
            value!([]),
            value!(["a"]),
            value!([null]),
            value!({}),
            value!({"a": "1"}),
            value!({"a": "1000m"}),
            value!({"a": null}),
        ];
        let (mut same, mut others) = (0, 0);
        for ty in types {
            let fields = vec![FieldDef::new("field", ty.clone())];
            let def = TypeDef { name: "Root".into(), fields, atomic: false, preserve_unknown: false };
            let table = TypeTable::new(vec![def]);
            let schema = table.schema(crate::schema::TypeId(0));
            for value in &values {
                let object = Value::Object([("field", value.clone())].into_iter().collect());
                let mut text = Vec::new();
                json::write(&object, &mut text);
                let read = json::decode(&text, schema);
                let unchanged = read.is_ok_and(|read| read.value == object && read.unknown.is_empty());
                let says = conforms(&object, schema);
                // Of floats it says nothing.
                assert!(says == unchanged || !says && matches!(value, Value::Float(_)), "{object:?} {ty:?}: {says}");
                *if says { &mut same } else { &mut others } += 1;
            }
            assert!(!conforms(&value!({"unknown": 1}), schema));
        }
        assert!(same > 40 && others > 100, "{same} {others}");
    }
}
