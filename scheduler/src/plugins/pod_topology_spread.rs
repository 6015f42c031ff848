//! PodTopologySpread: keeps the pods of a selector evenly spread over the values of a node label.
//!
//! Hard constraints refuse nodes, soft ones rank them. A pod without constraints of its own is softly spread over
//! hosts and zones together with the other pods of its controller (upstream's system defaults, which find them by the
//! selectors of Services and controllers).

use std::collections::HashMap;
use std::sync::Arc;

use skiff_client::selector::LabelSelector;
use skiff_client::types::{Pod, TopologySpreadConstraint};

use super::{node_affinity, taint_toleration};
use crate::cache::{NodeInfo, PodInfo, Snapshot};
use crate::framework::{CycleState, Filter, MAX_NODE_SCORE, Plugin, PreFilter, Score, Status};
use crate::queue::ClusterEvents;

const HOSTNAME: &str = "kubernetes.io/hostname";
const ZONE: &str = "topology.kubernetes.io/zone";

/// The plugin.
pub(super) struct PodTopologySpread;

impl Plugin for PodTopologySpread {
    fn name(&self) -> &'static str {
        "PodTopologySpread"
    }

    fn events(&self) -> ClusterEvents {
        ClusterEvents::NODE_ADD
            | ClusterEvents::NODE_LABEL
            | ClusterEvents::NODE_TAINT
            | ClusterEvents::ASSIGNED_POD_ADD
            | ClusterEvents::ASSIGNED_POD_UPDATE
            | ClusterEvents::ASSIGNED_POD_DELETE
            | ClusterEvents::UNSCHEDULED_POD_UPDATE
    }
}

/// Which pods a constraint counts.
#[derive(Clone, Debug)]
enum Counted {
    /// Those that match.
    Selected(LabelSelector),
    /// Those of a controller, by UID.
    OfController(String),
}

#[derive(Clone, Debug)]
struct Constraint {
    max_skew: i64,
    key: String,
    counted: Counted,
    min_domains: usize,
    honor_affinity: bool,
    honor_taints: bool,
    /// Nodes without the label are left out; for the defaults they are counted by what labels they have.
    needs_label: bool,
}

impl Constraint {
    fn of(pod: &Pod, spec: &TopologySpreadConstraint) -> Self {
        let mut selector = spec.label_selector.clone().unwrap_or_default();
        for key in &spec.match_label_keys {
            if let Some(value) = pod.metadata.labels.get(key) {
                selector.match_labels.insert(key, value);
            }
        }
        Self {
            max_skew: i64::from(spec.max_skew),
            key: spec.topology_key.clone(),
            counted: Counted::Selected(selector),
            min_domains: usize::try_from(spec.min_domains.unwrap_or(1)).unwrap_or(1),
            honor_affinity: spec.node_affinity_policy != "Ignore",
            honor_taints: spec.node_taints_policy == "Honor",
            needs_label: true,
        }
    }

    fn default_of(controller: &str, key: &str, max_skew: i64) -> Self {
        Self {
            max_skew,
            key: key.into(),
            counted: Counted::OfController(controller.into()),
            min_domains: 1,
            honor_affinity: true,
            honor_taints: false,
            needs_label: false,
        }
    }

    fn counts(&self, pod: &Pod) -> bool {
        match &self.counted {
            Counted::Selected(selector) => !selector.is_empty() && selector.matches(&pod.metadata.labels),
            Counted::OfController(uid) => pod.metadata.is_controlled_by(uid),
        }
    }

    /// Pods on a node that count for this pod's spread. Those on their way out do not.
    fn count(&self, pod: &Pod, node: &NodeInfo) -> i64 {
        let there = node.pods.iter().map(|info| &*info.pod).filter(|other| {
            !other.metadata.is_deleting() && other.metadata.namespace == pod.metadata.namespace && self.counts(other)
        });
        there.count() as i64
    }

