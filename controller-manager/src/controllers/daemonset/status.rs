//! Counting nodes.

use serde_json::{Value, json};
use skiff_client::types::DaemonSetStatus;

use super::observe::Observed;

/// The new status, if it differs.
pub(super) fn changed(observed: &Observed) -> Option<DaemonSetStatus> {
    let set = &observed.set;
    let mut status = DaemonSetStatus { collision_count: set.status.collision_count, ..DaemonSetStatus::default() };
    for node in &observed.nodes {
        let oldest = observed.pods_on(&node.name).first();
        if !node.fit.should_run {
            status.number_misscheduled += i32::from(oldest.is_some());
            continue;
        }
        status.desired_number_scheduled += 1;
        let Some(pod) = oldest else { continue };
        status.current_number_scheduled += 1;
        status.number_ready += i32::from(pod.is_ready());
        status.number_available += i32::from(observed.is_available(pod));
        status.updated_number_scheduled += i32::from(observed.is_updated(pod));
    }
    status.number_unavailable = status.desired_number_scheduled - status.number_available;
    // What was written and is not seen yet belongs to an older generation.
    let observed_generation = set.status.observed_generation;
    status.observed_generation = if observed.expectations_met { set.metadata.generation } else { observed_generation };
    (status != set.status).then_some(status)
}

/// The status as a merge patch: what is zero is removed where upstream omits it.
pub(super) fn to_json(status: &DaemonSetStatus) -> Value {
    let unless_zero = |count: i32| if count == 0 { Value::Null } else { json!(count) };
    json!({
        "currentNumberScheduled": status.current_number_scheduled,
        "numberMisscheduled": status.number_misscheduled,
        "desiredNumberScheduled": status.desired_number_scheduled,
        "numberReady": status.number_ready,
        "observedGeneration": if status.observed_generation == 0 { Value::Null } else { json!(status.observed_generation) },
        "updatedNumberScheduled": unless_zero(status.updated_number_scheduled),
        "numberAvailable": unless_zero(status.number_available),
        "numberUnavailable": unless_zero(status.number_unavailable),
    })
}
