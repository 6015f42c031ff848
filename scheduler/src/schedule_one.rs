//! One cycle: from a pod to the node it is to run on, or to why there is none. Pure: everything it looks at is in the
//! snapshot, and what it decides is carried out by others.
//!
//! Follows `pkg/scheduler/schedule_one.go`, `schedulingCycle`.

use std::sync::Arc;

use crate::cache::{NodeInfo, PodInfo, Snapshot};
use crate::framework::{CycleState, Diagnosis, FitError, OnlyNodes, PostFilterResult, Profile, Status};

/// Fewest nodes that are found feasible before the search may end (upstream `minFeasibleNodesToFind`).
const MIN_FEASIBLE_NODES: usize = 100;
/// Smallest share of nodes, in percent (upstream `minFeasibleNodesPercentageToFind`).
const MIN_FEASIBLE_PERCENTAGE: usize = 5;

/// Where the search over many nodes goes on, so that every node gets its turn.
#[derive(Debug, Default)]
pub struct Search {
    percentage: u32,
    next_start: usize,
    cycle: usize,
}

/// What a cycle came to.
pub enum Outcome {
    /// The pod is to run on this node.
    Node {
        /// Name of the node.
        name: String,
        /// What plugins remember for the steps to come.
        state: CycleState,
    },
    /// No node fits.
    Unschedulable {
        /// Why.
        error: FitError,
        /// What is done about it; without, no plugin had something to try.
        post_filter: Option<PostFilterResult>,
    },
}

/// What is said instead of an attempt at preemption when the pod fits nowhere from the start: upstream's plugin for
/// claims comes last before the filters, and then finds nothing of its own to go by.
const UNPREPARED: &str = "not found";

/// Decides about a pod.
pub fn schedule(profile: &Profile, search: &mut Search, pod: &PodInfo, snapshot: &Snapshot) -> Outcome {
    let mut state = CycleState::default();
    let mut diagnosis = Diagnosis::default();
    if let Err((plugin, status)) = profile.run_pre_filter(&mut state, pod, snapshot) {
        diagnosis.refused_by(plugin);
        diagnosis.pre_filter = status.reasons.join(", ");
        let everywhere = snapshot.nodes.iter().map(|node| (node.name.clone(), status.clone()));
        diagnosis.nodes = everywhere.collect();
        diagnosis.post_filter = UNPREPARED.into();
        return Outcome::Unschedulable {
            error: FitError { node_count: snapshot.nodes.len(), diagnosis },
            post_filter: None,
        };
    }
    let feasible = feasible_nodes(profile, search, &state, pod, snapshot, &mut diagnosis);
    match feasible.as_slice() {
        [] => unschedulable(profile, &state, pod, snapshot, diagnosis),
        [only] => Outcome::Node { name: only.name.clone(), state },
        nodes => {
            let scores = profile.run_score(&mut state, pod, nodes, snapshot);
            search.cycle = search.cycle.wrapping_add(1);
            let best = best_of(&scores, search.cycle);
            Outcome::Node { name: nodes[best].name.clone(), state }
        }
    }
}

fn unschedulable(
    profile: &Profile,
    state: &CycleState,
    pod: &PodInfo,
    snapshot: &Snapshot,
    mut diagnosis: Diagnosis,
) -> Outcome {
    let post_filter = profile.post_filter.as_ref().filter(|_| !snapshot.nodes.is_empty());
    let post_filter = post_filter.map(|plugin| plugin.post_filter(profile, state, pod, snapshot, &diagnosis));
    if let Some(result) = &post_filter {
        diagnosis.post_filter = result.message.clone();
    }
    Outcome::Unschedulable { error: FitError { node_count: snapshot.nodes.len(), diagnosis }, post_filter }
}

