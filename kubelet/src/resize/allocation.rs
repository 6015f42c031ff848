//! What a pod has been given, beside what it asks for now (upstream: `pkg/kubelet/allocation/allocation_manager.go`).
//!
//! An allocated pod is the pod with the resources that the node has granted. After a restart of the kubelet it is read
//! back from the status in the API: `allocatedResources` are the requests that were granted, `resources` the limits.

use std::sync::Arc;

use k8s_openapi::api::core::v1::{Container, ContainerStatus, Pod, ResourceRequirements};

use crate::pod::PodExt;
use crate::quantity::{ResourceList, milli_value_of};

/// Resources that can be changed while a container runs.
pub(crate) const RESIZABLE: [&str; 2] = ["cpu", "memory"];

/// Whether two lists hold the same amounts of what can be resized, however they are written.
fn same_amounts(a: Option<&ResourceList>, b: Option<&ResourceList>) -> bool {
    let entry = |list: Option<&ResourceList>, name: &str| {
        list.and_then(|list| list.get(name)).map(|_| milli_value_of(list, name))
    };
    RESIZABLE.iter().all(|name| entry(a, name) == entry(b, name))
}

/// Whether two sets of resources are the same for a resize.
pub(crate) fn same_resources(a: Option<&ResourceRequirements>, b: Option<&ResourceRequirements>) -> bool {
    let requests = |r: Option<&ResourceRequirements>| r.and_then(|r| r.requests.clone());
    let limits = |r: Option<&ResourceRequirements>| r.and_then(|r| r.limits.clone());
    same_amounts(requests(a).as_ref(), requests(b).as_ref()) && same_amounts(limits(a).as_ref(), limits(b).as_ref())
}

/// All containers whose resources can be changed.
fn resizable(pod: &Pod) -> impl Iterator<Item = &Container> {
    pod.init_containers().iter().chain(pod.regular_containers())
}

/// Whether a pod asks for something else than was allocated.
pub(crate) fn differs(pod: &Pod, allocated: &Pod) -> bool {
    let of_pod = |pod: &Pod| pod.pod_spec().resources.clone();
    !same_resources(of_pod(pod).as_ref(), of_pod(allocated).as_ref())
        || resizable(pod).any(|container| {
            let given = resizable(allocated).find(|given| given.name == container.name);
            given.is_some_and(|given| !same_resources(container.resources.as_ref(), given.resources.as_ref()))
        })
}

/// The pod as the API has it now, with the resources of the allocated one.
pub(crate) fn with_allocation(pod: &Arc<Pod>, allocated: &Pod) -> Arc<Pod> {
    if !differs(pod, allocated) {
        return pod.clone();
    }
    let mut merged = (**pod).clone();
    let Some(spec) = merged.spec.as_mut() else { return pod.clone() };
    spec.resources = allocated.pod_spec().resources.clone();
    for container in spec.init_containers.iter_mut().flatten().chain(&mut spec.containers) {
        if let Some(given) = resizable(allocated).find(|given| given.name == container.name) {
            container.resources = given.resources.clone();
        }
    }
    Arc::new(merged)
}

/// What a pod that runs was given according to the status that was last reported.
pub(crate) fn reported(pod: &Arc<Pod>) -> Arc<Pod> {
    let mut given = (**pod).clone();
    let status = pod.pod_status();
    let Some(spec) = given.spec.as_mut() else { return pod.clone() };
    let lists = [&status.init_container_statuses, &status.container_statuses];
    let statuses: Vec<&ContainerStatus> = lists.into_iter().flatten().flatten().collect();
    for container in spec.init_containers.iter_mut().flatten().chain(&mut spec.containers) {
        let running = |status: &&&ContainerStatus| {
            status.name == container.name && status.state.as_ref().is_some_and(|state| state.running.is_some())
        };
        let Some(status) = statuses.iter().find(running) else { continue };
        if let Some(actual) = &status.resources {
            let resources = container.resources.get_or_insert_default();
            take(&mut resources.limits, actual.limits.as_ref());
            take(&mut resources.requests, status.allocated_resources.as_ref().or(actual.requests.as_ref()));
        }
    }
    if let (Some(resources), Some(actual)) = (spec.resources.as_mut(), &status.resources) {
        take(&mut resources.limits, actual.limits.as_ref());
        take(&mut resources.requests, status.allocated_resources.as_ref().or(actual.requests.as_ref()));
    }
    let given = Arc::new(given);
    if differs(pod, &given) { given } else { pod.clone() }
}

/// Puts the reported amounts of what can be resized in the place of the wanted ones.
fn take(wanted: &mut Option<ResourceList>, reported: Option<&ResourceList>) {
    let mut list = wanted.take().unwrap_or_default();
    for name in RESIZABLE {
        match reported.and_then(|reported| reported.get(name)) {
            Some(amount) => drop(list.insert(name.to_owned(), amount.clone())),
            None => drop(list.remove(name)),
        }
    }
    *wanted = (!list.is_empty()).then_some(list);
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn pod(resources: Value, status: Value) -> Arc<Pod> {
        Arc::new(
            serde_json::from_value(json!({"metadata": {"uid": "u", "generation": 2},
                "spec": {"containers": [{"name": "c", "resources": resources}, {"name": "d"}]}, "status": status}))
            .expect("a pod"),
        )
    }

    fn requests(pod: &Pod) -> Value {
        json!(pod.regular_containers()[0].resources)
    }

    #[test]
    fn amounts_count_and_not_how_they_are_written() {
        let a = pod(json!({"requests": {"cpu": "1", "memory": "1Gi"}}), json!({}));
        let b = pod(json!({"requests": {"cpu": "1000m", "memory": "1024Mi"}}), json!({}));
        assert!(!differs(&a, &b));
        let c = pod(json!({"requests": {"cpu": "1"}}), json!({}));
        assert!(differs(&a, &c) && differs(&c, &a));
        let storage = pod(json!({"requests": {"cpu": "1", "ephemeral-storage": "1Gi"}}), json!({}));
        assert!(!differs(&storage, &c), "storage cannot be resized");
    }

    #[test]
    fn the_allocation_takes_the_place_of_what_is_asked_for() {
        let asked = pod(json!({"requests": {"cpu": "2"}}), json!({}));
        let given = pod(json!({"requests": {"cpu": "1"}}), json!({}));
        let merged = with_allocation(&asked, &given);
        assert_eq!(requests(&merged), json!({"requests": {"cpu": "1"}}));
        assert_eq!(merged.metadata.generation, Some(2));
        assert!(Arc::ptr_eq(&with_allocation(&asked, &asked), &asked));
    }

    #[test]
    fn a_restarted_kubelet_reads_the_allocation_back() {
        let asked = json!({"requests": {"cpu": "2", "memory": "1Gi"}, "limits": {"cpu": "4"}});
        let running = json!({"containerStatuses": [{"name": "c", "state": {"running": {}},
            "allocatedResources": {"cpu": "1", "memory": "1Gi"},
            "resources": {"requests": {"cpu": "1", "memory": "1Gi"}, "limits": {"cpu": "3"}}}]});
        let given = reported(&pod(asked.clone(), running));
        assert_eq!(requests(&given), json!({"requests": {"cpu": "1", "memory": "1Gi"}, "limits": {"cpu": "3"}}));
        let ended =
            json!({"containerStatuses": [{"name": "c", "state": {"terminated": {"exitCode": 0}}, "resources": {}}]});
        let whole = pod(asked, ended);
        assert!(Arc::ptr_eq(&reported(&whole), &whole), "what does not run gets what it asks for");
    }
}
