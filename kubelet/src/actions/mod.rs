//! What to do next for a pod: a pure function from its spec and the observed state to a list of actions.
//!
//! The plan leaves the executor ([`crate::sync`]) no choices but back-off. It never changes anything itself, so it can be
//! computed, printed and compared in tests. The rules are upstream's (`pkg/kubelet/kuberuntime/kuberuntime_manager.go`,
//! computePodActions).

mod init;
#[cfg(test)]
mod tests;

use k8s_openapi::api::core::v1::{Container, Pod};

use crate::container_hash::container_hash;
use crate::observed::{ContainerState, ObservedContainer, ObservedPod};
use crate::pod::{PodExt, RestartPolicy, is_sidecar, may_restart, restarts_after};
use crate::resize::plan::{self, Update};

/// What to do, in the order in which it is done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct PodActions {
    /// Stop every container and the sandbox first.
    pub(crate) kill_pod: bool,
    /// Containers to stop, if the pod as a whole stays.
    pub(crate) kill: Vec<Kill>,
    /// Make a new sandbox.
    pub(crate) create_sandbox: bool,
    /// The sandbox to use or to replace; `None` if there is none.
    pub(crate) sandbox_id: Option<String>,
    /// Number of the sandbox: of the new one, or of the one in use.
    pub(crate) attempt: u32,
    /// Running containers that get other resources.
    pub(crate) resize: Vec<Update>,
    /// Indices into `spec.ephemeralContainers`.
    pub(crate) start_ephemeral: Vec<usize>,
    /// Indices into `spec.initContainers`.
    pub(crate) start_init: Vec<usize>,
    /// Indices into `spec.containers`.
    pub(crate) start: Vec<usize>,
}

/// A container to stop.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Kill {
    pub(crate) id: String,
    pub(crate) name: String,
    /// Text of the Killing event.
    pub(crate) message: String,
    pub(crate) reason: KillReason,
}

/// Why a container is stopped; decides whose grace period holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum KillReason {
    #[default]
    Other,
    StartupProbe,
    LivenessProbe,
}

/// Newest result of a probe that decides about restarts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Success,
    Failure,
}

/// Probe results by container id. `None`: the probe has not run on that container.
pub(crate) trait Verdicts {
    fn liveness(&self, container_id: &str) -> Option<Verdict>;
    fn startup(&self, container_id: &str) -> Option<Verdict>;
}

impl PodActions {
    /// True if there is nothing to do.
    pub(crate) fn is_empty(&self) -> bool {
        !self.kill_pod
            && !self.create_sandbox
            && self.kill.is_empty()
            && self.resize.is_empty()
            && self.start_ephemeral.is_empty()
            && self.start_init.is_empty()
            && self.start.is_empty()
    }
}

/// Whether the pod needs a new sandbox, the number of it or of the present one, and the present one.
pub(crate) fn sandbox_changed(pod: &Pod, observed: &ObservedPod) -> (bool, u32, Option<String>) {
    let Some(newest) = observed.sandboxes.first() else {
        return (true, 0, None);
    };
    let id = Some(newest.id.clone());
    let ready = observed.sandboxes.iter().filter(|s| s.ready).count();
    if ready > 1 || !newest.ready {
        return (true, newest.attempt + 1, id);
    }
    if newest.host_network != pod.is_host_network() {
        return (true, newest.attempt + 1, None);
    }
    if !newest.host_network && newest.ips.is_empty() {
        return (true, newest.attempt + 1, id);
    }
    (false, newest.attempt, id)
}

/// Whether a container that does not run should be started (again).
pub(crate) fn should_start(container: &Container, pod: &Pod, observed: &ObservedPod) -> bool {
    if pod.is_deleted() {
        return false;
    }
    match observed.container(&container.name) {
        None => true,
        Some(status) => match status.state {
            ContainerState::Running => false,
            ContainerState::Created | ContainerState::Unknown => true,
            ContainerState::Exited => restarts_after(container, pod, status.exit_code),
        },
    }
}

/// Whether any regular container was ever created, which means that initialization was over once.
pub(crate) fn any_regular_created(pod: &Pod, observed: &ObservedPod) -> bool {
    let regular = pod.regular_containers();
    regular.iter().any(|c| observed.container(&c.name).is_some())
}

