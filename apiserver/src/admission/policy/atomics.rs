//! What an apply configuration of a policy may not touch: lists, maps and structs that are replaced as a whole, so that
//! nothing is removed that nobody spoke of (`policy/mutating/patch/smd.go`).

use skiff_apimachinery::schema::{ListKind, SchemaRef, Type};
use skiff_apimachinery::value::Value;

/// The paths of atomic parts in a configuration.
pub(super) fn find(schema: SchemaRef<'_>, value: &Value) -> Vec<String> {
    let mut found = Vec::new();
    walk(schema, value, "", &mut found);
    found
}

fn walk(schema: SchemaRef<'_>, value: &Value, path: &str, found: &mut Vec<String>) {
    match value {
        Value::Object(members) => {
            if schema.is_atomic() {
                found.push(path.to_owned());
            }
            // Only fields are looked into, not the values of maps.
            for (name, member) in members.iter().filter(|_| matches!(schema.ty, Type::Struct(_))) {
                if let Some(schema) = schema.member(name) {
                    walk(schema, member, &format!("{path}.{name}"), found);
                }
            }
        }
        Value::Array(items) => {
            if matches!(schema.ty, Type::List(list) if list.kind == ListKind::Atomic) {
                found.push(path.to_owned());
            }
            for (index, item) in items.iter().enumerate() {
                if let Some(schema) = schema.item() {
                    walk(schema, item, &format!("{path}[{index}]"), found);
                }
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use skiff_apimachinery::value;

    use super::*;

    #[test]
    fn atomic_parts_are_found() {
        let schema = skiff_api::builtin().schema_of("", "v1", "Pod").expect("pods are known");
        let spec = value!({"spec": {
            "containers": [{"name": "a", "args": ["x"], "env": [{"name": "a"}]}],
            "nodeSelector": {"a": "b"}, "securityContext": {"runAsUser": 1}
        }});
        assert_eq!(find(schema, &spec), [".spec.containers[0].args", ".spec.nodeSelector"]);
        assert!(find(schema, &value!({"metadata": {"labels": {"a": "b"}}})).is_empty());
    }
}
