//! Why a tree is no object of a kind, in the words of Go's conversion from maps
//! (`k8s.io/apimachinery/pkg/runtime/converter.go`): what a strategic merge patch that makes wrong types is told.

use skiff_apimachinery::schema::{Scalar, SchemaRef, Type};
use skiff_apimachinery::value::Value;

/// The first place where the value's type is not the schema's; `None` if there is none.
pub(super) fn mismatch(value: &Value, schema: SchemaRef<'_>) -> Option<String> {
    let kind = match value {
        Value::Null => return None,
        Value::Bool(_) => "bool",
        Value::Int(_) => "int64",
        Value::Float(_) => "float64",
        Value::String(_) | Value::Raw(_) => "string",
        Value::Array(_) => "slice",
        Value::Object(_) => "map",
    };
    match (schema.ty, value) {
        (Type::Any, _) => None,
        (Type::Struct(_) | Type::Map(_), Value::Object(object)) => {
            object.iter().find_map(|(key, member)| mismatch(member, schema.member(key)?))
        }
        (Type::List(_), Value::Array(items)) => {
            let item = schema.item()?;
            items.iter().find_map(|value| mismatch(value, item))
        }
        (Type::Struct(_), _) => Some(format!("cannot restore struct from: {kind}")),
        (Type::Map(_), _) => Some(format!("cannot restore map from {kind}")),
        (Type::List(_), _) => Some(format!("cannot restore slice from {kind}")),
        (Type::Scalar(scalar), value) => {
            let wanted = match scalar {
                Scalar::String => "string",
                Scalar::Bool => "bool",
                Scalar::Int32 => "int32",
                Scalar::Int64 => "int64",
                Scalar::Double => "float64",
                // These read JSON themselves.
                _ => return None,
            };
            let fits = match value {
                Value::String(_) => wanted == "string",
                Value::Bool(_) => wanted == "bool",
                Value::Int(_) | Value::Float(_) => matches!(wanted, "int32" | "int64" | "float64"),
                _ => false,
            };
            (!fits).then(|| format!("unrecognized type: {wanted}"))
        }
    }
}