/// Computes the actions.
pub(crate) fn compute_pod_actions(pod: &Pod, observed: &ObservedPod, verdicts: &dyn Verdicts) -> PodActions {
    let (new_sandbox, attempt, sandbox_id) = sandbox_changed(pod, observed);
    let mut actions =
        PodActions { kill_pod: new_sandbox, create_sandbox: new_sandbox, sandbox_id, attempt, ..Default::default() };
    if new_sandbox {
        plan_new_sandbox(pod, observed, &mut actions);
        return actions;
    }
    for (index, container) in pod.ephemeral_containers().iter().enumerate() {
        // Ephemeral containers are never restarted.
        if observed.container(&container.name).is_none() {
            actions.start_ephemeral.push(index);
        }
    }
    actions.resize = plan::updates(pod, observed);
    let initialized = init::plan_init_containers(pod, observed, verdicts, &mut actions);
    if actions.kill_pod {
        actions.resize.clear();
        return actions;
    }
    if !initialized {
        return actions;
    }
    plan_regular_containers(pod, observed, verdicts, &mut actions);
    if actions.kill_pod {
        actions.resize.clear();
    }
    actions
}

/// Everything starts again in a new sandbox, unless the pod has nothing left to run.
fn plan_new_sandbox(pod: &Pod, observed: &ObservedPod, actions: &mut PodActions) {
    let runs_once = pod.restart_policy() == RestartPolicy::Never;
    if runs_once && actions.attempt != 0 && !observed.containers.is_empty() {
        actions.create_sandbox = false;
        return;
    }
    let start: Vec<usize> = (0..pod.regular_containers().len())
        .filter(|&index| {
            let container = &pod.regular_containers()[index];
            let policy = container.restart_policy.as_deref().or(pod.pod_spec().restart_policy.as_deref());
            !(policy == Some("OnFailure") && succeeded(container, observed))
        })
        .collect();
    if start.is_empty() && any_regular_created(pod, observed) {
        actions.create_sandbox = false;
        return;
    }
    if pod.init_containers().is_empty() {
        actions.start = start;
    } else {
        actions.start_init = vec![0];
    }
}

fn succeeded(container: &Container, observed: &ObservedPod) -> bool {
    observed
        .container(&container.name)
        .is_some_and(|status| status.state == ContainerState::Exited && status.exit_code == 0)
}

fn plan_regular_containers(pod: &Pod, observed: &ObservedPod, verdicts: &dyn Verdicts, actions: &mut PodActions) {
    let mut kept = 0;
    for (index, container) in pod.regular_containers().iter().enumerate() {
        let status = observed.container(&container.name);
        let Some(running) = status.filter(|s| s.state == ContainerState::Running) else {
            if should_start(container, pod, observed) {
                actions.start.push(index);
                if let Some(status) = status.filter(|s| s.state == ContainerState::Unknown) {
                    actions.kill.push(unknown_state(status, "Container is"));
                }
            }
            continue;
        };
        let Some((message, reason, restart)) = kill_running(container, pod, running, verdicts) else {
            kept += 1;
            continue;
        };
        let message = if restart {
            actions.start.push(index);
            format!("{message}, will be restarted")
        } else {
            message
        };
        actions.kill.push(Kill { id: running.id.clone(), name: container.name.clone(), message, reason });
    }
    if kept == 0 && actions.start.is_empty() {
        actions.kill_pod = true;
        // Sidecars must not keep a finished pod alive.
        actions.start_init.clear();
    }
}

/// Why a running container must be stopped, and whether it is started again.
fn kill_running(
    container: &Container,
    pod: &Pod,
    running: &ObservedContainer,
    verdicts: &dyn Verdicts,
) -> Option<(String, KillReason, bool)> {
    let name = &container.name;
    let restart = match container.restart_policy.as_deref() {
        Some(policy) => policy != "Never",
        None => may_restart(container, pod),
    };
    if container_hash(container) != running.hash {
        // The spec changed: restart whatever the policy says.
        let message = format!("Container {name} definition changed");
        return Some((message, KillReason::Other, true));
    }
    if plan::needs_restart(container, running) {
        return Some((format!("Container {name} resize requires restart"), KillReason::Other, true));
    }
    if verdicts.liveness(&running.id) == Some(Verdict::Failure) {
        let message = format!("Container {name} failed liveness probe");
        return Some((message, KillReason::LivenessProbe, restart));
    }
    if verdicts.startup(&running.id) == Some(Verdict::Failure) {
        let message = format!("Container {name} failed startup probe");
        return Some((message, KillReason::StartupProbe, restart));
    }
    None
}

/// A container in an unknown state may run: it is stopped before another is started in its place.
fn unknown_state(status: &ObservedContainer, what: &str) -> Kill {
    Kill {
        id: status.id.clone(),
        name: status.name.clone(),
        message: format!("{what} in \"unknown\" state, try killing it before restart"),
        reason: KillReason::Other,
    }
}

/// Names of the sidecars, in the order of the spec.
pub(crate) fn sidecars(pod: &Pod) -> impl Iterator<Item = &Container> {
    pod.init_containers().iter().filter(|c| is_sidecar(c))
}
