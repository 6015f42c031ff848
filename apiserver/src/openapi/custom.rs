//! Schemas of custom resources as OpenAPI shows them: what the definition says, with type and metadata.
//!
//! Version 2 cannot say all of it, and its clients take what is missing for forbidden. Follows
//! `apiextensions-apiserver/pkg/controller/openapi/{builder,v2}`.

use serde_json::{Map, Value, json};

use super::schemas::{Schemas, Version};
use crate::registry::{Custom, Resource};

const PRESERVE: &str = "x-kubernetes-preserve-unknown-fields";
const EMBEDDED: &str = "x-kubernetes-embedded-resource";
const INT_OR_STRING: &str = "x-kubernetes-int-or-string";
/// Keywords of alternatives, which version 2 does not show.
const ALTERNATIVES: [&str; 4] = ["allOf", "anyOf", "oneOf", "not"];

/// The definitions of a custom resource and of its list, by name.
pub(crate) fn definitions(resource: &Resource, custom: &Custom, schemas: &mut Schemas<'_>) -> Vec<(String, Value)> {
    let info = &resource.info;
    let table = resource.types.table();
    let kind = |kind: &str| json!([{"group": info.group.as_str(), "kind": kind, "version": info.version.as_str()}]);
    let mut object = object_schema(custom, schemas);
    object["x-kubernetes-group-version-kind"] = kind(&info.kind);
    let name = table.def(info.type_id).name.to_string();
    let mut all = vec![];
    if let (Some(list_kind), Some(list)) = (&info.list_kind, info.list_type_id) {
        let mut properties = Map::new();
        let doc = format!("The {} of the list.", info.plural);
        let item = schemas.reference(&name);
        properties.insert("items".into(), json!({"description": doc, "type": "array", "items": item}));
        add_meta(&mut properties, "ListMeta", schemas);
        let list_schema = json!({
            "description": format!("{list_kind} is a list of {}", info.kind),
            "type": "object",
            "required": ["items"],
            "properties": properties,
            "x-kubernetes-group-version-kind": kind(list_kind),
        });
        all.push((table.def(list).name.to_string(), list_schema));
    }
    all.push((name, object));
    all
}

fn object_schema(custom: &Custom, schemas: &mut Schemas<'_>) -> Value {
    let Some(published) = custom.published.as_deref().and_then(to_serde) else { return json!({"type": "object"}) };
    let mut schema = published;
    if schemas.version() == Version::V2 {
        if is_set(&schema, PRESERVE) {
            // Properties beside what is kept would be taken for all there is.
            return json!({"type": "object"});
        }
        reduce(&mut schema);
    } else {
        unfold(&mut schema);
    }
    add_embedded(&mut schema, schemas);
    let properties = members(&mut schema, "properties");
    add_meta(properties, "ObjectMeta", schemas);
    schema
}

fn to_serde(value: &skiff_apimachinery::value::Value) -> Option<Value> {
    let mut text = Vec::new();
    skiff_apimachinery::json::write(value, &mut text);
    serde_json::from_slice(&text).ok()
}

fn is_set(schema: &Value, keyword: &str) -> bool {
    schema.get(keyword).and_then(Value::as_bool).unwrap_or(false)
}

/// The object under a key of a schema, made if there is none.
fn members<'a>(schema: &'a mut Value, key: &str) -> &'a mut Map<String, Value> {
    if !schema[key].is_object() {
        schema[key] = json!({});
    }
    match &mut schema[key] {
        Value::Object(members) => members,
        _ => unreachable!("made an object just above"),
    }
}

/// Calls `with` for the schemas right below.
fn below(schema: &mut Value, mut with: impl FnMut(&mut Value)) {
    if let Some(properties) = schema.get_mut("properties").and_then(Value::as_object_mut) {
        properties.values_mut().for_each(&mut with);
    }
    for key in ["items", "additionalProperties"] {
        if let Some(schema) = schema.get_mut(key).filter(|schema| schema.is_object()) {
            with(schema);
        }
    }
}

/// Writes out what `x-kubernetes-int-or-string` means.
fn unfold(schema: &mut Value) {
    if is_set(schema, INT_OR_STRING) && schema.get("anyOf").is_none() && schema.get("allOf").is_none() {
        schema["anyOf"] = json!([{"type": "integer"}, {"type": "string"}]);
    }
    below(schema, unfold);
}

