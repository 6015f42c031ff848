//! Drives a controller: takes keys off its queue, works on several at a time, and brings failures back later.
//!
//! Promises: one key is never worked on twice at a time; a key whose work failed is tried again after 5 ms, 10 ms, and
//! so on up to 1000 s; a panic while working on one key is a failure of that key and of nothing else. The input is
//! the key alone: what to do follows from the state of the world, never from the event that brought the key here.

use std::fmt::{Debug, Display};
use std::hash::Hash;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use anyhow::anyhow;
use futures::FutureExt;
use skiff_client::expectations::EXPIRY;
use skiff_client::{Expectations, Workqueue, errors};
use tokio::task::JoinSet;
use tracing::{debug, warn};

use crate::context::Context;

/// When a key should be looked at again, if nothing happens to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Not before something happens.
    Event,
    /// After this time.
    After(Duration),
}

impl Next {
    /// The earlier of the two.
    pub fn or_earlier(self, other: Next) -> Next {
        match (self, other) {
            (Next::After(a), Next::After(b)) => Next::After(a.min(b)),
            (Next::Event, next) | (next, Next::Event) => next,
        }
    }

    /// The same, and when what is still expected of an object is given up: if it never comes, no event says so.
    pub fn or_given_up<K: Clone + Eq + Hash>(self, expectations: &Expectations<K>, key: &K) -> Next {
        if expectations.satisfied(key) { self } else { self.or_earlier(Next::After(EXPIRY)) }
    }
}

/// Work on keys: observe, plan, apply.
#[async_trait::async_trait]
pub trait Reconciler: Send + Sync + 'static {
    /// What names a piece of work.
    type Key: Clone + Debug + Display + Eq + Hash + Send + Sync + 'static;

    /// Brings the world closer to what is wanted for this key. Must be idempotent.
    async fn reconcile(&self, key: &Self::Key) -> anyhow::Result<Next>;
}

/// Works on the keys of a queue until shutdown.
pub async fn run<R: Reconciler>(
    name: &'static str,
    context: &Context,
    queue: Workqueue<R::Key>,
    reconciler: Arc<R>,
) -> anyhow::Result<()> {
    let mut workers = JoinSet::new();
    for _ in 0..context.config.workers {
        let (queue, reconciler) = (queue.clone(), reconciler.clone());
        workers.spawn(async move {
            while let Some(key) = queue.get().await {
                work(name, &queue, &*reconciler, &key).await;
                queue.done(&key);
            }
        });
    }
    context.shutdown.cancelled().await;
    queue.shut_down();
    // Work in progress is a few requests; a server that does not answer must not hold up the end.
    let finished = tokio::time::timeout(Duration::from_secs(5), workers.join_all()).await;
    if finished.is_err() {
        debug!(controller = name, "stopped with work in progress");
    }
    Ok(())
}

async fn work<R: Reconciler>(name: &str, queue: &Workqueue<R::Key>, reconciler: &R, key: &R::Key) {
    let outcome = AssertUnwindSafe(reconciler.reconcile(key)).catch_unwind().await;
    let outcome = outcome.unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no message");
        Err(anyhow!("panicked: {text}"))
    });
    match outcome {
        Ok(next) => {
            queue.forget(key);
            if let Next::After(delay) = next {
                queue.add_after(key.clone(), delay);
            }
        }
        Err(error) => {
            // Losing a race is how optimistic concurrency works, not a fault.
            if is_conflict(&error) {
                debug!(controller = name, %key, error = format!("{error:#}"), "will retry");
            } else {
                warn!(controller = name, %key, error = format!("{error:#}"), "will retry");
            }
            queue.add_rate_limited(key.clone());
        }
    }
}

/// Whether an error is a lost race.
pub fn is_conflict(error: &anyhow::Error) -> bool {
    error.downcast_ref::<kube::Error>().is_some_and(errors::is_conflict)
}

/// Drops an error that says the object is already gone.
pub fn unless_gone<T>(result: kube::Result<T>) -> kube::Result<Option<T>> {
    match result {
        Err(error) if errors::is_not_found(&error) => Ok(None),
        other => other.map(Some),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use parking_lot::Mutex;

    struct Flaky(Mutex<Vec<tokio::time::Instant>>);

    #[async_trait::async_trait]
    impl Reconciler for Flaky {
        type Key = &'static str;
        async fn reconcile(&self, _: &&'static str) -> anyhow::Result<Next> {
            let tries = {
                let mut tries = self.0.lock();
                tries.push(tokio::time::Instant::now());
                tries.len()
            };
            match tries {
                1 => Err(anyhow!("no")),
                2 => panic!("worse"),
                3 => Ok(Next::After(Duration::from_secs(7))),
                _ => Ok(Next::Event),
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn failures_and_panics_come_back_and_success_ends_the_back_off() {
        let queue = Workqueue::new();
        let reconciler = Flaky(Mutex::default());
        queue.add("key");
        for _ in 0..4 {
            let key = queue.get().await.expect("a key");
            work("test", &queue, &reconciler, &key).await;
            queue.done(&key);
        }
        let tries = reconciler.0.lock();
        let pauses: Vec<u128> = tries.windows(2).map(|pair| (pair[1] - pair[0]).as_millis()).collect();
        assert_eq!(pauses, [5, 10, 7000]);
        assert_eq!(queue.failures(&"key"), 0);
    }
}
