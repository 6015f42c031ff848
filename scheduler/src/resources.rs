//! Amounts of resources: what a pod asks for and what a node has.

use skiff_client::types::{Container, Pod, StringMap};

use crate::quantity::{milli_value, value};

/// What a pod that asks for no CPU counts as when nodes are scored, in thousandths (upstream
/// `DefaultMilliCPURequest`).
pub const DEFAULT_MILLI_CPU: i64 = 100;
/// What a pod that asks for no memory counts as when nodes are scored, in bytes (upstream `DefaultMemoryRequest`).
pub const DEFAULT_MEMORY: i64 = 200 * 1024 * 1024;

/// Amounts by resource.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resource {
    /// CPU in thousandths.
    pub milli_cpu: i64,
    /// Memory in bytes.
    pub memory: i64,
    /// Local storage in bytes.
    pub ephemeral_storage: i64,
    /// Pods; only of nodes.
    pub allowed_pods: i64,
    /// Everything else by name, few and sorted: huge pages and extended resources.
    pub scalar: Vec<(Box<str>, i64)>,
}

impl Resource {
    /// Reads a resource list.
    pub fn of(list: &StringMap) -> Self {
        let mut resource = Self::default();
        for (name, quantity) in list.iter() {
            match name {
                "cpu" => resource.milli_cpu = milli_value(quantity),
                "memory" => resource.memory = value(quantity),
                "ephemeral-storage" => resource.ephemeral_storage = value(quantity),
                "pods" => resource.allowed_pods = value(quantity),
                // The map is sorted, so the vector is.
                other => resource.scalar.push((other.into(), value(quantity))),
            }
        }
        resource
    }

    /// The amount of a named resource beside the basic ones.
    pub fn scalar(&self, name: &str) -> i64 {
        self.scalar.binary_search_by(|(have, _)| (**have).cmp(name)).map_or(0, |at| self.scalar[at].1)
    }

    fn scalar_mut(&mut self, name: &str) -> &mut i64 {
        let at = match self.scalar.binary_search_by(|(have, _)| (**have).cmp(name)) {
            Ok(at) => at,
            Err(at) => {
                self.scalar.insert(at, (name.into(), 0));
                at
            }
        };
        &mut self.scalar[at].1
    }

    /// Adds amounts.
    pub fn add(&mut self, other: &Resource) {
        self.combine(other, i64::saturating_add);
    }

    /// Takes amounts away.
    pub fn subtract(&mut self, other: &Resource) {
        self.combine(other, i64::saturating_sub);
    }

    /// Raises each amount to at least the other's.
    pub fn raise(&mut self, other: &Resource) {
        self.combine(other, i64::max);
    }

    fn combine(&mut self, other: &Resource, with: fn(i64, i64) -> i64) {
        self.milli_cpu = with(self.milli_cpu, other.milli_cpu);
        self.memory = with(self.memory, other.memory);
        self.ephemeral_storage = with(self.ephemeral_storage, other.ephemeral_storage);
        for (name, amount) in &other.scalar {
            let have = self.scalar_mut(name);
            *have = with(*have, *amount);
        }
    }
}

/// What a pod asks for in all (upstream `PodRequests`): its containers together with its sidecars, or what any init
/// container needs together with the sidecars started before it, whichever is more; then overhead. Requests of the
/// pod as a whole replace those of its containers.
pub fn pod_request(pod: &Pod) -> Resource {
    pod_request_with(pod, |container| Resource::of(&container.resources.requests))
}

/// The same for scoring: a container that asks for no CPU or memory counts as asking for a little.
pub fn pod_nonzero_request(pod: &Pod) -> (i64, i64) {
    let request = pod_request_with(pod, |container| {
        let mut request = Resource::of(&container.resources.requests);
        if !container.resources.requests.contains_key("cpu") {
            request.milli_cpu = DEFAULT_MILLI_CPU;
        }
        if !container.resources.requests.contains_key("memory") {
            request.memory = DEFAULT_MEMORY;
        }
        request
    });
    (request.milli_cpu, request.memory)
}

fn pod_request_with(pod: &Pod, request_of: impl Fn(&Container) -> Resource) -> Resource {
    let mut total = Resource::default();
    for container in &pod.spec.containers {
        total.add(&request_of(container));
    }
    let mut sidecars = Resource::default();
    let mut init = Resource::default();
    for container in &pod.spec.init_containers {
        let request = request_of(container);
        if container.restart_policy == "Always" {
            sidecars.add(&request);
            init.raise(&sidecars);
        } else {
            let mut with_sidecars = sidecars.clone();
            with_sidecars.add(&request);
            init.raise(&with_sidecars);
        }
    }
    total.add(&sidecars);
    total.raise(&init);
    if let Some(resources) = &pod.spec.resources {
        let of_pod = Resource::of(&resources.requests);
        for (name, _) in resources.requests.iter() {
            match name {
                "cpu" => total.milli_cpu = of_pod.milli_cpu,
                "memory" => total.memory = of_pod.memory,
                other => *total.scalar_mut(other) = of_pod.scalar(other),
            }
        }
    }
    total.add(&Resource::of(&pod.spec.overhead));
    total
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn check(spec: serde_json::Value, milli_cpu: i64, memory: i64, nonzero: (i64, i64)) {
        let pod: Pod = serde_json::from_value(json!({ "spec": spec })).expect("a pod");
        let request = pod_request(&pod);
        assert_eq!((request.milli_cpu, request.memory), (milli_cpu, memory), "{spec}");
        assert_eq!(pod_nonzero_request(&pod), nonzero, "{spec}");
    }

    #[test]
    fn requests_follow_the_order_in_which_containers_run() {
        let container = |cpu: &str| json!({"name": cpu, "resources": {"requests": {"cpu": cpu, "memory": "1"}}});
        let sidecar = |cpu: &str| json!({"name": cpu, "restartPolicy": "Always", "resources": {"requests": {"cpu": cpu, "memory": "1"}}});
        check(json!({"containers": [container("1"), container("500m")]}), 1500, 2, (1500, 2));
        check(json!({"containers": [container("1")], "initContainers": [container("3")]}), 3000, 1, (3000, 1));
        check(
            json!({"containers": [container("1")], "initContainers": [sidecar("1"), container("3")]}),
            4000,
            2,
            (4000, 2),
        );
        check(
            json!({"containers": [container("3")], "initContainers": [container("2"), sidecar("1")]}),
            4000,
            2,
            (4000, 2),
        );
        check(json!({"containers": [container("1")], "overhead": {"cpu": "250m"}}), 1250, 1, (1250, 1));
        check(json!({"containers": [container("1")], "resources": {"requests": {"cpu": "2"}}}), 2000, 1, (2000, 1));
        check(json!({"containers": [{"name": "a"}, container("1")]}), 1000, 1, (1100, DEFAULT_MEMORY + 1));
    }

    #[test]
    fn extended_resources_are_counted_by_name() {
        let list: StringMap = [("example.com/gpu", "2"), ("hugepages-2Mi", "4Mi")].into_iter().collect();
        let mut resource = Resource::of(&list);
        resource.add(&Resource::of(&[("example.com/gpu", "1")].into_iter().collect()));
        assert_eq!(resource.scalar("example.com/gpu"), 3);
        assert_eq!(resource.scalar("unknown"), 0);
    }
}
