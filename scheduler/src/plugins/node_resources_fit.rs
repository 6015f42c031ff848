//! NodeResourcesFit: a node must have what the pod asks for; the one with more left is the better choice
//! (LeastAllocated).

use std::sync::Arc;

use crate::cache::{NodeInfo, PodInfo, Snapshot};
use crate::framework::{Code, CycleState, Filter, MAX_NODE_SCORE, Plugin, PreFilter, Score, Status};
use crate::queue::ClusterEvents;

/// The plugin.
pub(super) struct NodeResourcesFit;

impl Plugin for NodeResourcesFit {
    fn name(&self) -> &'static str {
        "NodeResourcesFit"
    }

    fn events(&self) -> ClusterEvents {
        ClusterEvents::NODE_ADD
            | ClusterEvents::NODE_ALLOCATABLE
            | ClusterEvents::ASSIGNED_POD_DELETE
            | ClusterEvents::ASSIGNED_POD_UPDATE
            | ClusterEvents::UNSCHEDULED_POD_UPDATE
    }
}

/// What a node lacks.
struct Shortage {
    reasons: Vec<String>,
    /// Whether the node lacks it even when empty.
    hopeless: bool,
}

impl Shortage {
    fn check(&mut self, resource: &str, wanted: i64, used: i64, allocatable: i64) {
        if wanted > 0 && wanted > allocatable - used {
            self.reasons.push(format!("Insufficient {resource}"));
            self.hopeless |= wanted > allocatable;
        }
    }
}

impl PreFilter for NodeResourcesFit {
    fn pre_filter(&self, _: &mut CycleState, _: &PodInfo, _: &Snapshot) -> Status {
        Status::SUCCESS
    }
}

impl Filter for NodeResourcesFit {
    fn filter(&self, _: &CycleState, pod: &PodInfo, node: &NodeInfo) -> Status {
        let (wanted, used, has) = (&pod.request, &node.requested, &node.allocatable);
        let mut shortage = Shortage { reasons: Vec::new(), hopeless: false };
        if node.pods.len() as i64 + 1 > has.allowed_pods {
            shortage.reasons.push("Too many pods".into());
        }
        shortage.check("cpu", wanted.milli_cpu, used.milli_cpu, has.milli_cpu);
        shortage.check("memory", wanted.memory, used.memory, has.memory);
        shortage.check("ephemeral-storage", wanted.ephemeral_storage, used.ephemeral_storage, has.ephemeral_storage);
        for (name, amount) in &wanted.scalar {
            shortage.check(name, *amount, used.scalar(name), has.scalar(name));
        }
        if shortage.reasons.is_empty() {
            return Status::SUCCESS;
        }
        let code = if shortage.hopeless { Code::UnschedulableAndUnresolvable } else { Code::Unschedulable };
        Status { code, reasons: shortage.reasons }
    }
}

impl Score for NodeResourcesFit {
    fn pre_score(&self, _: &mut CycleState, _: &PodInfo, nodes: &[Arc<NodeInfo>], _: &Snapshot) -> bool {
        !nodes.is_empty()
    }

    fn score(&self, _: &CycleState, pod: &PodInfo, node: &NodeInfo) -> i64 {
        let left = |wanted: i64, used: i64, allocatable: i64| {
            let requested = used + wanted;
            if allocatable == 0 || requested > allocatable {
                0
            } else {
                (allocatable - requested).saturating_mul(MAX_NODE_SCORE) / allocatable
            }
        };
        let (cpu, memory) = (node.allocatable.milli_cpu, node.allocatable.memory);
        let counted = i64::from(cpu != 0) + i64::from(memory != 0);
        if counted == 0 {
            return 0;
        }
        let scores =
            left(pod.nonzero.0, node.nonzero_requested.0, cpu) + left(pod.nonzero.1, node.nonzero_requested.1, memory);
        scores / counted
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{node, pod, scores, snapshot, verdicts};
    use serde_json::{Value, json};

    fn asking(name: &str, node: &str, requests: Value) -> Arc<PodInfo> {
        pod(name, json!({"nodeName": node, "containers": [{"name": "c", "resources": {"requests": requests}}]}))
    }

    #[test]
    fn shortages_are_named() {
        let nodes = [
            node("a", json!({"cpu": "2", "memory": "4Gi"})),
            node("b", json!({"cpu": "8", "memory": "1Gi", "example.com/gpu": "1"})),
            node("c", json!({"cpu": "8", "memory": "8Gi", "pods": "1"})),
        ];
        let there = [asking("x", "a", json!({"cpu": "1500m"})), asking("y", "c", json!({}))];
        let snapshot = snapshot(&nodes, &there);
        let check = |requests, expected: &[&str]| {
            assert_eq!(verdicts(&NodeResourcesFit, &asking("p", "", requests), &snapshot), expected);
        };
        check(json!({"cpu": "500m"}), &["a: ok", "b: ok", "c: Too many pods"]);
        check(
            json!({"cpu": "501m", "memory": "2Gi"}),
            &["a: Insufficient cpu", "b: Insufficient memory", "c: Too many pods"],
        );
        check(
            json!({"example.com/gpu": "1"}),
            &["a: Insufficient example.com/gpu", "b: ok", "c: Too many pods, Insufficient example.com/gpu"],
        );
    }

    #[test]
    fn what_no_eviction_can_help_is_told() {
        let snapshot = snapshot(&[node("a", json!({"cpu": "2"}))], &[asking("x", "a", json!({"cpu": "1"}))]);
        let code = |cpu: &str| {
            let pod = asking("p", "", json!({ "cpu": cpu }));
            NodeResourcesFit.filter(&CycleState::default(), &pod, &snapshot.nodes[0]).code
        };
        assert_eq!(code("2"), Code::Unschedulable);
        assert_eq!(code("3"), Code::UnschedulableAndUnresolvable);
    }

    #[test]
    fn the_emptier_node_scores_better() {
        let nodes =
            [node("a", json!({"cpu": "4", "memory": "10Gi"})), node("b", json!({"cpu": "4", "memory": "10Gi"}))];
        let snapshot = snapshot(&nodes, &[asking("x", "a", json!({"cpu": "2", "memory": "5Gi"}))]);
        let scores = scores(&NodeResourcesFit, &asking("p", "", json!({"cpu": "1", "memory": "1Gi"})), &snapshot);
        // (25 + 40) / 2 and (75 + 90) / 2.
        assert_eq!(scores, [32, 82]);
    }
}
