//! Whether the node takes a pod that was bound to it (upstream: `pkg/kubelet/lifecycle/predicate.go`, `sysctl`). A pod
//! that is refused fails for good; its controller makes another one elsewhere.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use k8s_openapi::api::core::v1::{ContainerPort, NodeSelectorRequirement, NodeSelectorTerm, Pod};
use parking_lot::Mutex;

use crate::actions::sidecars;
use crate::pod::PodExt;
use crate::quantity::{ResourceList, milli_value_of, value_of};
use crate::spec::resources::PodTotals;
use crate::status::generate::Verdicted;

/// Sysctls that are safe on every node: they hold for the pod's namespaces only.
const SAFE_SYSCTLS: [&str; 12] = [
    "kernel.shm_rmid_forced",
    "net.ipv4.ip_local_port_range",
    "net.ipv4.tcp_syncookies",
    "net.ipv4.ping_group_range",
    "net.ipv4.ip_unprivileged_port_start",
    "net.ipv4.ip_local_reserved_ports",
    "net.ipv4.tcp_keepalive_time",
    "net.ipv4.tcp_fin_timeout",
    "net.ipv4.tcp_keepalive_intvl",
    "net.ipv4.tcp_keepalive_probes",
    "net.ipv4.tcp_rmem",
    "net.ipv4.tcp_wmem",
];

/// What the node offers.
#[derive(Clone, Debug, Default)]
pub(crate) struct Offer {
    pub(crate) node_name: String,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) allocatable: ResourceList,
}

/// The pods the node has taken. Decisions are made one after the other, so two pods never share the last place.
#[derive(Default)]
pub(crate) struct Admission {
    taken: Mutex<HashMap<String, Arc<Pod>>>,
}

impl Admission {
    /// Takes a pod, or says why not.
    pub(crate) fn admit(&self, pod: &Arc<Pod>, offer: &Offer) -> Result<(), Verdicted> {
        let mut taken = self.taken.lock();
        let others: Vec<&Pod> = taken.iter().filter(|(uid, _)| *uid != pod.uid()).map(|(_, pod)| &**pod).collect();
        check(pod, &others, offer)?;
        taken.insert(pod.uid().to_owned(), pod.clone());
        Ok(())
    }

    /// Takes a pod that runs already.
    pub(crate) fn keep(&self, pod: &Arc<Pod>) {
        self.taken.lock().insert(pod.uid().to_owned(), pod.clone());
    }

    /// A pod has ended.
    pub(crate) fn release(&self, uid: &str) {
        self.taken.lock().remove(uid);
    }
}

fn refused(reason: impl Into<String>, message: impl std::fmt::Display) -> Verdicted {
    Verdicted { reason: reason.into(), message: format!("Pod was rejected: {message}") }
}

fn check(pod: &Pod, others: &[&Pod], offer: &Offer) -> Result<(), Verdicted> {
    check_os(pod, offer)?;
    check_sysctls(pod)?;
    check_resources(pod, others, offer)?;
    if !matches_node(pod, offer) {
        let message = "Predicate NodeAffinity failed: node(s) didn't match Pod's node affinity/selector";
        return Err(refused("NodeAffinity", message));
    }
    if others.iter().any(|other| ports_clash(pod, other)) {
        let message = "Predicate NodePorts failed: node(s) didn't have free ports for the requested pod ports";
        return Err(refused("NodePorts", message));
    }
    Ok(())
}

fn check_os(pod: &Pod, offer: &Offer) -> Result<(), Verdicted> {
    let label = offer.labels.get("kubernetes.io/os").map_or("linux", String::as_str);
    match &pod.pod_spec().os {
        Some(os) if os.name != label => {
            Err(refused("PodOSNotSupported", "Failed to admit pod as the OS field doesn't match node OS"))
        }
        _ => Ok(()),
    }
}

fn check_sysctls(pod: &Pod) -> Result<(), Verdicted> {
    for sysctl in pod.pod_security().sysctls.iter().flatten() {
        let name = sysctl.name.replace('/', ".");
        if !SAFE_SYSCTLS.contains(&name.as_str()) {
            return Err(refused("SysctlForbidden", format!("forbidden sysctl: {name:?} not allowlisted")));
        }
        if name.starts_with("net.") && pod.is_host_network() {
            return Err(refused(
                "SysctlForbidden",
                format!("forbidden sysctl: {name:?} not allowed with host net enabled"),
            ));
        }
    }
    Ok(())
}

