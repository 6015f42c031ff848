//! The window of past changes: what watches resume from and what reads at an old revision undo.
//!
//! Bounded in bytes and in time, whichever is hit first. A superseded value is counted once, with the event that
//! superseded it; a live value costs the window nothing because the snapshot holds it anyway.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::{Entry, Revision, WatchEvent};

/// Bounds of the window of past changes that watches can resume from.
#[derive(Clone, Copy, Debug)]
pub struct HistoryLimits {
    /// Most bytes of superseded values and bookkeeping.
    pub bytes: usize,
    /// How long a change is kept at most.
    pub age: Duration,
}

impl Default for HistoryLimits {
    /// 64 MiB and five minutes: upstream compacts etcd every five minutes, and clients count on it.
    fn default() -> Self {
        Self { bytes: 64 << 20, age: Duration::from_secs(300) }
    }
}

/// What one event costs beyond the value that it superseded: the structs, the key, its place in queues.
const EVENT_OVERHEAD_BYTES: usize = 256;

/// One change.
#[derive(Debug)]
pub(crate) struct Event {
    pub(crate) revision: Revision,
    pub(crate) key: Arc<str>,
    /// The entry as written; `None` for a deletion.
    pub(crate) entry: Option<Entry>,
    pub(crate) previous: Option<Entry>,
    pub(crate) at: Instant,
}

impl Event {
    fn cost(&self) -> usize {
        EVENT_OVERHEAD_BYTES + self.previous.as_ref().map_or(0, |previous| previous.object.json.len())
    }

    pub(crate) fn to_watch_event(&self) -> WatchEvent {
        match (&self.entry, &self.previous) {
            (Some(entry), previous) => WatchEvent::Put { entry: entry.clone(), previous: previous.clone() },
            (None, Some(previous)) => WatchEvent::Delete { previous: previous.clone(), revision: self.revision },
            (None, None) => WatchEvent::Progress { revision: self.revision },
        }
    }
}

/// The window, oldest first.
pub(crate) struct History {
    limits: HistoryLimits,
    events: VecDeque<Arc<Event>>,
    bytes: usize,
    /// Reads and watches must use this revision or a later one.
    floor: Revision,
    /// Revisions of superseded entries that an event in the window needs as its `previous`.
    superseded: HashMap<Revision, Arc<Event>>,
}

impl History {
    pub(crate) fn new(limits: HistoryLimits, floor: Revision) -> Self {
        Self { limits, events: VecDeque::new(), bytes: 0, floor, superseded: HashMap::new() }
    }

    pub(crate) fn floor(&self) -> Revision {
        self.floor
    }

    /// The superseded entry that was written at `revision`, if an event in the window still needs it.
    pub(crate) fn superseded(&self, revision: Revision) -> Option<&Entry> {
        self.superseded.get(&revision)?.previous.as_ref()
    }

    pub(crate) fn push(&mut self, event: Arc<Event>) {
        debug_assert!(self.events.back().is_none_or(|last| last.revision <= event.revision), "revisions only grow");
        self.bytes += event.cost();
        if let Some(previous) = &event.previous {
            self.superseded.insert(previous.revision, event.clone());
        }
        self.events.push_back(event);
    }

    /// Drops what is beyond the limits.
    pub(crate) fn trim(&mut self, now: Instant) {
        while let Some(oldest) = self.events.front() {
            if self.bytes <= self.limits.bytes && now.saturating_duration_since(oldest.at) < self.limits.age {
                break;
            }
            self.drop_oldest();
        }
    }

    /// When [`trim`](Self::trim) will next have something to do because of age.
    pub(crate) fn next_trim(&self) -> Option<Instant> {
        self.events.front().map(|oldest| oldest.at + self.limits.age)
    }

    /// Drops everything up to and including `revision`.
    pub(crate) fn compact(&mut self, revision: Revision) {
        while self.events.front().is_some_and(|oldest| oldest.revision <= revision) {
            self.drop_oldest();
        }
        self.floor = self.floor.max(revision);
    }

