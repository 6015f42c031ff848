//! The status of a Deployment: counts, conditions, and whether a roll-out makes progress.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};
use skiff_client::types::{Condition, Deployment, DeploymentStatus, condition};

use super::replica_sets::{Limits, Replica, ReplicaSets};
use crate::conditions::{self, Form};
use crate::control_loop::Next;

const AVAILABLE: &str = "Available";
pub(super) const PROGRESSING: &str = "Progressing";
const REPLICA_FAILURE: &str = "ReplicaFailure";

pub(super) const NEW_REPLICA_SET_AVAILABLE: &str = "NewReplicaSetAvailable";
pub(super) const TIMED_OUT: &str = "ProgressDeadlineExceeded";
const REPLICA_SET_UPDATED: &str = "ReplicaSetUpdated";
const PAUSED: &str = "DeploymentPaused";
const RESUMED: &str = "DeploymentResumed";

/// How long a roll-out may stand still; `None`: for ever.
pub(super) fn progress_deadline(deployment: &Deployment) -> Option<i64> {
    deployment.spec.progress_deadline_seconds.filter(|seconds| *seconds != i32::MAX).map(i64::from)
}

/// Marks a pause or its end, so that the time of a pause does not count against the deadline.
pub(super) fn note_pause(deployment: &Deployment, current: &mut Vec<Condition>, now: Timestamp) {
    if progress_deadline(deployment).is_none() {
        return;
    }
    let reason = condition(current, PROGRESSING).map(|condition| condition.reason.as_str());
    let noted = reason == Some(PAUSED);
    let new = match (deployment.spec.paused, noted) {
        _ if reason == Some(TIMED_OUT) => return,
        (true, false) => conditions::new(PROGRESSING, "Unknown", PAUSED, "Deployment is paused", now),
        (false, true) => conditions::new(PROGRESSING, "Unknown", RESUMED, "Deployment is resumed", now),
        _ => return,
    };
    conditions::set(current, new);
}

/// Counts and availability (upstream `calculateStatus`). `conditions` are the ones set so far.
pub(super) fn calculate(
    deployment: &Deployment,
    sets: &ReplicaSets,
    limits: &Limits,
    conditions: Vec<Condition>,
    now: Timestamp,
) -> DeploymentStatus {
    let sum = |count: &dyn Fn(&Replica) -> i32| sets.all().map(count).sum::<i32>();
    let available = sets.available();
    let mut status = DeploymentStatus {
        observed_generation: deployment.metadata.generation,
        replicas: sum(&|set| set.source.status.replicas),
        updated_replicas: sets.new.as_ref().map_or(0, |new| new.source.status.replicas),
        ready_replicas: sum(&|set| set.source.status.ready_replicas),
        available_replicas: available,
        unavailable_replicas: (sets.total() - available).max(0),
        terminating_replicas: terminating(sets),
        conditions,
        collision_count: deployment.status.collision_count,
    };
    let (state, reason, message) = if available >= limits.min_available() {
        ("True", "MinimumReplicasAvailable", "Deployment has minimum availability.")
    } else {
        ("False", "MinimumReplicasUnavailable", "Deployment does not have minimum availability.")
    };
    conditions::set(&mut status.conditions, conditions::new(AVAILABLE, state, reason, message, now));
    status
}

/// Unknown as long as some ReplicaSet has not said.
fn terminating(sets: &ReplicaSets) -> Option<i32> {
    let mut total = 0;
    for set in sets.all() {
        let status = &set.source.status;
        match status.terminating_replicas {
            Some(count) => total += count,
            None if status.observed_generation == 0 => {}
            None => return None,
        }
    }
    Some(total)
}

/// Whether the roll-out is done: every pod is new and available.
pub(super) fn is_complete(deployment: &Deployment, limits: &Limits, status: &DeploymentStatus) -> bool {
    status.updated_replicas == limits.replicas
        && status.replicas == limits.replicas
        && status.available_replicas == limits.replicas
        && status.observed_generation >= deployment.metadata.generation
}

fn made_progress(old: &DeploymentStatus, new: &DeploymentStatus) -> bool {
    new.updated_replicas > old.updated_replicas
        || new.replicas - new.updated_replicas < old.replicas - old.updated_replicas
        || new.ready_replicas > old.ready_replicas
        || new.available_replicas > old.available_replicas
}

