//! A queue of keys to work on: the heart of every control loop.
//!
//! Promises: a key that was added is handed out at least once after that; a key is never handed out to two workers at
//! a time; a key added while it waits is handed out once; a key added while it is worked on is handed out again after
//! [`Workqueue::done`]. Delays and rate limits are layers on top: they only decide when a key is added.
//!
//! The queue is bounded by the number of distinct keys, that is by the number of objects. Time is tokio's.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::backoff::Exponential;

/// Upstream's per-item back-off: 5 ms doubling to 1000 s.
pub const DEFAULT_BACKOFF: Exponential = Exponential { base: Duration::from_millis(5), cap: Duration::from_secs(1000) };

/// A queue of distinct keys. Cloning gives another handle on the same queue.
pub struct Workqueue<T> {
    shared: Arc<Shared<T>>,
}

struct Shared<T> {
    state: Mutex<State<T>>,
    wake: Notify,
    backoff: Exponential,
}

struct State<T> {
    /// Keys that are due, in order. Each is also in `dirty` and not in `processing`.
    order: VecDeque<T>,
    /// Keys that need work.
    dirty: HashSet<T>,
    /// Keys that a worker holds.
    processing: HashSet<T>,
    /// Keys that become due later, by time and then by order of arrival.
    delayed: BTreeMap<(Instant, u64), T>,
    /// Where in `delayed` a key is: a key has at most one delayed entry, the earliest asked for.
    delayed_at: HashMap<T, (Instant, u64)>,
    /// Failures in a row, by key.
    failures: HashMap<T, u32>,
    sequence: u64,
    shut_down: bool,
}

impl<T> Clone for Workqueue<T> {
    fn clone(&self) -> Self {
        Self { shared: self.shared.clone() }
    }
}

impl<T: Clone + Eq + Hash> Default for Workqueue<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T: Clone + Eq + Hash> Workqueue<T> {
    /// An empty queue with upstream's default back-off.
    pub fn new() -> Self {
        Self::with_backoff(DEFAULT_BACKOFF)
    }

    /// An empty queue with its own back-off.
    pub fn with_backoff(backoff: Exponential) -> Self {
        let state = State {
            order: VecDeque::new(),
            dirty: HashSet::new(),
            processing: HashSet::new(),
            delayed: BTreeMap::new(),
            delayed_at: HashMap::new(),
            failures: HashMap::new(),
            sequence: 0,
            shut_down: false,
        };
        Self { shared: Arc::new(Shared { state: Mutex::new(state), wake: Notify::new(), backoff }) }
    }

    /// Marks a key as in need of work.
    pub fn add(&self, key: T) {
        if self.shared.state.lock().add(key) {
            self.shared.wake.notify_one();
        }
    }

    /// Adds a key after a delay. If it is already waiting for a later time, the earlier one counts.
    pub fn add_after(&self, key: T, delay: Duration) {
        if delay.is_zero() {
            return self.add(key);
        }
        if self.shared.state.lock().delay(key, Instant::now() + delay) {
            self.shared.wake.notify_one();
        }
    }

    /// Adds a key after a delay that doubles with each call until [`Workqueue::forget`].
    pub fn add_rate_limited(&self, key: T) {
        let delay = {
            let mut state = self.shared.state.lock();
            let failures = state.failures.entry(key.clone()).or_insert(0);
            let delay = self.shared.backoff.delay(*failures);
            *failures = failures.saturating_add(1);
            delay
        };
        self.add_after(key, delay);
    }

    /// Ends a key's back-off: its work succeeded.
    pub fn forget(&self, key: &T) {
        self.shared.state.lock().failures.remove(key);
    }

    /// How often in a row the key was added rate limited.
    pub fn failures(&self, key: &T) -> u32 {
        self.shared.state.lock().failures.get(key).copied().unwrap_or(0)
    }

    /// Waits for a key and takes it. The caller must call [`Workqueue::done`] with it. `None` after shutdown.
    pub async fn get(&self) -> Option<T> {
        loop {
            let notified = self.shared.wake.notified();
            tokio::pin!(notified);
            // From here on no notification is missed, so checking first and waiting after is safe.
            notified.as_mut().enable();
            let next_due = {
                let mut state = self.shared.state.lock();
                if state.shut_down {
                    return None;
                }
                state.promote_due(Instant::now());
                if let Some(key) = state.take() {
                    if !state.order.is_empty() {
                        self.shared.wake.notify_one();
                    }
                    return Some(key);
                }
                state.delayed.first_key_value().map(|((due, _), _)| *due)
            };
            match next_due {
                Some(due) => drop(tokio::time::timeout_at(due, notified).await),
                None => notified.await,
            }
        }
    }

    /// Gives a key back. If it was added meanwhile, it is due again.
    pub fn done(&self, key: &T) {
        let mut state = self.shared.state.lock();
        state.processing.remove(key);
        if state.dirty.contains(key) {
            state.order.push_back(key.clone());
            self.shared.wake.notify_one();
        }
    }

