//! Nodes and pods for tests.

use std::sync::Arc;

use serde_json::{Value, json};
use skiff_client::types::{Node, Pod};

use crate::cache::{Cache, PodInfo, Snapshot};
use crate::framework::{CycleState, Filter, MAX_NODE_SCORE, PreFilter, Score};

/// A node with allocatable resources; room for 110 pods unless said otherwise.
pub(crate) fn node(name: &str, allocatable: Value) -> Arc<Node> {
    node_with(json!({"metadata": {"name": name}, "status": {"allocatable": allocatable}}))
}

/// A node from its JSON.
pub(crate) fn node_with(mut object: Value) -> Arc<Node> {
    let allocatable = &mut object["status"]["allocatable"];
    if allocatable.get("pods").is_none() {
        allocatable["pods"] = json!("110");
    }
    Arc::new(serde_json::from_value(object).expect("a node"))
}

/// A pod of namespace `n` with a spec.
pub(crate) fn pod(name: &str, spec: Value) -> Arc<PodInfo> {
    pod_with(json!({"metadata": {"name": name}, "spec": spec}))
}

/// A pod from its JSON; namespace `n` and UID = name unless given.
pub(crate) fn pod_with(mut object: Value) -> Arc<PodInfo> {
    let name = object["metadata"]["name"].clone();
    for (field, value) in [("namespace", json!("n")), ("uid", name)] {
        if object["metadata"].get(field).is_none() {
            object["metadata"][field] = value;
        }
    }
    let pod: Pod = serde_json::from_value(object).expect("a pod");
    Arc::new(PodInfo::new(Arc::new(pod)))
}

/// A snapshot of nodes and the pods on them.
pub(crate) fn snapshot(nodes: &[Arc<Node>], pods: &[Arc<PodInfo>]) -> Snapshot {
    let cache = Cache::default();
    nodes.iter().for_each(|node| cache.set_node(node.clone()));
    pods.iter().for_each(|pod| cache.set_pod(pod.clone()));
    let mut snapshot = Snapshot::default();
    cache.update(&mut snapshot);
    snapshot
}

/// What a filter says about a pod on each node: `name: ok` or `name: reason`.
pub(crate) fn verdicts<P: PreFilter + Filter>(plugin: &P, pod: &PodInfo, snapshot: &Snapshot) -> Vec<String> {
    let mut state = CycleState::default();
    let status = plugin.pre_filter(&mut state, pod, snapshot);
    match status.code {
        crate::framework::Code::Skip => return vec!["skip".into()],
        crate::framework::Code::Success => {}
        _ => return vec![format!("all: {}", status.reasons.join(", "))],
    }
    filter_verdicts(plugin, &state, pod, snapshot)
}

/// The same for a plugin without PreFilter.
pub(crate) fn filter_verdicts<P: Filter>(
    plugin: &P,
    state: &CycleState,
    pod: &PodInfo,
    snapshot: &Snapshot,
) -> Vec<String> {
    let verdict = |node: &Arc<crate::cache::NodeInfo>| {
        let status = plugin.filter(state, pod, node);
        let text = if status.is_success() { "ok".into() } else { status.reasons.join(", ") };
        format!("{}: {text}", node.name)
    };
    snapshot.nodes.iter().map(verdict).collect()
}

/// Normalized scores of all nodes; empty if the plugin has nothing to say.
pub(crate) fn scores<P: Score>(plugin: &P, pod: &PodInfo, snapshot: &Snapshot) -> Vec<i64> {
    let mut state = CycleState::default();
    scores_in(plugin, &mut state, pod, snapshot)
}

/// The same with a state that PreFilter wrote.
pub(crate) fn scores_in<P: Score>(plugin: &P, state: &mut CycleState, pod: &PodInfo, snapshot: &Snapshot) -> Vec<i64> {
    if !plugin.pre_score(state, pod, &snapshot.nodes, snapshot) {
        return Vec::new();
    }
    let mut scores: Vec<i64> = snapshot.nodes.iter().map(|node| plugin.score(state, pod, node)).collect();
    plugin.normalize(state, &mut scores);
    assert!(scores.iter().all(|score| (0..=MAX_NODE_SCORE).contains(score)), "scores out of range: {scores:?}");
    scores
}
