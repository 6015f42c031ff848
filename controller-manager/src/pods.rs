//! Pods of controllers: making them from a template, in batches, and choosing which to delete.

use std::cmp::Ordering;
use std::collections::HashMap;
use std::sync::Arc;

use futures::future::join_all;
use jiff::Timestamp;
use serde_json::{Map, Value, json};
use skiff_client::types::{OwnerReference, Pod, RawJson, condition};
use skiff_client::{Event, Expectations};

/// Annotation that says which pods to delete first: the lower, the sooner.
pub const DELETION_COST: &str = "controller.kubernetes.io/pod-deletion-cost";

/// A pod from a template: labels, annotations, finalizers and spec are the template's, the rest of the metadata is
/// given (`name` or `generateName`, and what a controller adds).
pub fn from_template(template: &RawJson, namespace: &str, owner: &OwnerReference) -> Value {
    let mut template = template.value();
    let mut metadata = Map::new();
    for field in ["labels", "annotations", "finalizers"] {
        if let Some(value) = template["metadata"].get_mut(field).map(Value::take).filter(|value| !value.is_null()) {
            metadata.insert(field.into(), value);
        }
    }
    metadata.insert("namespace".into(), json!(namespace));
    metadata.insert("ownerReferences".into(), json!([owner]));
    json!({"metadata": metadata, "spec": template["spec"].take()})
}

/// The base of generated pod names: `owner-`, if the result can be a valid name.
pub fn generate_name(owner: &str) -> String {
    format!("{owner}-")
}

/// Strikes off what the pod's controller, by its UID, expected to see.
pub fn strike_off(event: &Event<'_, Pod>, expectations: &Expectations<String>) {
    let pod = event.object();
    let Some(owner) = pod.metadata.controller_of() else { return };
    match event {
        Event::Added(pod) if !pod.metadata.is_deleting() => expectations.creation_observed(&owner.uid),
        Event::Updated(_, pod) if !pod.metadata.is_deleting() => {}
        _ => expectations.deletion_observed(&owner.uid, &pod.metadata.uid),
    }
}

/// Outcome of [`slow_start`].
#[derive(Debug)]
pub struct Started<E> {
    /// Calls that succeeded.
    pub succeeded: usize,
    /// Calls that failed or were not made.
    pub missing: usize,
    /// The first error.
    pub error: Option<E>,
}

/// Makes `count` calls in batches of 1, 2, 4 and so on, a batch at once. After a batch with a failure no further one
/// is begun, so that a thousand creations that a quota forbids cost one request (upstream `slowStartBatch`).
pub async fn slow_start<F, Fut, E>(count: usize, call: F) -> Started<E>
where
    F: Fn(usize) -> Fut,
    Fut: Future<Output = Result<(), E>>,
{
    let (mut made, mut succeeded, mut batch) = (0, 0, 1);
    while made < count {
        let size = batch.min(count - made);
        let results = join_all((made..made + size).map(&call)).await;
        made += size;
        succeeded += results.iter().filter(|result| result.is_ok()).count();
        if let Some(error) = results.into_iter().find_map(Result::err) {
            return Started { succeeded, missing: count - succeeded, error: Some(error) };
        }
        batch *= 2;
    }
    Started { succeeded, missing: 0, error: None }
}

/// Sorts pods so that the first are the first to delete: not yet on a node, pending, not ready, cheap to delete,
/// doubled up on a node, ready for a short time, often restarted, young (upstream `ActivePodsWithRanks`).
/// `on_node` counts the related pods per node.
pub fn sort_for_deletion(pods: &mut [Arc<Pod>], on_node: &HashMap<String, usize>, now: Timestamp) {
    pods.sort_by(|a, b| deletion_order(a, b, on_node, now));
}

fn deletion_order(a: &Pod, b: &Pod, on_node: &HashMap<String, usize>, now: Timestamp) -> Ordering {
    let assigned = |pod: &Pod| !pod.spec.node_name.is_empty();
    let phase = |pod: &Pod| match pod.status.phase.as_str() {
        "Pending" => 0,
        "Unknown" => 1,
        "Running" => 2,
        _ => 0,
    };
    let rank = |pod: &Pod| on_node.get(&pod.spec.node_name).copied().unwrap_or(0);
    let by_state = assigned(a)
        .cmp(&assigned(b))
        .then(phase(a).cmp(&phase(b)))
        .then(a.is_ready().cmp(&b.is_ready()))
        .then(deletion_cost(a).cmp(&deletion_cost(b)))
        .then(rank(b).cmp(&rank(a)));
    if by_state.is_ne() {
        return by_state;
    }
    if a.is_ready() && b.is_ready() && ready_since(a) != ready_since(b) {
        return by_age(ready_since(a), ready_since(b), now).then_with(|| a.metadata.uid.cmp(&b.metadata.uid));
    }
    let by_restarts = restarts(b).cmp(&restarts(a));
    if by_restarts.is_ne() {
        return by_restarts;
    }
    let (born_a, born_b) = (a.metadata.creation_timestamp, b.metadata.creation_timestamp);
    if born_a == born_b {
        return Ordering::Equal;
    }
    by_age(born_a, born_b, now).then_with(|| a.metadata.uid.cmp(&b.metadata.uid))
}

