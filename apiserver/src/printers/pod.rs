//! The pod's row: its status is condensed from phase, conditions and the states of its containers.

use jiff::Timestamp;
use skiff_apimachinery::value;
use skiff_apimachinery::value::Value;

use super::human::{NONE, age, duration, timestamp};
use super::{AGE, Column, NAME, name, non_empty, text};

pub(super) static COLUMNS: [Column; 9] = [
    NAME,
    Column::string("Ready", "Containers that are ready, out of all."),
    Column::string("Status", "What the pod is doing, or what keeps it from running."),
    Column::string("Restarts", "How often containers were restarted, and when last."),
    AGE,
    Column::string("IP", "Address of the pod.").wide(),
    Column::string("Node", "Node that the pod is bound to.").wide(),
    Column::string("Nominated Node", "Node on which room is being made for the pod.").wide(),
    Column::string("Readiness Gates", "Readiness gates that are true, out of all.").wide(),
];

pub(super) fn cells(pod: &Value, now: Timestamp) -> Vec<Value> {
    let summary = Summary::of(pod);
    let restarts = match summary.last_restart {
        Some(time) if summary.restarts != 0 => {
            let seconds = now.as_second() - time.as_second();
            format!("{} ({} ago)", summary.restarts, duration(seconds))
        }
        _ => summary.restarts.to_string(),
    };
    let ip = pod.array_at(&["status", "podIPs"]).first().map_or("", |ip| text(ip, &["ip"]));
    vec![
        name(pod),
        format!("{}/{}", summary.ready, summary.total).into(),
        summary.reason.into(),
        restarts.into(),
        age(pod, now),
        non_empty(ip, NONE),
        non_empty(text(pod, &["spec", "nodeName"]), NONE),
        non_empty(text(pod, &["status", "nominatedNodeName"]), NONE),
        readiness_gates(pod),
    ]
}

/// The condition of the row of a pod that has ended, which clients may hide.
pub(super) fn conditions(pod: &Value) -> Option<Value> {
    let phase = text(pod, &["status", "phase"]);
    let message = match phase {
        "Succeeded" => "The pod has completed successfully.",
        "Failed" => "The pod failed.",
        _ => return None,
    };
    Some(value!([{"type": "Completed", "status": "True", "reason": phase, "message": message}]))
}

fn readiness_gates(pod: &Value) -> Value {
    let gates = pod.array_at(&["spec", "readinessGates"]);
    if gates.is_empty() {
        return NONE.into();
    }
    let open = gates.iter().filter(|gate| condition(pod, text(gate, &["conditionType"])) == Some("True")).count();
    format!("{open}/{}", gates.len()).into()
}

/// The status of the pod's first condition of a type.
fn condition<'a>(pod: &'a Value, wanted: &str) -> Option<&'a str> {
    let condition = pod.array_at(&["status", "conditions"]).iter().find(|item| text(item, &["type"]) == wanted)?;
    Some(text(condition, &["status"]))
}

struct Summary {
    ready: usize,
    total: usize,
    reason: String,
    restarts: i64,
    last_restart: Option<Timestamp>,
}

impl Summary {
    fn of(pod: &Value) -> Self {
        let phase = text(pod, &["status", "phase"]);
        let mut reason = match text(pod, &["status", "reason"]) {
            "" => phase,
            reason => reason,
        };
        let gated =
            |item: &Value| text(item, &["type"]) == "PodScheduled" && text(item, &["reason"]) == "SchedulingGated";
        if pod.array_at(&["status", "conditions"]).iter().any(gated) {
            reason = "SchedulingGated";
        }
        let init_containers = pod.array_at(&["spec", "initContainers"]);
        let sidecars = init_containers.iter().filter(|container| is_sidecar(container)).count();
        let mut summary = Summary {
            ready: 0,
            total: pod.array_at(&["spec", "containers"]).len() + sidecars,
            reason: reason.into(),
            restarts: 0,
            last_restart: None,
        };
        let initializing = summary.add_init_containers(pod, init_containers);
        if !initializing || condition(pod, "Initialized") == Some("True") {
            summary.add_containers(pod);
        }
        if pod.at(&["metadata", "deletionTimestamp"]).is_some() {
            if text(pod, &["status", "reason"]) == "NodeLost" {
                summary.reason = "Unknown".into();
            } else if !matches!(phase, "Succeeded" | "Failed") {
                summary.reason = "Terminating".into();
            }
        }
        summary
    }

