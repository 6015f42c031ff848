//! The phase of a pod out of its containers' statuses (upstream: `kubelet_pods.go`, getPhase). Pure.

use k8s_openapi::api::core::v1::{Container, ContainerStatus, Pod};

use super::containers::terminated;
use crate::pod::{PodExt, is_sidecar, restarts_after};

pub(crate) const PENDING: &str = "Pending";
pub(crate) const RUNNING: &str = "Running";
pub(crate) const SUCCEEDED: &str = "Succeeded";
pub(crate) const FAILED: &str = "Failed";

#[derive(Default)]
struct Counts {
    pending_init: usize,
    pending_sidecars: usize,
    init_failed_for_good: usize,
    unknown: usize,
    running: usize,
    waiting: usize,
    stopped: usize,
    stopped_for_good: usize,
    succeeded: usize,
}

/// Computes the phase. `is_terminal`: the pod's containers will not be started again, whatever the policy.
/// `has_initialized`: a regular container runs or ran in the present sandbox.
pub(crate) fn pod_phase(
    pod: &Pod,
    statuses: &[ContainerStatus],
    is_terminal: bool,
    has_initialized: bool,
) -> &'static str {
    let mut counts = Counts::default();
    let status = |c: &Container| statuses.iter().find(|status| status.name == c.name);
    for container in pod.init_containers() {
        if is_sidecar(container) {
            counts.add_sidecar(status(container));
        } else {
            counts.add_init(pod, container, status(container));
        }
    }
    for container in pod.regular_containers() {
        counts.add_regular(pod, container, status(container));
    }
    counts.phase(is_terminal && !pod.is_static(), has_initialized)
}

impl Counts {
    fn add_init(&mut self, pod: &Pod, container: &Container, status: Option<&ContainerStatus>) {
        let state = status.and_then(|status| status.state.as_ref());
        let ended = match state {
            Some(state) if state.terminated.is_some() => state.terminated.as_ref(),
            Some(state) if state.waiting.is_some() => status.and_then(|s| terminated(&s.last_state)),
            _ => None,
        };
        match ended {
            None => self.pending_init += 1,
            Some(end) if end.exit_code != 0 && !restarts_after(container, pod, end.exit_code) => {
                self.init_failed_for_good += 1;
            }
            Some(_) => {}
        }
    }

    fn add_sidecar(&mut self, status: Option<&ContainerStatus>) {
        let Some(status) = status else {
            self.unknown += 1;
            return;
        };
        let state = status.state.clone().unwrap_or_default();
        if state.running.is_some() {
            self.pending_sidecars += usize::from(status.started != Some(true));
            self.running += 1;
        } else if state.terminated.is_some() {
            // A sidecar that ended says nothing about the pod.
        } else if state.waiting.is_some() {
            if terminated(&status.last_state).is_none() {
                self.pending_sidecars += 1;
                self.waiting += 1;
            }
        } else {
            self.pending_sidecars += 1;
            self.unknown += 1;
        }
    }

    fn add_regular(&mut self, pod: &Pod, container: &Container, status: Option<&ContainerStatus>) {
        let state = status.and_then(|status| status.state.clone()).unwrap_or_default();
        if state.running.is_some() {
            self.running += 1;
        } else if let Some(end) = &state.terminated {
            self.stopped += 1;
            self.succeeded += usize::from(end.exit_code == 0);
            self.stopped_for_good += usize::from(!restarts_after(container, pod, end.exit_code));
        } else if state.waiting.is_some() {
            match status.and_then(|status| terminated(&status.last_state)) {
                Some(end) => {
                    self.stopped += 1;
                    self.stopped_for_good += usize::from(!restarts_after(container, pod, end.exit_code));
                }
                None => self.waiting += 1,
            }
        } else {
            self.unknown += 1;
        }
    }