fn timed_out(deadline: i64, status: &DeploymentStatus, now: Timestamp) -> bool {
    let Some(progressing) = condition(&status.conditions, PROGRESSING) else { return false };
    match progressing.reason.as_str() {
        NEW_REPLICA_SET_AVAILABLE => false,
        TIMED_OUT => true,
        _ => progressing.last_update_time.is_some_and(|since| since.as_second() + deadline < now.as_second()),
    }
}

/// Judges the progress of a roll-out (upstream `syncRolloutStatus`).
pub(super) fn judge_progress(
    deployment: &Deployment,
    sets: &ReplicaSets,
    limits: &Limits,
    status: &mut DeploymentStatus,
    now: Timestamp,
) {
    let Some(deadline) = progress_deadline(deployment) else {
        conditions::remove(&mut status.conditions, PROGRESSING);
        return move_failures(sets, status);
    };
    let current = condition(&status.conditions, PROGRESSING).cloned();
    let was_complete = current.as_ref().is_some_and(|current| current.reason == NEW_REPLICA_SET_AVAILABLE);
    if !(status.replicas == status.updated_replicas && was_complete) {
        let subject = sets.new.as_ref().map_or_else(
            || format!("Deployment {:?}", deployment.metadata.name),
            |new| format!("ReplicaSet {:?}", new.name),
        );
        if is_complete(deployment, limits, status) {
            let message = format!("{subject} has successfully progressed.");
            let new = conditions::new(PROGRESSING, "True", NEW_REPLICA_SET_AVAILABLE, message, now);
            conditions::set(&mut status.conditions, new);
        } else if made_progress(&deployment.status, status) {
            let message = format!("{subject} is progressing.");
            let mut new = conditions::new(PROGRESSING, "True", REPLICA_SET_UPDATED, message, now);
            if let Some(current) = current.filter(|current| current.status == "True") {
                new.last_transition_time = current.last_transition_time;
            }
            // Progress moves the update time even if nothing else about the condition changes.
            conditions::remove(&mut status.conditions, PROGRESSING);
            conditions::set(&mut status.conditions, new);
        } else if timed_out(deadline, status, now) {
            let message = format!("{subject} has timed out progressing.");
            let new = conditions::new(PROGRESSING, "False", TIMED_OUT, message, now);
            conditions::set(&mut status.conditions, new);
        }
    }
    move_failures(sets, status);
}

/// A failure of a ReplicaSet, the new one's first, is a failure of the Deployment.
fn move_failures(sets: &ReplicaSets, status: &mut DeploymentStatus) {
    let mut failures =
        sets.new.iter().chain(&sets.old).filter_map(|set| condition(&set.source.status.conditions, REPLICA_FAILURE));
    match failures.next() {
        Some(failure) => {
            let mut failure = failure.clone();
            failure.last_update_time = failure.last_transition_time;
            conditions::set(&mut status.conditions, failure);
        }
        None => conditions::remove(&mut status.conditions, REPLICA_FAILURE),
    }
}

/// When to look for a missed deadline.
pub(super) fn next_check(deployment: &Deployment, limits: &Limits, status: &DeploymentStatus, now: Timestamp) -> Next {
    let Some(deadline) = progress_deadline(deployment) else { return Next::Event };
    let Some(progressing) = condition(&status.conditions, PROGRESSING) else { return Next::Event };
    if is_complete(deployment, limits, status)
        || progressing.reason == TIMED_OUT
        || progressing.reason == NEW_REPLICA_SET_AVAILABLE
    {
        return Next::Event;
    }
    let since = progressing.last_update_time.unwrap_or(now).as_second();
    let left = since + deadline - now.as_second();
    Next::After(Duration::from_secs(left.max(0).unsigned_abs() + 1))
}

/// The status as a merge patch: what is zero is removed where upstream omits it.
pub(super) fn to_json(status: &DeploymentStatus) -> Value {
    let unless_zero = |count: i32| if count == 0 { Value::Null } else { json!(count) };
    json!({
        "observedGeneration": status.observed_generation,
        "replicas": unless_zero(status.replicas),
        "updatedReplicas": unless_zero(status.updated_replicas),
        "readyReplicas": unless_zero(status.ready_replicas),
        "availableReplicas": unless_zero(status.available_replicas),
        "unavailableReplicas": unless_zero(status.unavailable_replicas),
        "terminatingReplicas": status.terminating_replicas,
        "collisionCount": status.collision_count,
        "conditions": conditions::to_json(&status.conditions, Form::WithUpdate),
    })
}
