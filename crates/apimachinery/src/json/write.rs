//! Compact JSON from a tree.

use std::io::Write as _;

use super::lex::plain_length;
use crate::value::Value;

/// Writes compact JSON.
pub fn write(value: &Value, out: &mut Vec<u8>) {
    match value {
        Value::Null => out.extend_from_slice(b"null"),
        Value::Bool(true) => out.extend_from_slice(b"true"),
        Value::Bool(false) => out.extend_from_slice(b"false"),
        // Writing to memory cannot fail.
        Value::Int(n) => drop(write!(out, "{n}")),
        Value::Float(n) => write_float(*n, out),
        Value::String(text) => write_string(text, out),
        Value::Array(items) => {
            out.push(b'[');
            for (i, item) in items.iter().enumerate() {
                if i > 0 {
                    out.push(b',');
                }
                write(item, out);
            }
            out.push(b']');
        }
        Value::Object(object) => {
            out.push(b'{');
            for (i, (key, value)) in object.iter().enumerate() {
                if i > 0 {
                    out.push(b',');
                }
                write_string(key, out);
                out.push(b':');
                write(value, out);
            }
            out.push(b'}');
        }
        Value::Raw(text) => out.extend_from_slice(text.as_bytes()),
    }
}

/// As Go's `encoding/json` does: very large and very small numbers with an exponent.
fn write_float(number: f64, out: &mut Vec<u8>) {
    let text = match number.abs() {
        size if !size.is_finite() => "null".to_owned(),
        size if size != 0.0 && !(1e-6..1e21).contains(&size) => {
            let text = format!("{number:e}");
            if size < 1.0 { text } else { text.replace('e', "e+") }
        }
        _ => number.to_string(),
    };
    out.extend_from_slice(text.as_bytes());
}

fn write_string(text: &str, out: &mut Vec<u8>) {
    let mut rest = text.as_bytes();
    out.push(b'"');
    loop {
        let (plain, special) = rest.split_at(plain_length(rest));
        out.extend_from_slice(plain);
        let Some((byte, behind)) = special.split_first() else { break };
        match byte {
            b'"' => out.extend_from_slice(b"\\\""),
            b'\\' => out.extend_from_slice(b"\\\\"),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            other => out.extend_from_slice(format!("\\u{other:04x}").as_bytes()),
        }
        rest = behind;
    }
    out.push(b'"');
}
