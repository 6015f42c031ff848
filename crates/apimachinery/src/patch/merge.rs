//! JSON merge patch, RFC 7386.
//!
//! One difference from the RFC is upstream's (evanphx/json-patch): when a value is put where no object was, nulls are
//! pruned from the objects inside arrays too.

use super::{MAX_DEPTH, bad_request, depth};
use crate::status::Status;
use crate::value::{Object, Value};

/// Merges `patch` into `current`: null removes, objects merge, everything else replaces.
///
/// A patch that is no object replaces everything; an API server refuses those with [`check`] first.
pub fn apply(current: Value, patch: &Value) -> Value {
    match (current, patch) {
        (Value::Object(mut object), Value::Object(patch)) => {
            merge_objects(&mut object, patch);
            Value::Object(object)
        }
        (Value::Object(_), other) => other.clone(),
        (_, other) => pruned(other),
    }
}

/// Whether this can be a merge patch of an API object: 400 if it is no object or nests too deeply.
pub fn check(patch: &Value) -> Result<(), Status> {
    if !matches!(patch, Value::Object(_)) {
        return Err(bad_request("Invalid JSON Patch"));
    }
    if depth(patch) > MAX_DEPTH {
        return Err(bad_request(format!("patch nests deeper than {MAX_DEPTH} levels")));
    }
    Ok(())
}

fn merge_objects(object: &mut Object, patch: &Object) {
    for (key, change) in patch.iter() {
        match (object.get_mut(key), change) {
            (_, Value::Null) => drop(object.remove(key)),
            (Some(Value::Object(inner)), Value::Object(change)) => merge_objects(inner, change),
            (Some(slot @ Value::Object(_)), change) => *slot = change.clone(),
            (Some(slot), change) => *slot = pruned(change),
            (None, change) => drop(object.insert(key, pruned(change))),
        }
    }
}

fn pruned(value: &Value) -> Value {
    match value {
        Value::Object(object) => Value::Object(
            object.iter().filter(|(_, item)| !item.is_null()).map(|(key, item)| (key, pruned(item))).collect(),
        ),
        Value::Array(items) => Value::Array(items.iter().map(pruned).collect()),
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value;

    #[test]
    fn merges() {
        // current, patch, expected. The first thirteen are the examples of RFC 7386, appendix A.
        let cases = [
            (value!({"a": "b"}), value!({"a": "c"}), value!({"a": "c"})),
            (value!({"a": "b"}), value!({"b": "c"}), value!({"a": "b", "b": "c"})),
            (value!({"a": "b"}), value!({"a": null}), value!({})),
            (value!({"a": "b", "b": "c"}), value!({"a": null}), value!({"b": "c"})),
            (value!({"a": ["b"]}), value!({"a": "c"}), value!({"a": "c"})),
            (value!({"a": "c"}), value!({"a": ["b"]}), value!({"a": ["b"]})),
            (value!({"a": {"b": "c"}}), value!({"a": {"b": "d", "c": null}}), value!({"a": {"b": "d"}})),
            (value!({"a": [{"b": "c"}]}), value!({"a": [1]}), value!({"a": [1]})),
            (value!(["a", "b"]), value!(["c", "d"]), value!(["c", "d"])),
            (value!({"a": "b"}), value!(["c"]), value!(["c"])),
            (value!({"a": "foo"}), value!("bar"), value!("bar")),
            (value!({"e": null}), value!({"a": 1}), value!({"e": null, "a": 1})),
            (value!({}), value!({"a": {"bb": {"ccc": null}}}), value!({"a": {"bb": {}}})),
            // An object that appears has no nulls, inside arrays neither; elements themselves stay.
            (value!({}), value!({"l": [{"a": null, "b": 1}, null]}), value!({"l": [{"b": 1}, null]})),
            (value!({"l": 1}), value!({"l": {"a": null}}), value!({"l": {}})),
            // An object replaced by something else takes that literally.
            (value!({"l": {"x": 1}}), value!({"l": [{"a": null}]}), value!({"l": [{"a": null}]})),
            (value!({"spec": {"replicas": 1}}), value!({"spec": {"replicas": 3}}), value!({"spec": {"replicas": 3}})),
        ];
        for (current, patch, expected) in cases {
            assert_eq!(apply(current.clone(), &patch), expected, "{current:?} + {patch:?}");
        }
    }

    #[test]
    fn only_objects_of_bounded_depth_are_patches() {
        assert!(check(&value!({})).is_ok());
        for bad in [value!([]), value!("x"), Value::Null, value!(1)] {
            assert_eq!(check(&bad).expect_err("refused").code, 400);
        }
        let mut deep = value!({});
        for _ in 0..MAX_DEPTH {
            deep = value!({ "a": deep });
        }
        assert_eq!(check(&deep).expect_err("refused").code, 400);
    }
}
