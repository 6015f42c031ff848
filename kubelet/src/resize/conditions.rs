//! The two conditions of a resize, and the events that tell about it.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Container, Pod, PodCondition};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde_json::json;

use crate::pod::PodExt;
use crate::status::conditions::{RESIZE_IN_PROGRESS, RESIZE_PENDING};
use crate::status::generate::whole_seconds;

/// Reason of a resize that may be granted later.
pub(crate) const DEFERRED: &str = "Deferred";
/// Reason of a resize that was granted and failed.
const ERROR: &str = "Error";

/// Where a pod's resize stands.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct ResizeState {
    pending: Option<PodCondition>,
    in_progress: Option<PodCondition>,
}

/// An event about a resize: its reason and message, and whether it is a warning.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Told {
    pub(crate) warning: bool,
    pub(crate) reason: &'static str,
    pub(crate) message: String,
}

impl ResizeState {
    /// What an earlier kubelet has reported.
    pub(crate) fn reported(pod: &Pod) -> Self {
        let find = |type_: &str| {
            let conditions = pod.pod_status().conditions.iter().flatten();
            conditions.into_iter().find(|condition| condition.type_ == type_).cloned()
        };
        Self { pending: find(RESIZE_PENDING), in_progress: find(RESIZE_IN_PROGRESS) }
    }

    /// The conditions to report.
    pub(crate) fn conditions(&self) -> impl Iterator<Item = &PodCondition> {
        self.pending.iter().chain(&self.in_progress)
    }

    /// The pod asks for what it was given, or for nothing that is not granted.
    pub(crate) fn not_pending(&mut self) {
        self.pending = None;
    }

    /// The resize cannot be granted now.
    pub(crate) fn deferred(&mut self, pod: &Pod, message: &str, now: Timestamp) -> Option<Told> {
        let old = self.pending.take();
        let is_news = old
            .as_ref()
            .is_none_or(|old| old.reason.as_deref() != Some(DEFERRED) || old.observed_generation != pod.generation());
        self.pending = Some(condition(RESIZE_PENDING, old.as_ref(), DEFERRED, message, pod.generation(), now));
        is_news.then(|| Told {
            warning: true,
            reason: "ResizeDeferred",
            message: format!("Pod resize {DEFERRED}: {}", summary(pod, message, pod.generation())),
        })
    }

    /// The resize was granted.
    pub(crate) fn granted(&mut self, pod: &Pod, now: Timestamp) -> Told {
        self.pending = None;
        self.in_progress = Some(condition(RESIZE_IN_PROGRESS, None, "", "", pod.generation(), now));
        Told {
            warning: false,
            reason: "ResizeStarted",
            message: format!("Pod resize started: {}", summary(pod, "", pod.generation())),
        }
    }

    /// Something is still to be changed.
    pub(crate) fn still_in_progress(&mut self, pod: &Pod, now: Timestamp) {
        self.in_progress.get_or_insert_with(|| condition(RESIZE_IN_PROGRESS, None, "", "", pod.generation(), now));
    }

    /// The pod has what it was given. Tells so if it was being changed before.
    pub(crate) fn completed(&mut self, pod: &Pod) -> Option<Told> {
        let done = self.in_progress.take()?;
        let message = format!("Pod resize completed: {}", summary(pod, "", done.observed_generation));
        Some(Told { warning: false, reason: "ResizeCompleted", message })
    }

    /// A change failed; it will be tried again.
    pub(crate) fn failed(&mut self, pod: &Pod, message: &str, now: Timestamp) -> Option<Told> {
        let old = self.in_progress.take();
        let generation = old.as_ref().map_or(pod.generation(), |old| old.observed_generation);
        let is_news = old
            .as_ref()
            .is_none_or(|old| (old.reason.as_deref(), old.message.as_deref()) != (Some(ERROR), Some(message)));
        self.in_progress = Some(condition(RESIZE_IN_PROGRESS, old.as_ref(), ERROR, message, generation, now));
        is_news.then(|| Told {
            warning: true,
            reason: "ResizeError",
            message: format!("Pod resize error: {}", summary(pod, message, generation)),
        })
    }
}

