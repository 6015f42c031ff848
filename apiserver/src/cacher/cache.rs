//! One resource's cache: its state, and waiting until that is fresh enough.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use imbl::OrdMap;
use parking_lot::{Mutex, RwLock};
use skiff_storage::{Head, HistoryLimits, Revision, Storage, StorageError};
use tokio::sync::watch;
use tokio::time::Instant;

use super::dispatch::{Dispatcher, WatcherId};
use super::error::CacheError;
use super::extract::SelectableFields;
use super::object::{CachedObject, Change};
use super::queue::WatchEnd;
use super::ring::Ring;

/// How long a reader waits for the cache to be fresh enough before it is told to try again (upstream waits as long).
pub const FRESHNESS_WAIT: Duration = Duration::from_secs(3);

/// How often a waiting reader asks the store again.
const FRESHNESS_POLL: Duration = Duration::from_millis(100);

/// What a cache is of.
#[derive(Clone, Debug)]
pub struct ResourceConfig {
    /// API group, empty for core.
    pub group: String,
    /// Resource (plural).
    pub resource: String,
    /// Keys in the store begin with this; ends with a slash. Then follows `[NAMESPACE/]NAME`.
    pub prefix: String,
    /// Tells caches of the same resource apart: the version that this one shows; empty for the only or the main one.
    pub variant: String,
    /// Whether objects live in namespaces.
    pub namespaced: bool,
    /// What field selectors can name beside `metadata.name` and `metadata.namespace`.
    pub fields: SelectableFields,
}

impl ResourceConfig {
    /// A resource at the usual place: `/registry/[GROUP/]RESOURCE/`.
    pub fn new(group: &str, resource: &str, namespaced: bool, fields: SelectableFields) -> Self {
        let prefix = match group {
            "" => format!("/registry/{resource}/"),
            group => format!("/registry/{group}/{resource}/"),
        };
        let (group, resource) = (group.to_owned(), resource.to_owned());
        Self { group, resource, prefix, variant: String::new(), namespaced, fields }
    }
}

/// How recent a read must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Freshness {
    /// Whatever the cache has (`resourceVersion=0`).
    Any,
    /// At this revision or later.
    NotOlderThan(Revision),
    /// Every write that was answered before the read began.
    Latest,
}

/// All objects in key order. A clone is a snapshot and costs nothing.
pub(super) type Objects = OrdMap<Arc<str>, Arc<CachedObject>>;

/// What readers see: immutable, shared.
#[derive(Clone)]
pub(super) struct Snapshot {
    /// Everything up to here is in it. 0 before the first list.
    pub(super) revision: Revision,
    pub(super) objects: Objects,
}

pub(super) struct Inner {
    pub(super) ring: Ring,
    pub(super) dispatcher: Dispatcher,
}

/// The cache of one resource. See the module `cacher`.
pub struct WatchCache {
    pub(super) config: ResourceConfig,
    pub(super) limits: HistoryLimits,
    pub(super) storage: Arc<dyn Storage>,
    /// Written only under `inner`, read without it.
    snapshot: RwLock<Arc<Snapshot>>,
    pub(super) inner: Mutex<Inner>,
    /// Follows the snapshot's revision, for those who wait.
    reached: watch::Sender<Revision>,
    /// Revision of the last change of the resource.
    changed: AtomicU64,
    /// Why the store's entries cannot be taken over at present, if that is so.
    pub(super) problem: Mutex<Option<StorageError>>,
    /// Changes since the start.
    events: AtomicU64,
    /// One at a time gets older history from the engine.
    pub(super) backfill: tokio::sync::Mutex<()>,
}

impl WatchCache {
    pub(super) fn new(config: ResourceConfig, limits: HistoryLimits, storage: Arc<dyn Storage>) -> Arc<Self> {
        let inner = Inner {
            ring: Ring::new(limits, 0, std::time::Instant::now()),
            dispatcher: Dispatcher::new(config.namespaced),
        };
        Arc::new(Self {
            config,
            limits,
            storage,
            snapshot: RwLock::new(Arc::new(Snapshot { revision: 0, objects: OrdMap::new() })),
            inner: Mutex::new(inner),
            reached: watch::Sender::new(0),
            changed: AtomicU64::new(0),
            problem: Mutex::new(None),
            events: AtomicU64::new(0),
            backfill: tokio::sync::Mutex::new(()),
        })
    }

