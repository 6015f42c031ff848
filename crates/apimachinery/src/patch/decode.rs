//! Patch documents from JSON text, refused in the words in which Go's decoder refuses them, and with what strict
//! validation has to say about them.

use super::bad_request;
use crate::json;
use crate::schema::{SchemaRef, Type, TypeTable};
use crate::status::Status;
use crate::value::{Object, Value};

/// A patch as it was read.
#[derive(Clone, Debug, PartialEq)]
pub struct Document<T> {
    /// The patch.
    pub patch: T,
    /// What strict validation objects to: unknown and duplicate fields.
    pub strict: Vec<String>,
}

/// A patch that is a map; null is an empty one. `context` goes before the error.
pub fn map(text: &[u8], context: &str) -> Result<Document<Value>, Status> {
    let Document { patch, strict } = document(text, context)?;
    match patch {
        Value::Object(_) | Value::Null => Ok(Document { patch, strict }),
        other => Err(mismatch(context, &other, "value of type map[string]interface {}")),
    }
}

/// A configuration to apply, from YAML: a map; nothing and null are an empty one.
pub fn configuration(document: Value) -> Result<Value, Status> {
    match document {
        Value::Object(_) => Ok(document),
        Value::Null => Ok(Value::Object(Object::new())),
        other => Err(mismatch(
            "error decoding YAML: error unmarshaling JSON: while decoding JSON: ",
            &other,
            "value of type map[string]interface {}",
        )),
    }
}

/// A list of JSON patch operations; null is an empty one.
pub(super) fn operations(text: &[u8]) -> Result<Document<Vec<Object>>, Status> {
    const CONTEXT: &str = "error decoding patch: ";
    let Document { patch, strict } = document(text, CONTEXT)?;
    let items = match patch {
        Value::Array(items) => items,
        Value::Null => Vec::new(),
        other => return Err(mismatch(CONTEXT, &other, "value of type []handlers.jsonPatchOp")),
    };
    let mut strict = strict.iter().map(|error| format!("json patch {error}")).collect::<Vec<_>>();
    let mut operations = Vec::with_capacity(items.len());
    for (index, item) in items.into_iter().enumerate() {
        let operation = match item {
            Value::Object(operation) => operation,
            Value::Null => Object::new(),
            other => return Err(mismatch(CONTEXT, &other, "value of type handlers.jsonPatchOp")),
        };
        for (key, value) in operation.iter() {
            match (key, value) {
                ("op" | "from" | "path", Value::String(_) | Value::Null) | ("value", _) => {}
                ("op" | "from" | "path", other) => {
                    return Err(mismatch(CONTEXT, other, &format!("struct field jsonPatchOp.{key} of type string")));
                }
                _ => strict.push(format!("json patch unknown field \"[{index}].{key}\"")),
            }
        }
        operations.push(operation);
    }
    Ok(Document { patch: operations, strict })
}

fn document(text: &[u8], context: &str) -> Result<Document<Value>, Status> {
    let table = TypeTable::default();
    let decoded = json::decode(text, SchemaRef::new(&table, &Type::Any))
        .map_err(|error| bad_request(format!("{context}{error}")))?;
    let strict = decoded.duplicate.iter().map(|path| format!("duplicate field {path:?}")).collect();
    Ok(Document { patch: decoded.value, strict })
}

fn mismatch(context: &str, found: &Value, wanted: &str) -> Status {
    let found = match found {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Int(_) | Value::Float(_) => "number",
        Value::String(_) | Value::Raw(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    bad_request(format!("{context}json: cannot unmarshal {found} into Go {wanted}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_patch_is_refused_as_go_does() {
        let cases = [
            ("{}", "json: cannot unmarshal object into Go value of type []handlers.jsonPatchOp"),
            ("[1]", "json: cannot unmarshal number into Go value of type handlers.jsonPatchOp"),
            (r#"[{"path":1}]"#, "json: cannot unmarshal number into Go struct field jsonPatchOp.path of type string"),
            ("[", "unexpected end of JSON input"),
        ];
        for (text, message) in cases {
            let error = operations(text.as_bytes()).expect_err(text);
            assert_eq!((error.code, error.message), (400, format!("error decoding patch: {message}")));
        }
        let error = map(b"[]", "").expect_err("a list");
        assert_eq!(error.message, "json: cannot unmarshal array into Go value of type map[string]interface {}");
    }

    #[test]
    fn strictness_names_the_place() {
        let read = operations(br#"[{"op":"add","path":"/a","path":"/b","value":1,"x":2}]"#).expect("a patch");
        assert_eq!(read.strict, [r#"json patch duplicate field "[0].path""#, r#"json patch unknown field "[0].x""#]);
        assert_eq!(map(br#"{"a":{"b":1,"b":2}}"#, "").expect("a patch").strict, [r#"duplicate field "a.b""#]);
    }
}
