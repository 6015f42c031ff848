//! Field paths and validation errors with upstream's texts.
//!
//! Follows `k8s.io/apimachinery/pkg/util/validation/field`.

use std::fmt;

use crate::json;
use crate::status::StatusCause;
use crate::value::Value;

/// The way to a field, e.g. `spec.containers[0].resources.limits[cpu]`.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Path(String);

impl Path {
    /// A path of one field; an empty name is the object itself.
    pub fn new(name: &str) -> Self {
        Self(name.to_owned())
    }

    /// A member of the struct at this path.
    pub fn child(&self, name: &str) -> Self {
        let dot = if self.0.is_empty() { "" } else { "." };
        self.joined(&[dot, name])
    }

    /// An element of the list at this path.
    pub fn index(&self, index: usize) -> Self {
        self.key(&index.to_string())
    }

    /// An entry of the map at this path.
    pub fn key(&self, key: &str) -> Self {
        self.joined(&["[", key, "]"])
    }

    /// Validation makes a path for every field it looks at, so this allocates once and formats nothing.
    fn joined(&self, parts: &[&str]) -> Self {
        let length = self.0.len() + parts.iter().map(|part| part.len()).sum::<usize>();
        let mut path = String::with_capacity(length);
        path.push_str(&self.0);
        parts.iter().for_each(|part| path.push_str(part));
        Self(path)
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_empty() { "<nil>" } else { &self.0 })
    }
}

/// What is wrong with a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// What the value refers to does not exist.
    NotFound,
    /// A value is needed.
    Required,
    /// The value must be unique and is not.
    Duplicate,
    /// The value is malformed or out of bounds.
    Invalid,
    /// The value is none of a known set.
    NotSupported,
    /// The value may not be set, or not changed.
    Forbidden,
    /// The value has too many bytes.
    TooLong,
    /// The list has too many items.
    TooMany,
    /// The check itself failed.
    InternalError,
    /// The value is of the wrong type.
    TypeInvalid,
}

impl Kind {
    /// How messages begin.
    pub fn text(self) -> &'static str {
        match self {
            Kind::NotFound => "Not found",
            Kind::Required => "Required value",
            Kind::Duplicate => "Duplicate value",
            Kind::Invalid | Kind::TypeInvalid => "Invalid value",
            Kind::NotSupported => "Unsupported value",
            Kind::Forbidden => "Forbidden",
            Kind::TooLong => "Too long",
            Kind::TooMany => "Too many",
            Kind::InternalError => "Internal error",
        }
    }

    /// `reason` of the cause in a Status.
    pub fn reason(self) -> &'static str {
        match self {
            Kind::NotFound => "FieldValueNotFound",
            Kind::Required => "FieldValueRequired",
            Kind::Duplicate => "FieldValueDuplicate",
            Kind::Invalid => "FieldValueInvalid",
            Kind::NotSupported => "FieldValueNotSupported",
            Kind::Forbidden => "FieldValueForbidden",
            Kind::TooLong => "FieldValueTooLong",
            Kind::TooMany => "FieldValueTooMany",
            Kind::InternalError => "InternalError",
            Kind::TypeInvalid => "FieldValueTypeInvalid",
        }
    }
}

/// One thing wrong with one field.
#[derive(Clone, Debug, PartialEq)]
pub struct Error {
    /// What.
    pub kind: Kind,
    /// Where.
    pub field: String,
    /// The offending value, where messages show it.
    pub value: Option<Value>,
    /// Why; may be empty.
    pub detail: String,
}

impl Error {
    fn new(kind: Kind, path: &Path, value: Option<Value>, detail: impl Into<String>) -> Self {
        Self { kind, field: path.to_string(), value, detail: detail.into() }
    }

    /// A value is needed.
    pub fn required(path: &Path, detail: impl Into<String>) -> Self {
        Self::new(Kind::Required, path, None, detail)
    }

    /// The value is malformed or out of bounds.
    pub fn invalid(path: &Path, value: impl Into<Value>, detail: impl Into<String>) -> Self {
        Self::new(Kind::Invalid, path, Some(value.into()), detail)
    }

