//! NodeName: a pod that names its node runs there or nowhere. (A pod with a node name is bound already; this holds
//! for pods that preemption or a cluster autoscaler imagines.)

use crate::cache::{NodeInfo, PodInfo};
use crate::framework::{CycleState, Filter, Plugin, Status};
use crate::queue::ClusterEvents;

/// The plugin.
pub(super) struct NodeName;

impl Plugin for NodeName {
    fn name(&self) -> &'static str {
        "NodeName"
    }

    fn events(&self) -> ClusterEvents {
        ClusterEvents::NODE_ADD
    }
}

impl Filter for NodeName {
    fn filter(&self, _: &CycleState, pod: &PodInfo, node: &NodeInfo) -> Status {
        let wanted = &pod.pod.spec.node_name;
        if wanted.is_empty() || *wanted == node.name {
            return Status::SUCCESS;
        }
        Status::unresolvable("node(s) didn't match the requested node name")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{filter_verdicts, node, pod, snapshot};
    use serde_json::json;

    #[test]
    fn only_the_named_node_fits() {
        let snapshot = snapshot(&[node("a", json!({})), node("b", json!({}))], &[]);
        let check = |spec, expected: &[&str]| {
            assert_eq!(filter_verdicts(&NodeName, &CycleState::default(), &pod("p", spec), &snapshot), expected);
        };
        check(json!({}), &["a: ok", "b: ok"]);
        check(json!({"nodeName": "b"}), &["a: node(s) didn't match the requested node name", "b: ok"]);
    }
}
