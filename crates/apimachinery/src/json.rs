//! JSON to and from [`Value`], with or without a schema.
//!
//! With a schema the parse itself finds unknown and duplicate fields, refuses values of the wrong type and writes
//! scalars in their canonical form, so that no second pass is needed.

use std::collections::HashSet;

use compact_str::CompactString;

use crate::quantity::Quantity;
use crate::schema::{FieldDef, Scalar, SchemaRef, Type, TypeTable};
use crate::time::{Moment, Precision};
use crate::value::{Object, Value};

/// Deepest nesting that is read.
pub const MAX_DEPTH: usize = 512;
/// Members up to which looking at every earlier one beats hashing.
const FEW_MEMBERS: usize = 32;
/// Unknown and duplicate fields that are remembered.
const MAX_REPORTED: usize = 100;

/// Why text could not be decoded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct DecodeError(pub String);

/// A decoded object.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Decoded {
    /// The object.
    pub value: Value,
    /// Paths of fields that the schema does not have; they were dropped.
    pub unknown: Vec<String>,
    /// Paths of fields given twice; the last one counts.
    pub duplicate: Vec<String>,
}

/// Parses without a schema.
pub fn parse(bytes: &[u8]) -> Result<Value, DecodeError> {
    static ANY: Type = Type::Any;
    let table = crate::schema::TypeTable::default();
    Ok(decode(bytes, SchemaRef { table: &table, ty: &ANY })?.value)
}

/// Parses under a schema.
pub fn decode(bytes: &[u8], schema: SchemaRef<'_>) -> Result<Decoded, DecodeError> {
    let text = std::str::from_utf8(bytes).map_err(|_| DecodeError("invalid UTF-8 in JSON".into()))?;
    let mut parser = Parser { text, root: schema, at: 0, path: Vec::new(), depth: 0, out: Decoded::default() };
    let value = parser.value(schema)?;
    parser.skip_space();
    if parser.at != text.len() {
        return Err(parser.unexpected("after top-level value"));
    }
    let mut out = parser.out;
    out.value = value;
    Ok(out)
}

/// Writes compact JSON.
pub fn write(value: &Value, out: &mut Vec<u8>) {
    match value {
        Value::Null => out.extend_from_slice(b"null"),
        Value::Bool(true) => out.extend_from_slice(b"true"),
        Value::Bool(false) => out.extend_from_slice(b"false"),
        Value::Int(n) => out.extend_from_slice(n.to_string().as_bytes()),
        Value::Float(n) => write_float(*n, out),
        Value::String(text) => write_string(text, out),
        Value::Array(items) => {
            out.push(b'[');
            for (i, item) in items.iter().enumerate() {
                if i > 0 {
                    out.push(b',');
                }
                write(item, out);
            }
            out.push(b']');
        }
        Value::Object(object) => {
            out.push(b'{');
            for (i, (key, value)) in object.iter().enumerate() {
                if i > 0 {
                    out.push(b',');
                }
                write_string(key, out);
                out.push(b':');
                write(value, out);
            }
            out.push(b'}');
        }
        Value::Raw(text) => out.extend_from_slice(text.as_bytes()),
    }
}

/// As Go's `encoding/json` does: very large and very small numbers with an exponent.
fn write_float(number: f64, out: &mut Vec<u8>) {
    let text = match number.abs() {
        size if !size.is_finite() => "null".to_owned(),
        size if size != 0.0 && !(1e-6..1e21).contains(&size) => {
            let text = format!("{number:e}");
            if size < 1.0 { text } else { text.replace('e', "e+") }
        }
        _ => number.to_string(),
    };
    out.extend_from_slice(text.as_bytes());
}

fn write_string(text: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    let mut start = 0;
    for (at, byte) in text.bytes().enumerate() {
        let escape: &[u8] = match byte {
            b'"' => b"\\\"",
            b'\\' => b"\\\\",
            b'\n' => b"\\n",
            b'\r' => b"\\r",
            b'\t' => b"\\t",
            0..=0x1f => {
                out.extend_from_slice(&text.as_bytes()[start..at]);
                out.extend_from_slice(format!("\\u{byte:04x}").as_bytes());
                start = at + 1;
                continue;
            }
            _ => continue,
        };
        out.extend_from_slice(&text.as_bytes()[start..at]);
        out.extend_from_slice(escape);
        start = at + 1;
    }
    out.extend_from_slice(&text.as_bytes()[start..]);
    out.push(b'"');
}

