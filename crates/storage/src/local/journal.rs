//! What makes a batch durable: the one difference between the memory engine and the embedded one.

use std::sync::Arc;

use super::expiry::{Expiry, UnixSeconds};
use super::hub::{Hub, Live};
use crate::{Revision, StorageError, StoredObject};

/// One change of a batch.
pub(crate) struct Record<'a> {
    pub(crate) revision: Revision,
    pub(crate) key: &'a Arc<str>,
    /// `None` for a deletion.
    pub(crate) object: Option<&'a StoredObject>,
    /// When the key is to be deleted; 0 for never.
    pub(crate) expires_at: UnixSeconds,
}

/// A batch, and the state around it that a journal needs to clean up behind itself.
pub(crate) struct Commit<'a> {
    /// In revision order. Empty to try whether writes work.
    pub(crate) records: &'a [Record<'a>],
    /// The state after the batch.
    pub(crate) live: &'a Live,
    /// The published state and history, without the batch.
    pub(crate) hub: &'a Hub,
    /// Deadlines, without the batch.
    pub(crate) expiry: &'a Expiry,
}

/// See the module.
pub(crate) trait Journal: Send + 'static {
    /// Returns after the batch is on disk, all of it, or after making sure that none of it will be found there.
    fn commit(&mut self, commit: &Commit<'_>) -> Result<(), StorageError>;

    /// Last call.
    fn close(&mut self) {}
}
