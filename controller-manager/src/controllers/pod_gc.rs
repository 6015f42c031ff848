//! Pod garbage collector: takes away pods that nobody else will, because their node is gone or out of service, they
//! never had one, or too many have ended.
//!
//! Upstream: `pkg/controller/podgc`.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use skiff_client::clock::format_time;
use skiff_client::objects::{DeleteOptions, PatchKind};
use skiff_client::types::{Node, Pod, condition_is_true};
use skiff_client::{Informer, Objects};
use tokio::time::Instant;
use tracing::{info, warn};

use crate::context::Context;
use crate::control_loop::unless_gone;

/// How often pods are looked over (upstream `gcCheckPeriod`).
const PERIOD: Duration = Duration::from_secs(20);
/// How long a node must be missing before its pods go (upstream `quarantineTime`).
const QUARANTINE: Duration = Duration::from_secs(40);
/// The taint by which an administrator says that a node is shut down for good.
const OUT_OF_SERVICE: &str = "node.kubernetes.io/out-of-service";

struct Controller {
    context: Context,
    pods: Informer<Pod>,
    nodes: Informer<Node>,
}

/// Runs the controller.
pub async fn run(context: Context) -> anyhow::Result<()> {
    let controller = Controller { pods: context.informer(), nodes: context.informer(), context: context.clone() };
    if !(context.synced(&controller.pods).await && context.synced(&controller.nodes).await) {
        return Ok(());
    }
    let mut missing = HashMap::new();
    let mut ticks = tokio::time::interval(PERIOD);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = context.shutdown.cancelled() => return Ok(()),
            _ = ticks.tick() => controller.collect(&mut missing).await,
        }
    }
}

/// Why a pod goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reason {
    /// It has ended, and more have than are kept.
    Terminated,
    /// It is being deleted on a node that is out of service.
    OutOfService,
    /// Its node is gone.
    Orphaned,
    /// It is being deleted and never had a node.
    Unscheduled,
}

/// Which pods go. `gone` are the nodes known to be gone. A threshold of 0 keeps all pods that have ended.
fn plan(
    pods: &[Arc<Pod>],
    node: impl Fn(&str) -> Option<Arc<Node>>,
    gone: &HashSet<String>,
    threshold: usize,
) -> Vec<(Arc<Pod>, Reason)> {
    let mut plan: Vec<(Arc<Pod>, Reason)> = Vec::new();
    for pod in pods {
        let (name, deleting) = (&pod.spec.node_name, pod.metadata.is_deleting());
        let reason = if gone.contains(name) {
            Reason::Orphaned
        } else if deleting && name.is_empty() {
            Reason::Unscheduled
        } else if deleting && node(name).is_some_and(|node| is_out_of_service(&node)) {
            Reason::OutOfService
        } else {
            continue;
        };
        plan.push((pod.clone(), reason));
    }
    let mut ended: Vec<&Arc<Pod>> = pods.iter().filter(|pod| pod.is_terminal()).collect();
    if threshold > 0 && ended.len() > threshold {
        let count = ended.len() - threshold;
        // Evicted pods first: the others tell how the work of their controllers ended.
        ended.sort_by_key(|pod| {
            let evicted = pod.status.phase == "Failed" && pod.status.reason == "Evicted";
            (!evicted, pod.metadata.creation_timestamp, pod.metadata.name.as_str())
        });
        let planned: HashSet<String> = plan.iter().map(|(pod, _)| pod.metadata.uid.clone()).collect();
        let surplus = ended.into_iter().take(count).filter(|pod| !planned.contains(&pod.metadata.uid));
        plan.extend(surplus.map(|pod| (pod.clone(), Reason::Terminated)));
    }
    plan
}

fn is_out_of_service(node: &Node) -> bool {
    !condition_is_true(&node.status.conditions, "Ready")
        && node.spec.taints.iter().any(|taint| taint.key == OUT_OF_SERVICE)
}

impl Controller {
    async fn collect(&self, missing: &mut HashMap<String, Instant>) {
        let pods = self.pods.list();
        let gone = self.gone_nodes(&pods, missing).await;
        let threshold = self.context.config.terminated_pod_gc_threshold;
        for (pod, reason) in plan(&pods, |name| self.nodes.get_by_name("", name), &gone, threshold) {
            let key = pod.metadata.key();
            match self.fail_and_delete(&pod, reason).await {
                Ok(()) => info!(pod = %key, ?reason, "deleted a pod that nobody else would"),
                // The next round tries again.
                Err(error) => warn!(pod = %key, ?reason, %error, "cannot delete a pod that nobody else will"),
            }
        }
    }