enum Step<'a> {
    Field(CompactString),
    Index(usize),
    Key(&'a str),
}

struct Parser<'a> {
    text: &'a str,
    root: SchemaRef<'a>,
    at: usize,
    path: Vec<Step<'a>>,
    depth: usize,
    out: Decoded,
}

type Result2<T> = Result<T, DecodeError>;

impl<'a> Parser<'a> {
    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn skip_space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\n' | b'\t' | b'\r')) {
            self.at += 1;
        }
    }

    fn unexpected(&self, context: &str) -> DecodeError {
        match self.text[self.at.min(self.text.len())..].chars().next() {
            Some(c) => DecodeError(format!("invalid character {c:?} {context}")),
            None => DecodeError("unexpected end of JSON input".into()),
        }
    }

    fn path_text(&self) -> String {
        let mut out = String::new();
        for step in &self.path {
            match step {
                Step::Field(name) => {
                    if !out.is_empty() {
                        out.push('.');
                    }
                    out.push_str(name);
                }
                Step::Index(i) => out.push_str(&format!("[{i}]")),
                Step::Key(key) => {
                    if !out.is_empty() {
                        out.push('.');
                    }
                    out.push_str(key);
                }
            }
        }
        out
    }

    /// As Go says it: the struct that has the field, the names of the fields on the way, the type that was wanted.
    fn mismatch(&self, found: &str, wanted: &Type) -> DecodeError {
        let wanted = go_type(wanted, self.root.table);
        let (mut owner, mut names, mut schema) = (None, Vec::new(), Some(self.root));
        for step in &self.path {
            schema = match (step, schema) {
                (Step::Field(name), Some(at)) => {
                    // Keys of maps are no fields.
                    if let Some(def) = at.struct_def() {
                        owner = Some(def);
                        names.push(name.as_str());
                    }
                    at.member(name)
                }
                (Step::Key(key), Some(at)) => at.member(key),
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

    fn value(&mut self, schema: SchemaRef<'_>) -> Result2<Value> {
        self.skip_space();
        let byte = self.peek().ok_or_else(|| DecodeError("unexpected end of JSON input".into()))?;
        if let Type::Scalar(Scalar::FieldsV1) = schema.ty {
            return self.raw(byte);
        }
        match byte {
            b'{' => self.object(schema),
            b'[' => self.array(schema),
            b'"' => {
                let text = self.string()?;
                self.scalar_string(text, schema.ty)
            }
            b't' | b'f' => {
                let value = byte == b't';
                self.literal(if value { "true" } else { "false" })?;
                match schema.ty {
                    Type::Any | Type::Scalar(Scalar::Bool) => Ok(Value::Bool(value)),
                    other => Err(self.mismatch("bool", other)),
                }
            }
            b'n' => {
                self.literal("null")?;
                Ok(Value::Null)
            }
            b'-' | b'0'..=b'9' => self.number(schema.ty),
            _ => Err(self.unexpected("looking for beginning of value")),
        }
    }

    fn literal(&mut self, word: &str) -> Result2<()> {
        if self.text[self.at..].starts_with(word) {
            self.at += word.len();
            Ok(())
        } else {
            Err(self.unexpected("in literal"))
        }
    }

    fn raw(&mut self, byte: u8) -> Result2<Value> {
        if byte == b'n' {
            self.literal("null")?;
            return Ok(Value::Null);
        }
        static ANY: Type = Type::Any;
        let table = crate::schema::TypeTable::default();
        let value = self.value(SchemaRef { table: &table, ty: &ANY })?;
        let mut out = Vec::new();
        write(&value, &mut out);
        let text = String::from_utf8(out).map_err(|_| DecodeError("invalid UTF-8".into()))?;
        Ok(Value::Raw(text.into_boxed_str()))
    }

    fn enter(&mut self) -> Result2<()> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(DecodeError("exceeded max depth".into()));
        }
        Ok(())
    }

    fn object(&mut self, schema: SchemaRef<'_>) -> Result2<Value> {
        if !matches!(schema.ty, Type::Struct(_) | Type::Map(_) | Type::Any) {
            return Err(self.mismatch("object", schema.ty));
        }
        self.enter()?;
        self.at += 1;
        let mut entries: Vec<(CompactString, Value)> = Vec::new();
        let (mut seen, mut blanked) = (HashSet::new(), false);
        self.skip_space();
        if self.peek() == Some(b'}') {
            self.at += 1;
            self.depth -= 1;
            return Ok(Value::Object(Object::new()));
        }
        loop {
            self.skip_space();
            if self.peek() != Some(b'"') {
                return Err(self.unexpected("looking for beginning of object key string"));
            }
            let key = self.string()?;
            self.skip_space();
            if self.peek() != Some(b':') {
                return Err(self.unexpected("after object key"));
            }
            self.at += 1;
            self.path.push(Step::Field(key.clone()));
            let repeated = is_repeated(&entries, &mut seen, &key);
            if repeated && self.out.duplicate.len() < MAX_REPORTED {
                let path = self.path_text();
                self.out.duplicate.push(path);
            }
            match schema.member(&key) {
                Some(member) => {
                    let value = self.value(member)?;
                    let keep = match schema.field_def(&key) {
                        Some(field) => !is_absent(&value, field),
                        None => true,
                    };
                    if keep {
                        entries.push((key, value));
                    } else if repeated {
                        // Hides the earlier value; taken out once, at the end.
                        entries.push((key, Value::Null));
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
            self.skip_space();
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(b'}') => break,
                _ => return Err(self.unexpected("after object key:value pair")),
            }
        }
        self.at += 1;
        self.depth -= 1;
        let mut object = Object::from_unsorted(entries).0;
        if blanked {
            object.retain(|key, value| !value.is_null() || schema.field_def(key).is_none());
        }
        Ok(Value::Object(object))
    }

    fn skip_value(&mut self) -> Result2<()> {
        static ANY: Type = Type::Any;
        let table = crate::schema::TypeTable::default();
        self.value(SchemaRef { table: &table, ty: &ANY }).map(drop)
    }

    fn array(&mut self, schema: SchemaRef<'_>) -> Result2<Value> {
        let Some(item) = schema.item() else { return Err(self.mismatch("array", schema.ty)) };
        self.enter()?;
        self.at += 1;
        let mut items = Vec::new();
        self.skip_space();
        if self.peek() == Some(b']') {
            self.at += 1;
            self.depth -= 1;
            return Ok(Value::Array(items));
        }
        loop {
            self.path.push(Step::Index(items.len()));
            items.push(self.value(item)?);
            self.path.pop();
            self.skip_space();
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(b']') => break,
                _ => return Err(self.unexpected("after array element")),
            }
        }
        self.at += 1;
        self.depth -= 1;
        Ok(Value::Array(items))
    }

    fn string(&mut self) -> Result2<CompactString> {
        let start = self.at + 1;
        let bytes = self.text.as_bytes();
        let mut at = start;
        while at < bytes.len() && bytes[at] != b'"' && bytes[at] != b'\\' && bytes[at] >= 0x20 {
            at += 1;
        }
        if bytes.get(at) == Some(&b'"') {
            self.at = at + 1;
            return Ok(CompactString::from(&self.text[start..at]));
        }
        let end = string_end(bytes, start).ok_or_else(|| DecodeError("unexpected end of JSON input".into()))?;
        let text = serde_json::from_str::<String>(&self.text[start - 1..=end])
            .map_err(|error| DecodeError(format!("invalid string: {error}")))?;
        self.at = end + 1;
        Ok(text.into())
    }

    fn scalar_string(&mut self, text: CompactString, ty: &Type) -> Result2<Value> {
        match ty {
            Type::Any | Type::Scalar(Scalar::String | Scalar::IntOrString | Scalar::Duration) => {}
            Type::Scalar(Scalar::Bytes) => check_base64(&text)?,
            Type::Scalar(Scalar::Quantity) => {
                let quantity = Quantity::parse(&text).map_err(|error| DecodeError(error.to_string()))?;
                return Ok(Value::from(quantity.to_string()));
            }
            Type::Scalar(scalar @ (Scalar::Time | Scalar::MicroTime)) => {
                if text.is_empty() {
                    return Ok(Value::Null);
                }
                let precision = if *scalar == Scalar::MicroTime { Precision::Micros } else { Precision::Seconds };
                let moment = Moment::parse(&text, precision).map_err(DecodeError)?;
                return Ok(if moment.is_zero() { Value::Null } else { Value::from(moment.text(precision)) });
            }
            other => return Err(self.mismatch("string", other)),
        }
        Ok(Value::String(text))
    }

    fn number(&mut self, ty: &Type) -> Result2<Value> {
        let rest = &self.text[self.at..];
        let end = rest.bytes().position(|c| !matches!(c, b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E'));
        let text = &rest[..end.unwrap_or(rest.len())];
        if !is_number(text.as_bytes()) {
            return Err(DecodeError(format!("invalid number {text}")));
        }
        self.at += text.len();
        let integer = text.parse::<i64>().ok();
        let float = || match text.parse::<f64>() {
            Ok(number) if number.is_finite() => Ok(Value::Float(number)),
            _ => Err(self.mismatch(&format!("number {text}"), ty)),
        };
        match ty {
            Type::Any | Type::Scalar(Scalar::Double) => integer.map_or_else(float, |n| Ok(Value::Int(n))),
            Type::Scalar(Scalar::Int32 | Scalar::IntOrString) => match integer.and_then(|n| i32::try_from(n).ok()) {
                Some(n) => Ok(Value::from(n)),
                None => Err(self.mismatch(&format!("number {text}"), ty)),
            },
            Type::Scalar(Scalar::Int64) => match integer {
                Some(n) => Ok(Value::Int(n)),
                None => Err(self.mismatch(&format!("number {text}"), ty)),
            },
            Type::Scalar(Scalar::Quantity) => {
                let quantity = Quantity::parse(text).map_err(|error| DecodeError(error.to_string()))?;
                Ok(Value::from(quantity.to_string()))
            }
            other => Err(self.mismatch("number", other)),
        }
    }
}

/// The JSON grammar of numbers.
fn is_number(text: &[u8]) -> bool {
    let digits = |text: &[u8]| text.iter().take_while(|c| c.is_ascii_digit()).count();
    let mut rest = text.strip_prefix(b"-").unwrap_or(text);
    let whole = digits(rest);
    if whole == 0 || (whole > 1 && rest[0] == b'0') {
        return false;
    }
    rest = &rest[whole..];
    if let Some(fraction) = rest.strip_prefix(b".") {
        let length = digits(fraction);
        if length == 0 {
            return false;
        }
        rest = &fraction[length..];
    }
    if let [b'e' | b'E', exponent @ ..] = rest {
        let exponent = exponent.strip_prefix(b"-").or(exponent.strip_prefix(b"+")).unwrap_or(exponent);
        return !exponent.is_empty() && digits(exponent) == exponent.len();
    }
    rest.is_empty()
}

/// Whether an object has the key already. Large objects are hashed: a body of maximal size is one object of 300 000 keys.
fn is_repeated(entries: &[(CompactString, Value)], seen: &mut HashSet<CompactString>, key: &CompactString) -> bool {
    if entries.len() <= FEW_MEMBERS {
        return entries.iter().any(|(earlier, _)| earlier == key);
    }
    if seen.is_empty() {
        seen.extend(entries.iter().map(|(earlier, _)| earlier.clone()));
    }
    !seen.insert(key.clone())
}

fn string_end(bytes: &[u8], start: usize) -> Option<usize> {
    let mut at = start;
    while at < bytes.len() {
        match bytes[at] {
            b'"' => return Some(at),
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
    None
}

/// Null is absence, and so is the zero value where Go cannot tell them apart.
fn is_absent(value: &Value, field: &FieldDef) -> bool {
    match value {
        Value::Null => true,
        _ if field.wire.pointer || field.wire.keep_empty => false,
        Value::Bool(b) => !b,
        Value::Int(n) => *n == 0,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(object) => object.is_empty() && matches!(field.ty, Type::Map(_)),
        Value::Float(_) | Value::Raw(_) => false,
    }
}

/// Bytes are kept as their text, which must be one that Go would write; line breaks are let pass as Go does.
fn check_base64(text: &str) -> Result2<()> {
    use base64::DecodeError::{InvalidByte, InvalidLastSymbol, InvalidLength, InvalidPadding};
    use base64::Engine;
    let at = match base64::engine::general_purpose::STANDARD.decode(text) {
        Ok(_) => return Ok(()),
        Err(_) if text.contains(['\n', '\r']) => return check_base64(&text.replace(['\n', '\r'], "")),
        Err(InvalidByte(at, _) | InvalidLastSymbol(at, _)) => at,
        Err(InvalidLength(length)) => length / 4 * 4,
        Err(InvalidPadding) => text.len(),
    };
    Err(DecodeError(format!("illegal base64 data at input byte {at}")))
}

/// The type as Go's error messages name it.
fn go_type(ty: &Type, table: &TypeTable) -> String {
    match ty {
        Type::Struct(id) => {
            let mut segments = table.def(*id).name.rsplitn(3, '.');
            let (kind, version) = (segments.next().unwrap_or(""), segments.next().unwrap_or(""));
            format!("{version}.{kind}")
        }
        Type::Map(map) => format!("map[string]{}", go_type(&map.value, table)),
        Type::List(list) => format!("[]{}", go_type(&list.item, table)),
        Type::Any => "interface {}".into(),
        Type::Scalar(scalar) => match scalar {
            Scalar::Bool => "bool",
            Scalar::Int32 => "int32",
            Scalar::Int64 => "int64",
            Scalar::Double => "float64",
            Scalar::Quantity => "resource.Quantity",
            Scalar::IntOrString => "intstr.IntOrString",
            Scalar::Time => "v1.Time",
            Scalar::MicroTime => "v1.MicroTime",
            Scalar::Bytes => "[]uint8",
            _ => "string",
        }
        .into(),
    }
}

fn last_segment(name: &str) -> &str {
    name.rsplit('.').next().unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::{TypeDef, TypeId};

    /// A body of maximal size once took minutes: every key was compared with all before it.
    #[test]
    fn objects_of_many_keys_are_read_in_bounded_time() {
        let members = (0..200_000).map(|n| format!("\"{n}\":{n}")).collect::<Vec<_>>().join(",");
        let text = format!("{{{members},\"7\":-1}}");
        let started = std::time::Instant::now();
        static ANY: Type = Type::Any;
        let table = TypeTable::default();
        let decoded = decode(text.as_bytes(), SchemaRef { table: &table, ty: &ANY }).expect("JSON");
        assert!(started.elapsed() < std::time::Duration::from_secs(10), "{:?}", started.elapsed());
        assert_eq!(decoded.duplicate, ["7"]);
        assert_eq!(decoded.value.as_object().map(Object::len), Some(200_000));
        assert_eq!(decoded.value.i64_at(&["7"]), Some(-1));
    }

    #[test]
    fn numbers_are_read_and_written_as_go_does() {
        for (text, want) in [
            ("0", "0"),
            ("-0", "0"),
            ("9223372036854775808", "9223372036854776000"),
            ("1.50", "1.5"),
            ("1e2", "100"),
            ("1e21", "1e+21"),
            ("-1E-7", "-1e-7"),
            ("0.000001", "0.000001"),
            ("1.7976931348623157e308", "1.7976931348623157e+308"),
            ("5e-324", "5e-324"),
        ] {
            let mut out = Vec::new();
            write(&parse(text.as_bytes()).expect(text), &mut out);
            assert_eq!(String::from_utf8_lossy(&out), want, "{text}");
        }
        for text in ["-", "01", "1.", ".5", "1e", "1e+", "+1", "1e400", "--1", "1-1"] {
            assert!(parse(text.as_bytes()).is_err(), "{text}");
        }
    }

    #[test]
    fn a_repeated_field_that_ends_up_empty_is_absent() {
        let fields =
            vec![FieldDef::new("a", Type::Scalar(Scalar::String)), FieldDef::new("b", Type::Scalar(Scalar::String))];
        let def = TypeDef { name: "Root".into(), fields, atomic: false, preserve_unknown: false };
        let table = TypeTable::new(vec![def]);
        let repeated = "\"b\":\"y\",".repeat(FEW_MEMBERS + 1);
        for (text, want) in [
            (r#"{"a":"x","a":"","b":"y"}"#.to_owned(), r#"{"b":"y"}"#),
            (r#"{"a":"x","a":null,"a":"z","b":"y"}"#.to_owned(), r#"{"a":"z","b":"y"}"#),
            (format!(r#"{{"a":"x",{repeated}"a":""}}"#), r#"{"b":"y"}"#),
        ] {
            let decoded = decode(text.as_bytes(), table.schema(TypeId(0))).expect("JSON");
            let mut out = Vec::new();
            write(&decoded.value, &mut out);
            assert_eq!(String::from_utf8(out).expect("UTF-8"), want, "{text}");
            assert!(decoded.duplicate.contains(&"a".to_owned()), "{text}");
        }
    }
}
