//! Carrying out plans: one pass over one pod (upstream: `kubelet.go` SyncPod, `kuberuntime_manager.go` SyncPod).
//!
//! A pass observes, reports, plans and acts once. It keeps no state but [`PodMemory`], which can be lost at any time:
//! everything that matters is read back from the runtime and the API.

pub(crate) mod gc;
pub(crate) mod kill;
mod resize;
mod start;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Container, Pod, PodStatus, Secret};
use skiff_cri::v1;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::actions::{PodActions, compute_pod_actions};
use crate::admission::{REJECTED, Refusal, bare};
use crate::context::{Context, now};
use crate::eviction::EVICTED;
use crate::eviction::pressure::refusal;
use crate::observed::ObservedPod;
use crate::pod::{ContainerKind, PodExt, as_container, is_sidecar, is_terminal_phase};
use crate::resize::allocation::reported;
use crate::resize::conditions::ResizeState;
use crate::resize::plan::Knobs;
use crate::runtime::RuntimeError;
use crate::spec::resources::pod_resources;
use crate::spec::sandbox::{SandboxInputs, sandbox_config};
use crate::status::generate::{StartFailure, StatusInputs, Verdicted, pod_status};
use crate::volumes::HostVolumes;
use kill::KillReasonGrace;
use start::Starter;

/// Volumes are brought up to date at least this often.
const VOLUME_REFRESH: Duration = Duration::from_secs(60);
/// Pauses after errors that are nobody's fault but may pass.
const RETRY_MIN: Duration = Duration::from_millis(500);
const RETRY_MAX: Duration = Duration::from_secs(10);

/// What a worker remembers about its pod between passes.
#[derive(Default)]
pub(crate) struct PodMemory {
    /// Why containers could not be started, by name, until they are.
    pub(crate) failures: HashMap<String, StartFailure>,
    /// The node has taken the pod.
    pub(crate) admitted: bool,
    /// The kubelet itself has failed the pod.
    pub(crate) failed: Option<Verdicted>,
    /// Containers whose preStop hook has been run, by id.
    pub(crate) pre_stopped: HashSet<String>,
    pub(crate) volumes: HostVolumes,
    /// When volumes were last brought up to date.
    pub(crate) volumes_at: Option<Instant>,
    /// Where a change of the pod's resources stands.
    pub(crate) resize: ResizeState,
    /// The knobs of the pod's cgroup, once it is made.
    pub(crate) cgroup: Option<Knobs>,
    /// What the runtime was asked to give to containers that run, by id.
    pub(crate) asked: HashMap<String, Knobs>,
    /// Passes in a row that met an error.
    pub(crate) errors: u32,
}

/// How a pass ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The pod is over: stop what is left of it.
    Terminal,
    /// Something was done: look again at once.
    Acted,
    /// Nothing more to do before this time.
    WaitUntil(Instant),
}

impl PodMemory {
    /// When to try again after an error, with growing pauses.
    fn retry(&mut self) -> Outcome {
        self.errors = self.errors.saturating_add(1);
        let pause = RETRY_MIN * 2u32.saturating_pow(self.errors.min(16) - 1);
        Outcome::WaitUntil(Instant::now() + pause.min(RETRY_MAX))
    }
}

/// A moment of the wall clock on tokio's clock.
fn instant_of(time: Timestamp) -> Instant {
    let wait = time.duration_since(now());
    Instant::now() + if wait.is_negative() { Duration::ZERO } else { wait.unsigned_abs() }
}

/// Computes a pod's status from what was observed, and reports it.
pub(crate) fn report(
    ctx: &Context,
    pod: &Arc<Pod>,
    observed: &ObservedPod,
    memory: &PodMemory,
    is_terminal: bool,
) -> PodStatus {
    let node = ctx.node_facts();
    let pod = &ctx.admission.allocated(pod);
    let previous = ctx.status.get(pod.uid()).unwrap_or_else(|| pod.pod_status().clone());
    let status = pod_status(&StatusInputs {
        pod,
        observed,
        previous: &previous,
        failures: &memory.failures,
        probes: &ctx.probes,
        host_ips: &node.host_ips,
        runtime_name: &node.runtime_name,
        recursive_read_only: node.recursive_read_only,
        resize: &memory.resize,
        is_terminal,
        failed: memory.failed.as_ref(),
        now: now(),
    });
    ctx.status.set(pod, status.clone());
    status
}

