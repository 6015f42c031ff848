//! Retrying a read-modify-write that lost a race.

use std::time::Duration;

use crate::backoff::Exponential;
use crate::errors::is_conflict;

/// Tries before a conflict is given back to the caller (upstream `retry.DefaultRetry`).
pub const CONFLICT_TRIES: u32 = 5;

/// Runs `attempt` until it does something else than conflict, at most [`CONFLICT_TRIES`] times. The attempt must read
/// the object anew each time.
pub async fn retry_on_conflict<T, F, Fut>(mut attempt: F) -> kube::Result<T>
where
    F: FnMut() -> Fut,
    Fut: Future<Output = kube::Result<T>>,
{
    let backoff = Exponential { base: Duration::from_millis(10), cap: Duration::from_millis(100) };
    for failures in 0.. {
        match attempt().await {
            Err(error) if is_conflict(&error) && failures + 1 < CONFLICT_TRIES => {
                tokio::time::sleep(backoff.jittered(failures, 0.1)).await;
            }
            done => return done,
        }
    }
    unreachable!("the last try returns")
}
