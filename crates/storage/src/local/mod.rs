//! What the memory and the embedded engine share: all live data in memory as a persistent ordered map, republished
//! per batch by one writer thread; a bounded window of past changes; bounded watchers; expiry.
//!
//! Reads take the published snapshot and never wait for a writer. A write is decided, made durable by the [`journal`],
//! published and answered by the [`writer`], in that order.

pub(crate) mod expiry;
pub(crate) mod history;
pub(crate) mod hub;
pub(crate) mod journal;
pub(crate) mod writer;

use std::path::PathBuf;
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{Semaphore, oneshot};

use self::expiry::Expiry;
use self::history::History;
use self::hub::{Hub, Snapshot};
use self::journal::Journal;
use self::writer::{Operation, Request, Writer, Written};
use crate::{
    Draft, Entry, Head, ListOptions, ListPage, MAX_OBJECT_BYTES, Revision, Storage, StorageError, WatchStream,
};

/// Writes that wait for the writer at most; further ones wait outside, in order.
const QUEUED_WRITES: usize = 8 * 1024;

pub(crate) struct Shared {
    pub(crate) hub: Arc<Hub>,
    /// Why the last commit failed, if it did.
    pub(crate) failure: Mutex<Option<StorageError>>,
}

/// The state that an engine starts with.
pub(crate) struct Initial {
    pub(crate) snapshot: Snapshot,
    pub(crate) history: History,
    pub(crate) expiry: Expiry,
}

/// A store inside this process; made by [`memory::open`](crate::memory::open) or
/// [`embedded::open`](crate::embedded::open).
pub struct LocalStorage {
    shared: Arc<Shared>,
    /// `None` only while being dropped.
    requests: Option<mpsc::Sender<Request>>,
    queue: Semaphore,
    writer: Option<JoinHandle<()>>,
    /// Where it is kept.
    files: Vec<PathBuf>,
}

impl LocalStorage {
    pub(crate) fn start(initial: Initial, journal: impl Journal) -> Result<Self, StorageError> {
        let hub = Arc::new(Hub::new(initial.snapshot, initial.history));
        let shared = Arc::new(Shared { hub, failure: Mutex::new(None) });
        let (sender, receiver) = mpsc::channel();
        let writer = Writer {
            shared: shared.clone(),
            journal,
            expiry: initial.expiry,
            requests: receiver,
            progress_at: None,
            trim_at: None,
        };
        let writer = std::thread::Builder::new()
            .name("store-writer".into())
            .spawn(move || writer.run())
            .map_err(|error| StorageError::Unavailable(format!("cannot start the store's writer thread: {error}")))?;
        Ok(Self {
            shared,
            requests: Some(sender),
            queue: Semaphore::new(QUEUED_WRITES),
            writer: Some(writer),
            files: Vec::new(),
        })
    }

    /// Says in which files it is kept.
    pub(crate) fn kept_in(mut self, files: Vec<PathBuf>) -> Self {
        self.files = files;
        self
    }

    async fn write(&self, key: &str, operation: Operation) -> Written {
        let closed = || StorageError::Unavailable("the store's writer has stopped".into());
        let _place = self.queue.acquire().await.map_err(|_| closed())?;
        let (reply, answer) = oneshot::channel();
        let request = Request { key: key.into(), operation, reply: Some(reply) };
        let requests = self.requests.as_ref().ok_or_else(closed)?;
        requests.send(request).map_err(|_| closed())?;
        answer.await.map_err(|_| closed())?
    }
}

impl Drop for LocalStorage {
    /// Waits for the writer, so that files and locks are free afterwards.
    fn drop(&mut self) {
        self.requests = None;
        if let Some(writer) = self.writer.take() {
            let _ = writer.join();
        }
    }
}

fn check_size(draft: &Draft) -> Result<(), StorageError> {
    let size = draft.json.len();
    if size > MAX_OBJECT_BYTES {
        return Err(StorageError::TooLarge { size, limit: MAX_OBJECT_BYTES });
    }
    Ok(())
}

#[async_trait::async_trait]
impl Storage for LocalStorage {
    async fn get(&self, key: &str) -> Result<(Option<Entry>, Revision), StorageError> {
        let snapshot = self.shared.hub.snapshot();
        Ok((snapshot.live.get(key).cloned(), snapshot.revision))
    }

    async fn list(&self, prefix: &str, options: ListOptions) -> Result<ListPage, StorageError> {
        self.shared.hub.list(prefix, &options)
    }

    async fn create(&self, key: &str, draft: Draft, ttl: Option<Duration>) -> Result<Entry, StorageError> {
        check_size(&draft)?;
        Ok(self.write(key, Operation::Create { draft, ttl }).await?.0)
    }

    async fn update(
        &self,
        key: &str,
        expected: Revision,
        draft: Draft,
        ttl: Option<Duration>,
    ) -> Result<Entry, StorageError> {
        check_size(&draft)?;
        Ok(self.write(key, Operation::Update { expected, draft, ttl }).await?.0)
    }

    async fn delete(&self, key: &str, expected: Revision) -> Result<(Entry, Revision), StorageError> {
        self.write(key, Operation::Delete { expected }).await
    }

    async fn watch(&self, prefix: &str, from: Revision) -> Result<WatchStream, StorageError> {
        self.shared.hub.watch(prefix, from)
    }

    async fn compact(&self, revision: Revision) -> Result<(), StorageError> {
        self.shared.hub.compact(revision)
    }

    async fn head(&self, prefix: &str) -> Result<Head, StorageError> {
        Ok(self.shared.hub.head(prefix))
    }

    async fn size(&self) -> Result<u64, StorageError> {
        // A log that is not there takes nothing.
        Ok(self.files.iter().filter_map(|file| file.metadata().ok()).map(|metadata| metadata.len()).sum())
    }

    async fn healthy(&self) -> Result<(), StorageError> {
        if self.shared.failure.lock().is_none() {
            return Ok(());
        }
        match self.write("", Operation::Probe).await {
            Err(StorageError::NotFound { .. }) => Ok(()),
            Err(error) => Err(error),
            Ok(_) => unreachable!("a probe writes no entry"),
        }
    }
}
