//! Values as upstream prints them in error messages (Go's `%v`).

use std::fmt::Write as _;

use crate::value::{Object, Value};

/// An object as Go prints a map: `map[a:1 b:[x y]]`.
pub(super) fn object(object: &Object) -> String {
    let mut out = String::new();
    write_object(object, &mut out);
    out
}

/// A value as Go prints it.
pub(crate) fn value(value: &Value) -> String {
    let mut out = String::new();
    write_value(value, &mut out);
    out
}

/// A value as Go prints it where a string is expected (`%s`).
pub(super) fn as_string(value: &Value) -> String {
    match value {
        Value::Null => "%!s(<nil>)".to_owned(),
        Value::Bool(_) | Value::Int(_) | Value::Float(_) => format!("%!s({}={})", type_name(value), self::value(value)),
        other => self::value(other),
    }
}

/// A list as Go prints a slice: `[a b]`.
pub(super) fn list<'a>(items: impl IntoIterator<Item = &'a Value>) -> String {
    let mut out = String::new();
    write_list(items, &mut out);
    out
}

fn write_list<'a>(items: impl IntoIterator<Item = &'a Value>, out: &mut String) {
    out.push('[');
    for (i, item) in items.into_iter().enumerate() {
        if i > 0 {
            out.push(' ');
        }
        write_value(item, out);
    }
    out.push(']');
}

fn write_object(object: &Object, out: &mut String) {
    out.push_str("map[");
    for (i, (key, item)) in object.iter().enumerate() {
        if i > 0 {
            out.push(' ');
        }
        out.push_str(key);
        out.push(':');
        write_value(item, out);
    }
    out.push(']');
}

fn write_value(value: &Value, out: &mut String) {
    match value {
        Value::Null => out.push_str("<nil>"),
        Value::String(s) => out.push_str(s),
        Value::Raw(text) => out.push_str(text),
        Value::Array(items) => write_list(items, out),
        Value::Object(object) => write_object(object, out),
        // Writing to a String cannot fail.
        Value::Bool(b) => drop(write!(out, "{b}")),
        Value::Int(n) => drop(write!(out, "{n}")),
        Value::Float(n) => drop(write!(out, "{n}")),
    }
}

/// The name of a value's type as Go prints the types of decoded JSON.
pub(crate) fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "%!s(<nil>)",
        Value::Bool(_) => "bool",
        Value::Int(_) => "int64",
        Value::Float(_) => "float64",
        Value::String(_) | Value::Raw(_) => "string",
        Value::Array(_) => "[]interface {}",
        Value::Object(_) => "map[string]interface {}",
    }
}
