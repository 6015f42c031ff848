//! Watches: every change once, in order, with the value before.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;

use super::{DEADLINE, create, describe, draft, next_change, next_changes, update};
use crate::{Storage, StorageError, WatchEvent, WatchStream};

/// Create, update, delete: each with the entry before it.
pub async fn watch_delivers_changes_with_previous(storage: &dyn Storage) {
    let start = storage.current_revision().await.unwrap();
    let mut watch = storage.watch("/registry/pods/", start).await.unwrap();
    let first = create(storage, "/registry/pods/a/x", "1").await;
    let second = update(storage, &first, "2").await;
    let (_, deleted) = storage.delete(&second.key, second.revision).await.unwrap();
    let third = create(storage, "/registry/pods/a/x", "3").await;

    let event = next_change(&mut watch).await.unwrap();
    let WatchEvent::Put { entry, previous: None } = event else { panic!("{event:?}") };
    assert_eq!((entry.revision, entry.object), (first.revision, first.object.clone()));
    let event = next_change(&mut watch).await.unwrap();
    let WatchEvent::Put { entry, previous: Some(previous) } = event else { panic!("{event:?}") };
    assert_eq!((entry.revision, entry.object), (second.revision, second.object.clone()));
    assert_eq!((previous.revision, previous.object), (first.revision, first.object));
    let event = next_change(&mut watch).await.unwrap();
    let WatchEvent::Delete { previous, revision } = event else { panic!("{event:?}") };
    assert_eq!((previous.revision, previous.object), (second.revision, second.object));
    assert_eq!(revision, deleted);
    assert_eq!(next_changes(&mut watch, 1).await, [format!("put {}@{}", third.key, third.revision)]);
}

/// The past is replayed, then the present follows without a seam.
pub async fn watch_resumes_from_the_past(storage: &dyn Storage) {
    let a = create(storage, "/registry/pods/a/a", "1").await;
    let b = create(storage, "/registry/pods/a/b", "1").await;
    let a2 = update(storage, &a, "2").await;
    let mut watch = storage.watch("/registry/pods/", a.revision).await.unwrap();
    let b2 = update(storage, &b, "2").await;
    let expected = [
        format!("put {}@{}", b.key, b.revision),
        format!("put {}@{} (was {})", a.key, a2.revision, a.revision),
        format!("put {}@{} (was {})", b.key, b2.revision, b.revision),
    ];
    assert_eq!(next_changes(&mut watch, 3).await, expected);
    let mut again = storage.watch("/registry/pods/", a2.revision).await.unwrap();
    assert_eq!(next_changes(&mut again, 1).await, expected[2..]);
}

/// Neither siblings nor longer names of the same beginning.
pub async fn watch_sees_only_its_prefix(storage: &dyn Storage) {
    let start = storage.current_revision().await.unwrap();
    let mut all = storage.watch("/registry/pods/", start).await.unwrap();
    let mut one = storage.watch("/registry/pods/a/", start).await.unwrap();
    create(storage, "/registry/podsx/a/x", "1").await;
    create(storage, "/registry/nodes/n", "1").await;
    let a = create(storage, "/registry/pods/a/x", "1").await;
    let ab = create(storage, "/registry/pods/ab/x", "1").await;
    let last = create(storage, "/registry/pods/a/y", "1").await;
    let text = |entry: &crate::Entry| format!("put {}@{}", entry.key, entry.revision);
    assert_eq!(next_changes(&mut all, 3).await, [text(&a), text(&ab), text(&last)]);
    assert_eq!(next_changes(&mut one, 2).await, [text(&a), text(&last)]);
}

/// All watchers agree on the order of concurrent writes.
pub async fn watchers_see_the_same_order(storage: &dyn Storage) {
    const WRITES: usize = 40;
    let start = storage.current_revision().await.unwrap();
    let mut first = storage.watch("/registry/pods/", start).await.unwrap();
    let mut second = storage.watch("/registry/pods/", start).await.unwrap();
    let names: Vec<String> = (0..WRITES).map(|i| format!("/registry/pods/a/{i}")).collect();
    futures::future::join_all(names.iter().map(|name| create(storage, name, "1"))).await;
    assert_eq!(next_changes(&mut first, WRITES).await, next_changes(&mut second, WRITES).await);
}

