//! What a budget's status should say. Pure.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Map, Value, json};
use skiff_client::clock::format_time;
use skiff_client::types::{
    Condition, IntOrString, Pod, PodDisruptionBudget, PodDisruptionBudgetSpec, PodDisruptionBudgetStatus, condition,
};

use crate::conditions::{self, Form};
use crate::percent;

/// How long after its eviction was granted a pod is taken to be on its way (upstream `DeletionTimeout`).
pub(super) const DELETION_TIMEOUT: Duration = Duration::from_secs(2 * 60);

/// The condition that says whether a voluntary disruption is allowed.
const DISRUPTION_ALLOWED: &str = "DisruptionAllowed";

/// What is to be done for a budget.
#[derive(Debug, PartialEq)]
pub(super) struct Plan {
    /// The status to write, if the present one is not right.
    pub status: Option<PodDisruptionBudgetStatus>,
    /// Pods whose eviction was granted and that are still there after [`DELETION_TIMEOUT`].
    pub overdue: Vec<Arc<Pod>>,
    /// When the next granted eviction is overdue.
    pub recheck: Option<Duration>,
}

/// Whether the budget is a share of what the pods' controllers want, so that their scale must be known. A fixed
/// `minAvailable` is not: it counts pods.
pub(super) fn needs_scale(spec: &PodDisruptionBudgetSpec) -> bool {
    spec.max_unavailable.is_some() || matches!(spec.min_available, Some(IntOrString::String(_)))
}

/// Expected pods, and healthy ones needed among them; `None` if a percentage is not one. `scale` is the sum of what
/// the pods' controllers want, see [`needs_scale`].
fn wanted(spec: &PodDisruptionBudgetSpec, pods: usize, scale: i32) -> Option<(i32, i32)> {
    match (&spec.max_unavailable, &spec.min_available) {
        (Some(unavailable), _) => Some((scale, (scale - percent::scaled(unavailable, scale, true)?).max(0))),
        (None, Some(IntOrString::Int(available))) => Some((i32::try_from(pods).unwrap_or(i32::MAX), *available)),
        (None, Some(available)) => Some((scale, percent::scaled(available, scale, true)?)),
        (None, None) => Some((0, 0)),
    }
}

/// Plans for a budget and the pods it selects; `None` if a percentage of it is not one.
pub(super) fn plan(budget: &PodDisruptionBudget, pods: &[Arc<Pod>], scale: i32, now: Timestamp) -> Option<Plan> {
    let (expected_pods, desired_healthy) = wanted(&budget.spec, pods.len(), scale)?;
    let mut granted = BTreeMap::new();
    let mut plan = Plan { status: None, overdue: Vec::new(), recheck: None };
    let mut current_healthy = 0;
    for pod in pods.iter().filter(|pod| !pod.metadata.is_deleting()) {
        if let Some(since) = budget.status.disrupted_pods.get(&pod.metadata.name) {
            let until = *since + DELETION_TIMEOUT;
            if until < now {
                plan.overdue.push(pod.clone());
            } else {
                let left = Duration::try_from(until.duration_since(now)).unwrap_or_default();
                plan.recheck = Some(plan.recheck.map_or(left, |known| known.min(left)));
                granted.insert(pod.metadata.name.clone(), *since);
                if until > now {
                    continue;
                }
            }
        }
        current_healthy += i32::from(pod.is_ready());
    }
    // A budget without pods allows nothing: its first pods may come before its next status.
    let allowed = if expected_pods <= 0 { 0 } else { (current_healthy - desired_healthy).max(0) };
    let mut status = PodDisruptionBudgetStatus {
        observed_generation: budget.metadata.generation,
        disrupted_pods: granted,
        disruptions_allowed: allowed,
        current_healthy,
        desired_healthy,
        expected_pods,
        conditions: budget.status.conditions.clone(),
    };
    let (is, reason) = if allowed > 0 { ("True", "SufficientPods") } else { ("False", "InsufficientPods") };
    set_condition(&mut status, is, reason, "", now);
    plan.status = (status != budget.status).then_some(status);
    Some(plan)
}

/// The status when the rest cannot be known: nothing may be evicted, and the reason is told.
pub(super) fn fail_safe(
    budget: &PodDisruptionBudget,
    error: &str,
    now: Timestamp,
) -> Option<PodDisruptionBudgetStatus> {
    let mut status = budget.status.clone();
    status.disruptions_allowed = 0;
    set_condition(&mut status, "False", "SyncFailed", error, now);
    (status != budget.status).then_some(status)
}

/// Sets the condition in its place, as `meta.SetStatusCondition` does: the time moves only with the status.
fn set_condition(status: &mut PodDisruptionBudgetStatus, is: &str, reason: &str, message: &str, now: Timestamp) {
    let since = condition(&status.conditions, DISRUPTION_ALLOWED)
        .filter(|current| current.status == is)
        .and_then(|current| current.last_transition_time);
    let wanted = Condition {
        last_transition_time: since.or(Some(now)),
        last_update_time: None,
        observed_generation: status.observed_generation,
        ..conditions::new(DISRUPTION_ALLOWED, is, reason, message, now)
    };
    match status.conditions.iter_mut().find(|condition| condition.type_ == DISRUPTION_ALLOWED) {
        Some(current) => *current = wanted,
        None => status.conditions.push(wanted),
    }
}

