//! The three patch formats that change an object without owning its fields.
//!
//! [`json`] is RFC 6902, [`merge`] is RFC 7386, [`strategic`] is Kubernetes' own format, driven by the schema. All are
//! pure: object and patch in, object or [`crate::status::Status`] out. The caller decodes the result under the schema
//! afterwards, which finds unknown fields and wrong types. Server-side apply lives in [`crate::managedfields`].

mod decode;
mod go_text;
pub mod json;
pub mod merge;
pub mod strategic;

pub use decode::{Document, configuration, map as decode_map};
pub(crate) use go_text::{type_name as go_type_name, value as go_text};

use crate::status::Status;
use crate::value::Value;

/// Deepest nesting that a patch may build; a deeper document is refused instead of exhausting the stack.
pub const MAX_DEPTH: usize = 512;

/// How many levels of arrays and objects a value has; a scalar has none. Stops counting beyond [`MAX_DEPTH`].
fn depth(value: &Value) -> usize {
    fn walk(value: &Value, left: usize) -> usize {
        if left == 0 {
            return 0;
        }
        match value {
            Value::Array(items) => 1 + items.iter().map(|item| walk(item, left - 1)).max().unwrap_or(0),
            Value::Object(object) => 1 + object.iter().map(|(_, item)| walk(item, left - 1)).max().unwrap_or(0),
            _ => 0,
        }
    }
    walk(value, MAX_DEPTH + 1)
}

/// The answer to a patch that cannot be understood.
fn bad_request(message: impl Into<String>) -> Status {
    Status::new(400, "BadRequest", message)
}

/// The answer to a patch that is well formed but does not apply. What went wrong is not in it: nor does upstream say.
fn does_not_apply() -> Status {
    let mut status = Status::new(422, "Invalid", "the server rejected our request due to an error in our request");
    status.details.shown = true;
    status
}
