//! What plugins are, and how a cycle asks them.
//!
//! A plugin implements the traits of the points at which it has something to say. Points of a cycle, in order:
//! [`PreEnqueue`] (may the pod be queued at all) · [`PreFilter`] (look at the pod once) · [`Filter`] (each node) ·
//! [`PostFilter`] (no node fits: make room) · [`Score`] (each node that fits) · [`Reserve`] (the chosen node) · bind.
//! A plugin that keeps something from PreFilter for Filter does so in the [`CycleState`], because plugins themselves
//! are shared and immutable.

mod profile;
mod state;
mod status;

use std::sync::Arc;

use skiff_client::types::Pod;

use crate::cache::{NodeInfo, PodInfo, Snapshot};
use crate::queue::ClusterEvents;

pub use profile::{Diagnosis, FitError, Profile};
pub use state::{CycleState, OnlyNodes};
pub use status::{Code, Status};

/// Best score of a node.
pub const MAX_NODE_SCORE: i64 = 100;

/// What every plugin has.
pub trait Plugin: Send + Sync {
    /// Upstream's name of it.
    fn name(&self) -> &'static str;

    /// Events that could make a pod schedulable that this plugin refused.
    fn events(&self) -> ClusterEvents {
        ClusterEvents::NONE
    }
}

/// Decides whether a pod may enter the queue at all.
pub trait PreEnqueue: Plugin {
    /// Not a success: the pod waits outside until it changes.
    fn pre_enqueue(&self, pod: &Pod) -> Status;
}

/// Looks at the pod once per cycle.
pub trait PreFilter: Plugin {
    /// May write state for Filter and Score. [`Code::Skip`] says that this plugin's Filter has nothing to check; any
    /// other failure refuses the pod on every node.
    fn pre_filter(&self, state: &mut CycleState, pod: &PodInfo, snapshot: &Snapshot) -> Status;

    /// The node `on` is imagined with (`added`) or without another pod: keep the state true.
    fn pod_moved(&self, _: &mut CycleState, _pod: &PodInfo, _other: &PodInfo, _on: &NodeInfo, _added: bool) {}
}

/// Refuses nodes.
pub trait Filter: Plugin {
    /// Whether the pod could run on the node.
    fn filter(&self, state: &CycleState, pod: &PodInfo, node: &NodeInfo) -> Status;
}

/// What PostFilter came to.
pub struct PostFilterResult {
    /// Node on which room is being made.
    pub nominated_node: Option<String>,
    /// Without a nominated node: an earlier nomination still holds.
    pub keep_nomination: bool,
    /// What to add to the message of the failure; may be empty.
    pub message: String,
    /// Pods that must go from the nominated node.
    pub victims: Vec<Arc<PodInfo>>,
}

/// Makes room when no node fits.
pub trait PostFilter: Plugin {
    /// Chooses victims; the caller removes them.
    fn post_filter(
        &self,
        profile: &Profile,
        state: &CycleState,
        pod: &PodInfo,
        snapshot: &Snapshot,
        diagnosis: &Diagnosis,
    ) -> PostFilterResult;
}

/// Ranks the nodes that fit.
pub trait Score: Plugin {
    /// Looks at the pod and the nodes that fit, once. `false`: nothing to say about this pod.
    fn pre_score(&self, _state: &mut CycleState, _pod: &PodInfo, _nodes: &[Arc<NodeInfo>], _: &Snapshot) -> bool {
        true
    }

    /// The score of a node, in the plugin's own scale if it normalizes.
    fn score(&self, state: &CycleState, pod: &PodInfo, node: &NodeInfo) -> i64;

    /// Brings all scores to 0..=[`MAX_NODE_SCORE`].
    fn normalize(&self, _: &CycleState, _scores: &mut [i64]) {}
}

/// Notes the choice before it is bound.
pub trait Reserve: Plugin {
    /// Not a success: the choice is dropped.
    fn reserve(&self, state: &mut CycleState, pod: &PodInfo, node: &str) -> Status;
    /// Undoes [`Reserve::reserve`]; also called when it did not happen.
    fn unreserve(&self, state: &mut CycleState, pod: &PodInfo, node: &str);
}

/// Scales scores so that the largest becomes [`MAX_NODE_SCORE`]; reversed, the smallest becomes the best (upstream
/// `DefaultNormalizeScore`).
pub fn normalize_scores(scores: &mut [i64], reverse: bool) {
    let max = scores.iter().copied().max().unwrap_or(0);
    for score in scores.iter_mut() {
        *score = match max {
            0 if reverse => MAX_NODE_SCORE,
            0 => 0,
            max if reverse => MAX_NODE_SCORE - MAX_NODE_SCORE * *score / max,
            max => MAX_NODE_SCORE * *score / max,
        };
    }
}