    /// Whether the node's domain takes part at all.
    fn includes(&self, pod: &Pod, node: &NodeInfo) -> bool {
        (!self.honor_affinity || node_affinity::matches(pod, node))
            && (!self.honor_taints || taint_toleration::tolerates_all(pod, node))
    }
}

fn constraints(pod: &Pod, when_unsatisfiable: &str) -> Vec<Constraint> {
    let specs = pod.spec.topology_spread_constraints.iter();
    specs.filter(|spec| spec.when_unsatisfiable == when_unsatisfiable).map(|spec| Constraint::of(pod, spec)).collect()
}

/// Whether a node has the label of every constraint.
fn has_all_labels(node: &NodeInfo, constraints: &[Constraint]) -> bool {
    constraints.iter().all(|constraint| !constraint.needs_label || node.label(&constraint.key).is_some())
}

/// Hard constraints, and the pods counted in each domain.
#[derive(Clone)]
struct Hard {
    constraints: Vec<Constraint>,
    counts: Vec<HashMap<String, i64>>,
}

impl Hard {
    /// The smallest count of any domain; zero as long as there are fewer domains than asked for.
    fn minimum(&self, at: usize) -> i64 {
        let counts = &self.counts[at];
        if counts.len() < self.constraints[at].min_domains {
            return 0;
        }
        counts.values().copied().min().unwrap_or(0)
    }
}

impl PreFilter for PodTopologySpread {
    fn pre_filter(&self, state: &mut CycleState, pod: &PodInfo, snapshot: &Snapshot) -> Status {
        let constraints = constraints(&pod.pod, "DoNotSchedule");
        if constraints.is_empty() {
            return Status::SKIP;
        }
        let mut counts: Vec<HashMap<String, i64>> = vec![HashMap::new(); constraints.len()];
        for node in snapshot.nodes.iter().filter(|node| has_all_labels(node, &constraints)) {
            for (constraint, counts) in constraints.iter().zip(&mut counts) {
                if let Some(domain) = node.label(&constraint.key).filter(|_| constraint.includes(&pod.pod, node)) {
                    *counts.entry(domain.to_owned()).or_insert(0) += constraint.count(&pod.pod, node);
                }
            }
        }
        state.write(Hard { constraints, counts });
        Status::SUCCESS
    }

    fn pod_moved(&self, state: &mut CycleState, pod: &PodInfo, other: &PodInfo, on: &NodeInfo, added: bool) {
        let Some(hard) = state.get_mut::<Hard>() else { return };
        if other.pod.metadata.namespace != pod.pod.metadata.namespace || !has_all_labels(on, &hard.constraints) {
            return;
        }
        for (constraint, counts) in hard.constraints.iter().zip(&mut hard.counts) {
            let counted = constraint.counts(&other.pod) && constraint.includes(&pod.pod, on);
            if let Some(domain) = on.label(&constraint.key).filter(|_| counted) {
                *counts.entry(domain.to_owned()).or_insert(0) += if added { 1 } else { -1 };
            }
        }
    }
}

impl Filter for PodTopologySpread {
    fn filter(&self, state: &CycleState, pod: &PodInfo, node: &NodeInfo) -> Status {
        let Some(hard) = state.get::<Hard>() else { return Status::SUCCESS };
        for (at, constraint) in hard.constraints.iter().enumerate() {
            let Some(domain) = node.label(&constraint.key) else {
                return Status::unresolvable(
                    "node(s) didn't match pod topology spread constraints (missing required label)",
                );
            };
            let there = hard.counts[at].get(domain).copied().unwrap_or(0);
            let itself = i64::from(constraint.counts(&pod.pod));
            if there + itself - hard.minimum(at) > constraint.max_skew {
                return Status::unschedulable("node(s) didn't match pod topology spread constraints");
            }
        }
        Status::SUCCESS
    }
}

