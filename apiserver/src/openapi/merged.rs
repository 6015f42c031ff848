//! OpenAPI of group versions that others serve, beside our own documents.
//!
//! Version 3 is fetched from them when it is asked for; of version 2, where all is one document, what was learned is merged.
//! Follows `k8s.io/kube-aggregator/pkg/controllers/{openapi,openapiv3}` and `k8s.io/kube-openapi/pkg/aggregator`.

use std::collections::HashMap;
use std::sync::Arc;

use axum::body::Body;
use http::{HeaderMap, Request};
use serde_json::{Map, Value, json};
use skiff_apimachinery::status::Status;

use crate::ApiServer;
use crate::aggregator::learned::gatherer;
use crate::aggregator::{Picture, proxy};
use crate::context::RequestContext;
use crate::response::Response;

/// Adds the documents of others to the index of version 3.
pub(super) fn add_paths(paths: &mut Map<String, Value>, picture: &Picture) {
    for delegated in &picture.delegated {
        for (name, path) in &delegated.learned.load().v3 {
            // A group of which we serve a version as well keeps our document.
            paths.entry(name.clone()).or_insert_with(|| path.clone());
        }
    }
}

/// Answers a document of version 3 that somebody else has: `v3/apis/GROUP/VERSION`.
pub(super) async fn of_others(
    server: &Arc<ApiServer>,
    rest: &str,
    cx: &RequestContext,
    headers: &HeaderMap,
) -> Option<Result<Response, Status>> {
    let path = rest.strip_prefix("v3")?;
    let delegated = server.aggregator.delegated(path)?;
    let mut request = Request::new(Body::empty());
    *request.headers_mut() = headers.clone();
    let hash = cx.query.text("hash");
    let query = if hash.is_empty() { String::new() } else { format!("?hash={hash}") };
    Some(proxy::pass_on(&delegated, &gatherer(), request, &format!("/openapi/{rest}{query}")).await)
}

/// Adds the paths and definitions of others to those of version 2. Definitions of the same name that say something else
/// are given another one.
pub(super) fn merge(
    paths: &mut Map<String, Value>,
    definitions: &mut Map<String, Value>,
    other_paths: &Map<String, Value>,
    other_definitions: &Map<String, Value>,
) {
    let mut renamed = HashMap::new();
    for (name, definition) in other_definitions {
        if definitions.get(name).is_some_and(|known| !is_same(known, definition)) {
            let free = (2..).map(|n| format!("{name}_v{n}")).find(|new| {
                !other_definitions.contains_key(new)
                    && definitions.get(new).is_none_or(|known| is_same(known, definition))
            });
            renamed.extend(free.map(|new| (name.clone(), new)));
        }
    }
    for (name, definition) in other_definitions {
        let name = renamed.get(name).unwrap_or(name);
        if !definitions.contains_key(name) {
            definitions.insert(name.clone(), with_names(definition, &renamed));
        }
    }
    for (path, operations) in other_paths {
        if !paths.contains_key(path) {
            paths.insert(path.clone(), with_names(operations, &renamed));
        }
    }
}

/// Whether two definitions say the same, whatever kinds they are said to be of.
fn is_same(a: &Value, b: &Value) -> bool {
    const KINDS: &str = "x-kubernetes-group-version-kind";
    let (Some(a), Some(b)) = (a.as_object(), b.as_object()) else { return a == b };
    let rest = |object: &Map<String, Value>| object.len() - usize::from(object.contains_key(KINDS));
    rest(a) == rest(b) && a.iter().all(|(key, value)| key == KINDS || b.get(key) == Some(value))
}

/// A part of a document with other names of definitions.
fn with_names(part: &Value, renamed: &HashMap<String, String>) -> Value {
    match part {
        Value::Object(members) => {
            let members = members.iter().map(|(key, value)| {
                let target = value.as_str().filter(|_| key == "$ref").and_then(|r| r.strip_prefix("#/definitions/"));
                let value = match target.and_then(|name| renamed.get(name)) {
                    Some(new) => json!(format!("#/definitions/{new}")),
                    None => with_names(value, renamed),
                };
                (key.clone(), value)
            });
            Value::Object(members.collect())
        }
        Value::Array(items) => items.iter().map(|item| with_names(item, renamed)).collect(),
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_clash_are_changed_wherever_they_are_used() {
        let map = |value: Value| value.as_object().cloned().expect("a map");
        let mut paths = map(json!({"/a": {}}));
        let mut definitions = map(json!({"Meta": {"type": "object"}, "Same": {"type": "string"}}));
        let others = map(json!({
            "Meta": {"type": "object", "description": "another"}, "Same": {"type": "string"},
            "Own": {"properties": {"m": {"$ref": "#/definitions/Meta"}, "s": {"$ref": "#/definitions/Same"}}}
        }));
        merge(&mut paths, &mut definitions, &map(json!({"/b": {"$ref": "#/definitions/Own"}})), &others);
        assert_eq!(definitions["Meta"], json!({"type": "object"}));
        assert_eq!(definitions["Meta_v2"]["description"], "another");
        assert_eq!(definitions["Own"]["properties"]["m"]["$ref"], "#/definitions/Meta_v2");
        assert_eq!(definitions["Own"]["properties"]["s"]["$ref"], "#/definitions/Same");
        assert_eq!(paths["/b"]["$ref"], "#/definitions/Own");
    }
}
