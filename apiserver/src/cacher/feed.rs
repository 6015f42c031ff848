//! Following the store: list, then watch, and again from the right place after an error.

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::StreamExt;
use skiff_storage::{Entry, ListOptions, Revision, StorageError, WatchEvent};
use tokio_util::sync::CancellationToken;

use super::cache::{Objects, Snapshot, WatchCache};
use super::error::CacheError;
use super::object::{CachedObject, Change};

/// Changes applied in one step at most.
const APPLY_CHANGES: usize = 512;

/// Objects from which a first list is read on several cores.
const PARALLEL_OBJECTS: usize = 2_000;

/// Pauses between attempts: doubled from the first to the last.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LAST_PAUSE: Duration = Duration::from_secs(5);
/// The last pause while entries cannot be converted.
const LAST_PAUSE_REFUSING: Duration = Duration::from_secs(1);

/// What to do next.
enum Phase {
    /// Nothing is known, or the place in the store's history is lost: start from a list.
    List,
    /// Everything up to here is known: follow from here.
    Watch(Revision),
}

impl WatchCache {
    /// Follows the store until cancelled.
    pub(super) async fn run(self: Arc<Self>, shutdown: CancellationToken) {
        shutdown.run_until_cancelled(self.follow()).await;
        self.close();
    }

    async fn follow(&self) {
        let mut phase = Phase::List;
        let mut pause = FIRST_PAUSE;
        loop {
            let (next, error) = match phase {
                Phase::List => match self.relist().await {
                    Ok(revision) => (Phase::Watch(revision), None),
                    Err(error) => (Phase::List, Some(error)),
                },
                Phase::Watch(from) => {
                    let error = self.follow_from(from).await;
                    if self.revision() > from {
                        pause = FIRST_PAUSE;
                    }
                    match error {
                        // The store forgot what came next, or is another store than before.
                        StorageError::Compacted { .. } | StorageError::Future { .. } => (Phase::List, Some(error)),
                        other => (Phase::Watch(self.revision()), Some(other)),
                    }
                }
            };
            phase = next;
            // What cannot be converted is told to readers; a lost store is not their concern, it comes back.
            *self.problem.lock() = error.clone().filter(|error| matches!(error, StorageError::Unconvertible(_)));
            if let Some(error) = error {
                tracing::warn!(resource = self.config.resource, %error, "the watch cache lost the store; it tries again");
                // Readers are refused meanwhile, not kept waiting.
                let last = if self.problem.lock().is_some() { LAST_PAUSE_REFUSING } else { LAST_PAUSE };
                pause = pause.min(last);
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(last);
            }
        }
    }

    async fn relist(&self) -> Result<Revision, StorageError> {
        let page = self.storage.list(&self.config.prefix, ListOptions::default()).await?;
        let objects = self.read(page.entries).await;
        let objects = objects.into_iter().map(|object| (object.key().clone(), object)).collect();
        self.reset(Snapshot { revision: page.revision, objects });
        Ok(page.revision)
    }

    /// Reads labels and fields of many entries.
    async fn read(&self, entries: Vec<Entry>) -> Vec<Arc<CachedObject>> {
        let prefix_len = self.config.prefix.len();
        if entries.len() < PARALLEL_OBJECTS {
            let read = |entry| Arc::new(CachedObject::new(entry, prefix_len, &self.config.fields));
            return entries.into_iter().map(read).collect();
        }
        let parts = std::thread::available_parallelism().map_or(1, usize::from);
        let part_len = entries.len().div_ceil(parts);
        let mut entries = entries.into_iter();
        let mut tasks = Vec::with_capacity(parts);
        while entries.len() > 0 {
            let part: Vec<Entry> = entries.by_ref().take(part_len).collect();
            let fields = self.config.fields.clone();
            tasks.push(tokio::task::spawn_blocking(move || {
                part.into_iter()
                    .map(|entry| Arc::new(CachedObject::new(entry, prefix_len, &fields)))
                    .collect::<Vec<_>>()
            }));
        }
        let mut objects = Vec::new();
        for task in tasks {
            match task.await {
                Ok(part) => objects.extend(part),
                Err(error) => std::panic::resume_unwind(error.into_panic()),
            }
        }
        objects
    }

