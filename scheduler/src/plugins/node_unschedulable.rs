//! NodeUnschedulable: a cordoned node takes only pods that tolerate it.

use skiff_client::types::Taint;

use crate::cache::{NodeInfo, PodInfo};
use crate::framework::{CycleState, Filter, Plugin, Status};
use crate::queue::ClusterEvents;

/// The plugin.
pub(super) struct NodeUnschedulable;

impl Plugin for NodeUnschedulable {
    fn name(&self) -> &'static str {
        "NodeUnschedulable"
    }

    fn events(&self) -> ClusterEvents {
        ClusterEvents::NODE_ADD | ClusterEvents::NODE_TAINT | ClusterEvents::UNSCHEDULED_POD_UPDATE
    }
}

impl Filter for NodeUnschedulable {
    fn filter(&self, _: &CycleState, pod: &PodInfo, node: &NodeInfo) -> Status {
        if !node.node.as_ref().is_some_and(|node| node.spec.unschedulable) {
            return Status::SUCCESS;
        }
        let taint =
            Taint { key: "node.kubernetes.io/unschedulable".into(), effect: "NoSchedule".into(), ..Taint::default() };
        if pod.pod.spec.tolerations.iter().any(|toleration| toleration.tolerates(&taint)) {
            return Status::SUCCESS;
        }
        Status::unresolvable("node(s) were unschedulable")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{filter_verdicts, node, node_with, pod, snapshot};
    use serde_json::json;

    #[test]
    fn cordoned_nodes_are_refused_unless_tolerated() {
        let cordoned = node_with(json!({"metadata": {"name": "a"}, "spec": {"unschedulable": true}}));
        let snapshot = snapshot(&[cordoned, node("b", json!({}))], &[]);
        let check = |spec, expected: &[&str]| {
            let verdicts = filter_verdicts(&NodeUnschedulable, &CycleState::default(), &pod("p", spec), &snapshot);
            assert_eq!(verdicts, expected);
        };
        check(json!({}), &["a: node(s) were unschedulable", "b: ok"]);
        check(json!({"tolerations": [{"operator": "Exists"}]}), &["a: ok", "b: ok"]);
    }
}
