//! Why etcd did not do it.

use etcd_client::Error;

use crate::StorageError;

pub(super) fn unavailable(message: String) -> StorageError {
    StorageError::Unavailable(message)
}

/// See the module.
#[derive(Debug)]
pub(super) enum Refused {
    /// The revision is compacted.
    Compacted,
    /// Anything else: no leader, no space, no connection, no permission.
    Unavailable(String),
}

impl From<Error> for Refused {
    fn from(error: Error) -> Self {
        match &error {
            // `etcdserver: mvcc: required revision has been compacted` (etcd's api/v3rpc/rpctypes/error.go).
            Error::GRpcStatus(status) if status.message().contains("has been compacted") => Refused::Compacted,
            Error::GRpcStatus(status) => Refused::Unavailable(status.message().to_owned()),
            other => Refused::Unavailable(other.to_string()),
        }
    }
}

impl Refused {
    /// For callers; `what` is the key or the like.
    pub(super) fn into_error(self, what: &str) -> StorageError {
        match self {
            // Callers that can name the oldest revision do so themselves.
            Refused::Compacted => unavailable(format!("etcd ({what}): the revision has been compacted")),
            Refused::Unavailable(message) => unavailable(format!("etcd ({what}): {message}")),
        }
    }
}