    /// Nodes that pods name, that have been missing for [`QUARANTINE`], and that the server does not know either.
    async fn gone_nodes(&self, pods: &[Arc<Pod>], missing: &mut HashMap<String, Instant>) -> HashSet<String> {
        let named: HashSet<&str> = pods.iter().map(|pod| pod.spec.node_name.as_str()).collect();
        let unknown = |name: &str| !name.is_empty() && self.nodes.get_by_name("", name).is_none();
        missing.retain(|name, _| named.contains(name.as_str()) && unknown(name));
        for name in named.into_iter().filter(|name| unknown(name)) {
            missing.entry(name.to_owned()).or_insert_with(Instant::now);
        }
        let mut gone = HashSet::new();
        for name in missing.iter().filter(|(_, since)| since.elapsed() >= QUARANTINE).map(|(name, _)| name) {
            match Objects::<Node>::cluster(&self.context.client).get_opt(name).await {
                Ok(None) => drop(gone.insert(name.clone())),
                Ok(Some(_)) => {}
                Err(error) => warn!(node = name, %error, "cannot tell whether a node is gone"),
            }
        }
        gone
    }

    /// Marks a pod failed, as no kubelet will, and deletes it at once.
    async fn fail_and_delete(&self, pod: &Pod, reason: Reason) -> kube::Result<()> {
        let meta = &pod.metadata;
        let api = Objects::<Pod>::namespaced(&self.context.client, &meta.namespace);
        if !pod.is_terminal() {
            let mut patch = json!({"metadata": {"uid": meta.uid}, "status": {"phase": "Failed"}});
            if reason == Reason::Orphaned {
                patch["status"]["conditions"] = json!([{
                    "type": "DisruptionTarget",
                    "status": "True",
                    "reason": "DeletionByPodGC",
                    "message": "PodGC: node no longer exists",
                    "lastTransitionTime": format_time(self.context.now()),
                }]);
            }
            if unless_gone(api.patch(&meta.name, "status", PatchKind::Strategic, &patch).await)?.is_none() {
                return Ok(());
            }
        }
        let mut options = DeleteOptions::with_uid(&meta.uid);
        options.grace_period_seconds = Some(0);
        unless_gone(api.delete(&meta.name, &options).await)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    fn pod(name: &str, node: &str, phase: &str, deleting: bool) -> Arc<Pod> {
        let deleted = deleting.then_some("2026-01-02T03:04:05Z");
        pod_from(json!({
            "metadata": {"name": name, "uid": name, "deletionTimestamp": deleted},
            "spec": {"nodeName": node},
            "status": {"phase": phase},
        }))
    }

    fn pod_from(object: Value) -> Arc<Pod> {
        Arc::new(serde_json::from_value(object).expect("a pod"))
    }

    fn node(name: &str, ready: &str, taint: &str) -> Arc<Node> {
        let object = json!({"metadata": {"name": name}, "spec": {"taints": [{"key": taint, "effect": "NoExecute"}]},
            "status": {"conditions": [{"type": "Ready", "status": ready}]}});
        Arc::new(serde_json::from_value(object).expect("a node"))
    }

    fn check(pods: &[Arc<Pod>], nodes: &[Arc<Node>], gone: &[&str], threshold: usize, expected: &[(&str, Reason)]) {
        let gone = gone.iter().map(|name| (*name).to_owned()).collect();
        let find = |name: &str| nodes.iter().find(|node| node.metadata.name == name).cloned();
        let plan = plan(pods, find, &gone, threshold);
        let found: Vec<_> = plan.iter().map(|(pod, reason)| (pod.metadata.name.as_str(), *reason)).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn pods_without_anyone_to_end_them_go() {
        let down = node("down", "Unknown", OUT_OF_SERVICE);
        let silent = node("silent", "Unknown", "node.kubernetes.io/unreachable");
        let up = node("up", "True", OUT_OF_SERVICE);
        let pods = [
            pod("a", "", "Pending", true),
            pod("b", "", "Pending", false),
            pod("c", "down", "Running", true),
            pod("d", "down", "Running", false),
            pod("e", "silent", "Running", true),
            pod("f", "up", "Running", true),
            pod("g", "gone", "Running", false),
            pod("h", "unsure", "Running", true),
        ];
        let expected = [("a", Reason::Unscheduled), ("c", Reason::OutOfService), ("g", Reason::Orphaned)];
        check(&pods, &[down, silent, up], &["gone"], 0, &expected);
    }

    #[test]
    fn of_those_that_ended_the_evicted_and_then_the_oldest_go() {
        let ended = |name: &str, created: &str, phase: &str, reason: &str| {
            pod_from(json!({"metadata": {"name": name, "uid": name, "creationTimestamp": created},
                "spec": {"nodeName": "n"}, "status": {"phase": phase, "reason": reason}}))
        };
        let pods = [
            ended("new", "2026-01-03T00:00:00Z", "Succeeded", ""),
            ended("old", "2026-01-01T00:00:00Z", "Failed", ""),
            ended("evicted", "2026-01-04T00:00:00Z", "Failed", "Evicted"),
            ended("running", "2026-01-01T00:00:00Z", "Running", ""),
        ];
        check(&pods, &[], &[], 1, &[("evicted", Reason::Terminated), ("old", Reason::Terminated)]);
        check(&pods, &[], &[], 3, &[]);
        check(&pods, &[], &[], 0, &[]);
    }
}
