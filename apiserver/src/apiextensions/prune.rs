//! Taking out of an object what its schema does not know: unknown fields, and nulls that mean nothing.
//!
//! Follows `apiextensions-apiserver/pkg/apiserver/schema/{pruning,defaulting,objectmeta}`.

use skiff_apimachinery::value::{Object, Value};

use super::embedded;
use super::schema::{META_FIELDS, Schema};

/// Prunes an object of a custom resource; returns where something unknown was.
pub fn prune(object: &mut Value, schema: &Schema) -> Vec<String> {
    let mut unknown = Unknown::default();
    if let Some(members) = object.as_object_mut() {
        if schema.preserve_unknown {
            keep_members(members, schema, true, &mut unknown);
        } else {
            prune_members(members, Some(schema), true, &mut unknown);
        }
    }
    unknown.found.sort();
    drop_meaningless_nulls(object, Some(schema));
    let mut found = unknown.found;
    found.extend(embedded::prune_metadata(object, schema));
    found
}

/// The way to where pruning is, and what it found.
#[derive(Default)]
struct Unknown {
    path: String,
    found: Vec<String>,
}

impl Unknown {
    fn within(&mut self, key: &str, with: impl FnOnce(&mut Self)) {
        let length = self.path.len();
        if length > 0 {
            self.path.push('.');
        }
        self.path.push_str(key);
        with(self);
        self.path.truncate(length);
    }

    fn at(&mut self, index: usize, with: impl FnOnce(&mut Self)) {
        let length = self.path.len();
        self.path.push_str(&format!("[{index}]"));
        with(self);
        self.path.truncate(length);
    }

    fn record(&mut self, key: &str) {
        self.found.push(if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) });
    }
}

fn prune_value(value: &mut Value, schema: Option<&Schema>, unknown: &mut Unknown) {
    let preserved = schema.filter(|schema| schema.preserve_unknown);
    match value {
        Value::Object(members) => match preserved {
            Some(schema) => keep_members(members, schema, schema.embedded, unknown),
            None => prune_members(members, schema, schema.is_some_and(|schema| schema.embedded), unknown),
        },
        Value::Array(items) => {
            let of_items = schema.and_then(|schema| schema.items.as_deref());
            for (index, item) in items.iter_mut().enumerate() {
                match preserved {
                    Some(_) => unknown.at(index, |unknown| keep_value(item, of_items, unknown)),
                    None => unknown.at(index, |unknown| prune_value(item, of_items, unknown)),
                }
            }
        }
        _ => {}
    }
}

fn prune_members(members: &mut Object, schema: Option<&Schema>, resource: bool, unknown: &mut Unknown) {
    members.retain(|key, value| {
        let Some(schema) = schema else {
            unknown.record(key);
            return false;
        };
        if resource && META_FIELDS.contains(&key) {
            return true;
        }
        if let Some(member) = schema.properties.get(key) {
            unknown.within(key, |unknown| prune_value(value, Some(member), unknown));
        } else if schema.additional.is_some() {
            unknown.within(key, |unknown| prune_value(value, schema.additional_schema(), unknown));
        } else {
            if !META_FIELDS.contains(&key) || !unknown.path.is_empty() {
                unknown.record(key);
            }
            return false;
        }
        true
    });
}

/// Below a schema that keeps unknown fields, only what is specified is pruned.
fn keep_members(members: &mut Object, schema: &Schema, resource: bool, unknown: &mut Unknown) {
    for (key, value) in members.iter_mut() {
        if resource && META_FIELDS.contains(&key) {
            continue;
        }
        if let Some(member) = schema.properties.get(key) {
            unknown.within(key, |unknown| prune_value(value, Some(member), unknown));
        } else if schema.additional.is_some() {
            unknown.within(key, |unknown| prune_value(value, schema.additional_schema(), unknown));
        }
    }
}

fn keep_value(value: &mut Value, schema: Option<&Schema>, unknown: &mut Unknown) {
    let Some(schema) = schema else { return };
    match value {
        Value::Object(members) => keep_members(members, schema, schema.embedded, unknown),
        Value::Array(items) => {
            for (index, item) in items.iter_mut().enumerate() {
                unknown.at(index, |unknown| keep_value(item, schema.items.as_deref(), unknown));
            }
        }
        _ => {}
    }
}

/// Takes out nulls of members that are neither nullable nor have a default: they are absent.
fn drop_meaningless_nulls(value: &mut Value, schema: Option<&Schema>) {
    match value {
        Value::Object(members) => members.retain(|key, value| {
            let member = schema.and_then(|schema| schema.member(key));
            if value.is_null() && member.is_some_and(|member| !member.nullable && member.default.is_none()) {
                return false;
            }
            drop_meaningless_nulls(value, member);
            true
        }),
        Value::Array(items) => {
            let schema = schema.and_then(|schema| schema.items.as_deref());
            items.iter_mut().for_each(|item| drop_meaningless_nulls(item, schema));
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use skiff_apimachinery::value;

    use super::*;

    fn check(schema: Value, mut object: Value, pruned: Value, unknown: &[&str]) {
        assert_eq!(prune(&mut object, &Schema::parse(&schema)), unknown);
        assert_eq!(object, pruned);
    }

    #[test]
    fn unknown_fields_go_and_are_reported() {
        check(
            value!({"type": "object", "properties": {
                "spec": {"type": "object", "properties": {"a": {"type": "string"}}},
                "list": {"type": "array", "items": {"type": "object", "properties": {"a": {"type": "string"}}}},
                "map": {"type": "object", "additionalProperties": {"type": "object", "properties": {}}},
                "open": {"type": "object", "x-kubernetes-preserve-unknown-fields": true,
                    "properties": {"closed": {"type": "object", "properties": {}}}}
            }}),
            value!({"kind": "A", "metadata": {"name": "a"}, "other": 1, "spec": {"a": "x", "b": 1},
                "list": [{"a": "x"}, {"c": 1}], "map": {"k": {"x": 1}}, "open": {"y": {"z": 1}, "closed": {"x": 1}}}),
            value!({"kind": "A", "metadata": {"name": "a"}, "spec": {"a": "x"},
                "list": [{"a": "x"}, {}], "map": {"k": {}}, "open": {"y": {"z": 1}, "closed": {}}}),
            &["list[1].c", "map.k.x", "open.closed.x", "other", "spec.b"],
        );
    }

    #[test]
    fn nulls_stay_where_they_mean_something() {
        check(
            value!({"type": "object", "properties": {
                "a": {"type": "string"}, "b": {"type": "string", "nullable": true},
                "c": {"type": "string", "default": "x"}, "l": {"type": "array", "items": {"type": "string"}}
            }}),
            value!({"a": null, "b": null, "c": null, "l": [null]}),
            value!({"b": null, "c": null, "l": [null]}),
            &[],
        );
    }
}
