//! Small steps that defaulting is made of.
//!
//! In Go an absent string and an empty one are the same, and so are an absent number and zero where the field is no
//! pointer; the functions say which of the two a field is.

use skiff_apimachinery::value::{Object, Value};

/// Sets a string that is absent or empty.
pub fn text(object: &mut Object, key: &str, default: &str) {
    if object.get(key).and_then(Value::as_str).is_none_or(str::is_empty) {
        object.insert(key, default);
    }
}

/// Sets a value that is absent (a pointer in Go).
pub fn absent(object: &mut Object, key: &str, default: impl Into<Value>) {
    if object.get(key).is_none_or(Value::is_null) {
        object.insert(key, default);
    }
}

/// Sets a number that is absent or zero.
pub fn nonzero(object: &mut Object, key: &str, default: i64) {
    if object.get(key).and_then(Value::as_i64).unwrap_or(0) == 0 {
        object.insert(key, default);
    }
}

/// Calls `with` for every object in a list.
pub fn each(object: &mut Object, key: &str, mut with: impl FnMut(&mut Object)) {
    for item in object.get_mut(key).and_then(Value::as_array_mut).into_iter().flatten() {
        if let Some(item) = item.as_object_mut() {
            with(item);
        }
    }
}

/// Calls `with` for an object that is there.
pub fn within(object: &mut Object, key: &str, with: impl FnOnce(&mut Object)) {
    if let Some(inner) = object.get_mut(key).and_then(Value::as_object_mut) {
        with(inner);
    }
}

/// Calls `with` for `spec`, which is created when it is not there.
pub fn spec(value: &mut Value, with: impl FnOnce(&mut Object)) {
    with(value.object_at_mut(&["spec"]));
}
