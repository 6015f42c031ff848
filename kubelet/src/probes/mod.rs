//! Probes: a task per probe of a container, and the results.
//!
//! A task looks at the target it was last told of ([`Probes::update`]), runs the probe once a period, and publishes a
//! result when a threshold is reached. Results are kept by container id, so those of an earlier run of a container
//! never count for the present one. A task lives until its pod is removed.

mod grpc;
pub(crate) mod http;
mod run;
mod state;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Container, Pod, Probe};
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::actions::{Verdict, Verdicts, sidecars};
use crate::events::Events;
use crate::observed::{ContainerState, ObservedPod};
use crate::pod::PodExt;
use crate::runtime::Runtime;
use crate::status::generate::ProbeResults;
use run::{Outcome, ProbeRun};
pub(crate) use state::ProbeKind;
use state::{ProbeState, Step, Target};

/// After a start of the kubelet, first runs are spread over a period of this length at most.
const START_WINDOW: Duration = Duration::from_secs(10);

/// A new result of a probe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ProbeResult {
    pub(crate) uid: String,
    pub(crate) container: String,
    pub(crate) container_id: String,
    pub(crate) kind: ProbeKind,
    pub(crate) verdict: Verdict,
}

type Listener = Arc<dyn Fn(&ProbeResult) + Send + Sync>;

/// All probes on the node. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Probes {
    shared: Arc<Shared>,
}

struct Shared {
    runtime: Runtime,
    events: Events,
    listener: Listener,
    started: tokio::time::Instant,
    results: Mutex<HashMap<(String, ProbeKind), Verdict>>,
    pods: Mutex<HashMap<String, PodProbes>>,
}

/// The tasks of one pod; they end when this goes.
struct PodProbes {
    view: watch::Sender<Arc<PodView>>,
    _stop: DropGuard,
}

/// What the tasks of a pod see.
struct PodView {
    pod: Arc<Pod>,
    pod_ip: String,
    targets: HashMap<String, Target>,
}

impl Probes {
    pub(crate) fn new(runtime: Runtime, events: Events, listener: Listener) -> Self {
        let shared = Shared {
            runtime,
            events,
            listener,
            started: tokio::time::Instant::now(),
            results: Mutex::default(),
            pods: Mutex::default(),
        };
        Self { shared: Arc::new(shared) }
    }

    /// Tells the probes of a pod how it stands, and starts them if it is new. `started` says which containers have
    /// passed their startup probe.
    pub(crate) fn update(&self, pod: &Arc<Pod>, observed: &ObservedPod, pod_ip: &str, started: &dyn Fn(&str) -> bool) {
        let probed: Vec<(Container, ProbeKind, Probe)> = probes_of(pod);
        if probed.is_empty() {
            return;
        }
        let view = Arc::new(PodView {
            pod: pod.clone(),
            pod_ip: pod_ip.to_owned(),
            targets: probed.iter().map(|(c, ..)| (c.name.clone(), target(pod, observed, &c.name, started))).collect(),
        });
        self.forget_old_results(&view, observed);
        let mut pods = self.shared.pods.lock();
        if let Some(known) = pods.get(pod.uid()) {
            known.view.send_replace(view);
            return;
        }
        let (sender, receiver) = watch::channel(view);
        let stop = CancellationToken::new();
        for (container, kind, probe) in probed {
            let task = Task {
                probes: self.clone(),
                state: ProbeState::new(kind, &probe),
                uid: pod.uid().to_owned(),
                container,
                kind,
                probe,
                view: receiver.clone(),
            };
            let stopped = stop.clone();
            tokio::spawn(async move {
                tokio::select! {
                    () = stopped.cancelled() => {}
                    () = task.run() => {}
                }
            });
        }
        pods.insert(pod.uid().to_owned(), PodProbes { view: sender, _stop: stop.drop_guard() });
    }

    /// Ends the probes of a pod.
    pub(crate) fn remove(&self, uid: &str) {
        let removed = self.shared.pods.lock().remove(uid);
        let Some(removed) = removed else { return };
        let view = removed.view.borrow().clone();
        let mut results = self.shared.results.lock();
        for target in view.targets.values() {
            results.retain(|(id, _), _| *id != target.container_id);
        }
    }

    /// The result of a probe of a container; `None` until there is one.
    pub(crate) fn result(&self, kind: ProbeKind, container_id: &str) -> Option<Verdict> {
        self.shared.results.lock().get(&(container_id.to_owned(), kind)).copied()
    }

    /// Results of runs that are over are dropped.
    fn forget_old_results(&self, view: &PodView, observed: &ObservedPod) {
        let mut results = self.shared.results.lock();
        for old in &observed.containers {
            let current = view.targets.get(&old.name).is_some_and(|target| target.container_id == old.id);
            if !current {
                results.retain(|(id, _), _| *id != old.id);
            }
        }
    }

    fn publish(&self, result: ProbeResult) {
        let key = (result.container_id.clone(), result.kind);
        let before = self.shared.results.lock().insert(key, result.verdict);
        if before != Some(result.verdict) {
            (self.shared.listener)(&result);
        }
    }
}

