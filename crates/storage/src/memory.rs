//! The engine without a disk: for tests, and for clusters that need not outlive their process.

use imbl::OrdMap;

use crate::local::expiry::Expiry;
use crate::local::history::History;
use crate::local::hub::Snapshot;
use crate::local::journal::{Commit, Journal};
use crate::local::{Initial, LocalStorage};
use crate::{HistoryLimits, Revision, StorageError};

/// The revision of an empty store: reads have a positive revision from the start, as etcd's do.
pub(crate) const FIRST_REVISION: Revision = 1;

/// An empty store.
pub fn open(history: HistoryLimits) -> Result<LocalStorage, StorageError> {
    let initial = Initial {
        snapshot: Snapshot { revision: FIRST_REVISION, live: OrdMap::new() },
        history: History::new(history, FIRST_REVISION),
        expiry: Expiry::default(),
    };
    LocalStorage::start(initial, Nowhere)
}

/// The journal that keeps nothing.
struct Nowhere;

impl Journal for Nowhere {
    fn commit(&mut self, _commit: &Commit<'_>) -> Result<(), StorageError> {
        Ok(())
    }
}
