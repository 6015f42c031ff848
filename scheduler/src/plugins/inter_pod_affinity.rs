//! InterPodAffinity: pods that want to be near other pods, or away from them.
//!
//! "Near" is: on a node with the same value of a label. So the state is counts by (label, value): how many pods there
//! match the terms of this pod, and how many have a term against it.

use std::collections::HashMap;
use std::sync::Arc;

use skiff_client::Informer;
use skiff_client::types::{Namespace, Pod, PodAffinityTerm, WeightedPodAffinityTerm};

use crate::cache::{NodeInfo, PodInfo, Snapshot};
use crate::framework::{CycleState, Filter, MAX_NODE_SCORE, Plugin, PreFilter, Score, Status};
use crate::queue::ClusterEvents;

/// Weight that a required affinity of a pod that is already there has for the score (upstream's default).
const HARD_POD_AFFINITY_WEIGHT: i64 = 1;

/// The plugin.
pub(super) struct InterPodAffinity {
    namespaces: Informer<Namespace>,
}

impl InterPodAffinity {
    pub(super) fn new(namespaces: Informer<Namespace>) -> Self {
        Self { namespaces }
    }

    /// Whether a term of a pod of `owner_namespace` matches another pod.
    fn matches(&self, term: &PodAffinityTerm, owner_namespace: &str, other: &Pod) -> bool {
        let Some(selector) = &term.label_selector else { return false };
        let namespace = &other.metadata.namespace;
        let listed = term.namespaces.contains(namespace)
            || (term.namespaces.is_empty() && term.namespace_selector.is_none() && namespace == owner_namespace);
        let selected = || {
            let selector = term.namespace_selector.as_ref()?;
            let labels = self.namespaces.get_by_name("", namespace);
            Some(selector.matches(&labels.map(|found| found.metadata.labels.clone()).unwrap_or_default()))
        };
        (listed || selected().unwrap_or(false)) && selector.matches(&other.metadata.labels)
    }

    /// Whether another pod matches all required affinity terms of a pod that has some.
    fn matches_all(&self, terms: &[PodAffinityTerm], owner_namespace: &str, other: &Pod) -> bool {
        !terms.is_empty() && terms.iter().all(|term| self.matches(term, owner_namespace, other))
    }
}

impl Plugin for InterPodAffinity {
    fn name(&self) -> &'static str {
        "InterPodAffinity"
    }

    fn events(&self) -> ClusterEvents {
        ClusterEvents::NODE_ADD
            | ClusterEvents::NODE_LABEL
            | ClusterEvents::ASSIGNED_POD_ADD
            | ClusterEvents::ASSIGNED_POD_UPDATE
            | ClusterEvents::ASSIGNED_POD_DELETE
            | ClusterEvents::NAMESPACE
            | ClusterEvents::UNSCHEDULED_POD_UPDATE
    }
}

/// Counts by label and value.
type Pairs = HashMap<(String, String), i64>;

fn count(pairs: &mut Pairs, node: &NodeInfo, key: &str, by: i64) {
    let Some(value) = node.label(key) else { return };
    let pair = (key.to_owned(), value.to_owned());
    let total = pairs.entry(pair.clone()).or_insert(0);
    *total += by;
    if *total == 0 {
        pairs.remove(&pair);
    }
}

fn at<'a>(pairs: &Pairs, key: &'a str, value: &'a str) -> i64 {
    pairs.get(&(key.to_owned(), value.to_owned())).copied().unwrap_or(0)
}

/// What Filter needs.
#[derive(Clone, Default)]
struct Required {
    /// Pods that match all affinity terms of this pod.
    wanted: Pairs,
    /// Pods that match an anti-affinity term of this pod.
    unwanted: Pairs,
    /// Pods with an anti-affinity term that this pod matches.
    refusing: Pairs,
}

fn affinity_terms(pod: &PodInfo) -> &[PodAffinityTerm] {
    pod.affinity().and_then(|affinity| affinity.pod_affinity.as_ref()).map_or(&[], |rules| &rules.required)
}

fn anti_affinity_terms(pod: &PodInfo) -> &[PodAffinityTerm] {
    pod.affinity().and_then(|affinity| affinity.pod_anti_affinity.as_ref()).map_or(&[], |rules| &rules.required)
}

fn preferred(pod: &PodInfo) -> (&[WeightedPodAffinityTerm], &[WeightedPodAffinityTerm]) {
    let Some(affinity) = pod.affinity() else { return (&[], &[]) };
    let near = affinity.pod_affinity.as_ref().map_or(&[][..], |rules| &rules.preferred);
    let away = affinity.pod_anti_affinity.as_ref().map_or(&[][..], |rules| &rules.preferred);
    (near, away)
}

