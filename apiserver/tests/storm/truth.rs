//! What really happened: the engine's own account, which the storage suite holds to its promises. That it has every
//! write that was answered, and no other, is checked here.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures::StreamExt;
use serde_json::Value;
use skiff_storage::{Entry, Storage, WatchEvent, WatchStream};

use crate::selector::Selector;
use crate::watcher::Seen;
use crate::writer::Writer;

/// Where Events are in the store.
const PREFIX: &str = "/registry/events/";

/// An Event at some time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Object {
    /// `NAMESPACE/NAME`.
    pub(crate) key: String,
    pub(crate) tier: String,
    pub(crate) reason: String,
}

impl Object {
    fn read(entry: &Entry) -> Self {
        let json: Value = serde_json::from_slice(&entry.object.json).expect("JSON");
        let text = |value: &Value| value.as_str().unwrap_or("").to_owned();
        Self {
            key: entry.key.strip_prefix(PREFIX).expect("an Event").to_owned(),
            tier: text(&json["metadata"]["labels"]["tier"]),
            reason: text(&json["reason"]),
        }
    }

    pub(crate) fn namespace(&self) -> &str {
        self.key.split('/').next().unwrap_or("")
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Change {
    pub(crate) revision: u64,
    pub(crate) before: Option<Object>,
    pub(crate) after: Option<Object>,
}

/// The engine's changes as they come.
pub(crate) struct Changes(WatchStream);

impl Changes {
    pub(crate) async fn follow(storage: &Arc<dyn Storage>, from: u64) -> Self {
        let from = if from == 0 { storage.current_revision().await.expect("the store reads") } else { from };
        Self(storage.watch(PREFIX, from).await.expect("a watch"))
    }

    /// All of them up to a revision.
    pub(crate) async fn until(mut self, last: u64) -> Vec<Change> {
        let mut changes = Vec::new();
        while let Some(event) = self.0.next().await {
            let (revision, before, after) = match event.expect("the engine's watch goes on") {
                WatchEvent::Put { entry, previous } => {
                    (entry.revision, previous.as_ref().map(Object::read), Some(Object::read(&entry)))
                }
                WatchEvent::Delete { previous, revision } => (revision, Some(Object::read(&previous)), None),
                WatchEvent::Progress { revision } if revision >= last => break,
                WatchEvent::Progress { .. } => continue,
            };
            changes.push(Change { revision, before, after });
            if revision >= last {
                break;
            }
        }
        changes
    }
}

/// Everything that happened, in order.
#[derive(Default)]
pub(crate) struct Truth(Vec<Change>);

impl Truth {
    pub(crate) fn extend(&mut self, changes: Vec<Change>) {
        let last = self.0.last().map_or(0, |change| change.revision);
        self.0.extend(changes.into_iter().filter(|change| change.revision > last));
        assert!(self.0.is_sorted_by(|a, b| a.revision < b.revision));
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// What a watcher with this selector is to see after a revision.
    pub(crate) fn events(&self, selector: Selector, after: u64) -> Vec<Seen> {
        let start = self.0.partition_point(|change| change.revision <= after);
        let transition = |change: &Change| {
            let before = change.before.as_ref().filter(|object| selector.matches(object));
            let now = change.after.as_ref().filter(|object| selector.matches(object));
            let (kind, object) = match (before, now) {
                (None, None) => return None,
                (None, Some(now)) => ("ADDED", now),
                (Some(_), Some(now)) => ("MODIFIED", now),
                (Some(before), None) => ("DELETED", before),
            };
            Some(Seen::new(kind, &object.key, change.revision, &object.tier))
        };
        self.0[start..].iter().filter_map(transition).collect()
    }

    /// What there was at a revision, by key.
    pub(crate) fn state(&self, selector: Selector, at: u64) -> BTreeMap<String, u64> {
        let mut state = BTreeMap::new();
        for change in self.0.iter().take_while(|change| change.revision <= at) {
            match &change.after {
                Some(object) if selector.matches(object) => drop(state.insert(object.key.clone(), change.revision)),
                Some(object) => drop(state.remove(&object.key)),
                None => drop(change.before.as_ref().and_then(|object| state.remove(&object.key))),
            }
        }
        state
    }

    /// Every write that was answered is here, and nothing else.
    pub(crate) fn holds_every_answer(&self, writers: &[Writer]) {
        let puts = self.0.iter().filter_map(|change| Some((change.revision, change.after.clone()?)));
        let puts = puts.collect::<BTreeMap<_, _>>();
        let answered = writers.iter().flat_map(|writer| &writer.written);
        for (revision, object) in answered.clone() {
            assert_eq!(puts.get(revision), Some(object), "answered at {revision}");
        }
        let answered = answered.map(|(revision, _)| *revision).collect::<BTreeSet<_>>();
        assert_eq!(puts.keys().copied().collect::<BTreeSet<_>>(), answered, "writes that nobody made");
        let deletions = self.0.iter().filter(|change| change.after.is_none()).count();
        assert_eq!(deletions, writers.iter().map(|writer| writer.deleted).sum::<usize>(), "deletions");
    }
}
