//! Where objects live: keys to bytes with one revision for the whole store.
//!
//! [`Storage`] is the one seam between the API server and a database. Its promises, which the suite in
//! `testing` (feature `testing`) holds every engine to:
//!
//! 1. Revisions are positive, only grow, and every write gets its own. A read returns the revision it is consistent with.
//! 2. A write that was answered is durable, and is visible to every later read. It is visible to nobody before.
//! 3. Writes are compare-and-swap: a [`StorageError::Conflict`] carries the current entry.
//! 4. A watch from revision R delivers every change after R under its prefix exactly once, in revision order, or ends
//!    with [`StorageError::Compacted`].
//! 5. The engine writes the revision into the object (`metadata.resourceVersion`) while committing, so the bytes it
//!    returns are the bytes that clients see.
//!
//! Engines: [`memory`] (nothing on disk, for tests), [`embedded`] (SQLite) and [`etcd`]. They share `local`: live data and
//! recent history in memory, and the watchers.

pub mod embedded;
pub mod etcd;
mod local;
pub mod memory;
#[cfg(feature = "testing")]
pub mod testing;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::stream::BoxStream;

pub use self::local::LocalStorage;
pub use self::local::history::HistoryLimits;

/// Largest object that any engine takes, in bytes: etcd's default request limit, so that data can move between engines.
pub const MAX_OBJECT_BYTES: usize = 1536 * 1024;

/// A revision of the store; also the `resourceVersion` of the objects it wrote.
pub type Revision = u64;

/// JSON of one object, ready for clients but for its resourceVersion.
///
/// `json[rv_at..]` is where the decimal digits of the revision belong: the text there is `"resourceVersion":""` with
/// `rv_at` between the last two quotes.
#[derive(Clone, Debug)]
pub struct Draft {
    /// The object's JSON with an empty resourceVersion.
    pub json: Vec<u8>,
    /// Offset at which the digits are inserted.
    pub rv_at: u32,
}

impl Draft {
    /// The final bytes for a revision.
    pub fn splice(&self, revision: Revision) -> StoredObject {
        splice(&self.json, self.rv_at, 0, revision)
    }
}

/// JSON of one object with its resourceVersion in place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredObject {
    /// The JSON.
    pub json: Bytes,
    /// Offset of the first digit of the resourceVersion.
    pub rv_at: u32,
    /// Number of digits.
    pub rv_len: u8,
}

impl StoredObject {
    /// The same object with another revision in it: what a DELETED event carries.
    pub fn with_revision(&self, revision: Revision) -> StoredObject {
        splice(&self.json, self.rv_at, self.rv_len, revision)
    }
}

fn splice(json: &[u8], rv_at: u32, old_len: u8, revision: Revision) -> StoredObject {
    let digits = revision.to_string();
    let (at, after) = (rv_at as usize, rv_at as usize + old_len as usize);
    let mut out = Vec::with_capacity(json.len() + digits.len());
    out.extend_from_slice(&json[..at]);
    out.extend_from_slice(digits.as_bytes());
    out.extend_from_slice(&json[after..]);
    // 20 digits at most: u64::MAX.
    StoredObject { json: Bytes::from(out), rv_at, rv_len: digits.len() as u8 }
}

/// An object under its key.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The key, e.g. `/registry/pods/default/web-1`.
    pub key: Arc<str>,
    /// Revision of the last write.
    pub revision: Revision,
    /// The object.
    pub object: StoredObject,
}

/// What to list.
#[derive(Clone, Debug, Default)]
pub struct ListOptions {
    /// Read the state as of this revision; `None` for the latest.
    pub revision: Option<Revision>,
    /// At most this many entries; 0 for all.
    pub limit: usize,
    /// Start at the first key greater than or equal to this one (within the prefix).
    pub start: Option<String>,
}

/// One page of a list, in key order.
#[derive(Clone, Debug)]
pub struct ListPage {
    /// The entries.
    pub entries: Vec<Entry>,
    /// The revision that the page is consistent with.
    pub revision: Revision,
    /// Number of entries after this page; 0 at the end.
    pub remaining: u64,
}

/// One change.
#[derive(Clone, Debug)]
pub enum WatchEvent {
    /// Created or updated. `previous` is the entry before, if there was one.
    Put {
        /// The entry as written.
        entry: Entry,
        /// The entry before.
        previous: Option<Entry>,
    },
    /// Deleted.
    Delete {
        /// The entry before it was deleted, with its own revision.
        previous: Entry,
        /// The revision of the deletion.
        revision: Revision,
    },
    /// Nothing happened under the prefix up to this revision. Sent once the past has been replayed, and when the
    /// engine knows more than it delivered, about once a second while other keys change.
    Progress {
        /// Everything up to here has been delivered.
        revision: Revision,
    },
}