impl InterPodAffinity {
    fn count_pod(&self, required: &mut Required, pod: &PodInfo, other: &PodInfo, node: &NodeInfo, by: i64) {
        let namespace = &pod.pod.metadata.namespace;
        for term in anti_affinity_terms(other) {
            if self.matches(term, &other.pod.metadata.namespace, &pod.pod) {
                count(&mut required.refusing, node, &term.topology_key, by);
            }
        }
        let wanted = affinity_terms(pod);
        if self.matches_all(wanted, namespace, &other.pod) {
            for term in wanted {
                count(&mut required.wanted, node, &term.topology_key, by);
            }
        }
        for term in anti_affinity_terms(pod) {
            if self.matches(term, namespace, &other.pod) {
                count(&mut required.unwanted, node, &term.topology_key, by);
            }
        }
    }
}

impl PreFilter for InterPodAffinity {
    fn pre_filter(&self, state: &mut CycleState, pod: &PodInfo, snapshot: &Snapshot) -> Status {
        let mut required = Required::default();
        let has_terms = !affinity_terms(pod).is_empty() || !anti_affinity_terms(pod).is_empty();
        // Without terms of its own, only pods that keep others away matter.
        for node in snapshot.nodes.iter().filter(|node| has_terms || node.pods_with_required_anti_affinity > 0) {
            for other in &node.pods {
                self.count_pod(&mut required, pod, other, node, 1);
            }
        }
        if !has_terms && required.refusing.is_empty() {
            return Status::SKIP;
        }
        state.write(required);
        Status::SUCCESS
    }

    fn pod_moved(&self, state: &mut CycleState, pod: &PodInfo, other: &PodInfo, on: &NodeInfo, added: bool) {
        if let Some(required) = state.get_mut::<Required>() {
            self.count_pod(required, pod, other, on, if added { 1 } else { -1 });
        }
    }
}

impl Filter for InterPodAffinity {
    fn filter(&self, state: &CycleState, pod: &PodInfo, node: &NodeInfo) -> Status {
        let Some(required) = state.get::<Required>() else { return Status::SUCCESS };
        let mut all_near = true;
        for term in affinity_terms(pod) {
            let Some(value) = node.label(&term.topology_key) else {
                return Status::unresolvable("node(s) didn't match pod affinity rules");
            };
            all_near &= at(&required.wanted, &term.topology_key, value) > 0;
        }
        // The first pod of a group that wants to be near itself would never start: if nothing matches anywhere, it may.
        let is_first = || {
            required.wanted.is_empty() && self.matches_all(affinity_terms(pod), &pod.pod.metadata.namespace, &pod.pod)
        };
        if !all_near && !is_first() {
            return Status::unresolvable("node(s) didn't match pod affinity rules");
        }
        let near = |pairs: &Pairs, key: &str| node.label(key).is_some_and(|value| at(pairs, key, value) > 0);
        if anti_affinity_terms(pod).iter().any(|term| near(&required.unwanted, &term.topology_key)) {
            return Status::unschedulable("node(s) didn't match pod anti-affinity rules");
        }
        if required.refusing.iter().any(|((key, value), total)| *total > 0 && node.label(key) == Some(value)) {
            return Status::unschedulable("node(s) didn't satisfy existing pods anti-affinity rules");
        }
        Status::SUCCESS
    }
}

/// Sums of weights by label and value.
#[derive(Clone)]
struct Preferred(Pairs);

impl InterPodAffinity {
    fn weigh(
        &self,
        pairs: &mut Pairs,
        terms: &[WeightedPodAffinityTerm],
        owner: &PodInfo,
        other: &PodInfo,
        node: &NodeInfo,
        sign: i64,
    ) {
        for weighted in terms {
            let term = &weighted.pod_affinity_term;
            if self.matches(term, &owner.pod.metadata.namespace, &other.pod) {
                count(pairs, node, &term.topology_key, sign * i64::from(weighted.weight));
            }
        }
    }
}

impl Score for InterPodAffinity {
    fn pre_score(&self, state: &mut CycleState, pod: &PodInfo, _: &[Arc<NodeInfo>], snapshot: &Snapshot) -> bool {
        let (near, away) = preferred(pod);
        let has_terms = !near.is_empty() || !away.is_empty();
        let mut pairs = Pairs::new();
        for node in snapshot.nodes.iter().filter(|node| has_terms || node.pods_with_affinity > 0) {
            for other in &node.pods {
                self.weigh(&mut pairs, near, pod, other, node, 1);
                self.weigh(&mut pairs, away, pod, other, node, -1);
                for term in affinity_terms(other) {
                    if self.matches(term, &other.pod.metadata.namespace, &pod.pod) {
                        count(&mut pairs, node, &term.topology_key, HARD_POD_AFFINITY_WEIGHT);
                    }
                }
                let (their_near, their_away) = preferred(other);
                self.weigh(&mut pairs, their_near, other, pod, node, 1);
                self.weigh(&mut pairs, their_away, other, pod, node, -1);
            }
        }
        let any = !pairs.is_empty();
        state.write(Preferred(pairs));
        any
    }

