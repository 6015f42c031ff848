//! The conditions of a pod that the kubelet owns (upstream: `pkg/kubelet/status/generate.go`). Pure.

use k8s_openapi::api::core::v1::{Container, ContainerStatus, Pod, PodCondition};

use super::phase::{FAILED, SUCCEEDED};
use crate::pod::{PodExt, is_sidecar};

pub(crate) const READY: &str = "Ready";
pub(crate) const CONTAINERS_READY: &str = "ContainersReady";
pub(crate) const INITIALIZED: &str = "Initialized";
pub(crate) const READY_TO_START: &str = "PodReadyToStartContainers";
pub(crate) const SCHEDULED: &str = "PodScheduled";
pub(crate) const DISRUPTION_TARGET: &str = "DisruptionTarget";
pub(crate) const RESIZE_PENDING: &str = "PodResizePending";
pub(crate) const RESIZE_IN_PROGRESS: &str = "PodResizeInProgress";

/// Conditions only the kubelet writes.
const OWNED: [&str; 7] =
    [SCHEDULED, READY, INITIALIZED, CONTAINERS_READY, READY_TO_START, RESIZE_PENDING, RESIZE_IN_PROGRESS];

/// Whether the kubelet owns a condition; all others are left as they are in the API.
pub(crate) fn is_owned(type_: &str) -> bool {
    OWNED.contains(&type_)
}

/// Makes a condition; times are filled in when it is compared with the one before.
pub(crate) fn condition(pod: &Pod, type_: &str, status: bool, reason: &str, message: &str) -> PodCondition {
    PodCondition {
        type_: type_.to_owned(),
        status: if status { "True" } else { "False" }.to_owned(),
        reason: (!reason.is_empty()).then(|| reason.to_owned()),
        message: (!message.is_empty()).then(|| message.to_owned()),
        observed_generation: pod.generation(),
        ..Default::default()
    }
}

/// Finds a condition by type.
pub(crate) fn find<'a>(conditions: &'a [PodCondition], type_: &str) -> Option<&'a PodCondition> {
    conditions.iter().find(|condition| condition.type_ == type_)
}

/// Names as Go prints a list of strings.
fn go_list(names: &[&str]) -> String {
    format!("[{}]", names.join(" "))
}

fn joined(parts: [(&str, &[&str]); 2]) -> String {
    let parts = parts.iter().filter(|(_, names)| !names.is_empty());
    let parts: Vec<String> = parts.map(|(text, names)| format!("{text}: {}", go_list(names))).collect();
    parts.join(", ")
}

/// All containers that should be ready are.
pub(crate) fn containers_ready(pod: &Pod, statuses: &[ContainerStatus], phase: &str) -> PodCondition {
    let (mut unknown, mut unready) = (Vec::new(), Vec::new());
    let sidecars = pod.init_containers().iter().filter(|c| is_sidecar(c));
    for container in sidecars.chain(pod.regular_containers()) {
        match find_status(statuses, container) {
            None => unknown.push(container.name.as_str()),
            Some(status) if !status.ready => unready.push(container.name.as_str()),
            Some(_) => {}
        }
    }
    if phase == SUCCEEDED && unknown.is_empty() {
        return condition(pod, CONTAINERS_READY, false, "PodCompleted", "");
    }
    if phase == FAILED {
        return condition(pod, CONTAINERS_READY, false, "PodFailed", "");
    }
    let message = joined([("containers with unknown status", &unknown), ("containers with unready status", &unready)]);
    if message.is_empty() {
        return condition(pod, CONTAINERS_READY, true, "", "");
    }
    condition(pod, CONTAINERS_READY, false, "ContainersNotReady", &message)
}

/// The pod takes traffic: its containers are ready and all its readiness gates are open. `others` are the conditions
/// that gates may name.
pub(crate) fn ready(pod: &Pod, statuses: &[ContainerStatus], phase: &str, others: &[PodCondition]) -> PodCondition {
    let containers = containers_ready(pod, statuses, phase);
    if containers.status != "True" {
        return PodCondition { type_: READY.to_owned(), ..containers };
    }
    let gates = pod.pod_spec().readiness_gates.as_deref().unwrap_or(&[]);
    let closed: Vec<String> = gates
        .iter()
        .filter_map(|gate| {
            let name = &gate.condition_type;
            match find(others, name) {
                None => Some(format!("corresponding condition of pod readiness gate {name:?} does not exist.")),
                Some(condition) if condition.status != "True" => {
                    Some(format!("the status of pod readiness gate {name:?} is not \"True\", but {}", condition.status))
                }
                Some(_) => None,
            }
        })
        .collect();
    if closed.is_empty() {
        condition(pod, READY, true, "", "")
    } else {
        condition(pod, READY, false, "ReadinessGatesNotReady", &closed.join(", "))
    }
}

