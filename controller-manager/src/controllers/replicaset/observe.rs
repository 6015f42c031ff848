//! What the plan is made from.

use std::collections::HashMap;
use std::sync::Arc;

use jiff::Timestamp;
use skiff_client::types::Pod;

use super::{Controller, ReplicaOwner, Replicas};
use crate::ownership::{self, Claim};

/// An owner, its pods, and what else decides.
pub(super) struct Observed {
    pub(super) owner: ReplicaOwner,
    /// Claims on its active pods.
    pub(super) claim: Claim<Pod>,
    /// Its pods that are being deleted.
    pub(super) terminating: usize,
    /// Active pods per node, of all owners with the same owner: pods doubled up on a node go first.
    pub(super) related_on_node: HashMap<String, usize>,
    /// Whether everything that was written has been seen.
    pub(super) expectations_met: bool,
    pub(super) now: Timestamp,
}

impl Observed {
    /// Sorts candidates into claims and terminating pods.
    pub(super) fn new(
        owner: ReplicaOwner,
        candidates: Vec<Arc<Pod>>,
        siblings: &[Arc<Pod>],
        expectations_met: bool,
        now: Timestamp,
    ) -> Self {
        let terminating = candidates.iter().filter(|pod| {
            let ours = pod.metadata.is_controlled_by(&owner.meta.uid) && owner.selector.matches(&pod.metadata.labels);
            ours && pod.metadata.is_deleting() && !pod.is_terminal()
        });
        let terminating = terminating.count();
        let active = candidates.into_iter().filter(|pod| pod.is_active());
        let claim = ownership::claim(&owner.meta, &owner.selector, active);
        let mut related_on_node = HashMap::new();
        for pod in siblings.iter().filter(|pod| pod.is_active()) {
            *related_on_node.entry(pod.spec.node_name.clone()).or_insert(0) += 1;
        }
        Self { owner, claim, terminating, related_on_node, expectations_met, now }
    }
}

pub(super) fn observe<O: Replicas>(controller: &Controller<O>, owner: &Arc<O>) -> Observed {
    // Before the pods are read: what arrives in between may only make the picture newer.
    let expectations_met = controller.expectations.satisfied(&owner.meta().uid);
    let candidates = ownership::candidates(&controller.pods, owner.meta());
    let siblings = match owner.meta().controller_of() {
        Some(parent) => controller.owners.by_index(ownership::CONTROLLER_INDEX, &parent.uid),
        None => vec![owner.clone()],
    };
    let siblings: Vec<Arc<Pod>> =
        siblings.iter().flat_map(|sibling| ownership::controlled_by(&controller.pods, sibling.meta())).collect();
    Observed::new(owner.view(), candidates, &siblings, expectations_met, controller.context.now())
}
