//! The walk over JSON text under a schema.

use std::cmp::Ordering;
use std::collections::HashSet;

use compact_str::CompactString;

use super::lex::Lexer;
use super::scalar;
use super::{DecodeError, Decoded, FEW_MEMBERS, MAX_DEPTH, MAX_REPORTED, write};
use crate::order::order;
use crate::schema::{FieldDef, Scalar, SchemaRef, Type};
use crate::value::{Object, Value};

static ANY: Type = Type::Any;

/// Members for which an object has room from the start.
const USUAL_MEMBERS: usize = 6;

/// A step on the way to a value. Names are read again where a path is needed: in errors.
#[derive(Clone, Copy)]
enum Step {
    /// A field, by the place of its name in the text.
    Field(usize),
    Index(usize),
}

/// Reads a whole text.
pub(super) fn read(bytes: &[u8], schema: SchemaRef<'_>) -> Result<Decoded, DecodeError> {
    let text = Lexer::new(bytes);
    let mut parser = Parser { text, root: schema, path: Vec::new(), depth: 0, out: Decoded::default() };
    parser.text.skip_space();
    let value = parser.value(schema)?;
    parser.text.skip_space();
    if parser.text.at != bytes.len() {
        return Err(parser.text.unexpected("after top-level value"));
    }
    Ok(Decoded { value, ..parser.out })
}

struct Parser<'a> {
    text: Lexer<'a>,
    root: SchemaRef<'a>,
    path: Vec<Step>,
    depth: usize,
    out: Decoded,
}

impl Parser<'_> {
    /// The name of a field that was read before.
    fn name_at(&self, at: usize) -> CompactString {
        let mut text = self.text;
        text.at = at;
        text.string().unwrap_or_default()
    }

    fn path_text(&self) -> String {
        let mut out = String::new();
        for step in &self.path {
            match step {
                Step::Field(at) => {
                    if !out.is_empty() {
                        out.push('.');
                    }
                    out.push_str(&self.name_at(*at));
                }
                Step::Index(i) => out.push_str(&format!("[{i}]")),
            }
        }
        out
    }

    /// As Go says it: the struct that has the field, the names of the fields on the way, the type that was wanted.
    fn mismatch(&self, found: &str, wanted: &Type) -> DecodeError {
        if let Some(refusal) = scalar::refusal(wanted) {
            return refusal;
        }
        let wanted = scalar::go_type(wanted, self.root.table);
        let (mut owner, mut names, mut schema) = (None, Vec::new(), Some(self.root));
        for step in &self.path {
            schema = match (step, schema) {
                (Step::Field(place), Some(at)) => {
                    let name = self.name_at(*place);
                    let member = at.member(&name);
                    // Keys of maps are no fields.
                    if let Some(def) = at.struct_def() {
                        owner = Some(def);
                        names.push(name);
                    }
                    member
                }
                (Step::Index(_), Some(at)) => at.item(),
                (_, None) => None,
            };
        }
        DecodeError(match owner {
            Some(owner) => format!(
                "json: cannot unmarshal {found} into Go struct field {}.{} of type {wanted}",
                last_segment(&owner.name),
                names.join(".")
            ),
            None => format!("json: cannot unmarshal {found} into Go value of type {wanted}"),
        })
    }

    fn value(&mut self, schema: SchemaRef<'_>) -> Result<Value, DecodeError> {
        if let Type::Scalar(Scalar::FieldsV1) = schema.ty {
            return self.raw();
        }
        match self.text.peek() {
            Some(b'{') => self.object(schema),
            Some(b'[') => self.array(schema),
            Some(b'"') => {
                let text = self.text.string()?;
                scalar::string(text, schema.ty)?.ok_or_else(|| self.mismatch("string", schema.ty))
            }
            Some(first @ (b't' | b'f')) => {
                let value = first == b't';
                self.text.word(if value { "true" } else { "false" })?;
                match schema.ty {
                    Type::Any | Type::Scalar(Scalar::Bool) => Ok(Value::Bool(value)),
                    other => Err(self.mismatch("bool", other)),
                }
            }
            Some(b'n') => {
                self.text.word("null")?;
                Ok(Value::Null)
            }
            Some(b'-' | b'0'..=b'9') => {
                let text = self.text.number()?;
                scalar::number(text, schema.ty)?.ok_or_else(|| match schema.ty {
                    Type::Scalar(Scalar::Int32 | Scalar::Int64 | Scalar::Double | Scalar::IntOrString) | Type::Any => {
                        self.mismatch(&format!("number {text}"), schema.ty)
                    }
                    other => self.mismatch("number", other),
                })
            }
            _ => Err(self.text.unexpected("looking for beginning of value")),
        }
    }

    /// An element of a list or map. Null has no place there but where anything has; Go makes it the type's zero value.
    fn element(&mut self, schema: SchemaRef<'_>) -> Result<Value, DecodeError> {
        let value = self.value(schema)?;
        Ok(if value.is_null() { schema.ty.zero() } else { value })
    }

    fn raw(&mut self) -> Result<Value, DecodeError> {
        if let Some(text) = self.text.nested_objects() {
            return Ok(Value::Raw(text.into()));
        }
        let value = self.value(SchemaRef::new(self.root.table, &ANY))?;
        if value.is_null() {
            return Ok(value);
        }
        let mut out = Vec::new();
        write(&value, &mut out);
        let text = String::from_utf8(out).map_err(|_| DecodeError("invalid UTF-8".into()))?;
        Ok(Value::Raw(text.into_boxed_str()))
    }

    fn enter(&mut self) -> Result<(), DecodeError> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(DecodeError("exceeded max depth".into()));
        }
        Ok(())
    }

    fn object(&mut self, schema: SchemaRef<'_>) -> Result<Value, DecodeError> {
        if !matches!(schema.ty, Type::Struct(_) | Type::Map(_) | Type::Any) {
            return Err(self.mismatch("object", schema.ty));
        }
        self.enter()?;
        self.text.at += 1;
        let mut members = Members::default();
        let mut blanked = false;
        self.text.skip_space();
        if self.text.peek() == Some(b'}') {
            self.text.at += 1;
            self.depth -= 1;
            return Ok(Value::Object(Object::new()));
        }
        loop {
            self.text.skip_space();
            if self.text.peek() != Some(b'"') {
                return Err(self.text.unexpected("looking for beginning of object key string"));
            }
            let place = self.text.at;
            let key = self.text.string()?;
            self.text.skip_space();
            if self.text.peek() != Some(b':') {
                return Err(self.text.unexpected("after object key"));
            }
            self.text.at += 1;
            self.text.skip_space();
            self.path.push(Step::Field(place));
            let repeated = members.has(&key);
            if repeated && self.out.duplicate.len() < MAX_REPORTED {
                let path = self.path_text();
                self.out.duplicate.push(path);
            }
            let field = schema.field_def(&key);
            let member = match field {
                Some(field) => Some(SchemaRef::new(schema.table, &field.ty)),
                None => schema.member(&key),
            };
            match member {
                Some(member) if matches!(schema.ty, Type::Map(_)) => members.push(key, self.element(member)?),
                Some(member) => {
                    let value = self.value(member)?;
                    if field.is_none_or(|field| is_kept(&key, &value, field)) {
                        members.push(key, value);
                    } else if repeated {
                        // Hides the earlier value; taken out once, at the end.
                        members.push(key, Value::Null);
                        blanked = true;
                    }
                }
                None => {
                    if self.out.unknown.len() < MAX_REPORTED {
                        let path = self.path_text();
                        self.out.unknown.push(path);
                    }
                    self.skip_value()?;
                }
            }
            self.path.pop();
            self.text.skip_space();
            match self.text.peek() {
                Some(b',') => self.text.at += 1,
                Some(b'}') => break,
                _ => return Err(self.text.unexpected("after object key:value pair")),
            }
        }
        self.text.at += 1;
        self.depth -= 1;
        let mut object = Object::from_unsorted(members.entries).0;
        if blanked {
            object.retain(|key, value| !value.is_null() || schema.field_def(key).is_none());
        }
        Ok(Value::Object(object))
    }

    fn skip_value(&mut self) -> Result<(), DecodeError> {
        self.value(SchemaRef::new(self.root.table, &ANY)).map(drop)
    }

    fn array(&mut self, schema: SchemaRef<'_>) -> Result<Value, DecodeError> {
        let Some(item) = schema.item() else { return Err(self.mismatch("array", schema.ty)) };
        self.enter()?;
        self.text.at += 1;
        let mut items = Vec::new();
        self.text.skip_space();
        if self.text.peek() == Some(b']') {
            self.text.at += 1;
            self.depth -= 1;
            return Ok(Value::Array(items));
        }
        loop {
            self.text.skip_space();
            self.path.push(Step::Index(items.len()));
            items.push(self.element(item)?);
            self.path.pop();
            self.text.skip_space();
            match self.text.peek() {
                Some(b',') => self.text.at += 1,
                Some(b']') => break,
                _ => return Err(self.text.unexpected("after array element")),
            }
        }
        self.text.at += 1;
        self.depth -= 1;
        Ok(Value::Array(items))
    }
}

