//! One worker per pod UID, from the first sight of the pod to its end (upstream: `pkg/kubelet/pod_workers.go`).
//!
//! What the workers promise:
//!
//! - Work on one pod is never done twice at a time, whatever happens to its name: everything goes by UID.
//! - A pod only moves forward: it syncs, then it is terminating, then terminated. A pod that was told to end never
//!   starts a container again.
//! - The newest state of a pod counts; states between may be skipped. A request to end is never overwritten, and its
//!   grace period only gets shorter.
//! - A worker looks at the pod again whenever it is woken (an event of the runtime, a probe, a changed ConfigMap), and at
//!   the latest after a minute, so a lost wake-up only costs time.
//! - Nothing is kept that cannot be found again: after a restart of the kubelet the workers start from the API and the
//!   runtime, and running containers are not touched.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::context::Context;
use crate::pod::{PodExt, is_terminal_phase};
use crate::spec::sandbox::pod_logs_directory;
use crate::status::conditions;
use crate::status::generate::Verdicted;
use crate::sync::{self, Outcome, PodMemory, gc, kill, report};

/// Pauses between tries to stop or clean up a pod.
const RETRY_MIN: Duration = Duration::from_millis(200);
const RETRY_MAX: Duration = Duration::from_secs(10);
/// A worker that is not woken looks at its pod again after this time.
const RESYNC: Duration = Duration::from_secs(60);

/// All workers. Cheap to clone.
#[derive(Clone)]
pub(crate) struct PodWorkers {
    shared: Arc<Shared>,
}

struct Shared {
    ctx: Arc<Context>,
    workers: Mutex<HashMap<String, Arc<Mailbox>>>,
    tasks: TaskTracker,
    shutdown: CancellationToken,
}

/// What a worker has to take note of.
struct Mailbox {
    inbox: Mutex<Inbox>,
    wake: Notify,
    /// Fires when the pod is to end: long waits are given up.
    ending: CancellationToken,
}

struct Inbox {
    pod: Arc<Pod>,
    /// The pod has to end.
    end: Option<End>,
    /// It is gone from the API: nobody wants its status any more.
    removed: bool,
    /// Something that volumes are made of has changed.
    volumes_changed: bool,
    state: WorkerState,
}

/// Why and how fast a pod ends.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct End {
    /// Seconds; overrides the pod's own.
    grace_override: Option<i64>,
    failed: Option<Verdicted>,
}

/// Where a pod stands. It only moves forward.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum WorkerState {
    /// Containers are started and kept running. Errors are tried again for ever.
    Syncing,
    /// Containers are being stopped. Errors are tried again until nothing runs.
    Terminating,
    /// Nothing runs; volumes and cgroups are being removed. Errors are tried again until everything is gone.
    Terminated,
    /// Nothing is left to do. The entry stays while the API has the pod, so that it is not started again.
    Finished,
}

// === impl PodWorkers ===

impl PodWorkers {
    pub(crate) fn new(ctx: Arc<Context>, shutdown: CancellationToken) -> Self {
        let shared = Shared { ctx, workers: Mutex::default(), tasks: TaskTracker::new(), shutdown };
        Self { shared: Arc::new(shared) }
    }

    /// The API, or a file, has this pod.
    pub(crate) fn update(&self, pod: Arc<Pod>) {
        self.shared.ctx.status.seen(&pod);
        let mut workers = self.shared.workers.lock();
        if let Some(mailbox) = workers.get(pod.uid()) {
            mailbox.update(pod);
            return;
        }
        let mailbox = Arc::new(Mailbox::new(pod.clone()));
        workers.insert(pod.uid().to_owned(), mailbox.clone());
        let worker =
            Worker { ctx: self.shared.ctx.clone(), mailbox, workers: self.clone(), memory: PodMemory::default() };
        let shutdown = self.shared.shutdown.clone();
        self.shared.tasks.spawn(async move {
            tokio::select! {
                () = shutdown.cancelled() => {}
                () = worker.run() => {}
            }
        });
    }

