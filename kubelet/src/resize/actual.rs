//! What a container has really got, as the status shows it (upstream: `kubelet_pods.go`, convertContainerStatusResources).

use k8s_openapi::api::core::v1::{Container, Pod, ResourceRequirements};

use super::plan::Knobs;
use crate::observed::{ContainerState, ObservedContainer};
use crate::quantity::{binary, millicores};
use crate::spec::resources::{QUOTA_PERIOD, container_resources, cpu_shares_as_millicores};

/// The resources of a run: those allocated, but what the runtime says where it still differs.
pub(crate) fn resources(pod: &Pod, container: &Container, run: &ObservedContainer) -> ResourceRequirements {
    let mut resources = container.resources.clone().unwrap_or_default();
    let Some(known) = run.resources.as_ref().filter(|_| run.state == ContainerState::Running) else {
        return resources;
    };
    // Equal knobs may stand for different amounts: then the allocated ones are shown.
    let (now, given) = (Knobs::of(known), Knobs::of(&container_resources(pod, container, 0)));
    if let Some(limits) = &mut resources.limits {
        if now.cpu_quota > 0 && now.cpu_quota != given.cpu_quota {
            let period = if now.cpu_period > 0 { now.cpu_period } else { QUOTA_PERIOD };
            limits.insert("cpu".to_owned(), millicores(now.cpu_quota * 1000 / period));
        }
        if now.memory_limit > 0 && now.memory_limit != given.memory_limit {
            limits.insert("memory".to_owned(), binary(now.memory_limit));
        }
    }
    if let Some(requests) = &mut resources.requests
        && now.cpu_shares > 0
        && now.cpu_shares != given.cpu_shares
    {
        requests.insert("cpu".to_owned(), millicores(cpu_shares_as_millicores(now.cpu_shares)));
    }
    resources
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pod::PodExt;
    use serde_json::{Value, json};

    fn pod(resources: Value) -> Pod {
        serde_json::from_value(json!({"spec": {"containers": [{"name": "c", "resources": resources}]}})).expect("a pod")
    }

    fn shown(given: Value, running: Value, state: ContainerState) -> Value {
        let (given, running) = (pod(given), pod(running));
        let run = ObservedContainer {
            state,
            resources: Some(container_resources(&running, &running.regular_containers()[0], 1 << 30)),
            ..Default::default()
        };
        json!(resources(&given, &given.regular_containers()[0], &run))
    }

    #[test]
    fn what_is_not_carried_out_yet_is_shown_as_it_was() {
        let old = json!({"requests": {"cpu": "100m", "memory": "1Mi"}, "limits": {"cpu": "200m", "memory": "64Mi"}});
        let new = json!({"requests": {"cpu": "150m", "memory": "2Mi"}, "limits": {"cpu": "1500m", "memory": "1Gi"}});
        let mixed = json!({"requests": {"cpu": "100m", "memory": "2Mi"}, "limits": {"cpu": "200m", "memory": "64Mi"}});
        assert_eq!(shown(new.clone(), old.clone(), ContainerState::Running), mixed);
        assert_eq!(shown(new.clone(), new.clone(), ContainerState::Running), new);
        assert_eq!(shown(new.clone(), old, ContainerState::Exited), new);
    }

    #[test]
    fn amounts_with_equal_knobs_are_those_allocated() {
        let tiny = |cpu: &str| json!({"requests": {"cpu": cpu}, "limits": {"cpu": "5m"}});
        assert_eq!(shown(tiny("1m"), tiny("2m"), ContainerState::Running), tiny("1m"));
        assert_eq!(shown(json!({}), tiny("100m"), ContainerState::Running), json!({}));
    }
}
