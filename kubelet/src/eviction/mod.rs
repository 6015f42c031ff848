//! Keeps the node alive: when memory, disk or processes run short it takes no further pods, makes room, and in the end
//! fails pods, the least important first (upstream: `pkg/kubelet/eviction`).

mod limits;
pub(crate) mod pressure;
mod rank;
pub(crate) mod thresholds;
mod usage;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use skiff_client::EventType;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use self::pressure::{Observation, Observations, Watch, is_passed};
use self::thresholds::{Condition, EvictionPolicy, Resource, Signal, Threshold};
use crate::context::Context;
use crate::images::gc::ImageGc;
use crate::node::machine::{Available, Machine};
use crate::pod::PodExt;
use crate::pod_workers::{PodWorkers, WorkerState};
use crate::spec::qos::is_critical;
use crate::status::generate::Verdicted;
use crate::sync::gc;

/// Time between looks.
const PERIOD: Duration = Duration::from_secs(10);
/// Time between looks at what limited pods have on the disk.
const LIMITS_PERIOD: Duration = Duration::from_secs(60);
/// How long a pod that was failed is waited for before the next one, and how often it is looked at.
const CLEANUP_PATIENCE: Duration = Duration::from_secs(30);
const CLEANUP_POLL: Duration = Duration::from_secs(1);
/// Seconds that a pod gets when there is no time.
const AT_ONCE: i64 = 1;
/// Reason of pods that were failed, and of pods that are not taken.
pub(crate) const EVICTED: &str = "Evicted";

/// The node's conditions, as they change.
pub(crate) type Conditions = watch::Receiver<BTreeSet<Condition>>;

/// Looks after the node.
pub(crate) struct Eviction {
    pub(crate) ctx: Arc<Context>,
    pub(crate) workers: PodWorkers,
    pub(crate) images: ImageGc,
    /// Folder whose file system pods use.
    pub(crate) root: PathBuf,
    pub(crate) policy: EvictionPolicy,
    pub(crate) conditions: watch::Sender<BTreeSet<Condition>>,
}