    fn phase(&self, is_terminal: bool, has_initialized: bool) -> &'static str {
        let ended = if self.stopped == self.succeeded { SUCCEEDED } else { FAILED };
        if self.init_failed_for_good > 0 {
            FAILED
        } else if self.pending_init > 0 || (self.pending_sidecars > 0 && !has_initialized) || self.waiting > 0 {
            PENDING
        } else if self.running > 0 && self.unknown == 0 {
            RUNNING
        } else if self.running == 0 && self.stopped > 0 && self.unknown == 0 {
            if is_terminal || self.stopped == self.stopped_for_good { ended } else { RUNNING }
        } else {
            PENDING
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    /// States: `r` running, `w` waiting, a number for an exit code, `w1` waiting after exit code 1, `-` unknown.
    fn check(policy: &str, inits: &[(&str, &str)], containers: &[&str], is_terminal: bool, expected: &str) {
        let regular: Vec<Value> = (0..containers.len()).map(|n| json!({"name": format!("c{n}")})).collect();
        let init: Vec<Value> = (0..inits.len())
            .map(|n| match inits[n].0 {
                "sidecar" => json!({"name": format!("i{n}"), "restartPolicy": "Always"}),
                _ => json!({"name": format!("i{n}")}),
            })
            .collect();
        let pod: Pod = serde_json::from_value(
            json!({"spec": {"restartPolicy": policy, "containers": regular, "initContainers": init}}),
        )
        .expect("a pod");
        let status = |name: String, state: &str| -> Option<ContainerStatus> {
            let end = |code: &str| json!({"terminated": {"exitCode": code.parse::<i32>().expect("a code")}});
            let (state, last) = match state {
                "-" => return None,
                "r" => (json!({"running": {}}), Value::Null),
                "w" => (json!({"waiting": {}}), Value::Null),
                code if code.starts_with('w') => (json!({"waiting": {}}), end(&code[1..])),
                code => (end(code), Value::Null),
            };
            let started = state.get("running").is_some();
            serde_json::from_value(json!({"name": name, "image": "", "imageID": "", "ready": false, "restartCount": 0,
                "state": state, "lastState": last, "started": started}))
            .ok()
        };
        let mut statuses: Vec<ContainerStatus> = Vec::new();
        statuses.extend(containers.iter().enumerate().filter_map(|(n, s)| status(format!("c{n}"), s)));
        statuses.extend(inits.iter().enumerate().filter_map(|(n, (_, s))| status(format!("i{n}"), s)));
        let initialized = containers.iter().any(|s| matches!(*s, "r"));
        let phase = pod_phase(&pod, &statuses, is_terminal, initialized);
        assert_eq!(phase, expected, "{policy} {inits:?} {containers:?}");
    }

    #[test]
    fn regular_containers() {
        for (policy, containers, expected) in [
            ("Always", &["r", "r"][..], RUNNING),
            ("Always", &["r", "0"], RUNNING),
            ("Always", &["1", "0"], RUNNING),
            ("Always", &["w", "r"], PENDING),
            ("Always", &["w1", "r"], RUNNING),
            ("Always", &["w1"], RUNNING),
            ("Always", &["-", "r"], PENDING),
            ("Never", &["0", "0"], SUCCEEDED),
            ("Never", &["0", "1"], FAILED),
            ("Never", &["0", "r"], RUNNING),
            ("OnFailure", &["0", "0"], SUCCEEDED),
            ("OnFailure", &["0", "1"], RUNNING),
        ] {
            check(policy, &[], containers, false, expected);
        }
    }

    #[test]
    fn a_terminal_pod_has_ended_whatever_its_policy() {
        check("Always", &[], &["0", "0"], true, SUCCEEDED);
        check("Always", &[], &["143"], true, FAILED);
        check("Always", &[], &["r"], true, RUNNING);
        check("Always", &[], &["w"], true, PENDING);
    }

    #[test]
    fn init_containers() {
        check("Always", &[("init", "r")], &["w"], false, PENDING);
        check("Always", &[("init", "0")], &["w"], false, PENDING);
        check("Always", &[("init", "0")], &["r"], false, RUNNING);
        check("Never", &[("init", "1")], &["w"], false, FAILED);
        check("Always", &[("init", "1")], &["w"], false, PENDING);
        check("Never", &[("init", "w1")], &["w"], false, FAILED);
        check("Always", &[("init", "-")], &["w"], false, PENDING);
    }

    #[test]
    fn sidecars() {
        check("Never", &[("sidecar", "r")], &["r"], false, RUNNING);
        check("Never", &[("sidecar", "0")], &["0"], false, SUCCEEDED);
        check("Never", &[("sidecar", "r")], &["0"], false, RUNNING);
        check("Always", &[("sidecar", "w")], &["w"], false, PENDING);
        check("Always", &[("sidecar", "w1")], &["r"], false, RUNNING);
    }
}
