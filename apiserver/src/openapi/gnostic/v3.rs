//! OpenAPI 3.0 in protobuf: `openapiv3/OpenAPIv3.proto`.
//!
//! What may be a reference is a message with the thing itself in field 1 and a reference in field 2.

use serde_json::Value;

use super::{Message, all_named, any, wrap};

/// Encodes a document.
pub(crate) fn document(document: &Value) -> Vec<u8> {
    let mut out = Message::default();
    out.text(1, &document["openapi"]);
    let mut info = Message::default();
    info.text(1, &document["info"]["title"]);
    info.text(6, &document["info"]["version"]);
    out.message(2, info);
    out.message(4, all_named(1, &document["paths"], path_item));
    let mut components = Message::default();
    let parts = &document["components"];
    if parts.get("schemas").is_some() {
        components.message(1, all_named(1, &parts["schemas"], schema));
    }
    components.message(7, all_named(1, &parts["securitySchemes"], |scheme| wrap(1, security_scheme(scheme))));
    out.message(5, components);
    out.0
}

fn security_scheme(scheme: &Value) -> Message {
    let mut out = Message::default();
    for (number, field) in [(1, "type"), (2, "description"), (3, "name"), (4, "in")] {
        out.text(number, &scheme[field]);
    }
    out
}

fn path_item(item: &Value) -> Message {
    let mut out = Message::default();
    let methods = ["get", "put", "post", "delete", "options", "head", "patch"];
    for (method, number) in methods.iter().zip(4..) {
        if let Some(found) = item.get(method) {
            out.message(number, operation(found));
        }
    }
    parameters(13, &item["parameters"], &mut out);
    out
}

fn operation(operation: &Value) -> Message {
    let mut out = Message::default();
    out.texts(1, &operation["tags"]);
    out.text(3, &operation["description"]);
    out.text(5, &operation["operationId"]);
    parameters(6, &operation["parameters"], &mut out);
    if let Some(body) = operation.get("requestBody") {
        let mut request = Message::default();
        request.message(2, media_types(&body["content"]));
        request.flag(3, &body["required"]);
        out.message(7, wrap(1, request));
    }
    out.message(8, all_named(2, &operation["responses"], |found| wrap(1, response(found))));
    out.extensions(13, operation);
    out
}

fn response(response: &Value) -> Message {
    let mut out = Message::default();
    out.text(1, &response["description"]);
    if let Some(content) = response.get("content") {
        out.message(3, media_types(content));
    }
    out
}

fn media_types(content: &Value) -> Message {
    all_named(1, content, |media| wrap(1, schema(&media["schema"])))
}

fn parameters(number: u32, list: &Value, out: &mut Message) {
    for parameter in list.as_array().into_iter().flatten() {
        let mut message = Message::default();
        message.text(1, &parameter["name"]);
        message.text(2, &parameter["in"]);
        message.flag(4, &parameter["required"]);
        message.message(10, schema(&parameter["schema"]));
        out.message(number, wrap(1, message));
    }
}

/// A `SchemaOrReference`.
fn schema(schema: &Value) -> Message {
    if schema.get("$ref").is_some() {
        let mut reference = Message::default();
        reference.text(1, &schema["$ref"]);
        return wrap(2, reference);
    }
    wrap(1, inner(schema))
}

/// A `Schema`.
fn inner(schema: &Value) -> Message {
    let mut out = Message::default();
    out.flag(1, &schema["nullable"]);
    if let Some(example) = schema.get("example") {
        out.message(7, any(example));
    }
    out.text(9, &schema["title"]);
    out.limits(10, schema);
    out.texts(23, &schema["required"]);
    schema["enum"].as_array().into_iter().flatten().for_each(|value| out.message(24, any(value)));
    out.text(25, &schema["type"]);
    for (number, field) in [(26, "allOf"), (27, "oneOf"), (28, "anyOf")] {
        schema[field].as_array().into_iter().flatten().for_each(|part| out.message(number, self::schema(part)));
    }
    if let Some(not) = schema.get("not") {
        out.message(29, inner(not));
    }
    if let Some(items) = schema.get("items") {
        out.message(30, wrap(1, self::schema(items)));
    }
    if schema.get("properties").is_some() {
        out.message(31, all_named(1, &schema["properties"], self::schema));
    }
    if let Some(values) = schema.get("additionalProperties") {
        match values.as_bool() {
            Some(allowed) => {
                let mut item = Message::default();
                item.varint_field(2, u64::from(allowed));
                out.message(32, item);
            }
            None => out.message(32, wrap(1, self::schema(values))),
        }
    }
    if let Some(value) = schema.get("default") {
        out.message(33, default(value));
    }
    out.text(34, &schema["description"]);
    out.text(35, &schema["format"]);
    out.extensions(36, schema);
    out
}

/// A `DefaultType`: it has no place for objects, whose default is an empty message.
fn default(value: &Value) -> Message {
    let mut out = Message::default();
    match value {
        Value::Number(number) => out.double(1, number.as_f64().unwrap_or_default()),
        Value::Bool(on) => out.varint_field(2, u64::from(*on)),
        Value::String(text) => out.bytes(3, text.as_bytes()),
        _ => {}
    }
    out
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn schemas_and_references_differ() {
        assert_eq!(schema(&json!({"$ref": "#/x"})).0, b"\x12\x05\x0a\x03#/x");
        assert_eq!(
            schema(&json!({"type": "string", "default": ""})).0,
            b"\x0a\x0e\xca\x01\x06string\x8a\x02\x02\x1a\x00"
        );
        assert_eq!(schema(&json!({"default": 1})).0, b"\x0a\x0c\x8a\x02\x09\x09\x00\x00\x00\x00\x00\x00\xf0\x3f");
    }
}
