//! Objects inside of objects (`x-kubernetes-embedded-resource`): their metadata is that of any object.
//!
//! Follows `schema/objectmeta` of apiextensions-apiserver.

use skiff_apimachinery::field::{Error, ErrorList, Path};
use skiff_apimachinery::value::{Object, Value};
use skiff_apimachinery::{json, names};

use super::schema::Schema;
use crate::registry::{canonical, object_meta};

const OBJECT_META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta";

/// Brings the metadata of embedded objects into the form of metadata; returns where something unknown was.
pub fn prune_metadata(object: &mut Value, schema: &Schema) -> Vec<String> {
    let mut unknown = Vec::new();
    // Of the object itself, metadata has been decoded.
    walk_members(object, schema, &Path::default(), &mut unknown);
    unknown.sort();
    unknown
}

fn walk(value: &mut Value, schema: &Schema, path: &Path, unknown: &mut Vec<String>) {
    if let (true, Value::Object(members)) = (schema.embedded, &mut *value)
        && let Some(metadata) = members.get_mut("metadata")
        && let Some((decoded, found)) = decode_metadata(metadata)
    {
        let prefix = path.child("metadata");
        unknown.extend(found.iter().map(|field| prefix.child(field).to_string()));
        *metadata = decoded;
    }
    walk_members(value, schema, path, unknown);
}

fn walk_members(value: &mut Value, schema: &Schema, path: &Path, unknown: &mut Vec<String>) {
    match value {
        Value::Object(members) => {
            for (key, value) in members.iter_mut() {
                if let Some(member) = schema.properties.get(key) {
                    walk(value, member, &path.child(key), unknown);
                } else if let Some(member) = schema.additional_schema() {
                    walk(value, member, &path.key(key), unknown);
                }
            }
        }
        Value::Array(items) => {
            if let Some(of_items) = &schema.items {
                for (index, item) in items.iter_mut().enumerate() {
                    walk(item, of_items, &path.index(index), unknown);
                }
            }
        }
        _ => {}
    }
}

/// Metadata as decoding under its type makes it, with the fields the type does not have; `None` if it is none.
fn decode_metadata(metadata: &Value) -> Option<(Value, Vec<String>)> {
    let schema = skiff_api::builtin().schema_by_name(OBJECT_META)?;
    let mut text = Vec::new();
    json::write(metadata, &mut text);
    let decoded = json::decode(&text, schema).ok()?;
    let mut value = decoded.value;
    canonical::canonicalize(&mut value, schema);
    Some((value, decoded.unknown))
}

/// Checks type and metadata of embedded objects.
pub fn validate(object: &Value, schema: &Schema) -> ErrorList {
    let mut errors = ErrorList::new();
    check_members(object, schema, &Path::default(), &mut errors);
    errors
}

fn check(value: &Value, schema: &Schema, path: &Path, errors: &mut ErrorList) {
    if let (true, Value::Object(members)) = (schema.embedded, value) {
        check_resource(members, path, errors);
    }
    check_members(value, schema, path, errors);
}

fn check_members(value: &Value, schema: &Schema, path: &Path, errors: &mut ErrorList) {
    match value {
        Value::Object(members) => {
            for (key, value) in members.iter() {
                if let Some(member) = schema.properties.get(key) {
                    check(value, member, &path.child(key), errors);
                } else if let Some(member) = schema.additional_schema() {
                    check(value, member, &path.key(key), errors);
                }
            }
        }
        Value::Array(items) => {
            if let Some(of_items) = &schema.items {
                for (index, item) in items.iter().enumerate() {
                    check(item, of_items, &path.index(index), errors);
                }
            }
        }
        _ => {}
    }
}

fn check_resource(members: &Object, path: &Path, errors: &mut ErrorList) {
    for field in ["apiVersion", "kind"] {
        if !members.contains_key(field) {
            errors.push(Error::required(&path.child(field), ""));
        }
    }
    for (key, value) in members.iter() {
        let place = path.child(key);
        match (key, value.as_str()) {
            ("apiVersion" | "kind", None) => errors.push(Error::invalid(&place, value.clone(), "must be a string")),
            ("apiVersion" | "kind", Some("")) => errors.push(Error::invalid(&place, "", "must not be empty")),
            ("apiVersion", Some(text)) if text.split('/').count() > 2 => {
                errors.push(Error::invalid(&place, text, format!("unexpected GroupVersion string: {text}")));
            }
            ("kind", Some(text)) => {
                let messages = names::dns1035_label(&text.to_lowercase());
                if !messages.is_empty() {
                    let why = format!("may have mixed case, but should otherwise match: {}", messages.join(","));
                    errors.push(Error::invalid(&place, text, why));
                }
            }
            ("metadata", _) => check_metadata(value, &place, errors),
            _ => {}
        }
    }
}

fn check_metadata(metadata: &Value, path: &Path, errors: &mut ErrorList) {
    let schema = skiff_api::builtin().schema_by_name(OBJECT_META);
    let mut text = Vec::new();
    json::write(metadata, &mut text);
    if let Some(Err(error)) = schema.map(|schema| json::decode(&text, schema)) {
        errors.push(Error::invalid(path, metadata.clone(), error.to_string()));
        return;
    }
    let mut object = Value::Object(Object::new());
    object.set_at(&["metadata"], metadata.clone());
    if metadata.str_at(&["name"]).unwrap_or("").is_empty() {
        object.set_at(&["metadata", "name"], "fakename");
    }
    let namespaced = metadata.str_at(&["namespace"]).is_some_and(|namespace| !namespace.is_empty());
    let found = object_meta::validate(&object, namespaced, crate::registry::strategy::path_segment);
    errors.extend(found.into_iter().map(|error| Error {
        field: format!("{path}{}", error.field.strip_prefix("metadata").unwrap_or(&error.field)),
        ..error
    }));
}

#[cfg(test)]
mod tests {
    use skiff_apimachinery::value;

    use super::*;

    #[test]
    fn embedded_metadata_is_pruned_and_checked() {
        let schema = Schema::parse(&value!({"properties": {"t": {"type": "object",
            "x-kubernetes-embedded-resource": true, "x-kubernetes-preserve-unknown-fields": true}}}));
        let mut object = value!({"t": {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a", "odd": 1}}});
        assert_eq!(prune_metadata(&mut object, &schema), ["t.metadata.odd"]);
        assert_eq!(object, value!({"t": {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a"}}}));
        assert_eq!(validate(&object, &schema), []);
        let errors = validate(&value!({"t": {"kind": "", "metadata": {"name": "a/b"}}}), &schema);
        let fields = errors.iter().map(|error| error.field.as_str()).collect::<Vec<_>>();
        assert_eq!(fields, ["t.apiVersion", "t.kind", "t.metadata.name"]);
    }
}
