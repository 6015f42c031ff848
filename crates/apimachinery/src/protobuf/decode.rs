//! From a message to a tree.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::MAX_DEPTH;
use super::layout::{self, JSON_SCHEMA_PROPS, Layout, Node};
use super::wire::{self, Field, wrong_wire_type};
use crate::json::{self, DecodeError};
use crate::quantity;
use crate::schema::{FieldDef, Scalar, SchemaRef, Type, TypeId, TypeTable, Wrapped};
use crate::time::{Moment, Precision};
use crate::value::{Object, Value};

/// Seconds since 1970 of the years that have four digits.
const SECONDS: std::ops::Range<i64> = -62_167_219_200..253_402_300_800;

/// Reads a message.
pub(super) fn message(schema: SchemaRef<'_>, bytes: &[u8]) -> Result<Value, DecodeError> {
    let Type::Struct(id) = schema.ty else {
        return Err(DecodeError("only structs are messages".into()));
    };
    let decoder = Decoder { table: schema.table };
    Ok(Value::Object(decoder.object(*id, bytes, 0)?))
}

struct Decoder<'a> {
    table: &'a TypeTable,
}

impl Decoder<'_> {
    fn object(&self, id: TypeId, bytes: &[u8], depth: u32) -> Result<Object, DecodeError> {
        if depth > MAX_DEPTH {
            return Err(DecodeError("exceeded max depth".into()));
        }
        let fields = &self.table.def(id).fields;
        let mut slots: Vec<Option<Value>> = vec![None; fields.len()];
        self.level(id, self.table.layout(id), bytes, &mut slots, depth)?;
        let set = fields.iter().zip(slots).filter_map(|(field, mut slot)| {
            settle(&field.ty, &mut slot);
            let value = slot.filter(|value| !is_absence(field, value))?;
            Some((field.name.clone(), value))
        });
        // Fields are sorted by name already.
        Ok(Object::from_unsorted(set.collect()).0)
    }

    fn level(
        &self,
        id: TypeId,
        layout: &Layout,
        bytes: &[u8],
        slots: &mut [Option<Value>],
        depth: u32,
    ) -> Result<(), DecodeError> {
        let fields = &self.table.def(id).fields;
        wire::fields(bytes, |number, value| match layout::find(layout, number) {
            // A field of a newer version.
            None => Ok(()),
            Some(Node::Message(inner)) => self.level(id, inner, value.bytes()?, slots, depth),
            Some(Node::Field(at)) => {
                let field = &fields[*at];
                self.add(&field.ty, field.wire.wrapped, value, &mut slots[*at], depth)
            }
        })
    }

    /// Notes a value: in place of what is there, or after it in a list or map.
    fn add(
        &self,
        ty: &Type,
        wrapped: Wrapped,
        field: Field<'_>,
        slot: &mut Option<Value>,
        depth: u32,
    ) -> Result<(), DecodeError> {
        match ty {
            Type::Scalar(scalar) => *slot = self::scalar(*scalar, field)?,
            Type::Struct(id) => *slot = Some(Value::Object(self.object(*id, field.bytes()?, depth + 1)?)),
            Type::Any if wrapped != Wrapped::No => *slot = Some(self.schema_or(wrapped, field.bytes()?, depth)?),
            Type::Any => *slot = raw_json(field.bytes()?)?,
            Type::List(list) if wrapped == Wrapped::Items => {
                let mut items = Some(Value::Array(Vec::new()));
                wire::fields(field.bytes()?, |number, value| match number {
                    1 => self.add(&Type::List(list.clone()), Wrapped::No, value, &mut items, depth),
                    _ => Ok(()),
                })?;
                *slot = items;
            }
            Type::List(list) => {
                let items = slot.get_or_insert_with(|| Value::Array(Vec::new()));
                let Value::Array(items) = items else { return Err(wrong_wire_type()) };
                if let (Type::Scalar(scalar @ (Scalar::Int32 | Scalar::Int64)), Field::Bytes(bytes)) =
                    (&list.item, field)
                {
                    return wire::packed(bytes, |value| items.push(integer(*scalar, value)));
                }
                let mut item = None;
                self.add(&list.item, Wrapped::No, field, &mut item, depth)?;
                items.push(item.unwrap_or(Value::Null));
            }
            Type::Map(map) => {
                let (mut key, mut value) = ("", None);
                wire::fields(field.bytes()?, |number, field| {
                    match number {
                        1 => key = field.text()?,
                        2 => self.add(&map.value, wrapped, field, &mut value, depth)?,
                        _ => {}
                    }
                    Ok(())
                })?;
                settle(&map.value, &mut value);
                let entries = slot.get_or_insert_with(|| Value::Object(Object::new()));
                let Value::Object(entries) = entries else { return Err(wrong_wire_type()) };
                entries.append(key.into(), value.unwrap_or_else(|| map.value.zero()));
            }
        }
        Ok(())
    }

    fn schema_or(&self, wrapped: Wrapped, bytes: &[u8], depth: u32) -> Result<Value, DecodeError> {
        let id = self.table.lookup(JSON_SCHEMA_PROPS);
        let id = id.ok_or_else(|| DecodeError("this table has no JSONSchemaProps".into()))?;
        let (mut schema, mut items, mut allows) = (None, Vec::new(), false);
        wire::fields(bytes, |number, field| {
            match (wrapped, number) {
                (Wrapped::SchemaOrBool, 1) => allows = field.varint()? != 0,
                (Wrapped::SchemaOrBool, 2) | (_, 1) => {
                    schema = Some(Value::Object(self.object(id, field.bytes()?, depth + 1)?));
                }
                (Wrapped::SchemaOrArray, 2) => items.push(Value::Object(self.object(id, field.bytes()?, depth + 1)?)),
                (Wrapped::SchemaOrStringArray, 2) => items.push(Value::String(field.text()?.into())),
                _ => {}
            }
            Ok(())
        })?;
        Ok(match (schema, wrapped) {
            (Some(schema), _) => schema,
            (None, Wrapped::SchemaOrBool) => Value::Bool(allows),
            (None, _) => Value::Array(items),
        })
    }
}

