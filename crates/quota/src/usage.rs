//! What an object uses of which quota, and which quotas it is charged to.
//!
//! Follows `pkg/quota/v1/evaluator/core` and `k8s.io/apiserver/pkg/quota/v1/generic`.

use std::collections::{BTreeMap, BTreeSet};

use skiff_apimachinery::quantity::Quantity;
use skiff_apimachinery::value::Value;

use crate::amounts::{Amounts, amounts, pod_amounts, quantity};

const STORAGE_CLASS_INFIX: &str = ".storageclass.storage.k8s.io/";
/// Quota names that a pod's amounts are counted under.
const POD_RESOURCES: [&str; 10] = [
    "cpu",
    "memory",
    "ephemeral-storage",
    "requests.cpu",
    "requests.memory",
    "requests.ephemeral-storage",
    "limits.cpu",
    "limits.memory",
    "limits.ephemeral-storage",
    "pods",
];
/// Of these every container must say what it needs when they have a quota. More must not be added: it was a mistake
/// that cannot be taken back.
const EXPLICIT: [&str; 6] = ["cpu", "memory", "requests.cpu", "requests.memory", "limits.cpu", "limits.memory"];
/// Kinds whose number has a name of its own beside `count/RESOURCE`.
const COUNT_ALIASES: [&str; 4] = ["configmaps", "resourcequotas", "replicationcontrollers", "secrets"];

/// What is measured.
#[derive(Clone, Copy)]
pub struct Measured<'a> {
    /// API group of the object, empty for core.
    pub group: &'a str,
    /// Its resource (plural).
    pub resource: &'a str,
    /// The object.
    pub object: &'a Value,
}

/// The name under which a quota counts the objects of a resource, e.g. `count/deployments.apps`.
pub fn count_name(group: &str, resource: &str) -> String {
    if group.is_empty() { format!("count/{resource}") } else { format!("count/{resource}.{group}") }
}

impl Measured<'_> {
    /// The names among a quota's that this kind of object can use.
    pub fn matching(self, names: impl IntoIterator<Item = String>) -> BTreeSet<String> {
        let count = count_name(self.group, self.resource);
        names.into_iter().filter(|name| *name == count || self.uses(name)).collect()
    }

    fn uses(self, name: &str) -> bool {
        match (self.group, self.resource) {
            ("", "pods") => {
                POD_RESOURCES.contains(&name)
                    || name.starts_with("hugepages-")
                    || name
                        .strip_prefix("requests.")
                        .is_some_and(|rest| rest.starts_with("hugepages-") || is_extended(rest))
            }
            ("", "services") => matches!(name, "services" | "services.nodeports" | "services.loadbalancers"),
            ("", "persistentvolumeclaims") => {
                let own = |name: &str| matches!(name, "persistentvolumeclaims" | "requests.storage");
                own(name) || name.split_once(STORAGE_CLASS_INFIX).is_some_and(|(_, rest)| own(rest))
            }
            ("", resource) => COUNT_ALIASES.contains(&resource) && name == resource,
            _ => false,
        }
    }

    /// What the object uses.
    pub fn usage(self) -> Amounts {
        let one = Quantity::from_value(1);
        let mut usage = Amounts::from([(count_name(self.group, self.resource), one)]);
        match (self.group, self.resource) {
            ("", "pods") => pod_usage(self.object, &mut usage),
            ("", "services") => service_usage(self.object, &mut usage),
            ("", "persistentvolumeclaims") => claim_usage(self.object, &mut usage),
            ("", resource) if COUNT_ALIASES.contains(&resource) => {
                usage.insert(resource.to_owned(), one);
            }
            _ => {}
        }
        usage
    }

    /// Whether a quota with these scopes is about the object.
    pub fn is_in_scope(self, quota: &Value) -> bool {
        let plain = quota.array_at(&["spec", "scopes"]).iter().filter_map(Value::as_str);
        let plain = plain.map(|scope| (scope, "Exists", &[][..]));
        let selected = quota.array_at(&["spec", "scopeSelector", "matchExpressions"]).iter().map(|expression| {
            let text = |field: &str| expression.str_at(&[field]).unwrap_or("");
            (text("scopeName"), text("operator"), expression.array_at(&["values"]))
        });
        plain.chain(selected).all(|(scope, operator, values)| match (self.group, self.resource) {
            ("", "pods") => pod_is_in(self.object, scope, operator, values),
            ("", "persistentvolumeclaims") if scope == "VolumeAttributesClass" => {
                let class = self.object.str_at(&["spec", "volumeAttributesClassName"]);
                selected_by(class.filter(|class| !class.is_empty()), operator, values)
            }
            _ => false,
        })
    }

    /// What the containers of a pod leave out although a quota wants it said; the error is upstream's text.
    pub fn check_explicit(self, names: &BTreeSet<String>) -> Result<(), String> {
        if (self.group, self.resource) != ("", "pods") || sets_pod_resources(self.object) {
            return Ok(());
        }
        let mut missing: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        for list in ["containers", "initContainers"] {
            for container in self.object.array_at(&["spec", list]) {
                let of = |field: &str| amounts(container.at(&["resources", field]));
                let mut said = Amounts::new();
                compute_usage(&of("requests"), &of("limits"), &mut said);
                let wanted = EXPLICIT.into_iter().filter(|name| names.contains(*name) && !said.contains_key(*name));
                for name in wanted {
                    missing.entry(name).or_default().insert(container.str_at(&["name"]).unwrap_or(""));
                }
            }
        }
        if missing.is_empty() {
            return Ok(());
        }
        let lines = missing.iter().map(|(name, containers)| {
            format!("{name} for: {}", containers.iter().copied().collect::<Vec<_>>().join(","))
        });
        Err(format!("must specify {}", lines.collect::<Vec<_>>().join("; ")))
    }
}