    /// Applies changes until the watch ends; returns why it did.
    async fn follow_from(&self, from: Revision) -> StorageError {
        let stream = match self.storage.watch(&self.config.prefix, from).await {
            Ok(stream) => stream,
            Err(error) => return error,
        };
        let mut batches = stream.ready_chunks(APPLY_CHANGES);
        while let Some(batch) = batches.next().await {
            if let ControlFlow::Break(error) = self.apply(batch) {
                return error;
            }
        }
        StorageError::Unavailable("the store's watch ended".into())
    }

    fn apply(&self, batch: Vec<Result<WatchEvent, StorageError>>) -> ControlFlow<StorageError> {
        let before = self.snapshot();
        let mut objects = before.objects.clone();
        let mut seen = before.revision;
        let mut quiet_until = 0;
        let mut changes = Vec::new();
        let mut end = ControlFlow::Continue(());
        let now = Instant::now();
        for event in batch {
            match event {
                Ok(WatchEvent::Put { entry, .. }) if is_new(&before, &objects, &entry.key, entry.revision) => {
                    seen = entry.revision;
                    let new = Arc::new(CachedObject::new(entry, self.config.prefix.len(), &self.config.fields));
                    let old = objects.insert(new.key().clone(), new.clone());
                    changes.push(Arc::new(Change::new(seen, old, Some(new), now)));
                }
                Ok(WatchEvent::Delete { previous, revision }) if is_new(&before, &objects, &previous.key, revision) => {
                    seen = revision;
                    let Some(old) = objects.remove(&previous.key) else { continue };
                    changes.push(Arc::new(Change::new(revision, Some(old), None, now)));
                }
                // Seen before.
                Ok(WatchEvent::Put { .. } | WatchEvent::Delete { .. }) => {}
                Ok(WatchEvent::Progress { revision }) => quiet_until = revision,
                Err(error) => {
                    end = ControlFlow::Break(error);
                    break;
                }
            }
        }
        if !changes.is_empty() {
            self.publish(Snapshot { revision: seen, objects }, changes);
        }
        self.advance(seen, quiet_until);
        if end.is_continue() {
            *self.problem.lock() = None;
        }
        end
    }

    /// Gets the changes from before the first list from the engine, if it still has them: so that watches survive a
    /// restart of this process.
    pub(super) async fn extend_history(&self) -> Result<(), CacheError> {
        let _one_at_a_time = self.backfill.lock().await;
        let floor = {
            let inner = self.inner.lock();
            if !inner.ring.extensible() {
                return Ok(());
            }
            inner.ring.floor()
        };
        let head = self.storage.head(&self.config.prefix).await?;
        if head.oldest >= floor {
            return Ok(());
        }
        let mut stream = self.storage.watch(&self.config.prefix, head.oldest).await?;
        let mut older = Vec::new();
        let mut known: HashMap<Arc<str>, Arc<CachedObject>> = HashMap::new();
        let read = |entry: Entry| Arc::new(CachedObject::new(entry, self.config.prefix.len(), &self.config.fields));
        let now = Instant::now();
        while let Some(event) = stream.next().await {
            let (key, previous, new, revision) = match event? {
                WatchEvent::Put { entry, previous } => {
                    (entry.key.clone(), previous, Some(read(entry.clone())), entry.revision)
                }
                WatchEvent::Delete { previous, revision } => (previous.key.clone(), Some(previous), None, revision),
                WatchEvent::Progress { revision } if revision >= floor => break,
                WatchEvent::Progress { .. } => continue,
            };
            if revision > floor {
                break;
            }
            let old = known.remove(&key).or_else(|| previous.map(read));
            if let Some(new) = &new {
                known.insert(key, new.clone());
            }
            let change = Change::new(revision, old, new, now);
            change.cool();
            older.push(Arc::new(change));
        }
        let mut inner = self.inner.lock();
        if inner.ring.extensible() && inner.ring.floor() == floor {
            inner.ring.extend_back(older, head.oldest);
        }
        Ok(())
    }
}

/// Whether a change has not been applied. Several changes may share one revision, when somebody writes to etcd with
/// transactions of their own.
fn is_new(before: &Snapshot, objects: &Objects, key: &str, revision: Revision) -> bool {
    revision > before.revision
        || revision == before.revision && objects.get(key).is_none_or(|object| object.revision() < revision)
}
