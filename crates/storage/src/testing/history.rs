//! The bounded past: compaction.

use super::{create, next_changes, update};
use crate::{ListOptions, Storage, StorageError};

async fn list_at(storage: &dyn Storage, revision: u64) -> Result<usize, StorageError> {
    let options = ListOptions { revision: Some(revision), ..ListOptions::default() };
    Ok(storage.list("/registry/", options).await?.entries.len())
}

/// Older revisions are refused with the oldest that works.
pub async fn compaction_ends_old_reads_and_watches(storage: &dyn Storage) {
    let a = create(storage, "/registry/pods/a/a", "1").await;
    let b = create(storage, "/registry/pods/a/b", "1").await;
    storage.compact(b.revision).await.unwrap();
    let error = list_at(storage, a.revision).await.unwrap_err();
    assert!(matches!(error, StorageError::Compacted { oldest } if oldest == b.revision), "{error:?}");
    let refused = match storage.watch("/registry/pods/", a.revision - 1).await {
        Err(error) => error,
        // Engines that learn of it from a server say so on the stream.
        Ok(mut watch) => super::next_change(&mut watch).await.unwrap_err(),
    };
    assert!(matches!(refused, StorageError::Compacted { oldest } if oldest >= b.revision), "{refused:?}");
    assert_eq!(storage.head("/registry/pods/").await.unwrap().oldest, b.revision);
    // Again, and with an older revision: no harm.
    storage.compact(b.revision).await.unwrap();
    storage.compact(a.revision).await.unwrap();
    assert_eq!(list_at(storage, b.revision).await.unwrap(), 2);
}

/// What is live stays, and so does what happened afterwards.
pub async fn compaction_keeps_live_entries_and_later_history(storage: &dyn Storage) {
    let a = create(storage, "/registry/pods/a/a", "1").await;
    let b = create(storage, "/registry/pods/a/b", "1").await;
    let a2 = update(storage, &a, "2").await;
    storage.compact(b.revision).await.unwrap();
    assert_eq!(storage.get(&a.key).await.unwrap().0.expect("the entry").object, a2.object);
    assert_eq!(list_at(storage, b.revision).await.unwrap(), 2);
    let mut watch = storage.watch("/registry/pods/", b.revision).await.unwrap();
    let expected = format!("put {}@{} (was {})", a.key, a2.revision, a.revision);
    assert_eq!(next_changes(&mut watch, 1).await, [expected]);
}

/// The future cannot be forgotten.
pub async fn compacting_the_future_is_refused(storage: &dyn Storage) {
    let a = create(storage, "/registry/pods/a/a", "1").await;
    let error = storage.compact(a.revision + 100).await.unwrap_err();
    assert!(matches!(error, StorageError::Future { .. }), "{error:?}");
}

/// A watch that is up to date does not care.
pub async fn a_watch_survives_compaction(storage: &dyn Storage) {
    let a = create(storage, "/registry/pods/a/a", "1").await;
    let mut watch = storage.watch("/registry/pods/", a.revision).await.unwrap();
    let a2 = update(storage, &a, "2").await;
    assert_eq!(next_changes(&mut watch, 1).await.len(), 1);
    storage.compact(a2.revision).await.unwrap();
    let a3 = update(storage, &a2, "3").await;
    assert_eq!(next_changes(&mut watch, 1).await, [format!("put {}@{} (was {})", a.key, a3.revision, a2.revision)]);
}