/// All init containers have done their work.
pub(crate) fn initialized(pod: &Pod, statuses: &[ContainerStatus], phase: &str) -> PodCondition {
    let (mut unknown, mut incomplete) = (Vec::new(), Vec::new());
    for container in pod.init_containers() {
        let done = |status: &ContainerStatus| {
            if is_sidecar(container) { status.started == Some(true) } else { status.ready }
        };
        match find_status(statuses, container) {
            None => unknown.push(container.name.as_str()),
            Some(status) if !done(status) => incomplete.push(container.name.as_str()),
            Some(_) => {}
        }
    }
    if phase == SUCCEEDED && unknown.is_empty() {
        return condition(pod, INITIALIZED, true, "PodCompleted", "");
    }
    let regular_started = pod.regular_containers().iter().any(|container| {
        find_status(statuses, container)
            .and_then(|status| status.state.as_ref())
            .is_some_and(|state| state.running.is_some() || state.terminated.is_some())
    });
    let message =
        joined([("containers with unknown status", &unknown), ("containers with incomplete status", &incomplete)]);
    if regular_started || message.is_empty() {
        return condition(pod, INITIALIZED, true, "", "");
    }
    condition(pod, INITIALIZED, false, "ContainersNotInitialized", &message)
}

fn find_status<'a>(statuses: &'a [ContainerStatus], container: &Container) -> Option<&'a ContainerStatus> {
    statuses.iter().find(|status| status.name == container.name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn pod(spec: Value) -> Pod {
        serde_json::from_value(json!({"metadata": {"generation": 3}, "spec": spec})).expect("a pod")
    }

    fn statuses(list: Value) -> Vec<ContainerStatus> {
        let fill = |mut status: Value| {
            let fields = status.as_object_mut().expect("a status");
            for (key, value) in
                [("image", json!("")), ("imageID", json!("")), ("ready", json!(false)), ("restartCount", json!(0))]
            {
                fields.entry(key).or_insert(value);
            }
            serde_json::from_value(status).expect("a status")
        };
        list.as_array().expect("a list").iter().cloned().map(fill).collect()
    }

    fn text(condition: &PodCondition) -> String {
        let part = |text: &Option<String>| text.clone().unwrap_or_default();
        format!("{} {} {}", condition.status, part(&condition.reason), part(&condition.message)).trim_end().to_owned()
    }

    #[test]
    fn readiness() {
        let pod = pod(
            json!({"containers": [{"name": "a"}, {"name": "b"}], "initContainers": [{"name": "s", "restartPolicy": "Always"}]}),
        );
        let list = statuses(json!([{"name": "a", "ready": true}, {"name": "s"}]));
        let condition = containers_ready(&pod, &list, "Pending");
        assert_eq!(
            text(&condition),
            "False ContainersNotReady containers with unknown status: [b], containers with unready status: [s]"
        );
        assert_eq!(condition.observed_generation, Some(3));
        let all =
            statuses(json!([{"name": "a", "ready": true}, {"name": "b", "ready": true}, {"name": "s", "ready": true}]));
        assert_eq!(text(&containers_ready(&pod, &all, "Running")), "True");
        assert_eq!(text(&ready(&pod, &all, "Succeeded", &[])), "False PodCompleted");
        assert_eq!(text(&ready(&pod, &all, "Failed", &[])), "False PodFailed");
    }

    #[test]
    fn gates_hold_readiness_back() {
        let pod = pod(json!({"containers": [], "readinessGates": [{"conditionType": "x"}, {"conditionType": "y"}]}));
        let others = [condition(&pod, "y", false, "", "")];
        assert_eq!(
            text(&ready(&pod, &[], "Running", &others)),
            "False ReadinessGatesNotReady corresponding condition of pod readiness gate \"x\" does not exist., the status of pod readiness gate \"y\" is not \"True\", but False"
        );
        let open = [condition(&pod, "x", true, "", ""), condition(&pod, "y", true, "", "")];
        assert_eq!(text(&ready(&pod, &[], "Running", &open)), "True");
    }

    #[test]
    fn initialization() {
        let pod = pod(
            json!({"containers": [{"name": "a"}], "initContainers": [{"name": "i"}, {"name": "s", "restartPolicy": "Always"}]}),
        );
        let check =
            |list: Value, expected: &str| assert_eq!(text(&initialized(&pod, &statuses(list), "Pending")), expected);
        check(json!([]), "False ContainersNotInitialized containers with unknown status: [i s]");
        check(
            json!([{"name": "i", "ready": true}, {"name": "s", "started": false}]),
            "False ContainersNotInitialized containers with incomplete status: [s]",
        );
        check(json!([{"name": "i", "ready": true}, {"name": "s", "started": true}]), "True");
        check(json!([{"name": "i"}, {"name": "s"}, {"name": "a", "state": {"running": {}}}]), "True");
    }
}
