//! API errors as upstream answers them: one constructor per reason.
//!
//! Follows `k8s.io/apimachinery/pkg/api/errors` for codes, reasons and messages. The HTTP layer turns a [`Status`]
//! into a response; nothing else formats errors for clients.

use crate::value::{Object, Value};

/// A `metav1.Status` that reports a failure.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{message}")]
pub struct Status {
    /// HTTP status code.
    pub code: u16,
    /// Machine-readable reason, e.g. `NotFound`; empty for unknown.
    pub reason: &'static str,
    /// What the person reads.
    pub message: String,
    /// Details, present when any is set.
    pub details: Box<StatusDetails>,
}

/// `metav1.StatusDetails`.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct StatusDetails {
    /// Name of the object, if known.
    pub name: String,
    /// API group of the object.
    pub group: String,
    /// Resource (plural) in most errors; Kind in Invalid errors.
    pub kind: String,
    /// UID of the object, if known.
    pub uid: String,
    /// Causes.
    pub causes: Vec<StatusCause>,
    /// Seconds after which to try again; 0 for unset.
    pub retry_after_seconds: u32,
    /// Continue token of an expired list (`metadata.continue`), if one was made.
    pub continue_token: String,
}

/// `metav1.StatusCause`.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct StatusCause {
    /// Machine-readable cause, e.g. `FieldValueInvalid`.
    pub reason: String,
    /// Message.
    pub message: String,
    /// Field path, e.g. `spec.replicas`.
    pub field: String,
}

impl Status {
    /// A failure with this code, reason and message and no details.
    pub fn new(code: u16, reason: &'static str, message: impl Into<String>) -> Self {
        Self { code, reason, message: message.into(), details: Box::default() }
    }

    /// The `v1.Status` object.
    pub fn to_value(&self) -> Value {
        let mut metadata = Object::new();
        if !self.details.continue_token.is_empty() {
            metadata.insert("continue", self.details.continue_token.as_str());
        }
        let mut object: Object = [
            ("kind", Value::from("Status")),
            ("apiVersion", Value::from("v1")),
            ("metadata", Value::Object(metadata)),
            ("status", Value::from("Failure")),
            ("message", Value::from(self.message.as_str())),
            ("code", Value::from(i64::from(self.code))),
        ]
        .into_iter()
        .collect();
        if !self.reason.is_empty() {
            object.insert("reason", self.reason);
        }
        if let Some(details) = self.details.to_value() {
            object.insert("details", details);
        }
        Value::Object(object)
    }
}

impl StatusDetails {
    fn to_value(&self) -> Option<Value> {
        let mut object = Object::new();
        for (key, text) in [("name", &self.name), ("group", &self.group), ("kind", &self.kind), ("uid", &self.uid)] {
            if !text.is_empty() {
                object.insert(key, text.as_str());
            }
        }
        if !self.causes.is_empty() {
            let causes = self.causes.iter().map(StatusCause::to_value).collect::<Vec<_>>();
            object.insert("causes", Value::Array(causes));
        }
        if self.retry_after_seconds > 0 {
            object.insert("retryAfterSeconds", i64::from(self.retry_after_seconds));
        }
        (!object.is_empty()).then_some(Value::Object(object))
    }
}

impl StatusCause {
    fn to_value(&self) -> Value {
        let mut object = Object::new();
        for (key, text) in [("reason", &self.reason), ("message", &self.message), ("field", &self.field)] {
            if !text.is_empty() {
                object.insert(key, text.as_str());
            }
        }
        Value::Object(object)
    }
}
