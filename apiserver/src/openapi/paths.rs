//! Operations as the paths of a document, in either version of OpenAPI.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::operations::{Answer, Operation};
use super::parameters::{self, Parameter};
use super::schemas::{Schemas, Version};

/// The paths of these operations. What they refer to gets into the schemas.
pub(crate) fn of(operations: &[Operation], schemas: &mut Schemas<'_>) -> Map<String, Value> {
    let mut by_path = BTreeMap::<&str, Vec<&Operation>>::new();
    for operation in operations {
        by_path.entry(&operation.path).or_default().push(operation);
    }
    by_path.into_iter().map(|(path, operations)| (path.to_owned(), item(&operations, schemas))).collect()
}

/// All that can be done on one path.
fn item(operations: &[&Operation], schemas: &mut Schemas<'_>) -> Value {
    let version = schemas.version();
    let common = parameters::common(operations.iter().map(|operation| operation.parameters.as_slice()));
    let mut item = Map::new();
    if !common.is_empty() {
        item.insert("parameters".to_owned(), common.iter().map(|p| parameter(p, version)).collect());
    }
    for operation in operations {
        let mut own = operation.parameters.clone();
        own.retain(|parameter| !common.contains(parameter));
        own.sort_unstable();
        let own = own.iter().map(|p| parameter(p, version)).collect();
        item.insert(operation.method.to_owned(), render(operation, own, schemas));
    }
    item.into()
}

fn parameter(parameter: &Parameter, version: Version) -> Value {
    let mut rendered = match version {
        Version::V2 => json!({"type": parameter.ty, "uniqueItems": true}),
        Version::V3 => json!({"schema": {"type": parameter.ty, "uniqueItems": true}}),
    };
    rendered["in"] = parameter.place.into();
    rendered["name"] = parameter.name.into();
    if parameter.place == "path" {
        rendered["required"] = true.into();
    }
    rendered
}

fn render(operation: &Operation, mut parameters: Vec<Value>, schemas: &mut Schemas<'_>) -> Value {
    let mut rendered = json!({
        "description": description(operation),
        "operationId": operation.id,
        "tags": [operation.tag],
    });
    if let Some((action, [group, version, kind])) = &operation.action {
        rendered["x-kubernetes-action"] = (*action).into();
        rendered["x-kubernetes-group-version-kind"] = json!({"group": group, "kind": kind, "version": version});
    }
    let answer = match &operation.answer {
        Answer::Definition(name) => schemas.reference(name),
        Answer::Text => json!({"type": "string"}),
    };
    match schemas.version() {
        Version::V3 => {
            if let Some((name, required)) = &operation.body {
                let schema = schemas.reference(name);
                rendered["requestBody"] = json!({"content": content(&operation.consumes, &schema)});
                if *required {
                    rendered["requestBody"]["required"] = true.into();
                }
            }
            let answer = json!({"content": content(&operation.produces, &answer)});
            rendered["responses"] = responses(operation, &answer);
        }
        Version::V2 => {
            if let Some((name, required)) = &operation.body {
                let mut body = json!({"in": "body", "name": "body", "schema": schemas.reference(name)});
                if *required {
                    body["required"] = true.into();
                }
                parameters.insert(0, body);
            }
            rendered["responses"] = responses(operation, &json!({ "schema": answer }));
            if !operation.consumes.is_empty() {
                rendered["consumes"] = operation.consumes.clone().into();
            }
            rendered["produces"] = operation.produces.clone().into();
            rendered["schemes"] = json!(["https"]);
        }
    }
    if !parameters.is_empty() {
        rendered["parameters"] = parameters.into();
    }
    rendered
}

/// Media types that all have the same schema.
fn content(media: &[&str], schema: &Value) -> Value {
    media.iter().map(|media| ((*media).to_owned(), json!({ "schema": schema }))).collect::<Map<_, _>>().into()
}

fn responses(operation: &Operation, answer: &Value) -> Value {
    let mut responses = Map::new();
    for code in operation.answers {
        let status = http::StatusCode::from_u16(*code).ok().and_then(|code| code.canonical_reason());
        let mut response = answer.clone();
        response["description"] = status.unwrap_or_default().into();
        responses.insert(code.to_string(), response);
    }
    responses.insert("401".to_owned(), json!({"description": "Unauthorized"}));
    responses.into()
}

/// In a few words, what an operation does.
fn description(operation: &Operation) -> String {
    match &operation.action {
        Some((action, [_, _, kind])) => format!("{action} {kind}"),
        None => format!("get {}", operation.path),
    }
}
