//! From JSON text to a message, without a tree between: a list of a hundred thousand objects is made of their stored text.
//!
//! The text is read once to find its values ([`Tape`]); then the message is written from its end ([`Backward`]), fields in
//! descending order of their numbers, so that no length is guessed and nothing is moved.

use std::borrow::Cow;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::MAX_DEPTH;
use super::backward::Backward;
use super::layout::{JSON_SCHEMA_PROPS, Layout, Node};
use super::tape::Tape;
use crate::json::{self, DecodeError};
use crate::schema::{FieldDef, Scalar, SchemaRef, Type, TypeId, TypeTable, Wrapped};
use crate::time::{Moment, Precision};

/// No value stands in a slot.
const NONE: u32 = u32::MAX;

/// Writes messages, one after the other, with the same memory.
#[derive(Debug, Default)]
pub struct Encoder {
    tape: Tape,
    out: Backward,
    slots: Vec<u32>,
}

impl Encoder {
    /// The message of an object in JSON. What is in the object and not in the schema is left out.
    pub fn message(&mut self, schema: SchemaRef<'_>, json: &[u8]) -> Result<&[u8], DecodeError> {
        let Type::Struct(id) = schema.ty else {
            return Err(DecodeError("only structs are messages".into()));
        };
        let mut own = Vec::new();
        let mut json = json;
        if self.tape.read(json).is_err() {
            // Not as we write it: read it as anybody's.
            json::write(&json::parse(json)?, &mut own);
            json = &own;
            self.tape.read(json).map_err(|_| DecodeError("the object is too large".into()))?;
        }
        self.out.clear();
        self.slots.clear();
        let mut walk = Walk { table: schema.table, json, tape: &self.tape, out: &mut self.out, slots: &mut self.slots };
        walk.object(*id, Some(0), 0)?;
        Ok(self.out.written())
    }
}

/// One pass over one text. Values are named by their places on the tape.
struct Walk<'a> {
    table: &'a TypeTable,
    json: &'a [u8],
    tape: &'a Tape,
    out: &'a mut Backward,
    /// Places of the values of the structs, lists and maps that are open.
    slots: &'a mut Vec<u32>,
}