    /// The value is of the wrong type.
    pub fn type_invalid(path: &Path, value: impl Into<Value>, detail: impl Into<String>) -> Self {
        Self::new(Kind::TypeInvalid, path, Some(value.into()), detail)
    }

    /// The value is none of these, which the message lists in the order given.
    pub fn not_supported(path: &Path, value: impl Into<Value>, supported: &[&str]) -> Self {
        let quoted = supported.iter().map(|s| format!("{s:?}")).collect::<Vec<_>>().join(", ");
        let detail = if supported.is_empty() { String::new() } else { format!("supported values: {quoted}") };
        Self::new(Kind::NotSupported, path, Some(value.into()), detail)
    }

    /// The value must be unique and is not.
    pub fn duplicate(path: &Path, value: impl Into<Value>) -> Self {
        Self::new(Kind::Duplicate, path, Some(value.into()), "")
    }

    /// The value may not be set, or not changed.
    pub fn forbidden(path: &Path, detail: impl Into<String>) -> Self {
        Self::new(Kind::Forbidden, path, None, detail)
    }

    /// The value has more than `limit` bytes.
    pub fn too_long(path: &Path, value: impl Into<Value>, limit: usize) -> Self {
        let detail = format!("may not be more than {limit} bytes");
        Self::new(Kind::TooLong, path, Some(value.into()), detail)
    }

    /// The list has `actual` items, which is more than `limit`.
    pub fn too_many(path: &Path, actual: usize, limit: usize) -> Self {
        let shown = i64::try_from(actual).unwrap_or(i64::MAX);
        Self::new(Kind::TooMany, path, Some(shown.into()), format!("must have at most {limit} items"))
    }

    /// What the value refers to does not exist.
    pub fn not_found(path: &Path, value: impl Into<Value>) -> Self {
        Self::new(Kind::NotFound, path, Some(value.into()), "")
    }

    /// The check itself failed.
    pub fn internal(path: &Path, detail: impl Into<String>) -> Self {
        Self::new(Kind::InternalError, path, None, detail)
    }

    /// The message without the path.
    pub fn body(&self) -> String {
        let mut text = self.kind.text().to_owned();
        let shows_value = !matches!(self.kind, Kind::Required | Kind::Forbidden | Kind::TooLong | Kind::InternalError);
        if let Some(value) = self.value.as_ref().filter(|_| shows_value) {
            text.push_str(": ");
            text.push_str(&shown(value));
        }
        if !self.detail.is_empty() {
            text.push_str(": ");
            text.push_str(&self.detail);
        }
        text
    }

    /// As a cause of a Status.
    pub fn to_cause(&self) -> StatusCause {
        StatusCause { reason: self.kind.reason().into(), message: self.body(), field: self.field.clone() }
    }
}

fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => format!("{text:?}"),
        other => {
            let mut out = Vec::new();
            json::write(other, &mut out);
            String::from_utf8_lossy(&out).into_owned()
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.field, self.body())
    }
}

/// Errors in the order in which they were found.
pub type ErrorList = Vec<Error>;

/// All errors in one text, each once (`ToAggregate`).
pub fn aggregate(errors: &[Error]) -> String {
    let mut texts: Vec<String> = Vec::with_capacity(errors.len());
    for error in errors {
        let text = error.to_string();
        if !texts.contains(&text) {
            texts.push(text);
        }
    }
    if texts.len() == 1 { texts.remove(0) } else { format!("[{}]", texts.join(", ")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts() {
        let path = Path::new("spec").child("ports").index(0).child("protocol");
        for (error, want) in [
            (Error::required(&path, ""), "spec.ports[0].protocol: Required value"),
            (
                Error::not_supported(&path, "X", &["TCP", "UDP"]),
                r#"spec.ports[0].protocol: Unsupported value: "X": supported values: "TCP", "UDP""#,
            ),
            (Error::invalid(&Path::new("a").key("k"), 70000, "too big"), "a[k]: Invalid value: 70000: too big"),
            (Error::too_long(&Path::new("a"), "x", 3), "a: Too long: may not be more than 3 bytes"),
            (Error::too_many(&Path::new("a"), 5, 3), "a: Too many: 5: must have at most 3 items"),
        ] {
            assert_eq!(error.to_string(), want);
        }
    }
}