/// Whether a resource is not one of Kubernetes' own, e.g. `example.com/gpu`.
fn is_extended(name: &str) -> bool {
    let Some((domain, _)) = name.split_once('/') else { return false };
    let native = domain == "kubernetes.io" || domain.ends_with(".kubernetes.io");
    !native || name.starts_with("deviceclass.resource.kubernetes.io/")
}

fn sets_pod_resources(pod: &Value) -> bool {
    ["requests", "limits"].iter().any(|field| !amounts(pod.at(&["spec", "resources", field])).is_empty())
}

/// Whether the pod has a deadline.
pub fn terminates(pod: &Value) -> bool {
    pod.i64_at(&["spec", "activeDeadlineSeconds"]).is_some_and(|seconds| seconds >= 0)
}

fn is_best_effort(pod: &Value) -> bool {
    let asks = |object: &Value| {
        ["requests", "limits"].iter().any(|field| {
            let amounts = amounts(object.at(&["resources", field]));
            amounts.iter().any(|(name, amount)| matches!(name.as_str(), "cpu" | "memory") && !amount.is_zero())
        })
    };
    let spec = pod.get("spec").cloned().unwrap_or_default();
    let containers = ["containers", "initContainers"].iter().flat_map(|list| spec.array_at(&[list]));
    !asks(&spec) && !containers.into_iter().any(asks)
}

fn crosses_namespaces(pod: &Value) -> bool {
    let crosses = |term: &Value| !term.array_at(&["namespaces"]).is_empty() || term.get("namespaceSelector").is_some();
    ["podAffinity", "podAntiAffinity"].iter().any(|kind| {
        let at = |list: &str| pod.array_at(&["spec", "affinity", kind, list]);
        at("requiredDuringSchedulingIgnoredDuringExecution").iter().any(crosses)
            || at("preferredDuringSchedulingIgnoredDuringExecution")
                .iter()
                .filter_map(|weighted| weighted.get("podAffinityTerm"))
                .any(crosses)
    })
}

fn selected_by(value: Option<&str>, operator: &str, values: &[Value]) -> bool {
    let listed = value.is_some_and(|value| values.iter().any(|v| v.as_str() == Some(value)));
    match operator {
        "Exists" => value.is_some(),
        "DoesNotExist" => value.is_none(),
        "In" => listed,
        "NotIn" => !listed,
        _ => false,
    }
}

