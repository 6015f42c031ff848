//! Sends statuses to the API (upstream: `pkg/kubelet/status/status_manager.go`).
//!
//! Promises: a status is sent only if it differs from what the API has; per pod there is one request at a time and the
//! newest status wins; a failed request is repeated until it succeeds or the pod is gone; the phase becomes final only
//! when nothing of the pod runs any more; a pod that is being deleted is removed from the API only after its final
//! status was taken and everything on the node is cleaned up, and only if it is still the same pod.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use k8s_openapi::api::core::v1::{Pod, PodCondition, PodStatus};
use kube::Client;
use parking_lot::Mutex;
use serde_json::{Value, json};
use skiff_client::objects::{DeleteOptions, PatchKind};
use skiff_client::{Objects, errors};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::conditions::{self, CONTAINERS_READY, READY};
use super::containers::{lost, terminated};
use super::generate::whole_seconds;
use super::patch::diff;
use super::phase::FAILED;
use crate::pod::{PodExt, is_terminal_phase};

/// Requests at a time.
const REQUESTS_MAX: usize = 16;
/// First and longest pause after a failed request.
const RETRY_MIN: Duration = Duration::from_millis(200);
const RETRY_MAX: Duration = Duration::from_secs(10);

/// The statuses of all pods. Cheap to clone.
#[derive(Clone)]
pub(crate) struct StatusManager {
    shared: Arc<Shared>,
}

struct Shared {
    client: Client,
    entries: Mutex<HashMap<String, Entry>>,
    wake: Notify,
}

struct Entry {
    /// The pod as the API last showed it.
    pod: Arc<Pod>,
    /// What it should show.
    desired: PodStatus,
    dirty: bool,
    in_flight: bool,
    /// No container of the pod runs, and none will.
    stopped: bool,
    /// Everything of the pod on the node is cleaned up.
    finished: bool,
    failures: u32,
}

/// How a request ended.
enum Sent {
    /// The API has the status; the pod as it answered, if there was anything to write.
    Done(Option<Box<Pod>>),
    /// The pod is gone from the API, or is another one now.
    Gone,
    Failed(kube::Error),
}

// === impl StatusManager ===

impl StatusManager {
    pub(crate) fn new(client: Client) -> Self {
        let shared = Shared { client, entries: Mutex::default(), wake: Notify::new() };
        Self { shared: Arc::new(shared) }
    }

    /// The status last set for a pod.
    pub(crate) fn get(&self, uid: &str) -> Option<PodStatus> {
        self.shared.entries.lock().get(uid).map(|entry| entry.desired.clone())
    }

    /// The API shows this pod. A status that differs from the one last set is put right.
    pub(crate) fn seen(&self, pod: &Arc<Pod>) {
        let mut entries = self.shared.entries.lock();
        if let Some(entry) = entries.get_mut(pod.uid()) {
            // The answer to our last write may be ahead of the watch.
            if version(pod) >= version(&entry.pod) {
                entry.pod = pod.clone();
            }
            if entry.patch().is_some() || entry.can_be_deleted() {
                entry.dirty = true;
                self.shared.wake.notify_one();
            }
        }
    }

    /// Sets a pod's status.
    pub(crate) fn set(&self, pod: &Arc<Pod>, status: PodStatus) {
        let mut entries = self.shared.entries.lock();
        let entry = entries.entry(pod.uid().to_owned()).or_insert_with(|| Entry::new(pod.clone()));
        if entry.desired != status {
            entry.desired = status;
            entry.dirty = true;
            self.shared.wake.notify_one();
        }
    }

    /// Nothing of the pod runs any more: its phase may become final.
    pub(crate) fn stopped(&self, uid: &str) {
        if let Some(entry) = self.shared.entries.lock().get_mut(uid) {
            entry.stopped = true;
            entry.dirty = true;
            self.shared.wake.notify_one();
        }
    }

    /// The pod is cleaned up: its status is made final and, if it is being deleted, it is removed from the API.
    pub(crate) fn finish(&self, pod: &Arc<Pod>) {
        let mut entries = self.shared.entries.lock();
        let entry = entries.entry(pod.uid().to_owned()).or_insert_with(|| Entry::new(pod.clone()));
        make_final(pod, &mut entry.desired);
        (entry.stopped, entry.finished, entry.dirty) = (true, true, true);
        self.shared.wake.notify_one();
    }

