//! Pods that wait for a node.
//!
//! A pod is in one place at a time:
//!
//! - *active*: to be tried, most important first, then longest waiting first;
//! - *backing off*: to be tried when its pause is over (1 s doubling to 10 s with failed attempts), or as soon as no
//!   pod is active: the pause only keeps hopeless pods out of the way of others. After an error the pause is kept;
//! - *unschedulable*: nothing it could use has changed since it was last tried. An event that one of the plugins that
//!   refused it names moves it to active or backing off; so does time, after five minutes;
//! - *gated*: kept out by PreEnqueue until the pod itself changes;
//! - *in flight*: taken, in a cycle or being bound. Events that come meanwhile are remembered, so that a failed pod
//!   is not put to sleep over an event that would have helped it.
//!
//! Bounds: a pod is one entry; at most [`MAX_EVENTS`] events are remembered, beyond that every failed pod is retried
//! after its pause.

mod events;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::cache::PodInfo;
use crate::framework::Profile;

pub use events::ClusterEvents;

/// Events remembered while pods are in flight.
pub const MAX_EVENTS: usize = 1024;

/// A pod that was taken from the queue.
#[derive(Clone, Debug)]
pub struct QueuedPod {
    /// The pod.
    pub info: Arc<PodInfo>,
    /// Cycles begun for it, this one included.
    pub attempts: u32,
    /// When it was first queued.
    pub first_queued: Instant,
}

/// Where a pod is, and why.
enum Place {
    Active,
    BackingOff { until: Instant, after_error: bool },
    Unschedulable { since: Instant, events: ClusterEvents },
    Gated,
    InFlight,
}

struct Entry {
    pod: QueuedPod,
    place: Place,
}

/// Order of the active pods: priority, then time, then arrival.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Rank(i32, Reverse<Instant>, Reverse<u64>, String);

/// When a pause ends, and which one it is.
type Pause = (Instant, u64);

struct Inner {
    entries: HashMap<String, Entry>,
    active: BinaryHeap<Rank>,
    backing_off: BTreeMap<Pause, String>,
    unschedulable: HashSet<String>,
    /// Pods in flight, each with the number of the first event that came after it was taken.
    in_flight: HashMap<String, u64>,
    /// Events since the oldest pod in flight was taken, and the number of the first of them.
    events: VecDeque<ClusterEvents>,
    first_event: u64,
    sequence: u64,
    closed: bool,
}

/// Times of the queue.
#[derive(Clone, Copy, Debug)]
pub struct Times {
    /// First pause.
    pub initial_backoff: Duration,
    /// Longest pause.
    pub max_backoff: Duration,
    /// After this an unschedulable pod is tried again without an event.
    pub max_unschedulable: Duration,
}

/// How many pods are where.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Active.
    pub active: usize,
    /// Backing off.
    pub backoff: usize,
    /// Unschedulable.
    pub unschedulable: usize,
    /// Gated.
    pub gated: usize,
}

/// The queue.
pub struct SchedulingQueue {
    inner: Mutex<Inner>,
    wake: Notify,
    times: Times,
    profile: Arc<Profile>,
}

impl SchedulingQueue {
    /// An empty queue that asks this profile's PreEnqueue plugins.
    pub fn new(times: Times, profile: Arc<Profile>) -> Self {
        let inner = Inner {
            entries: HashMap::new(),
            active: BinaryHeap::new(),
            backing_off: BTreeMap::new(),
            unschedulable: HashSet::new(),
            in_flight: HashMap::new(),
            events: VecDeque::new(),
            first_event: 0,
            sequence: 0,
            closed: false,
        };
        Self { inner: Mutex::new(inner), wake: Notify::new(), times, profile }
    }

    /// Adds a pod that is new, or brings one up to date that is here. `useful`: the change could make it schedulable.
    /// Returns why the pod is kept out, if it is.
    pub fn add_or_update(&self, info: Arc<PodInfo>, useful: bool) -> Option<(&'static str, String)> {
        let refused = self.profile.refuses_to_enqueue(&info.pod);
        let mut inner = self.inner.lock();
        let now = Instant::now();
        let uid = info.uid().to_owned();
        match inner.entries.get_mut(&uid) {
            None => {
                let pod = QueuedPod { info, attempts: 0, first_queued: now };
                inner.entries.insert(uid.clone(), Entry { pod, place: Place::Gated });
                if refused.is_none() {
                    inner.activate(&uid, now);
                }
            }
            Some(entry) => {
                entry.pod.info = info;
                match entry.place {
                    Place::Gated if refused.is_none() => inner.activate(&uid, now),
                    Place::Unschedulable { .. } if useful => self.retry(&mut inner, &uid, now, false),
                    Place::InFlight if useful => inner.note(ClusterEvents::UNSCHEDULED_POD_UPDATE),
                    _ => {}
                }
            }
        }
        drop(inner);
        self.wake.notify_one();
        refused.map(|(plugin, status)| (plugin, status.reasons.join(", ")))
    }

