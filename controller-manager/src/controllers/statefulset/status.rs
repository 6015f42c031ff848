//! Counting pods, and when a roll-out is complete.

use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Value, json};
use skiff_client::types::{Pod, StatefulSet, StatefulSetStatus};

use super::identity;
use super::observe::Observed;
use crate::revisions;

/// Whether the kubelet or the server has taken notice of a pod. A slim pod without a phase is one just made.
pub(super) fn is_created(pod: &Pod) -> bool {
    !pod.status.phase.is_empty()
}

pub(super) fn is_running_and_ready(pod: &Pod) -> bool {
    pod.status.phase == "Running" && pod.is_ready()
}

pub(super) fn is_available(set: &StatefulSet, pod: &Pod, now: Timestamp) -> bool {
    pod.is_available(i64::from(set.spec.min_ready_seconds), now)
}

pub(super) fn revision_of(pod: &Pod) -> &str {
    pod.metadata.labels.get(revisions::POD_LABEL).unwrap_or_default()
}

/// The status of these pods, before it is known whether a roll-out is complete.
pub(super) fn count<'a>(observed: &Observed, pods: impl Iterator<Item = &'a Arc<Pod>>) -> StatefulSetStatus {
    let (set, history) = (&observed.set, &observed.history);
    let mut status = StatefulSetStatus {
        observed_generation: set.metadata.generation,
        current_revision: history.current.name.clone(),
        update_revision: history.update.name.clone(),
        collision_count: Some(history.collisions),
        conditions: set.status.conditions.clone(),
        ..StatefulSetStatus::default()
    };
    for pod in pods {
        status.replicas += i32::from(is_created(pod));
        if is_running_and_ready(pod) {
            status.ready_replicas += 1;
            status.available_replicas += i32::from(is_available(set, pod, observed.now));
        }
        if is_created(pod) && !pod.metadata.is_deleting() {
            let revision = revision_of(pod);
            status.current_replicas += i32::from(revision == status.current_revision);
            status.updated_replicas += i32::from(revision == status.update_revision);
        }
    }
    status
}

/// Makes the update revision the current one, if all pods are of it and ready.
pub(super) fn complete(set: &StatefulSet, mut status: StatefulSetStatus) -> StatefulSetStatus {
    let all = identity::replicas(set);
    let counts = [status.updated_replicas, status.ready_replicas, status.replicas];
    if set.spec.update_strategy.type_ == "RollingUpdate" && counts == [all; 3] {
        status.current_replicas = status.updated_replicas;
        status.current_revision.clone_from(&status.update_revision);
    }
    status
}

/// Whether the status must be written. A collision alone is no reason, as upstream.
pub(super) fn differs(set: &StatefulSet, status: &StatefulSetStatus) -> bool {
    let mut there = set.status.clone();
    there.collision_count = status.collision_count;
    let newer = status.observed_generation > there.observed_generation;
    there.observed_generation = status.observed_generation;
    newer || there != *status
}

/// The status as a merge patch: what is zero is removed where upstream omits it.
pub(super) fn to_json(status: &StatefulSetStatus) -> Value {
    let unless_zero = |count: i32| if count == 0 { Value::Null } else { json!(count) };
    json!({
        "observedGeneration": status.observed_generation,
        "replicas": status.replicas,
        "readyReplicas": unless_zero(status.ready_replicas),
        "currentReplicas": unless_zero(status.current_replicas),
        "updatedReplicas": unless_zero(status.updated_replicas),
        "currentRevision": status.current_revision,
        "updateRevision": status.update_revision,
        "collisionCount": status.collision_count,
        "availableReplicas": status.available_replicas,
    })
}
