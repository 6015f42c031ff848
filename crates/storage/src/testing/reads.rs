//! Reads: lists in key order, pages, exact revisions.

use super::{create, update};
use crate::{ListOptions, ListPage, Storage, StorageError};

fn keys(page: &ListPage) -> Vec<&str> {
    page.entries.iter().map(|entry| &*entry.key).collect()
}

/// A missing key is no error.
pub async fn get_returns_what_was_written(storage: &dyn Storage) {
    let (nothing, before) = storage.get("/registry/pods/a/x").await.unwrap();
    assert!(nothing.is_none());
    assert!(before > 0, "revisions are positive, also of an empty store");
    let entry = create(storage, "/registry/pods/a/x", "1").await;
    let (read, revision) = storage.get("/registry/pods/a/x").await.unwrap();
    assert_eq!(read.expect("the entry").object, entry.object);
    assert!(revision >= entry.revision);
    assert!(storage.get("/registry/pods/a").await.unwrap().0.is_none(), "a folder is not a key");
}

/// Bytewise order; a prefix ends at its slash.
pub async fn list_is_in_key_order_and_bounded_by_the_prefix(storage: &dyn Storage) {
    for key in ["pods/b/x", "pods/a/z", "pods/a-b/x", "pods/a/B", "podsecurity/a/x", "pod/a/x", "pods/a/b"] {
        create(storage, &format!("/registry/{key}"), "1").await;
    }
    let page = storage.list("/registry/pods/", ListOptions::default()).await.unwrap();
    let expected = ["a-b/x", "a/B", "a/b", "a/z", "b/x"].map(|key| format!("/registry/pods/{key}"));
    assert_eq!(keys(&page), expected);
    assert_eq!(page.remaining, 0);
    assert_eq!(page.revision, storage.current_revision().await.unwrap());
    let page = storage.list("/registry/pods/a/", ListOptions::default()).await.unwrap();
    assert_eq!(keys(&page), expected[1..4]);
    let page = storage.list("/registry/nothing/", ListOptions::default()).await.unwrap();
    assert!(page.entries.is_empty());
    assert!(page.revision > 0);
}

/// Pages join up, and each says how much follows.
pub async fn list_pages(storage: &dyn Storage) {
    for i in 0..10 {
        create(storage, &format!("/registry/pods/a/{i}"), "1").await;
    }
    create(storage, "/registry/podsx/a/0", "1").await;
    let mut start = None;
    let mut seen = Vec::new();
    let mut remaining = Vec::new();
    loop {
        let options = ListOptions { limit: 4, start: start.take(), ..ListOptions::default() };
        let page = storage.list("/registry/pods/", options).await.unwrap();
        seen.extend(page.entries.iter().map(|entry| entry.key.to_string()));
        remaining.push(page.remaining);
        match page.remaining {
            0 => break,
            _ => start = page.entries.last().map(|last| format!("{}\0", last.key)),
        }
    }
    assert_eq!(seen, (0..10).map(|i| format!("/registry/pods/a/{i}")).collect::<Vec<_>>());
    assert_eq!(remaining, [6, 2, 0]);
    // A start before the prefix changes nothing; one after it leaves nothing.
    let options = ListOptions { start: Some("/a".into()), ..ListOptions::default() };
    assert_eq!(storage.list("/registry/pods/", options).await.unwrap().entries.len(), 10);
    let options = ListOptions { start: Some("/registry/podsx".into()), ..ListOptions::default() };
    assert_eq!(storage.list("/registry/pods/", options).await.unwrap().entries.len(), 0);
}

/// The past as it was, whatever happened since.
pub async fn list_at_an_exact_revision(storage: &dyn Storage) {
    let a = create(storage, "/registry/pods/a/a", "1").await;
    let b = create(storage, "/registry/pods/a/b", "1").await;
    let a2 = update(storage, &a, "2").await;
    let (_, deleted) = storage.delete(&b.key, b.revision).await.unwrap();
    let c = create(storage, "/registry/pods/a/c", "1").await;

    for (revision, expected) in [
        (a.revision, vec![&a]),
        (b.revision, vec![&a, &b]),
        (a2.revision, vec![&a2, &b]),
        (deleted, vec![&a2]),
        (c.revision, vec![&a2, &c]),
    ] {
        let options = ListOptions { revision: Some(revision), ..ListOptions::default() };
        let page = storage.list("/registry/pods/", options).await.unwrap();
        assert_eq!(page.revision, revision);
        let found: Vec<_> = page.entries.iter().map(|entry| (&entry.key, entry.revision, &entry.object)).collect();
        let expected: Vec<_> = expected.iter().map(|entry| (&entry.key, entry.revision, &entry.object)).collect();
        assert_eq!(found, expected, "at revision {revision}");
    }
}

/// All pages of one list show one state.
pub async fn pages_at_an_exact_revision_ignore_later_writes(storage: &dyn Storage) {
    let mut entries = Vec::new();
    for i in 0..6 {
        entries.push(create(storage, &format!("/registry/pods/a/{i}"), "1").await);
    }
    let options = ListOptions { limit: 2, ..ListOptions::default() };
    let first = storage.list("/registry/pods/", options).await.unwrap();
    assert_eq!((keys(&first).len(), first.remaining), (2, 4));

    storage.delete(&entries[3].key, entries[3].revision).await.unwrap();
    update(storage, &entries[4], "2").await;
    create(storage, "/registry/pods/a/21", "1").await;

    let options =
        ListOptions { revision: Some(first.revision), limit: 3, start: Some(format!("{}\0", first.entries[1].key)) };
    let second = storage.list("/registry/pods/", options).await.unwrap();
    assert_eq!(keys(&second), ["/registry/pods/a/2", "/registry/pods/a/3", "/registry/pods/a/4"]);
    assert_eq!(second.entries[2].object, entries[4].object);
    assert_eq!((second.revision, second.remaining), (first.revision, 1));
}

/// Neither reads nor watches start in the future.
pub async fn future_revisions_are_refused(storage: &dyn Storage) {
    let entry = create(storage, "/registry/pods/a/a", "1").await;
    let ahead = entry.revision + 1000;
    let options = ListOptions { revision: Some(ahead), ..ListOptions::default() };
    let error = storage.list("/registry/pods/", options).await.unwrap_err();
    assert!(matches!(error, StorageError::Future { asked, current } if asked == ahead && current < ahead), "{error:?}");
    let error = storage.watch("/registry/pods/", ahead).await.err().expect("an error");
    assert!(matches!(error, StorageError::Future { .. }), "{error:?}");
}

/// The head never lags behind an answered write.
pub async fn head_is_at_the_latest_write(storage: &dyn Storage) {
    let before = storage.head("/registry/pods/").await.unwrap();
    assert!(before.oldest <= before.revision && before.changed <= before.revision);
    let entry = create(storage, "/registry/nodes/a", "1").await;
    let after = storage.head("/registry/pods/").await.unwrap();
    assert_eq!(after.revision, entry.revision);
    assert!(after.changed <= after.revision);
}