    /// Brings a pod up to date if it is here: it has a node, of which the API does not know yet.
    pub fn refresh(&self, info: Arc<PodInfo>) {
        if let Some(entry) = self.inner.lock().entries.get_mut(info.uid()) {
            entry.pod.info = info;
        }
    }

    /// Removes a pod that is gone, bound or no longer ours.
    pub fn remove(&self, uid: &str) {
        let mut inner = self.inner.lock();
        // Heaps drop the pod when they come to it.
        inner.entries.remove(uid);
        inner.unschedulable.remove(uid);
        inner.in_flight.remove(uid);
        inner.forget_old_events();
    }

    /// Waits for the next pod to try, and takes it. `None` once closed.
    pub async fn pop(&self) -> Option<QueuedPod> {
        loop {
            let notified = self.wake.notified();
            tokio::pin!(notified);
            // From here on no notification is missed, so checking first and waiting after is safe.
            notified.as_mut().enable();
            let next_due = {
                let mut inner = self.inner.lock();
                if inner.closed {
                    return None;
                }
                let now = Instant::now();
                inner.promote_due(now);
                if let Some(pod) = inner.take() {
                    return Some(pod);
                }
                inner.promote_early(now);
                if let Some(pod) = inner.take() {
                    return Some(pod);
                }
                // What is still here waits after an error.
                inner.backing_off.first_key_value().map(|((due, _), _)| *due)
            };
            match next_due {
                Some(due) => drop(tokio::time::timeout_at(due, notified).await),
                None => notified.await,
            }
        }
    }

    /// Puts a pod back that no node fits, refused by these plugins. If none did, there was no node to ask them about,
    /// and anything may help.
    pub fn put_back_unschedulable(&self, uid: &str, plugins: &[&'static str]) {
        let events = if plugins.is_empty() { ClusterEvents::ALL } else { self.profile.events_for(plugins) };
        let mut inner = self.inner.lock();
        let now = Instant::now();
        let Some(since) = inner.in_flight.remove(uid) else { return };
        if inner.came_after(since, events) {
            self.retry(&mut inner, uid, now, false);
        } else if let Some(entry) = inner.entries.get_mut(uid) {
            entry.place = Place::Unschedulable { since: now, events };
            inner.unschedulable.insert(uid.to_owned());
        }
        inner.forget_old_events();
        drop(inner);
        self.wake.notify_one();
    }

    /// Puts a pod back after an error: it is tried again after its pause.
    pub fn put_back_after_error(&self, uid: &str) {
        let mut inner = self.inner.lock();
        if inner.in_flight.remove(uid).is_some() {
            self.retry(&mut inner, uid, Instant::now(), true);
        }
        inner.forget_old_events();
        drop(inner);
        self.wake.notify_one();
    }

    /// Something happened: pods that it could help are tried again. `helps` may look closer than the event's kind.
    pub fn on_event(&self, event: ClusterEvents, helps: impl Fn(&PodInfo) -> bool) {
        let mut inner = self.inner.lock();
        let now = Instant::now();
        inner.note(event);
        let helped = inner.sleeping(|entry, _, events| events.intersects(event) && helps(&entry.pod.info));
        for uid in &helped {
            self.retry(&mut inner, uid, now, false);
        }
        drop(inner);
        if !helped.is_empty() {
            self.wake.notify_one();
        }
    }

    /// Tries pods again that have been unschedulable for long. To be called from time to time.
    pub fn flush_unschedulable(&self) {
        let mut inner = self.inner.lock();
        let now = Instant::now();
        let long = inner.sleeping(|_, since, _| now - since >= self.times.max_unschedulable);
        for uid in &long {
            self.retry(&mut inner, uid, now, false);
        }
        drop(inner);
        self.wake.notify_one();
    }

    /// How many pods are where.
    pub fn counts(&self) -> Counts {
        let inner = self.inner.lock();
        let mut counts = Counts::default();
        for entry in inner.entries.values() {
            match entry.place {
                Place::Active => counts.active += 1,
                Place::BackingOff { .. } => counts.backoff += 1,
                Place::Unschedulable { .. } => counts.unschedulable += 1,
                Place::Gated => counts.gated += 1,
                Place::InFlight => {}
            }
        }
        counts
    }

    /// Ends the queue: [`SchedulingQueue::pop`] returns `None` from now on.
    pub fn close(&self) {
        self.inner.lock().closed = true;
        self.wake.notify_one();
    }

    /// Makes a pod active, or lets it wait for the rest of its pause.
    fn retry(&self, inner: &mut Inner, uid: &str, now: Instant, after_error: bool) {
        inner.unschedulable.remove(uid);
        let Some(entry) = inner.entries.get_mut(uid) else { return };
        // The pause counts from the end of the last attempt: who has slept longer need not wait again.
        let since = match entry.place {
            Place::Unschedulable { since, .. } => since,
            _ => now,
        };
        let until = since + self.backoff(entry.pod.attempts);
        if until <= now {
            return inner.activate(uid, now);
        }
        entry.place = Place::BackingOff { until, after_error };
        inner.sequence += 1;
        let sequence = inner.sequence;
        inner.backing_off.insert((until, sequence), uid.to_owned());
    }

    fn backoff(&self, attempts: u32) -> Duration {
        let doublings = attempts.saturating_sub(1).min(31);
        self.times.initial_backoff.saturating_mul(1u32 << doublings).min(self.times.max_backoff)
    }
}

impl Inner {
    fn activate(&mut self, uid: &str, now: Instant) {
        let Some(entry) = self.entries.get_mut(uid) else { return };
        entry.place = Place::Active;
        self.sequence += 1;
        let rank = Rank(entry.pod.info.priority(), Reverse(now), Reverse(self.sequence), uid.to_owned());
        self.active.push(rank);
    }

