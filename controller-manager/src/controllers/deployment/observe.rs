//! What the plan is made from.

use std::collections::HashMap;
use std::sync::Arc;

use jiff::Timestamp;
use skiff_client::types::{Deployment, Pod, ReplicaSet};

use super::Controller;
use crate::ownership::{self, Claim};

/// A Deployment, its ReplicaSets, and how many pods each of them still has.
pub(super) struct Observed {
    pub(super) deployment: Arc<Deployment>,
    pub(super) claim: Claim<ReplicaSet>,
    /// Pods that are not finished, terminating ones included, by the UID of their ReplicaSet.
    pub(super) unfinished_pods: HashMap<String, usize>,
    pub(super) now: Timestamp,
}

impl Observed {
    pub(super) fn new(
        deployment: Arc<Deployment>,
        candidates: Vec<Arc<ReplicaSet>>,
        pods_of: impl Fn(&ReplicaSet) -> Vec<Arc<Pod>>,
        now: Timestamp,
    ) -> Self {
        let claim = ownership::claim(&deployment.metadata, &deployment.spec.selector, candidates);
        let unfinished = |set: &ReplicaSet| pods_of(set).iter().filter(|pod| !pod.is_terminal()).count();
        let unfinished_pods = claim.claimed.iter().map(|set| (set.metadata.uid.clone(), unfinished(set))).collect();
        Self { deployment, claim, unfinished_pods, now }
    }
}

pub(super) fn observe(controller: &Controller, deployment: Arc<Deployment>) -> Observed {
    let candidates = ownership::candidates(&controller.replica_sets, &deployment.metadata);
    let pods_of = |set: &ReplicaSet| ownership::controlled_by(&controller.pods, &set.metadata);
    Observed::new(deployment, candidates, pods_of, controller.context.now())
}
