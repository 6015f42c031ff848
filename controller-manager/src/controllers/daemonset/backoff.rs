//! How long pods that fail again and again on a node are left lying there: a kubelet that refuses a pod would otherwise
//! be given the next one at once, for ever.

use std::collections::HashMap;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use parking_lot::Mutex;
use skiff_client::backoff::Exponential;

/// Upstream's back-off of failed daemon pods.
const BACKOFF: Exponential = Exponential { base: Duration::from_secs(1), cap: Duration::from_secs(15 * 60) };

/// A set in one generation, and a node.
pub(super) type Place = (String, i64, String);

#[derive(Clone, Copy)]
struct Entry {
    failures: u32,
    since: Timestamp,
}

/// The failures of all sets on all nodes.
#[derive(Default)]
pub(super) struct FailedPods(Mutex<HashMap<Place, Entry>>);

impl FailedPods {
    /// How long failed pods are to be left alone for now; `None` if the next may be replaced.
    pub(super) fn waits(&self, place: &Place, now: Timestamp) -> Option<Duration> {
        let entry = self.0.lock().get(place).copied()?;
        let delay = BACKOFF.delay(entry.failures);
        let waited = now.duration_since(entry.since);
        (waited < SignedDuration::try_from(delay).unwrap_or(SignedDuration::MAX)).then_some(delay)
    }

    /// Notes a replacement: the next waits longer. Forgets failures of long ago.
    pub(super) fn replaced(&self, place: &Place, now: Timestamp) {
        let mut entries = self.0.lock();
        let forgotten = SignedDuration::try_from(BACKOFF.cap * 2).unwrap_or(SignedDuration::MAX);
        entries.retain(|_, entry| now.duration_since(entry.since) <= forgotten);
        let next = entries.get(place).map_or(0, |entry| entry.failures.saturating_add(1));
        entries.insert(place.clone(), Entry { failures: next, since: now });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_replacement_waits_twice_as_long() {
        let failed = FailedPods::default();
        let place = ("u".to_owned(), 1, "n1".to_owned());
        let at = |second| Timestamp::from_second(second).expect("a time");
        assert_eq!(failed.waits(&place, at(0)), None);
        failed.replaced(&place, at(0));
        assert_eq!(failed.waits(&place, at(0)), Some(Duration::from_secs(1)));
        assert_eq!(failed.waits(&place, at(1)), None);
        failed.replaced(&place, at(1));
        assert_eq!(failed.waits(&place, at(2)), Some(Duration::from_secs(2)));
        assert_eq!(failed.waits(&("u".to_owned(), 2, "n1".to_owned()), at(2)), None, "a new generation begins anew");
        failed.replaced(&place, at(10_000));
        assert_eq!(failed.waits(&place, at(10_000)), Some(Duration::from_secs(1)), "long ago is forgotten");
    }
}