    fn score(&self, state: &CycleState, _: &PodInfo, node: &NodeInfo) -> i64 {
        let Some(Preferred(pairs)) = state.get() else { return 0 };
        let here = pairs.iter().filter(|((key, value), _)| node.label(key) == Some(value));
        here.map(|(_, weight)| weight).sum()
    }

    fn normalize(&self, _: &CycleState, scores: &mut [i64]) {
        let (min, max) = (scores.iter().copied().min().unwrap_or(0), scores.iter().copied().max().unwrap_or(0));
        for score in scores.iter_mut() {
            *score = if max == min { 0 } else { MAX_NODE_SCORE * (*score - min) / (max - min) };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{node_with, pod_with, scores, snapshot, verdicts};
    use serde_json::{Value, json};

    fn plugin() -> InterPodAffinity {
        let namespaces = Informer::detached();
        for (name, team) in [("n", "a"), ("m", "b")] {
            let namespace = json!({"metadata": {"name": name, "labels": {"team": team}}});
            namespaces.apply(serde_json::from_value(namespace).expect("a namespace"));
        }
        InterPodAffinity::new(namespaces)
    }

    fn nodes() -> Vec<Arc<skiff_client::types::Node>> {
        let in_zone = |name: &str, zone: &str| node_with(json!({"metadata": {"name": name, "labels": {"zone": zone}}}));
        vec![in_zone("a1", "a"), in_zone("a2", "a"), in_zone("b1", "b")]
    }

    fn labelled(name: &str, node: &str, app: &str, affinity: Value) -> Arc<PodInfo> {
        pod_with(json!({"metadata": {"name": name, "labels": {"app": app}},
            "spec": {"nodeName": node, "containers": [], "affinity": affinity}}))
    }

    fn term(app: &str) -> Value {
        json!({"topologyKey": "zone", "labelSelector": {"matchLabels": {"app": app}}})
    }

    fn required(kind: &str, term: Value) -> Value {
        json!({kind: {"requiredDuringSchedulingIgnoredDuringExecution": [term]}})
    }

    fn fitting(pod: &PodInfo, there: &[Arc<PodInfo>]) -> String {
        let found = verdicts(&plugin(), pod, &snapshot(&nodes(), there));
        if found == ["skip"] {
            return "skip".into();
        }
        let names: Vec<&str> = found.iter().filter_map(|verdict| verdict.strip_suffix(": ok")).collect();
        names.join(" ")
    }

    #[test]
    fn required_rules_hold_for_whole_domains() {
        let there = [labelled("db", "a1", "db", Value::Null)];
        let check = |app: &str, affinity: Value, expected: &str| {
            assert_eq!(fitting(&labelled("p", "", app, affinity.clone()), &there), expected, "{affinity}");
        };
        check("web", Value::Null, "skip");
        check("web", required("podAffinity", term("db")), "a1 a2");
        check("web", required("podAntiAffinity", term("db")), "b1");
        check("web", required("podAffinity", term("missing")), "");
        // The first of a group that wants to be together.
        check("web", required("podAffinity", term("web")), "a1 a2 b1");
        let mut other_namespace = term("db");
        other_namespace["namespaces"] = json!(["m"]);
        check("web", required("podAffinity", other_namespace), "");
        let mut by_label = term("db");
        by_label["namespaceSelector"] = json!({"matchLabels": {"team": "a"}});
        check("web", required("podAffinity", by_label), "a1 a2");
    }

    #[test]
    fn pods_that_are_there_may_refuse() {
        let hermit = labelled("db", "a1", "db", required("podAntiAffinity", term("web")));
        assert_eq!(fitting(&labelled("p", "", "web", Value::Null), std::slice::from_ref(&hermit)), "b1");
        assert_eq!(fitting(&labelled("p", "", "other", Value::Null), &[hermit]), "skip");
    }

    #[test]
    fn preferences_of_both_sides_count() {
        let preferred = |kind: &str, app: &str| {
            json!({kind: {"preferredDuringSchedulingIgnoredDuringExecution":
                [{"weight": 10, "podAffinityTerm": term(app)}]}})
        };
        let near = labelled("p", "", "web", preferred("podAffinity", "db"));
        let db = labelled("db", "a1", "db", Value::Null);
        assert_eq!(scores(&plugin(), &near, &snapshot(&nodes(), &[db])), [100, 100, 0]);
        let shy = labelled("db", "a1", "db", preferred("podAntiAffinity", "web"));
        let plain = labelled("p", "", "web", Value::Null);
        assert_eq!(scores(&plugin(), &plain, &snapshot(&nodes(), &[shy])), [0, 0, 100]);
        assert!(scores(&plugin(), &plain, &snapshot(&nodes(), &[])).is_empty());
    }
}
