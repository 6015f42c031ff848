//! OpenAPI 2.0 in protobuf: `openapiv2/OpenAPIv2.proto`.

use serde_json::Value;

use super::{Message, all_named, any, wrap};

/// Encodes a document.
pub(crate) fn document(document: &Value) -> Vec<u8> {
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
    out.extensions(13, operation);
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
    out.text(3, &schema["title"]);
    out.text(4, &schema["description"]);
    out.limits(6, schema);
    out.texts(19, &schema["required"]);
    schema["enum"].as_array().into_iter().flatten().for_each(|value| out.message(20, any(value)));
    if let Some(values) = schema.get("additionalProperties") {
        match values.as_bool() {
            Some(allowed) => {
                let mut item = Message::default();
                item.varint_field(2, u64::from(allowed));
                out.message(21, item);
            }
            None => out.message(21, wrap(1, self::schema(values))),
        }
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
    out.extensions(31, schema);
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
        assert!(found.windows(6).any(|w| w == b"\x12\x04[1]\n"));
    }

    #[test]
    fn parameters_of_query_and_path_differ() {
        let parameter = json!({"in": "query", "name": "n", "type": "t", "uniqueItems": true});
        assert_eq!(plain_parameter(&parameter, true).0, b"\x12\x05query\x22\x01n\x32\x01t\xa0\x01\x01");
        assert_eq!(plain_parameter(&parameter, false).0, b"\x12\x05query\x22\x01n\x2a\x01t\x98\x01\x01");
    }
}
