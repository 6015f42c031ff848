//! What a controller waits to see before it acts again.
//!
//! After creating or deleting objects, a controller's cache still shows the state before. Acting on that state would
//! create or delete again. So the controller notes what it expects to see, handlers strike off what arrives, and the
//! controller leaves a key alone until everything arrived. If something never does (a lost event, a failed request
//! that was not struck off), the expectation expires after [`EXPIRY`].

use std::collections::{HashMap, HashSet};
use std::hash::Hash;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

/// After this an expectation no longer holds its key back (upstream `ExpectationsTimeout`).
pub const EXPIRY: Duration = Duration::from_secs(300);

/// Expectations by the controlling object. Its UID makes the best key: an object that was made again under the same name
/// waits for nothing that its predecessor did.
///
/// Only what is still expected takes memory.
pub struct Expectations<K>(Mutex<HashMap<K, Expected>>);

struct Expected {
    creations: usize,
    deletions: HashSet<String>,
    since: Instant,
}

impl Expected {
    /// Whether everything was seen, or time is up.
    fn is_over(&self) -> bool {
        (self.creations == 0 && self.deletions.is_empty()) || self.since.elapsed() > EXPIRY
    }
}

impl<K> Default for Expectations<K> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<K: Clone + Eq + Hash> Expectations<K> {
    /// Expects this many new objects, and nothing from before.
    pub fn expect_creations(&self, key: &K, count: usize) {
        self.expect(key, count, HashSet::new());
    }

    /// Expects these objects, named by UID, to go, and nothing from before.
    pub fn expect_deletions(&self, key: &K, uids: impl IntoIterator<Item = String>) {
        self.expect(key, 0, uids.into_iter().collect());
    }

    /// Expects new objects and objects to go, and nothing from before.
    pub fn expect(&self, key: &K, creations: usize, deletions: HashSet<String>) {
        let expected = Expected { creations, deletions, since: Instant::now() };
        let mut all = self.0.lock();
        // Those of objects that went while they were worked on are forgotten by nobody else.
        all.retain(|_, old| !old.is_over());
        all.insert(key.clone(), expected);
    }

    /// Strikes off a new object: seen, or its request failed.
    pub fn creation_observed(&self, key: &K) {
        self.strike_off(key, |expected| expected.creations = expected.creations.saturating_sub(1));
    }

    /// Strikes off an object that went: seen gone or going, or its request failed.
    pub fn deletion_observed(&self, key: &K, uid: &str) {
        self.strike_off(key, |expected| {
            expected.deletions.remove(uid);
        });
    }

    fn strike_off(&self, key: &K, what: impl FnOnce(&mut Expected)) {
        let mut all = self.0.lock();
        let Some(expected) = all.get_mut(key) else { return };
        what(expected);
        if expected.is_over() {
            all.remove(key);
        }
    }

    /// Whether the key may be worked on.
    pub fn satisfied(&self, key: &K) -> bool {
        self.0.lock().get(key).is_none_or(Expected::is_over)
    }

    /// Whether an object is still expected to go.
    pub fn expects_deletion(&self, key: &K, uid: &str) -> bool {
        self.0.lock().get(key).is_some_and(|expected| expected.deletions.contains(uid))
    }

    /// Forgets a key, when its object is gone.
    pub fn forget(&self, key: &K) {
        self.0.lock().remove(key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn holds_until_everything_was_seen_or_time_is_up() {
        let expectations = Expectations::default();
        assert!(expectations.satisfied(&"rs"));
        expectations.expect(&"rs", 2, HashSet::from(["u1".to_owned()]));
        expectations.creation_observed(&"rs");
        expectations.deletion_observed(&"rs", "another");
        assert!(!expectations.satisfied(&"rs"));
        expectations.creation_observed(&"rs");
        expectations.deletion_observed(&"rs", "u1");
        assert!(expectations.satisfied(&"rs"));
        assert!(expectations.0.lock().is_empty(), "what was seen takes no memory");
        expectations.expect_creations(&"rs", 1);
        assert!(!expectations.satisfied(&"rs"));
        tokio::time::advance(EXPIRY + Duration::from_secs(1)).await;
        assert!(expectations.satisfied(&"rs"));
        expectations.expect_creations(&"another", 1);
        assert_eq!(expectations.0.lock().len(), 1, "what never came is forgotten");
    }
}