/// One pass over a pod that is to run.
pub(crate) async fn sync_pod(
    ctx: &Context,
    pod: &Arc<Pod>,
    memory: &mut PodMemory,
    cancelled: &CancellationToken,
) -> Outcome {
    let observed = match ctx.runtime.observe(pod.uid()).await {
        Ok(observed) => observed,
        Err(error) => {
            tracing::warn!(pod = %pod.display(), %error, "cannot observe the pod");
            return memory.retry();
        }
    };
    check_admission(ctx, pod, &observed, memory).await;
    if !memory.admitted && memory.failed.is_none() && !is_terminal_phase(pod.phase()) {
        // Others make room for it; it is woken when they have.
        return Outcome::WaitUntil(Instant::now() + RETRY_MAX);
    }
    let pod = &resize::allocate(ctx, pod, &observed, memory);
    let deadline = check_deadline(pod, ctx.status.get(pod.uid()).as_ref(), memory, ctx);
    let status = report(ctx, pod, &observed, memory, false);
    if status.phase.as_deref().is_some_and(is_terminal_phase) {
        return Outcome::Terminal;
    }
    tell_probes(ctx, pod, &observed, &status);
    let outcome = act(ctx, pod, &observed, memory, cancelled).await;
    gc::remove_old_runs(ctx, &observed).await;
    match (outcome, deadline) {
        (Outcome::WaitUntil(time), Some(deadline)) => Outcome::WaitUntil(time.min(deadline)),
        (outcome, _) => outcome,
    }
}

/// Tells the probes of a pod how it stands.
pub(crate) fn tell_probes(ctx: &Context, pod: &Arc<Pod>, observed: &ObservedPod, status: &PodStatus) {
    let statuses = [&status.container_statuses, &status.init_container_statuses];
    let started = |name: &str| {
        let mut all = statuses.into_iter().flatten().flatten();
        all.any(|status| status.name == name && status.started == Some(true))
    };
    let pod_ip = status.pod_ip.as_deref().unwrap_or_default();
    ctx.probes.update(pod, observed, pod_ip, &started);
}

/// Lets the node take the pod, once. What runs already was taken before.
async fn check_admission(ctx: &Context, pod: &Arc<Pod>, observed: &ObservedPod, memory: &mut PodMemory) {
    if memory.admitted || memory.failed.is_some() || is_terminal_phase(pod.phase()) {
        return;
    }
    if !observed.is_gone() {
        ctx.admission.keep(&reported(pod));
        memory.resize = ResizeState::reported(pod);
        memory.admitted = true;
        return;
    }
    if let Some(message) = refusal(pod, &ctx.conditions.borrow()) {
        ctx.events.pod_warning(pod, EVICTED, message.clone());
        let message = format!("{REJECTED}{message}");
        memory.failed = Some(Verdicted { reason: EVICTED.into(), message, disruption: None });
        return;
    }
    let mut admitted = ctx.admission.admit(pod, &ctx.offer());
    if admitted.as_ref().is_err_and(Refusal::is_for_labels)
        && let Ok(offer) = ctx.fresh_offer().await
    {
        admitted = ctx.admission.admit(pod, &offer);
    }
    match admitted {
        Ok(()) => memory.admitted = true,
        Err(Refusal::Refused(verdict)) => {
            ctx.events.pod_warning(pod, &verdict.reason, bare(&verdict));
            memory.failed = Some(verdict);
        }
        Err(Refusal::Preempts(victims)) => victims.iter().for_each(|victim| ctx.preempt(victim)),
    }
}

/// Fails a pod that has been active too long; answers when that will be.
fn check_deadline(pod: &Pod, status: Option<&PodStatus>, memory: &mut PodMemory, ctx: &Context) -> Option<Instant> {
    let seconds = pod.pod_spec().active_deadline_seconds?;
    let started = status.or(pod.status.as_ref())?.start_time.as_ref()?.0;
    let end = started.saturating_add(SignedDuration::from_secs(seconds)).ok()?;
    if now() < end {
        return Some(instant_of(end));
    }
    if memory.failed.is_none() {
        let message = "Pod was active on the node longer than the specified deadline";
        ctx.events.pod(pod, "DeadlineExceeded", message);
        memory.failed =
            Some(Verdicted { reason: "DeadlineExceeded".into(), message: message.into(), disruption: None });
    }
    None
}

