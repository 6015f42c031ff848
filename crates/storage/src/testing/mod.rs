//! The behaviour suite: what every engine must do, written once.
//!
//! An engine's test file calls [`storage_suite!`](crate::storage_suite) with an async function that makes a fresh,
//! empty store; each case becomes a test of its own. The cases of [`reads`] and [`watches`] take a [`Fixture`], so
//! that the API server's watch cache can be put between them and the store.
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

mod etcd_server;
pub mod history;
pub mod reads;
pub mod watches;
pub mod writes;

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;

pub use self::etcd_server::EtcdServer;
use crate::{
    Draft, Entry, HistoryLimits, Revision, Storage, StorageError, WatchEvent, WatchStream, embedded, etcd, memory,
};

/// How long a case waits for something that has to happen.
pub const DEADLINE: Duration = Duration::from_secs(20);

/// A store to test, and whatever has to live as long as it does.
pub struct Fixture {
    /// The store.
    pub storage: Arc<dyn Storage>,
    /// Dropped after the test: a temporary folder, a server process.
    pub keep: Box<dyn std::any::Any + Send>,
}

impl Fixture {
    /// A fixture of a store that needs nothing around it.
    pub fn new(storage: impl Storage) -> Self {
        Self { storage: Arc::new(storage), keep: Box::new(()) }
    }

    /// A fixture of a store that needs `keep` while it lives.
    pub fn with(storage: impl Storage, keep: impl std::any::Any + Send) -> Self {
        Self { storage: Arc::new(storage), keep: Box::new(keep) }
    }
}

/// An empty store in memory.
pub async fn memory_fixture() -> Fixture {
    Fixture::new(memory::open(HistoryLimits::default()).expect("a store"))
}

/// An empty store in a temporary folder.
pub async fn embedded_fixture() -> Fixture {
    let folder = tempfile::TempDir::new().expect("a folder");
    let storage = embedded::open(&embedded::Config::new(folder.path())).expect("a store");
    Fixture::with(storage, folder)
}

/// A store on an etcd of its own.
pub async fn etcd_fixture() -> Fixture {
    let server = EtcdServer::start();
    let storage = etcd::open(&etcd::Config::new(vec![server.url.clone()])).await.expect("a store");
    Fixture::with(storage, server)
}

/// An object whose only content is its name and a value.
pub fn draft(name: &str, value: &str) -> Draft {
    let head = format!(r#"{{"kind":"Test","metadata":{{"name":"{name}","resourceVersion":""#);
    let rv_at = head.len() as u32;
    Draft { json: format!(r#"{head}"}},"value":"{value}"}}"#).into_bytes(), rv_at }
}

/// The JSON that [`draft`] becomes at a revision.
pub fn json(name: &str, value: &str, revision: Revision) -> String {
    format!(r#"{{"kind":"Test","metadata":{{"name":"{name}","resourceVersion":"{revision}"}},"value":"{value}"}}"#)
}

/// Creates an object named after the last part of its key.
pub async fn create(storage: &dyn Storage, key: &str, value: &str) -> Entry {
    storage.create(key, draft(name_of(key), value), None).await.expect("create")
}

/// Replaces an entry.
pub async fn update(storage: &dyn Storage, entry: &Entry, value: &str) -> Entry {
    let draft = draft(name_of(&entry.key), value);
    storage.update(&entry.key, entry.revision, draft, None).await.expect("update")
}

/// The last part of a key.
pub fn name_of(key: &str) -> &str {
    key.rsplit('/').next().unwrap_or(key)
}

/// The next event that is not progress.
pub async fn next_change(stream: &mut WatchStream) -> Result<WatchEvent, StorageError> {
    loop {
        let event = tokio::time::timeout(DEADLINE, stream.next()).await;
        match event.expect("no event before the deadline").expect("the watch ended without an error") {
            Ok(WatchEvent::Progress { .. }) => {}
            other => return other,
        }
    }
}

/// An event as a short text: `put KEY@REV (was REV)`, `del KEY@REV (was REV)`.
pub fn describe(event: &WatchEvent) -> String {
    match event {
        WatchEvent::Put { entry, previous: None } => format!("put {}@{}", entry.key, entry.revision),
        WatchEvent::Put { entry, previous: Some(previous) } => {
            assert_eq!(previous.key, entry.key);
            format!("put {}@{} (was {})", entry.key, entry.revision, previous.revision)
        }
        WatchEvent::Delete { previous, revision } => {
            format!("del {}@{revision} (was {})", previous.key, previous.revision)
        }
        WatchEvent::Progress { revision } => format!("progress {revision}"),
    }
}

/// The next `count` changes as texts.
pub async fn next_changes(stream: &mut WatchStream, count: usize) -> Vec<String> {
    let mut changes = Vec::new();
    for _ in 0..count {
        changes.push(describe(&next_change(stream).await.expect("the watch failed")));
    }
    changes
}

/// Makes one `#[tokio::test]` per case of the suite; `$fixture` is an async function without arguments that returns a
/// [`Fixture`](crate::testing::Fixture) of an empty store.
#[macro_export]
macro_rules! storage_suite {
    ($fixture:path) => {
        $crate::storage_suite!(@reads_and_watches $fixture);
        $crate::storage_suite!(@module writes $fixture:
            create_puts_the_revision_into_the_object create_refuses_an_existing_key
            update_swaps_only_the_expected_revision update_and_delete_of_nothing_are_not_found
            delete_swaps_only_the_expected_revision a_key_can_be_created_again revisions_grow_by_every_write
            racing_updates_have_one_winner racing_creates_have_one_winner too_large_objects_are_refused
            objects_expire_after_their_ttl an_update_without_ttl_keeps_the_object healthy_says_so);
        $crate::storage_suite!(@module history $fixture:
            compaction_ends_old_reads_and_watches compaction_keeps_live_entries_and_later_history
            compacting_the_future_is_refused a_watch_survives_compaction);
    };
    (@reads_and_watches $fixture:path) => {
        $crate::storage_suite!(@module reads $fixture:
            get_returns_what_was_written list_is_in_key_order_and_bounded_by_the_prefix list_pages
            list_at_an_exact_revision pages_at_an_exact_revision_ignore_later_writes future_revisions_are_refused
            head_is_at_the_latest_write);
        $crate::storage_suite!(@module watches $fixture:
            watch_delivers_changes_with_previous watch_resumes_from_the_past watch_sees_only_its_prefix
            watchers_see_the_same_order concurrent_writes_arrive_once_and_in_order
            progress_follows_other_keys head_brings_watches_up_to_date);
    };
    (@module $module:ident $fixture:path: $($case:ident)*) => {
        mod $module {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $case() {
                    let fixture = $fixture().await;
                    $crate::testing::$module::$case(&*fixture.storage).await;
                }
            )*
        }
    };
}