    /// The pod is gone from the API. What is left of it is stopped and removed.
    pub(crate) fn removed(&self, pod: &Pod) {
        let mut workers = self.shared.workers.lock();
        let Some(mailbox) = workers.get(pod.uid()).cloned() else { return };
        let finished = {
            let mut inbox = mailbox.inbox.lock();
            inbox.removed = true;
            inbox.end.get_or_insert_default();
            inbox.state == WorkerState::Finished
        };
        if finished {
            workers.remove(pod.uid());
            drop(workers);
            self.remove_leftovers(pod);
        } else {
            mailbox.end();
        }
    }

    /// Fails a pod and stops it: it was evicted.
    pub(crate) fn evict(&self, uid: &str, verdict: Verdicted, grace_override: Option<i64>) {
        let mailbox = self.shared.workers.lock().get(uid).cloned();
        if let Some(mailbox) = mailbox {
            let mut inbox = mailbox.inbox.lock();
            let end = inbox.end.get_or_insert_default();
            end.failed.get_or_insert(verdict);
            end.shorten(grace_override);
            drop(inbox);
            mailbox.end();
        }
    }

    /// Lets a worker look at its pod again.
    pub(crate) fn wake(&self, uid: &str) {
        if let Some(mailbox) = self.shared.workers.lock().get(uid) {
            mailbox.wake.notify_one();
        }
    }

    /// Something that the volumes of these pods are made of has changed.
    pub(crate) fn volumes_changed(&self, uids: &HashSet<String>) {
        let workers = self.shared.workers.lock();
        for mailbox in uids.iter().filter_map(|uid| workers.get(uid)) {
            mailbox.inbox.lock().volumes_changed = true;
            mailbox.wake.notify_one();
        }
    }

    /// The pods on this node, with the states of their workers.
    pub(crate) fn pods(&self) -> Vec<(Arc<Pod>, WorkerState)> {
        let workers = self.shared.workers.lock();
        let pods = workers.values().map(|mailbox| {
            let inbox = mailbox.inbox.lock();
            (inbox.pod.clone(), inbox.state)
        });
        pods.collect()
    }

    /// Whether a pod is known here.
    pub(crate) fn knows(&self, uid: &str) -> bool {
        self.shared.workers.lock().contains_key(uid)
    }

    /// Waits until all workers have ended after shutdown.
    pub(crate) async fn join(&self) {
        self.shared.tasks.close();
        self.shared.tasks.wait().await;
    }

    /// Removes what a finished pod left for its logs.
    fn remove_leftovers(&self, pod: &Pod) {
        let ctx = self.shared.ctx.clone();
        let (uid, logs) = (pod.uid().to_owned(), pod_logs_directory(&ctx.settings.logs_root, pod));
        ctx.status.forget(&uid);
        self.shared.tasks.spawn(async move {
            let removed = async {
                let observed = ctx.runtime.observe(&uid).await?;
                gc::remove_pod(&ctx, &observed, Some(&logs)).await
            };
            if let Err(error) = removed.await {
                // Housekeeping finds it again.
                tracing::debug!(%uid, %error, "cannot remove a finished pod from the runtime yet");
            }
        });
    }

    fn forget(&self, uid: &str) {
        self.shared.workers.lock().remove(uid);
    }
}

/// Conditions that others write: readiness gates may name them.
fn gates_of(pod: &Pod) -> Vec<(&str, &str)> {
    let conditions = pod.pod_status().conditions.iter().flatten();
    let others = conditions.filter(|condition| !conditions::is_owned(&condition.type_));
    others.map(|condition| (condition.type_.as_str(), condition.status.as_str())).collect()
}

// === impl Mailbox ===

