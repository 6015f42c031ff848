//! Which nodes should run the pod: by name, selector, required affinity and taints, and by nothing else. What else the
//! scheduler asks for (room, ports) makes the pod wait, or fail, on its node.

use serde_json::Value;
use skiff_client::types::{DaemonSet, Node, PodSpec};

use super::template;

/// What a node means for a set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Fit {
    /// A pod should be there.
    pub(super) should_run: bool,
    /// A pod that is there may stay.
    pub(super) may_stay: bool,
}

/// The rules of a set's template.
pub(super) struct Rules {
    spec: PodSpec,
}

impl Rules {
    pub(super) fn of(set: &DaemonSet) -> Self {
        let mut template = set.spec.template.value();
        template::add_tolerations(&mut template["spec"]);
        let spec = template.get_mut("spec").map(Value::take).unwrap_or_default();
        Self { spec: serde_json::from_value(spec).unwrap_or_default() }
    }

    pub(super) fn fit(&self, node: &Node) -> Fit {
        let named = self.spec.node_name.is_empty() || self.spec.node_name == node.metadata.name;
        if !named || !self.selects(node) {
            return Fit { should_run: false, may_stay: false };
        }
        let intolerable = |effects: &[&str]| {
            node.spec.taints.iter().any(|taint| {
                effects.contains(&taint.effect.as_str()) && !self.spec.tolerations.iter().any(|t| t.tolerates(taint))
            })
        };
        Fit { should_run: !intolerable(&["NoExecute", "NoSchedule"]), may_stay: !intolerable(&["NoExecute"]) }
    }

    fn selects(&self, node: &Node) -> bool {
        let affinity = self.spec.affinity.as_ref().and_then(|affinity| affinity.node_affinity.as_ref());
        let required = affinity.and_then(|rules| rules.required.as_ref());
        self.spec.node_selector.is_subset_of(&node.metadata.labels)
            && required.is_none_or(|required| required.matches_node(node))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn check(spec: Value, node: Value, expected: (bool, bool)) {
        let set = serde_json::from_value(json!({"spec": {"template": {"spec": spec}}})).expect("a set");
        let node: Node = serde_json::from_value(node).expect("a node");
        let fit = Rules::of(&set).fit(&node);
        assert_eq!((fit.should_run, fit.may_stay), expected, "{spec} on {node:?}");
    }

    #[test]
    fn nodes_fit_by_name_labels_and_taints() {
        let node = json!({"metadata": {"name": "a", "labels": {"disk": "ssd"}}});
        check(json!({}), node.clone(), (true, true));
        check(json!({"nodeName": "b"}), node.clone(), (false, false));
        check(json!({"nodeSelector": {"disk": "ssd"}}), node.clone(), (true, true));
        check(json!({"nodeSelector": {"disk": "hdd"}}), node.clone(), (false, false));
        let affinity = |values: Value| {
            json!({"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms":
                [{"matchFields": [{"key": "metadata.name", "operator": "In", "values": values}]}]}}}})
        };
        check(affinity(json!(["a"])), node.clone(), (true, true));
        check(affinity(json!(["b"])), node, (false, false));
        let tainted = |key: &str, effect: &str| json!({"metadata": {"name": "a"}, "spec": {"taints": [{"key": key, "effect": effect}]}});
        check(json!({}), tainted("x", "NoSchedule"), (false, true));
        check(json!({}), tainted("x", "NoExecute"), (false, false));
        check(json!({}), tainted("x", "PreferNoSchedule"), (true, true));
        check(json!({"tolerations": [{"key": "x", "operator": "Exists"}]}), tainted("x", "NoExecute"), (true, true));
        check(json!({}), tainted("node.kubernetes.io/unschedulable", "NoSchedule"), (true, true));
        check(json!({}), tainted("node.kubernetes.io/network-unavailable", "NoSchedule"), (false, true));
        check(
            json!({"hostNetwork": true}),
            tainted("node.kubernetes.io/network-unavailable", "NoSchedule"),
            (true, true),
        );
    }
}
