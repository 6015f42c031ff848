//! OpenAPI 2.0 in protobuf, the form in which kubectl and older clients read it.
//!
//! The messages are those of `github.com/google/gnostic-models/openapiv2/OpenAPIv2.proto`; what this server's documents
//! do not use is left out. Extensions hold their value as YAML, of which JSON is a part.

use serde_json::{Map, Value};

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

    fn flag(&mut self, number: u32, value: &Value) {
        if value.as_bool() == Some(true) {
            self.varint(u64::from(number) << 3);
            self.varint(1);
        }
    }

    fn texts(&mut self, number: u32, list: &Value) {
        list.as_array().into_iter().flatten().for_each(|text| self.text(number, text));
    }

    fn extensions(&mut self, number: u32, object: &Map<String, Value>) {
        for (name, value) in object.iter().filter(|(name, _)| name.starts_with("x-")) {
            let mut any = Message::default();
            any.bytes(2, value.to_string().as_bytes());
            self.message(number, named(name, any));
        }
    }
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

/// Encodes a document.
pub fn document(document: &Value) -> Vec<u8> {
    let mut out = Message::default();
    out.text(1, &document["swagger"]);
    let mut info = Message::default();
    info.text(1, &document["info"]["title"]);
    info.text(2, &document["info"]["version"]);
    out.message(2, info);
    out.message(8, all_named(2, &document["paths"], path_item));
    out.message(9, all_named(1, &document["definitions"], schema));
    for requirement in document["security"].as_array().into_iter().flatten() {
        out.message(12, all_named(1, requirement, |_| Message::default()));
    }
    out.message(13, all_named(1, &document["securityDefinitions"], |key| wrap(2, api_key(key))));
    out.0
}

fn api_key(key: &Value) -> Message {
    let mut out = Message::default();
    for (number, field) in [(1, "type"), (2, "name"), (3, "in"), (4, "description")] {
        out.text(number, &key[field]);
    }
    out
}

fn path_item(item: &Value) -> Message {
    let mut out = Message::default();
    for (number, method) in
        [(2, "get"), (3, "put"), (4, "post"), (5, "delete"), (6, "options"), (7, "head"), (8, "patch")]
    {
        if let Some(found) = item.get(method) {
            out.message(number, operation(found));
        }
    }
    parameters(9, &item["parameters"], &mut out);
    out
}

fn operation(operation: &Value) -> Message {
    let mut out = Message::default();
    out.texts(1, &operation["tags"]);
    out.text(3, &operation["description"]);
    out.text(5, &operation["operationId"]);
    out.texts(6, &operation["produces"]);
    out.texts(7, &operation["consumes"]);
    parameters(8, &operation["parameters"], &mut out);
    out.message(9, all_named(1, &operation["responses"], |found| wrap(1, response(found))));
    out.texts(10, &operation["schemes"]);
    if let Some(object) = operation.as_object() {
        out.extensions(13, object);
    }
    out
}

fn response(response: &Value) -> Message {
    let mut out = Message::default();
    out.text(1, &response["description"]);
    if let Some(found) = response.get("schema") {
        out.message(2, wrap(1, schema(found)));
    }
    out
}

fn parameters(number: u32, list: &Value, out: &mut Message) {
    for parameter in list.as_array().into_iter().flatten() {
        let message = match parameter["in"].as_str() {
            Some("body") => wrap(1, body_parameter(parameter)),
            Some("path") => wrap(2, wrap(4, plain_parameter(parameter, false))),
            _ => wrap(2, wrap(3, plain_parameter(parameter, true))),
        };
        out.message(number, wrap(1, message));
    }
}

fn body_parameter(parameter: &Value) -> Message {
    let mut out = Message::default();
    out.text(2, &parameter["name"]);
    out.text(3, &parameter["in"]);
    out.flag(4, &parameter["required"]);
    out.message(5, schema(&parameter["schema"]));
    out
}

/// Parameters of the query have one field more, which moves the numbers behind it.
fn plain_parameter(parameter: &Value, query: bool) -> Message {
    let mut out = Message::default();
    let moved = u32::from(query);
    out.flag(1, &parameter["required"]);
    out.text(2, &parameter["in"]);
    out.text(4, &parameter["name"]);
    out.text(5 + moved, &parameter["type"]);
    out.flag(19 + moved, &parameter["uniqueItems"]);
    out
}

fn schema(schema: &Value) -> Message {
    let mut out = Message::default();
    out.text(1, &schema["$ref"]);
    out.text(2, &schema["format"]);
    out.text(4, &schema["description"]);
    out.texts(19, &schema["required"]);
    if let Some(values) = schema.get("additionalProperties") {
        out.message(21, wrap(1, self::schema(values)));
    }
    if let Some(ty) = schema["type"].as_str() {
        let mut item = Message::default();
        item.bytes(1, ty.as_bytes());
        out.message(22, item);
    }
    if let Some(items) = schema.get("items") {
        out.message(23, wrap(1, self::schema(items)));
    }
    if schema.get("properties").is_some() {
        out.message(25, all_named(1, &schema["properties"], self::schema));
    }
    if let Some(object) = schema.as_object() {
        out.extensions(31, object);
    }
    out
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn messages_are_written_field_by_field() {
        let document = json!({
            "swagger": "2.0",
            "info": {"title": "a", "version": "b"},
            "paths": {},
            "definitions": {"X": {"type": "object", "x-y": [1]}}
        });
        let found = super::document(&document);
        assert!(found.starts_with(b"\x0a\x032.0\x12\x06\x0a\x01a\x12\x01b\x42\x00\x4a"));
        assert!(found.windows(8).any(|w| w == b"\x0a\x06object"));
        assert!(found.windows(5).any(|w| w == b"\x12\x03[1]"));
    }

    #[test]
    fn parameters_of_query_and_path_differ() {
        let parameter = json!({"in": "query", "name": "n", "type": "t", "uniqueItems": true});
        assert_eq!(plain_parameter(&parameter, true).0, b"\x12\x05query\x22\x01n\x32\x01t\xa0\x01\x01");
        assert_eq!(plain_parameter(&parameter, false).0, b"\x12\x05query\x22\x01n\x2a\x01t\x98\x01\x01");
    }
}
