//! Stopping containers and pods: preStop hooks, grace periods, order
//! (upstream: `pkg/kubelet/kuberuntime/kuberuntime_container.go`, killContainer).

use std::time::Duration;

use futures::future::join_all;
use k8s_openapi::api::core::v1::{Container, Pod};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::PodMemory;
use crate::actions::KillReason;
use crate::context::Context;
use crate::lifecycle::{HookTarget, run_hook};
use crate::observed::{ObservedContainer, ObservedPod};
use crate::pod::PodExt;
use crate::runtime::RuntimeError;
use crate::termination_order::TerminationOrder;

/// Every container gets at least this many seconds to end by itself.
const GRACE_MIN: i64 = 2;

/// Why a container is stopped, and a grace period that overrides the pod's.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct KillReasonGrace {
    pub(crate) reason: KillReason,
    /// Seconds.
    pub(crate) grace_override: Option<i64>,
}

/// The grace period of a container, in seconds: of a deletion in progress, of the failed probe, or of the pod.
fn grace_seconds(pod: &Pod, container: Option<&Container>, kill: KillReasonGrace) -> i64 {
    if let Some(seconds) = kill.grace_override {
        return seconds;
    }
    if let Some(seconds) = pod.metadata.deletion_grace_period_seconds {
        return seconds;
    }
    let probe = match kill.reason {
        KillReason::StartupProbe => container.and_then(|c| c.startup_probe.as_ref()),
        KillReason::LivenessProbe => container.and_then(|c| c.liveness_probe.as_ref()),
        KillReason::Other => None,
    };
    probe.and_then(|probe| probe.termination_grace_period_seconds).unwrap_or_else(|| pod.grace_seconds())
}

/// Stops one container. An empty message stands for the usual one. Once `ending` fires the container is not waited for any
/// more: the pod as a whole ends then, maybe with a shorter grace period, and it asks the container again.
#[allow(clippy::too_many_arguments)]
pub(crate) async fn kill_container(
    ctx: &Context,
    pod: &Pod,
    observed: &ObservedPod,
    id: &str,
    name: &str,
    message: &str,
    kill: KillReasonGrace,
    memory: &mut PodMemory,
    ending: &CancellationToken,
) -> Result<(), RuntimeError> {
    let run_hook = memory.pre_stopped.insert(id.to_owned());
    let job = KillJob { ctx, pod, ips: observed.ips(), id, name, kill, run_hook, ending: Some(ending) };
    job.run(message, None).await
}

/// Stops all containers of a pod side by side, then its sandboxes.
pub(crate) async fn kill_pod(
    ctx: &Context,
    pod: &Pod,
    observed: &ObservedPod,
    grace_override: Option<i64>,
    memory: &mut PodMemory,
) -> Result<(), RuntimeError> {
    let running: Vec<&ObservedContainer> = observed.running_containers().collect();
    let names: Vec<&str> = running.iter().map(|c| c.name.as_str()).collect();
    let order = TerminationOrder::new(pod, &names);
    let kill = KillReasonGrace { reason: KillReason::Other, grace_override };
    let jobs: Vec<KillJob<'_>> = running
        .iter()
        .map(|container| KillJob {
            ctx,
            pod,
            ips: observed.ips(),
            id: &container.id,
            name: &container.name,
            kill,
            run_hook: memory.pre_stopped.insert(container.id.clone()),
            ending: None,
        })
        .collect();
    let killed = join_all(jobs.iter().map(|job| job.run("", Some(&order)))).await;
    killed.into_iter().collect::<Result<Vec<()>, _>>()?;
    let stopped = join_all(observed.sandboxes.iter().map(|sandbox| ctx.runtime.stop_sandbox(&sandbox.id))).await;
    stopped.into_iter().collect::<Result<Vec<()>, _>>()?;
    Ok(())
}