/// Younger first, where ages of one power of two are equal: otherwise the youngest, and so whole roll-outs, would
/// always be hit. A time that is not known comes first.
fn by_age(a: Option<Timestamp>, b: Option<Timestamp>, now: Timestamp) -> Ordering {
    let magnitude = |since: Option<Timestamp>| {
        since.map(|since| {
            let nanos = now.as_nanosecond() - since.as_nanosecond();
            if nanos <= 0 { -1 } else { i64::from(nanos.ilog2()) }
        })
    };
    magnitude(a).cmp(&magnitude(b))
}

fn deletion_cost(pod: &Pod) -> i32 {
    pod.metadata.annotations.get(DELETION_COST).and_then(|cost| cost.parse().ok()).unwrap_or(0)
}

fn ready_since(pod: &Pod) -> Option<Timestamp> {
    condition(&pod.status.conditions, "Ready").and_then(|ready| ready.last_transition_time)
}

fn restarts(pod: &Pod) -> i32 {
    pod.status.container_statuses.iter().map(|container| container.restart_count).max().unwrap_or(0)
}

/// When the next of the ready pods becomes available, in seconds from now.
pub fn next_availability(pods: &[Arc<Pod>], min_ready_seconds: i32, now: Timestamp) -> Option<u64> {
    if min_ready_seconds == 0 {
        return None;
    }
    let waiting = pods.iter().filter(|pod| pod.is_ready()).filter_map(|pod| ready_since(pod));
    let left = waiting.map(|since| since.as_second() + i64::from(min_ready_seconds) - now.as_second());
    left.filter(|left| *left > 0).min().map(i64::unsigned_abs)
}

#[cfg(test)]
mod tests {
    use super::*;
    use parking_lot::Mutex;

    #[tokio::test]
    async fn batches_double_and_stop_at_the_first_failure() {
        let made = Mutex::new(0);
        let started = slow_start(20, |at| {
            *made.lock() += 1;
            async move { if at < 5 { Ok(()) } else { Err(at) } }
        })
        .await;
        // 1 + 2 + 4: the third batch has two failures, and the fourth is not begun.
        assert_eq!((*made.lock(), started.succeeded, started.missing, started.error), (7, 5, 15, Some(5)));
        let all: Started<()> = slow_start(20, |_| async { Ok(()) }).await;
        assert_eq!((all.succeeded, all.missing), (20, 0));
    }

    #[test]
    fn deletion_ranking_is_upstreams() {
        let pod = |text: Value| -> Arc<Pod> { Arc::new(serde_json::from_value(text).expect("a pod")) };
        let ready = |since: &str| json!([{"type": "Ready", "status": "True", "lastTransitionTime": since}]);
        let old = "2026-01-01T00:00:00Z";
        // In the order in which they go.
        let expected = [
            pod(json!({"metadata": {"name": "unassigned"}, "status": {"phase": "Pending"}})),
            pod(json!({"metadata": {"name": "pending"}, "spec": {"nodeName": "a"}, "status": {"phase": "Pending"}})),
            pod(json!({"metadata": {"name": "unready"}, "spec": {"nodeName": "a"}, "status": {"phase": "Running"}})),
            pod(json!({"metadata": {"name": "cheap", "annotations": {DELETION_COST: "-1"}}, "spec": {"nodeName": "a"},
                "status": {"phase": "Running", "conditions": ready(old)}})),
            pod(json!({"metadata": {"name": "doubled"}, "spec": {"nodeName": "b"},
                "status": {"phase": "Running", "conditions": ready(old)}})),
            pod(json!({"metadata": {"name": "fresh"}, "spec": {"nodeName": "a"},
                "status": {"phase": "Running", "conditions": ready("2026-01-02T00:00:00Z")}})),
            pod(json!({"metadata": {"name": "restarted", "creationTimestamp": old}, "spec": {"nodeName": "a"},
                "status": {"phase": "Running", "conditions": ready(old), "containerStatuses": [{"restartCount": 3}]}})),
            pod(json!({"metadata": {"name": "young", "creationTimestamp": "2026-01-02T00:00:00Z"},
                "spec": {"nodeName": "a"}, "status": {"phase": "Running", "conditions": ready(old)}})),
            pod(json!({"metadata": {"name": "old", "creationTimestamp": old}, "spec": {"nodeName": "a"},
                "status": {"phase": "Running", "conditions": ready(old)}})),
        ];
        let on_node = HashMap::from([("a".to_owned(), 1), ("b".to_owned(), 2)]);
        let mut sorted: Vec<_> = expected.iter().rev().cloned().collect();
        sort_for_deletion(&mut sorted, &on_node, "2026-01-02T00:01:00Z".parse().expect("a time"));
        let names = |pods: &[Arc<Pod>]| pods.iter().map(|pod| pod.metadata.name.clone()).collect::<Vec<_>>();
        assert_eq!(names(&sorted), names(&expected));
    }

    #[test]
    fn a_pod_keeps_everything_of_its_template() {
        let template = RawJson::of(&json!({"metadata": {"labels": {"a": "1"}, "creationTimestamp": null},
            "spec": {"containers": [{"name": "c", "fieldOfTomorrow": 1}]}}));
        let owner = OwnerReference { name: "rs".into(), controller: true, ..OwnerReference::default() };
        let pod = from_template(&template, "n", &owner);
        assert_eq!(pod["metadata"]["labels"]["a"], "1");
        assert_eq!(pod["metadata"]["namespace"], "n");
        assert_eq!(pod["metadata"]["ownerReferences"][0]["controller"], true);
        assert_eq!(pod["spec"]["containers"][0]["fieldOfTomorrow"], 1);
        assert!(pod["metadata"].get("creationTimestamp").is_none());
    }
}
