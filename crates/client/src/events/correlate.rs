//! Folding repeated events together, without I/O. The rules are those of client-go's
//! `tools/record/events_cache.go`:
//!
//! - one source may say [`BURST`] things about one object, then one each [`REFILL_SECONDS`];
//! - from the [`SIMILAR`]th different message with the same reason within [`SIMILAR_SECONDS`] on, messages are
//!   combined into one event;
//! - an event equal to an earlier one raises its count.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::hash::Hash;

use jiff::Timestamp;

use super::{EventType, Note, ObjectReference};

/// Events about one object before the rate limit holds.
pub(super) const BURST: f64 = 25.0;
/// Seconds until one more event about an object is let through.
pub(super) const REFILL_SECONDS: f64 = 300.0;
/// Different messages with one reason before they are combined.
pub(super) const SIMILAR: usize = 10;
/// Seconds for which messages count as similar.
pub(super) const SIMILAR_SECONDS: i64 = 600;
/// Entries remembered per table; the least recently used is forgotten.
pub(super) const REMEMBERED: usize = 4096;

/// What to write for a note.
#[derive(Debug, PartialEq)]
pub(super) struct Write {
    /// Name of the Event.
    pub(super) name: String,
    /// Its message.
    pub(super) message: String,
    /// How often it happened; above one the Event is likely to be there.
    pub(super) count: u32,
    /// When it first happened.
    pub(super) first: Timestamp,
}

type Object = (String, String, String, String, String);
/// Object, type and reason.
type Similar = (Object, EventType, String);

#[derive(Default)]
pub(super) struct Correlator {
    buckets: Remembered<Object, (f64, Timestamp)>,
    similar: Remembered<Similar, (HashSet<String>, Timestamp)>,
    written: Remembered<(Similar, String), (String, u32, Timestamp)>,
    named: u64,
}

impl Correlator {
    /// What to write, or `None` if the object had enough events.
    pub(super) fn correlate(&mut self, note: &Note) -> Option<Write> {
        let similar: Similar = (identity(&note.object), note.type_, note.reason.clone());
        let (folded, message) = self.fold(&similar, note);
        if !self.admit(&similar.0, note.at) {
            return None;
        }
        let named = &mut self.named;
        let (name, count, first) = self.written.entry((similar, folded), || {
            *named += 1;
            (event_name(&note.object.name, note.at, *named), 0, note.at)
        });
        *count += 1;
        Some(Write { name: name.clone(), message, count: *count, first: *first })
    }

    /// Token bucket per object.
    fn admit(&mut self, object: &Object, at: Timestamp) -> bool {
        let (tokens, filled) = self.buckets.entry(object.clone(), || (BURST, at));
        let seconds = (at.as_millisecond() - filled.as_millisecond()).max(0) as f64 / 1000.0;
        *tokens = (*tokens + seconds / REFILL_SECONDS).min(BURST);
        *filled = at;
        if *tokens < 1.0 {
            return false;
        }
        *tokens -= 1.0;
        true
    }

    /// The message under which the event is counted, and the one to show.
    fn fold(&mut self, similar: &Similar, note: &Note) -> (String, String) {
        let (messages, last) = self.similar.entry(similar.clone(), || (HashSet::new(), note.at));
        if note.at.as_second() - last.as_second() > SIMILAR_SECONDS {
            messages.clear();
        }
        *last = note.at;
        if messages.len() < SIMILAR {
            messages.insert(note.message.clone());
        }
        if messages.len() < SIMILAR {
            return (note.message.clone(), note.message.clone());
        }
        (String::new(), format!("(combined from similar events): {}", note.message))
    }
}

fn identity(object: &ObjectReference) -> Object {
    (
        object.kind.clone(),
        object.namespace.clone(),
        object.name.clone(),
        object.uid.clone(),
        format!("{} {}", object.api_version, object.field_path),
    )
}

