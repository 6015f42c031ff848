//! What makes a batch durable: the one difference between the memory engine and the embedded one.

use std::sync::Arc;

use super::expiry::{Expiry, UnixSeconds};
use super::history::Event;
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
    /// The changes behind the records.
    pub(crate) events: &'a [Arc<Event>],
    /// The state after the batch.
    pub(crate) live: &'a Live,
    /// The published state and history, without the batch.
    pub(crate) hub: &'a Hub,
    /// Deadlines, without the batch.
    pub(crate) expiry: &'a Expiry,
}

impl Commit<'_> {
    /// What was written to `key` at `revision`, if anybody still needs it: it is live, or a change in the window of
    /// past changes (this batch included) superseded it. With it, when the key is to be deleted.
    pub(crate) fn needed(&self, key: &str, revision: Revision) -> Option<(StoredObject, UnixSeconds)> {
        if let Some(entry) = self.live.get(key).filter(|entry| entry.revision == revision) {
            return Some((entry.object.clone(), self.expiry.get(key)));
        }
        let in_batch = self.events.iter().filter_map(|event| event.previous.as_ref());
        let superseded = in_batch.filter(|previous| previous.revision == revision).map(|p| p.object.clone()).next();
        let superseded = superseded.or_else(|| {
            self.hub.with_history(|history| history.superseded(revision).map(|entry| entry.object.clone()))
        });
        superseded.map(|object| (object, 0))
    }
}

/// See the module.
pub(crate) trait Journal: Send + 'static {
    /// Returns after the batch is on disk, all of it, or after making sure that none of it will be found there.
    fn commit(&mut self, commit: &Commit<'_>) -> Result<(), StorageError>;

    /// Last call.
    fn close(&mut self) {}
}