/// Nodes that fit: the one that room was made on, if it does, else as many as are worth comparing.
fn feasible_nodes(
    profile: &Profile,
    search: &mut Search,
    state: &CycleState,
    pod: &PodInfo,
    snapshot: &Snapshot,
    diagnosis: &mut Diagnosis,
) -> Vec<Arc<NodeInfo>> {
    let nominated = snapshot.get(&pod.pod.status.nominated_node_name);
    if let Some(node) = nominated
        && profile.run_filter_with_nominated(state, pod, node, &snapshot.nominated).is_ok()
    {
        return vec![node.clone()];
    }
    if let Some(only) = &state.only_nodes {
        return feasible_of(profile, only, state, pod, snapshot, diagnosis);
    }
    let count = snapshot.nodes.len();
    let wanted = search.wanted(count);
    let mut feasible = Vec::new();
    let mut looked_at = 0;
    for at in 0..count {
        if feasible.len() >= wanted {
            break;
        }
        let node = &snapshot.nodes[(search.next_start + at) % count];
        looked_at += 1;
        match profile.run_filter_with_nominated(state, pod, node, &snapshot.nominated) {
            Ok(()) => feasible.push(node.clone()),
            Err((plugin, status)) => {
                diagnosis.refused_by(plugin);
                diagnosis.nodes.insert(node.name.clone(), status);
            }
        }
    }
    search.next_start = if count == 0 { 0 } else { (search.next_start + looked_at) % count };
    feasible
}

/// Nodes that fit of those that the pod names itself: as a rule one, so the others need not be asked about.
fn feasible_of(
    profile: &Profile,
    only: &OnlyNodes,
    state: &CycleState,
    pod: &PodInfo,
    snapshot: &Snapshot,
    diagnosis: &mut Diagnosis,
) -> Vec<Arc<NodeInfo>> {
    let mut feasible = Vec::new();
    for node in only.names.iter().filter_map(|name| snapshot.get(name)) {
        match profile.run_filter_with_nominated(state, pod, node, &snapshot.nominated) {
            Ok(()) => feasible.push(node.clone()),
            Err((plugin, status)) => {
                diagnosis.refused_by(plugin);
                diagnosis.nodes.insert(node.name.clone(), status);
            }
        }
    }
    if feasible.is_empty() {
        diagnosis.refused_by(only.plugin);
        let refused = Status::unresolvable(format!("node(s) didn't satisfy plugin(s) [{}]", only.plugin));
        for node in snapshot.nodes.iter().filter(|node| !only.names.contains(&node.name)) {
            diagnosis.nodes.insert(node.name.clone(), refused.clone());
        }
    }
    feasible
}

impl Search {
    /// A search that ends when this share of nodes, in percent, was found feasible; 0: chosen by the size of the
    /// cluster.
    pub fn new(percentage: u32) -> Self {
        Self { percentage, ..Self::default() }
    }

    /// How many feasible nodes are enough (upstream `numFeasibleNodesToFind`).
    fn wanted(&self, nodes: usize) -> usize {
        if nodes < MIN_FEASIBLE_NODES {
            return nodes;
        }
        let percentage = match self.percentage as usize {
            0 => 50_usize.saturating_sub(nodes / 125).max(MIN_FEASIBLE_PERCENTAGE),
            chosen => chosen,
        };
        (nodes * percentage / 100).clamp(MIN_FEASIBLE_NODES, nodes)
    }
}

