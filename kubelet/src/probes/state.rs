//! When a probe runs and what its results mean: a state machine without clock or I/O
//! (upstream: `pkg/kubelet/prober/worker.go`).

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Probe;

use crate::actions::Verdict;

/// Which probe of a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum ProbeKind {
    Startup,
    Liveness,
    Readiness,
}

impl ProbeKind {
    /// The word in events.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            ProbeKind::Startup => "Startup",
            ProbeKind::Liveness => "Liveness",
            ProbeKind::Readiness => "Readiness",
        }
    }
}

/// What is known about the probed container.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Target {
    /// Empty if it has never been created.
    pub(crate) container_id: String,
    pub(crate) running: bool,
    /// Its startup probe has succeeded, or it has none.
    pub(crate) started: bool,
    pub(crate) started_at: Timestamp,
    /// The pod is being deleted.
    pub(crate) pod_deleted: bool,
}

/// What to do now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Run the probe.
    Probe,
    /// Look again at the next period, or when the target changes.
    Wait,
    /// Look again at this time, before the period is over.
    WaitUntil(Timestamp),
    /// Never run again.
    Stop,
}

/// The state of one probe of one container, over all its runs.
#[derive(Debug)]
pub(crate) struct ProbeState {
    kind: ProbeKind,
    initial_delay: SignedDuration,
    success_threshold: u32,
    failure_threshold: u32,
    container_id: String,
    /// The last result and how often it came in a row.
    last: Option<bool>,
    in_a_row: u32,
    /// It came to a result that ends this run of the container (or its start): wait for another run.
    on_hold: bool,
}

impl ProbeState {
    pub(crate) fn new(kind: ProbeKind, probe: &Probe) -> Self {
        let threshold = |value: Option<i32>, default: u32| {
            value.and_then(|value| u32::try_from(value).ok()).filter(|value| *value > 0).unwrap_or(default)
        };
        Self {
            kind,
            initial_delay: SignedDuration::from_secs(probe.initial_delay_seconds.unwrap_or(0).into()),
            success_threshold: threshold(probe.success_threshold, 1),
            failure_threshold: threshold(probe.failure_threshold, 3),
            container_id: String::new(),
            last: None,
            in_a_row: 0,
            on_hold: false,
        }
    }

    /// Decides about the next step.
    pub(crate) fn step(&mut self, target: &Target, now: Timestamp) -> Step {
        if target.container_id != self.container_id {
            self.container_id.clone_from(&target.container_id);
            (self.last, self.in_a_row, self.on_hold) = (None, 0, false);
        }
        if target.pod_deleted && self.kind != ProbeKind::Readiness {
            return Step::Stop;
        }
        if self.on_hold || self.container_id.is_empty() || !target.running {
            return Step::Wait;
        }
        // The startup probe holds back the others, and is over when the container has started.
        if target.started == (self.kind == ProbeKind::Startup) {
            return Step::Wait;
        }
        let first = target.started_at.saturating_add(self.initial_delay).unwrap_or(Timestamp::MAX);
        if now < first { Step::WaitUntil(first) } else { Step::Probe }
    }

    /// Takes a result; answers what holds from now on, if a threshold was reached.
    pub(crate) fn record(&mut self, success: bool) -> Option<Verdict> {
        if self.last == Some(success) {
            self.in_a_row = self.in_a_row.saturating_add(1);
        } else {
            (self.last, self.in_a_row) = (Some(success), 1);
        }
        let threshold = if success { self.success_threshold } else { self.failure_threshold };
        if self.in_a_row < threshold {
            return None;
        }
        if self.kind == ProbeKind::Startup || (self.kind == ProbeKind::Liveness && !success) {
            self.on_hold = true;
            self.in_a_row = 0;
        }
        Some(if success { Verdict::Success } else { Verdict::Failure })
    }

    /// Whether this run of the container has been probed already.
    pub(crate) fn has_probed(&self) -> bool {
        self.last.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn state(kind: ProbeKind, probe: serde_json::Value) -> ProbeState {
        ProbeState::new(kind, &serde_json::from_value(probe).expect("a probe"))
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).expect("a time")
    }

    fn target(id: &str, started: bool) -> Target {
        Target { container_id: id.into(), running: true, started, started_at: at(100), pod_deleted: false }
    }

    #[test]
    fn thresholds() {
        let mut probe = state(ProbeKind::Readiness, json!({"successThreshold": 2, "failureThreshold": 3}));
        let results = [true, true, false, false, true, false, false, false, false];
        let verdicts = results.map(|result| probe.record(result));
        let (yes, no) = (Some(Verdict::Success), Some(Verdict::Failure));
        assert_eq!(verdicts, [None, yes, None, None, None, None, None, no, no]);
    }

    #[test]
    fn the_startup_probe_holds_the_others_back() {
        let now = at(200);
        let mut startup = state(ProbeKind::Startup, json!({}));
        let mut liveness = state(ProbeKind::Liveness, json!({}));
        assert_eq!(startup.step(&target("a", false), now), Step::Probe);
        assert_eq!(liveness.step(&target("a", false), now), Step::Wait);
        assert_eq!(startup.record(true), Some(Verdict::Success));
        assert_eq!(startup.step(&target("a", true), now), Step::Wait);
        assert_eq!(liveness.step(&target("a", true), now), Step::Probe);
    }

    #[test]
    fn the_initial_delay_counts_from_the_start() {
        let mut probe = state(ProbeKind::Liveness, json!({"initialDelaySeconds": 30}));
        assert_eq!(probe.step(&target("a", true), at(110)), Step::WaitUntil(at(130)));
        assert_eq!(probe.step(&target("a", true), at(130)), Step::Probe);
    }

    #[test]
    fn a_failed_liveness_probe_waits_for_the_next_run() {
        let mut probe = state(ProbeKind::Liveness, json!({"failureThreshold": 1}));
        assert_eq!(probe.step(&target("a", true), at(200)), Step::Probe);
        assert_eq!(probe.record(false), Some(Verdict::Failure));
        assert_eq!(probe.step(&target("a", true), at(201)), Step::Wait);
        assert!(probe.has_probed());
        assert_eq!(probe.step(&target("b", true), at(202)), Step::Probe);
        assert!(!probe.has_probed());
    }

    #[test]
    fn only_running_containers_are_probed_and_deletion_ends_all_but_readiness() {
        let mut liveness = state(ProbeKind::Liveness, json!({}));
        let mut readiness = state(ProbeKind::Readiness, json!({}));
        assert_eq!(liveness.step(&Target::default(), at(0)), Step::Wait);
        let exited = Target { running: false, ..target("a", false) };
        assert_eq!(liveness.step(&exited, at(200)), Step::Wait);
        let deleted = Target { pod_deleted: true, ..target("a", true) };
        assert_eq!(liveness.step(&deleted, at(200)), Step::Stop);
        assert_eq!(readiness.step(&deleted, at(200)), Step::Probe);
    }
}