    /// Unschedulable pods of which something holds, given since when they sleep and which events they wait for.
    fn sleeping(&self, which: impl Fn(&Entry, Instant, ClusterEvents) -> bool) -> Vec<String> {
        let sleeping = self.unschedulable.iter().filter(|uid| {
            let entry = self.entries.get(*uid);
            entry.is_some_and(|entry| match entry.place {
                Place::Unschedulable { since, events } => which(entry, since, events),
                _ => false,
            })
        });
        sleeping.cloned().collect()
    }

    fn promote_due(&mut self, now: Instant) {
        while let Some(first) = self.backing_off.first_entry() {
            let due = first.key().0;
            if due > now {
                break;
            }
            let uid = first.remove();
            // The pod may have gone on since: only an entry that still waits for this very time counts.
            if self.pause_after_error(&uid, due).is_some() {
                self.activate(&uid, now);
            }
        }
    }

    /// Whether the pod's pause that ends at this time is one after an error; `None` if there is no such pause.
    fn pause_after_error(&self, uid: &str, due: Instant) -> Option<bool> {
        match self.entries.get(uid)?.place {
            Place::BackingOff { until, after_error } if until == due => Some(after_error),
            _ => None,
        }
    }

    /// Ends the pause of the pod that would be next, if no error made it (upstream `SchedulerPopFromBackoffQ`).
    fn promote_early(&mut self, now: Instant) {
        let mut over: Vec<Pause> = Vec::new();
        let mut next = None;
        for (pause, uid) in &self.backing_off {
            match self.pause_after_error(uid, pause.0) {
                Some(true) => {}
                Some(false) => {
                    over.push(*pause);
                    next = Some(uid.clone());
                    break;
                }
                None => over.push(*pause),
            }
        }
        for pause in over {
            self.backing_off.remove(&pause);
        }
        if let Some(uid) = next {
            self.activate(&uid, now);
        }
    }

    fn take(&mut self) -> Option<QueuedPod> {
        loop {
            let Rank(.., uid) = self.active.pop()?;
            let next_event = self.first_event + self.events.len() as u64;
            let Some(entry) = self.entries.get_mut(&uid).filter(|entry| matches!(entry.place, Place::Active)) else {
                continue;
            };
            entry.place = Place::InFlight;
            entry.pod.attempts += 1;
            let pod = entry.pod.clone();
            self.in_flight.insert(uid, next_event);
            return Some(pod);
        }
    }

    /// Remembers an event, if a pod is in flight.
    fn note(&mut self, event: ClusterEvents) {
        self.forget_old_events();
        if self.in_flight.is_empty() {
            return;
        }
        if self.events.len() >= MAX_EVENTS {
            self.events.pop_front();
            self.first_event += 1;
        }
        self.events.push_back(event);
    }

    /// Whether an event of these came since the given number. What was forgotten may have been one.
    fn came_after(&self, since: u64, events: ClusterEvents) -> bool {
        if since < self.first_event {
            return true;
        }
        self.events.iter().skip((since - self.first_event) as usize).any(|event| events.intersects(*event))
    }

    fn forget_old_events(&mut self) {
        if self.events.is_empty() {
            return;
        }
        let next = self.first_event + self.events.len() as u64;
        let oldest = self.in_flight.values().copied().min().unwrap_or(next);
        while self.first_event < oldest && self.events.pop_front().is_some() {
            self.first_event += 1;
        }
    }
}

#[cfg(test)]
mod tests;
