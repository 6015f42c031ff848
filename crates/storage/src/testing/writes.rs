//! Writes: compare-and-swap, revisions, expiry.

use std::time::Duration;

use super::{DEADLINE, create, draft, json, next_change, update};
use crate::{ListOptions, MAX_OBJECT_BYTES, Storage, StorageError, WatchEvent};

/// The bytes that come back carry the revision of the write.
pub async fn create_puts_the_revision_into_the_object(storage: &dyn Storage) {
    let entry = create(storage, "/registry/pods/a/x", "1").await;
    assert!(entry.revision > 0);
    assert_eq!(entry.object.json, json("x", "1", entry.revision));
    let (read, revision) = storage.get("/registry/pods/a/x").await.unwrap();
    let read = read.expect("the entry");
    assert_eq!((read.revision, &read.object), (entry.revision, &entry.object));
    assert_eq!(&*read.key, "/registry/pods/a/x");
    assert!(revision >= entry.revision);

    let updated = update(storage, &entry, "2").await;
    assert_eq!(updated.object.json, json("x", "2", updated.revision));
    assert_eq!(updated.object.with_revision(7).json, json("x", "2", 7));
}

/// Nothing changes when the key is taken.
pub async fn create_refuses_an_existing_key(storage: &dyn Storage) {
    let entry = create(storage, "/registry/pods/a/x", "1").await;
    let error = storage.create("/registry/pods/a/x", draft("x", "2"), None).await.unwrap_err();
    assert!(matches!(error, StorageError::Exists { ref key } if key == "/registry/pods/a/x"), "{error:?}");
    let (read, revision) = storage.get("/registry/pods/a/x").await.unwrap();
    assert_eq!(read.expect("the entry").object, entry.object);
    assert_eq!(revision, entry.revision, "a refused write takes no revision");
}

/// A conflict carries the entry as it is.
pub async fn update_swaps_only_the_expected_revision(storage: &dyn Storage) {
    let first = create(storage, "/registry/pods/a/x", "1").await;
    let second = update(storage, &first, "2").await;
    assert!(second.revision > first.revision);
    let error = storage.update(&first.key, first.revision, draft("x", "3"), None).await.unwrap_err();
    let StorageError::Conflict { current } = error else { panic!("{error:?}") };
    assert_eq!((current.revision, current.object), (second.revision, second.object));
}

/// Neither makes the key.
pub async fn update_and_delete_of_nothing_are_not_found(storage: &dyn Storage) {
    let error = storage.update("/registry/pods/a/x", 1, draft("x", "1"), None).await.unwrap_err();
    assert!(matches!(error, StorageError::NotFound { .. }), "{error:?}");
    let error = storage.delete("/registry/pods/a/x", 1).await.unwrap_err();
    assert!(matches!(error, StorageError::NotFound { .. }), "{error:?}");
    assert!(storage.get("/registry/pods/a/x").await.unwrap().0.is_none());
}

/// A delete returns the last entry and a revision of its own.
pub async fn delete_swaps_only_the_expected_revision(storage: &dyn Storage) {
    let first = create(storage, "/registry/pods/a/x", "1").await;
    let second = update(storage, &first, "2").await;
    let error = storage.delete(&first.key, first.revision).await.unwrap_err();
    let StorageError::Conflict { current } = error else { panic!("{error:?}") };
    assert_eq!(current.revision, second.revision);
    let (deleted, revision) = storage.delete(&first.key, second.revision).await.unwrap();
    assert_eq!(deleted.object, second.object);
    assert!(revision > second.revision);
    assert!(storage.get(&first.key).await.unwrap().0.is_none());
}

/// A deleted key is as good as new.
pub async fn a_key_can_be_created_again(storage: &dyn Storage) {
    let first = create(storage, "/registry/pods/a/x", "1").await;
    let (_, deleted) = storage.delete(&first.key, first.revision).await.unwrap();
    let again = create(storage, "/registry/pods/a/x", "2").await;
    assert!(again.revision > deleted);
    assert_eq!(storage.get(&first.key).await.unwrap().0.expect("the entry").object, again.object);
}

/// One counter for all keys.
pub async fn revisions_grow_by_every_write(storage: &dyn Storage) {
    let mut last = storage.current_revision().await.unwrap();
    for i in 0..20 {
        let entry = create(storage, &format!("/registry/things/{}", i % 7 * 100 + i), "1").await;
        assert!(entry.revision > last);
        last = entry.revision;
        assert_eq!(storage.current_revision().await.unwrap(), last);
    }
}

