//! OpenAPI documents in protobuf, the form in which kubectl and other clients of Go read them.
//!
//! The messages are those of `github.com/google/gnostic-models`; what this server's documents do not use is left out.
//! Extensions and listed values hold YAML, of which JSON is a part.

pub(crate) mod v2;
pub(crate) mod v3;

use serde_json::Value;

/// A message that is being written.
#[derive(Default)]
struct Message(Vec<u8>);

impl Message {
    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }

    fn bytes(&mut self, number: u32, bytes: &[u8]) {
        self.varint(u64::from(number) << 3 | 2);
        self.varint(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
    }

    fn message(&mut self, number: u32, message: Message) {
        self.bytes(number, &message.0);
    }

    /// A string; an empty or absent one is left out.
    fn text(&mut self, number: u32, value: &Value) {
        if let Some(text) = value.as_str().filter(|text| !text.is_empty()) {
            self.bytes(number, text.as_bytes());
        }
    }

    fn varint_field(&mut self, number: u32, value: u64) {
        self.varint(u64::from(number) << 3);
        self.varint(value);
    }

    fn double(&mut self, number: u32, value: f64) {
        self.varint(u64::from(number) << 3 | 1);
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    /// A number; an absent one is left out.
    fn number(&mut self, number: u32, value: &Value) {
        if let Some(value) = value.as_f64() {
            self.double(number, value);
        }
    }

    /// A whole number; an absent one is left out.
    fn whole(&mut self, number: u32, value: &Value) {
        if let Some(value) = value.as_i64() {
            self.varint_field(number, value as u64);
        }
    }

    /// What limits values, from `multipleOf` on: the fields follow each other in both versions.
    fn limits(&mut self, first: u32, schema: &Value) {
        self.number(first, &schema["multipleOf"]);
        self.number(first + 1, &schema["maximum"]);
        self.flag(first + 2, &schema["exclusiveMaximum"]);
        self.number(first + 3, &schema["minimum"]);
        self.flag(first + 4, &schema["exclusiveMinimum"]);
        self.whole(first + 5, &schema["maxLength"]);
        self.whole(first + 6, &schema["minLength"]);
        self.text(first + 7, &schema["pattern"]);
        self.whole(first + 8, &schema["maxItems"]);
        self.whole(first + 9, &schema["minItems"]);
        self.flag(first + 10, &schema["uniqueItems"]);
        self.whole(first + 11, &schema["maxProperties"]);
        self.whole(first + 12, &schema["minProperties"]);
    }

    fn flag(&mut self, number: u32, value: &Value) {
        if value.as_bool() == Some(true) {
            self.varint_field(number, 1);
        }
    }

    fn texts(&mut self, number: u32, list: &Value) {
        list.as_array().into_iter().flatten().for_each(|text| self.text(number, text));
    }

    /// The members of an object that extend OpenAPI.
    fn extensions(&mut self, number: u32, object: &Value) {
        let members = object.as_object().into_iter().flatten();
        for (name, value) in members.filter(|(name, _)| name.starts_with("x-")) {
            self.message(number, named(name, any(value)));
        }
    }
}

/// A value of any type, in YAML.
fn any(value: &Value) -> Message {
    let mut any = Message::default();
    any.bytes(2, format!("{value}\n").as_bytes());
    any
}

/// A message in the only field of another.
fn wrap(number: u32, message: Message) -> Message {
    let mut outer = Message::default();
    outer.message(number, message);
    outer
}

fn named(name: &str, value: Message) -> Message {
    let mut message = Message::default();
    message.bytes(1, name.as_bytes());
    message.message(2, value);
    message
}

/// The members of an object as a message of named values in this field.
fn all_named(number: u32, object: &Value, convert: impl Fn(&Value) -> Message) -> Message {
    let mut message = Message::default();
    for (name, value) in object.as_object().into_iter().flatten() {
        message.message(number, named(name, convert(value)));
    }
    message
}
