//! Holding back what failed: crashed containers and failed pulls
//! (upstream: client-go `util/flowcontrol/backoff.go`, with the kubelet's 10 s and 5 min).

use std::collections::HashMap;

use jiff::{SignedDuration, Timestamp};
use parking_lot::Mutex;

/// First delay (upstream: `initialBackoff` of containers and images).
pub(crate) const INITIAL: SignedDuration = SignedDuration::from_secs(10);
/// Longest delay (upstream: MaxCrashLoopBackOff).
pub(crate) const MAX: SignedDuration = SignedDuration::from_secs(300);
/// Keys remembered; beyond it, expired ones are forgotten first, then all.
const KEYS_MAX: usize = 10_000;

/// Delays by key that double with every [`Backoff::next`]. A key that was quiet for twice the longest delay starts
/// again from the first.
#[derive(Debug, Default)]
pub(crate) struct Backoff {
    entries: Mutex<HashMap<String, Entry>>,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    delay: SignedDuration,
    updated: Timestamp,
}

impl Entry {
    fn expired(&self, now: Timestamp) -> bool {
        now.duration_since(self.updated) > MAX * 2
    }
}

impl Backoff {
    /// When the delay that follows `event` is over, if that is after `now`.
    pub(crate) fn until(&self, key: &str, event: Timestamp, now: Timestamp) -> Option<Timestamp> {
        let entry = *self.entries.lock().get(key)?;
        let end = event.saturating_add(entry.delay).unwrap_or(Timestamp::MAX);
        (!entry.expired(event) && now < end).then_some(end)
    }

    /// The same, for the delay that follows the last call of [`Backoff::next`].
    pub(crate) fn until_since_update(&self, key: &str, now: Timestamp) -> Option<Timestamp> {
        let updated = self.entries.lock().get(key)?.updated;
        self.until(key, updated, now)
    }

    /// The present delay.
    pub(crate) fn delay(&self, key: &str) -> SignedDuration {
        self.entries.lock().get(key).map_or(SignedDuration::ZERO, |entry| entry.delay)
    }

    /// Notes another try or failure: the next delay is twice as long.
    pub(crate) fn next(&self, key: &str, now: Timestamp) {
        let mut entries = self.entries.lock();
        if entries.len() >= KEYS_MAX && !entries.contains_key(key) {
            entries.retain(|_, entry| !entry.expired(now));
            if entries.len() >= KEYS_MAX {
                entries.clear();
            }
        }
        let delay = match entries.get(key) {
            Some(entry) if !entry.expired(now) => (entry.delay * 2).min(MAX),
            _ => INITIAL,
        };
        entries.insert(key.to_owned(), Entry { delay, updated: now });
    }

    /// Forgets keys that begin with `prefix`.
    pub(crate) fn forget(&self, prefix: &str) {
        self.entries.lock().retain(|key, _| !key.starts_with(prefix));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_700_000_000 + second).expect("a time")
    }

    #[test]
    fn the_first_restart_is_at_once_then_delays_double() {
        let backoff = Backoff::default();
        let mut finished = 0;
        let mut delays = Vec::new();
        for _ in 0..8 {
            let end = backoff.until("k", at(finished), at(finished));
            let wait = end.map_or(0, |end| end.as_second() - at(finished).as_second());
            delays.push(wait);
            finished += wait;
            backoff.next("k", at(finished));
        }
        assert_eq!(delays, [0, 10, 20, 40, 80, 160, 300, 300]);
    }

    #[test]
    fn the_time_that_is_waited_is_no_quiet_time() {
        let backoff = Backoff::default();
        (0..6).for_each(|_| backoff.next("k", at(0)));
        assert_eq!(backoff.delay("k"), MAX);
        // It ran for nine minutes, and the delay goes on beyond twice the longest one.
        assert_eq!(backoff.until("k", at(540), at(601)), Some(at(840)));
        assert_eq!(backoff.until("k", at(601), at(601)), None);
    }

    #[test]
    fn a_quiet_key_starts_again() {
        let backoff = Backoff::default();
        backoff.next("k", at(0));
        backoff.next("k", at(1));
        assert_eq!(backoff.delay("k").as_secs(), 20);
        assert_eq!(backoff.until("k", at(1000), at(1000)), None);
        backoff.next("k", at(1000));
        assert_eq!(backoff.delay("k").as_secs(), 10);
        assert_eq!(backoff.until_since_update("k", at(1005)), Some(at(1010)));
        assert_eq!(backoff.until_since_update("k", at(1010)), None);
        backoff.forget("k");
        assert_eq!(backoff.delay("k"), SignedDuration::ZERO);
    }
}
