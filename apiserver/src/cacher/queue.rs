//! What waits for one watcher: bounded in events and bytes, empty and small when idle.

use std::collections::VecDeque;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use parking_lot::Mutex;

use super::object::{Change, EventKind};

/// Events that wait for one watcher at most.
pub(super) const QUEUE_EVENTS: usize = 16 * 1024;

/// Bytes of objects that wait for one watcher at most.
pub(super) const QUEUE_BYTES: usize = 64 << 20;

/// An idle queue keeps room for this many events.
const IDLE_CAPACITY: usize = 8;

/// Why a watch ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WatchEnd {
    /// The watcher did not take its events in time. It may resume where it was.
    Slow,
    /// The cache lost its place in the store and started anew; a watch from an old revision will find out.
    Reset,
    /// The resource is gone or the server stops.
    Closed,
}

/// See the module.
#[derive(Default)]
pub(super) struct Queue(Mutex<State>);

#[derive(Default)]
struct State {
    items: VecDeque<(EventKind, Arc<Change>)>,
    bytes: usize,
    end: Option<WatchEnd>,
    waker: Option<Waker>,
}

impl Queue {
    /// Adds an event; returns whom to wake, once no lock is held. An overflow ends the watch.
    pub(super) fn push(&self, kind: EventKind, change: &Arc<Change>) -> Result<Option<Waker>, WatchEnd> {
        let mut state = self.0.lock();
        if let Some(end) = state.end {
            return Err(end);
        }
        if state.items.len() >= QUEUE_EVENTS || state.bytes + change.size() > QUEUE_BYTES {
            return Err(WatchEnd::Slow);
        }
        state.bytes += change.size();
        state.items.push_back((kind, change.clone()));
        Ok(state.waker.take())
    }

    /// Ends the watch. What waits is still delivered.
    pub(super) fn close(&self, end: WatchEnd) {
        let waker = {
            let mut state = self.0.lock();
            state.end.get_or_insert(end);
            state.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    pub(super) fn end(&self) -> Option<WatchEnd> {
        self.0.lock().end
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.lock().items.is_empty()
    }

    pub(super) fn try_pop(&self) -> Option<(EventKind, Arc<Change>)> {
        self.0.lock().pop()
    }

    /// The next event; `None` at the end.
    pub(super) fn poll_pop(&self, context: &mut Context<'_>) -> Poll<Option<(EventKind, Arc<Change>)>> {
        let mut state = self.0.lock();
        if let Some(item) = state.pop() {
            return Poll::Ready(Some(item));
        }
        if state.end.is_some() {
            return Poll::Ready(None);
        }
        if !state.waker.as_ref().is_some_and(|waker| waker.will_wake(context.waker())) {
            state.waker = Some(context.waker().clone());
        }
        Poll::Pending
    }
}

impl State {
    fn pop(&mut self) -> Option<(EventKind, Arc<Change>)> {
        let (kind, change) = self.items.pop_front()?;
        self.bytes -= change.size();
        if self.items.is_empty() && self.items.capacity() > IDLE_CAPACITY {
            self.items = VecDeque::new();
        }
        Some((kind, change))
    }
}