impl Verdicts for Probes {
    fn liveness(&self, container_id: &str) -> Option<Verdict> {
        self.result(ProbeKind::Liveness, container_id)
    }
    fn startup(&self, container_id: &str) -> Option<Verdict> {
        self.result(ProbeKind::Startup, container_id)
    }
}

impl ProbeResults for Probes {
    fn startup(&self, container_id: &str) -> Option<Verdict> {
        self.result(ProbeKind::Startup, container_id)
    }
    fn readiness(&self, container_id: &str) -> Option<Verdict> {
        self.result(ProbeKind::Readiness, container_id)
    }
}

/// The probes of regular containers and sidecars.
fn probes_of(pod: &Pod) -> Vec<(Container, ProbeKind, Probe)> {
    let containers = pod.regular_containers().iter().chain(sidecars(pod));
    let probes = containers.flat_map(|container| {
        [
            (ProbeKind::Startup, &container.startup_probe),
            (ProbeKind::Readiness, &container.readiness_probe),
            (ProbeKind::Liveness, &container.liveness_probe),
        ]
        .into_iter()
        .filter_map(|(kind, probe)| Some((container.clone(), kind, probe.clone()?)))
    });
    probes.collect()
}

fn target(pod: &Pod, observed: &ObservedPod, name: &str, started: &dyn Fn(&str) -> bool) -> Target {
    let Some(container) = observed.container(name) else {
        return Target::default();
    };
    let second = container.started_at.div_euclid(1_000_000_000);
    Target {
        container_id: container.id.clone(),
        running: container.state == ContainerState::Running,
        started: started(name),
        started_at: Timestamp::from_second(second).unwrap_or_default(),
        pod_deleted: pod.is_deleted(),
    }
}

/// One probe of one container.
struct Task {
    probes: Probes,
    uid: String,
    container: Container,
    kind: ProbeKind,
    probe: Probe,
    state: ProbeState,
    view: watch::Receiver<Arc<PodView>>,
}

impl Task {
    async fn run(mut self) {
        let seconds = self.probe.period_seconds.and_then(|s| u64::try_from(s).ok()).unwrap_or(10).max(1);
        let period = Duration::from_secs(seconds);
        // After a restart of the kubelet all probes of the node would run at once.
        if self.probes.shared.started.elapsed() < period.min(START_WINDOW) && self.target().running {
            tokio::time::sleep(period.min(START_WINDOW).mul_f64(rand::random::<f64>())).await;
        }
        let mut due = tokio::time::Instant::now();
        loop {
            let now = tokio::time::Instant::now();
            let target = self.view.borrow_and_update().targets.get(&self.container.name).cloned().unwrap_or_default();
            let step = self.state.step(&target, Timestamp::now());
            let wake = match step {
                Step::Stop => return,
                // A run that has not been probed yet is probed at once; then once a period.
                Step::Probe if now >= due || !self.state.has_probed() => {
                    self.probe_once(&target).await;
                    due = tokio::time::Instant::now() + period;
                    due
                }
                Step::Probe | Step::Wait => due.max(now + Duration::from_millis(1)),
                Step::WaitUntil(time) => {
                    let wait = time.duration_since(Timestamp::now()).unsigned_abs();
                    now + wait.min(Duration::from_secs(24 * 3600))
                }
            };
            let quiet = step == Step::Wait;
            tokio::select! {
                changed = self.view.changed() => if changed.is_err() { return },
                () = tokio::time::sleep_until(wake), if !quiet => {}
            }
        }
    }

    fn target(&self) -> Target {
        self.view.borrow().targets.get(&self.container.name).cloned().unwrap_or_default()
    }

    async fn probe_once(&mut self, target: &Target) {
        let (pod, pod_ip) = {
            let view = self.view.borrow();
            (view.pod.clone(), view.pod_ip.clone())
        };
        let shared = &self.probes.shared;
        let run = ProbeRun {
            runtime: &shared.runtime,
            container: &self.container,
            container_id: &target.container_id,
            pod_ip: &pod_ip,
        };
        let outcome = run.run(&self.probe).await;
        let (kind, name) = (self.kind.as_str(), &self.container.name);
        let success = match &outcome {
            Outcome::Success => true,
            Outcome::Warning(text) => {
                shared.events.container_warning(&pod, name, "ProbeWarning", format!("{kind} probe warning: {text}"));
                true
            }
            Outcome::Failure(text) => {
                shared.events.container_warning(&pod, name, "Unhealthy", format!("{kind} probe failed: {text}"));
                false
            }
            Outcome::Error(text) => {
                // The container may have ended meanwhile; then this says nothing about it.
                if self.target() == *target {
                    let message = format!("{kind} probe errored and resulted in unknown state: {text}");
                    shared.events.container_warning(&pod, name, "Unhealthy", message);
                }
                return;
            }
        };
        if let Some(verdict) = self.state.record(success) {
            self.probes.publish(ProbeResult {
                uid: self.uid.clone(),
                container: name.clone(),
                container_id: target.container_id.clone(),
                kind: self.kind,
                verdict,
            });
        }
    }
}