/// Takes out what version 2 has no words for.
fn reduce(schema: &mut Value) {
    let nullable = |schema: Option<&Value>| schema.is_some_and(|schema| is_set(schema, "nullable"));
    if let Some(required) = schema.get("required").and_then(Value::as_array) {
        let optional = nullable(schema.get("additionalProperties"));
        let properties = schema.get("properties");
        let needed = |name: &&Value| !optional && !nullable(name.as_str().and_then(|name| properties?.get(name)));
        let required = required.iter().filter(needed).cloned().collect::<Vec<_>>();
        schema["required"] = required.into();
    }
    let (null, open) = (is_set(schema, "nullable"), is_set(schema, PRESERVE));
    if let Some(keywords) = schema.as_object_mut() {
        if keywords.get("required").is_some_and(|required| required.as_array().is_some_and(Vec::is_empty)) {
            keywords.remove("required");
        }
        for keyword in ALTERNATIVES.iter().chain(&["default", "nullable"]) {
            keywords.remove(*keyword);
        }
        if null || open {
            keywords.remove("items");
            keywords.remove("properties");
        }
        let ty = keywords.get("type").and_then(Value::as_str).unwrap_or("").to_owned();
        let untyped_list = ty == "array" && !keywords.contains_key("items");
        if null || untyped_list || (open && ty == "object") {
            keywords.remove("type");
        }
    }
    below(schema, reduce);
}

/// Says what embedded objects have beside what their schema says.
fn add_embedded(schema: &mut Value, schemas: &mut Schemas<'_>) {
    below(schema, |schema| add_embedded(schema, schemas));
    if !is_set(schema, EMBEDDED) || (schemas.version() == Version::V2 && is_set(schema, PRESERVE)) {
        return;
    }
    let mut required = schema.get("required").and_then(Value::as_array).cloned().unwrap_or_default();
    for field in ["kind", "apiVersion"] {
        if !required.contains(&field.into()) {
            required.push(field.into());
        }
    }
    schema["required"] = required.into();
    add_meta(members(schema, "properties"), "ObjectMeta", schemas);
}

/// `apiVersion`, `kind` and `metadata`.
fn add_meta(properties: &mut Map<String, Value>, metadata: &str, schemas: &mut Schemas<'_>) {
    // Every kind describes them alike.
    const LIKE: &str = "io.k8s.api.core.v1.Pod";
    let described = |field: &str| schemas.description(LIKE, field).unwrap_or_default();
    for field in ["apiVersion", "kind"] {
        properties.insert(field.into(), json!({"description": described(field), "type": "string"}));
    }
    let description = if metadata == "ListMeta" {
        "Version of the list, and where to go on if it is not complete.".into()
    } else {
        described("metadata")
    };
    let mut schema = schemas.meta(metadata);
    if schemas.version() == Version::V3 {
        schema = json!({"allOf": [schema]});
    }
    schema["description"] = description.into();
    properties.insert("metadata".into(), schema);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn version_2_says_less() {
        let mut schema = json!({"type": "object", "required": ["a", "n"], "properties": {
            "a": {"type": "string", "default": "x", "anyOf": [{"minLength": 1}]},
            "n": {"type": "object", "nullable": true, "properties": {"x": {"type": "string"}}},
            "o": {"type": "object", "x-kubernetes-preserve-unknown-fields": true, "properties": {"x": {}}},
            "l": {"type": "array"},
            "i": {"x-kubernetes-int-or-string": true}
        }});
        reduce(&mut schema);
        let want = json!({"type": "object", "required": ["a"], "properties": {
            "a": {"type": "string"}, "n": {}, "o": {"x-kubernetes-preserve-unknown-fields": true}, "l": {},
            "i": {"x-kubernetes-int-or-string": true}
        }});
        assert_eq!(schema, want);
    }

    #[test]
    fn version_3_unfolds_int_or_string() {
        let mut schema = json!({"properties": {"i": {"x-kubernetes-int-or-string": true}}});
        unfold(&mut schema);
        assert_eq!(schema["properties"]["i"]["anyOf"], json!([{"type": "integer"}, {"type": "string"}]));
    }
}
