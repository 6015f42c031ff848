//! What has to be changed on a running container so that it has what it was given
//! (upstream: `kuberuntime_manager.go`, computePodResizeAction). Pure.
//!
//! The runtime knows which knobs a container has; which resources it was created with stands in an annotation. The first
//! decides about changes in place, the second about restarts that `resizePolicy` asks for.

use k8s_openapi::api::core::v1::{Container, Pod, ResourceRequirements};
use skiff_cri::v1::LinuxContainerResources;

use super::allocation::RESIZABLE;
use crate::observed::{ContainerState, ObservedContainer, ObservedPod};
use crate::pod::{PodExt, restarts_to_resize};
use crate::quantity::milli_value_of;
use crate::spec::resources::container_resources;

/// New knobs of a container that runs. Absent ones stay.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Update {
    pub(crate) id: String,
    pub(crate) name: String,
    /// The knobs now.
    pub(crate) from: Knobs,
    pub(crate) to: Knobs,
}

/// The knobs that a resize turns. Zero is no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Knobs {
    /// Shares as in cgroup v1.
    pub(crate) cpu_shares: i64,
    /// Microseconds in each period.
    pub(crate) cpu_quota: i64,
    /// Microseconds.
    pub(crate) cpu_period: i64,
    /// Bytes.
    pub(crate) memory_limit: i64,
}

impl Knobs {
    pub(crate) fn of(resources: &LinuxContainerResources) -> Self {
        Self {
            cpu_shares: resources.cpu_shares,
            cpu_quota: resources.cpu_quota.max(0),
            cpu_period: resources.cpu_period,
            memory_limit: resources.memory_limit_in_bytes.max(0),
        }
    }

    /// As CRI takes an update: -1 takes a limit away.
    pub(crate) fn request(self) -> LinuxContainerResources {
        let limit = |value: i64| if value > 0 { value } else { -1 };
        LinuxContainerResources {
            cpu_shares: self.cpu_shares,
            cpu_quota: limit(self.cpu_quota),
            cpu_period: self.cpu_period,
            memory_limit_in_bytes: limit(self.memory_limit),
            ..Default::default()
        }
    }

    /// For each knob the larger of both; no limit is the largest.
    pub(crate) fn widest(self, other: Self) -> Self {
        let limit = |a: i64, b: i64| if a <= 0 || b <= 0 { 0 } else { a.max(b) };
        Self {
            cpu_shares: self.cpu_shares.max(other.cpu_shares),
            cpu_quota: limit(self.cpu_quota, other.cpu_quota),
            cpu_period: other.cpu_period,
            memory_limit: limit(self.memory_limit, other.memory_limit),
        }
    }

    /// Whether the memory limit gets smaller, or appears.
    pub(crate) fn takes_memory(self, to: Self) -> bool {
        to.memory_limit > 0 && (self.memory_limit <= 0 || to.memory_limit < self.memory_limit)
    }
}

impl Update {
    /// Whether anything gets smaller: such changes come first, so that the pod never holds more than it was given.
    fn shrinks(&self) -> bool {
        self.from.takes_memory(self.to)
            || self.to.cpu_shares < self.from.cpu_shares
            || (self.to.cpu_quota > 0 && (self.from.cpu_quota <= 0 || self.to.cpu_quota < self.from.cpu_quota))
    }
}

/// Whether a container has to be restarted for what it was given.
pub(crate) fn needs_restart(container: &Container, running: &ObservedContainer) -> bool {
    let Some(created) = &running.created_with else { return false };
    RESIZABLE.iter().any(|name| {
        let amount = |resources: &ResourceRequirements| {
            (milli_value_of(resources.requests.as_ref(), name), milli_value_of(resources.limits.as_ref(), name))
        };
        restarts_to_resize(container, name)
            && amount(created) != amount(&container.resources.clone().unwrap_or_default())
    })
}

/// The changes in place; those that give something back come first.
pub(crate) fn updates(pod: &Pod, observed: &ObservedPod) -> Vec<Update> {
    let containers = pod.init_containers().iter().chain(pod.regular_containers());
    let mut updates: Vec<Update> = containers
        .filter_map(|container| {
            let running = observed.container(&container.name).filter(|c| c.state == ContainerState::Running)?;
            let from = Knobs::of(running.resources.as_ref()?);
            // The knobs do not depend on the size of the node.
            let to = Knobs::of(&container_resources(pod, container, 0));
            (from != to && !needs_restart(container, running)).then(|| Update {
                id: running.id.clone(),
                name: container.name.clone(),
                from,
                to,
            })
        })
        .collect();
    updates.sort_by_key(|update| !update.shrinks());
    updates
}

