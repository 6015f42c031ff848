//! The whole status of a pod (upstream: `kubelet_pods.go`, generateAPIPodStatus). Pure: the same inputs always give the
//! same status, so an unchanged pod is recognised by comparing.

use std::collections::HashMap;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ContainerStatus, HostIP, Pod, PodCondition, PodIP, PodStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::conditions::{self, DISRUPTION_TARGET, READY_TO_START, SCHEDULED, condition};
use super::containers::container_statuses;
use super::phase::{FAILED, pod_phase};
use crate::actions::{Verdict, sandbox_changed};
use crate::observed::{ContainerState, ObservedPod};
use crate::pod::{ContainerKind, PodExt, as_container, is_terminal_phase};
use crate::resize::conditions::ResizeState;
use crate::spec::qos::Qos;

/// Reason of the condition DisruptionTarget of pods that the kubelet ended.
const TERMINATION_BY_KUBELET: &str = "TerminationByKubelet";
/// Bytes of all termination messages of a pod together.
const MESSAGES_BYTES_MAX: usize = 12 * 1024;

/// Why a container could not be started, until it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct StartFailure {
    pub(crate) reason: String,
    pub(crate) message: String,
}

/// Probe results by bare container id; `None` until there is one.
pub(crate) trait ProbeResults {
    fn startup(&self, container_id: &str) -> Option<Verdict>;
    fn readiness(&self, container_id: &str) -> Option<Verdict>;
}

/// A phase, reason and message that override what the containers say: a pod that was refused or evicted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Verdicted {
    pub(crate) reason: String,
    pub(crate) message: String,
    /// Message of the condition DisruptionTarget: the node ended a pod that could have gone on.
    pub(crate) disruption: Option<String>,
}

/// What a status is made of.
pub(crate) struct StatusInputs<'a> {
    /// With the resources that it was given.
    pub(crate) pod: &'a Pod,
    pub(crate) observed: &'a ObservedPod,
    /// The status reported last.
    pub(crate) previous: &'a PodStatus,
    /// By container name.
    pub(crate) failures: &'a HashMap<String, StartFailure>,
    pub(crate) probes: &'a dyn ProbeResults,
    /// Addresses of the node.
    pub(crate) host_ips: &'a [String],
    /// Scheme of container ids, such as `skiff`.
    pub(crate) runtime_name: &'a str,
    pub(crate) recursive_read_only: bool,
    /// Where a change of resources stands.
    pub(crate) resize: &'a ResizeState,
    /// No container will be started again.
    pub(crate) is_terminal: bool,
    /// The pod was failed by the kubelet itself.
    pub(crate) failed: Option<&'a Verdicted>,
    pub(crate) now: Timestamp,
}

impl StatusInputs<'_> {
    /// `runtime://id`.
    pub(super) fn container_id(&self, id: &str) -> String {
        format!("{}://{id}", self.runtime_name)
    }
}

/// Computes the status.
pub(crate) fn pod_status(inputs: &StatusInputs<'_>) -> PodStatus {
    let (pod, previous) = (inputs.pod, inputs.previous);
    let list = |kind, containers: &[_], old: &Option<Vec<_>>| {
        container_statuses(inputs, kind, containers, old.as_deref().unwrap_or(&[]))
    };
    let regular = list(ContainerKind::Regular, pod.regular_containers(), &previous.container_statuses);
    let init = list(ContainerKind::Init, pod.init_containers(), &previous.init_container_statuses);
    let ephemeral: Vec<_> = pod.ephemeral_containers().iter().map(as_container).collect();
    let ephemeral = list(ContainerKind::Ephemeral, &ephemeral, &previous.ephemeral_container_statuses);
    let mut all = init.clone();
    all.extend(regular.iter().cloned());
    let mut status = PodStatus {
        qos_class: Some(Qos::of(pod).as_str().to_owned()),
        nominated_node_name: pod.pod_status().nominated_node_name.clone(),
        resource_claim_statuses: pod.pod_status().resource_claim_statuses.clone(),
        observed_generation: pod.generation().max(previous.observed_generation),
        allocated_resources: pod.pod_spec().resources.as_ref().and_then(|r| r.requests.clone()),
        resources: pod.pod_spec().resources.clone(),
        start_time: previous.start_time.clone().or_else(|| Some(Time(whole_seconds(inputs.now)))),
        ..Default::default()
    };
    set_phase(inputs, &all, &mut status);
    set_addresses(inputs, &mut status);
    status.conditions = Some(pod_conditions(inputs, &all, &status));
    status.container_statuses = Some(regular);
    status.init_container_statuses = (!init.is_empty()).then_some(init);
    status.ephemeral_container_statuses = (!ephemeral.is_empty()).then_some(ephemeral);
    limit_messages(pod, &mut status);
    status
}

/// The API keeps whole seconds; anything finer would make equal statuses differ.
pub(crate) fn whole_seconds(time: Timestamp) -> Timestamp {
    Timestamp::from_second(time.as_second()).unwrap_or(time)
}