impl Mailbox {
    fn new(pod: Arc<Pod>) -> Self {
        let end = pod.is_deleted().then(End::default);
        let mailbox = Self {
            inbox: Mutex::new(Inbox { pod, end, removed: false, volumes_changed: false, state: WorkerState::Syncing }),
            wake: Notify::new(),
            ending: CancellationToken::new(),
        };
        if mailbox.inbox.lock().end.is_some() {
            mailbox.ending.cancel();
        }
        mailbox
    }

    fn update(&self, pod: Arc<Pod>) {
        let mut inbox = self.inbox.lock();
        let old = std::mem::replace(&mut inbox.pod, pod.clone());
        let fields_changed = old.labels() != pod.labels() || old.annotations() != pod.annotations();
        inbox.volumes_changed |= fields_changed;
        if pod.is_deleted() {
            inbox.end.get_or_insert_default();
            drop(inbox);
            self.end();
        } else if fields_changed || old.spec != pod.spec || gates_of(&old) != gates_of(&pod) {
            // Otherwise it was our own status that changed.
            drop(inbox);
            self.wake.notify_one();
        }
    }

    fn end(&self) {
        self.ending.cancel();
        self.wake.notify_one();
    }

    fn pod(&self) -> Arc<Pod> {
        self.inbox.lock().pod.clone()
    }

    /// Waits until woken, or until `time`.
    async fn wait_until(&self, time: Instant) {
        tokio::select! {
            () = self.wake.notified() => {}
            () = tokio::time::sleep_until(time) => {}
        }
    }

    /// Whether the pod is to end faster than `end` and the pod's metadata said.
    fn is_shorter(&self, pod: &Pod, end: &End) -> bool {
        let inbox = self.inbox.lock();
        let grace = |pod: &Pod, end: &End| {
            end.grace_override.or(pod.metadata.deletion_grace_period_seconds).unwrap_or(i64::MAX)
        };
        let now = inbox.end.clone().unwrap_or_default();
        grace(&inbox.pod, &now) < grace(pod, end)
    }
}

impl End {
    /// A grace period only ever gets shorter.
    fn shorten(&mut self, grace_override: Option<i64>) {
        self.grace_override = match (self.grace_override, grace_override) {
            (Some(old), Some(new)) => Some(old.min(new)),
            (old, new) => old.or(new),
        };
    }
}

/// The task of one pod.
struct Worker {
    ctx: Arc<Context>,
    mailbox: Arc<Mailbox>,
    workers: PodWorkers,
    memory: PodMemory,
}

impl Worker {
    async fn run(mut self) {
        self.sync().await;
        self.enter(WorkerState::Terminating);
        self.terminate().await;
        self.enter(WorkerState::Terminated);
        self.clean_up().await;
        self.finish();
    }

    fn enter(&self, state: WorkerState) {
        let mut inbox = self.mailbox.inbox.lock();
        debug_assert!(inbox.state < state, "a pod only moves forward");
        inbox.state = state;
    }

    /// Keeps the pod running until it is to end or has ended by itself.
    async fn sync(&mut self) {
        loop {
            let pod = {
                let mut inbox = self.mailbox.inbox.lock();
                if inbox.end.is_some() || is_terminal_phase(inbox.pod.phase()) {
                    return;
                }
                if std::mem::take(&mut inbox.volumes_changed) && self.memory.volumes_at.is_some() {
                    self.memory.volumes_at = Instant::now().checked_sub(RESYNC);
                }
                inbox.pod.clone()
            };
            match sync::sync_pod(&self.ctx, &pod, &mut self.memory, &self.mailbox.ending).await {
                Outcome::Terminal => return,
                Outcome::Acted => {}
                Outcome::WaitUntil(time) => self.mailbox.wait_until(time.min(Instant::now() + RESYNC)).await,
            }
        }
    }