    /// What this is a cache of.
    pub fn config(&self) -> &ResourceConfig {
        &self.config
    }

    /// The revision up to which the cache has seen everything; 0 before its first list.
    pub fn revision(&self) -> Revision {
        self.snapshot.read().revision
    }

    /// The revision of the last change of the resource: grows whenever an object changes.
    pub fn generation(&self) -> u64 {
        self.changed.load(Ordering::Acquire)
    }

    /// Changes that the store has told of since the start.
    pub fn events(&self) -> u64 {
        self.events.load(Ordering::Relaxed)
    }

    /// Number of objects.
    pub fn object_count(&self) -> usize {
        self.snapshot().objects.len()
    }

    /// Number of watchers.
    pub fn watcher_count(&self) -> usize {
        self.inner.lock().dispatcher.len()
    }

    /// One object as the cache has it. `namespace` is empty for cluster scope.
    pub fn get(&self, namespace: &str, name: &str) -> Option<Arc<CachedObject>> {
        self.snapshot().objects.get(self.key(namespace, name).as_str()).cloned()
    }

    /// One object, read as freshly as asked.
    pub async fn get_fresh(
        &self,
        namespace: &str,
        name: &str,
        freshness: Freshness,
    ) -> Result<Option<Arc<CachedObject>>, CacheError> {
        self.wait_until(freshness).await?;
        Ok(self.get(namespace, name))
    }

    /// The key of an object in the store.
    pub fn key(&self, namespace: &str, name: &str) -> String {
        match namespace {
            "" => format!("{}{name}", self.config.prefix),
            namespace => format!("{}{namespace}/{name}", self.config.prefix),
        }
    }

    /// Returns once the first list is there, however long it takes.
    pub async fn ready(&self) {
        // The sender lives as long as the cache, so the wait cannot fail.
        let _ = self.reached.subscribe().wait_for(|revision| *revision > 0).await;
    }

    /// Returns once the cache includes the write of this revision: after a write of one's own, to read it back.
    pub async fn wait_for(&self, revision: Revision) -> Result<(), CacheError> {
        self.wait_until(Freshness::NotOlderThan(revision)).await
    }

    /// Returns once the cache is as fresh as asked, or with an error after [`FRESHNESS_WAIT`].
    pub async fn wait_until(&self, freshness: Freshness) -> Result<(), CacheError> {
        let deadline = Instant::now() + FRESHNESS_WAIT;
        while self.revision() == 0 {
            if let Some(problem) = self.problem.lock().clone() {
                return Err(problem.into());
            }
            let now = Instant::now();
            if now >= deadline {
                return Err(CacheError::NotReady);
            }
            self.wait_reached(1, deadline.min(now + FRESHNESS_POLL)).await;
        }
        match freshness {
            Freshness::Any => Ok(()),
            Freshness::NotOlderThan(revision) => self.wait_revision(revision, deadline).await,
            Freshness::Latest => {
                let head = self.head().await?;
                self.catch_up(head, head.revision, deadline).await
            }
        }
    }

    /// Returns once the cache has every change of its resource that was answered before this was called. Unlike
    /// [`Freshness::Latest`] the cache need not learn that nothing happened since, so asking for each request costs
    /// no more than two reads.
    pub async fn caught_up(&self) -> Result<(), CacheError> {
        let seen = self.revision();
        if seen > 0 && seen >= self.head().await?.changed {
            return Ok(());
        }
        self.wait_until(Freshness::Latest).await
    }

    async fn wait_revision(&self, revision: Revision, deadline: Instant) -> Result<(), CacheError> {
        while self.revision() < revision {
            let head = self.head().await?;
            if head.revision >= revision {
                return self.catch_up(head, revision, deadline).await;
            }
            let now = Instant::now();
            if let Some(problem) = self.problem.lock().clone() {
                return Err(problem.into());
            }
            if now >= deadline {
                return Err(CacheError::TooLarge { asked: revision, current: self.revision() });
            }
            self.wait_reached(revision, deadline.min(now + FRESHNESS_POLL)).await;
        }
        Ok(())
    }