fn set_phase(inputs: &StatusInputs<'_>, all: &[ContainerStatus], status: &mut PodStatus) {
    let (pod, previous) = (inputs.pod, inputs.previous);
    let has_initialized = inputs.observed.active_containers().any(|c| {
        let regular = pod.regular_containers().iter().any(|spec| spec.name == c.name);
        regular && matches!(c.state, ContainerState::Running | ContainerState::Exited)
    });
    let mut phase = pod_phase(pod, all, inputs.is_terminal, has_initialized).to_owned();
    let old_phase = previous.phase.clone().unwrap_or_default();
    if !is_terminal_phase(&phase) {
        // A phase that is final stays, whatever the runtime has forgotten since.
        for known in [&old_phase, pod.phase()] {
            if is_terminal_phase(known) {
                phase = known.to_owned();
                break;
            }
        }
    }
    if is_terminal_phase(pod.phase()) {
        phase = pod.phase().to_owned();
    }
    if phase == old_phase {
        let kept = |own: &Option<String>, api: &Option<String>| own.clone().or_else(|| api.clone());
        status.reason = kept(&previous.reason, &pod.pod_status().reason);
        status.message = kept(&previous.message, &pod.pod_status().message);
    }
    if let Some(failed) = inputs.failed {
        phase = FAILED.to_owned();
        status.reason = Some(failed.reason.clone());
        status.message = Some(failed.message.clone());
    }
    status.phase = Some(phase);
}

fn set_addresses(inputs: &StatusInputs<'_>, status: &mut PodStatus) {
    let previous = inputs.previous;
    status.host_ip = inputs.host_ips.first().cloned();
    status.host_ips = list_of(inputs.host_ips, |ip| HostIP { ip });
    let of_sandbox = inputs.observed.ips();
    let ips = if inputs.pod.is_host_network() { inputs.host_ips } else { of_sandbox };
    status.pod_ip = ips.first().cloned();
    status.pod_ips = list_of(ips, |ip| PodIP { ip });
    let over = status.phase.as_deref().is_some_and(is_terminal_phase) || inputs.is_terminal;
    if ips.is_empty() && over {
        // The sandbox is gone; the address it had still tells where the pod was.
        status.pod_ip = previous.pod_ip.clone();
        status.pod_ips = previous.pod_ips.clone();
    }
}

fn list_of<T>(ips: &[String], make: impl Fn(String) -> T) -> Option<Vec<T>> {
    (!ips.is_empty()).then(|| ips.iter().cloned().map(make).collect())
}

fn pod_conditions(inputs: &StatusInputs<'_>, all: &[ContainerStatus], status: &PodStatus) -> Vec<PodCondition> {
    let pod = inputs.pod;
    let phase = status.phase.as_deref().unwrap_or_default();
    let of_api = pod.pod_status().conditions.as_deref().unwrap_or(&[]);
    let mut list: Vec<PodCondition> = of_api.iter().filter(|c| !conditions::is_owned(&c.type_)).cloned().collect();
    if !inputs.is_terminal {
        list.extend(inputs.resize.conditions().cloned());
    }
    let old = inputs.previous.conditions.as_deref().unwrap_or(&[]);
    if let Some(disruption) = inputs.failed.and_then(|failed| failed.disruption.as_deref()) {
        let mut condition = condition(pod, DISRUPTION_TARGET, true, TERMINATION_BY_KUBELET, disruption);
        condition.last_transition_time = Some(Time(whole_seconds(inputs.now)));
        list.retain(|c| c.type_ != DISRUPTION_TARGET);
        list.push(conditions::find(old, DISRUPTION_TARGET).cloned().unwrap_or(condition));
    } else if let Some(disruption) = conditions::find(old, DISRUPTION_TARGET) {
        list.retain(|c| c.type_ != DISRUPTION_TARGET);
        list.push(disruption.clone());
    }
    let has_sandbox = !sandbox_changed(pod, inputs.observed).0;
    let owned = [
        condition(pod, READY_TO_START, has_sandbox, "", ""),
        conditions::initialized(pod, all, phase),
        ready(inputs, all, phase, &list),
        conditions::containers_ready(pod, all, phase),
        condition(pod, SCHEDULED, true, "", ""),
    ];
    for mut new in owned {
        // The time of a condition is that of its last change.
        new.last_transition_time = match conditions::find(old, &new.type_).or(conditions::find(of_api, &new.type_)) {
            Some(old) if old.status == new.status => old.last_transition_time.clone(),
            _ => Some(Time(whole_seconds(inputs.now))),
        };
        list.push(new);
    }
    list
}

fn ready(inputs: &StatusInputs<'_>, all: &[ContainerStatus], phase: &str, others: &[PodCondition]) -> PodCondition {
    conditions::ready(inputs.pod, all, phase, others)
}

/// Cuts termination messages so that together they keep the bound.
fn limit_messages(pod: &Pod, status: &mut PodStatus) {
    let containers = pod.regular_containers().len() + pod.init_containers().len() + pod.ephemeral_containers().len();
    let limit = MESSAGES_BYTES_MAX / containers.max(1);
    let lists =
        [&mut status.container_statuses, &mut status.init_container_statuses, &mut status.ephemeral_container_statuses];
    for container in lists.into_iter().flatten().flatten() {
        for state in [&mut container.state, &mut container.last_state].into_iter().flatten() {
            let message = state.terminated.as_mut().and_then(|end| end.message.as_mut());
            if let Some(message) = message.filter(|message| message.len() > limit) {
                let mut end = limit;
                while !message.is_char_boundary(end) {
                    end -= 1;
                }
                message.truncate(end);
            }
        }
    }
}

#[cfg(test)]
#[path = "generate_tests.rs"]
mod tests;