/// Exactly one of several writers from the same revision wins.
pub async fn racing_updates_have_one_winner(storage: &dyn Storage) {
    let mut current = create(storage, "/registry/pods/a/x", "0").await;
    for round in 0..10 {
        let values: Vec<String> = (0..8).map(|i| format!("{round}-{i}")).collect();
        let attempts =
            values.iter().map(|value| storage.update(&current.key, current.revision, draft("x", value), None));
        let outcomes = futures::future::join_all(attempts).await;
        let winners: Vec<_> = outcomes.iter().flatten().collect();
        assert_eq!(winners.len(), 1, "{outcomes:?}");
        for error in outcomes.iter().filter_map(|outcome| outcome.as_ref().err()) {
            assert!(matches!(error, StorageError::Conflict { .. }), "{error:?}");
        }
        let next = winners[0].clone();
        assert_eq!(storage.get(&current.key).await.unwrap().0.expect("the entry").object, next.object);
        current = next;
    }
}

/// Exactly one of several creators wins.
pub async fn racing_creates_have_one_winner(storage: &dyn Storage) {
    let values: Vec<String> = (0..8).map(|i| i.to_string()).collect();
    let attempts = values.iter().map(|value| storage.create("/registry/pods/a/x", draft("x", value), None));
    let outcomes = futures::future::join_all(attempts).await;
    assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 1, "{outcomes:?}");
}

/// The limit is exact to a few hundred bytes and the error says what it is.
pub async fn too_large_objects_are_refused(storage: &dyn Storage) {
    let fits = "v".repeat(MAX_OBJECT_BYTES - 1024);
    let entry = create(storage, "/registry/pods/a/big", &fits).await;
    let too_big = "v".repeat(MAX_OBJECT_BYTES + 1);
    for error in [
        storage.create("/registry/pods/a/bigger", draft("bigger", &too_big), None).await.unwrap_err(),
        storage.update("/registry/pods/a/big", entry.revision, draft("big", &too_big), None).await.unwrap_err(),
    ] {
        assert!(matches!(error, StorageError::TooLarge { size, limit } if size > limit), "{error:?}");
    }
    assert_eq!(storage.get("/registry/pods/a/big").await.unwrap().0.expect("the entry").object, entry.object);
}

/// Not early, not much late, and watchers see a deletion.
pub async fn objects_expire_after_their_ttl(storage: &dyn Storage) {
    let ttl = Duration::from_secs(2);
    let start = std::time::Instant::now();
    let entry = storage.create("/registry/events/a/e", draft("e", "1"), Some(ttl)).await.unwrap();
    let stays = create(storage, "/registry/events/a/stays", "1").await;
    let mut watch = storage.watch("/registry/events/", stays.revision).await.unwrap();
    let event = next_change(&mut watch).await.unwrap();
    assert!(start.elapsed() >= ttl, "expired after {:?}", start.elapsed());
    let WatchEvent::Delete { previous, revision } = event else { panic!("{event:?}") };
    assert_eq!((previous.revision, previous.object), (entry.revision, entry.object));
    assert!(revision > stays.revision);
    let page = storage.list("/registry/events/", ListOptions::default()).await.unwrap();
    assert_eq!(page.entries.iter().map(|entry| &*entry.key).collect::<Vec<_>>(), ["/registry/events/a/stays"]);
}

/// The deadline belongs to a write, not to the key.
pub async fn an_update_without_ttl_keeps_the_object(storage: &dyn Storage) {
    let ttl = Some(Duration::from_secs(1));
    let kept = storage.create("/registry/events/a/kept", draft("kept", "1"), ttl).await.unwrap();
    let kept = update(storage, &kept, "2").await;
    // A second object with the same ttl marks the time at which the first would have gone.
    storage.create("/registry/events/a/marker", draft("marker", "1"), ttl).await.unwrap();
    let wait = async {
        while storage.get("/registry/events/a/marker").await.unwrap().0.is_some() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(DEADLINE, wait).await.expect("the marker did not expire");
    assert_eq!(storage.get(&kept.key).await.unwrap().0.expect("the entry").object, kept.object);
}

/// A store that works says so.
pub async fn healthy_says_so(storage: &dyn Storage) {
    storage.healthy().await.unwrap();
}
