//! TaintToleration: a node's taints keep away pods that do not tolerate them; soft ones make it a worse choice.

use skiff_client::types::{Pod, Taint};

use crate::cache::{NodeInfo, PodInfo};
use crate::framework::{CycleState, Filter, Plugin, Score, Status, normalize_scores};
use crate::queue::ClusterEvents;

/// The plugin.
pub(super) struct TaintToleration;

impl Plugin for TaintToleration {
    fn name(&self) -> &'static str {
        "TaintToleration"
    }

    fn events(&self) -> ClusterEvents {
        ClusterEvents::NODE_ADD | ClusterEvents::NODE_TAINT | ClusterEvents::UNSCHEDULED_POD_UPDATE
    }
}

fn tolerates(pod: &Pod, taint: &Taint) -> bool {
    pod.spec.tolerations.iter().any(|toleration| toleration.tolerates(taint))
}

fn taints(node: &NodeInfo) -> &[Taint] {
    node.node.as_ref().map_or(&[], |node| &node.spec.taints)
}

/// Whether the pod tolerates every taint that forbids scheduling.
pub(super) fn tolerates_all(pod: &Pod, node: &NodeInfo) -> bool {
    let mut hard = taints(node).iter().filter(|taint| matches!(taint.effect.as_str(), "NoSchedule" | "NoExecute"));
    hard.all(|taint| tolerates(pod, taint))
}

impl Filter for TaintToleration {
    fn filter(&self, _: &CycleState, pod: &PodInfo, node: &NodeInfo) -> Status {
        if tolerates_all(&pod.pod, node) {
            return Status::SUCCESS;
        }
        Status::unresolvable("node(s) had untolerated taint(s)")
    }
}

impl Score for TaintToleration {
    fn score(&self, _: &CycleState, pod: &PodInfo, node: &NodeInfo) -> i64 {
        let soft = taints(node).iter().filter(|taint| taint.effect == "PreferNoSchedule");
        soft.filter(|taint| !tolerates(&pod.pod, taint)).count() as i64
    }

    fn normalize(&self, _: &CycleState, scores: &mut [i64]) {
        normalize_scores(scores, true);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{filter_verdicts, node_with, pod, scores, snapshot};
    use serde_json::json;

    fn tainted(name: &str, effects: &[&str]) -> std::sync::Arc<skiff_client::types::Node> {
        let taints: Vec<_> = effects.iter().map(|effect| json!({"key": "k", "value": "v", "effect": effect})).collect();
        node_with(json!({"metadata": {"name": name}, "spec": {"taints": taints}}))
    }

    #[test]
    fn hard_taints_refuse() {
        let snapshot = snapshot(&[tainted("a", &["NoSchedule"]), tainted("b", &["PreferNoSchedule"])], &[]);
        let refused = "a: node(s) had untolerated taint(s)";
        let check = |toleration, expected: &[&str]| {
            let pod = pod("p", json!({"tolerations": [toleration]}));
            assert_eq!(filter_verdicts(&TaintToleration, &CycleState::default(), &pod, &snapshot), expected);
        };
        check(json!({"key": "k", "value": "v"}), &["a: ok", "b: ok"]);
        check(json!({"key": "k", "operator": "Exists", "effect": "NoSchedule"}), &["a: ok", "b: ok"]);
        check(json!({"key": "k", "operator": "Exists", "effect": "NoExecute"}), &[refused, "b: ok"]);
        check(json!({"key": "k", "value": "other"}), &[refused, "b: ok"]);
        check(json!({"key": "other", "operator": "Exists"}), &[refused, "b: ok"]);
    }

    #[test]
    fn soft_taints_make_a_node_worse() {
        let nodes = [tainted("a", &[]), tainted("b", &["PreferNoSchedule"])];
        let snapshot = snapshot(&nodes, &[]);
        assert_eq!(scores(&TaintToleration, &pod("p", json!({})), &snapshot), [100, 0]);
        let tolerant = pod("p", json!({"tolerations": [{"operator": "Exists"}]}));
        assert_eq!(scores(&TaintToleration, &tolerant, &snapshot), [100, 100]);
    }
}
