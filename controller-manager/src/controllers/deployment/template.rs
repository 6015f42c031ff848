//! Pod templates: when two are the same.

use serde_json::Value;
use skiff_client::types::RawJson;

/// Label that tells the pods of one template from those of another.
pub(super) const HASH_LABEL: &str = "pod-template-hash";

/// A template in one canonical text, without the hash label: two templates are the same if these are.
pub(super) fn canonical(template: &RawJson) -> String {
    let mut template = template.value();
    let mut no_labels_left = false;
    if let Some(labels) = template.pointer_mut("/metadata/labels").and_then(Value::as_object_mut) {
        labels.remove(HASH_LABEL);
        no_labels_left = labels.is_empty();
    }
    if no_labels_left && let Some(metadata) = template["metadata"].as_object_mut() {
        metadata.remove("labels");
    }
    let mut text = String::new();
    write_canonical(&template, &mut text);
    text
}

/// Sorted keys, no nulls: `creationTimestamp: null` and an absent one are the same.
fn write_canonical(value: &Value, out: &mut String) {
    match value {
        Value::Object(fields) => {
            let mut fields: Vec<_> = fields.iter().filter(|(_, value)| !value.is_null()).collect();
            fields.sort_by_key(|(key, _)| key.as_str());
            out.push('{');
            for (key, value) in fields {
                out.push_str(&format!("{key:?}:"));
                write_canonical(value, out);
                out.push(',');
            }
            out.push('}');
        }
        Value::Array(items) => {
            out.push('[');
            for item in items {
                write_canonical(item, out);
                out.push(',');
            }
            out.push(']');
        }
        scalar => out.push_str(&scalar.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn canonical_of(json: &str) -> String {
        canonical(&RawJson::of(&serde_json::from_str(json).expect("JSON")))
    }

    #[test]
    fn equality_ignores_hash_label_order_and_nulls() {
        let plain = canonical_of(r#"{"metadata":{"labels":{"a":"1"}},"spec":{"x":1,"y":[{}]}}"#);
        let other = r#"{"spec":{"y":[{}],"x":1},"metadata":{"creationTimestamp":null,"labels":{"pod-template-hash":"x","a":"1"}}}"#;
        assert_eq!(plain, canonical_of(other));
        assert_ne!(plain, canonical_of(r#"{"metadata":{"labels":{"a":"1"}},"spec":{"x":2,"y":[{}]}}"#));
        assert_ne!(plain, canonical_of(r#"{"metadata":{"labels":{"a":"1"}},"spec":{"x":1,"y":[]}}"#));
    }
}
