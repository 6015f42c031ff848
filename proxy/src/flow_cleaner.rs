//! Removes UDP flows to endpoints that are gone, beside the writing of rules: a look at all flows of a busy node takes
//! some tenths of a second, which no change of rules should wait for.

use std::collections::BTreeSet;

use tokio::task::JoinHandle;
use tracing::{debug, warn};

use crate::conntrack;
use crate::model::{Key, Protocol};
use crate::tracker::Tracker;

/// One look at a time; Services that change meanwhile wait for the next one.
#[derive(Default)]
pub struct FlowCleaner {
    services: BTreeSet<Key>,
    running: Option<JoinHandle<skiff_netlink::Result<usize>>>,
}

impl FlowCleaner {
    /// These Services have changed, and their rules are written: flows by the old rules may be left.
    pub fn add(&mut self, services: BTreeSet<Key>, tracker: &Tracker) {
        self.services.extend(services);
        self.start(tracker);
    }

    /// Waits for the end of a look, and starts the next one if there is need.
    pub async fn step(&mut self, tracker: &Tracker) {
        let Some(running) = &mut self.running else { return std::future::pending().await };
        match running.await {
            Ok(Ok(0)) => {}
            Ok(Ok(removed)) => debug!(removed, "removed flows to endpoints that are gone"),
            Ok(Err(error)) => warn!(%error, "cannot remove UDP flows to endpoints that are gone"),
            Err(error) => warn!(%error, "removal of old UDP flows ended badly"),
        }
        self.running = None;
        self.start(tracker);
    }

    fn start(&mut self, tracker: &Tracker) {
        if self.running.is_some() {
            return;
        }
        let services = std::mem::take(&mut self.services);
        let frontends: Vec<conntrack::Frontend> = tracker.with(|tracked| {
            services.iter().flat_map(|key| conntrack::frontends(&tracked.state, key, Protocol::Udp)).collect()
        });
        if !frontends.is_empty() {
            self.running = Some(tokio::task::spawn_blocking(move || conntrack::remove_stale(&frontends)));
        }
    }
}
