//! The pod of a DaemonSet for a node.

use serde_json::{Value, json};
use skiff_client::Kind;
use skiff_client::types::{DaemonSet, Pod};

use crate::{ownership, pods, revisions};

/// Annotation that counted templates before there were revisions.
const GENERATION: &str = "deprecated.daemonset.template.generation";
/// Label of pods with that count.
const GENERATION_LABEL: &str = "pod-template-generation";

/// Taints that the pods of every DaemonSet tolerate: the troubles of nodes must not drive them away.
const TOLERATED: [(&str, &str); 6] = [
    ("node.kubernetes.io/not-ready", "NoExecute"),
    ("node.kubernetes.io/unreachable", "NoExecute"),
    ("node.kubernetes.io/disk-pressure", "NoSchedule"),
    ("node.kubernetes.io/memory-pressure", "NoSchedule"),
    ("node.kubernetes.io/pid-pressure", "NoSchedule"),
    ("node.kubernetes.io/unschedulable", "NoSchedule"),
];
/// The one that only pods in the node's network tolerate.
const NO_NETWORK: (&str, &str) = ("node.kubernetes.io/network-unavailable", "NoSchedule");

/// The template generation that a set is annotated with.
fn generation(set: &DaemonSet) -> Option<i64> {
    set.metadata.annotations.get(GENERATION)?.parse().ok()
}

/// Whether a pod is of the newest template: by its hash, or by the count of before.
pub(super) fn is_updated(set: &DaemonSet, hash: &str, pod: &Pod) -> bool {
    let labels = &pod.metadata.labels;
    let counted = generation(set).is_some_and(|count| labels.get(GENERATION_LABEL) == Some(&count.to_string()));
    counted || (!hash.is_empty() && labels.get(revisions::POD_LABEL) == Some(hash))
}

/// The pod for a node.
pub(super) fn pod(set: &DaemonSet, hash: &str, node: &str) -> Value {
    let owner = ownership::controller_reference(&DaemonSet::RESOURCE, &set.metadata);
    let mut pod = pods::from_template(&set.spec.template, &set.metadata.namespace, &owner);
    pod["metadata"]["generateName"] = json!(pods::generate_name(&set.metadata.name));
    if let Some(generation) = generation(set) {
        pod["metadata"]["labels"][GENERATION_LABEL] = json!(generation.to_string());
    }
    pod["metadata"]["labels"][revisions::POD_LABEL] = json!(hash);
    add_tolerations(&mut pod["spec"]);
    // All terms of the template match this node, or it would not be chosen: one that names it is enough.
    let terms = json!([{"matchFields": [{"key": "metadata.name", "operator": "In", "values": [node]}]}]);
    pod["spec"]["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"] =
        terms;
    pod
}

/// Adds what every DaemonSet's pod tolerates, in place of what is the same but for its time.
pub(super) fn add_tolerations(spec: &mut Value) {
    let own_network = spec["hostNetwork"] == true;
    let mut tolerations = spec["tolerations"].as_array().cloned().unwrap_or_default();
    for (key, effect) in TOLERATED.into_iter().chain(own_network.then_some(NO_NETWORK)) {
        let new = json!({"key": key, "operator": "Exists", "effect": effect});
        let same = |have: &&mut Value| {
            let value = have["value"].as_str().unwrap_or_default();
            have["key"] == key && have["effect"] == effect && have["operator"] == "Exists" && value.is_empty()
        };
        let mut found = tolerations.iter_mut().filter(same).peekable();
        if found.peek().is_some() {
            found.for_each(|have| have.clone_from(&new));
        } else {
            tolerations.push(new);
        }
    }
    spec["tolerations"] = Value::Array(tolerations);
}

/// The node that a pod is on or meant for.
pub(super) fn node_of(pod: &Pod) -> Option<&str> {
    if !pod.spec.node_name.is_empty() {
        return Some(&pod.spec.node_name);
    }
    let required = pod.spec.affinity.as_ref()?.node_affinity.as_ref()?.required.as_ref()?;
    let mut named = required
        .node_selector_terms
        .iter()
        .flat_map(|term| &term.match_fields)
        .filter(|rule| rule.key == "metadata.name" && rule.operator == "In");
    match named.next()?.values.as_slice() {
        [only] => Some(only),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_is_pinned_to_its_node_and_tolerates_the_troubles_of_nodes() {
        let set: DaemonSet = serde_json::from_value(json!({
            "metadata": {"name": "agent", "namespace": "n", "uid": "u", "annotations": {GENERATION: "3"}},
            "spec": {"template": {"metadata": {"labels": {"app": "agent"}}, "spec": {"hostNetwork": true,
                "tolerations": [{"key": "node.kubernetes.io/not-ready", "operator": "Exists", "effect": "NoExecute",
                    "tolerationSeconds": 5}, {"operator": "Exists"}],
                "affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms":
                    [{"matchExpressions": [{"key": "a", "operator": "Exists"}]}]}}}}}},
        }))
        .expect("a set");
        let value = pod(&set, "abc", "n1");
        assert_eq!(
            value["metadata"]["labels"],
            json!({"app": "agent", GENERATION_LABEL: "3", revisions::POD_LABEL: "abc"})
        );
        let tolerations = value["spec"]["tolerations"].as_array().expect("tolerations");
        assert_eq!(tolerations.len(), 8);
        assert_eq!(
            tolerations[0],
            json!({"key": "node.kubernetes.io/not-ready", "operator": "Exists", "effect": "NoExecute"})
        );
        let pod: Pod = serde_json::from_value(value).expect("a pod");
        assert_eq!(node_of(&pod), Some("n1"));
        assert!(is_updated(&set, "other", &pod), "by its count");
        let unpinned: Pod = serde_json::from_value(json!({"spec": {}})).expect("a pod");
        assert_eq!(node_of(&unpinned), None);
    }
}
