//! The part of the plan that concerns init containers and sidecars
//! (upstream: `pkg/kubelet/kuberuntime/kuberuntime_container.go`, computeInitContainerActions).

use k8s_openapi::api::core::v1::{Container, Pod};

use super::{Kill, KillReason, PodActions, Verdict, Verdicts, unknown_state};
use crate::container_hash::container_hash;
use crate::observed::{ContainerState, ObservedContainer, ObservedPod};
use crate::pod::{PodExt, is_sidecar, may_restart, restarts_after};
use crate::resize::plan::needs_restart;

/// What the state of one init container means for the pod.
enum Step {
    /// Nothing to say about the ones after it.
    Waiting,
    /// It is done (or, for a sidecar, started): the next one may start.
    Done,
    /// It failed for good: the pod ends.
    PodFailed,
}

/// Plans init containers. True once the pod has been initialized.
///
/// The list is walked from its end, because finished init containers may have been removed from the runtime: the last
/// one that is known decides where initialization stands, and before it only sidecars need care.
pub(super) fn plan_init_containers(
    pod: &Pod,
    observed: &ObservedPod,
    verdicts: &dyn Verdicts,
    actions: &mut PodActions,
) -> bool {
    let containers = pod.init_containers();
    if containers.is_empty() {
        return true;
    }
    let mut initialized = regular_container_is_up(pod, observed);
    let mut past_initialized = initialized;
    for (index, container) in containers.iter().enumerate().rev() {
        let Some(status) = observed.container(&container.name) else {
            if past_initialized && is_sidecar(container) {
                actions.start_init.push(index);
            }
            continue;
        };
        if past_initialized && !is_sidecar(container) {
            continue;
        }
        let last = index + 1 == containers.len();
        let step = if is_sidecar(container) {
            let next = (!last && !past_initialized).then_some(index + 1);
            plan_sidecar(container, index, next, status, verdicts, actions)
        } else {
            plan_init_container(pod, container, index, status, actions)
        };
        match step {
            Step::PodFailed => {
                actions.kill_pod = true;
                actions.start_init.clear();
                return false;
            }
            Step::Done if last => initialized = true,
            Step::Done if !is_sidecar(container) => actions.start_init.push(index + 1),
            Step::Done | Step::Waiting => {}
        }
        past_initialized = true;
    }
    if !past_initialized {
        actions.start_init.push(0);
    }
    actions.start_init.reverse();
    initialized
}

/// A regular container in the present sandbox means that all init containers were run once.
fn regular_container_is_up(pod: &Pod, observed: &ObservedPod) -> bool {
    pod.regular_containers().iter().any(|container| {
        observed
            .container(&container.name)
            .is_some_and(|status| matches!(status.state, ContainerState::Created | ContainerState::Running))
    })
}

fn plan_init_container(
    pod: &Pod,
    container: &Container,
    index: usize,
    status: &ObservedContainer,
    actions: &mut PodActions,
) -> Step {
    match status.state {
        // Create and start are one step: a container that is only created failed to start.
        ContainerState::Created => actions.start_init.push(index),
        ContainerState::Running => {}
        ContainerState::Exited => {
            let failed = status.exit_code != 0 || status.reason == "OOMKilled";
            if !failed {
                return Step::Done;
            }
            if !restarts_after(container, pod, status.exit_code) {
                return Step::PodFailed;
            }
            actions.start_init.push(index);
        }
        ContainerState::Unknown => {
            if !may_restart(container, pod) {
                return Step::PodFailed;
            }
            actions.kill.push(unknown_state(status, "Init container is"));
            actions.start_init.push(index);
        }
    }
    Step::Waiting
}

fn plan_sidecar(
    container: &Container,
    index: usize,
    next: Option<usize>,
    status: &ObservedContainer,
    verdicts: &dyn Verdicts,
    actions: &mut PodActions,
) -> Step {
    match status.state {
        ContainerState::Created | ContainerState::Exited => {
            actions.start_init.push(index);
            return Step::Waiting;
        }
        ContainerState::Unknown => {
            actions.kill.push(unknown_state(status, "Init container is"));
            actions.start_init.push(index);
            return Step::Waiting;
        }
        ContainerState::Running => {}
    }
    let killed = |what: &str, reason| Kill {
        id: status.id.clone(),
        name: container.name.clone(),
        message: format!("Init container {} {what}", container.name),
        reason,
    };
    if container.startup_probe.is_some() {
        match verdicts.startup(&status.id) {
            Some(Verdict::Success) => {}
            Some(Verdict::Failure) => {
                let kill = killed("failed startup probe", KillReason::StartupProbe);
                actions.kill.push(kill);
                actions.start_init.push(index);
                return Step::Waiting;
            }
            None => return Step::Waiting,
        }
    }
    // It has started, so the next one may start, even if this one is restarted below. The list is reversed at the end.
    actions.start_init.extend(next);
    if container_hash(container) != status.hash {
        let kill = killed("definition changed", KillReason::Other);
        actions.kill.push(kill);
        actions.start_init.push(index);
    } else if needs_restart(container, status) {
        actions.kill.push(killed("resize requires restart", KillReason::Other));
        actions.start_init.push(index);
    } else if container.liveness_probe.is_some() && verdicts.liveness(&status.id) == Some(Verdict::Failure) {
        let kill = killed("failed liveness probe", KillReason::LivenessProbe);
        actions.kill.push(kill);
        actions.start_init.push(index);
    }
    Step::Done
}