fn condition(
    type_: &str,
    old: Option<&PodCondition>,
    reason: &str,
    message: &str,
    generation: Option<i64>,
    now: Timestamp,
) -> PodCondition {
    let text = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    let now = Some(Time(whole_seconds(now)));
    let same = old.filter(|old| old.reason.as_deref().unwrap_or_default() == reason);
    PodCondition {
        type_: type_.to_owned(),
        status: "True".to_owned(),
        reason: text(reason),
        message: text(message),
        observed_generation: generation,
        last_probe_time: now.clone(),
        last_transition_time: same.and_then(|old| old.last_transition_time.clone()).or(now),
    }
}

/// What the pod asks for, as JSON in upstream's shape.
fn summary(pod: &Pod, error: &str, generation: Option<i64>) -> String {
    let list = |containers: &[Container]| -> Vec<serde_json::Value> {
        let one = |c: &Container| json!({"name": c.name, "resources": c.resources.clone().unwrap_or_default()});
        containers.iter().map(one).collect()
    };
    let mut parts = Vec::new();
    let init = list(pod.init_containers());
    if !init.is_empty() {
        parts.push(format!("\"initContainers\":{}", json!(init)));
    }
    parts.push(format!("\"containers\":{}", json!(list(pod.regular_containers()))));
    parts.push(format!("\"generation\":{}", generation.unwrap_or(0)));
    if !error.is_empty() {
        parts.push(format!("\"error\":{}", json!(error)));
    }
    format!("{{{}}}", parts.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(generation: i64) -> Pod {
        serde_json::from_value(json!({"metadata": {"generation": generation}, "spec": {"containers": [
            {"name": "c", "resources": {"requests": {"cpu": "2"}}}]}}))
        .expect("a pod")
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).expect("a time")
    }

    fn shown(state: &ResizeState) -> Vec<String> {
        let one = |c: &PodCondition| {
            let time = c.last_transition_time.as_ref().map_or(0, |time| time.0.as_second());
            format!("{} {} {} {time}", c.type_, c.reason.as_deref().unwrap_or("-"), c.observed_generation.unwrap_or(0))
        };
        state.conditions().map(one).collect()
    }

    #[test]
    fn a_resize_waits_is_granted_and_done() {
        let mut state = ResizeState::default();
        let told = state.deferred(&pod(2), "no cpu", at(1)).expect("news");
        assert_eq!(told.reason, "ResizeDeferred");
        assert_eq!(
            told.message,
            r#"Pod resize Deferred: {"containers":[{"name":"c","resources":{"requests":{"cpu":"2"}}}],"generation":2,"error":"no cpu"}"#
        );
        assert_eq!(state.deferred(&pod(2), "still no cpu", at(5)), None, "told once");
        assert_eq!(shown(&state), ["PodResizePending Deferred 2 1"]);
        assert!(state.deferred(&pod(3), "no cpu", at(6)).is_some(), "another resize");
        assert_eq!(state.granted(&pod(3), at(7)).reason, "ResizeStarted");
        assert_eq!(shown(&state), ["PodResizeInProgress - 3 7"]);
        let failed = state.failed(&pod(4), "busy", at(8)).expect("news");
        assert!(failed.warning && failed.message.contains(r#""generation":3,"error":"busy""#), "{}", failed.message);
        assert_eq!(state.failed(&pod(4), "busy", at(9)), None);
        assert_eq!(shown(&state), ["PodResizeInProgress Error 3 8"]);
        state.still_in_progress(&pod(4), at(10));
        assert_eq!(shown(&state), ["PodResizeInProgress Error 3 8"]);
        assert_eq!(state.completed(&pod(4)).expect("news").reason, "ResizeCompleted");
        assert_eq!(state.completed(&pod(4)), None);
        assert!(shown(&state).is_empty());
    }

    #[test]
    fn a_restarted_kubelet_goes_on_from_the_conditions() {
        let mut shown_pod = pod(2);
        let condition = condition(RESIZE_PENDING, None, DEFERRED, "no cpu", Some(2), at(1));
        shown_pod.status.get_or_insert_default().conditions = Some(vec![condition]);
        let mut state = ResizeState::reported(&shown_pod);
        assert_eq!(shown(&state), ["PodResizePending Deferred 2 1"]);
        assert_eq!(state.deferred(&shown_pod, "no cpu", at(9)), None, "was told before the restart");
        state.not_pending();
        assert!(shown(&state).is_empty());
    }
}