/// The object's name and a number that does not come twice. The name is cut so that the whole fits 253 characters.
fn event_name(object: &str, at: Timestamp, sequence: u64) -> String {
    let nanos = at.as_nanosecond().unsigned_abs() as u64;
    let mut base = object.to_ascii_lowercase();
    base.retain(|c| c.is_ascii_alphanumeric() || c == '-' || c == '.');
    base.truncate(230);
    let base = base.trim_matches(|c| c == '-' || c == '.');
    let base = if base.is_empty() { "event" } else { base };
    format!("{base}.{:x}", nanos.wrapping_add(sequence))
}

/// A map of at most [`REMEMBERED`] entries that forgets the least recently used one.
struct Remembered<K, V> {
    entries: HashMap<K, (V, u64)>,
    by_use: BTreeMap<u64, K>,
    uses: u64,
}

impl<K, V> Default for Remembered<K, V> {
    fn default() -> Self {
        Self { entries: HashMap::new(), by_use: BTreeMap::new(), uses: 0 }
    }
}

impl<K: Clone + Eq + Hash, V> Remembered<K, V> {
    fn entry(&mut self, key: K, make: impl FnOnce() -> V) -> &mut V {
        self.uses += 1;
        if let Some((_, used)) = self.entries.get(&key) {
            self.by_use.remove(used);
        } else if self.entries.len() >= REMEMBERED
            && let Some((_, oldest)) = self.by_use.pop_first()
        {
            self.entries.remove(&oldest);
        }
        self.by_use.insert(self.uses, key.clone());
        let entry = self.entries.entry(key).or_insert_with(|| (make(), 0));
        entry.1 = self.uses;
        &mut entry.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn note(name: &str, message: &str, second: i64) -> Note {
        Note {
            object: ObjectReference { kind: "Pod".into(), name: name.into(), ..Default::default() },
            type_: EventType::Normal,
            reason: "R".into(),
            message: message.into(),
            action: String::new(),
            at: Timestamp::from_second(1_700_000_000 + second).expect("a time"),
        }
    }

    #[test]
    fn equal_events_are_counted() {
        let mut correlator = Correlator::default();
        let first = correlator.correlate(&note("a", "m", 0)).expect("written");
        let second = correlator.correlate(&note("a", "m", 5)).expect("written");
        assert_eq!((first.count, second.count), (1, 2));
        assert_eq!((&first.name, first.first), (&second.name, second.first));
        let other = correlator.correlate(&note("a", "n", 5)).expect("written");
        assert_eq!(other.count, 1);
        assert_ne!(other.name, first.name);
    }

    #[test]
    fn many_similar_events_are_combined() {
        let mut correlator = Correlator::default();
        let writes: Vec<_> = (0..12)
            .map(|n| correlator.correlate(&note("a", &format!("m{n}"), n)).map(|write| (write.count, write.message)))
            .collect();
        assert_eq!(writes[8], Some((1, "m8".into())));
        assert_eq!(writes[9], Some((1, "(combined from similar events): m9".into())));
        assert_eq!(writes[11], Some((3, "(combined from similar events): m11".into())));
        let later = correlator.correlate(&note("a", "m", 12 + SIMILAR_SECONDS)).expect("written");
        assert_eq!(later.message, "m");
    }

    #[test]
    fn one_object_cannot_flood() {
        let mut correlator = Correlator::default();
        let mut admitted = |name: &str, second| correlator.correlate(&note(name, "m", second)).is_some();
        assert_eq!((0..100).filter(|_| admitted("a", 0)).count(), 25);
        assert!(admitted("b", 0));
        assert!(!admitted("a", 299));
        assert!(admitted("a", 301));
    }

    #[test]
    fn memory_is_bounded() {
        let mut correlator = Correlator::default();
        for n in 0..REMEMBERED + 10 {
            correlator.correlate(&note(&format!("p{n}"), "m", 0));
        }
        assert_eq!(correlator.written.entries.len(), REMEMBERED);
        assert_eq!(correlator.written.by_use.len(), REMEMBERED);
        let fresh = correlator.correlate(&note("p0", "m", 1)).expect("written");
        assert_eq!(fresh.count, 1, "the oldest was forgotten");
    }
}