/// Many writers on few keys; watchers that start in between lose nothing and see nothing twice.
pub async fn concurrent_writes_arrive_once_and_in_order(storage: &dyn Storage) {
    const KEYS: usize = 4;
    const WRITES_PER_KEY: usize = 25;
    let start = storage.current_revision().await.unwrap();
    let writers = futures::future::join_all((0..KEYS).map(|i| async move {
        let mut entry = create(storage, &format!("/registry/pods/a/{i}"), "0").await;
        for value in 1..WRITES_PER_KEY {
            entry = update(storage, &entry, &value.to_string()).await;
        }
    }));
    let watchers = futures::future::join_all((0..4).map(|_| async move {
        // Each starts at whatever the revision is by then and replays from the beginning.
        storage.current_revision().await.unwrap();
        let mut watch = storage.watch("/registry/pods/", start).await.unwrap();
        let mut last = start;
        let mut known = std::collections::HashMap::<Arc<str>, u64>::new();
        for _ in 0..KEYS * WRITES_PER_KEY {
            let event = next_change(&mut watch).await.unwrap();
            let WatchEvent::Put { entry, previous } = event else { panic!("{event:?}") };
            assert!(entry.revision > last, "{} after {last}", entry.revision);
            last = entry.revision;
            let before = known.insert(entry.key.clone(), entry.revision);
            assert_eq!(previous.map(|previous| previous.revision), before, "{} has a gap", entry.key);
        }
        last
    }));
    let (_, ends) = tokio::join!(writers, watchers);
    let end = storage.current_revision().await.unwrap();
    assert_eq!(ends, [end; 4]);
}

/// A quiet watcher learns that the store moves on.
pub async fn progress_follows_other_keys(storage: &dyn Storage) {
    let start = storage.current_revision().await.unwrap();
    let mut watch = storage.watch("/registry/pods/", start).await.unwrap();
    let other = create(storage, "/registry/nodes/a", "1").await;
    progress_to(&mut watch, other.revision).await;
}

/// Asking for the head makes a lagging watch catch up without further writes.
pub async fn head_brings_watches_up_to_date(storage: &dyn Storage) {
    let pod = create(storage, "/registry/pods/a/x", "1").await;
    let mut watch = storage.watch("/registry/pods/", pod.revision).await.unwrap();
    create(storage, "/registry/nodes/a", "1").await;
    let pod = update(storage, &pod, "2").await;
    let node = create(storage, "/registry/nodes/b", "1").await;
    let head = storage.head("/registry/pods/").await.unwrap();
    assert_eq!(head.revision, node.revision);
    assert!(head.changed >= pod.revision, "{head:?}");
    let reached = loop {
        let event = tokio::time::timeout(DEADLINE, watch.next()).await.expect("no progress").expect("the watch ended");
        match event.unwrap() {
            WatchEvent::Put { entry, .. } if entry.revision >= head.changed => break entry.revision,
            WatchEvent::Progress { revision } if revision >= head.changed => break revision,
            _ => {}
        }
    };
    assert!(reached >= head.changed);
}

async fn progress_to(watch: &mut WatchStream, revision: u64) {
    let wait = async {
        loop {
            match watch.next().await.expect("the watch ended").unwrap() {
                WatchEvent::Progress { revision: reached } if reached >= revision => return,
                WatchEvent::Progress { .. } => {}
                change => panic!("{}", describe(&change)),
            }
        }
    };
    tokio::time::timeout(DEADLINE, wait).await.expect("no progress before the deadline");
}

/// A watcher that does not read is cut off, and what it got before that has no gap. Only for engines whose queue the
/// test can fill: it writes `writes` times.
pub async fn a_slow_watcher_is_cut_off(storage: &dyn Storage, writes: usize) {
    let start = storage.current_revision().await.unwrap();
    let mut watch = storage.watch("/registry/pods/", start).await.unwrap();
    let mut written = 0;
    while written < writes {
        let batch = (written..writes.min(written + 256)).map(|i| async move {
            storage.create(&format!("/registry/pods/a/{i:06}"), draft("x", "1"), None).await.unwrap();
        });
        futures::future::join_all(batch).await;
        written += 256;
    }
    let mut last = start;
    let error = tokio::time::timeout(Duration::from_secs(60), async {
        loop {
            match watch.next().await.expect("the watch ended without an error") {
                Ok(WatchEvent::Put { entry, .. }) => {
                    assert_eq!(entry.revision, last + 1, "a gap before the cut");
                    last = entry.revision;
                }
                Ok(WatchEvent::Progress { revision }) => last = revision,
                Ok(WatchEvent::Delete { .. }) => panic!("nothing was deleted"),
                Err(error) => return error,
            }
        }
    });
    let error = error.await.expect("not cut off");
    assert!(matches!(error, StorageError::Slow), "{error:?}");
    assert!(watch.next().await.is_none(), "a stream ends after an error");
    // The watcher may go on where it was.
    let mut resumed = storage.watch("/registry/pods/", last).await.unwrap();
    let WatchEvent::Put { entry, .. } = next_change(&mut resumed).await.unwrap() else { panic!("no put") };
    assert_eq!(entry.revision, last + 1);
}