    fn drop_oldest(&mut self) {
        if let Some(event) = self.events.pop_front() {
            self.bytes -= event.cost();
            self.floor = self.floor.max(event.revision);
            if let Some(previous) = &event.previous {
                self.superseded.remove(&previous.revision);
            }
        }
    }

    /// The events after `revision`, oldest first.
    pub(crate) fn after(&self, revision: Revision) -> impl DoubleEndedIterator<Item = &Arc<Event>> {
        let start = self.events.partition_point(|event| event.revision <= revision);
        self.events.range(start..)
    }

    /// What to put over the latest state to see it as of `revision`: for each key changed since, its entry then.
    pub(crate) fn undo(&self, revision: Revision, wanted: impl Fn(&str) -> bool) -> BTreeMap<Arc<str>, Option<Entry>> {
        let mut undone = BTreeMap::new();
        for event in self.after(revision).rev().filter(|event| wanted(&event.key)) {
            undone.insert(event.key.clone(), event.previous.clone());
        }
        undone
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Draft;

    fn put(revision: Revision, key: &str, previous: Option<&Arc<Event>>, at: Instant) -> Arc<Event> {
        let json = br#"{"metadata":{"resourceVersion":""}}"#.to_vec();
        let object = Draft { json, rv_at: 32 }.splice(revision);
        Arc::new(Event {
            revision,
            key: key.into(),
            entry: Some(Entry { key: key.into(), revision, object }),
            previous: previous.and_then(|event| event.entry.clone()),
            at,
        })
    }

    #[test]
    fn trimming_by_age_raises_the_floor_and_forgets_superseded_entries() {
        let start = Instant::now();
        let mut history = History::new(HistoryLimits { bytes: 1 << 20, age: Duration::from_secs(10) }, 0);
        let first = put(1, "/a", None, start);
        let second = put(2, "/a", Some(&first), start + Duration::from_secs(5));
        history.push(first);
        history.push(second);
        assert_eq!(history.superseded(1).map(|entry| entry.revision), Some(1));
        assert_eq!(history.next_trim(), Some(start + Duration::from_secs(10)));

        history.trim(start + Duration::from_secs(9));
        assert_eq!(history.floor(), 0);
        history.trim(start + Duration::from_secs(10));
        assert_eq!(history.floor(), 1);
        history.trim(start + Duration::from_secs(15));
        assert_eq!(history.floor(), 2);
        assert!(history.superseded(1).is_none());
        assert_eq!(history.bytes, 0);
    }

    #[test]
    fn trimming_by_bytes_keeps_the_newest() {
        let start = Instant::now();
        let limits = HistoryLimits { bytes: 2 * EVENT_OVERHEAD_BYTES, age: Duration::from_secs(10) };
        let mut history = History::new(limits, 0);
        for revision in 1..=5 {
            history.push(put(revision, "/a", None, start));
            history.trim(start);
        }
        assert_eq!(history.floor(), 3);
        assert_eq!(history.after(0).map(|event| event.revision).collect::<Vec<_>>(), [4, 5]);
    }

    #[test]
    fn undo_gives_the_entry_as_it_was() {
        let start = Instant::now();
        let mut history = History::new(HistoryLimits::default(), 0);
        let one = put(1, "/a", None, start);
        let two = put(2, "/a", Some(&one), start);
        let three = put(3, "/a", Some(&two), start);
        let four = put(4, "/b", None, start);
        for event in [one, two, three, four] {
            history.push(event);
        }
        let undone = history.undo(1, |_| true);
        assert_eq!(undone["/a"].as_ref().map(|entry| entry.revision), Some(1));
        assert!(undone["/b"].is_none());
        assert_eq!(history.undo(3, |_| true).keys().map(|key| &**key).collect::<Vec<_>>(), ["/b"]);
    }
}
