//! Keeps the kernel in step with the API.
//!
//! What it promises: the table is written only from a complete view (all caches synced), each change of a Service or
//! its endpoints reaches the kernel as one transaction within [`COALESCE`] and the time that `nft` takes, and when the
//! process dies the table stays, so that traffic goes on. What failed is written again, whole, with growing pauses.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::Context;
use kube::Client;
use skiff_client::backoff::Exponential;
use skiff_client::types::{EndpointSlice, Node, Service};
use skiff_client::{Scope, SharedInformers};
use tokio::time::{Instant, MissedTickBehavior, sleep};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use crate::config::Config;
use crate::flow_cleaner::FlowCleaner;
use crate::health::Health;
use crate::kernel::Kernel;
use crate::metrics::Metrics;
use crate::model::Key;
use crate::rules;
use crate::servers::Servers;
use crate::table::{Change, Table};
use crate::tracker::Tracker;

/// How long a change waits for others that come with it.
pub const COALESCE: Duration = Duration::from_millis(5);
/// Pauses after writes that failed.
const RETRY: Exponential = Exponential { base: Duration::from_millis(100), cap: Duration::from_secs(30) };
/// Services and slices that are for this proxy (upstream `cmd/kube-proxy/app/server.go`).
const FOR_THIS_PROXY: &str = "!service.kubernetes.io/service-proxy-name,!service.kubernetes.io/headless";

/// Runs the proxy until shutdown. The rules stay when it returns; [`crate::kernel::cleanup`] removes them.
pub async fn run(config: Config, client: Client, shutdown: CancellationToken) -> anyhow::Result<()> {
    let informers = SharedInformers::new(client, shutdown.child_token());
    let ours = Scope { label_selector: FOR_THIS_PROXY.into(), ..Scope::default() };
    let here = Scope { field_selector: format!("metadata.name={}", config.node_name), ..Scope::default() };
    let services = informers.get_scoped::<Service>(ours.clone());
    let slices = informers.get_scoped::<EndpointSlice>(ours);
    let node = informers.get_scoped::<Node>(here);
    let kernel = Kernel::new(&config).await.context("cannot prepare the node for Services")?;
    let metrics = Metrics::default();
    let health = Health::new(node.clone());
    let mut servers = Servers::new(&config, health.clone(), metrics.clone(), shutdown.clone());
    servers.start().await;
    let tracker = Tracker::new(&services, &slices, &node);
    tokio::select! {
        () = shutdown.cancelled() => return Ok(()),
        () = async { tokio::join!(services.wait_synced(), slices.wait_synced(), node.wait_synced()); } => {}
    }
    info!(services = services.len(), slices = slices.len(), "caches are complete, writing the rules");
    let (table, flows, pending) = (Table::default(), FlowCleaner::default(), Pending::default());
    let syncer = Syncer { config, kernel, table, tracker, health, metrics, servers, flows, pending, failures: 0 };
    syncer.run(shutdown).await;
    Ok(())
}

/// The loop's state.
struct Syncer {
    config: Config,
    kernel: Kernel,
    table: Table,
    tracker: Tracker,
    health: Health,
    metrics: Metrics,
    servers: Servers,
    flows: FlowCleaner,
    pending: Pending,
    /// Writes that failed one after the other.
    failures: u32,
}

/// What follows from a write, once one succeeds.
#[derive(Default)]
struct Pending {
    /// Services whose UDP flows may lead to endpoints that are gone.
    services: BTreeSet<Key>,
    /// When the oldest change arrived.
    since: Option<Instant>,
}

impl Syncer {
    async fn run(mut self, shutdown: CancellationToken) {
        // Checks are a period apart however long they and the writes take.
        let mut checks = tokio::time::interval(self.config.check_period);
        checks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut write_now = true;
        loop {
            if write_now {
                match self.write().await {
                    Ok(()) => self.failures = 0,
                    Err(error) => {
                        self.failures += 1;
                        warn!(%error, failures = self.failures, "cannot write the rules, will retry");
                        self.metrics.failed();
                    }
                }
                checks.reset();
            }
            let failing = self.failures > 0;
            let retry = RETRY.jittered(self.failures.saturating_sub(1), 0.1);
            write_now = tokio::select! {
                () = shutdown.cancelled() => return,
                () = sleep(retry), if failing => true,
                _ = checks.tick(), if !failing => !self.still_there().await,
                () = self.flows.step(&self.tracker) => false,
                () = self.tracker.changed(), if !failing => {
                    sleep(COALESCE).await;
                    true
                }
            };
        }
    }

    /// Whether nobody took the table away; when the kernel cannot be asked, the next check will tell.
    async fn still_there(&mut self) -> bool {
        match self.kernel.check().await {
            Ok(true) => true,
            Ok(false) => {
                warn!("someone removed the rules of Services, writing them again");
                false
            }
            Err(error) => {
                debug!(%error, "cannot look at the rules");
                true
            }
        }
    }

    /// Writes what has changed since the last time.
    async fn write(&mut self) -> anyhow::Result<()> {
        let start = Instant::now();
        let change = self.plan();
        self.health.queued();
        let written = self.kernel.apply(&self.table, &change).await?;
        self.health.updated();
        let Pending { services, since } = std::mem::take(&mut self.pending);
        if written {
            self.metrics.written(start.elapsed(), since.map(|since| since.elapsed()));
            debug!(took = ?start.elapsed(), "wrote the rules");
        }
        self.flows.add(services, &self.tracker);
        let ports = self.tracker.with(|tracked| crate::health::node_ports(&tracked.state, &self.config.node_name));
        self.servers.follow(ports).await;
        Ok(())
    }

    /// Takes what the informers told into the table, and what follows from it into `pending`.
    fn plan(&mut self) -> Change {
        let (config, table, pending, metrics) = (&self.config, &mut self.table, &mut self.pending, &self.metrics);
        self.tracker.with(|tracked| {
            let dirty: BTreeSet<Key> = std::mem::take(&mut tracked.dirty);
            let state = &tracked.state;
            metrics.known(state.services.len(), state.slices.len());
            let since = tracked.since.take();
            pending.since = pending.since.or(since);
            pending.services.extend(dirty.iter().cloned());
            let part = |key: &Key| state.services.get(key).map(|service| rules::build_service(config, state, service));
            table.update(dirty.iter().map(|key| (key.clone(), part(key))))
        })
    }
}
