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

/// Expectations by the key of the controlling object.
pub struct Expectations<K>(Mutex<HashMap<K, Expected>>);

struct Expected {
    creations: usize,
    deletions: HashSet<String>,
    since: Instant,
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
        self.0.lock().insert(key.clone(), expected);
    }

    /// Strikes off a new object: seen, or its request failed.
    pub fn creation_observed(&self, key: &K) {
        if let Some(expected) = self.0.lock().get_mut(key) {
            expected.creations = expected.creations.saturating_sub(1);
        }
    }

    /// Strikes off an object that went: seen gone or going, or its request failed.
    pub fn deletion_observed(&self, key: &K, uid: &str) {
        if let Some(expected) = self.0.lock().get_mut(key) {
            expected.deletions.remove(uid);
        }
    }

    /// Whether the key may be worked on.
    pub fn satisfied(&self, key: &K) -> bool {
        self.0.lock().get(key).is_none_or(|expected| {
            (expected.creations == 0 && expected.deletions.is_empty()) || expected.since.elapsed() > EXPIRY
        })
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
        expectations.expect_creations(&"rs", 1);
        assert!(!expectations.satisfied(&"rs"));
        tokio::time::advance(EXPIRY + Duration::from_secs(1)).await;
        assert!(expectations.satisfied(&"rs"));
    }
}