/// Puts the entries of a finished map in order.
fn settle(ty: &Type, slot: &mut Option<Value>) {
    if let (Type::Map(_), Some(Value::Object(entries))) = (ty, slot) {
        entries.settle();
    }
}

/// Whether a value that came is what Go writes for a field that is not set.
fn is_absence(field: &FieldDef, value: &Value) -> bool {
    let zero = match value {
        Value::Null => return true,
        Value::Bool(value) => !value,
        Value::Int(value) => *value == 0,
        Value::Float(value) => *value == 0.0,
        Value::String(text) if field.ty == Type::Scalar(Scalar::Quantity) => text == "0",
        Value::String(text) => text.is_empty(),
        Value::Object(object) => object.is_empty() && matches!(field.ty, Type::Struct(_)),
        Value::Array(_) | Value::Raw(_) => false,
    };
    zero && !field.wire.pointer && !(field.wire.keep_empty && is_plain(&field.ty))
}

/// Scalars that JSON writes even when they are empty, where the Go field says so.
fn is_plain(ty: &Type) -> bool {
    matches!(ty, Type::Scalar(Scalar::Bool | Scalar::Int32 | Scalar::Int64 | Scalar::Double | Scalar::String))
}

fn integer(scalar: Scalar, value: u64) -> Value {
    match scalar {
        Scalar::Int32 => Value::Int(i64::from(value as i32)),
        _ => Value::Int(value as i64),
    }
}

/// A number as JSON has it: without a fraction where it is whole.
fn double(number: f64) -> Value {
    let whole = number as i64;
    if whole as f64 == number && whole.unsigned_abs() < 1 << f64::MANTISSA_DIGITS {
        Value::Int(whole)
    } else {
        Value::Float(number)
    }
}