impl Eviction {
    /// Looks after the node until `shutdown`. The error names what is wrong with the policy.
    pub(crate) async fn run(self, shutdown: CancellationToken) {
        let thresholds = match self.policy.thresholds() {
            Ok(thresholds) => thresholds,
            // The configuration was checked before; there is nothing to hold then.
            Err(_) => return,
        };
        let (mut watch, mut limits_at) = (Watch::default(), Instant::now());
        loop {
            let pod = self.round(&thresholds, &mut watch, &mut limits_at).await;
            let pause = async {
                match pod {
                    Some(pod) => self.until_gone(&pod).await,
                    None => tokio::time::sleep(PERIOD).await,
                }
            };
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = pause => {}
            }
        }
    }

    /// One look. Answers a pod that was failed.
    async fn round(&self, thresholds: &[Threshold], watch: &mut Watch, limits_at: &mut Instant) -> Option<Arc<Pod>> {
        let observed = self.observe().await;
        let (conditions, due) =
            watch.look(thresholds, &observed, self.policy.pressure_transition_period, Instant::now());
        self.conditions.send_if_modified(|known| {
            let changed = *known != conditions;
            known.clone_from(&conditions);
            changed
        });
        if limits_at.elapsed() >= LIMITS_PERIOD {
            *limits_at = Instant::now();
            if let Some(pod) = self.hold_limits().await {
                return Some(pod);
            }
        }
        let threshold = due.first()?;
        let resource = threshold.signal.resource();
        let message = format!("Attempting to reclaim {}", resource.as_str());
        let node = &self.ctx.settings.node_name;
        self.ctx.events.node(node, EventType::Warning, "EvictionThresholdMet", message);
        if matches!(resource, Resource::EphemeralStorage | Resource::Inodes) {
            self.make_room().await;
            let observed = self.observe().await;
            if !thresholds.iter().any(|threshold| is_passed(threshold, &observed, true)) {
                return None;
            }
        }
        self.fail_one(threshold, &observed).await
    }

    async fn observe(&self) -> Observations {
        let (machine, mut seen) = (Machine::read(), Observations::new());
        let Ok(available) = Available::read(&self.root) else { return seen };
        let mut add = |signal, available, capacity| {
            if capacity > 0 {
                seen.insert(signal, Observation { available, capacity });
            }
        };
        add(Signal::MemoryAvailable, available.memory, machine.memory);
        add(Signal::NodeFsAvailable, available.disk.free, available.disk.size);
        add(Signal::NodeFsInodesFree, available.disk.inodes_free, available.disk.inodes);
        add(Signal::PidAvailable, available.pids, available.pids_max);
        match self.images.disk().await {
            Ok(disk) => {
                add(Signal::ImageFsAvailable, disk.free, disk.size);
                add(Signal::ImageFsInodesFree, disk.inodes_free, disk.inodes);
            }
            Err(error) => tracing::debug!(%error, "cannot look at the images' disk"),
        }
        seen
    }

    /// Removes the containers of pods that are over, and images that nobody uses.
    async fn make_room(&self) {
        let over = self.workers.pods().into_iter().filter(|(_, state)| *state == WorkerState::Finished);
        for (pod, _) in over {
            match self.ctx.runtime.observe(pod.uid()).await {
                Ok(observed) => gc::remove_ended(&self.ctx, &observed).await,
                Err(error) => {
                    tracing::debug!(%error, pod = %pod.display(), "cannot remove the containers of a pod yet")
                }
            }
        }
        if let Err(error) = self.images.remove_unused().await {
            tracing::warn!(%error, "cannot remove images that nobody uses");
        }
    }

    fn running(&self) -> Vec<Arc<Pod>> {
        let pods = self.workers.pods().into_iter();
        pods.filter(|(_, state)| *state == WorkerState::Syncing).map(|(pod, _)| pod).collect()
    }

    /// Fails a pod that has more on the disk than it may.
    async fn hold_limits(&self) -> Option<Arc<Pod>> {
        let limited: Vec<_> =
            self.running().into_iter().filter(|pod| limits::has_limits(pod) && !is_critical(pod)).collect();
        if limited.is_empty() {
            return None;
        }
        let used = usage::gather(&self.ctx, limited, true).await.ok()?;
        let (pod, message) =
            used.into_iter().find_map(|(pod, used)| Some((pod.clone(), limits::exceeded(&pod, &used?)?)))?;
        self.evict(&pod, message, AT_ONCE, false);
        Some(pod)
    }

    /// Fails the pod that goes first.
    async fn fail_one(&self, threshold: &Threshold, observed: &Observations) -> Option<Arc<Pod>> {
        let resource = threshold.signal.resource();
        let with_disk = matches!(resource, Resource::EphemeralStorage | Resource::Inodes);
        let mut candidates = match usage::gather(&self.ctx, self.running(), with_disk).await {
            Ok(candidates) => candidates,
            Err(error) => {
                tracing::warn!(%error, "cannot find out what pods use");
                return None;
            }
        };
        rank::rank(&mut candidates, resource);
        let first = candidates.iter().find(|(pod, _)| !is_critical(pod));
        let Some((pod, used)) = first else {
            tracing::warn!(resource = resource.as_str(), "the node is short of something, and no pod can be ended");
            return None;
        };
        let grace = match (threshold.hard, pod.pod_spec().termination_grace_period_seconds) {
            (true, _) => AT_ONCE,
            (false, Some(own)) => own.min(self.policy.max_pod_grace_period),
            (false, None) => self.policy.max_pod_grace_period,
        };
        let seen = observed.get(&threshold.signal).copied().unwrap_or_default();
        self.evict(pod, rank::message(pod, used.as_ref(), threshold, seen), grace, true);
        Some(pod.clone())
    }

    fn evict(&self, pod: &Pod, message: String, grace: i64, disrupted: bool) {
        tracing::warn!(pod = %pod.display(), message, "evicting a pod");
        self.ctx.events.pod_warning(pod, EVICTED, message.clone());
        let disruption = disrupted.then(|| message.clone());
        let verdict = Verdicted { reason: EVICTED.to_owned(), message, disruption };
        self.workers.evict(pod.uid(), verdict, Some(grace));
    }

    /// Waits until a pod is cleaned up, but not for ever.
    async fn until_gone(&self, pod: &Pod) {
        let gone = async {
            let is_left = || {
                let mut pods = self.workers.pods().into_iter();
                pods.any(|(other, state)| other.uid() == pod.uid() && state < WorkerState::Finished)
            };
            while is_left() {
                tokio::time::sleep(CLEANUP_POLL).await;
            }
        };
        let _ = tokio::time::timeout(CLEANUP_PATIENCE, gone).await;
    }
}
