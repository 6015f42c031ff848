//! DefaultPreemption: when no node fits, find one on which fewer or less important pods would make room.
//!
//! On each node that other pods alone make unfit, all less important pods are imagined away; if the pod then fits,
//! as many as possible are imagined back, the most important and those protected by a budget first. Of the nodes, the
//! one with the least harm is chosen. The pod is nominated to it and tried again when the victims are gone.

use std::sync::Arc;

use jiff::Timestamp;
use skiff_client::Informer;
use skiff_client::types::{Pod, PodDisruptionBudget};

use crate::cache::{NodeInfo, PodInfo, Snapshot};
use crate::framework::{Code, CycleState, Diagnosis, FitError, Plugin, PostFilter, PostFilterResult, Profile, Status};

/// Share of nodes, in percent, on which candidates are looked for.
const MIN_CANDIDATE_NODES_PERCENTAGE: usize = 10;
/// At least this many candidates are looked for.
const MIN_CANDIDATE_NODES: usize = 100;

/// Room is being made already.
const TERMINATING: &str = "not eligible due to a terminating pod on the nominated node.";

/// What DynamicResources says before it of a pod without claims that could be given back (its part is empty here).
const CLAIMS: &str = "no new claims to deallocate";

/// The plugin.
pub(super) struct DefaultPreemption {
    budgets: Informer<PodDisruptionBudget>,
}

impl DefaultPreemption {
    pub(super) fn new(budgets: Informer<PodDisruptionBudget>) -> Self {
        Self { budgets }
    }
}

impl Plugin for DefaultPreemption {
    fn name(&self) -> &'static str {
        "DefaultPreemption"
    }
}

/// A node, and the pods that would have to go.
struct Candidate {
    node: String,
    /// Most important first.
    victims: Vec<Arc<PodInfo>>,
    /// Victims beyond what their budgets allow.
    violations: usize,
}

impl PostFilter for DefaultPreemption {
    fn post_filter(
        &self,
        profile: &Profile,
        state: &CycleState,
        pod: &PodInfo,
        snapshot: &Snapshot,
        diagnosis: &Diagnosis,
    ) -> PostFilterResult {
        let without = |message: String| PostFilterResult {
            nominated_node: None,
            keep_nomination: false,
            message: format!("{CLAIMS}, preemption: {message}"),
            victims: Vec::new(),
        };
        if let Some(reason) = not_eligible(pod, snapshot, diagnosis) {
            return PostFilterResult { keep_nomination: reason == TERMINATING, ..without(reason.into()) };
        }
        match self.candidates(profile, state, pod, snapshot, diagnosis) {
            Ok(candidates) => {
                let best = candidates.into_iter().min_by(|a, b| harm(a).cmp(&harm(b)));
                best.map_or_else(
                    || without("no candidate node for preemption".into()),
                    |best| PostFilterResult {
                        nominated_node: Some(best.node),
                        keep_nomination: false,
                        message: String::new(),
                        victims: best.victims,
                    },
                )
            }
            Err(error) => without(error.to_string()),
        }
    }
}

/// Why a pod may not preempt, if it may not.
fn not_eligible(pod: &PodInfo, snapshot: &Snapshot, diagnosis: &Diagnosis) -> Option<&'static str> {
    if pod.pod.spec.preemption_policy == "Never" {
        return Some("not eligible due to preemptionPolicy=Never.");
    }
    let nominated = &pod.pod.status.nominated_node_name;
    let hopeless =
        diagnosis.nodes.get(nominated).is_some_and(|status| status.code == Code::UnschedulableAndUnresolvable);
    let node = snapshot.get(nominated).filter(|_| !hopeless)?;
    let leaving = node.pods.iter().any(|other| other.priority() < pod.priority() && leaves_by_preemption(&other.pod));
    leaving.then_some(TERMINATING)
}

fn leaves_by_preemption(pod: &Pod) -> bool {
    let target = skiff_client::types::condition(&pod.status.conditions, "DisruptionTarget");
    pod.metadata.is_deleting()
        && target.is_some_and(|target| target.status == "True" && target.reason == "PreemptionByScheduler")
}