/// Soft constraints, with the pods in each domain (of hosts: counted when a host is scored) and a weight that is
/// larger where there are more domains.
#[derive(Clone)]
struct Soft {
    constraints: Vec<Constraint>,
    counts: Vec<HashMap<String, i64>>,
    weights: Vec<f64>,
    /// Nodes without a needed label, which are not scored.
    ignored: Vec<bool>,
}

impl Score for PodTopologySpread {
    fn pre_score(&self, state: &mut CycleState, pod: &PodInfo, nodes: &[Arc<NodeInfo>], snapshot: &Snapshot) -> bool {
        let constraints = match (pod.pod.spec.topology_spread_constraints.is_empty(), pod.pod.metadata.controller_of())
        {
            (false, _) => constraints(&pod.pod, "ScheduleAnyway"),
            (true, Some(owner)) => {
                vec![Constraint::default_of(&owner.uid, HOSTNAME, 3), Constraint::default_of(&owner.uid, ZONE, 5)]
            }
            (true, None) => return false,
        };
        if constraints.is_empty() {
            return false;
        }
        let ignored: Vec<bool> = nodes.iter().map(|node| !has_all_labels(node, &constraints)).collect();
        let mut counts: Vec<HashMap<String, i64>> = vec![HashMap::new(); constraints.len()];
        for (node, _) in nodes.iter().zip(&ignored).filter(|(_, ignored)| !**ignored) {
            for (constraint, counts) in constraints.iter().zip(&mut counts) {
                if constraint.key != HOSTNAME {
                    counts.insert(node.label(&constraint.key).unwrap_or_default().to_owned(), 0);
                }
            }
        }
        let hosts = ignored.iter().filter(|ignored| !**ignored).count();
        let weight = |constraint: &Constraint, counts: &HashMap<_, _>| {
            let domains = if constraint.key == HOSTNAME { hosts } else { counts.len() };
            ((domains + 2) as f64).ln()
        };
        let weights = constraints.iter().zip(&counts).map(|(constraint, counts)| weight(constraint, counts)).collect();
        for node in snapshot.nodes.iter().filter(|node| has_all_labels(node, &constraints)) {
            for (constraint, counts) in constraints.iter().zip(&mut counts) {
                let domain = node.label(&constraint.key).unwrap_or_default();
                if let Some(count) = counts.get_mut(domain).filter(|_| constraint.includes(&pod.pod, node)) {
                    *count += constraint.count(&pod.pod, node);
                }
            }
        }
        state.write(Soft { constraints, counts, weights, ignored });
        true
    }

    fn score(&self, state: &CycleState, pod: &PodInfo, node: &NodeInfo) -> i64 {
        let Some(soft) = state.get::<Soft>() else { return 0 };
        let mut score = 0.0;
        for ((constraint, counts), weight) in soft.constraints.iter().zip(&soft.counts).zip(&soft.weights) {
            let Some(domain) = node.label(&constraint.key) else { continue };
            let there = if constraint.key == HOSTNAME {
                constraint.count(&pod.pod, node)
            } else {
                counts.get(domain).copied().unwrap_or(0)
            };
            score += there as f64 * weight + (constraint.max_skew - 1) as f64;
        }
        score.round() as i64
    }

