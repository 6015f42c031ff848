//! What the plan is made from.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use skiff_client::types::{DaemonSet, Node, Pod};

use super::Controller;
use super::backoff::Place;
use super::fit::{Fit, Rules};
use super::history::History;
use super::template;
use crate::ownership::{self, Claim};

/// A node and what it means for the set.
pub(super) struct Candidate {
    pub(super) name: String,
    pub(super) fit: Fit,
    /// How long failed pods are left alone there.
    pub(super) waits: Option<Duration>,
}

/// A set, its history, the nodes, and its pods on each of them.
pub(super) struct Observed {
    pub(super) set: Arc<DaemonSet>,
    pub(super) history: History,
    pub(super) nodes: Vec<Candidate>,
    pub(super) pods: Claim<Pod>,
    /// Its pods by the node they are on or meant for, scheduled ones first and then the oldest first; finished ones that
    /// are going are left out. Also of nodes that are gone.
    pub(super) on_node: BTreeMap<String, Vec<Arc<Pod>>>,
    pub(super) expectations_met: bool,
    pub(super) now: Timestamp,
}

/// The place of a set's failures on a node.
pub(super) fn place(set: &DaemonSet, node: &str) -> Place {
    (set.metadata.uid.clone(), set.status.observed_generation, node.to_owned())
}

impl Observed {
    pub(super) fn new(
        set: Arc<DaemonSet>,
        history: History,
        candidates: Vec<Arc<Pod>>,
        nodes: &[Arc<Node>],
        waits: impl Fn(&Place) -> Option<Duration>,
        expectations_met: bool,
        now: Timestamp,
    ) -> Self {
        let pods = ownership::claim(&set.metadata, &set.spec.selector, candidates);
        let mut on_node: BTreeMap<String, Vec<Arc<Pod>>> = BTreeMap::new();
        for pod in pods.claimed.iter().filter(|pod| !(pod.is_terminal() && pod.metadata.is_deleting())) {
            if let Some(node) = template::node_of(pod) {
                on_node.entry(node.to_owned()).or_default().push(pod.clone());
            }
        }
        for pods in on_node.values_mut() {
            pods.sort_by_key(|pod| {
                let meta = &pod.metadata;
                (pod.spec.node_name.is_empty(), meta.creation_timestamp, meta.name.clone())
            });
        }
        let rules = Rules::of(&set);
        let place_of = |node: &Arc<Node>| {
            let name = node.metadata.name.clone();
            Candidate { fit: rules.fit(node), waits: waits(&place(&set, &name)), name }
        };
        let nodes = nodes.iter().map(place_of).collect();
        Self { set, history, nodes, pods, on_node, expectations_met, now }
    }

    /// The set's pods of a node.
    pub(super) fn pods_on(&self, node: &str) -> &[Arc<Pod>] {
        self.on_node.get(node).map_or(&[], Vec::as_slice)
    }

    pub(super) fn is_available(&self, pod: &Pod) -> bool {
        pod.is_available(i64::from(self.set.spec.min_ready_seconds), self.now)
    }

    pub(super) fn is_updated(&self, pod: &Pod) -> bool {
        template::is_updated(&self.set, &self.history.hash, pod)
    }
}

impl Controller {
    pub(super) fn observe(&self, set: Arc<DaemonSet>, history: History) -> Observed {
        // Before the pods are read: what arrives in between may only make the picture newer.
        let expectations_met = self.expectations.satisfied(&set.metadata.uid);
        let now = self.context.now();
        let candidates = ownership::candidates(&self.pods, &set.metadata);
        let waits = |place: &Place| self.failed_pods.waits(place, now);
        Observed::new(set, history, candidates, &self.nodes.list(), waits, expectations_met, now)
    }
}
