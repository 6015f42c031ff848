//! NodeResourcesBalancedAllocation: prefers nodes whose resources fill up evenly.

use std::sync::Arc;

use crate::cache::{NodeInfo, PodInfo, Snapshot};
use crate::framework::{CycleState, MAX_NODE_SCORE, Plugin, Score};
use crate::resources::Resource;

/// The plugin.
pub(super) struct BalancedAllocation;

impl Plugin for BalancedAllocation {
    fn name(&self) -> &'static str {
        "NodeResourcesBalancedAllocation"
    }
}

impl Score for BalancedAllocation {
    /// A pod that asks for nothing does not change the balance.
    fn pre_score(&self, _: &mut CycleState, pod: &PodInfo, _: &[Arc<NodeInfo>], _: &Snapshot) -> bool {
        pod.request.milli_cpu > 0 || pod.request.memory > 0
    }

    /// Compares the balance with the pod to that without it: 75 if it stays, more if it gets better.
    fn score(&self, _: &CycleState, pod: &PodInfo, node: &NodeInfo) -> i64 {
        let (allocatable, used) = (&node.allocatable, &node.requested);
        let with_pod = balance(used.milli_cpu + pod.request.milli_cpu, used.memory + pod.request.memory, allocatable);
        let without = balance(used.milli_cpu, used.memory, allocatable);
        MAX_NODE_SCORE / 2 + (MAX_NODE_SCORE / 2 + with_pod - without) / 2
    }
}

/// One less the standard deviation of the fractions in use, which for two is half their distance.
fn balance(milli_cpu: i64, memory: i64, allocatable: &Resource) -> i64 {
    let fraction = |used: i64, of: i64| if of == 0 { None } else { Some((used as f64 / of as f64).min(1.0)) };
    let deviation = match (fraction(milli_cpu, allocatable.milli_cpu), fraction(memory, allocatable.memory)) {
        (Some(cpu), Some(memory)) => (cpu - memory).abs() / 2.0,
        _ => 0.0,
    };
    ((1.0 - deviation) * MAX_NODE_SCORE as f64) as i64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{node, pod, scores, snapshot};
    use serde_json::json;

    #[test]
    fn evening_out_scores_better() {
        let nodes = [node("a", json!({"cpu": "10", "memory": "10"})), node("b", json!({"cpu": "10", "memory": "10"}))];
        let asking = |name: &str, node: &str, cpu: &str, memory: &str| {
            let requests = json!({"cpu": cpu, "memory": memory});
            pod(name, json!({"nodeName": node, "containers": [{"name": "c", "resources": {"requests": requests}}]}))
        };
        let snapshot = snapshot(&nodes, &[asking("x", "a", "6", "0"), asking("y", "b", "0", "6")]);
        let scores = scores(&BalancedAllocation, &asking("p", "", "0", "4"), &snapshot);
        // From 70 to 90 and from 70 to 50: (50 ± 20) / 2 above 50.
        assert_eq!(scores, [85, 65]);
        assert!(crate::testing::scores(&BalancedAllocation, &pod("p", json!({})), &snapshot).is_empty());
    }
}