    /// Forgets a pod.
    pub(crate) fn forget(&self, uid: &str) {
        self.shared.entries.lock().remove(uid);
    }

    /// A readiness probe came to a result. Faster than a whole new status, and works while the pod's worker is busy.
    pub(crate) fn set_readiness(&self, uid: &str, container: &str, container_id: &str, is_ready: bool) {
        let mut entries = self.shared.entries.lock();
        let Some(entry) = entries.get_mut(uid) else { return };
        let lists = [&mut entry.desired.container_statuses, &mut entry.desired.init_container_statuses];
        let status = lists.into_iter().flatten().flatten().find(|status| {
            let id = status.container_id.as_deref().unwrap_or_default();
            status.name == container && id.ends_with(container_id)
        });
        match status {
            Some(status) if status.ready != is_ready && status.started == Some(true) => status.ready = is_ready,
            _ => return,
        }
        entry.update_ready_conditions();
        entry.dirty = true;
        self.shared.wake.notify_one();
    }

    /// Sends statuses until `shutdown`.
    pub(crate) async fn run(self, shutdown: CancellationToken) {
        let mut requests = FuturesUnordered::new();
        loop {
            for uid in self.take_dirty(REQUESTS_MAX - requests.len()) {
                requests.push(self.clone().send(uid));
            }
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = self.shared.wake.notified() => {}
                Some(()) = requests.next() => {}
            }
        }
    }

    fn take_dirty(&self, limit: usize) -> Vec<String> {
        let mut entries = self.shared.entries.lock();
        let ready = entries.iter_mut().filter(|(_, entry)| entry.dirty && !entry.in_flight);
        let taken = ready.take(limit).map(|(uid, entry)| {
            (entry.dirty, entry.in_flight) = (false, true);
            uid.clone()
        });
        taken.collect()
    }

    /// Sends one pod's status, and removes the pod if it is over.
    async fn send(self, uid: String) {
        let Some((pod, patch)) = self.shared.entries.lock().get(&uid).map(|e| (e.pod.clone(), e.patch())) else {
            return;
        };
        let sent = self.patch(&pod, patch).await;
        let failures = self.sent(&uid, sent);
        if failures > 0 {
            let pause = RETRY_MIN * 2u32.saturating_pow(failures.min(16) - 1);
            tokio::time::sleep(pause.min(RETRY_MAX)).await;
        } else if self.may_delete(&uid) {
            self.delete(&uid, &pod).await;
        }
        let mut entries = self.shared.entries.lock();
        if let Some(entry) = entries.get_mut(&uid) {
            entry.in_flight = false;
            entry.dirty |= failures > 0;
        }
        drop(entries);
        self.shared.wake.notify_one();
    }

    async fn patch(&self, pod: &Pod, patch: Option<Value>) -> Sent {
        let Some(patch) = patch else { return Sent::Done(None) };
        let pods = Objects::<Pod>::namespaced(&self.shared.client, pod.namespace());
        match pods.patch(pod.name(), "status", PatchKind::Strategic, &patch).await {
            Ok(pod) => Sent::Done(Some(Box::new(pod))),
            // The UID in the patch does not match: a successor of the same name.
            Err(error) if errors::is_not_found(&error) || errors::is_conflict(&error) => Sent::Gone,
            Err(error) => Sent::Failed(error),
        }
    }

    /// Notes an outcome; answers the number of failures in a row.
    fn sent(&self, uid: &str, sent: Sent) -> u32 {
        let mut entries = self.shared.entries.lock();
        let Some(entry) = entries.get_mut(uid) else { return 0 };
        entry.failures = match sent {
            Sent::Done(pod) => {
                if let Some(pod) = pod {
                    entry.pod = Arc::new(*pod);
                }
                0
            }
            Sent::Gone => {
                entries.remove(uid);
                return 0;
            }
            Sent::Failed(error) => {
                let failures = entry.failures.saturating_add(1);
                if failures.is_power_of_two() {
                    tracing::warn!(pod = %entry.pod.display(), %error, failures, "cannot send a pod's status, will retry");
                }
                failures
            }
        };
        entry.failures
    }

    fn may_delete(&self, uid: &str) -> bool {
        self.shared.entries.lock().get(uid).is_some_and(Entry::can_be_deleted)
    }

    async fn delete(&self, uid: &str, pod: &Pod) {
        let pods = Objects::<Pod>::namespaced(&self.shared.client, pod.namespace());
        let options = DeleteOptions { grace_period_seconds: Some(0), ..DeleteOptions::with_uid(uid) };
        match pods.delete(pod.name(), &options).await {
            Ok(()) => drop(self.shared.entries.lock().remove(uid)),
            Err(error) if errors::is_not_found(&error) || errors::is_conflict(&error) => {
                self.shared.entries.lock().remove(uid);
            }
            Err(error) => {
                tracing::warn!(pod = %pod.display(), %error, "cannot remove a finished pod, will retry");
                tokio::time::sleep(RETRY_MIN).await;
                if let Some(entry) = self.shared.entries.lock().get_mut(uid) {
                    entry.dirty = true;
                }
            }
        }
    }
}

