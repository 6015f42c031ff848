//! From a tree to a message.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::layout::{Layout, Node};
use super::{MAX_DEPTH, wire};
use crate::json::{self, DecodeError};
use crate::schema::{Scalar, SchemaRef, Type, TypeId, TypeTable, Wrapped};
use crate::time::{Moment, Precision};
use crate::value::{Object, Value};

/// Appends the message of an object.
pub(super) fn message(schema: SchemaRef<'_>, value: &Value, out: &mut Vec<u8>) -> Result<(), DecodeError> {
    let Type::Struct(id) = schema.ty else {
        return Err(DecodeError("only structs are messages".into()));
    };
    let encoder = Encoder { table: schema.table };
    encoder.object(*id, value.as_object(), out, 0)
}

struct Encoder<'a> {
    table: &'a TypeTable,
}

fn mismatch(expected: &str, value: &Value) -> DecodeError {
    let mut text = Vec::new();
    json::write(value, &mut text);
    text.truncate(64);
    DecodeError(format!("{} is not a {expected}", String::from_utf8_lossy(&text)))
}

impl Encoder<'_> {
    /// A struct, or what it is when nothing is set.
    fn object(&self, id: TypeId, object: Option<&Object>, out: &mut Vec<u8>, depth: u32) -> Result<(), DecodeError> {
        if depth > MAX_DEPTH {
            return Err(DecodeError("exceeded max depth".into()));
        }
        self.level(id, self.table.layout(id), object, out, depth)
    }

    fn level(
        &self,
        id: TypeId,
        layout: &Layout,
        object: Option<&Object>,
        out: &mut Vec<u8>,
        depth: u32,
    ) -> Result<(), DecodeError> {
        let fields = &self.table.def(id).fields;
        for (number, node) in layout {
            match node {
                Node::Message(inner) => {
                    wire::message(out, *number, |out| self.level(id, inner, object, out, depth))?;
                }
                Node::Field(at) => {
                    let field = &fields[*at];
                    match object.and_then(|object| object.get(&field.name)).filter(|value| !value.is_null()) {
                        Some(value) => self.value(*number, &field.ty, field.wire.wrapped, value, out, depth)?,
                        None if !field.wire.pointer => self.zero(*number, &field.ty, out, depth)?,
                        None => {}
                    }
                }
            }
        }
        Ok(())
    }

    /// What Go writes for a field that is no pointer and not set.
    fn zero(&self, number: u32, ty: &Type, out: &mut Vec<u8>, depth: u32) -> Result<(), DecodeError> {
        match ty {
            Type::Struct(id) => return wire::message(out, number, |out| self.object(*id, None, out, depth + 1)),
            Type::Scalar(Scalar::Bool | Scalar::Int32 | Scalar::Int64) => wire::put_integer(out, number, 0),
            Type::Scalar(Scalar::Double) => wire::put_double(out, number, 0.0),
            Type::Scalar(Scalar::String) => wire::put_bytes(out, number, b""),
            Type::Scalar(Scalar::Quantity) => {
                return wire::message(out, number, |out| {
                    wire::put_bytes(out, 1, b"0");
                    Ok(())
                });
            }
            Type::Scalar(Scalar::IntOrString) => {
                return wire::message(out, number, |out| int_or_string(&Value::Int(0), out));
            }
            Type::Scalar(Scalar::Time | Scalar::MicroTime) | Type::Any => wire::put_bytes(out, number, b""),
            Type::Scalar(Scalar::Bytes | Scalar::FieldsV1 | Scalar::Duration) | Type::List(_) | Type::Map(_) => {}
        }
        Ok(())
    }

    fn value(
        &self,
        number: u32,
        ty: &Type,
        wrapped: Wrapped,
        value: &Value,
        out: &mut Vec<u8>,
        depth: u32,
    ) -> Result<(), DecodeError> {
        match ty {
            Type::Scalar(scalar) => self::scalar(number, *scalar, value, out),
            Type::Struct(id) => {
                let object = value.as_object().ok_or_else(|| mismatch("message", value))?;
                wire::message(out, number, |out| self.object(*id, Some(object), out, depth + 1))
            }
            Type::Any if wrapped != Wrapped::No => {
                wire::message(out, number, |out| self.schema_or(wrapped, value, out, depth))
            }
            Type::Any => wire::message(out, number, |out| {
                let mut text = Vec::new();
                json::write(value, &mut text);
                wire::put_bytes(out, 1, &text);
                Ok(())
            }),
            Type::List(list) => {
                let items = value.as_array().ok_or_else(|| mismatch("list", value))?;
                let each = |number, out: &mut Vec<u8>| {
                    let mut items = items.iter();
                    items.try_for_each(|item| self.value(number, &list.item, Wrapped::No, item, out, depth))
                };
                match wrapped {
                    Wrapped::Items => wire::message(out, number, |out| each(1, out)),
                    _ => each(number, out),
                }
            }
            Type::Map(map) => {
                let entries = value.as_object().ok_or_else(|| mismatch("map", value))?;
                for (key, value) in entries.iter() {
                    wire::message(out, number, |out| {
                        wire::put_bytes(out, 1, key.as_bytes());
                        self.value(2, &map.value, wrapped, value, out, depth)
                    })?;
                }
                Ok(())
            }
        }
    }

    /// `JSONSchemaPropsOr...`: JSON has one of two things where Go has a struct of both.
    fn schema_or(&self, wrapped: Wrapped, value: &Value, out: &mut Vec<u8>, depth: u32) -> Result<(), DecodeError> {
        let schema = |number, object: &Object, out: &mut Vec<u8>| {
            let id = self.table.lookup(super::layout::JSON_SCHEMA_PROPS);
            let id = id.ok_or_else(|| DecodeError("this table has no JSONSchemaProps".into()))?;
            wire::message(out, number, |out| self.object(id, Some(object), out, depth + 1))
        };
        match (wrapped, value) {
            (Wrapped::SchemaOrBool, Value::Bool(allows)) => {
                wire::put_integer(out, 1, i64::from(*allows));
                Ok(())
            }
            (Wrapped::SchemaOrBool, Value::Object(object)) => {
                wire::put_integer(out, 1, 1);
                schema(2, object, out)
            }
            (_, Value::Object(object)) => schema(1, object, out),
            (Wrapped::SchemaOrArray, Value::Array(items)) => items.iter().try_for_each(|item| {
                let object = item.as_object().ok_or_else(|| mismatch("message", item))?;
                schema(2, object, out)
            }),
            (Wrapped::SchemaOrStringArray, Value::Array(items)) => {
                items.iter().try_for_each(|item| self::scalar(2, Scalar::String, item, out))
            }
            _ => Err(mismatch("schema", value)),
        }
    }
}

