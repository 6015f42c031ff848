//! Pods that have more on the disk than they may (upstream: `eviction_manager.go`, localStorageEviction). Pure.

use k8s_openapi::api::core::v1::Pod;

use super::rank::PodUse;
use crate::pod::{PodExt, is_sidecar};
use crate::quantity::{binary, value, value_of};

/// The resource that containers limit.
const STORAGE: &str = "ephemeral-storage";

/// Limit of a container, in bytes; 0 for none.
fn limit(container: &k8s_openapi::api::core::v1::Container) -> i64 {
    value_of(container.resources.as_ref().and_then(|resources| resources.limits.as_ref()), STORAGE)
}

/// The limit of the pod as a whole: the sum of those that containers have; 0 for none.
fn pod_limit(pod: &Pod) -> i64 {
    let sidecars = pod.init_containers().iter().filter(|container| is_sidecar(container));
    let beside: i64 = pod.regular_containers().iter().chain(sidecars).map(limit).sum();
    let first = pod.init_containers().iter().filter(|container| !is_sidecar(container)).map(limit).max();
    beside.max(first.unwrap_or(0))
}

/// Whether anything of a pod is limited.
pub(super) fn has_limits(pod: &Pod) -> bool {
    let volumes = pod.pod_volumes().iter().filter_map(|volume| volume.empty_dir.as_ref());
    volumes.into_iter().any(|source| source.size_limit.is_some()) || pod_limit(pod) > 0
}

/// Why a pod has to end; `None` if it keeps its limits.
pub(super) fn exceeded(pod: &Pod, used: &PodUse) -> Option<String> {
    let above = |used: u64, limit: i64| limit > 0 && i64::try_from(used).unwrap_or(i64::MAX) > limit;
    for volume in pod.pod_volumes() {
        let Some(size) = volume.empty_dir.as_ref().and_then(|source| source.size_limit.as_ref()) else { continue };
        if used.volumes.get(&volume.name).is_some_and(|bytes| above(*bytes, value(size))) {
            return Some(format!("Usage of EmptyDir volume {:?} exceeds the limit {:?}. ", volume.name, size.0));
        }
    }
    let total = pod_limit(pod);
    if above(used.disk(), total) {
        let limit = binary(total).0;
        return Some(format!("Pod ephemeral local storage usage exceeds the total limit of containers {limit}. "));
    }
    let container = pod.regular_containers().iter().find(|container| {
        used.containers.get(&container.name).is_some_and(|used| above(used.disk, limit(container)))
    })?;
    let (name, limit) = (&container.name, binary(limit(container)).0);
    Some(format!("Container {name} exceeded its local ephemeral storage limit {limit:?}. "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::eviction::rank::ContainerUse;
    use serde_json::json;

    fn pod() -> Pod {
        serde_json::from_value(json!({"spec": {
            "volumes": [{"name": "cache", "emptyDir": {"sizeLimit": "1Ki"}}, {"name": "free", "emptyDir": {}}],
            "containers": [
                {"name": "a", "resources": {"limits": {"ephemeral-storage": "1Ki"}}},
                {"name": "b", "resources": {"limits": {"ephemeral-storage": "3Ki"}}}]}}))
        .expect("a pod")
    }

    fn told(a: u64, b: u64, cache: u64, free: u64) -> Option<String> {
        let of = |disk| ContainerUse { memory: 0, disk };
        let used = PodUse {
            containers: [("a".to_owned(), of(a)), ("b".to_owned(), of(b))].into(),
            volumes: [("cache".to_owned(), cache), ("free".to_owned(), free)].into(),
            ..PodUse::default()
        };
        exceeded(&pod(), &used)
    }

    #[test]
    fn limits_are_held() {
        assert!(has_limits(&pod()) && !has_limits(&Pod::default()));
        assert_eq!(told(1024, 1024, 1024, 1024), None);
        let volume = "Usage of EmptyDir volume \"cache\" exceeds the limit \"1Ki\". ";
        assert_eq!(told(0, 0, 1025, 0).as_deref(), Some(volume));
        let container = "Container a exceeded its local ephemeral storage limit \"1Ki\". ";
        assert_eq!(told(1025, 0, 0, 0).as_deref(), Some(container));
        let all = "Pod ephemeral local storage usage exceeds the total limit of containers 4Ki. ";
        assert_eq!(told(0, 0, 0, 4097).as_deref(), Some(all));
        assert_eq!(exceeded(&Pod::default(), &PodUse::default()), None);
    }
}