fn check_resources(pod: &Pod, others: &[&Pod], offer: &Offer) -> Result<(), Verdicted> {
    let allocatable = Some(&offer.allocatable);
    let short = |resource: &str, requested: i64, used: i64, capacity: i64| {
        let message = format!(
            "Node didn't have enough resource: {resource}, requested: {requested}, used: {used}, capacity: {capacity}"
        );
        Err(refused(format!("OutOf{resource}"), message))
    };
    let count = i64::try_from(others.len()).unwrap_or(i64::MAX);
    let places = value_of(allocatable, "pods");
    if places > 0 && count >= places {
        return short("pods", 1, count, places);
    }
    let wanted = PodTotals::of(pod);
    let used: Vec<PodTotals> = others.iter().map(|other| PodTotals::of(other)).collect();
    let sum = |amount: fn(&PodTotals) -> i64| used.iter().map(amount).sum::<i64>();
    let cpu = |totals: &PodTotals| totals.cpu_request.unwrap_or(0);
    let amounts = [
        ("cpu", cpu(&wanted), sum(cpu), milli_value_of(allocatable, "cpu")),
        ("memory", wanted.memory_request, sum(|t| t.memory_request), value_of(allocatable, "memory")),
        (
            "ephemeral-storage",
            wanted.storage_request,
            sum(|t| t.storage_request),
            value_of(allocatable, "ephemeral-storage"),
        ),
    ];
    for (resource, requested, used, capacity) in amounts {
        if requested > 0 && used + requested > capacity {
            return short(resource, requested, used, capacity);
        }
    }
    Ok(())
}

fn matches_node(pod: &Pod, offer: &Offer) -> bool {
    let selector = pod.pod_spec().node_selector.iter().flatten();
    let selected = selector.into_iter().all(|(key, value)| offer.labels.get(key) == Some(value));
    let required = pod
        .pod_spec()
        .affinity
        .as_ref()
        .and_then(|affinity| affinity.node_affinity.as_ref())
        .and_then(|affinity| affinity.required_during_scheduling_ignored_during_execution.as_ref());
    selected
        && required.is_none_or(|required| required.node_selector_terms.iter().any(|term| term_matches(term, offer)))
}

fn term_matches(term: &NodeSelectorTerm, offer: &Offer) -> bool {
    let labels = term.match_expressions.as_deref().unwrap_or(&[]);
    let fields = term.match_fields.as_deref().unwrap_or(&[]);
    // A term that asks for nothing matches nothing.
    !(labels.is_empty() && fields.is_empty())
        && labels.iter().all(|r| requirement_matches(r, offer.labels.get(&r.key).map(String::as_str)))
        && fields.iter().all(|r| requirement_matches(r, (r.key == "metadata.name").then_some(&offer.node_name)))
}

fn requirement_matches(requirement: &NodeSelectorRequirement, value: Option<&str>) -> bool {
    let values = requirement.values.as_deref().unwrap_or(&[]);
    let listed = value.is_some_and(|value| values.iter().any(|v| v == value));
    let number = |text: &str| text.parse::<i64>().ok();
    let compared = |holds: fn(i64, i64) -> bool| match (value.and_then(number), values.first().and_then(|v| number(v)))
    {
        (Some(own), Some(bound)) => holds(own, bound),
        _ => false,
    };
    match requirement.operator.as_str() {
        "In" => listed,
        "NotIn" => !listed,
        "Exists" => value.is_some(),
        "DoesNotExist" => value.is_none(),
        "Gt" => compared(|own, bound| own > bound),
        "Lt" => compared(|own, bound| own < bound),
        _ => false,
    }
}

fn host_ports(pod: &Pod) -> impl Iterator<Item = &ContainerPort> {
    let containers = pod.regular_containers().iter().chain(sidecars(pod));
    containers.flat_map(|c| c.ports.iter().flatten()).filter(|port| port.host_port.is_some_and(|p| p > 0))
}