/// Prepares what containers need, computes the plan and carries it out.
async fn act(
    ctx: &Context,
    pod: &Arc<Pod>,
    observed: &ObservedPod,
    memory: &mut PodMemory,
    cancelled: &CancellationToken,
) -> Outcome {
    if let Some(error) = &ctx.node_facts().network_error
        && !pod.is_host_network()
    {
        ctx.events.pod_warning(pod, "NetworkNotReady", format!("network is not ready: {error}"));
        return memory.retry();
    }
    if let Err(outcome) = prepare(ctx, pod, observed, memory).await {
        return outcome;
    }
    let mut actions = compute_pod_actions(pod, observed, &ctx.probes);
    // A runtime that does not show what it was given is not asked for it again.
    actions.resize.retain(|update| memory.asked.get(&update.id) != Some(&update.to));
    let only_stops = actions.kill_pod && !actions.create_sandbox;
    let resizes = resize::is_needed(pod, &actions, memory);
    if !resizes && actions.is_empty() || (only_stops && is_stopped(observed)) {
        memory.errors = 0;
        return Outcome::WaitUntil(refresh_time(memory));
    }
    tracing::debug!(pod = %pod.display(), ?actions, "acting");
    match carry_out(ctx, pod, observed, &actions, memory, cancelled).await {
        Ok(retry_at) => {
            memory.errors = 0;
            match retry_at {
                None => Outcome::Acted,
                Some(time) => Outcome::WaitUntil(instant_of(time).min(refresh_time(memory))),
            }
        }
        Err(()) => memory.retry(),
    }
}

/// Nothing of the pod runs.
fn is_stopped(observed: &ObservedPod) -> bool {
    observed.running_containers().next().is_none() && !observed.sandboxes.iter().any(|sandbox| sandbox.ready)
}

fn refresh_time(memory: &PodMemory) -> Instant {
    memory.volumes_at.unwrap_or_else(Instant::now) + VOLUME_REFRESH
}

/// Cgroup and volumes.
async fn prepare(ctx: &Context, pod: &Arc<Pod>, observed: &ObservedPod, memory: &mut PodMemory) -> Result<(), Outcome> {
    let first = memory.volumes_at.is_none();
    if first && let Some(cgroups) = ctx.cgroups.clone() {
        let (limited, knobs) = (pod.clone(), pod_resources(pod));
        memory.cgroup = Some(Knobs::of(&knobs));
        let made = tokio::task::spawn_blocking(move || cgroups.ensure_pod(&limited, &knobs)).await;
        let made = made.unwrap_or_else(|error| Err(std::io::Error::other(error)));
        if let Err(error) = made {
            let message = format!("unable to ensure pod container exists: {error}");
            ctx.events.pod_warning(pod, "FailedCreatePodContainer", message);
            return Err(memory.retry());
        }
    }
    let fresh = memory.volumes_at.is_some_and(|at| at.elapsed() < VOLUME_REFRESH);
    if fresh {
        return Ok(());
    }
    match ctx.volumes.set_up(pod, &ctx.facts(observed.ips())).await {
        Ok(volumes) => {
            memory.volumes = volumes;
            memory.volumes_at = Some(Instant::now());
            Ok(())
        }
        Err(errors) => {
            for error in &errors {
                ctx.events.pod_warning(pod, "FailedMount", error.to_string());
            }
            if first {
                return Err(memory.retry());
            }
            // What is mounted stays as it is; the update is tried again later.
            memory.volumes_at = Some(Instant::now());
            Ok(())
        }
    }
}

/// Carries out a plan. Answers when something that failed is to be tried again, if anything did; an error is one of the
/// pod as a whole.
async fn carry_out(
    ctx: &Context,
    pod: &Arc<Pod>,
    observed: &ObservedPod,
    actions: &PodActions,
    memory: &mut PodMemory,
    cancelled: &CancellationToken,
) -> Result<Option<Timestamp>, ()> {
    if actions.kill_pod {
        if actions.create_sandbox && actions.sandbox_id.is_some() {
            ctx.events.pod(pod, "SandboxChanged", "Pod sandbox changed, it will be killed and re-created.");
        }
        kill::kill_pod(ctx, pod, observed, None, memory).await.map_err(|error| {
            tracing::warn!(pod = %pod.display(), %error, "cannot stop the pod's containers");
        })?;
        if actions.create_sandbox {
            gc::remove_init_containers(ctx, pod, observed).await;
        }
    } else {
        for kill in &actions.kill {
            let grace = KillReasonGrace { reason: kill.reason, grace_override: None };
            let (id, name, message) = (&kill.id, &kill.name, &kill.message);
            let killed = kill::kill_container(ctx, pod, observed, id, name, message, grace, memory, cancelled);
            if let Err(error) = killed.await {
                tracing::warn!(pod = %pod.display(), container = %kill.name, %error, "cannot stop a container");
                return Err(());
            }
        }
    }
    if resize::is_needed(pod, actions, memory) {
        resize::carry_out(ctx, pod, &actions.resize, memory).await?;
    }
    let starts = actions.create_sandbox
        || !actions.start.is_empty()
        || !actions.start_init.is_empty()
        || !actions.start_ephemeral.is_empty();
    if !starts || cancelled.is_cancelled() {
        return Ok(None);
    }
    let config = make_sandbox_config(ctx, pod, actions.attempt)?;
    let (sandbox_id, observed) = if actions.create_sandbox {
        create_sandbox(ctx, pod, &config, cancelled).await?
    } else {
        (actions.sandbox_id.clone().unwrap_or_default(), observed.clone())
    };
    let pull_secrets = ctx.pull_secrets(pod).await;
    let starter = Starter {
        ctx,
        pod,
        observed: &observed,
        sandbox_id: &sandbox_id,
        sandbox: &config,
        pull_secrets: &pull_secrets,
        cancelled,
    };
    Ok(start_containers(&starter, actions, memory).await)
}

