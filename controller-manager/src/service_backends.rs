//! Which pods stand behind a Service, and with which ports: shared by EndpointSlices and Endpoints.

use std::sync::Arc;

use skiff_client::types::{HasMeta, IntOrString, Pod, Service, ServicePort, TargetRef};
use skiff_client::{Event, Informer, ObjectKey, Workqueue};

/// Annotation with the time of the newest change that endpoints show.
pub const TRIGGER_TIME: &str = "endpoints.kubernetes.io/last-change-trigger-time";
/// Label of endpoints of a headless Service.
pub const HEADLESS_LABEL: &str = "service.kubernetes.io/headless";

/// Whether endpoints of a Service are made from pods at all.
pub fn selects_pods(service: &Service) -> bool {
    !service.spec.selector.is_empty() && service.spec.type_ != "ExternalName"
}

/// The pods that a Service selects, finished ones and those without an address left out.
pub fn pods_of(service: &Service, pods: &Informer<Pod>) -> Vec<Arc<Pod>> {
    let mut found = pods.list_namespace(&service.metadata.namespace);
    found.retain(|pod| {
        service.spec.selector.is_subset_of(&pod.metadata.labels) && !pod.is_terminal() && !pod.status.pod_ip.is_empty()
    });
    found
}

/// The port of a pod that a Service port leads to: a number is itself, a name is looked up in the containers,
/// sidecars included.
pub fn target_port(port: &ServicePort, pod: &Pod) -> Option<i32> {
    let name = match &port.target_port {
        IntOrString::Int(0) => return Some(port.port),
        IntOrString::Int(number) => return Some(*number),
        IntOrString::String(name) => name,
    };
    let protocol_of = |protocol: &str| if protocol.is_empty() { "TCP" } else { protocol }.to_owned();
    let sidecars = pod.spec.init_containers.iter().filter(|container| container.restart_policy == "Always");
    let mut ports = pod.spec.containers.iter().chain(sidecars).flat_map(|container| &container.ports);
    ports
        .find(|have| have.name == *name && protocol_of(&have.protocol) == protocol_of(&port.protocol))
        .map(|have| have.container_port)
}

/// The host name of a pod under a Service: its own, if it chose this Service as its subdomain.
pub fn hostname<'a>(pod: &'a Pod, service: &Service) -> Option<&'a str> {
    let chosen = !pod.spec.hostname.is_empty() && pod.spec.subdomain == service.metadata.name;
    chosen.then_some(pod.spec.hostname.as_str())
}

/// A reference to a pod.
pub fn reference(pod: &Pod) -> TargetRef {
    let meta = pod.meta();
    TargetRef {
        kind: "Pod".into(),
        namespace: meta.namespace.clone(),
        name: meta.name.clone(),
        uid: meta.uid.clone(),
        ..TargetRef::default()
    }
}

/// Enqueues the Services that a changed pod stands behind, before or after the change; not for changes that endpoints
/// do not show.
pub fn enqueue_services(event: &Event<'_, Pod>, services: &Informer<Service>, queue: &Workqueue<ObjectKey>) {
    let pods: &[&Arc<Pod>] = match event {
        Event::Updated(old, new) if !shows_difference(old, new) => return,
        Event::Updated(old, new) if old.metadata.labels != new.metadata.labels => &[old, new],
        Event::Updated(_, pod) | Event::Added(pod) | Event::Deleted(pod) => &[pod],
    };
    for pod in pods {
        for service in services.list_namespace(&pod.metadata.namespace) {
            if selects_pods(&service) && service.spec.selector.is_subset_of(&pod.metadata.labels) {
                queue.add(service.metadata.key());
            }
        }
    }
}

fn shows_difference(old: &Pod, new: &Pod) -> bool {
    old.metadata.labels != new.metadata.labels
        || old.metadata.uid != new.metadata.uid
        || old.metadata.is_deleting() != new.metadata.is_deleting()
        || old.is_ready() != new.is_ready()
        || old.is_terminal() != new.is_terminal()
        || old.status.pod_ips != new.status.pod_ips
        || old.status.pod_ip != new.status.pod_ip
        || old.spec.node_name != new.spec.node_name
        || old.spec.hostname != new.spec.hostname
        || old.spec.subdomain != new.spec.subdomain
}

/// The newest moment at which a pod's part in endpoints changed.
pub fn newest_change(service: &Service, pods: &[Arc<Pod>]) -> Option<jiff::Timestamp> {
    let of_pod = |pod: &Arc<Pod>| {
        let ready = skiff_client::types::condition(&pod.status.conditions, "Ready");
        ready.and_then(|ready| ready.last_transition_time).max(pod.metadata.creation_timestamp)
    };
    pods.iter().filter_map(of_pod).max().max(service.metadata.creation_timestamp)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn target_ports_are_numbers_or_names_of_containers() {
        let pod: Pod = serde_json::from_value(json!({"spec": {
            "containers": [{"name": "a", "ports": [{"name": "http", "containerPort": 8080}]}],
            "initContainers": [{"name": "i", "ports": [{"name": "once", "containerPort": 1}]},
                {"name": "s", "restartPolicy": "Always", "ports": [{"name": "side", "containerPort": 9, "protocol": "UDP"}]}],
        }}))
        .expect("a pod");
        let check = |port: serde_json::Value, expected: Option<i32>| {
            let port: ServicePort = serde_json::from_value(port).expect("a port");
            assert_eq!(target_port(&port, &pod), expected, "{port:?}");
        };
        check(json!({"port": 80, "protocol": "TCP", "targetPort": 8081}), Some(8081));
        check(json!({"port": 80, "protocol": "TCP"}), Some(80));
        check(json!({"port": 80, "protocol": "TCP", "targetPort": "http"}), Some(8080));
        check(json!({"port": 80, "protocol": "UDP", "targetPort": "http"}), None);
        check(json!({"port": 80, "protocol": "UDP", "targetPort": "side"}), Some(9));
        check(json!({"port": 80, "protocol": "TCP", "targetPort": "once"}), None);
    }
}
