//! Pod templates: when two are the same, and their hash.

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

/// The hash of a canonical template: FNV-1a in the alphabet that makes no words (upstream `ComputeHash`, whose input
/// is Go's print of the struct and cannot be had here; only stability matters).
pub(super) fn hash(canonical: &str, collisions: Option<i32>) -> String {
    const ALPHABET: &[u8; 27] = b"bcdfghjklmnpqrstvwxz2456789";
    let collisions = collisions.map(|count| count.to_le_bytes());
    let bytes = canonical.bytes().chain(collisions.into_iter().flatten());
    let hash = bytes.fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    hash.to_string().bytes().map(|digit| ALPHABET[usize::from(digit) % ALPHABET.len()] as char).collect()
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

    #[test]
    fn hashes_are_stable_safe_and_move_with_collisions() {
        let first = hash("{}", None);
        assert_eq!(first, hash("{}", None));
        assert_ne!(first, hash("{}", Some(1)));
        assert_ne!(first, hash("{ }", None));
        assert!(first.len() <= 10 && first.bytes().all(|c| b"bcdfghjklmnpqrstvwxz2456789".contains(&c)));
    }
}
