//! Keeps an informer's store equal to the server's collection: list, then watch, for ever.

use std::time::Duration;

use kube::Client;
use tracing::{debug, warn};

use super::Informer;
use crate::backoff::Exponential;
use crate::errors::is_expired;
use crate::resource::Object;
use crate::watch::{Source, WATCH_SECONDS, Watch, WatchEvent};

/// Delays between attempts that fail (upstream's reflector starts at 0.8 s; in memory and on loopback less is fair).
const BACKOFF: Exponential = Exponential { base: Duration::from_millis(100), cap: Duration::from_secs(30) };
/// A watch without any end after its time is dead: the longest it was asked to live, and a margin.
const WATCH_DEADLINE: Duration = Duration::from_secs(2 * WATCH_SECONDS as u64 + 60);
/// How long a list may take in all.
const LIST_DEADLINE: Duration = Duration::from_secs(120);

/// Where the copy stands. Every failure leads to a state from which the loop recovers by itself.
enum State {
    /// Nothing usable is known: list. Entered at the start and when the server no longer remembers our version.
    Unlisted,
    /// The store shows this resource version: watch from it. Entered after a list, when a watch ends, and when one
    /// fails for another reason than its version.
    At(String),
}

pub(super) struct Reflector<K> {
    client: Client,
    source: Source,
    informer: Informer<K>,
}

impl<K: Object> Reflector<K> {
    pub(super) fn new(client: Client, source: Source, informer: Informer<K>) -> Self {
        Self { client, source, informer }
    }

    /// Never returns; dropping the future stops it.
    pub(super) async fn run(self) {
        let mut state = State::Unlisted;
        let mut failures = 0;
        loop {
            let (next, outcome) = match state {
                State::Unlisted => self.list().await,
                State::At(version) => self.watch(version).await,
            };
            state = next;
            match outcome {
                Ok(()) => failures = 0,
                Err(error) if is_expired(&error) => {
                    debug!(resource = %self.source.resource, "resource version expired, listing again");
                    state = State::Unlisted;
                    tokio::time::sleep(BACKOFF.jittered(failures, 1.0)).await;
                    failures += 1;
                }
                Err(error) => {
                    let delay = BACKOFF.jittered(failures, 1.0);
                    failures += 1;
                    // The first failures are those of a server that is starting or restarting.
                    if failures > 3 {
                        warn!(resource = %self.source.resource, %error, ?delay, "cannot list or watch, will retry");
                    } else {
                        debug!(resource = %self.source.resource, %error, ?delay, "cannot list or watch, will retry");
                    }
                    tokio::time::sleep(delay).await;
                }
            }
        }
    }

    async fn list(&self) -> (State, kube::Result<()>) {
        match tokio::time::timeout(LIST_DEADLINE, self.source.list(&self.client)).await {
            Ok(Ok((objects, version))) => {
                self.informer.replace(objects);
                (State::At(version), Ok(()))
            }
            Ok(Err(error)) => (State::Unlisted, Err(error)),
            Err(elapsed) => (State::Unlisted, Err(kube::Error::Service(elapsed.into()))),
        }
    }

    /// Follows one watch to its end. A watch that ends without having said anything counts as a failure, so that a
    /// server which closes at once is not asked in a hot loop.
    async fn watch(&self, mut version: String) -> (State, kube::Result<()>) {
        let deadline = tokio::time::Instant::now() + WATCH_DEADLINE;
        let opened = tokio::time::Instant::now();
        let mut heard = false;
        let outcome = tokio::time::timeout_at(deadline, async {
            let mut watch = self.source.watch(&self.client, &version).await?;
            self.follow(&mut watch, &mut version, &mut heard).await
        })
        .await;
        let outcome = match outcome {
            Ok(Ok(())) if heard || opened.elapsed() > Duration::from_secs(1) => Ok(()),
            Ok(Ok(())) => Err(kube::Error::Service("the watch ended at once without an event".into())),
            Ok(Err(error)) => Err(error),
            Err(elapsed) => Err(kube::Error::Service(elapsed.into())),
        };
        (State::At(version), outcome)
    }

    async fn follow(&self, watch: &mut Watch, version: &mut String, heard: &mut bool) -> kube::Result<()> {
        while let Some(event) = watch.next::<K>().await? {
            *heard = true;
            match event {
                WatchEvent::Applied(object) => {
                    version.replace_range(.., object.resource_version());
                    self.informer.apply(object);
                }
                WatchEvent::Deleted(object) => {
                    version.replace_range(.., object.resource_version());
                    self.informer.remove(object);
                }
                WatchEvent::Bookmark(at) => *version = at,
            }
        }
        Ok(())
    }
}
