//! Observed state in, status out.

use std::collections::HashMap;

use serde_json::{Value, json};

use super::*;
use crate::observed::{ObservedContainer, ObservedSandbox};

#[derive(Default)]
struct Probes {
    startup: HashMap<String, Verdict>,
    readiness: HashMap<String, Verdict>,
}

impl ProbeResults for Probes {
    fn startup(&self, id: &str) -> Option<Verdict> {
        self.startup.get(id).copied()
    }
    fn readiness(&self, id: &str) -> Option<Verdict> {
        self.readiness.get(id).copied()
    }
}

struct Case {
    pod: Pod,
    observed: ObservedPod,
    previous: PodStatus,
    failures: HashMap<String, StartFailure>,
    probes: Probes,
    resize: ResizeState,
    is_terminal: bool,
    failed: Option<Verdicted>,
}

const SECOND: i64 = 1_000_000_000;

impl Case {
    fn new(spec: Value) -> Self {
        let pod = json!({"metadata": {"name": "p", "namespace": "n", "uid": "u", "generation": 1}, "spec": spec});
        let sandbox =
            ObservedSandbox { id: "s".into(), ready: true, ips: vec!["10.244.0.2".into()], ..Default::default() };
        Self {
            pod: serde_json::from_value(pod).expect("a pod"),
            observed: ObservedPod { sandboxes: vec![sandbox], containers: Vec::new() },
            previous: PodStatus::default(),
            failures: HashMap::new(),
            probes: Probes::default(),
            resize: ResizeState::default(),
            is_terminal: false,
            failed: None,
        }
    }

    /// Adds the newest run of a container.
    fn run(mut self, name: &str, id: &str, state: ContainerState, exit_code: i32) -> Self {
        let reason = match (state, exit_code) {
            (ContainerState::Exited, 0) => "Completed",
            (ContainerState::Exited, _) => "Error",
            _ => "",
        };
        let earlier = self.observed.containers.iter().filter(|c| c.name == name).count();
        let container = ObservedContainer {
            id: id.into(),
            name: name.into(),
            sandbox_id: "s".into(),
            state,
            exit_code,
            reason: reason.into(),
            image: "web:v1".into(),
            image_ref: "sha256:1".into(),
            started_at: 10 * SECOND,
            finished_at: 20 * SECOND,
            restart_count: u32::try_from(earlier).expect("few"),
            ..Default::default()
        };
        self.observed.containers.insert(0, container);
        self
    }

    fn status(&self) -> PodStatus {
        pod_status(&StatusInputs {
            pod: &self.pod,
            observed: &self.observed,
            previous: &self.previous,
            failures: &self.failures,
            probes: &self.probes,
            host_ips: &["192.168.0.1".into()],
            runtime_name: "skiff",
            recursive_read_only: false,
            resize: &self.resize,
            is_terminal: self.is_terminal,
            failed: self.failed.as_ref(),
            now: Timestamp::from_second(100).expect("a time"),
        })
    }
}

fn state(status: &PodStatus, index: usize) -> Value {
    let container = &status.container_statuses.as_ref().expect("statuses")[index];
    serde_json::to_value(&container.state).expect("a state")
}

fn condition_of(status: &PodStatus, type_: &str) -> String {
    let list = status.conditions.as_deref().unwrap_or(&[]);
    conditions::find(list, type_).map(|c| c.status.clone()).unwrap_or_default()
}

#[test]
fn a_running_pod() {
    let case =
        Case::new(json!({"containers": [{"name": "c", "image": "web:v1", "resources": {"requests": {"cpu": "1"}}}]}))
            .run("c", "id1", ContainerState::Running, 0);
    let status = case.status();
    let types = ["PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled"];
    let conditions = types.map(|type_| {
        json!({"type": type_, "status": "True", "lastTransitionTime": "1970-01-01T00:01:40Z", "observedGeneration": 1})
    });
    let expected = json!({
        "phase": "Running", "qosClass": "Burstable", "hostIP": "192.168.0.1", "hostIPs": [{"ip": "192.168.0.1"}],
        "podIP": "10.244.0.2", "podIPs": [{"ip": "10.244.0.2"}], "startTime": "1970-01-01T00:01:40Z",
        "observedGeneration": 1,
        "conditions": conditions,
        "containerStatuses": [{
            "name": "c", "image": "web:v1", "imageID": "sha256:1", "containerID": "skiff://id1",
            "ready": true, "started": true, "restartCount": 0,
            "state": {"running": {"startedAt": "1970-01-01T00:00:10Z"}}, "lastState": {},
            "resources": {"requests": {"cpu": "1"}}, "allocatedResources": {"cpu": "1"}}]});
    assert_eq!(serde_json::to_value(&status).expect("a status"), expected);
    // The same again changes nothing, later on too.
    let again = Case { previous: status.clone(), ..case };
    assert_eq!(again.status(), status);
}

