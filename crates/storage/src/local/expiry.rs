//! Which keys are to be deleted when. Deadlines are wall-clock seconds because they survive a restart.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Seconds since the epoch; 0 stands for never.
pub(crate) type UnixSeconds = u64;

pub(crate) fn unix_now() -> UnixSeconds {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// The deadline of something written now: rounded up, so that nothing goes early.
pub(crate) fn deadline(ttl: Duration) -> UnixSeconds {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let at = now + ttl;
    at.as_secs() + u64::from(at.subsec_nanos() > 0)
}

/// Keys with a deadline.
#[derive(Default)]
pub(crate) struct Expiry {
    by_time: BTreeSet<(UnixSeconds, Arc<str>)>,
    by_key: HashMap<Arc<str>, UnixSeconds>,
}

impl Expiry {
    /// Sets the deadline of a key, or with 0 removes it.
    pub(crate) fn set(&mut self, key: &Arc<str>, at: UnixSeconds) {
        if let Some(old) = self.by_key.remove(key) {
            self.by_time.remove(&(old, key.clone()));
        }
        if at != 0 {
            self.by_key.insert(key.clone(), at);
            self.by_time.insert((at, key.clone()));
        }
    }

    /// The deadline of a key, 0 for none.
    pub(crate) fn get(&self, key: &str) -> UnixSeconds {
        self.by_key.get(key).copied().unwrap_or(0)
    }

    /// The earliest deadline.
    pub(crate) fn next(&self) -> Option<UnixSeconds> {
        self.by_time.first().map(|(at, _)| *at)
    }

    /// At most `limit` keys whose deadline has passed.
    pub(crate) fn due(&self, now: UnixSeconds, limit: usize) -> Vec<Arc<str>> {
        self.by_time.iter().take_while(|(at, _)| *at <= now).take(limit).map(|(_, key)| key.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_deadline_replaces_the_old_one() {
        let mut expiry = Expiry::default();
        let (a, b): (Arc<str>, Arc<str>) = ("/a".into(), "/b".into());
        expiry.set(&a, 10);
        expiry.set(&b, 20);
        expiry.set(&a, 30);
        assert_eq!(expiry.next(), Some(20));
        assert_eq!(expiry.due(25, 10), std::slice::from_ref(&b));
        assert_eq!(expiry.due(30, 1), std::slice::from_ref(&b));
        expiry.set(&b, 0);
        assert_eq!((expiry.get("/a"), expiry.get("/b")), (30, 0));
        assert_eq!(expiry.due(30, 10), [a]);
    }
}
