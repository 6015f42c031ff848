//! The strategic merge patch between two statuses, so that only what changed is sent and what others wrote stays.

use serde_json::{Map, Value, json};

/// Lists that merge by a key (x-kubernetes-patch-merge-key); all others are replaced as a whole. The names are unique
/// among the statuses of pods and nodes.
const MERGED_LISTS: [(&str, &str); 5] = [
    ("conditions", "type"),
    ("podIPs", "ip"),
    ("hostIPs", "ip"),
    ("addresses", "type"),
    ("resourceClaimStatuses", "name"),
];

/// What turns `old` into `new`; `None` if they are equal.
pub(crate) fn diff(old: &Value, new: &Value) -> Option<Value> {
    let empty = Map::new();
    let (old, new) = (old.as_object().unwrap_or(&empty), new.as_object().unwrap_or(&empty));
    let mut patch = Map::new();
    for (key, value) in new {
        let before = old.get(key);
        if before == Some(value) {
            continue;
        }
        let merge_key = MERGED_LISTS.iter().find(|(list, _)| list == key).map(|(_, merge_key)| *merge_key);
        match (merge_key, before, value) {
            (Some(merge_key), before, Value::Array(items)) => {
                let before = before.and_then(Value::as_array).map(Vec::as_slice).unwrap_or(&[]);
                diff_list(key, merge_key, before, items, &mut patch);
            }
            (_, Some(before @ Value::Object(_)), Value::Object(_)) => {
                if let Some(inner) = diff(before, value) {
                    patch.insert(key.clone(), inner);
                }
            }
            _ => drop(patch.insert(key.clone(), value.clone())),
        }
    }
    for key in old.keys().filter(|key| !new.contains_key(*key)) {
        patch.insert(key.clone(), Value::Null);
    }
    (!patch.is_empty()).then_some(Value::Object(patch))
}

/// Elements that changed, deletions of those that are gone, and the order.
fn diff_list(name: &str, key: &str, old: &[Value], new: &[Value], patch: &mut Map<String, Value>) {
    let by_key = |list: &[Value], wanted: &Value| list.iter().find(|item| &item[key] == wanted).cloned();
    let mut changes = Vec::new();
    for item in new {
        let Some(before) = by_key(old, &item[key]) else {
            changes.push(item.clone());
            continue;
        };
        if let Some(Value::Object(mut change)) = diff(&before, item) {
            change.insert(key.to_owned(), item[key].clone());
            changes.push(Value::Object(change));
        }
    }
    for item in old.iter().filter(|item| by_key(new, &item[key]).is_none()) {
        changes.push(json!({"$patch": "delete", key: item[key]}));
    }
    if changes.is_empty() {
        return;
    }
    let order: Vec<Value> = new.iter().map(|item| json!({key: item[key]})).collect();
    patch.insert(format!("$setElementOrder/{name}"), Value::Array(order));
    patch.insert(name.to_owned(), Value::Array(changes));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(old: Value, new: Value, expected: Option<Value>) {
        assert_eq!(diff(&old, &new), expected);
    }

    #[test]
    fn only_changes_are_sent() {
        check(json!({"phase": "Running"}), json!({"phase": "Running"}), None);
        check(
            json!({"phase": "Pending", "reason": "x", "podIP": "1"}),
            json!({"phase": "Running", "podIP": "1"}),
            Some(json!({"phase": "Running", "reason": null})),
        );
        check(
            json!({"resources": {"a": "1", "b": "2"}}),
            json!({"resources": {"a": "1", "b": "3"}}),
            Some(json!({"resources": {"b": "3"}})),
        );
        check(
            json!({"containerStatuses": [{"name": "a", "ready": false}, {"name": "b"}]}),
            json!({"containerStatuses": [{"name": "a", "ready": true}, {"name": "b"}]}),
            Some(json!({"containerStatuses": [{"name": "a", "ready": true}, {"name": "b"}]})),
        );
    }

    #[test]
    fn keyed_lists_are_merged() {
        check(
            json!({"conditions": [{"type": "A", "status": "False", "reason": "r"}, {"type": "B", "status": "True"}, {"type": "C"}]}),
            json!({"conditions": [{"type": "A", "status": "True"}, {"type": "B", "status": "True"}, {"type": "D"}]}),
            Some(json!({
                "$setElementOrder/conditions": [{"type": "A"}, {"type": "B"}, {"type": "D"}],
                "conditions": [{"type": "A", "status": "True", "reason": null}, {"type": "D"}, {"$patch": "delete", "type": "C"}]})),
        );
        check(
            json!({}),
            json!({"podIPs": [{"ip": "1"}]}),
            Some(json!({"$setElementOrder/podIPs": [{"ip": "1"}], "podIPs": [{"ip": "1"}]})),
        );
    }
}
