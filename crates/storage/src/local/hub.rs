//! The published state and its watchers: what readers see. One lock orders publication against watch registration, so
//! that a watch neither misses a change nor sees one twice.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use futures::StreamExt;
use imbl::OrdMap;
use parking_lot::{Mutex, RwLock};
use tokio::sync::mpsc;

use super::history::{Event, History};
use crate::{Entry, Head, ListOptions, ListPage, Revision, StorageError, WatchEvent, WatchStream};

/// Changes that wait for one watcher at most; one more and it is cut off.
pub(crate) const WATCHER_QUEUE_EVENTS: usize = 16 * 1024;

/// All live entries in key order. A clone is a snapshot and costs nothing.
pub(crate) type Live = OrdMap<Arc<str>, Entry>;

/// A consistent state.
#[derive(Clone)]
pub(crate) struct Snapshot {
    pub(crate) revision: Revision,
    pub(crate) live: Live,
}

enum Message {
    Event(Arc<Event>),
    Progress(Revision),
}

/// All who watch one prefix.
struct Watched {
    prefix: Arc<str>,
    /// Revision of the last change under the prefix.
    changed: Arc<AtomicU64>,
    watchers: Vec<Watcher>,
}

struct Watcher {
    queue: mpsc::Sender<Message>,
    /// Why the watch ended, once its queue is closed.
    end: Arc<OnceLock<StorageError>>,
    /// Revision of the last message put into the queue.
    told: Revision,
}

impl Watcher {
    /// Whether the watcher stays.
    fn send(&self, message: Message) -> bool {
        match self.queue.try_send(message) {
            Ok(()) => true,
            Err(mpsc::error::TrySendError::Full(_)) => {
                let _ = self.end.set(StorageError::Slow);
                false
            }
            Err(mpsc::error::TrySendError::Closed(_)) => false,
        }
    }
}

struct Inner {
    history: History,
    watched: Vec<Watched>,
    closed: bool,
}

impl Inner {
    fn end_watches(&mut self, why: &StorageError) {
        for watcher in self.watched.drain(..).flat_map(|watched| watched.watchers) {
            let _ = watcher.end.set(why.clone());
        }
    }
}

fn closed() -> StorageError {
    StorageError::Unavailable("the store is closed".into())
}

/// See the module.
pub(crate) struct Hub {
    /// Written only under `inner`, read without it.
    snapshot: RwLock<Arc<Snapshot>>,
    /// [`Watched::changed`] by prefix, and the oldest revision: what every request asks for is read without `inner`.
    changed: RwLock<HashMap<Arc<str>, Arc<AtomicU64>>>,
    oldest: AtomicU64,
    inner: Mutex<Inner>,
}

impl Hub {
    pub(crate) fn new(snapshot: Snapshot, history: History) -> Self {
        let oldest = AtomicU64::new(history.floor());
        let inner = Inner { history, watched: Vec::new(), closed: false };
        let snapshot = RwLock::new(Arc::new(snapshot));
        Self { snapshot, changed: RwLock::default(), oldest, inner: Mutex::new(inner) }
    }

    pub(crate) fn snapshot(&self) -> Arc<Snapshot> {
        self.snapshot.read().clone()
    }

    /// Makes a committed batch visible: to watchers and readers in one step.
    pub(crate) fn publish(&self, snapshot: Snapshot, events: Vec<Arc<Event>>) {
        let mut inner = self.inner.lock();
        let inner = &mut *inner;
        // Before the state: whoever reads its revision must find what changed up to it.
        for watched in &inner.watched {
            if let Some(event) = events.iter().rev().find(|event| event.key.starts_with(&*watched.prefix)) {
                watched.changed.store(event.revision, Ordering::Release);
            }
        }
        // First for readers: whoever hears of a change must be able to read it.
        *self.snapshot.write() = Arc::new(snapshot);
        inner.watched.retain_mut(|watched| {
            for event in events.iter().filter(|event| event.key.starts_with(&*watched.prefix)) {
                watched.watchers.retain_mut(|watcher| {
                    watcher.told = event.revision;
                    watcher.send(Message::Event(event.clone()))
                });
            }
            self.is_watched(watched)
        });
        let now = events.last().map(|event| event.at);
        for event in events {
            inner.history.push(event);
        }
        if let Some(now) = now {
            inner.history.trim(now);
        }
        self.oldest.store(inner.history.floor(), Ordering::Release);
    }

    /// Whether anybody watches a prefix; if not, it is forgotten.
    fn is_watched(&self, watched: &Watched) -> bool {
        if watched.watchers.is_empty() {
            self.changed.write().remove(&watched.prefix);
        }
        !watched.watchers.is_empty()
    }

    /// Tells watchers that nothing happened for them since.
    pub(crate) fn send_progress(&self) {
        let mut inner = self.inner.lock();
        let revision = self.snapshot().revision;
        inner.watched.retain_mut(|watched| {
            watched.watchers.retain_mut(|watcher| {
                if watcher.told >= revision {
                    return !watcher.queue.is_closed();
                }
                watcher.told = revision;
                watcher.send(Message::Progress(revision))
            });
            self.is_watched(watched)
        });
    }

    /// Runs `f` on the window of past changes.
    pub(crate) fn with_history<R>(&self, f: impl FnOnce(&mut History) -> R) -> R {
        let mut inner = self.inner.lock();
        let result = f(&mut inner.history);
        self.oldest.store(inner.history.floor(), Ordering::Release);
        result
    }