#[test]
fn a_new_pod_lists_its_containers_as_waiting() {
    let mut case = Case::new(json!({"containers": [{"name": "c", "image": "web"}]}));
    case.observed = ObservedPod::default();
    let status = case.status();
    assert_eq!(status.phase.as_deref(), Some("Pending"));
    assert_eq!(state(&status, 0), json!({"waiting": {"reason": "ContainerCreating"}}));
    assert_eq!(condition_of(&status, "PodReadyToStartContainers"), "False");
    assert_eq!(condition_of(&status, "Initialized"), "True");
    let with_init = Case::new(json!({"containers": [{"name": "c"}], "initContainers": [{"name": "i"}]})).status();
    assert_eq!(state(&with_init, 0), json!({"waiting": {"reason": "PodInitializing"}}));
    assert_eq!(condition_of(&with_init, "Initialized"), "False");
}

#[test]
fn failures_to_start_are_shown_as_waiting() {
    let mut case = Case::new(json!({"containers": [{"name": "c"}]})).run("c", "id1", ContainerState::Exited, 1);
    let failure = StartFailure { reason: "CrashLoopBackOff".into(), message: "back-off 10s".into() };
    case.failures.insert("c".into(), failure);
    let status = case.status();
    assert_eq!(state(&status, 0), json!({"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 10s"}}));
    let last = &status.container_statuses.as_ref().expect("statuses")[0].last_state;
    assert_eq!(last.as_ref().and_then(|s| s.terminated.as_ref()).map(|t| t.exit_code), Some(1));
    assert_eq!(status.phase.as_deref(), Some("Running"));
    // With restartPolicy Never it is not going to be started, so it stays terminated.
    case.pod.spec.as_mut().expect("a spec").restart_policy = Some("Never".into());
    let status = case.status();
    assert_eq!(state(&status, 0)["terminated"]["exitCode"], 1);
    assert_eq!(status.phase.as_deref(), Some("Failed"));
}

#[test]
fn restarts_are_counted_and_remembered() {
    let case = Case::new(json!({"containers": [{"name": "c"}]})).run("c", "id1", ContainerState::Exited, 7).run(
        "c",
        "id2",
        ContainerState::Running,
        0,
    );
    let status = case.status();
    let container = &status.container_statuses.as_ref().expect("statuses")[0];
    assert_eq!(container.restart_count, 1);
    let last = container.last_state.as_ref().and_then(|s| s.terminated.as_ref()).expect("an end");
    assert_eq!((last.exit_code, last.container_id.as_deref()), (7, Some("skiff://id1")));
    // The old run is removed from the runtime: what was reported stays.
    let mut later = Case { previous: status, ..case };
    later.observed.containers.truncate(1);
    let status = later.status();
    let container = &status.container_statuses.as_ref().expect("statuses")[0];
    assert_eq!(container.last_state.as_ref().and_then(|s| s.terminated.as_ref()).map(|t| t.exit_code), Some(7));
}

#[test]
fn a_container_that_vanished_was_terminated() {
    let mut case = Case::new(json!({"containers": [{"name": "c"}]})).run("c", "id1", ContainerState::Running, 0);
    case.previous = case.status();
    case.observed.containers.clear();
    let status = case.status();
    let container = &status.container_statuses.as_ref().expect("statuses")[0];
    let last = container.last_state.as_ref().and_then(|s| s.terminated.as_ref()).expect("an end");
    assert_eq!((last.exit_code, last.reason.as_deref()), (137, Some("ContainerStatusUnknown")));
    assert_eq!(container.restart_count, 1);
    assert_eq!(status.phase.as_deref(), Some("Running"));
}

