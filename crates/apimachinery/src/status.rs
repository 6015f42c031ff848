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
    /// Whether there are details although nothing is in them.
    pub shown: bool,
    /// The reason in the words of another server, whose refusal this is; empty for [`Status::reason`].
    pub foreign_reason: String,
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

    /// What another server answered, as far as clients see it.
    pub fn from_value(object: &Value) -> Self {
        let text = |path: &[&str]| object.str_at(path).unwrap_or("").to_owned();
        let number = |path: &[&str]| object.i64_at(path).unwrap_or(0);
        let cause = |cause: &Value| StatusCause {
            reason: cause.str_at(&["reason"]).unwrap_or("").to_owned(),
            message: cause.str_at(&["message"]).unwrap_or("").to_owned(),
            field: cause.str_at(&["field"]).unwrap_or("").to_owned(),
        };
        let details = StatusDetails {
            name: text(&["details", "name"]),
            group: text(&["details", "group"]),
            kind: text(&["details", "kind"]),
            uid: text(&["details", "uid"]),
            causes: object.array_at(&["details", "causes"]).iter().map(cause).collect(),
            retry_after_seconds: u32::try_from(number(&["details", "retryAfterSeconds"])).unwrap_or(0),
            continue_token: text(&["metadata", "continue"]),
            shown: object.at(&["details"]).is_some_and(|details| !details.is_null()),
            foreign_reason: text(&["reason"]),
        };
        let code = u16::try_from(number(&["code"])).unwrap_or(0);
        Self { code, reason: "", message: text(&["message"]), details: Box::new(details) }
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
        let reason = match self.details.foreign_reason.as_str() {
            "" => self.reason,
            foreign => foreign,
        };
        if !reason.is_empty() {
            object.insert("reason", reason);
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
        (self.shown || !object.is_empty()).then_some(Value::Object(object))
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

fn qualified(group: &str, resource: &str) -> String {
    if group.is_empty() { resource.to_owned() } else { format!("{resource}.{group}") }
}

fn about(mut status: Status, group: &str, kind: &str, name: &str) -> Status {
    status.details.group = group.to_owned();
    status.details.kind = kind.to_owned();
    status.details.name = name.to_owned();
    status
}

/// 404 for an object.
pub fn not_found(group: &str, resource: &str, name: &str) -> Status {
    let message = format!("{} {name:?} not found", qualified(group, resource));
    about(Status::new(404, "NotFound", message), group, resource, name)
}

/// 409: the name is taken.
pub fn already_exists(group: &str, resource: &str, name: &str) -> Status {
    let message = format!("{} {name:?} already exists", qualified(group, resource));
    about(Status::new(409, "AlreadyExists", message), group, resource, name)
}

/// 409: no free name was found for `generateName`.
pub fn generate_name_conflict(group: &str, resource: &str, name: &str) -> Status {
    let message = format!(
        "{} {name:?} already exists, the server was not able to generate a unique name for the object",
        qualified(group, resource)
    );
    let mut status = about(Status::new(409, "AlreadyExists", message), group, resource, name);
    status.details.retry_after_seconds = 1;
    status
}

/// 409: a precondition does not hold.
pub fn conflict(group: &str, resource: &str, name: &str, why: &str) -> Status {
    let message = format!("Operation cannot be fulfilled on {} {name:?}: {why}", qualified(group, resource));
    about(Status::new(409, "Conflict", message), group, resource, name)
}

/// 400.
pub fn bad_request(message: impl Into<String>) -> Status {
    Status::new(400, "BadRequest", message)
}

/// 401.
pub fn unauthorized() -> Status {
    Status::new(401, "Unauthorized", "Unauthorized")
}

/// 403; `resource` empty for paths that are no resources.
pub fn forbidden(group: &str, resource: &str, name: &str, why: impl std::fmt::Display) -> Status {
    let message = match (resource, name) {
        ("", _) => format!("forbidden: {why}"),
        (_, "") => format!("{} is forbidden: {why}", qualified(group, resource)),
        _ => format!("{} {name:?} is forbidden: {why}", qualified(group, resource)),
    };
    let mut status = about(Status::new(403, "Forbidden", message), group, resource, name);
    status.details.shown = true;
    status
}

/// 422 with a cause per field error.
pub fn invalid(group: &str, kind: &str, name: &str, errors: crate::field::ErrorList) -> Status {
    let message = format!("{} {name:?} is invalid: {}", qualified(group, kind), crate::field::aggregate(&errors));
    let mut status = about(Status::new(422, "Invalid", message), group, kind, name);
    status.details.causes = errors.iter().map(crate::field::Error::to_cause).collect();
    status
}

/// 410: a resourceVersion is too old.
pub fn expired(message: impl Into<String>) -> Status {
    Status::new(410, "Expired", message)
}

/// 429; `seconds` after which to try again.
pub fn too_many_requests(message: impl Into<String>, seconds: u32) -> Status {
    let mut status = Status::new(429, "TooManyRequests", message);
    status.details.retry_after_seconds = seconds;
    status
}

/// 405 for a verb that a resource does not have.
pub fn method_not_supported(group: &str, resource: &str, verb: &str) -> Status {
    let message = format!("{verb} is not supported on resources of kind {:?}", qualified(group, resource));
    about(Status::new(405, "MethodNotAllowed", message), group, resource, "")
}

/// 406; `offered` are the media types there are.
pub fn not_acceptable(offered: &[&str]) -> Status {
    let message = format!("only the following media types are accepted: {}", offered.join(", "));
    Status::new(406, "NotAcceptable", message)
}

/// What the router answers where nothing is routed: it knows of no object, so the details are empty.
fn unrouted(code: u16, reason: &'static str, message: impl Into<String>) -> Status {
    let mut status = Status::new(code, reason, message);
    status.details.shown = true;
    status
}

/// 404 for a path below a group version that is served.
pub fn no_such_resource() -> Status {
    unrouted(404, "NotFound", "the server could not find the requested resource")
}

/// 405 for a method that a path does not have.
pub fn method_not_routed() -> Status {
    unrouted(405, "MethodNotAllowed", "the server does not allow this method on the requested resource")
}

/// 406 for an Accept header without any media type that is produced; `produced` are those that are.
pub fn not_produced(produced: &[&str]) -> Status {
    let message = format!("406: Not Acceptable\n\nAvailable representations: {}", produced.join(", "));
    unrouted(406, "NotAcceptable", message)
}

/// 415 for a body in a media type that the path does not take.
pub fn not_consumed() -> Status {
    unrouted(415, "UnsupportedMediaType", "415: Unsupported Media Type")
}

/// 415; `offered` are the media types there are.
pub fn unsupported_media_type(offered: &[&str]) -> Status {
    let message = format!(
        "the body of the request was in an unknown format - accepted media types include: {}",
        offered.join(", ")
    );
    Status::new(415, "UnsupportedMediaType", message)
}

/// 413.
pub fn request_entity_too_large(detail: impl std::fmt::Display) -> Status {
    Status::new(413, "RequestEntityTooLarge", format!("Request entity too large: {detail}"))
}

/// 504.
pub fn timeout(message: impl std::fmt::Display) -> Status {
    Status::new(504, "Timeout", format!("Timeout: {message}"))
}

/// 500: the server could not finish in time; the client may try again.
pub fn server_timeout(group: &str, resource: &str, operation: &str) -> Status {
    let message = format!(
        "The {operation} operation against {} could not be completed at this time, please try again.",
        qualified(group, resource)
    );
    let mut status = about(Status::new(500, "ServerTimeout", message), group, resource, "");
    status.details.name = operation.to_owned();
    status
}

/// 500.
pub fn internal_error(why: impl std::fmt::Display) -> Status {
    let mut status = Status::new(500, "InternalError", format!("Internal error occurred: {why}"));
    status.details.causes.push(StatusCause { message: why.to_string(), ..StatusCause::default() });
    status
}

/// 503.
pub fn service_unavailable(message: impl Into<String>) -> Status {
    Status::new(503, "ServiceUnavailable", message)
}