/// A stream of changes; ends after an error.
pub type WatchStream = BoxStream<'static, Result<WatchEvent, StorageError>>;

/// Why an operation did not happen.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StorageError {
    /// Create: the key exists.
    #[error("key exists: {key}")]
    Exists {
        /// The key.
        key: String,
    },
    /// Update or delete: the key does not exist.
    #[error("key not found: {key}")]
    NotFound {
        /// The key.
        key: String,
    },
    /// Update or delete: the entry is at another revision.
    #[error("conflict on {}: it is at revision {}", current.key, current.revision)]
    Conflict {
        /// The entry as it is now.
        current: Box<Entry>,
    },
    /// The revision is no longer in the history.
    #[error("revision compacted; the oldest is {oldest}")]
    Compacted {
        /// Reads and watches must use this revision or a later one.
        oldest: Revision,
    },
    /// The revision has not been reached.
    #[error("revision {asked} is in the future; the store is at {current}")]
    Future {
        /// The revision asked for.
        asked: Revision,
        /// The store's revision.
        current: Revision,
    },
    /// A watcher was too slow and was cut off; it may start again at the last revision it saw.
    #[error("watcher too slow")]
    Slow,
    /// The value is larger than the engine takes.
    #[error("object of {size} bytes is larger than the limit of {limit}")]
    TooLarge {
        /// Bytes of the value.
        size: usize,
        /// Limit in bytes.
        limit: usize,
    },
    /// The engine cannot take writes (disk full, read-only, etcd without quorum). Nothing was written, except that after
    /// a lost answer of etcd it is not known.
    #[error("store unavailable: {0}")]
    Unavailable(String),
    /// The data is damaged or from a newer format; the text says what to do.
    #[error("{0}")]
    Corrupt(String),
    /// The entry cannot be brought into the form that its reader or the engine wants; the text says why.
    #[error("{0}")]
    Unconvertible(String),
}

/// How far the store is, seen from one prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// The latest committed revision.
    pub revision: Revision,
    /// A reader of a watch on exactly this prefix that has seen every event up to here has seen everything up to
    /// `revision`. Engines that know the last change under the prefix say so; others repeat `revision`.
    pub changed: Revision,
    /// The oldest revision that reads and watches can still use.
    pub oldest: Revision,
}

/// A store. See the module's promises.
#[async_trait::async_trait]
pub trait Storage: Send + Sync + 'static {
    /// The entry under `key`, and the revision of the read.
    async fn get(&self, key: &str) -> Result<(Option<Entry>, Revision), StorageError>;

    /// The entries whose keys begin with `prefix`.
    async fn list(&self, prefix: &str, options: ListOptions) -> Result<ListPage, StorageError>;

    /// Writes a new key. With `ttl` the engine deletes it that long after, give or take a second per minute.
    async fn create(&self, key: &str, draft: Draft, ttl: Option<Duration>) -> Result<Entry, StorageError>;

    /// Replaces the entry that is at revision `expected`.
    async fn update(
        &self,
        key: &str,
        expected: Revision,
        draft: Draft,
        ttl: Option<Duration>,
    ) -> Result<Entry, StorageError>;

    /// Deletes the entry that is at revision `expected`; returns it and the revision of the deletion.
    async fn delete(&self, key: &str, expected: Revision) -> Result<(Entry, Revision), StorageError>;

    /// Every change after `from` under `prefix`.
    async fn watch(&self, prefix: &str, from: Revision) -> Result<WatchStream, StorageError>;

    /// Forgets history before `revision`.
    async fn compact(&self, revision: Revision) -> Result<(), StorageError>;

    /// How far the store is (a quorum read where that matters). Watches under the prefix that lag behind
    /// `changed` are sent their events or a [`WatchEvent::Progress`] at once, so that a cache can wait for them.
    async fn head(&self, prefix: &str) -> Result<Head, StorageError>;

    /// The latest committed revision (a quorum read where that matters).
    async fn current_revision(&self) -> Result<Revision, StorageError> {
        Ok(self.head("/").await?.revision)
    }

    /// Bytes that the database takes where it is kept; 0 for one that is kept nowhere.
    async fn size(&self) -> Result<u64, StorageError> {
        Ok(0)
    }

    /// Whether writes can be taken now.
    async fn healthy(&self) -> Result<(), StorageError>;
}