/// Whether a running container does not have yet what it was given.
pub(crate) fn is_in_progress(pod: &Pod, observed: &ObservedPod) -> bool {
    let mut containers = pod.init_containers().iter().chain(pod.regular_containers());
    let restarts = containers.any(|container| {
        let running = observed.container(&container.name).filter(|c| c.state == ContainerState::Running);
        running.is_some_and(|running| needs_restart(container, running))
    });
    restarts || !updates(pod, observed).is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn pod(containers: Value) -> Pod {
        serde_json::from_value(json!({"spec": {"containers": containers}})).expect("a pod")
    }

    /// The pod as it runs after it was started with its resources.
    fn running(pod: &Pod) -> ObservedPod {
        let container = |c: &Container| ObservedContainer {
            id: format!("{}-id", c.name),
            name: c.name.clone(),
            state: ContainerState::Running,
            resources: Some(container_resources(pod, c, 1 << 30)),
            created_with: c.resources.clone(),
            ..Default::default()
        };
        ObservedPod { containers: pod.regular_containers().iter().map(container).collect(), ..Default::default() }
    }

    fn resources(cpu: &str, memory: &str) -> Value {
        json!({"requests": {"cpu": cpu, "memory": memory}, "limits": {"cpu": cpu, "memory": memory}})
    }

    #[test]
    fn only_what_changed_is_updated_and_less_comes_first() {
        let before = pod(json!([
            {"name": "a", "resources": resources("100m", "64Mi")},
            {"name": "b", "resources": resources("200m", "64Mi")},
            {"name": "c", "resources": resources("300m", "64Mi")}]));
        let after = pod(json!([
            {"name": "a", "resources": resources("200m", "64Mi")},
            {"name": "b", "resources": resources("200m", "64Mi")},
            {"name": "c", "resources": resources("300m", "32Mi")}]));
        assert!(updates(&before, &running(&before)).is_empty());
        let updates = updates(&after, &running(&before));
        let names: Vec<&str> = updates.iter().map(|update| update.name.as_str()).collect();
        assert_eq!(names, ["c", "a"]);
        assert_eq!((updates[0].from.memory_limit, updates[0].to.memory_limit), (64 << 20, 32 << 20));
        assert_eq!((updates[1].to.cpu_shares, updates[1].to.cpu_quota), (204, 20_000));
        assert!(is_in_progress(&after, &running(&before)));
    }

    #[test]
    fn amounts_below_the_least_are_equal() {
        let cpu = |request: &str, limit: &str| json!([{"name": "a", "resources": {"requests": {"cpu": request}, "limits": {"cpu": limit}}}]);
        let (before, after) = (pod(cpu("2m", "10m")), pod(cpu("1m", "5m")));
        assert!(!is_in_progress(&after, &running(&before)));
    }

    #[test]
    fn a_policy_asks_for_a_restart() {
        let with = |cpu: &str, memory: &str| {
            pod(json!([{"name": "a", "resources": resources(cpu, memory),
                "resizePolicy": [{"resourceName": "memory", "restartPolicy": "RestartContainer"}]}]))
        };
        let observed = running(&with("100m", "64Mi"));
        let more_memory = with("100m", "128Mi");
        assert!(needs_restart(&more_memory.regular_containers()[0], &observed.containers[0]));
        assert!(updates(&more_memory, &observed).is_empty(), "the restart does it");
        let more_cpu = with("200m", "64Mi");
        assert!(!needs_restart(&more_cpu.regular_containers()[0], &observed.containers[0]));
        assert_eq!(updates(&more_cpu, &observed).len(), 1);
        let mut older = observed;
        older.containers[0].created_with = None;
        assert!(!needs_restart(&more_memory.regular_containers()[0], &older.containers[0]));
    }

    #[test]
    fn what_does_not_run_or_is_not_known_is_left_alone() {
        let (before, after) = (
            pod(json!([{"name": "a", "resources": resources("100m", "64Mi")}])),
            pod(json!([{"name": "a", "resources": resources("200m", "64Mi")}])),
        );
        let mut observed = running(&before);
        observed.containers[0].state = ContainerState::Exited;
        assert!(!is_in_progress(&after, &observed));
        let mut observed = running(&before);
        observed.containers[0].resources = None;
        assert!(updates(&after, &observed).is_empty());
    }

    #[test]
    fn limits_that_go_are_asked_for_as_such() {
        let none = Knobs { cpu_shares: 2, cpu_period: 100_000, ..Knobs::default() };
        let some = Knobs { cpu_shares: 100, cpu_quota: 1000, cpu_period: 100_000, memory_limit: 1 << 20 };
        assert_eq!((none.request().cpu_quota, none.request().memory_limit_in_bytes), (-1, -1));
        assert_eq!(none.widest(some), Knobs { cpu_shares: 100, ..none });
        assert!(none.takes_memory(some) && !some.takes_memory(none));
    }
}
