//! A node's own Node: it must not attract pods by labels or taints that are not its to set.

use skiff_apimachinery::value::Value;

use super::{Operation, Request};

const RESTRICTED: &str = "node-restriction.kubernetes.io";
/// Labels that a kubelet sets (`k8s.io/kubelet/pkg/apis/well_known_labels.go`).
const KUBELET_LABELS: [&str; 11] = [
    "beta.kubernetes.io/arch",
    "beta.kubernetes.io/instance-type",
    "beta.kubernetes.io/os",
    "failure-domain.beta.kubernetes.io/region",
    "failure-domain.beta.kubernetes.io/zone",
    "kubernetes.io/arch",
    "kubernetes.io/hostname",
    "kubernetes.io/os",
    "node.kubernetes.io/instance-type",
    "topology.kubernetes.io/region",
    "topology.kubernetes.io/zone",
];
const KUBELET_LABEL_NAMESPACES: [&str; 2] = ["kubelet.kubernetes.io", "node.kubernetes.io"];

pub(super) fn check(node: &str, request: &Request<'_>) -> Result<(), String> {
    // A POST has no name in its URL.
    let name = match request.name {
        "" => request.object().str_at(&["metadata", "name"]).unwrap_or(""),
        name => name,
    };
    if name != node {
        return Err(format!("node {node:?} is not allowed to modify node {name:?}"));
    }
    let (old, new) = (request.old(), request.object());
    match request.operation {
        Operation::Create => {
            if new.at(&["spec", "configSource"]).is_some() {
                return Err(format!("node {node:?} is not allowed to create pods with a non-nil configSource"));
            }
            let forbidden = forbidden_labels(old, new);
            if !forbidden.is_empty() {
                let labels = forbidden.join(", ");
                return Err(format!("node {node:?} is not allowed to set the following labels: {labels}"));
            }
        }
        Operation::Update => {
            const SOURCE: [&str; 2] = ["spec", "configSource"];
            if new.at(&SOURCE).is_some() && new.at(&SOURCE) != old.at(&SOURCE) {
                return Err(format!(
                    "node {node:?} is not allowed to update configSource to a new non-nil configSource"
                ));
            }
            if new.array_at(&["spec", "taints"]) != old.array_at(&["spec", "taints"]) {
                return Err(format!("node {node:?} is not allowed to modify taints"));
            }
            const OWNERS: [&str; 2] = ["metadata", "ownerReferences"];
            if new.array_at(&OWNERS) != old.array_at(&OWNERS) {
                return Err(format!("node {node:?} is not allowed to modify ownerReferences"));
            }
            let forbidden = forbidden_labels(old, new);
            if !forbidden.is_empty() {
                return Err(format!("is not allowed to modify labels: {}", forbidden.join(", ")));
            }
        }
        _ => {}
    }
    Ok(())
}

/// Labels that differ and that are not the node's to set, sorted.
fn forbidden_labels<'a>(old: &'a Value, new: &'a Value) -> Vec<&'a str> {
    let label = |node: &'a Value, key: &str| node.at(&["metadata", "labels", key]);
    let keys = [old, new].into_iter().filter_map(|node| node.at(&["metadata", "labels"])?.as_object());
    let mut keys = keys.flat_map(|labels| labels.keys()).collect::<Vec<_>>();
    keys.sort_unstable();
    keys.dedup();
    keys.retain(|key| label(old, key) != label(new, key) && is_forbidden(key));
    keys
}

fn is_forbidden(label: &str) -> bool {
    let namespace = label.split_once('/').map_or("", |(namespace, _)| namespace);
    let within = |parent: &str| namespace == parent || namespace.strip_suffix(parent).is_some_and(|p| p.ends_with('.'));
    if within(RESTRICTED) {
        return true;
    }
    let of_kubernetes = within("kubernetes.io") || within("k8s.io");
    of_kubernetes && !KUBELET_LABELS.contains(&label) && !KUBELET_LABEL_NAMESPACES.iter().any(|parent| within(parent))
}