/// Starts containers in the order of the plan; answers the earliest time at which a failed one may be tried again.
async fn start_containers(starter: &Starter<'_>, actions: &PodActions, memory: &mut PodMemory) -> Option<Timestamp> {
    let pod = starter.pod;
    let mut retry_at: Option<Timestamp> = None;
    let ephemeral = actions.start_ephemeral.iter().map(|index| {
        let ephemeral = &pod.ephemeral_containers()[*index];
        (ContainerKind::Ephemeral, as_container(ephemeral), ephemeral.target_container_name.clone())
    });
    let init =
        actions.start_init.iter().map(|index| (ContainerKind::Init, pod.init_containers()[*index].clone(), None));
    let regular =
        actions.start.iter().map(|index| (ContainerKind::Regular, pod.regular_containers()[*index].clone(), None));
    let all: Vec<(ContainerKind, Container, Option<String>)> = ephemeral.chain(init).chain(regular).collect();
    for (kind, container, target) in all {
        if starter.cancelled.is_cancelled() {
            break;
        }
        match starter.start(&container, target.as_deref(), memory).await {
            Ok(()) => drop(memory.failures.remove(&container.name)),
            Err(failed) => {
                memory.failures.insert(container.name.clone(), failed.failure);
                retry_at = Some(retry_at.map_or(failed.retry_at, |earliest| earliest.min(failed.retry_at)));
                // The next init container depends on this one.
                if kind == ContainerKind::Init && !is_sidecar(&container) {
                    break;
                }
            }
        }
    }
    if retry_at.is_some() {
        // Show why at once, with what was started meanwhile.
        if let Ok(observed) = starter.ctx.runtime.observe(pod.uid()).await {
            let status = report(starter.ctx, pod, &observed, memory, false);
            tell_probes(starter.ctx, pod, &observed, &status);
        }
    }
    retry_at
}

fn make_sandbox_config(ctx: &Context, pod: &Pod, attempt: u32) -> Result<v1::PodSandboxConfig, ()> {
    let cgroup_parent = ctx.cgroups.as_ref().map(|cgroups| cgroups.pod_path(pod)).unwrap_or_default();
    let inputs =
        SandboxInputs { logs_root: &ctx.settings.logs_root, cgroup_parent: &cgroup_parent, dns: &ctx.dns, attempt };
    sandbox_config(pod, inputs).map_err(|error| {
        ctx.events.pod_warning(pod, "FailedCreatePodSandBox", format!("Failed to create pod sandbox: {error}"));
    })
}

/// Makes a sandbox and observes the pod anew, for its addresses.
async fn create_sandbox(
    ctx: &Context,
    pod: &Pod,
    config: &v1::PodSandboxConfig,
    cancelled: &CancellationToken,
) -> Result<(String, ObservedPod), ()> {
    for (reason, message) in crate::spec::dns::pod_dns(pod, &ctx.dns).warnings {
        ctx.events.pod_warning(pod, reason, message);
    }
    let failed = |error: String| {
        // While the pod is being deleted a failure is of no interest.
        if !cancelled.is_cancelled() {
            ctx.events.pod_warning(pod, "FailedCreatePodSandBox", format!("Failed to create pod sandbox: {error}"));
        }
    };
    let made = async {
        let logs = std::path::PathBuf::from(&config.log_directory);
        crate::volumes::blocking(move || crate::volumes::make_dir(&logs, 0o755)).await.map_err(|e| e.to_string())?;
        let handler = ctx.runtime_handler(pod).await?;
        let id = ctx.runtime.run_sandbox(config.clone(), &handler).await.map_err(|error| error.to_string())?;
        let observed = ctx.runtime.observe(pod.uid()).await.map_err(|error: RuntimeError| error.to_string())?;
        Ok((id, observed))
    };
    made.await.map_err(failed)
}

/// What a container is started with, besides the pod.
pub(crate) type PullSecrets = [Secret];