struct KillJob<'a> {
    ctx: &'a Context,
    pod: &'a Pod,
    ips: &'a [String],
    id: &'a str,
    name: &'a str,
    kill: KillReasonGrace,
    /// False if the preStop hook was run before.
    run_hook: bool,
    /// Fires when the end of this container need not be waited for.
    ending: Option<&'a CancellationToken>,
}

impl KillJob<'_> {
    async fn run(&self, message: &str, order: Option<&TerminationOrder>) -> Result<(), RuntimeError> {
        let spec = self.pod.find_container(self.name).map(|(_, container)| container);
        let grace = grace_seconds(self.pod, spec.as_deref(), self.kill);
        let message = if message.is_empty() { format!("Stopping container {}", self.name) } else { message.to_owned() };
        self.ctx.events.container(self.pod, self.name, "Killing", message);
        let end = Instant::now() + Duration::from_secs(u64::try_from(grace).unwrap_or(0));
        if let Some(container) = spec.as_deref().filter(|_| grace > 0 && self.run_hook) {
            self.pre_stop(container, end).await;
        }
        if let Some(order) = order {
            order.wait_for_turn(self.name, end.saturating_duration_since(Instant::now())).await;
        }
        let left = end.saturating_duration_since(Instant::now());
        // What is left counts in whole seconds, rounded up: the hook's milliseconds are not taken from the container.
        let seconds = i64::try_from(left.as_millis().div_ceil(1000)).unwrap_or(i64::MAX).max(GRACE_MIN);
        let stop = self.ctx.runtime.stop_container(self.id, seconds);
        match self.ending {
            None => stop.await?,
            Some(ending) => tokio::select! {
                stopped = stop => stopped?,
                () = ending.cancelled() => {}
            },
        }
        if let Some(order) = order {
            order.stopped(self.name);
        }
        Ok(())
    }

    /// Runs the hook; it ends with the grace period at the latest.
    async fn pre_stop(&self, container: &Container, end: Instant) {
        let hook = container.lifecycle.as_ref().and_then(|lifecycle| lifecycle.pre_stop.as_ref());
        let Some(hook) = hook else { return };
        let node = self.ctx.node_facts();
        let ips = if self.pod.is_host_network() { &node.host_ips[..] } else { self.ips };
        let target = HookTarget {
            pod: self.pod,
            container,
            container_id: self.id,
            pod_ip: ips.first().map(String::as_str).unwrap_or_default(),
        };
        match tokio::time::timeout_at(end, run_hook(&self.ctx.runtime, &target, hook)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                tracing::warn!(pod = %self.pod.display(), container = %self.name, %error, "the preStop hook failed");
                self.ctx.events.container_warning(self.pod, self.name, "FailedPreStopHook", "PreStopHook failed");
            }
            Err(_) => {
                tracing::info!(pod = %self.pod.display(), container = %self.name, "the preStop hook took longer than the grace period");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn grace(metadata: Value, reason: KillReason, grace_override: Option<i64>) -> i64 {
        let pod: Pod =
            serde_json::from_value(json!({"metadata": metadata, "spec": {"terminationGracePeriodSeconds": 20,
            "containers": [{"name": "c", "livenessProbe": {"terminationGracePeriodSeconds": 5}, "startupProbe": {}}]}}))
            .expect("a pod");
        let container = &pod.regular_containers()[0];
        grace_seconds(&pod, Some(container), KillReasonGrace { reason, grace_override })
    }

    #[test]
    fn grace_periods() {
        assert_eq!(grace(json!({}), KillReason::Other, None), 20);
        assert_eq!(grace(json!({}), KillReason::LivenessProbe, None), 5);
        assert_eq!(grace(json!({}), KillReason::StartupProbe, None), 20);
        let deleted = json!({"deletionGracePeriodSeconds": 7});
        assert_eq!(grace(deleted.clone(), KillReason::LivenessProbe, None), 7);
        assert_eq!(grace(deleted, KillReason::Other, Some(0)), 0);
    }
}