// === impl Entry ===

impl Entry {
    fn new(pod: Arc<Pod>) -> Self {
        Self {
            desired: pod.pod_status().clone(),
            pod,
            dirty: false,
            in_flight: false,
            stopped: false,
            finished: false,
            failures: 0,
        }
    }

    /// The request that makes the API show the desired status; `None` if it does.
    fn patch(&self) -> Option<Value> {
        let json = |status: &PodStatus| serde_json::to_value(status).unwrap_or_default();
        let merged = merge(&self.pod, &self.desired, self.stopped);
        let change = diff(&json(self.pod.pod_status()), &json(&merged))?;
        Some(json!({"metadata": {"uid": self.pod.uid()}, "status": change}))
    }

    fn can_be_deleted(&self) -> bool {
        self.finished && self.pod.is_deleted() && !self.pod.is_mirror() && is_terminal_phase(self.pod.phase())
    }

    fn update_ready_conditions(&mut self) {
        let status = &mut self.desired;
        let phase = status.phase.clone().unwrap_or_default();
        let all: Vec<_> = [&status.init_container_statuses, &status.container_statuses]
            .into_iter()
            .flatten()
            .flatten()
            .cloned()
            .collect();
        let list = status.conditions.get_or_insert_default();
        let new =
            [conditions::ready(&self.pod, &all, &phase, list), conditions::containers_ready(&self.pod, &all, &phase)];
        for condition in new {
            replace(list, condition);
        }
    }
}

/// Resource versions of one server are comparable numbers (KEP-5504); anything else counts as the oldest.
fn version(pod: &Pod) -> u64 {
    pod.metadata.resource_version.as_deref().and_then(|version| version.parse().ok()).unwrap_or(0)
}

/// Puts a condition in the place of the one of its type. Its time is that of the change.
fn replace(list: &mut Vec<PodCondition>, mut new: PodCondition) {
    let now = k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(whole_seconds(jiff::Timestamp::now()));
    match list.iter_mut().find(|c| c.type_ == new.type_) {
        Some(old) => {
            new.last_transition_time =
                if old.status == new.status { old.last_transition_time.clone() } else { Some(now) };
            *old = new;
        }
        None => {
            new.last_transition_time = Some(now);
            list.push(new);
        }
    }
}

/// What is sent: the kubelet's status, with what others own in the API left alone. A final phase waits until nothing
/// runs any more.
fn merge(pod: &Pod, desired: &PodStatus, stopped: bool) -> PodStatus {
    let of_api = pod.pod_status();
    let mut merged = desired.clone();
    let own = desired.conditions.iter().flatten();
    let becomes_final = !is_terminal_phase(pod.phase()) && desired.phase.as_deref().is_some_and(is_terminal_phase);
    let mut list: Vec<PodCondition> =
        of_api.conditions.iter().flatten().filter(|c| !conditions::is_owned(&c.type_)).cloned().collect();
    for condition in own {
        if conditions::is_owned(&condition.type_) {
            list.push(condition.clone());
        } else if condition.type_ == conditions::DISRUPTION_TARGET && becomes_final && stopped {
            list.retain(|c| c.type_ != condition.type_);
            list.push(condition.clone());
        }
    }
    merged.resource_claim_statuses = of_api.resource_claim_statuses.clone();
    merged.extended_resource_claim_status = of_api.extended_resource_claim_status.clone();
    merged.nominated_node_name = of_api.nominated_node_name.clone();
    if becomes_final && !stopped {
        merged.phase = of_api.phase.clone();
        merged.reason = of_api.reason.clone();
        merged.message = of_api.message.clone();
    }
    if merged.phase.as_deref().is_some_and(is_terminal_phase) {
        let reason = if merged.phase.as_deref() == Some(FAILED) { "PodFailed" } else { "PodCompleted" };
        for type_ in [READY, CONTAINERS_READY] {
            if conditions::find(&list, type_).is_some_and(|c| c.status == "True") {
                replace(&mut list, conditions::condition(pod, type_, false, reason, ""));
            }
        }
    }
    merged.conditions = (!list.is_empty()).then_some(list);
    merged
}

