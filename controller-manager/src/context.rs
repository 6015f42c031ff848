//! What every controller gets.

use std::sync::Arc;

use jiff::Timestamp;
use kube::Client;
use skiff_client::{EventRecorder, Informer, Kind, SharedInformers};
use tokio_util::sync::CancellationToken;

use crate::config::Config;

/// The world of a controller: how to read, how to write, what time it is, when to stop. Cheap to clone.
#[derive(Clone)]
pub struct Context {
    /// Configuration of the whole controller manager.
    pub config: Arc<Config>,
    /// For writes, and for the rare read that must not come from a cache.
    pub client: Client,
    /// For reads.
    pub informers: SharedInformers,
    /// Cancelled when it is time to stop.
    pub shutdown: CancellationToken,
}

impl Context {
    /// Puts the parts together.
    pub fn new(config: Config, client: Client, informers: SharedInformers, shutdown: CancellationToken) -> Self {
        Self { config: Arc::new(config), client, informers, shutdown }
    }

    /// The same world for one controller, which writes as its own account, or as the controller manager if it has none.
    pub fn of(&self, account: &str) -> Self {
        let mut own = self.clone();
        if let Some(accounts) = self.config.accounts.as_ref().filter(|_| !account.is_empty()) {
            own.client = accounts(account);
        }
        own
    }

    /// The shared informer of a kind.
    pub fn informer<K: Kind>(&self) -> Informer<K> {
        self.informers.get()
    }

    /// A recorder of events under a controller's name.
    pub fn recorder(&self, component: &str) -> EventRecorder {
        EventRecorder::spawn_with_clock(
            self.client.clone(),
            component,
            "",
            self.shutdown.clone(),
            self.config.clock.clone(),
        )
    }

    /// The time of day.
    pub fn now(&self) -> Timestamp {
        self.config.clock.now()
    }

    /// Waits until an informer has seen its whole collection; `false` if shutdown came first.
    pub async fn synced<K: Kind>(&self, informer: &Informer<K>) -> bool {
        tokio::select! {
            () = self.shutdown.cancelled() => false,
            () = informer.wait_synced() => true,
        }
    }
}