fn scalar(scalar: Scalar, field: Field<'_>) -> Result<Option<Value>, DecodeError> {
    Ok(Some(match scalar {
        Scalar::Bool => Value::Bool(field.varint()? != 0),
        Scalar::Int32 | Scalar::Int64 => integer(scalar, field.varint()?),
        Scalar::Double => match field {
            Field::Fixed64(bits) => double(f64::from_bits(bits)),
            _ => return Err(wrong_wire_type()),
        },
        Scalar::String => Value::String(field.text()?.into()),
        Scalar::Bytes => Value::String(STANDARD.encode(field.bytes()?).into()),
        Scalar::Quantity => {
            let mut text = "";
            wire::fields(field.bytes()?, |number, field| {
                if number == 1 {
                    text = field.text()?;
                }
                Ok(())
            })?;
            // Upstream parses what is there, and has nothing for an empty message.
            let text = if text.is_empty() { Ok("0".to_owned()) } else { quantity::canonical(text) };
            Value::from(text.map_err(|error| DecodeError(error.to_string()))?)
        }
        Scalar::IntOrString => int_or_string(field.bytes()?)?,
        Scalar::Time | Scalar::MicroTime => {
            let precision = if scalar == Scalar::MicroTime { Precision::Micros } else { Precision::Seconds };
            return timestamp(field.bytes()?, precision);
        }
        // No kind with a protobuf form has one.
        Scalar::Duration => return Err(wrong_wire_type()),
        Scalar::FieldsV1 => {
            let mut text = &[][..];
            wire::fields(field.bytes()?, |number, field| {
                if number == 1 {
                    text = field.bytes()?;
                }
                Ok(())
            })?;
            if text.is_empty() {
                return Ok(None);
            }
            // Parsed, so that only valid and compact JSON is kept.
            let mut compact = Vec::with_capacity(text.len());
            json::write(&json::parse(text)?, &mut compact);
            let compact = String::from_utf8(compact).map_err(|_| DecodeError("fieldsV1 is not valid UTF-8".into()))?;
            Value::Raw(compact.into())
        }
    }))
}

fn timestamp(bytes: &[u8], precision: Precision) -> Result<Option<Value>, DecodeError> {
    if bytes.is_empty() {
        return Ok(None);
    }
    let (mut second, mut nanosecond) = (0, 0);
    wire::fields(bytes, |number, field| {
        match number {
            1 => second = field.varint()? as i64,
            2 => nanosecond = field.varint()? as i32,
            _ => {}
        }
        Ok(())
    })?;
    let nanosecond = u32::try_from(nanosecond).ok().filter(|nanosecond| *nanosecond < 1_000_000_000);
    let (Some(nanosecond), true) = (nanosecond, SECONDS.contains(&second)) else {
        return Err(DecodeError(format!("a time of {second} s is out of range")));
    };
    let moment = Moment { second, nanosecond };
    Ok((!moment.is_zero()).then(|| Value::String(moment.text(precision).into())))
}

fn int_or_string(bytes: &[u8]) -> Result<Value, DecodeError> {
    let (mut kind, mut integer, mut text) = (0, 0, "");
    wire::fields(bytes, |number, field| {
        match number {
            1 => kind = field.varint()?,
            2 => integer = field.varint()? as i32,
            3 => text = field.text()?,
            _ => {}
        }
        Ok(())
    })?;
    Ok(if kind == 0 { Value::Int(i64::from(integer)) } else { Value::String(text.into()) })
}

/// `runtime.RawExtension` and `apiextensions.JSON`: JSON in a message.
fn raw_json(bytes: &[u8]) -> Result<Option<Value>, DecodeError> {
    let mut raw = &[][..];
    wire::fields(bytes, |number, field| {
        if number == 1 {
            raw = field.bytes()?;
        }
        Ok(())
    })?;
    if raw.is_empty() { Ok(None) } else { json::parse(raw).map(Some) }
}