fn pod_is_in(pod: &Value, scope: &str, operator: &str, values: &[Value]) -> bool {
    match scope {
        "Terminating" => terminates(pod),
        "NotTerminating" => !terminates(pod),
        "BestEffort" => is_best_effort(pod),
        "NotBestEffort" => !is_best_effort(pod),
        "PriorityClass" => {
            let class = pod.str_at(&["spec", "priorityClassName"]).filter(|class| !class.is_empty());
            selected_by(class, operator, values)
        }
        "CrossNamespacePodAffinity" => crosses_namespaces(pod),
        _ => false,
    }
}

/// Amounts under the names that quotas use.
fn compute_usage(requests: &Amounts, limits: &Amounts, usage: &mut Amounts) {
    for name in ["cpu", "memory", "ephemeral-storage"] {
        if let Some(amount) = requests.get(name) {
            usage.insert(name.to_owned(), *amount);
            usage.insert(format!("requests.{name}"), *amount);
        }
        if let Some(amount) = limits.get(name) {
            usage.insert(format!("limits.{name}"), *amount);
        }
    }
    for (name, amount) in requests {
        if name.starts_with("hugepages-") {
            usage.insert(name.clone(), *amount);
            usage.insert(format!("requests.{name}"), *amount);
        } else if is_extended(name) {
            usage.insert(format!("requests.{name}"), *amount);
        }
    }
}

/// A pod that has ended uses nothing but its place in the store.
fn pod_usage(pod: &Value, usage: &mut Amounts) {
    if matches!(pod.str_at(&["status", "phase"]), Some("Failed" | "Succeeded")) {
        return;
    }
    usage.insert("pods".into(), Quantity::from_value(1));
    compute_usage(&pod_amounts(pod, "requests"), &pod_amounts(pod, "limits"), usage);
}

fn service_usage(service: &Value, usage: &mut Amounts) {
    let ports = service.array_at(&["spec", "ports"]);
    let chosen = ports.iter().filter(|port| port.i64_at(&["nodePort"]).is_some_and(|port| port != 0)).count();
    let kind = service.str_at(&["spec", "type"]).unwrap_or("");
    let allocated = service.bool_at(&["spec", "allocateLoadBalancerNodePorts"]) != Some(false);
    let node_ports = match kind {
        "NodePort" => ports.len(),
        "LoadBalancer" if allocated => ports.len(),
        "LoadBalancer" => chosen,
        _ => 0,
    };
    usage.insert("services".into(), Quantity::from_value(1));
    usage.insert("services.nodeports".into(), Quantity::from_value(i64::try_from(node_ports).unwrap_or(i64::MAX)));
    usage.insert("services.loadbalancers".into(), Quantity::from_value(i64::from(kind == "LoadBalancer")));
}

fn claim_usage(claim: &Value, usage: &mut Amounts) {
    const OLD_ANNOTATION: [&str; 3] = ["metadata", "annotations", "volume.beta.kubernetes.io/storage-class"];
    let class = claim.str_at(&OLD_ANNOTATION).or_else(|| claim.str_at(&["spec", "storageClassName"])).unwrap_or("");
    let mut charge = |name: &str, amount: Quantity| {
        usage.insert(name.to_owned(), amount);
        if !class.is_empty() {
            usage.insert(format!("{class}{STORAGE_CLASS_INFIX}{name}"), amount);
        }
    };
    charge("persistentvolumeclaims", Quantity::from_value(1));
    let asked = claim.at(&["spec", "resources", "requests", "storage"]).and_then(quantity);
    let allocated = claim.at(&["status", "allocatedResources", "storage"]).and_then(quantity);
    if let Some(asked) = asked {
        // While a claim shrinks back from a failed growth, what it holds counts.
        charge("requests.storage", asked.max(allocated.unwrap_or(asked)).rounded_up());
    }
}

/// The group and resource that a name in a quota is about; `None` for a name that says nothing.
pub fn resource_of(name: &str) -> Option<(&str, &str)> {
    if let Some(counted) = name.strip_prefix("count/") {
        let (resource, group) = counted.split_once('.').unwrap_or((counted, ""));
        return Some((group, resource));
    }
    let kinds = ["pods", "services", "persistentvolumeclaims"].into_iter().chain(COUNT_ALIASES);
    let uses = |resource: &&str| Measured { group: "", resource, object: &Value::Null }.uses(name);
    kinds.into_iter().find(uses).map(|resource| ("", resource))
}
