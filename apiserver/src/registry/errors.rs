//! What the store could not do, as clients see it.
//!
//! Follows `k8s.io/apiserver/pkg/storage/errors` and `.../registry/generic/registry/storeerr`.

use skiff_apimachinery::status::{self, Status};
use skiff_storage::StorageError;

/// Why a write based on an old version is refused.
pub const OPTIMISTIC_LOCK: &str =
    "the object has been modified; please apply your changes to the latest version and try again";

/// A storage error as clients see it (`storeerr.Interpret*Error` upstream).
pub fn storage_error(group: &str, resource: &str, name: &str, error: StorageError) -> Status {
    match error {
        StorageError::Exists { .. } => status::already_exists(group, resource, name),
        StorageError::NotFound { .. } => status::not_found(group, resource, name),
        StorageError::Conflict { .. } => status::conflict(group, resource, name, OPTIMISTIC_LOCK),
        StorageError::Compacted { oldest } => {
            status::expired(format!("too old resource version: the oldest available is {oldest}"))
        }
        StorageError::Future { asked, current } => future_version(asked, current),
        StorageError::TooLarge { .. } => status::request_entity_too_large(error.to_string()),
        StorageError::Slow | StorageError::Unavailable(_) => status::service_unavailable(error.to_string()),
        StorageError::Corrupt(message) => status::internal_error(message),
        StorageError::Unconvertible(message) => Status::new(500, "", message),
    }
}

/// 504 for a version the store has not reached (`storage.NewTooLargeResourceVersionError` upstream).
pub fn future_version(asked: u64, current: u64) -> Status {
    let mut status = Status::new(504, "Timeout", format!("Too large resource version: {asked}, current: {current}"));
    status.details.retry_after_seconds = 1;
    status.details.causes.push(status::StatusCause {
        reason: "ResourceVersionTooLarge".into(),
        message: "Too large resource version".into(),
        field: String::new(),
    });
    status
}
