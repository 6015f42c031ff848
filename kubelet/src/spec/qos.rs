//! Quality of service: which pods the kernel spares first (upstream: `pkg/apis/core/v1/helper/qos`, `pkg/kubelet/qos`).

use k8s_openapi::api::core::v1::{Container, Pod, ResourceRequirements};

use crate::pod::{PodExt, is_sidecar};
use crate::quantity::{ResourceList, milli_value_of, value_of};

/// Adjustment of containers that are killed last.
const GUARANTEED_OOM_SCORE: i64 = -997;
/// Adjustment of containers that are killed first.
const BEST_EFFORT_OOM_SCORE: i64 = 1000;
/// Priority from which on a pod is critical for its node.
const SYSTEM_CRITICAL_PRIORITY: i32 = 2_000_000_000;
/// Priority class of pods that are critical for their node.
const NODE_CRITICAL: &str = "system-node-critical";

/// Quality of service class.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Qos {
    Guaranteed,
    Burstable,
    BestEffort,
}

impl Qos {
    /// The word of the API.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Qos::Guaranteed => "Guaranteed",
            Qos::Burstable => "Burstable",
            Qos::BestEffort => "BestEffort",
        }
    }

    /// The class of a pod: what the API says, else computed.
    pub(crate) fn of(pod: &Pod) -> Self {
        match pod.pod_status().qos_class.as_deref() {
            Some("Guaranteed") => Qos::Guaranteed,
            Some("Burstable") => Qos::Burstable,
            Some("BestEffort") => Qos::BestEffort,
            _ => Self::computed(pod),
        }
    }

    fn computed(pod: &Pod) -> Self {
        let spec = pod.pod_spec();
        if let Some(resources) = spec.resources.as_ref().filter(|r| asks(r)) {
            return if limits_are_requests(resources) { Qos::Guaranteed } else { Qos::Burstable };
        }
        let containers = || pod.init_containers().iter().chain(pod.regular_containers());
        let default = ResourceRequirements::default();
        let of = |c: &Container| c.resources.clone().unwrap_or_else(|| default.clone());
        if !containers().any(|c| asks(&of(c))) {
            Qos::BestEffort
        } else if containers().all(|c| limits_are_requests(&of(c))) {
            Qos::Guaranteed
        } else {
            Qos::Burstable
        }
    }
}

fn asks(resources: &ResourceRequirements) -> bool {
    let positive =
        |list: &Option<ResourceList>| ["cpu", "memory"].iter().any(|name| milli_value_of(list.as_ref(), name) > 0);
    positive(&resources.requests) || positive(&resources.limits)
}

fn limits_are_requests(resources: &ResourceRequirements) -> bool {
    ["cpu", "memory"].iter().all(|name| {
        let limit = milli_value_of(resources.limits.as_ref(), name);
        let requests = resources.requests.as_ref();
        let request = match requests.and_then(|list| list.get(*name)) {
            Some(_) => milli_value_of(requests, name),
            None => limit,
        };
        limit > 0 && limit == request
    })
}

/// Whether the node cannot do without the pod.
pub(crate) fn is_critical(pod: &Pod) -> bool {
    pod.is_static()
        || pod.is_mirror()
        || pod.pod_spec().priority.is_some_and(|priority| priority >= SYSTEM_CRITICAL_PRIORITY)
}

/// `oom_score_adj` of a container on a node with `memory_capacity` bytes.
pub(crate) fn oom_score_adj(pod: &Pod, container: &Container, memory_capacity: i64) -> i64 {
    let spec = pod.pod_spec();
    if spec.priority_class_name.as_deref() == Some(NODE_CRITICAL) {
        return GUARANTEED_OOM_SCORE;
    }
    match Qos::of(pod) {
        Qos::Guaranteed => return GUARANTEED_OOM_SCORE,
        Qos::BestEffort => return BEST_EFFORT_OOM_SCORE,
        Qos::Burstable => {}
    }
    let shared = unassigned_memory_per_container(pod);
    let score = |memory: i64| 1000 - 1000 * (memory + shared) / memory_capacity.max(1);
    let mut adjustment = score(memory_request(container));
    if is_sidecar(container) {
        // A sidecar is spared at least as much as the container that asks for the least.
        let least = pod.regular_containers().iter().map(memory_request).min().unwrap_or(0);
        adjustment = adjustment.min(score(least));
    }
    adjustment.clamp(1000 + GUARANTEED_OOM_SCORE, BEST_EFFORT_OOM_SCORE - 1)
}

fn memory_request(container: &Container) -> i64 {
    let requests = container.resources.as_ref().and_then(|r| r.requests.as_ref());
    value_of(requests, "memory")
}

/// What the pod asks for beyond its containers, divided among them.
fn unassigned_memory_per_container(pod: &Pod) -> i64 {
    let requests = pod.pod_spec().resources.as_ref().and_then(|r| r.requests.as_ref());
    let of_pod = value_of(requests, "memory");
    let containers = || {
        let sidecars = pod.init_containers().iter().filter(|c| is_sidecar(c));
        pod.regular_containers().iter().chain(sidecars)
    };
    let assigned: i64 = containers().map(memory_request).sum();
    let count = i64::try_from(containers().count()).unwrap_or(1).max(1);
    (of_pod - assigned).max(0) / count
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn pod(resources: Value) -> Pod {
        serde_json::from_value(json!({"spec": {"containers": [{"name": "c", "resources": resources}]}})).expect("a pod")
    }

    #[test]
    fn classes() {
        let class = |resources| Qos::of(&pod(resources));
        assert_eq!(class(json!({})), Qos::BestEffort);
        assert_eq!(class(json!({"requests": {"cpu": "1"}})), Qos::Burstable);
        assert_eq!(class(json!({"limits": {"cpu": "1", "memory": "1Gi"}})), Qos::Guaranteed);
        let equal = json!({"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "1000m"}});
        assert_eq!(class(equal), Qos::Guaranteed);
        let less = json!({"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "500m"}});
        assert_eq!(class(less), Qos::Burstable);
        let mut told = pod(json!({}));
        told.status.get_or_insert_default().qos_class = Some("Guaranteed".into());
        assert_eq!(Qos::of(&told), Qos::Guaranteed);
    }

    #[test]
    fn oom_scores() {
        let score = |resources: Value| {
            let pod = pod(resources);
            oom_score_adj(&pod, &pod.regular_containers()[0], 4_000_000_000)
        };
        assert_eq!(score(json!({})), 1000);
        assert_eq!(score(json!({"limits": {"cpu": "1", "memory": "1Gi"}})), -997);
        assert_eq!(score(json!({"requests": {"memory": "1G"}})), 750);
        assert_eq!(score(json!({"requests": {"cpu": "1"}})), 999);
        assert_eq!(score(json!({"requests": {"memory": "4G"}})), 3);
    }
}
