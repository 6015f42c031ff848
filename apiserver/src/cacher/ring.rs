//! The cache's history: the last changes of the resource, bounded in bytes and time.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use skiff_storage::{HistoryLimits, Revision};

use super::object::Change;

/// Changes that keep their encodings: those that watchers are still being sent.
const FRESH_CHANGES: usize = 256;

/// How often the ring notes where the store was.
const CLOCK_STEP: Duration = Duration::from_secs(5);

/// See the module.
pub(super) struct Ring {
    limits: HistoryLimits,
    changes: VecDeque<Arc<Change>>,
    bytes: usize,
    /// Every change after this revision is here.
    floor: Revision,
    /// The floor when the cache was filled, until something was dropped: then older changes may be got from the engine.
    extensible: bool,
    /// Where the store was when: a list at a revision that was passed too long ago is left to the engine, which
    /// answers 410 once it has compacted, however quiet this resource is.
    clock: VecDeque<(Instant, Revision)>,
}

impl Ring {
    pub(super) fn new(limits: HistoryLimits, floor: Revision, now: Instant) -> Self {
        Self {
            limits,
            changes: VecDeque::new(),
            bytes: 0,
            floor,
            extensible: true,
            clock: VecDeque::from([(now, floor)]),
        }
    }

    pub(super) fn floor(&self) -> Revision {
        self.floor
    }

    pub(super) fn extensible(&self) -> bool {
        self.extensible
    }

    pub(super) fn push(&mut self, change: Arc<Change>) {
        self.bytes += change.cost();
        self.changes.push_back(change);
        if let Some(cool) = self.changes.len().checked_sub(FRESH_CHANGES + 1) {
            self.changes[cool].cool();
        }
    }

    /// Puts older changes before the others. They are in order and reach from `floor` to the present floor.
    pub(super) fn extend_back(&mut self, older: Vec<Arc<Change>>, floor: Revision) {
        for change in older.into_iter().rev() {
            self.bytes += change.cost();
            self.changes.push_front(change);
        }
        self.floor = floor;
        self.extensible = false;
    }

    /// Drops what is beyond the limits and notes the time.
    pub(super) fn tick(&mut self, now: Instant, revision: Revision) {
        if self.clock.back().is_none_or(|(at, _)| now.saturating_duration_since(*at) >= CLOCK_STEP) {
            self.clock.push_back((now, revision));
        }
        while self.clock.len() > 1 && now.saturating_duration_since(self.clock[1].0) >= self.limits.age {
            self.clock.pop_front();
        }
        while let Some(oldest) = self.changes.front() {
            if self.bytes <= self.limits.bytes && now.saturating_duration_since(oldest.at) < self.limits.age {
                break;
            }
            self.bytes -= oldest.cost();
            self.floor = oldest.revision;
            self.extensible = false;
            self.changes.pop_front();
        }
    }

    /// Whether the state at `revision` can be had by undoing changes, and was passed recently enough.
    pub(super) fn reaches(&self, revision: Revision, now: Instant) -> bool {
        let passed_long_ago = self
            .clock
            .front()
            .is_some_and(|(at, was)| revision < *was && now.saturating_duration_since(*at) >= self.limits.age);
        revision >= self.floor && !passed_long_ago
    }

    /// The changes after `revision`, oldest first.
    pub(super) fn after(&self, revision: Revision) -> impl DoubleEndedIterator<Item = &Arc<Change>> {
        let start = self.changes.partition_point(|change| change.revision <= revision);
        self.changes.range(start..)
    }
}