/// Members of an object that is being read.
#[derive(Default)]
struct Members {
    entries: Vec<(CompactString, Value)>,
    /// Keys so far, once there are many: a body of maximal size is one object of 300 000 keys.
    seen: Option<HashSet<CompactString>>,
    /// Whether a key came before a smaller one; what was stored is sorted.
    unsorted: bool,
}

impl Members {
    /// Whether the key is there already.
    fn has(&mut self, key: &CompactString) -> bool {
        let Some((last, _)) = self.entries.last() else { return false };
        if !self.unsorted && order(last, key) == Ordering::Less {
            return false;
        }
        self.unsorted = true;
        if self.entries.len() <= FEW_MEMBERS {
            return self.entries.iter().any(|(earlier, _)| earlier == key);
        }
        let entries = &self.entries;
        self.seen.get_or_insert_with(|| entries.iter().map(|(earlier, _)| earlier.clone()).collect()).contains(key)
    }

    fn push(&mut self, key: CompactString, value: Value) {
        if self.entries.is_empty() {
            self.entries.reserve(USUAL_MEMBERS);
        }
        if let Some(seen) = &mut self.seen {
            seen.insert(key.clone());
        }
        self.entries.push((key, value));
    }
}

/// Whether a field is there at all with this value.
pub(super) fn is_kept(key: &str, value: &Value, field: &FieldDef) -> bool {
    // Empty, it asks the server to forget all managers.
    key == "managedFields" && !value.is_null() || !is_absent(value, field)
}

/// Null is absence but where Go writes it, and so is the zero value where Go cannot tell them apart.
fn is_absent(value: &Value, field: &FieldDef) -> bool {
    match value {
        Value::Null => !field.is_null_when_unset(),
        _ if field.wire.pointer || field.wire.keep_empty => false,
        Value::Bool(b) => !b,
        Value::Int(n) => *n == 0,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(object) => object.is_empty() && matches!(field.ty, Type::Map(_)),
        Value::Float(_) | Value::Raw(_) => false,
    }
}

fn last_segment(name: &str) -> &str {
    name.rsplit('.').next().unwrap_or(name)
}