    /// Ends all watches; the engine stops.
    pub(crate) fn close(&self) {
        let mut inner = self.inner.lock();
        inner.closed = true;
        inner.end_watches(&closed());
        self.changed.write().clear();
    }

    /// Replaces everything: how it came about is not known, so watches end.
    pub(crate) fn reset(&self, snapshot: Snapshot, history: History) {
        let mut inner = self.inner.lock();
        inner.end_watches(&StorageError::Compacted { oldest: history.floor() });
        self.changed.write().clear();
        self.oldest.store(history.floor(), Ordering::Release);
        inner.history = history;
        *self.snapshot.write() = Arc::new(snapshot);
    }

    /// Whether there are past changes, which grow old.
    pub(crate) fn remembers(&self) -> bool {
        self.with_history(|history| history.next_trim().is_some())
    }

    pub(crate) fn head(&self, prefix: &str) -> Head {
        // The revision first: what changed up to it is then known.
        let revision = self.snapshot.read().revision;
        let changed = self.changed.read().get(prefix).map_or(revision, |changed| changed.load(Ordering::Acquire));
        Head { revision, changed, oldest: self.oldest.load(Ordering::Acquire) }
    }

    pub(crate) fn compact(&self, revision: Revision) -> Result<(), StorageError> {
        let mut inner = self.inner.lock();
        let current = self.snapshot().revision;
        if revision > current {
            return Err(StorageError::Future { asked: revision, current });
        }
        inner.history.compact(revision);
        self.oldest.store(inner.history.floor(), Ordering::Release);
        Ok(())
    }

    pub(crate) fn list(&self, prefix: &str, options: &ListOptions) -> Result<ListPage, StorageError> {
        let Some(asked) = options.revision else {
            return Ok(page(&self.snapshot(), None, prefix, options));
        };
        let (snapshot, undone) = {
            let inner = self.inner.lock();
            let snapshot = self.snapshot();
            if asked > snapshot.revision {
                return Err(StorageError::Future { asked, current: snapshot.revision });
            }
            let oldest = inner.history.floor();
            if asked < oldest {
                return Err(StorageError::Compacted { oldest });
            }
            let start = options.start.as_deref().unwrap_or("");
            let undone = inner.history.undo(asked, |key| key.starts_with(prefix) && key >= start);
            (snapshot, undone)
        };
        let mut live = snapshot.live.clone();
        for (key, entry) in undone {
            match entry {
                Some(entry) => live.insert(key, entry),
                None => live.remove(&key),
            };
        }
        Ok(page(&Snapshot { revision: asked, live }, Some(asked), prefix, options))
    }

    pub(crate) fn watch(self: &Arc<Self>, prefix: &str, from: Revision) -> Result<WatchStream, StorageError> {
        let mut inner = self.inner.lock();
        if inner.closed {
            return Err(closed());
        }
        let current = self.snapshot().revision;
        if from > current {
            return Err(StorageError::Future { asked: from, current });
        }
        let oldest = inner.history.floor();
        if from < oldest {
            return Err(StorageError::Compacted { oldest });
        }
        let backlog: Vec<Arc<Event>> =
            inner.history.after(from).filter(|event| event.key.starts_with(prefix)).cloned().collect();
        let (sender, mut receiver) = mpsc::channel(WATCHER_QUEUE_EVENTS);
        let end = Arc::new(OnceLock::new());
        // The reader learns at once that it has caught up.
        let _ = sender.try_send(Message::Progress(current));
        let watcher = Watcher { queue: sender, end: end.clone(), told: current };
        match inner.watched.iter_mut().find(|watched| &*watched.prefix == prefix) {
            Some(watched) => watched.watchers.push(watcher),
            None => {
                let changed = Arc::new(AtomicU64::new(backlog.last().map_or(from, |event| event.revision)));
                let prefix: Arc<str> = prefix.into();
                self.changed.write().insert(prefix.clone(), changed.clone());
                inner.watched.push(Watched { prefix, changed, watchers: vec![watcher] });
            }
        }
        drop(inner);

        let mut ended = false;
        let live = futures::stream::poll_fn(move |context| {
            if ended {
                return std::task::Poll::Ready(None);
            }
            receiver.poll_recv(context).map(|message| {
                Some(match message {
                    Some(Message::Event(event)) => Ok(event.to_watch_event()),
                    Some(Message::Progress(revision)) => Ok(WatchEvent::Progress { revision }),
                    None => {
                        ended = true;
                        Err(end.get().cloned().unwrap_or_else(closed))
                    }
                })
            })
        });
        let backlog = futures::stream::iter(backlog).map(|event| Ok(event.to_watch_event()));
        Ok(backlog.chain(live).boxed())
    }

    /// Drops what is too old; returns when to come back.
    pub(crate) fn trim(&self, now: Instant) -> Option<Instant> {
        self.with_history(|history| {
            history.trim(now);
            history.next_trim()
        })
    }
}

fn page(snapshot: &Snapshot, exact: Option<Revision>, prefix: &str, options: &ListOptions) -> ListPage {
    let start = match options.start.as_deref() {
        Some(start) if start > prefix => start,
        _ => prefix,
    };
    let range = (std::ops::Bound::Included(start), std::ops::Bound::Unbounded);
    let mut rest = snapshot.live.range::<_, str>(range).take_while(|(key, _)| key.starts_with(prefix));
    let limit = if options.limit == 0 { usize::MAX } else { options.limit };
    let entries = rest.by_ref().take(limit).map(|(_, entry)| entry.clone()).collect();
    ListPage { entries, revision: exact.unwrap_or(snapshot.revision), remaining: rest.count() as u64 }
}
