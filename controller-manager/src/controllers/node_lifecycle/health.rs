//! Whether nodes are heard of, and what their conditions should say. Pure.

use std::collections::HashMap;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};
use skiff_client::clock::format_time;
use skiff_client::types::{Node, condition, condition_is_true};

/// Conditions that nobody vouches for once the kubelet is silent.
const CONDITIONS: [&str; 4] = ["Ready", "MemoryPressure", "DiskPressure", "PIDPressure"];

/// Signs of life of one node, by our own clock: the node's clock may be wrong.
#[derive(Clone, Debug)]
pub(super) struct Heartbeat {
    /// When something last changed that only a living kubelet changes.
    seen: Timestamp,
    conditions: Vec<Option<Timestamp>>,
    renewed: Option<Timestamp>,
}

/// Signs of life of all nodes.
#[derive(Debug, Default)]
pub(super) struct Heartbeats(HashMap<String, Heartbeat>);

impl Heartbeats {
    /// Notes a node's status.
    pub(super) fn status(&mut self, node: &Node, now: Timestamp) {
        let times: Vec<_> = node.status.conditions.iter().map(|condition| condition.last_update_time).collect();
        let beat = self.of(&node.metadata.name, now);
        if beat.conditions != times {
            beat.conditions = times;
            beat.seen = now;
        }
    }

    /// Notes a renewal of a node's Lease.
    pub(super) fn renewed(&mut self, node: &str, at: Option<Timestamp>, now: Timestamp) {
        let beat = self.of(node, now);
        if beat.renewed != at {
            beat.renewed = at;
            beat.seen = now;
        }
    }

    /// Forgets a node.
    pub(super) fn forget(&mut self, node: &str) {
        self.0.remove(node);
    }

    /// How long a node has been silent.
    pub(super) fn silence(&mut self, node: &str, now: Timestamp) -> Duration {
        let seen = self.of(node, now).seen;
        Duration::try_from(now.duration_since(seen)).unwrap_or_default()
    }

    fn of(&mut self, node: &str, now: Timestamp) -> &mut Heartbeat {
        let fresh = || Heartbeat { seen: now, conditions: Vec::new(), renewed: None };
        self.0.entry(node.to_owned()).or_insert_with(fresh)
    }
}

/// Conditions of a node that has been silent for too long, as a status patch; `None` if they say so already.
pub(super) fn unknown_conditions(node: &Node, now: Timestamp) -> Option<Value> {
    let conditions = CONDITIONS.iter().filter_map(|type_| {
        let (reason, message) = match condition(&node.status.conditions, type_) {
            Some(current) if current.status == "Unknown" => return None,
            Some(_) => ("NodeStatusUnknown", "Kubelet stopped posting node status."),
            None => ("NodeStatusNeverUpdated", "Kubelet never posted node status."),
        };
        let current = condition(&node.status.conditions, type_);
        let heartbeat = current.and_then(|current| current.last_update_time).unwrap_or(now);
        Some(json!({
            "type": type_,
            "status": "Unknown",
            "reason": reason,
            "message": message,
            "lastHeartbeatTime": format_time(heartbeat),
            "lastTransitionTime": format_time(now),
        }))
    });
    let conditions: Vec<Value> = conditions.collect();
    (!conditions.is_empty()).then(|| json!({"status": {"conditions": conditions}}))
}

/// How fast pods are moved away from silent nodes (upstream `ComputeZoneState` and `setLimiterInZone`, with all nodes
/// in one zone).
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Evictions {
    /// So many nodes per second.
    Rate(f64),
    /// None: it is us or the network.
    Halted,
    /// Every node is silent: what was marked is unmarked.
    Lifted,
}

/// Nodes above which a disturbed cluster still evicts, slowly.
const LARGE_CLUSTER: usize = 50;
/// Nodes per second in a large disturbed cluster.
const SECONDARY_RATE: f64 = 0.01;

/// Looks at all nodes at once.
pub(super) fn evictions(nodes: &[std::sync::Arc<Node>], rate: f64, threshold: f64) -> Evictions {
    let ready = nodes.iter().filter(|node| condition_is_true(&node.status.conditions, "Ready")).count();
    let silent = nodes.len() - ready;
    if ready == 0 {
        return Evictions::Lifted;
    }
    let disturbed = silent > 2 && silent as f64 / nodes.len() as f64 >= threshold;
    match disturbed {
        false => Evictions::Rate(rate),
        true if nodes.len() > LARGE_CLUSTER => Evictions::Rate(SECONDARY_RATE.min(rate)),
        true => Evictions::Halted,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn node(name: &str, ready: &str, heartbeat: &str) -> Arc<Node> {
        let object = json!({"metadata": {"name": name}, "status": {"conditions": [
            {"type": "Ready", "status": ready, "lastHeartbeatTime": heartbeat}]}});
        Arc::new(serde_json::from_value(object).expect("a node"))
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + second).expect("a time")
    }

    #[test]
    fn only_changes_count_as_signs_of_life() {
        let mut beats = Heartbeats::default();
        let first = node("a", "True", "2026-01-01T00:00:00Z");
        beats.status(&first, at(0));
        beats.status(&first, at(30));
        assert_eq!(beats.silence("a", at(40)).as_secs(), 40, "the same status again says nothing");
        beats.renewed("a", Some(at(41)), at(41));
        assert_eq!(beats.silence("a", at(45)).as_secs(), 4);
        beats.status(&node("a", "True", "2026-01-01T00:00:10Z"), at(50));
        assert_eq!(beats.silence("a", at(50)).as_secs(), 0);
        assert_eq!(beats.silence("new", at(60)).as_secs(), 0, "a node is heard of when it is first seen");
    }

    #[test]
    fn silent_nodes_are_unknown_once() {
        let patch = unknown_conditions(&node("a", "True", "2026-01-01T00:00:00Z"), at(0)).expect("a patch");
        let conditions = patch["status"]["conditions"].as_array().expect("a list");
        assert_eq!(conditions.len(), 4);
        assert_eq!(conditions[0]["reason"], "NodeStatusUnknown");
        assert_eq!(conditions[0]["lastHeartbeatTime"], "2026-01-01T00:00:00Z");
        assert_eq!(conditions[1]["reason"], "NodeStatusNeverUpdated");
        let all = CONDITIONS.map(|type_| json!({"type": type_, "status": "Unknown"}));
        let told = serde_json::from_value(json!({"status": {"conditions": all}})).expect("a node");
        assert_eq!(unknown_conditions(&told, at(0)), None);
    }

    #[test]
    fn when_most_are_silent_it_is_us() {
        let cluster = |ready: usize, silent: usize| {
            let ready = (0..ready).map(|at| node(&format!("r{at}"), "True", "2026-01-01T00:00:00Z"));
            let silent = (0..silent).map(|at| node(&format!("s{at}"), "Unknown", "2026-01-01T00:00:00Z"));
            evictions(&ready.chain(silent).collect::<Vec<_>>(), 0.1, 0.55)
        };
        assert_eq!(cluster(3, 1), Evictions::Rate(0.1));
        assert_eq!(cluster(1, 2), Evictions::Rate(0.1), "two are too few to judge");
        assert_eq!(cluster(2, 3), Evictions::Halted);
        assert_eq!(cluster(20, 40), Evictions::Rate(SECONDARY_RATE));
        assert_eq!(cluster(0, 1), Evictions::Lifted);
    }
}