/// The status of a pod of which nothing is left: no container is shown as running, and the phase is final.
fn make_final(pod: &Pod, status: &mut PodStatus) {
    const GONE: &str = "The container could not be located when the pod was terminated";
    let initialized = pod.init_containers().is_empty()
        || status.conditions.iter().flatten().any(|c| c.type_ == conditions::INITIALIZED && c.status == "True");
    if initialized {
        for container in status.container_statuses.iter_mut().flatten() {
            if terminated(&container.state).is_none() {
                container.state = Some(lost(GONE));
            }
        }
    }
    let inits = status.init_container_statuses.iter_mut().flatten();
    for container in inits.filter(|c| c.state.as_ref().is_some_and(|state| state.running.is_some())) {
        container.state = Some(lost(GONE));
    }
    if !pod.is_static() && !status.phase.as_deref().is_some_and(is_terminal_phase) {
        status.phase = Some(FAILED.to_owned());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod(status: Value) -> Arc<Pod> {
        let pod = json!({"metadata": {"name": "p", "namespace": "n", "uid": "u"}, "spec": {"containers": [{"name": "c"}]}, "status": status});
        Arc::new(serde_json::from_value(pod).expect("a pod"))
    }

    fn status(value: Value) -> PodStatus {
        serde_json::from_value(value).expect("a status")
    }

    #[test]
    fn a_final_phase_waits_until_nothing_runs() {
        let pod = pod(json!({"phase": "Running", "conditions": [{"type": "mine", "status": "True"}]}));
        let desired = status(json!({"phase": "Failed", "reason": "Evicted", "conditions": [
            {"type": "Ready", "status": "True"}, {"type": "mine", "status": "stale"}]}));
        let running = merge(&pod, &desired, false);
        assert_eq!((running.phase.as_deref(), running.reason.as_deref()), (Some("Running"), None));
        let stopped = merge(&pod, &desired, true);
        assert_eq!((stopped.phase.as_deref(), stopped.reason.as_deref()), (Some("Failed"), Some("Evicted")));
        let list = stopped.conditions.expect("conditions");
        assert_eq!(
            conditions::find(&list, "mine").map(|c| c.status.as_str()),
            Some("True"),
            "others' conditions are theirs"
        );
        assert_eq!(conditions::find(&list, "Ready").map(|c| c.status.as_str()), Some("False"));
    }

    #[test]
    fn nothing_is_sent_twice_and_the_uid_is_checked() {
        let mut entry = Entry::new(pod(json!({"phase": "Pending"})));
        assert_eq!(entry.patch(), None);
        entry.desired = status(json!({"phase": "Running", "podIP": "1.2.3.4"}));
        let patch = entry.patch().expect("a patch");
        assert_eq!(patch["metadata"]["uid"], "u");
        assert_eq!(patch["status"]["phase"], "Running");
        entry.pod = pod(json!({"phase": "Running", "podIP": "1.2.3.4"}));
        assert_eq!(entry.patch(), None);
    }

    #[test]
    fn a_finished_pod_shows_nothing_running() {
        let pod = pod(json!({}));
        let mut last = status(json!({"phase": "Running", "containerStatuses": [
            {"name": "c", "image": "", "imageID": "", "ready": true, "restartCount": 0, "state": {"running": {}}}]}));
        make_final(&pod, &mut last);
        assert_eq!(last.phase.as_deref(), Some("Failed"));
        let state = last.container_statuses.expect("statuses")[0].state.clone().expect("a state");
        assert_eq!(state.terminated.map(|t| t.exit_code), Some(137));
        let mut done = status(json!({"phase": "Succeeded"}));
        make_final(&pod, &mut done);
        assert_eq!(done.phase.as_deref(), Some("Succeeded"));
    }
}
