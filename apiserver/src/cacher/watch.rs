//! Watches: the past from the history, then the present from the queue, without a seam.

use std::future::poll_fn;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rand::RngExt;
use skiff_storage::Revision;
use tokio::time::Instant;

use super::cache::{Freshness, WatchCache};
use super::dispatch::WatcherId;
use super::error::CacheError;
use super::object::{CachedObject, Change, EventKind, json_frame};
use super::predicate::Predicate;
use super::queue::{Queue, WatchEnd};

/// How often a watch with bookmarks gets one; up to a quarter more, so that watchers do not move in step.
const BOOKMARK_PERIOD: Duration = Duration::from_secs(60);

/// Where a watch begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WatchStart {
    /// With the changes after this revision.
    After(Revision),
    /// With the current state as ADDED events.
    State {
        /// How recent the state must be.
        freshness: Freshness,
        /// Whether a bookmark marks the end of the state (`sendInitialEvents=true`).
        mark_end: bool,
    },
    /// With the changes from now on (`sendInitialEvents=false` without a revision).
    Now,
}

/// What to watch.
#[derive(Clone, Debug)]
pub struct WatchRequest {
    /// Where to begin.
    pub start: WatchStart,
    /// Which objects.
    pub predicate: Predicate,
    /// Whether to send bookmarks.
    pub bookmarks: bool,
}

/// What a watcher is sent.
#[derive(Clone, Debug)]
pub enum WatchItem {
    /// An object of the state that the watch began with: an ADDED event.
    Initial(Arc<CachedObject>),
    /// A change.
    Change {
        /// What it is for this watcher.
        kind: EventKind,
        /// The change, shared with all watchers.
        change: Arc<Change>,
    },
    /// Everything up to this revision has been sent.
    Bookmark {
        /// The revision.
        revision: Revision,
        /// Whether it marks the end of the state that the watch began with.
        initial_events_end: bool,
    },
}

impl WatchItem {
    /// The event's kind and its object; `None` for a bookmark.
    pub fn event(&self) -> Option<(EventKind, &Arc<CachedObject>)> {
        match self {
            WatchItem::Initial(object) => Some((EventKind::Added, object)),
            WatchItem::Change { kind, change } => Some((*kind, change.subject(*kind))),
            WatchItem::Bookmark { .. } => None,
        }
    }

    /// The event's object as JSON, with the resourceVersion that the watcher sees; `None` for a bookmark.
    pub fn json(&self) -> Option<&Bytes> {
        match self {
            WatchItem::Initial(object) => Some(object.json()),
            WatchItem::Change { kind, change } => Some(change.json(*kind)),
            WatchItem::Bookmark { .. } => None,
        }
    }

    /// The event as one line of a JSON watch; `None` for a bookmark.
    pub fn json_frame(&self) -> Option<Bytes> {
        match self {
            WatchItem::Initial(object) => Some(json_frame(EventKind::Added.as_str(), object.json())),
            WatchItem::Change { kind, change } => Some(change.json_frame(*kind)),
            WatchItem::Bookmark { .. } => None,
        }
    }

    /// The revision that the watcher has reached with this event: where it may resume. For an initial object that is
    /// only known at the end of the state.
    pub fn revision(&self) -> Revision {
        match self {
            WatchItem::Initial(object) => object.revision(),
            WatchItem::Change { change, .. } => change.revision(),
            WatchItem::Bookmark { revision, .. } => *revision,
        }
    }
}

/// One watcher's stream of events. Dropping it ends the watch.
pub struct Watch {
    cache: Arc<WatchCache>,
    id: WatcherId,
    queue: Arc<Queue>,
    initial: std::vec::IntoIter<Arc<CachedObject>>,
    /// The bookmark after the initial state.
    end_mark: Option<Revision>,
    backlog: std::vec::IntoIter<(EventKind, Arc<Change>)>,
    /// When the next bookmark is due, if they are wanted.
    bookmark_at: Option<Instant>,
    /// Revision that this watcher is known to have reached.
    reached: Revision,
}