/// The status for a merge patch. Pods that are no longer on the list are taken off by null.
pub(super) fn status_json(new: &PodDisruptionBudgetStatus, old: &PodDisruptionBudgetStatus) -> Value {
    let mut disrupted: Map<String, Value> = old.disrupted_pods.keys().map(|name| (name.clone(), Value::Null)).collect();
    disrupted.extend(new.disrupted_pods.iter().map(|(name, since)| (name.clone(), json!(format_time(*since)))));
    json!({
        "observedGeneration": new.observed_generation,
        "disruptedPods": disrupted,
        "disruptionsAllowed": new.disruptions_allowed,
        "currentHealthy": new.current_healthy,
        "desiredHealthy": new.desired_healthy,
        "expectedPods": new.expected_pods,
        "conditions": conditions::to_json(&new.conditions, Form::Standard),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> Timestamp {
        "2026-01-02T03:04:05Z".parse().expect("a time")
    }

    fn budget(spec: Value, status: Value) -> PodDisruptionBudget {
        let object = json!({"metadata": {"generation": 2}, "spec": spec, "status": status});
        serde_json::from_value(object).expect("a budget")
    }

    fn pods(ready: usize, unready: usize) -> Vec<Arc<Pod>> {
        let pod = |n: usize| {
            let status = if n < ready { "True" } else { "False" };
            let object = json!({"metadata": {"name": format!("p{n}")},
                "status": {"conditions": [{"type": "Ready", "status": status}]}});
            Arc::new(serde_json::from_value(object).expect("a pod"))
        };
        (0..ready + unready).map(pod).collect()
    }

    /// allowed, healthy, desired, expected
    fn check(spec: Value, ready: usize, unready: usize, scale: i32, expected: [i32; 4]) {
        let plan = plan(&budget(spec.clone(), json!({})), &pods(ready, unready), scale, now()).expect("percentages");
        let status = plan.status.expect("a first status");
        let found = [status.disruptions_allowed, status.current_healthy, status.desired_healthy, status.expected_pods];
        assert_eq!(found, expected, "{spec}");
        assert_eq!(status.observed_generation, 2);
        let allowed = condition(&status.conditions, DISRUPTION_ALLOWED).expect("the condition");
        let words = if expected[0] > 0 { ("True", "SufficientPods") } else { ("False", "InsufficientPods") };
        assert_eq!((allowed.status.as_str(), allowed.reason.as_str()), words);
    }

    #[test]
    fn budgets_count_as_upstream() {
        // Facts of upstream's disruption_test.go.
        check(json!({"minAvailable": 3}), 0, 0, 0, [0, 0, 3, 0]);
        check(json!({"minAvailable": 3}), 1, 0, 0, [0, 1, 3, 1]);
        check(json!({"minAvailable": 2}), 3, 1, 0, [1, 3, 2, 4]);
        check(json!({"maxUnavailable": 1}), 1, 0, 5, [0, 1, 4, 5]);
        check(json!({"maxUnavailable": 5}), 1, 0, 1, [1, 1, 0, 1]);
        check(json!({"minAvailable": "28%"}), 1, 0, 10, [0, 1, 3, 10]);
        check(json!({"minAvailable": "28%"}), 4, 0, 10, [1, 4, 3, 10]);
        check(json!({"maxUnavailable": "30%"}), 8, 0, 10, [1, 8, 7, 10]);
        check(json!({"maxUnavailable": "50%"}), 3, 0, 3, [2, 3, 1, 3]);
        check(json!({"minAvailable": "0%"}), 0, 0, 0, [0, 0, 0, 0]);
        assert_eq!(plan(&budget(json!({"minAvailable": "many"}), json!({})), &[], 1, now()), None);
    }

    #[test]
    fn granted_evictions_count_until_they_are_overdue() {
        let granted =
            json!({"p0": "2026-01-02T03:03:05Z", "p1": "2026-01-02T03:02:00Z", "gone": "2026-01-02T03:04:00Z"});
        let budget = budget(json!({"minAvailable": 1}), json!({ "disruptedPods": granted }));
        let plan = plan(&budget, &pods(3, 0), 0, now()).expect("a plan");
        let status = plan.status.expect("a change");
        assert_eq!((status.current_healthy, status.disruptions_allowed), (2, 1));
        assert_eq!(status.disrupted_pods.keys().collect::<Vec<_>>(), ["p0"]);
        assert_eq!(plan.overdue.iter().map(|pod| pod.metadata.name.as_str()).collect::<Vec<_>>(), ["p1"]);
        assert_eq!(plan.recheck, Some(Duration::from_secs(60)));
        let written = status_json(&status, &budget.status);
        assert_eq!(written["disruptedPods"], json!({"p0": "2026-01-02T03:03:05Z", "p1": null, "gone": null}));
    }

    #[test]
    fn a_status_that_is_right_is_left_alone_and_a_failure_forbids() {
        let mut budget = budget(json!({"minAvailable": 1}), json!({}));
        let first = plan(&budget, &pods(2, 0), 0, now()).and_then(|plan| plan.status).expect("a first status");
        budget.status = first;
        let later = now() + Duration::from_secs(60);
        assert_eq!(plan(&budget, &pods(2, 0), 0, later).expect("a plan").status, None);
        let failed = fail_safe(&budget, "no scale", later).expect("a change");
        assert_eq!(failed.disruptions_allowed, 0);
        let condition = condition(&failed.conditions, DISRUPTION_ALLOWED).expect("the condition");
        assert_eq!((condition.reason.as_str(), condition.message.as_str()), ("SyncFailed", "no scale"));
        assert_eq!(condition.last_transition_time, Some(later));
    }
}
