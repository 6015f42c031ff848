//! NodeAffinity: a pod's node selector and required node affinity must match the node; preferred terms rank it.

use std::collections::BTreeSet;

use skiff_client::types::{NodeAffinity as Rules, NodeSelector, Pod};

use crate::cache::{NodeInfo, PodInfo, Snapshot};
use crate::framework::{CycleState, Filter, OnlyNodes, Plugin, PreFilter, Score, Status, normalize_scores};
use crate::queue::ClusterEvents;

/// The plugin.
pub(super) struct NodeAffinity;

impl Plugin for NodeAffinity {
    fn name(&self) -> &'static str {
        "NodeAffinity"
    }

    fn events(&self) -> ClusterEvents {
        ClusterEvents::NODE_ADD | ClusterEvents::NODE_LABEL | ClusterEvents::UNSCHEDULED_POD_UPDATE
    }
}

fn rules(pod: &Pod) -> Option<&Rules> {
    pod.spec.affinity.as_ref()?.node_affinity.as_ref()
}

/// Whether the pod's own rules let it run on the node.
pub(super) fn matches(pod: &Pod, node: &NodeInfo) -> bool {
    pod.spec.node_selector.iter().all(|(key, value)| node.label(key) == Some(value))
        && rules(pod)
            .and_then(|rules| rules.required.as_ref())
            .is_none_or(|required| required.matches(&node.name, |key| node.label(key)))
}

/// Names of the nodes that the pod's terms name; `None` if there is a term that names none. Requirements within a term
/// all hold, terms are alternatives.
fn named_nodes(required: &NodeSelector) -> Option<BTreeSet<String>> {
    let mut names = BTreeSet::new();
    for term in &required.node_selector_terms {
        let naming = term.match_fields.iter().filter(|rule| rule.key == "metadata.name" && rule.operator == "In");
        let mut lists = naming.map(|rule| rule.values.iter().cloned().collect::<BTreeSet<String>>());
        let first = lists.next()?;
        names.append(&mut lists.fold(first, |all, list| &all & &list));
    }
    Some(names)
}

impl PreFilter for NodeAffinity {
    fn pre_filter(&self, state: &mut CycleState, pod: &PodInfo, _: &Snapshot) -> Status {
        let required = rules(&pod.pod).and_then(|rules| rules.required.as_ref());
        if required.is_none() && pod.pod.spec.node_selector.is_empty() {
            return Status::SKIP;
        }
        let terms = required.filter(|required| !required.node_selector_terms.is_empty());
        match terms.and_then(named_nodes) {
            Some(names) if names.is_empty() => return Status::unresolvable("pod affinity terms conflict"),
            Some(names) => state.only_nodes = Some(OnlyNodes { names, plugin: self.name() }),
            None => {}
        }
        Status::SUCCESS
    }
}

impl Filter for NodeAffinity {
    fn filter(&self, _: &CycleState, pod: &PodInfo, node: &NodeInfo) -> Status {
        if matches(&pod.pod, node) {
            return Status::SUCCESS;
        }
        Status::unresolvable("node(s) didn't match Pod's node affinity/selector")
    }
}

impl Score for NodeAffinity {
    fn pre_score(&self, _: &mut CycleState, pod: &PodInfo, _: &[std::sync::Arc<NodeInfo>], _: &Snapshot) -> bool {
        rules(&pod.pod).is_some_and(|rules| !rules.preferred.is_empty())
    }

    fn score(&self, _: &CycleState, pod: &PodInfo, node: &NodeInfo) -> i64 {
        let preferred = rules(&pod.pod).map_or(&[][..], |rules| &rules.preferred);
        let matching = preferred.iter().filter(|term| {
            // An empty preference prefers every node.
            term.preference.is_empty() || term.preference.matches(&node.name, &|key| node.label(key))
        });
        matching.map(|term| i64::from(term.weight)).sum()
    }

    fn normalize(&self, _: &CycleState, scores: &mut [i64]) {
        normalize_scores(scores, false);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{node_with, pod, scores, snapshot, verdicts};
    use serde_json::{Value, json};

    fn nodes() -> Snapshot {
        let labelled = |name: &str, labels: Value| node_with(json!({"metadata": {"name": name, "labels": labels}}));
        snapshot(
            &[labelled("a", json!({"zone": "z1", "cpus": "4"})), labelled("b", json!({"zone": "z2", "cpus": "16"}))],
            &[],
        )
    }

    fn check(spec: Value, expected: &str) {
        let verdicts = verdicts(&NodeAffinity, &pod("p", spec.clone()), &nodes());
        let fitting: Vec<&str> = verdicts.iter().filter_map(|verdict| verdict.strip_suffix(": ok")).collect();
        let found = if verdicts == ["skip"] { "skip".to_owned() } else { fitting.join(" ") };
        assert_eq!(found, expected, "{spec}");
    }

    fn required(term: Value) -> Value {
        json!({"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution":
            {"nodeSelectorTerms": [term]}}}})
    }

    #[test]
    fn selectors_and_terms_match_as_upstream() {
        let expression = |key: &str, operator: &str, values: Value| {
            required(json!({"matchExpressions": [{"key": key, "operator": operator, "values": values}]}))
        };
        check(json!({}), "skip");
        check(json!({"nodeSelector": {"zone": "z2"}}), "b");
        check(expression("zone", "In", json!(["z1", "z2"])), "a b");
        check(expression("zone", "NotIn", json!(["z1"])), "b");
        check(expression("disk", "NotIn", json!(["ssd"])), "a b");
        check(expression("disk", "Exists", json!([])), "");
        check(expression("disk", "DoesNotExist", json!([])), "a b");
        check(expression("cpus", "Gt", json!(["8"])), "b");
        check(expression("cpus", "Lt", json!(["8"])), "a");
        check(expression("zone", "Gt", json!(["8"])), "");
        check(required(json!({})), "");
        check(required(json!({"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["b"]}]})), "b");
        check(
            json!({"nodeSelector": {"zone": "z1"}, "affinity": expression("cpus", "Gt", json!(["8"]))["affinity"]}),
            "",
        );
    }

    #[test]
    fn preferences_add_up() {
        let term = |weight: i32, zone: &str| {
            json!({"weight": weight, "preference":
                {"matchExpressions": [{"key": "zone", "operator": "In", "values": [zone]}]}})
        };
        let spec = json!({"affinity": {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution":
            [term(80, "z1"), term(20, "z2"), {"weight": 0, "preference": {}}]}}});
        assert_eq!(scores(&NodeAffinity, &pod("p", spec), &nodes()), [100, 25]);
        assert!(scores(&NodeAffinity, &pod("p", json!({})), &nodes()).is_empty());
    }
}