impl<'a> Walk<'a> {
    fn text(&self, at: usize) -> &'a [u8] {
        self.tape.text(self.json, at)
    }

    fn mismatch(&self, expected: &str, at: usize) -> DecodeError {
        let text = self.text(at);
        let text = String::from_utf8_lossy(text.get(..64).unwrap_or(text));
        DecodeError(format!("{text} is not a {expected}"))
    }

    /// A string without its quotes.
    fn string(&self, at: usize) -> Result<Cow<'a, [u8]>, DecodeError> {
        let text = self.text(at);
        match text {
            [b'"', inner @ .., b'"'] if !self.tape.is_escaped(at) => Ok(Cow::Borrowed(inner)),
            [b'"', ..] => json::unquote(text).map(|text| Cow::Owned(text.as_bytes().to_vec())),
            _ => Err(self.mismatch("string", at)),
        }
    }

    fn str(&self, at: usize) -> Result<Cow<'a, str>, DecodeError> {
        match self.string(at)? {
            Cow::Borrowed(bytes) => std::str::from_utf8(bytes).map(Cow::Borrowed).ok(),
            Cow::Owned(bytes) => String::from_utf8(bytes).map(Cow::Owned).ok(),
        }
        .ok_or_else(|| self.mismatch("string", at))
    }

    fn integer(&self, at: usize) -> Result<i64, DecodeError> {
        let text = std::str::from_utf8(self.text(at)).ok();
        text.and_then(|text| text.parse().ok()).ok_or_else(|| self.mismatch("integer", at))
    }

    /// A struct, or what it is when nothing is set.
    fn object(&mut self, id: TypeId, at: Option<usize>, depth: u32) -> Result<(), DecodeError> {
        if depth > MAX_DEPTH {
            return Err(DecodeError("exceeded max depth".into()));
        }
        let fields = &self.table.def(id).fields;
        let base = self.slots.len();
        if let Some(at) = at {
            self.slots.resize(base + fields.len(), NONE);
            self.members(fields, at, base)?;
        }
        let slots = at.map(|_| base);
        self.level(fields, self.table.layout(id), slots, depth)?;
        self.slots.truncate(base);
        Ok(())
    }

    /// Notes where the fields' values stand. Members and fields are both sorted, unless somebody else wrote the text.
    fn members(&mut self, fields: &[FieldDef], at: usize, base: usize) -> Result<(), DecodeError> {
        if self.text(at).first() != Some(&b'{') {
            return Err(self.mismatch("message", at));
        }
        let (mut key, end, mut field) = (at + 1, self.tape.next(at), 0);
        while key < end {
            let value = key + 1;
            let name = self.string(key)?;
            while fields.get(field).is_some_and(|field| field.name.as_bytes() < &*name) {
                field += 1;
            }
            let found = match fields.get(field) {
                Some(candidate) if candidate.name.as_bytes() == &*name => Some(field),
                _ => fields.binary_search_by(|field| field.name.as_bytes().cmp(&name)).ok(),
            };
            if let Some(found) = found {
                self.slots[base + found] = if self.text(value)[0] == b'n' { NONE } else { value as u32 };
            }
            key = self.tape.next(value);
        }
        Ok(())
    }

    /// Fields of a struct, `slots` being where their values are noted.
    fn level(
        &mut self,
        fields: &[FieldDef],
        layout: &Layout,
        slots: Option<usize>,
        depth: u32,
    ) -> Result<(), DecodeError> {
        for (number, node) in layout.iter().rev() {
            match node {
                Node::Message(inner) => {
                    let before = self.out.len();
                    self.level(fields, inner, slots, depth)?;
                    self.out.close(*number, before);
                }
                Node::Field(index) => {
                    let field = &fields[*index];
                    match slots.map_or(NONE, |base| self.slots[base + index]) {
                        NONE if field.wire.pointer => {}
                        NONE => self.zero(*number, &field.ty, depth)?,
                        at => self.value(*number, &field.ty, field.wire.wrapped, at as usize, depth)?,
                    }
                }
            }
        }
        Ok(())
    }

    /// What Go writes for a field that is no pointer and not set.
    fn zero(&mut self, number: u32, ty: &Type, depth: u32) -> Result<(), DecodeError> {
        match ty {
            Type::Struct(id) => {
                let before = self.out.len();
                self.object(*id, None, depth + 1)?;
                self.out.close(number, before);
            }
            Type::Scalar(Scalar::Bool | Scalar::Int32 | Scalar::Int64) => self.out.integer(number, 0),
            Type::Scalar(Scalar::Double) => self.out.double(number, 0.0),
            Type::Scalar(Scalar::String | Scalar::Time | Scalar::MicroTime) | Type::Any => self.out.bytes(number, b""),
            Type::Scalar(Scalar::Quantity) => return self.out.message(number, |out| Ok(out.bytes(1, b"0"))),
            Type::Scalar(Scalar::IntOrString) => {
                return self.out.message(number, |out| Ok(int_or_string(out, 0, 0, b"")));
            }
            Type::Scalar(Scalar::Bytes | Scalar::FieldsV1 | Scalar::Duration) | Type::List(_) | Type::Map(_) => {}
        }
        Ok(())
    }

    fn value(&mut self, number: u32, ty: &Type, wrapped: Wrapped, at: usize, depth: u32) -> Result<(), DecodeError> {
        let before = self.out.len();
        match ty {
            Type::Scalar(scalar) => return self.scalar(number, *scalar, at),
            Type::Struct(id) => self.object(*id, Some(at), depth + 1)?,
            Type::Any if wrapped != Wrapped::No => self.schema_or(wrapped, at, depth)?,
            Type::Any => self.out.bytes(1, self.text(at)),
            Type::List(list) if wrapped == Wrapped::Items => self.list(1, &list.item, at, depth)?,
            Type::List(list) => return self.list(number, &list.item, at, depth),
            Type::Map(map) => return self.map(number, &map.value, wrapped, at, depth),
        }
        self.out.close(number, before);
        Ok(())
    }

    /// The places of the values in a list or map, put on top of the slots; returns where they begin there.
    fn gather(&mut self, at: usize, bracket: u8, step: usize) -> Result<usize, DecodeError> {
        if self.text(at).first() != Some(&bracket) {
            return Err(self.mismatch(if bracket == b'[' { "list" } else { "map" }, at));
        }
        let (base, end, mut entry) = (self.slots.len(), self.tape.next(at), at + 1);
        while entry < end {
            self.slots.push(entry as u32);
            entry = self.tape.next(entry + step);
        }
        Ok(base)
    }

    fn list(&mut self, number: u32, item: &Type, at: usize, depth: u32) -> Result<(), DecodeError> {
        let base = self.gather(at, b'[', 0)?;
        while self.slots.len() > base {
            let at = self.slots.pop().unwrap_or(NONE) as usize;
            self.value(number, item, Wrapped::No, at, depth)?;
        }
        Ok(())
    }

    fn map(&mut self, number: u32, value: &Type, wrapped: Wrapped, at: usize, depth: u32) -> Result<(), DecodeError> {
        let base = self.gather(at, b'{', 1)?;
        while self.slots.len() > base {
            let key = self.slots.pop().unwrap_or(NONE) as usize;
            let before = self.out.len();
            self.value(2, value, wrapped, key + 1, depth)?;
            let name = self.string(key)?;
            self.out.bytes(1, &name);
            self.out.close(number, before);
        }
        Ok(())
    }

    /// `JSONSchemaPropsOr...`: JSON has one of two things where Go has a struct of both.
    fn schema_or(&mut self, wrapped: Wrapped, at: usize, depth: u32) -> Result<(), DecodeError> {
        let id = self.table.lookup(JSON_SCHEMA_PROPS);
        let schema = Type::Struct(id.ok_or_else(|| DecodeError("this table has no JSONSchemaProps".into()))?);
        match (wrapped, self.text(at)) {
            (Wrapped::SchemaOrBool, b"true") => self.out.integer(1, 1),
            (Wrapped::SchemaOrBool, b"false") => self.out.integer(1, 0),
            (Wrapped::SchemaOrBool, [b'{', ..]) => {
                self.value(2, &schema, Wrapped::No, at, depth)?;
                self.out.integer(1, 1);
            }
            (_, [b'{', ..]) => self.value(1, &schema, Wrapped::No, at, depth)?,
            (Wrapped::SchemaOrArray, [b'[', ..]) => self.list(2, &schema, at, depth)?,
            (Wrapped::SchemaOrStringArray, [b'[', ..]) => self.list(2, &Type::Scalar(Scalar::String), at, depth)?,
            _ => return Err(self.mismatch("schema", at)),
        }
        Ok(())
    }

    fn scalar(&mut self, number: u32, scalar: Scalar, at: usize) -> Result<(), DecodeError> {
        match scalar {
            Scalar::Bool => match self.text(at) {
                b"true" => self.out.integer(number, 1),
                b"false" => self.out.integer(number, 0),
                _ => return Err(self.mismatch("boolean", at)),
            },
            Scalar::Int32 | Scalar::Int64 => self.out.integer(number, self.integer(at)?),
            Scalar::Double => {
                let value = std::str::from_utf8(self.text(at)).ok().and_then(|text| text.parse().ok());
                self.out.double(number, value.ok_or_else(|| self.mismatch("number", at))?);
            }
            Scalar::String => {
                let text = self.string(at)?;
                self.out.bytes(number, &text);
            }
            Scalar::Bytes => {
                let bytes = STANDARD.decode(self.string(at)?).map_err(|_| self.mismatch("base64 text", at))?;
                self.out.bytes(number, &bytes);
            }
            Scalar::Quantity => {
                let text = match self.text(at) {
                    [b'"', ..] => self.string(at)?,
                    number => Cow::Borrowed(number),
                };
                return self.out.message(number, |out| Ok(out.bytes(1, &text)));
            }
            Scalar::IntOrString => {
                let text = self.text(at);
                let (text, integer) =
                    if text.first() == Some(&b'"') { (Some(self.string(at)?), 0) } else { (None, self.integer(at)?) };
                let (kind, text) = (i64::from(text.is_some()), text.unwrap_or_default());
                return self.out.message(number, |out| Ok(int_or_string(out, kind, integer, &text)));
            }
            Scalar::Time | Scalar::MicroTime => {
                let precision = if scalar == Scalar::MicroTime { Precision::Micros } else { Precision::Seconds };
                let text = self.str(at)?;
                let moment = Moment::parse(&text, precision).map_err(|_| self.mismatch("time", at))?;
                return self.out.message(number, |out| Ok(timestamp(out, moment, precision)));
            }
            // No kind with a protobuf form has one.
            Scalar::Duration => return Err(self.mismatch("protobuf value", at)),
            Scalar::FieldsV1 => {
                let text = self.text(at);
                return self.out.message(number, |out| Ok(out.bytes(1, text)));
            }
        }
        Ok(())
    }
}

fn timestamp(out: &mut Backward, at: Moment, precision: Precision) {
    let nanosecond = match precision {
        Precision::Seconds => 0,
        Precision::Micros => at.nanosecond / 1000 * 1000,
    };
    out.integer(2, i64::from(nanosecond));
    out.integer(1, at.second);
}

fn int_or_string(out: &mut Backward, kind: i64, integer: i64, text: &[u8]) {
    out.bytes(3, text);
    out.integer(2, integer);
    out.integer(1, kind);
}