    /// Keys that are due now.
    pub fn len(&self) -> usize {
        self.shared.state.lock().order.len()
    }

    /// Whether no key is due now.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Ends the queue: every [`Workqueue::get`] returns `None` from now on.
    pub fn shut_down(&self) {
        self.shared.state.lock().shut_down = true;
        self.shared.wake.notify_waiters();
        self.shared.wake.notify_one();
    }
}

impl<T: Clone + Eq + Hash> State<T> {
    /// Returns whether a waiting worker has something new to do.
    fn add(&mut self, key: T) -> bool {
        if self.shut_down || !self.dirty.insert(key.clone()) || self.processing.contains(&key) {
            return false;
        }
        self.order.push_back(key);
        true
    }

    /// Returns whether the time until the next key is due has become shorter.
    fn delay(&mut self, key: T, due: Instant) -> bool {
        if self.shut_down {
            return false;
        }
        if let Some(at) = self.delayed_at.get(&key) {
            if at.0 <= due {
                return false;
            }
            self.delayed.remove(at);
        }
        self.sequence += 1;
        let at = (due, self.sequence);
        self.delayed_at.insert(key.clone(), at);
        self.delayed.insert(at, key);
        self.delayed.first_key_value().is_some_and(|(first, _)| *first == at)
    }

    fn promote_due(&mut self, now: Instant) {
        while let Some(entry) = self.delayed.first_entry() {
            if entry.key().0 > now {
                break;
            }
            let key = entry.remove();
            self.delayed_at.remove(&key);
            self.add(key);
        }
    }

    fn take(&mut self) -> Option<T> {
        let key = self.order.pop_front()?;
        self.dirty.remove(&key);
        self.processing.insert(key.clone());
        Some(key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn next(queue: &Workqueue<&'static str>) -> Option<&'static str> {
        tokio::time::timeout(Duration::from_millis(1), queue.get()).await.ok().flatten()
    }

    #[tokio::test(start_paused = true)]
    async fn a_key_is_handed_out_once_and_again_if_added_while_worked_on() {
        let queue = Workqueue::new();
        queue.add("a");
        queue.add("b");
        queue.add("a");
        assert_eq!(next(&queue).await, Some("a"));
        queue.add("a");
        assert_eq!(next(&queue).await, Some("b"));
        assert_eq!(next(&queue).await, None, "a is still worked on");
        queue.done(&"a");
        assert_eq!(next(&queue).await, Some("a"));
        queue.done(&"a");
        queue.done(&"b");
        assert_eq!(next(&queue).await, None);
    }

    #[tokio::test(start_paused = true)]
    async fn the_earliest_delay_counts() {
        let queue = Workqueue::new();
        queue.add_after("a", Duration::from_secs(10));
        queue.add_after("a", Duration::from_secs(5));
        queue.add_after("a", Duration::from_secs(20));
        queue.add_after("b", Duration::from_secs(7));
        let start = Instant::now();
        assert_eq!(queue.get().await, Some("a"));
        assert_eq!(start.elapsed().as_secs(), 5);
        assert_eq!(queue.get().await, Some("b"));
        assert_eq!(start.elapsed().as_secs(), 7);
        queue.done(&"a");
        queue.done(&"b");
        tokio::time::advance(Duration::from_secs(60)).await;
        assert_eq!(next(&queue).await, None, "the later requests were absorbed");
    }

    #[tokio::test(start_paused = true)]
    async fn failures_back_off_until_forgotten() {
        let queue = Workqueue::new();
        let mut delays = Vec::new();
        for _ in 0..4 {
            let start = Instant::now();
            queue.add_rate_limited("a");
            assert_eq!(queue.get().await, Some("a"));
            queue.done(&"a");
            delays.push(start.elapsed().as_millis());
        }
        assert_eq!(delays, [5, 10, 20, 40]);
        assert_eq!(queue.failures(&"a"), 4);
        queue.forget(&"a");
        assert_eq!(queue.failures(&"a"), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn every_worker_wakes_for_work_and_for_the_end() {
        let queue: Workqueue<u32> = Workqueue::new();
        let workers: Vec<_> = (0..4)
            .map(|_| {
                let queue = queue.clone();
                tokio::spawn(async move {
                    let mut taken = 0;
                    while let Some(key) = queue.get().await {
                        tokio::time::sleep(Duration::from_millis(10)).await;
                        queue.done(&key);
                        taken += 1;
                    }
                    taken
                })
            })
            .collect();
        tokio::time::sleep(Duration::from_millis(1)).await;
        (0..40).for_each(|key| queue.add(key));
        // Four workers, ten rounds of 10 ms: a lost wake-up would leave some of them asleep.
        tokio::time::sleep(Duration::from_millis(101)).await;
        queue.shut_down();
        let mut taken = Vec::new();
        for worker in workers {
            taken.push(worker.await.expect("a worker ends"));
        }
        assert_eq!(taken, [10, 10, 10, 10]);
    }
}