impl DefaultPreemption {
    /// Nodes with victims; an error says why there are none.
    fn candidates(
        &self,
        profile: &Profile,
        state: &CycleState,
        pod: &PodInfo,
        snapshot: &Snapshot,
        diagnosis: &Diagnosis,
    ) -> Result<Vec<Candidate>, FitError> {
        let mut failures = Diagnosis::default();
        let mut candidates: Vec<Candidate> = Vec::new();
        let wanted = (snapshot.nodes.len() * MIN_CANDIDATE_NODES_PERCENTAGE / 100).max(MIN_CANDIDATE_NODES);
        for node in &snapshot.nodes {
            let helpful = diagnosis.nodes.get(&node.name).is_some_and(|status| status.code == Code::Unschedulable);
            let outcome = if helpful {
                self.select_victims(profile, state, pod, node, snapshot)
            } else {
                Err(Status::unresolvable("Preemption is not helpful for scheduling"))
            };
            match outcome {
                Ok(candidate) => candidates.push(candidate),
                Err(status) => drop(failures.nodes.insert(node.name.clone(), status)),
            }
            if candidates.len() >= wanted && candidates.iter().any(|candidate| candidate.violations == 0) {
                break;
            }
        }
        if candidates.is_empty() {
            return Err(FitError { node_count: snapshot.nodes.len(), diagnosis: failures });
        }
        Ok(candidates)
    }

    fn select_victims(
        &self,
        profile: &Profile,
        state: &CycleState,
        pod: &PodInfo,
        node: &NodeInfo,
        snapshot: &Snapshot,
    ) -> Result<Candidate, Status> {
        let (mut state, mut node) = (state.clone(), node.clone());
        let mut lesser: Vec<Arc<PodInfo>> =
            node.pods.iter().filter(|other| other.priority() < pod.priority()).cloned().collect();
        if lesser.is_empty() {
            return Err(Status::unresolvable("No preemption victims found for incoming pod"));
        }
        for other in &lesser {
            node.remove_pod(other);
            profile.pod_moved(&mut state, pod, other, &node, false);
        }
        let fits = |state: &CycleState, node: &NodeInfo| {
            profile.run_filter_with_nominated(state, pod, node, &snapshot.nominated)
        };
        fits(&state, &node).map_err(|(_, status)| status)?;

        lesser.sort_by_key(|info| std::cmp::Reverse(importance(info)));
        let (protected, others) = self.split_by_budget(lesser);
        let mut victims = Vec::new();
        let mut violations = 0;
        let protected_count = protected.len();
        for (at, other) in protected.into_iter().chain(others).enumerate() {
            node.add_pod(other.clone());
            profile.pod_moved(&mut state, pod, &other, &node, true);
            if fits(&state, &node).is_err() {
                node.remove_pod(&other);
                profile.pod_moved(&mut state, pod, &other, &node, false);
                violations += usize::from(at < protected_count);
                victims.push(other);
            }
        }
        if victims.is_empty() {
            // It fits with everything back: something else was in the way, and no eviction is needed.
            return Err(Status::unresolvable("No preemption victims found for incoming pod"));
        }
        victims.sort_by_key(|info| std::cmp::Reverse(importance(info)));
        Ok(Candidate { node: node.name, victims, violations })
    }

    /// Pods whose eviction would go beyond their budget, and the others; each in the given order.
    fn split_by_budget(&self, pods: Vec<Arc<PodInfo>>) -> (Vec<Arc<PodInfo>>, Vec<Arc<PodInfo>>) {
        let budgets = self.budgets.list();
        let mut allowed: Vec<i32> = budgets.iter().map(|budget| budget.status.disruptions_allowed).collect();
        pods.into_iter().partition(|info| {
            let meta = &info.pod.metadata;
            let mut violated = false;
            for (budget, allowed) in budgets.iter().zip(&mut allowed) {
                let selector = budget.spec.selector.as_ref().filter(|selector| !selector.is_empty());
                let covers = budget.metadata.namespace == meta.namespace
                    && !meta.labels.is_empty()
                    && selector.is_some_and(|selector| selector.matches(&meta.labels))
                    && !budget.status.disrupted_pods.contains_key(&meta.name);
                if covers {
                    *allowed -= 1;
                    violated |= *allowed < 0;
                }
            }
            violated
        })
    }
}

/// Priority, then how long it has run: the larger, the more important.
fn importance(info: &PodInfo) -> (i32, i128) {
    let started = info.pod.status.start_time.map_or(i128::MAX, |started| started.as_nanosecond());
    (info.priority(), -started)
}

