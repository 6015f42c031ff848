//! Which pod goes first, and what it is told (upstream: `pkg/kubelet/eviction/helpers.go`). Pure.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Container, Pod};

use super::pressure::Observation;
use super::thresholds::{Resource, Threshold};
use crate::pod::PodExt;
use crate::quantity::{binary, value_of};
use crate::spec::resources::PodTotals;

/// What a container uses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct ContainerUse {
    /// Bytes that cannot be given back.
    pub(crate) memory: u64,
    /// Bytes of what it wrote into its root and its log.
    pub(crate) disk: u64,
}

/// What a pod uses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct PodUse {
    pub(crate) containers: HashMap<String, ContainerUse>,
    /// Bytes of volumes on the node's disk, by name.
    pub(crate) volumes: HashMap<String, u64>,
    /// Files of volumes, logs and roots.
    pub(crate) inodes: u64,
    pub(crate) processes: u64,
}

impl PodUse {
    fn memory(&self) -> u64 {
        self.containers.values().map(|container| container.memory).sum()
    }

    /// Bytes on the node's disk.
    pub(crate) fn disk(&self) -> u64 {
        self.containers.values().map(|container| container.disk).sum::<u64>() + self.volumes.values().sum::<u64>()
    }
}

/// Pods with what they use; `None` where that is not known.
pub(crate) type Candidate = (Arc<Pod>, Option<PodUse>);

/// Puts first what is to be ended first.
pub(crate) fn rank(pods: &mut [Candidate], resource: Resource) {
    pods.sort_by_cached_key(|(pod, used)| {
        let priority = pod.pod_spec().priority.unwrap_or(0);
        let Some(used) = used else {
            // Pods of which nothing is known come first.
            return (false, false, priority, Reverse(i64::MAX));
        };
        let totals = PodTotals::of(pod);
        let signed = |amount: u64| i64::try_from(amount).unwrap_or(i64::MAX);
        let (used, requested) = match resource {
            Resource::Memory => (signed(used.memory()), totals.memory_request),
            Resource::EphemeralStorage => (signed(used.disk()), totals.storage_request),
            Resource::Inodes => (signed(used.inodes), 0),
            // Nobody requests processes: only the priority comes before the number.
            Resource::Pids => return (true, false, priority, Reverse(signed(used.processes))),
        };
        (true, used <= requested, priority, Reverse(used.saturating_sub(requested)))
    });
}

/// The message of a pod that is ended for a threshold.
pub(crate) fn message(pod: &Pod, used: Option<&PodUse>, threshold: &Threshold, seen: Observation) -> String {
    let resource = threshold.signal.resource();
    let name = resource.as_str();
    let show = |amount: u64| match resource {
        Resource::Memory | Resource::EphemeralStorage => binary(i64::try_from(amount).unwrap_or(i64::MAX)).0,
        Resource::Inodes | Resource::Pids => amount.to_string(),
    };
    let mut text = format!("The node was low on resource: {name}. ");
    let quantity = show(threshold.value.of(seen.capacity));
    text += &format!("Threshold quantity: {quantity}, available: {}. ", show(seen.available));
    let Some(used) = used else { return text };
    let of = |container: &Container| {
        let used = used.containers.get(&container.name)?;
        let used = match resource {
            Resource::Memory => used.memory,
            Resource::EphemeralStorage => used.disk,
            Resource::Inodes | Resource::Pids => return None,
        };
        let requests = container.resources.as_ref().and_then(|resources| resources.requests.as_ref());
        let requested = u64::try_from(value_of(requests, name)).unwrap_or(0);
        (used > requested).then_some((used, requested))
    };
    for container in pod.regular_containers().iter().chain(pod.init_containers()) {
        if let Some((used, requested)) = of(container) {
            text += &format!(
                "Container {} was using {}, request is {}, has larger consumption of {name}. ",
                container.name,
                show(used),
                show(requested)
            );
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::eviction::thresholds::{Amount, Signal};
    use serde_json::json;
    use std::time::Duration;

    fn candidate(name: &str, priority: i32, request: &str, memory: u64, processes: u64) -> Candidate {
        let pod = serde_json::from_value(json!({"metadata": {"name": name}, "spec": {"priority": priority,
            "containers": [{"name": "c", "resources": {"requests": {"memory": request}}}]}}))
        .expect("a pod");
        let containers = [("c".to_owned(), ContainerUse { memory, disk: 0 })].into();
        (Arc::new(pod), Some(PodUse { containers, processes, ..PodUse::default() }))
    }

    fn order(mut pods: Vec<Candidate>, resource: Resource) -> Vec<String> {
        rank(&mut pods, resource);
        pods.iter().map(|(pod, _)| pod.name().to_owned()).collect()
    }

    #[test]
    fn those_above_their_requests_go_first_then_the_less_important() {
        let pods = || {
            vec![
                candidate("within", 0, "100", 100, 9),
                candidate("important", 5, "100", 500, 8),
                candidate("above", 0, "100", 101, 7),
                candidate("far-above", 0, "100", 200, 6),
                ("unknown", 9).into_candidate(),
            ]
        };
        assert_eq!(order(pods(), Resource::Memory), ["unknown", "far-above", "above", "important", "within"]);
        assert_eq!(order(pods(), Resource::Pids), ["unknown", "within", "above", "far-above", "important"]);
    }

    trait IntoCandidate {
        fn into_candidate(self) -> Candidate;
    }

    impl IntoCandidate for (&str, i32) {
        fn into_candidate(self) -> Candidate {
            (candidate(self.0, self.1, "0", 0, 0).0, None)
        }
    }

    #[test]
    fn the_message_tells_who_used_too_much() {
        let threshold = Threshold {
            signal: Signal::MemoryAvailable,
            value: Amount::Units(100 << 20),
            grace: Duration::ZERO,
            reclaim: None,
            hard: true,
        };
        let seen = Observation { available: 50 << 20, capacity: 1 << 30 };
        let (pod, used) = candidate("p", 0, "1Mi", 3 << 20, 0);
        assert_eq!(
            message(&pod, used.as_ref(), &threshold, seen),
            "The node was low on resource: memory. Threshold quantity: 100Mi, available: 50Mi. Container c was using 3Mi, request is 1Mi, has larger consumption of memory. "
        );
        assert!(!message(&pod, None, &threshold, seen).contains("Container"));
    }
}