impl WatchCache {
    /// Starts a watch.
    pub async fn watch(self: &Arc<Self>, request: &WatchRequest) -> Result<Watch, CacheError> {
        // Fields are checked before any waiting.
        request.predicate.resolve(&self.config.fields)?;
        match request.start {
            WatchStart::State { freshness, .. } => self.wait_until(freshness).await?,
            WatchStart::Now => self.wait_until(Freshness::Latest).await?,
            WatchStart::After(_) => self.wait_until(Freshness::Any).await?,
        }
        match self.try_watch(request) {
            Err(CacheError::Expired { .. }) => {
                self.extend_history().await?;
                self.try_watch(request)
            }
            other => other,
        }
    }

    fn try_watch(self: &Arc<Self>, request: &WatchRequest) -> Result<Watch, CacheError> {
        let predicate = request.predicate.resolve(&self.config.fields)?;
        let queue = Arc::new(Queue::default());
        let mut inner = self.inner.lock();
        let snapshot = self.snapshot();
        let mut initial = Vec::new();
        let mut end_mark = None;
        let mut backlog = Vec::new();
        let after = match request.start {
            WatchStart::Now => snapshot.revision,
            WatchStart::State { mark_end, .. } => {
                let objects = snapshot.objects.values();
                initial.extend(objects.filter(|object| predicate.matches(object)).cloned());
                end_mark = mark_end.then_some(snapshot.revision);
                snapshot.revision
            }
            WatchStart::After(asked) => {
                let oldest = inner.ring.floor();
                if asked < oldest {
                    return Err(CacheError::Expired { asked, oldest });
                }
                let past = inner.ring.after(asked);
                backlog.extend(past.filter_map(|change| Some((predicate.transition(change)?, change.clone()))));
                asked.max(snapshot.revision)
            }
        };
        let id = inner.dispatcher.add(predicate, queue.clone(), after);
        drop(inner);
        Ok(Watch {
            cache: self.clone(),
            id,
            queue,
            initial: initial.into_iter(),
            end_mark,
            backlog: backlog.into_iter(),
            bookmark_at: request.bookmarks.then(next_bookmark),
            reached: after,
        })
    }
}

impl Watch {
    /// The next event, when there is one; `None` at the end of the watch. May be dropped without loss.
    pub async fn next(&mut self) -> Option<WatchItem> {
        loop {
            if let Some(item) = self.try_next() {
                return Some(item);
            }
            let popped = poll_fn(|context| self.queue.poll_pop(context));
            let popped = match self.bookmark_at {
                None => popped.await,
                Some(at) => match tokio::time::timeout_at(at, popped).await {
                    Ok(popped) => popped,
                    Err(_) => {
                        self.bookmark_at = Some(next_bookmark());
                        match self.bookmark() {
                            Some(revision) => return Some(WatchItem::Bookmark { revision, initial_events_end: false }),
                            None => continue,
                        }
                    }
                },
            };
            let (kind, change) = popped?;
            self.reached = self.reached.max(change.revision());
            return Some(WatchItem::Change { kind, change });
        }
    }

    /// The next event if it is there already: to send several at once.
    pub fn try_next(&mut self) -> Option<WatchItem> {
        if let Some(object) = self.initial.next() {
            return Some(WatchItem::Initial(object));
        }
        if let Some(revision) = self.end_mark.take() {
            return Some(WatchItem::Bookmark { revision, initial_events_end: true });
        }
        let (kind, change) = self.backlog.next().or_else(|| self.queue.try_pop())?;
        self.reached = self.reached.max(change.revision());
        Some(WatchItem::Change { kind, change })
    }

    /// The revision for a bookmark now; `None` while events wait.
    pub fn bookmark(&mut self) -> Option<Revision> {
        let waiting = self.initial.len() > 0 || self.end_mark.is_some() || self.backlog.len() > 0;
        // Read before looking at the queue: what happened up to here has been queued by then.
        let revision = self.cache.dispatched();
        // A watch that ends because the server stops has had everything; one that was cut off has not.
        let complete = matches!(self.queue.end(), None | Some(WatchEnd::Closed));
        if waiting || !self.queue.is_empty() || !complete {
            return None;
        }
        self.reached = self.reached.max(revision);
        Some(self.reached)
    }

    /// Why the watch ended, once [`next`](Self::next) has returned `None`.
    pub fn end(&self) -> Option<WatchEnd> {
        self.queue.end()
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.cache.forget_watcher(self.id);
    }
}

fn next_bookmark() -> Instant {
    Instant::now() + BOOKMARK_PERIOD.mul_f64(rand::rng().random_range(1.0..1.25))
}