    fn normalize(&self, state: &CycleState, scores: &mut [i64]) {
        let ignored: &[bool] = state.get::<Soft>().map_or(&[], |soft| &soft.ignored);
        let is_ignored = |at: usize| ignored.get(at).copied().unwrap_or(false);
        let counted = || scores.iter().enumerate().filter(|(at, _)| !is_ignored(*at)).map(|(_, score)| *score);
        let (min, max) = (counted().min().unwrap_or(0), counted().max().unwrap_or(0));
        for (at, score) in scores.iter_mut().enumerate() {
            *score = match max {
                _ if is_ignored(at) => 0,
                0 => MAX_NODE_SCORE,
                max => MAX_NODE_SCORE * (max + min - *score) / max,
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{node_with, pod_with, scores, snapshot, verdicts};
    use serde_json::{Value, json};

    fn zones() -> Vec<Arc<skiff_client::types::Node>> {
        let in_zone = |name: &str, zone: &str| {
            node_with(json!({"metadata": {"name": name, "labels": {ZONE: zone, HOSTNAME: name}}}))
        };
        vec![
            in_zone("a1", "a"),
            in_zone("a2", "a"),
            in_zone("b1", "b"),
            node_with(json!({"metadata": {"name": "none"}})),
        ]
    }

    fn web(name: &str, node: &str, constraint: Value) -> Arc<PodInfo> {
        let constraints = if constraint.is_null() { json!([]) } else { json!([constraint]) };
        pod_with(json!({"metadata": {"name": name, "labels": {"app": "web"},
                "ownerReferences": [{"kind": "ReplicaSet", "name": "web", "uid": "rs", "controller": true}]},
            "spec": {"nodeName": node, "containers": [], "topologySpreadConstraints": constraints}}))
    }

    fn constraint(max_skew: i32, when: &str) -> Value {
        json!({"maxSkew": max_skew, "topologyKey": ZONE, "whenUnsatisfiable": when,
            "labelSelector": {"matchLabels": {"app": "web"}}})
    }

    #[test]
    fn hard_constraints_bound_the_skew() {
        let there = [web("x", "a1", Value::Null), web("y", "a2", Value::Null), web("z", "b1", Value::Null)];
        let check = |pods: &[Arc<PodInfo>], constraint: Value, expected: &[&str]| {
            let found = verdicts(&PodTopologySpread, &web("p", "", constraint), &snapshot(&zones(), pods));
            assert_eq!(found, expected);
        };
        let (bad, no_label) = (
            "node(s) didn't match pod topology spread constraints",
            "none: node(s) didn't match pod topology spread constraints (missing required label)",
        );
        let (bad_a1, bad_a2, bad_b1) = (format!("a1: {bad}"), format!("a2: {bad}"), format!("b1: {bad}"));
        check(&there, constraint(1, "DoNotSchedule"), &[&bad_a1, &bad_a2, "b1: ok", no_label]);
        check(&there, constraint(2, "DoNotSchedule"), &["a1: ok", "a2: ok", "b1: ok", no_label]);
        check(&there, constraint(1, "ScheduleAnyway"), &["skip"]);
        let mut three_domains = constraint(1, "DoNotSchedule");
        three_domains["minDomains"] = json!(3);
        check(&there, three_domains, &[&bad_a1, &bad_a2, &bad_b1, no_label]);
    }

    #[test]
    fn removing_a_pod_changes_the_verdict() {
        let there = [web("x", "a1", Value::Null), web("y", "a2", Value::Null), web("z", "b1", Value::Null)];
        let snapshot = snapshot(&zones(), &there);
        let pod = web("p", "", constraint(1, "DoNotSchedule"));
        let mut state = CycleState::default();
        assert!(PodTopologySpread.pre_filter(&mut state, &pod, &snapshot).is_success());
        let a1 = snapshot.get("a1").expect("there");
        assert!(!PodTopologySpread.filter(&state, &pod, a1).is_success());
        PodTopologySpread.pod_moved(&mut state, &pod, &there[0], a1, false);
        assert!(PodTopologySpread.filter(&state, &pod, a1).is_success());
    }

    #[test]
    fn emptier_domains_score_better() {
        let there = [web("x", "a1", Value::Null), web("y", "a1", Value::Null)];
        let snapshot = snapshot(&zones(), &there);
        let soft = scores(&PodTopologySpread, &web("p", "", constraint(1, "ScheduleAnyway")), &snapshot);
        assert_eq!(soft, [0, 0, 100, 0]);
        // By default hosts and zones both count.
        let default = scores(&PodTopologySpread, &web("p", "", Value::Null), &snapshot);
        assert!(default[0] < default[1] && default[1] < default[2], "{default:?}");
    }
}
