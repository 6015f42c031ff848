//! What the plan is made from: the Job and its pods, sorted by what they mean for it.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;

use jiff::Timestamp;
use skiff_client::types::{Job, Pod, condition_is_true};

use super::failure_policy::{Action, action};
use super::indexes;

/// Finalizer of pods that are not counted yet.
pub(super) const FINALIZER: &str = "batch.kubernetes.io/job-tracking";
/// Annotation and label with a pod's completion index.
pub(super) const INDEX: &str = "batch.kubernetes.io/job-completion-index";
/// Annotation with the number of failures of the index before this pod.
pub(super) const FAILURES: &str = "batch.kubernetes.io/job-index-failure-count";
/// Annotation with the number of failures of the index that did not count.
pub(super) const IGNORED_FAILURES: &str = "batch.kubernetes.io/job-index-ignored-failure-count";

/// A Job, its pods, and what follows from them directly.
pub(super) struct Observed {
    pub(super) job: Arc<Job>,
    /// All pods it controls.
    pub(super) pods: Vec<Arc<Pod>>,
    /// Pods whose finalizer is being removed: what the cache says of them is old.
    pub(super) released: HashSet<String>,
    pub(super) expectations_met: bool,
    pub(super) now: Timestamp,
}

/// How a pod failed, if it did.
pub(super) struct Failure {
    pub(super) action: Action,
}

impl Observed {
    pub(super) fn is_indexed(&self) -> bool {
        self.job.spec.completion_mode == "Indexed"
    }

    pub(super) fn completions(&self) -> i32 {
        self.job.spec.completions.unwrap_or(0)
    }

    pub(super) fn parallelism(&self) -> usize {
        usize::try_from(self.job.spec.parallelism.unwrap_or(1)).unwrap_or(0)
    }

    /// Whether a pod is replaced only when it has failed, not already when it is going.
    fn only_failed_are_replaced(&self) -> bool {
        self.job.spec.pod_replacement_policy == "Failed"
    }

    /// Pods that run or will.
    pub(super) fn active(&self) -> Vec<&Arc<Pod>> {
        self.pods.iter().filter(|pod| pod.is_active()).collect()
    }

    /// Pods that are going and have not finished.
    pub(super) fn terminating(&self) -> usize {
        self.pods.iter().filter(|pod| pod.metadata.is_deleting() && !pod.is_terminal()).count()
    }

    /// Pods that take a place although they are going.
    pub(super) fn blocking(&self) -> usize {
        if self.only_failed_are_replaced() { self.terminating() } else { 0 }
    }

    pub(super) fn ready(&self) -> usize {
        self.pods.iter().filter(|pod| pod.is_active() && condition_is_true(&pod.status.conditions, "Ready")).count()
    }

    /// Whether a pod counts as failed (upstream `isPodFailed`).
    pub(super) fn failed(&self, pod: &Pod) -> bool {
        match pod.status.phase.as_str() {
            "Failed" => true,
            "Succeeded" => false,
            _ => pod.metadata.is_deleting() && !self.only_failed_are_replaced(),
        }
    }

    /// What the policy says about a failed pod.
    pub(super) fn failure(&self, pod: &Pod) -> Failure {
        let policy = self.job.spec.pod_failure_policy.as_ref().filter(|_| pod.status.phase == "Failed");
        Failure { action: policy.map_or(Action::Count, |policy| action(policy, pod)) }
    }

    /// Whether a pod still waits to be counted.
    pub(super) fn is_tracked(&self, pod: &Pod) -> bool {
        pod.metadata.has_finalizer(FINALIZER) && !self.released.contains(&pod.metadata.uid)
    }

    /// A pod's completion index, if it is one of the Job.
    pub(super) fn index(&self, pod: &Pod) -> Option<i32> {
        let index = pod.metadata.annotations.get(INDEX)?.parse().ok()?;
        (0..self.completions()).contains(&index).then_some(index)
    }

    /// Indexes that have succeeded, by the status and by pods that are not counted yet.
    pub(super) fn succeeded_indexes(&self) -> BTreeSet<i32> {
        let mut indexes = indexes::parse(&self.job.status.completed_indexes, self.completions());
        let new = self.pods.iter().filter(|pod| pod.status.phase == "Succeeded" && self.is_tracked(pod));
        indexes.extend(new.filter_map(|pod| self.index(pod)));
        indexes
    }

    /// Indexes that have failed for good; `None` if indexes do not fail on their own.
    pub(super) fn failed_indexes(&self) -> Option<BTreeSet<i32>> {
        let limit = self.job.spec.backoff_limit_per_index?;
        let known = self.job.status.failed_indexes.as_deref().unwrap_or_default();
        let mut indexes = indexes::parse(known, self.completions());
        for pod in self.pods.iter().filter(|pod| self.failed(pod) && self.is_tracked(pod)) {
            let action = self.failure(pod).action;
            let beyond = action != Action::Ignore && annotation(pod, FAILURES) >= limit;
            if let Some(index) = self.index(pod).filter(|_| beyond || action == Action::FailIndex) {
                indexes.insert(index);
            }
        }
        let succeeded = self.succeeded_indexes();
        indexes.retain(|index| !succeeded.contains(index));
        Some(indexes)
    }

    /// Per index the failed pod that tells how often it has failed: it must stay until its successor is there.
    pub(super) fn last_failures(&self) -> BTreeMap<i32, &Arc<Pod>> {
        let mut last: BTreeMap<i32, &Arc<Pod>> = BTreeMap::new();
        if self.job.spec.backoff_limit_per_index.is_none() {
            return last;
        }
        let count = |pod: &Pod| annotation(pod, FAILURES) + annotation(pod, IGNORED_FAILURES);
        for pod in self.pods.iter().filter(|pod| self.failed(pod) && self.is_tracked(pod)) {
            let Some(index) = self.index(pod) else { continue };
            if last.get(&index).is_none_or(|known| count(known) < count(pod)) {
                last.insert(index, pod);
            }
        }
        last
    }
}

/// A number in an annotation; 0 without.
pub(super) fn annotation(pod: &Pod, name: &str) -> i32 {
    pod.metadata.annotations.get(name).and_then(|text| text.parse().ok()).unwrap_or(0)
}

/// When a pod ended: when its last container did, else when it was asked to go.
pub(super) fn finished_at(pod: &Pod) -> Option<Timestamp> {
    let ended = pod.status.container_statuses.iter().filter_map(|status| status.state.terminated.as_ref()?.finished_at);
    let ready = skiff_client::types::condition(&pod.status.conditions, "Ready");
    ended.max().or(pod.metadata.deletion_timestamp).or(ready.and_then(|ready| ready.last_transition_time))
}
