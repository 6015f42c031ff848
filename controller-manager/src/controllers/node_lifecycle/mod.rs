//! Node lifecycle: notices nodes that are no longer heard of, marks their pods as not ready, and puts the taints on
//! nodes that keep pods away or drive them away ([`super::taint_eviction`] does the driving).
//!
//! Upstream: `pkg/controller/nodelifecycle`. A node that comes back loses its taints at once.

mod health;
mod taints;

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use parking_lot::Mutex;
use serde_json::json;
use skiff_client::clock::format_time;
use skiff_client::objects::PatchKind;
use skiff_client::types::{Lease, Node, Pod, condition_is_true};
use skiff_client::{Event, EventRecorder, EventType, Informer, ObjectReference, Objects, Scope, Workqueue};
use tracing::{info, warn};

use crate::context::Context;
use crate::control_loop::{self, Next, Reconciler, unless_gone};
use health::{Evictions, Heartbeats};

const NAME: &str = "node-lifecycle-controller";
/// Pods by their node.
pub(super) const NODE_INDEX: &str = "node";
/// Where kubelets renew their Leases.
const LEASES: &str = "kube-node-lease";

struct Controller {
    context: Context,
    nodes: Informer<Node>,
    pods: Informer<Pod>,
    heartbeats: Mutex<Heartbeats>,
    /// When the next node may be marked for eviction.
    next_eviction: Mutex<Timestamp>,
    recorder: EventRecorder,
}

/// Runs the controller.
pub async fn run(context: Context) -> anyhow::Result<()> {
    let leases: Informer<Lease> = context.informers.get_scoped(Scope { namespace: LEASES.into(), ..Scope::default() });
    let controller = Arc::new(Controller {
        nodes: context.informer(),
        pods: context.informer(),
        heartbeats: Mutex::default(),
        next_eviction: Mutex::new(Timestamp::MIN),
        recorder: context.recorder("node-controller"),
        context: context.clone(),
    });
    controller.pods.add_index(NODE_INDEX, node_index);
    let queue = Workqueue::new();
    let (to, owner) = (queue.clone(), controller.clone());
    controller.nodes.add_handler(move |event| {
        let node = event.object();
        match event {
            Event::Deleted(_) => owner.heartbeats.lock().forget(&node.metadata.name),
            _ => owner.heartbeats.lock().status(node, owner.context.now()),
        }
        to.add(node.metadata.name.clone());
    });
    let owner = controller.clone();
    leases.add_handler(move |event| {
        let lease = event.object();
        owner.heartbeats.lock().renewed(&lease.metadata.name, lease.spec.renew_time, owner.context.now());
    });
    let synced = context.synced(&controller.nodes).await
        && context.synced(&controller.pods).await
        && context.synced(&leases).await;
    if !synced {
        return Ok(());
    }
    control_loop::run(NAME, &context, queue, controller).await
}

/// The node a pod is bound to.
pub(super) fn node_index(pod: &Pod) -> Vec<String> {
    if pod.spec.node_name.is_empty() { Vec::new() } else { vec![pod.spec.node_name.clone()] }
}

#[async_trait::async_trait]
impl Reconciler for Controller {
    type Key = String;

    async fn reconcile(&self, name: &String) -> anyhow::Result<Next> {
        let Some(node) = self.nodes.get_by_name("", name) else { return Ok(Next::Event) };
        let now = self.context.now();
        let silence = self.heartbeats.lock().silence(name, now);
        let patience = self.patience(&node);
        if silence >= patience {
            if let Some(patch) = health::unknown_conditions(&node, now) {
                info!(node = name, ?silence, "a node is no longer heard of");
                let api = Objects::<Node>::cluster(&self.context.client);
                unless_gone(api.patch(name, "status", PatchKind::Strategic, &patch).await)?;
                let about = ObjectReference::to(&*node);
                let message = format!("Node {name} status is now: NodeNotReady");
                self.recorder.event(&about, EventType::Normal, "NodeNotReady", message);
                // The change comes back as an event, and the rest follows from it.
                return Ok(Next::After(self.context.config.node_monitor_period));
            }
        }
        let waiting = self.write_taints(&node, now).await?;
        if !condition_is_true(&node.status.conditions, "Ready") {
            self.mark_pods_not_ready(&node, now).await?;
        }
        let next = if waiting || silence >= patience {
            self.context.config.node_monitor_period
        } else {
            // Not a moment before it could have been silent for too long: an idle cluster costs nothing.
            patience - silence + Duration::from_millis(1)
        };
        Ok(Next::After(next))
    }
}

impl Controller {
    /// How long the node may be silent: a new one has more time.
    fn patience(&self, node: &Node) -> Duration {
        let config = &self.context.config;
        if node.status.conditions.is_empty() {
            config.node_startup_grace_period
        } else {
            config.node_monitor_grace_period
        }
    }

    /// Writes the taints that should be there. Says whether one has to wait for its turn.
    async fn write_taints(&self, node: &Node, now: Timestamp) -> anyhow::Result<bool> {
        let config = &self.context.config;
        let evictions =
            health::evictions(&self.nodes.list(), config.node_eviction_rate, config.unhealthy_zone_threshold);
        let plan = taints::plan(node, evictions, || self.take_turn(evictions, now), now);
        if let Some(taints) = plan.taints {
            let patch = json!({
                "metadata": {"resourceVersion": node.metadata.resource_version},
                "spec": {"taints": taints},
            });
            let api = Objects::<Node>::cluster(&self.context.client);
            unless_gone(api.patch(&node.metadata.name, "", PatchKind::Merge, &patch).await)?;
        }
        Ok(plan.waiting)
    }

    /// Whether a node may be marked for eviction now.
    fn take_turn(&self, evictions: Evictions, now: Timestamp) -> bool {
        let Evictions::Rate(rate) = evictions else { return false };
        let mut next = self.next_eviction.lock();
        if rate <= 0.0 || now < *next {
            return false;
        }
        *next = now + Duration::from_secs_f64(1.0 / rate);
        true
    }

    /// Nobody can say that they are ready, so Services must not send them anything.
    async fn mark_pods_not_ready(&self, node: &Node, now: Timestamp) -> anyhow::Result<()> {
        for pod in self.pods.by_index(NODE_INDEX, &node.metadata.name) {
            if !pod.is_ready() || pod.is_terminal() {
                continue;
            }
            let patch = json!({"metadata": {"uid": pod.metadata.uid}, "status": {"conditions": [
                {"type": "Ready", "status": "False", "lastTransitionTime": format_time(now)}]}});
            let api = Objects::<Pod>::namespaced(&self.context.client, &pod.metadata.namespace);
            match unless_gone(api.patch(&pod.metadata.name, "status", PatchKind::Strategic, &patch).await) {
                Ok(_) => {
                    let about = ObjectReference::to(&*pod);
                    self.recorder.event(&about, EventType::Warning, "NodeNotReady", "Node is not ready");
                }
                Err(error) => warn!(pod = %pod.metadata.key(), %error, "cannot mark a pod as not ready"),
            }
        }
        Ok(())
    }
}
