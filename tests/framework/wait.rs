//! Waiting for a state, with a deadline.

use std::fmt::Debug;
use std::time::{Duration, Instant};

/// How long a state may take to come, where no test says less: this is about whether, not how fast.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// How often a state is looked at.
pub const LOOK: Duration = Duration::from_millis(50);

/// Waits until `look` gives `Ok`, and returns it. Panics with what it gave last, after [`PATIENCE`].
#[track_caller]
pub fn eventually<T, E: Debug>(what: &str, look: impl AsyncFnMut() -> Result<T, E>) -> impl Future<Output = T> {
    eventually_within(PATIENCE, what, look)
}

/// The same with another deadline.
#[track_caller]
pub fn eventually_within<T, E: Debug>(
    patience: Duration,
    what: &str,
    mut look: impl AsyncFnMut() -> Result<T, E>,
) -> impl Future<Output = T> {
    let caller = std::panic::Location::caller();
    async move {
        let begun = Instant::now();
        loop {
            let last = match look().await {
                Ok(value) => return value,
                Err(last) => last,
            };
            assert!(begun.elapsed() < patience, "{caller}: not within {patience:?}: {what}; last: {last:?}");
            tokio::time::sleep(LOOK).await;
        }
    }
}