    fn add_restarts(&mut self, status: &Value) {
        self.restarts += status.i64_at(&["restartCount"]).unwrap_or(0);
        self.last_restart = self.last_restart.max(timestamp(status.at(&["lastState", "terminated", "finishedAt"])));
    }

    /// Looks at the init containers in their order; true if the pod is still at one of them.
    fn add_init_containers(&mut self, pod: &Value, specs: &[Value]) -> bool {
        let mut of_sidecars = (0, None);
        let mut initializing = false;
        for (i, status) in pod.array_at(&["status", "initContainerStatuses"]).iter().enumerate() {
            let own_name = text(status, &["name"]);
            let sidecar = specs.iter().any(|spec| text(spec, &["name"]) == own_name && is_sidecar(spec));
            self.add_restarts(status);
            if sidecar {
                of_sidecars.0 += status.i64_at(&["restartCount"]).unwrap_or(0);
                of_sidecars.1 = of_sidecars.1.max(timestamp(status.at(&["lastState", "terminated", "finishedAt"])));
            }
            let terminated = status.at(&["state", "terminated"]);
            if terminated.is_some_and(|state| state.i64_at(&["exitCode"]).unwrap_or(0) == 0) {
                continue;
            }
            if sidecar && status.bool_at(&["started"]) == Some(true) {
                self.ready += usize::from(status.bool_at(&["ready"]) == Some(true));
                continue;
            }
            let waiting = text(status, &["state", "waiting", "reason"]);
            self.reason = match terminated {
                Some(state) => format!("Init:{}", exit_reason(state)),
                None if !waiting.is_empty() && waiting != "PodInitializing" => format!("Init:{waiting}"),
                None => format!("Init:{i}/{}", specs.len()),
            };
            initializing = true;
            break;
        }
        if !initializing || condition(pod, "Initialized") == Some("True") {
            // Restarts of ordinary init containers are history once the containers run.
            (self.restarts, self.last_restart) = of_sidecars;
        }
        initializing
    }

    fn add_containers(&mut self, pod: &Value) {
        let mut has_running = false;
        let mut error_reason = String::new();
        for status in pod.array_at(&["status", "containerStatuses"]).iter().rev() {
            self.add_restarts(status);
            let waiting = text(status, &["state", "waiting", "reason"]);
            if !waiting.is_empty() {
                self.reason = waiting.into();
            } else if let Some(state) = status.at(&["state", "terminated"]) {
                self.reason = exit_reason(state);
                if state.i64_at(&["exitCode"]).unwrap_or(0) != 0 {
                    error_reason.clone_from(&self.reason);
                }
            } else if status.bool_at(&["ready"]) == Some(true) && status.at(&["state", "running"]).is_some() {
                has_running = true;
                self.ready += 1;
            }
        }
        // One container may have ended while others go on.
        if self.reason == "Completed" {
            if has_running && condition(pod, "Ready") == Some("True") {
                self.reason = "Running".into();
            } else if !error_reason.is_empty() {
                self.reason = error_reason;
            } else if has_running {
                self.reason = "NotReady".into();
            }
        }
    }
}

fn is_sidecar(container: &Value) -> bool {
    text(container, &["restartPolicy"]) == "Always"
}

fn exit_reason(terminated: &Value) -> String {
    let number = |field: &str| terminated.i64_at(&[field]).unwrap_or(0);
    match (text(terminated, &["reason"]), number("signal")) {
        ("", 0) => format!("ExitCode:{}", number("exitCode")),
        ("", signal) => format!("Signal:{signal}"),
        (reason, _) => reason.into(),
    }
}