fn ports_clash(a: &Pod, b: &Pod) -> bool {
    let any = |ip: &Option<String>| ip.as_deref().is_none_or(|ip| ip.is_empty() || ip == "0.0.0.0" || ip == "::");
    let protocol = |port: &ContainerPort| port.protocol.clone().unwrap_or_else(|| "TCP".into());
    host_ports(a).any(|x| {
        host_ports(b).any(|y| {
            x.host_port == y.host_port
                && protocol(x) == protocol(y)
                && (any(&x.host_ip) || any(&y.host_ip) || x.host_ip == y.host_ip)
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn pod(uid: &str, spec: Value) -> Arc<Pod> {
        Arc::new(serde_json::from_value(json!({"metadata": {"name": uid, "uid": uid}, "spec": spec})).expect("a pod"))
    }

    fn offer() -> Offer {
        Offer {
            node_name: "node".into(),
            labels: [("disk".to_owned(), "ssd".to_owned()), ("cores".to_owned(), "4".to_owned())].into(),
            allocatable: serde_json::from_value(json!({"cpu": "2", "memory": "1Gi", "pods": "2"})).expect("a list"),
        }
    }

    /// The reason for which the second pod is refused beside the first.
    fn reason(first: Value, second: Value) -> Option<String> {
        let admission = Admission::default();
        admission.admit(&pod("a", first), &offer()).expect("taken");
        admission.admit(&pod("b", second), &offer()).err().map(|verdict| verdict.reason)
    }

    fn asks(resource: &str, amount: &str) -> Value {
        json!({"containers": [{"name": "c", "resources": {"requests": {resource: amount}}}]})
    }

    fn port(number: i32, ip: &str, protocol: &str) -> Value {
        json!({"containers": [{"name": "c", "ports": [{"containerPort": 1, "hostPort": number, "hostIP": ip, "protocol": protocol}]}]})
    }

    #[test]
    fn resources() {
        assert_eq!(reason(asks("cpu", "1"), asks("cpu", "1")), None);
        assert_eq!(reason(asks("cpu", "1"), asks("cpu", "1001m")).as_deref(), Some("OutOfcpu"));
        assert_eq!(reason(asks("memory", "1Gi"), asks("memory", "1")).as_deref(), Some("OutOfmemory"));
        let admission = Admission::default();
        for uid in ["a", "b"] {
            admission.admit(&pod(uid, json!({"containers": []})), &offer()).expect("taken");
        }
        let third = pod("c", json!({"containers": []}));
        let verdict = admission.admit(&third, &offer()).expect_err("full");
        assert_eq!(
            verdict.message,
            "Pod was rejected: Node didn't have enough resource: pods, requested: 1, used: 2, capacity: 2"
        );
        admission.release("a");
        admission.admit(&third, &offer()).expect("a place is free");
        admission.admit(&third, &offer()).expect("it is its own place");
    }

    #[test]
    fn ports() {
        assert_eq!(reason(port(80, "", "TCP"), port(80, "127.0.0.1", "TCP")).as_deref(), Some("NodePorts"));
        assert_eq!(reason(port(80, "127.0.0.2", "TCP"), port(80, "127.0.0.1", "TCP")), None);
        assert_eq!(reason(port(80, "", "TCP"), port(80, "", "UDP")), None);
        assert_eq!(reason(port(80, "", "TCP"), port(81, "", "TCP")), None);
    }

    #[test]
    fn selectors() {
        let selects = |spec: Value| {
            let mut spec = spec;
            spec["containers"] = json!([]);
            Admission::default().admit(&pod("a", spec), &offer()).is_ok()
        };
        assert!(selects(json!({"nodeSelector": {"disk": "ssd"}})));
        assert!(!selects(json!({"nodeSelector": {"disk": "hdd"}})));
        let affinity = |kind: &str, key: &str, operator: &str, values: Value| {
            selects(json!({"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {
                "nodeSelectorTerms": [{kind: [{"key": key, "operator": operator, "values": values}]}]}}}}))
        };
        assert!(affinity("matchExpressions", "cores", "Gt", json!(["3"])));
        assert!(!affinity("matchExpressions", "cores", "Lt", json!(["3"])));
        assert!(affinity("matchExpressions", "gpu", "DoesNotExist", json!([])));
        assert!(affinity("matchExpressions", "disk", "NotIn", json!(["hdd"])));
        assert!(affinity("matchFields", "metadata.name", "In", json!(["node"])));
        assert!(!affinity("matchFields", "metadata.name", "In", json!(["other"])));
    }

    #[test]
    fn sysctls_and_systems() {
        let check = |spec: Value| {
            let mut spec = spec;
            spec["containers"] = json!([]);
            Admission::default().admit(&pod("a", spec), &offer()).err().map(|v| v.reason)
        };
        let sysctl = |name: &str| json!({"securityContext": {"sysctls": [{"name": name, "value": "1"}]}});
        assert_eq!(check(sysctl("kernel.shm_rmid_forced")), None);
        assert_eq!(check(sysctl("kernel.msgmax")).as_deref(), Some("SysctlForbidden"));
        assert_eq!(check(json!({"os": {"name": "windows"}})).as_deref(), Some("PodOSNotSupported"));
    }
}