/// What choosing a candidate would cost, the smallest is best: broken budgets, the most important victim, the sum of
/// priorities, the number of victims, and a late start of the earliest of the most important ones.
fn harm(candidate: &Candidate) -> (usize, i32, i64, usize, std::cmp::Reverse<Option<Timestamp>>, &str) {
    let highest = candidate.victims.first().map_or(i32::MIN, |victim| victim.priority());
    // Shifted so that every pod counts, whatever its priority's sign.
    let sum = candidate.victims.iter().map(|victim| i64::from(victim.priority()) + (1 << 31)).sum();
    let earliest = candidate.victims.iter().filter(|victim| victim.priority() == highest);
    let earliest = earliest.filter_map(|victim| victim.pod.status.start_time).min();
    let (violations, count) = (candidate.violations, candidate.victims.len());
    (violations, highest, sum, count, std::cmp::Reverse(earliest), &candidate.node)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plugins::{Sources, default_profile};
    use crate::testing::{node, pod_with, snapshot};
    use serde_json::json;

    fn asking(name: &str, node: &str, cpu: &str, priority: i32) -> Arc<PodInfo> {
        pod_with(json!({"metadata": {"name": name, "labels": {"app": name}},
            "spec": {"nodeName": node, "priority": priority,
                "containers": [{"name": "c", "resources": {"requests": {"cpu": cpu}}}]},
            "status": {"startTime": "2026-01-01T00:00:00Z"}}))
    }

    /// `node: victims`, or the message.
    fn check(there: &[Arc<PodInfo>], pod: &PodInfo, protected: &[&str], expected: &str) {
        let sources = Sources::detached();
        for app in protected {
            let budget = json!({"metadata": {"name": app, "namespace": "n"},
                "spec": {"selector": {"matchLabels": {"app": app}}}, "status": {"disruptionsAllowed": 0}});
            sources.budgets.apply(serde_json::from_value(budget).expect("a budget"));
        }
        let profile = default_profile(&sources);
        let nodes = [node("a", json!({"cpu": "4"})), node("b", json!({"cpu": "4"})), node("tiny", json!({"cpu": "1"}))];
        let snapshot = snapshot(&nodes, there);
        let mut state = CycleState::default();
        profile.run_pre_filter(&mut state, pod, &snapshot).expect("the pod passes PreFilter");
        let mut diagnosis = Diagnosis::default();
        for node in &snapshot.nodes {
            let Err((_, status)) = profile.run_filter(&state, pod, node) else { panic!("{} fits", node.name) };
            diagnosis.nodes.insert(node.name.clone(), status);
        }
        let post_filter = profile.post_filter.as_ref().expect("there");
        let result = post_filter.post_filter(&profile, &state, pod, &snapshot, &diagnosis);
        let found = match result.nominated_node {
            Some(node) => {
                let victims: Vec<&str> = result.victims.iter().map(|one| one.pod.metadata.name.as_str()).collect();
                format!("{node}: {}", victims.join(" "))
            }
            None => result.message,
        };
        assert_eq!(found, expected);
    }

    #[test]
    fn the_least_harm_is_chosen() {
        let pod = asking("p", "", "2", 100);
        // On `a` one pod must go, on `b` two.
        let there = [asking("x", "a", "3", 10), asking("y", "b", "2", 5), asking("z", "b", "2", 10)];
        check(&there, &pod, &[], "b: y");
        check(&[asking("x", "a", "3", 10), asking("y", "b", "3", 20)], &pod, &[], "a: x");
        check(&[asking("x", "a", "3", 10), asking("y", "b", "3", 20)], &pod, &["x"], "b: y");
        check(&[asking("x", "a", "3", 10), asking("y", "b", "3", 200)], &pod, &["x"], "a: x");
        // As many as possible are spared, the important ones first.
        let crowd = [
            asking("l", "a", "1", 1),
            asking("m", "a", "1", 2),
            asking("n", "a", "1", 3),
            asking("o", "a", "1", 4),
            asking("y", "b", "4", 200),
        ];
        check(&crowd, &pod, &[], "a: m l");
    }

    #[test]
    fn who_may_not_preempt_is_told_why() {
        let there = [asking("x", "a", "3", 100), asking("y", "b", "3", 100)];
        check(
            &there,
            &asking("p", "", "2", 100),
            &[],
            "no new claims to deallocate, preemption: 0/3 nodes are available: 1 Preemption is not helpful for scheduling, \
             2 No preemption victims found for incoming pod.",
        );
        let mut never = (*asking("p", "", "2", 1000).pod).clone();
        never.spec.preemption_policy = "Never".into();
        let never = PodInfo::new(Arc::new(never));
        check(
            &there,
            &never,
            &[],
            "no new claims to deallocate, preemption: not eligible due to preemptionPolicy=Never.",
        );
    }
}