fn scalar(number: u32, scalar: Scalar, value: &Value, out: &mut Vec<u8>) -> Result<(), DecodeError> {
    let text = || value.as_str().ok_or_else(|| mismatch("string", value));
    match scalar {
        Scalar::Bool => {
            let value = value.as_bool().ok_or_else(|| mismatch("boolean", value))?;
            wire::put_integer(out, number, i64::from(value));
        }
        Scalar::Int32 | Scalar::Int64 => {
            wire::put_integer(out, number, value.as_i64().ok_or_else(|| mismatch("integer", value))?);
        }
        Scalar::Double => match value {
            Value::Float(value) => wire::put_double(out, number, *value),
            Value::Int(value) => wire::put_double(out, number, *value as f64),
            _ => return Err(mismatch("number", value)),
        },
        Scalar::String => wire::put_bytes(out, number, text()?.as_bytes()),
        Scalar::Bytes => {
            let bytes = STANDARD.decode(text()?).map_err(|_| mismatch("base64 text", value))?;
            wire::put_bytes(out, number, &bytes);
        }
        Scalar::Quantity => {
            let number_text;
            let text = match value {
                Value::Int(value) => {
                    number_text = value.to_string();
                    number_text.as_str()
                }
                _ => text()?,
            };
            return wire::message(out, number, |out| {
                wire::put_bytes(out, 1, text.as_bytes());
                Ok(())
            });
        }
        Scalar::IntOrString => return wire::message(out, number, |out| int_or_string(value, out)),
        Scalar::Time | Scalar::MicroTime => {
            let precision = if scalar == Scalar::MicroTime { Precision::Micros } else { Precision::Seconds };
            let at = Moment::parse(text()?, precision).map_err(|_| mismatch("time", value))?;
            return wire::message(out, number, |out| {
                timestamp(at, precision, out);
                Ok(())
            });
        }
        // No kind with a protobuf form has one.
        Scalar::Duration => return Err(mismatch("protobuf value", value)),
        Scalar::FieldsV1 => {
            let mut text = Vec::new();
            json::write(value, &mut text);
            return wire::message(out, number, |out| {
                wire::put_bytes(out, 1, &text);
                Ok(())
            });
        }
    }
    Ok(())
}

fn timestamp(at: Moment, precision: Precision, out: &mut Vec<u8>) {
    let nanosecond = match precision {
        Precision::Seconds => 0,
        Precision::Micros => at.nanosecond / 1000 * 1000,
    };
    wire::put_integer(out, 1, at.second);
    wire::put_integer(out, 2, i64::from(nanosecond));
}

fn int_or_string(value: &Value, out: &mut Vec<u8>) -> Result<(), DecodeError> {
    let (kind, integer, text) = match value {
        Value::Int(integer) => (0, *integer, ""),
        Value::String(text) => (1, 0, text.as_str()),
        _ => return Err(mismatch("integer or string", value)),
    };
    wire::put_integer(out, 1, kind);
    wire::put_integer(out, 2, integer);
    wire::put_bytes(out, 3, text.as_bytes());
    Ok(())
}