    /// Waits until the cache has seen what makes it as fresh as `revision`, given that the store is at `head`.
    async fn catch_up(&self, head: Head, revision: Revision, deadline: Instant) -> Result<(), CacheError> {
        while !self.adopt(head) && self.revision() < revision {
            let now = Instant::now();
            if let Some(problem) = self.problem.lock().clone() {
                return Err(problem.into());
            }
            if now >= deadline {
                return Err(CacheError::TooLarge { asked: revision, current: self.revision() });
            }
            let enough = head.changed.min(revision);
            if !self.wait_reached(enough, deadline.min(now + FRESHNESS_POLL)).await {
                // Makes an engine send what it has, or say that there is nothing.
                self.head().await?;
            }
        }
        Ok(())
    }

    /// Whether the cache reached `revision` before the deadline.
    async fn wait_reached(&self, revision: Revision, deadline: Instant) -> bool {
        let mut reached = self.reached.subscribe();
        tokio::time::timeout_at(deadline, reached.wait_for(|reached| *reached >= revision)).await.is_ok()
    }

    async fn head(&self) -> Result<Head, CacheError> {
        Ok(self.storage.head(&self.config.prefix).await?)
    }

    /// Takes over the store's revision if nothing of this resource happened that the cache has not seen.
    fn adopt(&self, head: Head) -> bool {
        let current = self.revision();
        if current < head.changed {
            return false;
        }
        self.advance(head.changed, head.revision);
        true
    }

    pub(super) fn snapshot(&self) -> Arc<Snapshot> {
        self.snapshot.read().clone()
    }

    /// Starts from a list; whoever watched before must find out for itself what it missed.
    pub(super) fn reset(&self, snapshot: Snapshot) {
        let revision = snapshot.revision;
        let mut inner = self.inner.lock();
        let newest = snapshot.objects.values().map(|object| object.revision()).max().unwrap_or(0);
        inner.ring = Ring::new(self.limits, revision, std::time::Instant::now());
        inner.dispatcher.close(WatchEnd::Reset);
        // A deletion leaves no object behind: after a gap in knowledge the list itself counts as a change.
        let before = self.changed.load(Ordering::Acquire);
        let after = if before == 0 { newest.max(1) } else { revision.max(before + 1) };
        self.show(snapshot, Some(after));
        drop(inner);
        self.reached.send_replace(revision);
    }

    /// Shows objects and their generation to readers as one: whoever sees the objects sees the generation, and what was
    /// derived from other objects is never taken for that of these.
    fn show(&self, snapshot: Snapshot, generation: Option<Revision>) {
        let mut shown = self.snapshot.write();
        *shown = Arc::new(snapshot);
        if let Some(generation) = generation {
            self.changed.store(generation, Ordering::Release);
        }
    }

    /// Makes changes visible, to readers and watchers in one step.
    pub(super) fn publish(&self, snapshot: Snapshot, changes: Vec<Arc<Change>>) {
        let revision = snapshot.revision;
        let mut wakers = Vec::new();
        self.events.fetch_add(changes.len() as u64, Ordering::Relaxed);
        {
            let mut inner = self.inner.lock();
            // First for readers: whoever hears of a change must be able to read it.
            self.show(snapshot, changes.last().map(|last| last.revision));
            for change in &changes {
                inner.dispatcher.dispatch(change, &mut wakers);
            }
            for change in changes {
                inner.ring.push(change);
            }
            inner.ring.tick(std::time::Instant::now(), revision);
        }
        self.reached.send_replace(revision);
        for waker in wakers {
            waker.wake();
        }
    }

    /// Nothing of this resource happened up to `revision`, if the cache has seen everything up to `seen`.
    pub(super) fn advance(&self, seen: Revision, revision: Revision) {
        let mut inner = self.inner.lock();
        let current = self.snapshot();
        if current.revision < seen || current.revision >= revision {
            return;
        }
        inner.ring.tick(std::time::Instant::now(), revision);
        *self.snapshot.write() = Arc::new(Snapshot { revision, objects: current.objects.clone() });
        drop(inner);
        self.reached.send_replace(revision);
    }

    /// The revision up to which every change is in the queues of those whom it concerns. The cache's revision itself
    /// runs ahead of that for a moment, because readers come first.
    pub(super) fn dispatched(&self) -> Revision {
        let _published = self.inner.lock();
        self.revision()
    }

    pub(super) fn forget_watcher(&self, id: WatcherId) {
        self.inner.lock().dispatcher.remove(id);
    }

    /// Ends all watches for good.
    pub(super) fn close(&self) {
        self.inner.lock().dispatcher.close(WatchEnd::Closed);
    }
}