/// Index of the best score; of equal ones, another one each time.
fn best_of(scores: &[i64], cycle: usize) -> usize {
    let best = scores.iter().max().copied().unwrap_or(0);
    let equal: Vec<usize> = scores.iter().enumerate().filter(|(_, score)| **score == best).map(|(at, _)| at).collect();
    equal.get(cycle % equal.len().max(1)).copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::plugins::{Sources, default_profile};
    use crate::testing::{node, node_with, pod, pod_with, snapshot};

    fn profile() -> Profile {
        default_profile(&Sources::detached())
    }

    fn asking(cpu: &str) -> Arc<PodInfo> {
        pod("p", json!({"containers": [{"name": "c", "resources": {"requests": {"cpu": cpu}}}]}))
    }

    fn decide(pod: &PodInfo, snapshot: &Snapshot) -> String {
        match schedule(&profile(), &mut Search::default(), pod, snapshot) {
            Outcome::Node { name, .. } => name,
            Outcome::Unschedulable { error, .. } => error.to_string(),
        }
    }

    #[test]
    fn the_emptier_node_is_taken() {
        let there =
            pod("x", json!({"nodeName": "a", "containers": [{"name": "c", "resources": {"requests": {"cpu": "1"}}}]}));
        let nodes = [node("a", json!({"cpu": "4"})), node("b", json!({"cpu": "4"}))];
        assert_eq!(decide(&asking("1"), &snapshot(&nodes, &[there])), "b");
    }

    #[test]
    fn a_failure_reads_as_upstream_writes_it() {
        assert_eq!(decide(&asking("1"), &snapshot(&[], &[])), "no nodes available to schedule pods");
        let tainted = node_with(json!({"metadata": {"name": "t"}, "status": {"allocatable": {"cpu": "8"}},
            "spec": {"taints": [{"key": "k", "value": "v", "effect": "NoSchedule"}]}}));
        let nodes = [node("a", json!({"cpu": "2"})), node("b", json!({"cpu": "2"})), tainted];
        assert_eq!(
            decide(&asking("3"), &snapshot(&nodes, &[])),
            "0/3 nodes are available: 1 node(s) had untolerated taint(s), 2 Insufficient cpu. no new claims to deallocate, \
             preemption: 0/3 nodes are available: 3 Preemption is not helpful for scheduling."
        );
    }

    #[test]
    fn who_names_nodes_is_tried_on_these_alone() {
        let nodes = [node("a", json!({"cpu": "1"})), node("b", json!({"cpu": "8"})), node("c", json!({"cpu": "8"}))];
        let naming = |names: &[&str]| {
            let fields = json!([{"key": "metadata.name", "operator": "In", "values": names}]);
            let terms = json!({"nodeSelectorTerms": [{"matchFields": fields}]});
            let affinity = json!({"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": terms}});
            let containers = json!([{"name": "c", "resources": {"requests": {"cpu": "2"}}}]);
            decide(&pod("p", json!({"affinity": affinity, "containers": containers})), &snapshot(&nodes, &[]))
        };
        assert_eq!((naming(&["b"]), naming(&["a", "c"])), ("b".into(), "c".into()));
        assert_eq!(
            naming(&["a", "gone"]),
            "0/3 nodes are available: 1 Insufficient cpu, 2 node(s) didn't satisfy plugin(s) [NodeAffinity]. no new claims to \
             deallocate, preemption: 0/3 nodes are available: 3 Preemption is not helpful for scheduling."
        );
        assert!(naming(&[]).starts_with("0/3 nodes are available: pod affinity terms conflict. not found"));
    }

    #[test]
    fn a_nominated_node_is_taken_first() {
        let nodes = [node("a", json!({"cpu": "4"})), node("b", json!({"cpu": "64"}))];
        let nominated = pod_with(json!({"metadata": {"name": "p"}, "status": {"nominatedNodeName": "a"},
            "spec": {"containers": [{"name": "c", "resources": {"requests": {"cpu": "1"}}}]}}));
        assert_eq!(decide(&nominated, &snapshot(&nodes, &[])), "a");
    }

    #[test]
    fn large_clusters_are_searched_in_turns() {
        let nodes: Vec<_> = (0..300).map(|at| node(&format!("n{at:03}"), json!({"cpu": "4"}))).collect();
        let snapshot = snapshot(&nodes, &[]);
        let (profile, mut search) = (profile(), Search::new(1));
        let mut diagnosis = Diagnosis::default();
        let mut found = |search: &mut Search| {
            let state = CycleState::default();
            let nodes = feasible_nodes(&profile, search, &state, &asking("1"), &snapshot, &mut diagnosis);
            (nodes.len(), nodes[0].name.clone())
        };
        assert_eq!(found(&mut search), (100, "n000".to_owned()));
        assert_eq!(found(&mut search), (100, "n100".to_owned()));
        assert_eq!(Search::default().wanted(5000), 500);
        assert_eq!(Search::default().wanted(99), 99);
    }

    #[test]
    fn equal_scores_take_turns() {
        assert_eq!([0, 1, 2, 3].map(|cycle| best_of(&[5, 9, 1, 9], cycle)), [1, 3, 1, 3]);
    }
}
