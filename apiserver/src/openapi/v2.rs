//! OpenAPI 2.0: the same operations in the older form.

use serde_json::{Map, Value, json};

/// The document of these paths (in the form of version 3) and definitions.
pub fn document(title_version: &str, paths: Map<String, Value>, definitions: Map<String, Value>) -> Value {
    let paths = paths.into_iter().map(|(path, item)| (path, path_item(item))).collect::<Map<_, _>>();
    json!({
        "swagger": "2.0",
        "info": {"title": "Kubernetes", "version": title_version},
        "paths": paths,
        "definitions": definitions,
        "securityDefinitions": {"BearerToken": super::bearer_token()},
        "security": [{"BearerToken": []}],
    })
}

fn path_item(item: Value) -> Value {
    let Value::Object(item) = item else { return item };
    let convert = |(key, value): (String, Value)| {
        let value = if key == "parameters" { parameters(value).into() } else { operation(value) };
        (key, value)
    };
    item.into_iter().map(convert).collect::<Map<_, _>>().into()
}

fn operation(mut operation: Value) -> Value {
    let mut list = parameters(operation["parameters"].take());
    let mut consumes = vec!["*/*".to_owned()];
    if let Value::Object(mut body) = operation["requestBody"].take() {
        let content = body.remove("content").unwrap_or_default();
        let content = content.as_object().cloned().unwrap_or_default();
        let schema = content.values().next().map_or(Value::Null, |media| media["schema"].clone());
        let mut parameter = json!({"in": "body", "name": "body", "schema": schema});
        if body.contains_key("required") {
            parameter["required"] = true.into();
        }
        list.insert(0, parameter);
        consumes = content.keys().cloned().collect();
    }
    let mut produces = Vec::new();
    let responses = operation["responses"].as_object_mut().map(std::mem::take).unwrap_or_default();
    let responses = responses.into_iter().map(|(code, mut response)| {
        if let Value::Object(content) = response["content"].take() {
            produces = content.keys().cloned().collect();
            let schema = content.into_iter().next().map_or(Value::Null, |(_, mut media)| media["schema"].take());
            return (code, json!({"description": response["description"], "schema": schema}));
        }
        (code, json!({"description": response["description"]}))
    });
    let responses = responses.collect::<Map<_, _>>();
    operation["responses"] = responses.into();
    operation["consumes"] = consumes.into();
    operation["produces"] = produces.into();
    operation["schemes"] = json!(["https"]);
    if let Some(operation) = operation.as_object_mut() {
        operation.remove("requestBody");
        operation.insert("parameters".to_owned(), list.into());
    }
    operation
}

fn parameters(list: Value) -> Vec<Value> {
    let Value::Array(list) = list else { return Vec::new() };
    let flat = |mut parameter: Value| {
        if let Value::Object(schema) = parameter["schema"].take() {
            schema.into_iter().for_each(|(key, value)| parameter[key] = value);
        }
        if let Some(parameter) = parameter.as_object_mut() {
            parameter.remove("schema");
        }
        parameter
    };
    list.into_iter().map(flat).collect()
}
