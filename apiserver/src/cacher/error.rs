//! Why a read of the cache failed, with upstream's codes and messages (`k8s.io/apiserver/pkg/storage/errors.go`,
//! `.../storage/etcd3/errors.go`, `.../storage/cacher`).

use skiff_apimachinery::status::{Status, StatusCause};
use skiff_storage::{Revision, StorageError};

/// See the module.
#[derive(Clone, Debug, thiserror::Error)]
pub enum CacheError {
    /// The revision was not reached in time (504, cause `ResourceVersionTooLarge`).
    #[error("Too large resource version: {asked}, current: {current}")]
    TooLarge {
        /// What the reader asked for.
        asked: Revision,
        /// Where the cache is.
        current: Revision,
    },
    /// The history does not reach back that far (410).
    #[error("too old resource version: {asked} ({oldest})")]
    Expired {
        /// What the reader asked for.
        asked: Revision,
        /// The oldest revision that works.
        oldest: Revision,
    },
    /// The cache has not finished its first list (429).
    #[error("storage is (re)initializing")]
    NotReady,
    /// A field selector names a field that this resource does not offer (400).
    #[error("field label not supported: {0}")]
    UnsupportedField(String),
    /// The store cannot be read.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

/// Seconds after which a client should try again.
const RETRY_SECONDS: u32 = 1;

impl From<CacheError> for Status {
    fn from(error: CacheError) -> Self {
        let message = error.to_string();
        match error {
            CacheError::TooLarge { .. } | CacheError::Storage(StorageError::Future { .. }) => {
                let mut status = Status::new(504, "Timeout", format!("Timeout: {message}"));
                status.details.retry_after_seconds = RETRY_SECONDS;
                status.details.causes = vec![StatusCause {
                    reason: "ResourceVersionTooLarge".into(),
                    message: "Too large resource version".into(),
                    field: String::new(),
                }];
                status
            }
            CacheError::Expired { .. } => Status::new(410, "Expired", message),
            CacheError::Storage(StorageError::Compacted { .. }) => {
                Status::new(410, "Expired", "The resourceVersion for the provided list is too old.")
            }
            CacheError::NotReady => {
                let mut status = Status::new(429, "TooManyRequests", message);
                status.details.retry_after_seconds = RETRY_SECONDS;
                status
            }
            CacheError::UnsupportedField(_) => Status::new(400, "BadRequest", message),
            CacheError::Storage(StorageError::Unavailable(_)) => {
                let mut status = Status::new(503, "ServiceUnavailable", message);
                status.details.retry_after_seconds = RETRY_SECONDS;
                status
            }
            CacheError::Storage(StorageError::Unconvertible(_)) => Status::new(500, "", message),
            CacheError::Storage(_) => Status::new(500, "InternalError", format!("Internal error occurred: {message}")),
        }
    }
}