    /// Stops everything of the pod, and reports how it ended.
    async fn terminate(&mut self) {
        let mut failures = 0;
        loop {
            let pod = self.mailbox.pod();
            let end = self.mailbox.inbox.lock().end.clone().unwrap_or_default();
            if self.memory.failed.is_none() {
                self.memory.failed = end.failed.clone();
            }
            match self.try_terminate(&pod, &end).await {
                Ok(true) => return,
                Ok(false) => {}
                Err(error) => {
                    failures += 1;
                    self.ctx.events.pod_warning(&pod, "FailedKillPod", format!("error killing pod: {error}"));
                    tracing::warn!(pod = %pod.display(), %error, "cannot stop the pod, will retry");
                    self.pause(failures).await;
                }
            }
        }
    }

    /// True if nothing runs any more; false if the request changed meanwhile.
    async fn try_terminate(&mut self, pod: &Arc<Pod>, end: &End) -> Result<bool, crate::runtime::RuntimeError> {
        let observed = self.ctx.runtime.observe(pod.uid()).await?;
        let status = report(&self.ctx, pod, &observed, &self.memory, false);
        sync::tell_probes(&self.ctx, pod, &observed, &status);
        let killed = {
            let kill = kill::kill_pod(&self.ctx, pod, &observed, end.grace_override, &mut self.memory);
            tokio::pin!(kill);
            loop {
                tokio::select! {
                    killed = &mut kill => break Some(killed),
                    () = self.mailbox.wake.notified() => if self.mailbox.is_shorter(pod, end) { break None },
                }
            }
        };
        let Some(killed) = killed else { return Ok(false) };
        killed?;
        self.ctx.probes.remove(pod.uid());
        let observed = self.ctx.runtime.observe(pod.uid()).await?;
        if let Some(running) = observed.running_containers().next() {
            let message = format!("container {} still runs after it was stopped", running.name);
            return Err(crate::runtime::RuntimeError::Status(tonic::Status::internal(message)));
        }
        report(&self.ctx, pod, &observed, &self.memory, true);
        self.ctx.status.stopped(pod.uid());
        Ok(true)
    }

    /// Removes volumes and cgroup, and of a deleted pod also the containers.
    async fn clean_up(&mut self) {
        let mut failures = 0;
        loop {
            let pod = self.mailbox.pod();
            match self.try_clean_up(&pod).await {
                Ok(()) => return,
                Err(error) => {
                    failures += 1;
                    tracing::warn!(pod = %pod.display(), %error, "cannot clean up after the pod, will retry");
                    self.pause(failures).await;
                }
            }
        }
    }

    async fn try_clean_up(&self, pod: &Arc<Pod>) -> Result<(), String> {
        let uid = pod.uid();
        let is_removed = self.mailbox.inbox.lock().removed;
        self.ctx.volumes.tear_down(uid).await.map_err(|error| error.to_string())?;
        if pod.is_deleted() || is_removed {
            let observed = self.ctx.runtime.observe(uid).await.map_err(|error| error.to_string())?;
            let logs = pod_logs_directory(&self.ctx.settings.logs_root, pod);
            gc::remove_pod(&self.ctx, &observed, Some(&logs)).await.map_err(|error| error.to_string())?;
        }
        if let Some(cgroups) = self.ctx.cgroups.clone() {
            let uid = uid.to_owned();
            let removed = crate::volumes::blocking(move || cgroups.remove_pod(&uid));
            removed.await.map_err(|error| error.to_string())?;
        }
        self.ctx.admission.release(uid, &self.ctx.offer());
        self.ctx.images.forget(uid);
        self.ctx.restarts.forget(&format!("{uid}_"));
        Ok(())
    }

    fn finish(self) {
        let pod = self.mailbox.pod();
        let removed = {
            let mut inbox = self.mailbox.inbox.lock();
            inbox.state = WorkerState::Finished;
            inbox.removed
        };
        if removed {
            self.workers.forget(pod.uid());
            self.workers.remove_leftovers(&pod);
        } else {
            self.ctx.status.finish(&pod);
        }
    }

    async fn pause(&self, failures: u32) {
        let pause = (RETRY_MIN * 2u32.saturating_pow(failures.min(16) - 1)).min(RETRY_MAX);
        tokio::time::sleep(pause).await;
    }
}
