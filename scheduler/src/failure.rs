//! What is told to the user about a pod that got no node: the PodScheduled condition, and where room is being made.
//!
//! Follows `handleSchedulingFailure` and `updatePod` of `pkg/scheduler/schedule_one.go`.

use jiff::Timestamp;
use kube::Client;
use serde_json::{Value, json};
use skiff_client::objects::{DeleteOptions, Objects, PatchKind};
use skiff_client::types::{Pod, condition};
use skiff_client::{EventRecorder, EventType, ObjectReference, errors};

use crate::cache::PodInfo;

/// `reason` of the condition: no node fits.
pub const UNSCHEDULABLE: &str = "Unschedulable";
/// `reason` of the condition: the scheduler could not do its work.
pub const SCHEDULER_ERROR: &str = "SchedulerError";

/// What a failed pod's status should say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// [`UNSCHEDULABLE`] or [`SCHEDULER_ERROR`].
    pub reason: &'static str,
    /// Why.
    pub message: String,
    /// Where room is being made; `None` leaves it as it is.
    pub nominated_node: Option<String>,
}

/// The patch that makes the status say so; `None` if it does already.
pub fn status_patch(pod: &Pod, verdict: &Verdict, now: Timestamp) -> Option<Value> {
    let current = condition(&pod.status.conditions, "PodScheduled");
    let same = current.is_some_and(|current| {
        current.status == "False" && current.reason == verdict.reason && current.message == verdict.message
    });
    let nominated = verdict.nominated_node.as_ref().filter(|node| **node != pod.status.nominated_node_name);
    if same && nominated.is_none() {
        return None;
    }
    let mut status = json!({});
    if !same {
        let unchanged = current.filter(|current| current.status == "False");
        let since = unchanged.and_then(|current| current.last_transition_time).unwrap_or(now);
        let mut condition = json!({
            "type": "PodScheduled",
            "status": "False",
            "reason": verdict.reason,
            "message": verdict.message,
            "lastProbeTime": null,
            "lastTransitionTime": skiff_client::clock::format_time(since),
        });
        if pod.metadata.generation > 0 {
            condition["observedGeneration"] = pod.metadata.generation.into();
        }
        status["conditions"] = json!([condition]);
    }
    if let Some(node) = nominated {
        status["nominatedNodeName"] = if node.is_empty() { Value::Null } else { json!(node) };
    }
    Some(json!({"metadata": {"uid": pod.metadata.uid}, "status": status}))
}

/// Tells the user: an event and the status. Errors are logged; the next attempt tells again.
pub async fn tell(client: &Client, events: &EventRecorder, pod: &Pod, verdict: &Verdict, now: Timestamp) {
    let object = ObjectReference::to(pod);
    events.event_with_action(&object, EventType::Warning, "FailedScheduling", "Scheduling", verdict.message.as_str());
    let Some(patch) = status_patch(pod, verdict, now) else { return };
    let pods = Objects::<Pod>::namespaced(client, &pod.metadata.namespace);
    match pods.patch(&pod.metadata.name, "status", PatchKind::Strategic, &patch).await {
        Ok(_) => {}
        Err(error) if errors::is_not_found(&error) || errors::is_conflict(&error) => {}
        Err(error) => tracing::warn!(pod = %pod.metadata.key(), %error, "cannot update the status of a pod"),
    }
}

/// Why room is made.
pub struct Preemption<'a> {
    /// For this pod.
    pub preemptor: &'a Pod,
    /// On this node.
    pub node: &'a str,
    /// By the scheduler of this name.
    pub by: &'a str,
    /// Time of day.
    pub now: Timestamp,
}

/// Makes room: says on a victim why it goes, and deletes it. Whether it is going or gone.
pub async fn evict(client: &Client, events: &EventRecorder, preemption: &Preemption<'_>, victim: &PodInfo) -> bool {
    let Preemption { preemptor, node, by, now } = preemption;
    let (pod, meta) = (&victim.pod, &victim.pod.metadata);
    if meta.is_deleting() {
        return true;
    }
    let pods = Objects::<Pod>::namespaced(client, &meta.namespace);
    let patch = json!({"metadata": {"uid": meta.uid}, "status": {"conditions": [{
        "type": "DisruptionTarget",
        "status": "True",
        "reason": "PreemptionByScheduler",
        "message": format!("{by}: preempting to accommodate a higher priority pod"),
        "lastProbeTime": null,
        "lastTransitionTime": skiff_client::clock::format_time(*now),
    }]}});
    let done = async {
        pods.patch(&meta.name, "status", PatchKind::Strategic, &patch).await?;
        pods.delete(&meta.name, &DeleteOptions::with_uid(&meta.uid)).await
    };
    match done.await {
        Ok(()) => {
            let message = format!("Preempted by pod {} on node {node}", preemptor.metadata.uid);
            let object = ObjectReference::to(pod.as_ref());
            events.event_with_action(&object, EventType::Normal, "Preempted", "Preempting", message);
            true
        }
        // It is gone already, or is another pod by now.
        Err(error) if errors::is_not_found(&error) || errors::is_conflict(&error) => true,
        Err(error) => {
            tracing::warn!(pod = %meta.key(), %error, "cannot preempt a pod");
            false
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(status: Value) -> Pod {
        let metadata = json!({"name": "p", "namespace": "n", "uid": "u", "generation": 3});
        serde_json::from_value(json!({"metadata": metadata, "status": status})).expect("a pod")
    }

    fn verdict(message: &str, nominated_node: Option<&str>) -> Verdict {
        Verdict { reason: UNSCHEDULABLE, message: message.into(), nominated_node: nominated_node.map(str::to_owned) }
    }

    #[test]
    fn only_news_are_written() {
        let now: Timestamp = "2026-02-02T02:02:02Z".parse().expect("a time");
        let patch = status_patch(&pod(json!({})), &verdict("why", None), now).expect("a patch");
        assert_eq!(patch["status"]["conditions"][0]["lastTransitionTime"], "2026-02-02T02:02:02Z");
        assert_eq!(patch["status"]["conditions"][0]["observedGeneration"], 3);
        assert_eq!(patch["metadata"]["uid"], "u");
        let told = json!({"nominatedNodeName": "a", "conditions": [{"type": "PodScheduled", "status": "False",
            "reason": "Unschedulable", "message": "why", "lastTransitionTime": "2026-01-01T00:00:00Z"}]});
        assert_eq!(status_patch(&pod(told.clone()), &verdict("why", Some("a")), now), None);
        let patch = status_patch(&pod(told.clone()), &verdict("why", Some("")), now).expect("a patch");
        assert_eq!(patch["status"], json!({"nominatedNodeName": null}));
        let patch = status_patch(&pod(told), &verdict("other", None), now).expect("a patch");
        assert_eq!(patch["status"]["conditions"][0]["lastTransitionTime"], "2026-01-01T00:00:00Z");
        assert_eq!(patch["status"]["conditions"][0]["message"], "other");
    }
}