#[test]
fn probes_decide_and_survive_a_restart_of_the_kubelet() {
    let mut case = Case::new(json!({"containers": [{"name": "c", "readinessProbe": {}, "startupProbe": {}}]})).run(
        "c",
        "id1",
        ContainerState::Running,
        0,
    );
    let flags = |case: &Case| {
        let status = case.status();
        let container = status.container_statuses.expect("statuses").remove(0);
        (container.started, container.ready)
    };
    assert_eq!(flags(&case), (Some(false), false));
    case.probes.startup.insert("id1".into(), Verdict::Success);
    assert_eq!(flags(&case), (Some(true), false));
    case.probes.readiness.insert("id1".into(), Verdict::Success);
    assert_eq!(flags(&case), (Some(true), true));
    case.previous = case.status();
    case.probes = Probes::default();
    assert_eq!(flags(&case), (Some(true), true), "no result yet: as reported");
    case.probes.readiness.insert("id1".into(), Verdict::Failure);
    assert_eq!(flags(&case), (Some(true), false));
    let case = case.run("c", "id2", ContainerState::Running, 0);
    assert_eq!(flags(&case), (Some(false), false), "another run starts anew");
}

#[test]
fn a_final_phase_stays() {
    let mut case = Case::new(json!({"restartPolicy": "Never", "containers": [{"name": "c"}]})).run(
        "c",
        "id1",
        ContainerState::Exited,
        0,
    );
    let done = case.status();
    assert_eq!(done.phase.as_deref(), Some("Succeeded"));
    case.previous = done;
    case.observed = ObservedPod::default();
    let status = case.status();
    assert_eq!(status.phase.as_deref(), Some("Succeeded"));
    assert_eq!(state(&status, 0)["terminated"]["exitCode"], 0);
    assert_eq!(status.pod_ip.as_deref(), Some("10.244.0.2"), "the address is remembered");
}

#[test]
fn a_pod_failed_by_the_kubelet_says_why() {
    let mut case = Case::new(json!({"containers": [{"name": "c"}]})).run("c", "id1", ContainerState::Running, 0);
    case.failed = Some(Verdicted { reason: "DeadlineExceeded".into(), message: "too long".into(), disruption: None });
    let status = case.status();
    assert_eq!((status.phase.as_deref(), status.reason.as_deref()), (Some("Failed"), Some("DeadlineExceeded")));
    assert_eq!(condition_of(&status, "Ready"), "False");
    case.failed = None;
    case.previous = status;
    assert_eq!(case.status().reason.as_deref(), Some("DeadlineExceeded"));
}

#[test]
fn conditions_of_others_are_kept_and_times_are_those_of_changes() {
    let mut case = Case::new(json!({"containers": [{"name": "c"}]})).run("c", "id1", ContainerState::Running, 0);
    case.pod.status = serde_json::from_value(json!({"conditions": [
        {"type": "mine", "status": "True"},
        {"type": "Ready", "status": "True", "lastTransitionTime": "1970-01-01T00:00:01Z"}]}))
    .ok();
    let status = case.status();
    assert_eq!(condition_of(&status, "mine"), "True");
    let list = status.conditions.as_deref().unwrap_or(&[]);
    let time =
        |type_| conditions::find(list, type_).and_then(|c| c.last_transition_time.as_ref()).map(|t| t.0.as_second());
    assert_eq!((time("Ready"), time("Initialized")), (Some(1), Some(100)));
}

#[test]
fn a_terminal_pod_has_ended() {
    let mut case = Case::new(json!({"containers": [{"name": "c"}]})).run("c", "id1", ContainerState::Exited, 143);
    case.is_terminal = true;
    assert_eq!(case.status().phase.as_deref(), Some("Failed"));
}

#[test]
fn messages_are_bounded() {
    let mut case =
        Case::new(json!({"containers": [{"name": "c"}, {"name": "d"}]})).run("c", "id1", ContainerState::Exited, 1);
    case.observed.containers[0].message = "ü".repeat(5000);
    let status = case.status();
    let message = status.container_statuses.expect("statuses")[0]
        .state
        .clone()
        .and_then(|s| s.terminated)
        .and_then(|t| t.message);
    assert_eq!(message.expect("a message").len(), 6144);
}
