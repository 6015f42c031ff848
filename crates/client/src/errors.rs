//! Questions to ask a failed request: by reason and code, never by message text.

use kube::Error;
use kube::core::Status;

/// The server's answer, if it gave one.
pub fn status(error: &Error) -> Option<&Status> {
    match error {
        Error::Api(status) => Some(status),
        _ => None,
    }
}

fn has(error: &Error, code: u16, reason: &str) -> bool {
    status(error).is_some_and(|status| status.reason == reason || (status.reason.is_empty() && status.code == code))
}

/// The object is not there.
pub fn is_not_found(error: &Error) -> bool {
    has(error, 404, "NotFound")
}

/// An object of that name is already there.
pub fn is_already_exists(error: &Error) -> bool {
    has(error, 409, "AlreadyExists")
}

/// The object changed since it was read, or a precondition does not hold.
pub fn is_conflict(error: &Error) -> bool {
    has(error, 409, "Conflict")
}

/// The object is not acceptable.
pub fn is_invalid(error: &Error) -> bool {
    has(error, 422, "Invalid")
}

/// Not allowed.
pub fn is_forbidden(error: &Error) -> bool {
    has(error, 403, "Forbidden")
}

/// The resource version is older than the server remembers.
pub fn is_expired(error: &Error) -> bool {
    status(error).is_some_and(|status| status.code == 410 || status.reason == "Expired" || status.reason == "Gone")
}

/// The resource does not know the verb.
pub fn is_method_not_allowed(error: &Error) -> bool {
    has(error, 405, "MethodNotAllowed")
}

/// Refused because the namespace is being deleted: retrying cannot help.
pub fn is_namespace_terminating(error: &Error) -> bool {
    is_forbidden(error)
        && status(error)
            .and_then(|status| status.details.as_ref())
            .is_some_and(|details| details.causes.iter().any(|cause| cause.reason == "NamespaceTerminating"))
}
