//! Statuses of containers: what the runtime says, completed by what was reported before and by why a start failed
//! (upstream: `kubelet_pods.go`, convertToAPIContainerStatuses). Pure.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{
    Container, ContainerState as ApiState, ContainerStateRunning, ContainerStateTerminated, ContainerStateWaiting,
    ContainerStatus, ContainerUser, LinuxContainerUser, VolumeMountStatus,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::generate::StatusInputs;
use crate::actions::{Verdict, any_regular_created, should_start};
use crate::observed::{ContainerState, ObservedContainer};
use crate::pod::{ContainerKind, PodExt, is_sidecar};
use crate::resize::actual;
use crate::volumes::container::recursive_read_only;

/// Exit code of a container whose end nobody saw.
const LOST_EXIT_CODE: i32 = 137;
const LOST_REASON: &str = "ContainerStatusUnknown";

/// Statuses of one list of containers; in the order of the spec for init containers, by name otherwise.
pub(super) fn container_statuses(
    inputs: &StatusInputs<'_>,
    kind: ContainerKind,
    containers: &[Container],
    previous: &[ContainerStatus],
) -> Vec<ContainerStatus> {
    let previous: BTreeMap<&str, &ContainerStatus> =
        previous.iter().map(|status| (status.name.as_str(), status)).collect();
    let mut statuses: Vec<ContainerStatus> = containers
        .iter()
        .map(|container| {
            let old = previous.get(container.name.as_str()).copied();
            container_status(inputs, kind, container, old)
        })
        .collect();
    if kind != ContainerKind::Init {
        statuses.sort_by(|a, b| a.name.cmp(&b.name));
    }
    statuses
}

fn container_status(
    inputs: &StatusInputs<'_>,
    kind: ContainerKind,
    container: &Container,
    old: Option<&ContainerStatus>,
) -> ContainerStatus {
    let mut runs = inputs.observed.containers.iter().filter(|c| c.name == container.name);
    let newest = runs.next();
    let mut status = match newest {
        Some(run) => of_run(inputs, container, run, old),
        None => without_run(inputs, container, old),
    };
    if let Some(before) = runs.next() {
        status.last_state = Some(run_state(inputs, before));
    }
    show_waiting(inputs, kind, container, newest, &mut status);
    set_probe_results(inputs, kind, container, old, &mut status);
    status
}

/// The status of a container that has never run, or whose runs are all forgotten.
fn without_run(inputs: &StatusInputs<'_>, container: &Container, old: Option<&ContainerStatus>) -> ContainerStatus {
    if let Some(old) = old.filter(|old| terminated(&old.state).is_some()) {
        return old.clone();
    }
    let reason = if inputs.pod.init_containers().is_empty() { "ContainerCreating" } else { "PodInitializing" };
    let mut status = ContainerStatus {
        name: container.name.clone(),
        image: container.image.clone().unwrap_or_default(),
        state: Some(waiting(reason, None)),
        last_state: Some(ApiState::default()),
        volume_mounts: mount_statuses(inputs, container),
        ..Default::default()
    };
    let Some(old) = old else { return status };
    status.restart_count = old.restart_count;
    status.last_state = Some(old.last_state.clone().unwrap_or_default());
    let was_running = old.state.as_ref().is_some_and(|state| state.running.is_some());
    if was_running && terminated(&status.last_state).is_none() {
        // It ran and is gone without a trace. Waiting alone would make the pod look as if it had never started.
        let message = "The container could not be located when the pod was deleted.  The container used to be Running";
        status.last_state = Some(lost(message));
        if !inputs.pod.is_deleted() {
            status.restart_count += 1;
        }
    }
    status
}

/// The status of a run that the runtime knows.
fn of_run(
    inputs: &StatusInputs<'_>,
    container: &Container,
    run: &ObservedContainer,
    old: Option<&ContainerStatus>,
) -> ContainerStatus {
    let id = inputs.container_id(&run.id);
    let mut status = ContainerStatus {
        name: container.name.clone(),
        image: run.image.clone(),
        image_id: run.image_ref.clone(),
        container_id: Some(id.clone()),
        restart_count: i32::try_from(run.restart_count).unwrap_or(i32::MAX),
        state: Some(run_state(inputs, run)),
        last_state: Some(ApiState::default()),
        volume_mounts: mount_statuses(inputs, container),
        resources: Some(actual::resources(inputs.pod, container, run)),
        allocated_resources: container.resources.as_ref().and_then(|r| r.requests.clone()),
        user: run.user.as_ref().map(|user| ContainerUser {
            linux: Some(LinuxContainerUser {
                uid: user.uid,
                gid: user.gid,
                supplemental_groups: (!user.supplemental_groups.is_empty()).then(|| user.supplemental_groups.clone()),
            }),
        }),
        ..Default::default()
    };
    let Some(old) = old else { return status };
    status.restart_count = status.restart_count.max(old.restart_count);
    // Earlier runs may have been removed from the runtime.
    let same_run = old.container_id.as_deref() == Some(&id);
    let ended = terminated(&old.state).filter(|_| !same_run).or_else(|| terminated(&old.last_state));
    status.last_state = Some(ApiState { terminated: ended.cloned(), ..Default::default() });
    let was_running = old.state.as_ref().is_some_and(|state| state.running.is_some());
    if run.state == ContainerState::Unknown && was_running {
        status.state = Some(lost("The container could not be located when the pod was terminated"));
        status.restart_count = old.restart_count + 1;
    }
    status
}

fn run_state(inputs: &StatusInputs<'_>, run: &ObservedContainer) -> ApiState {
    match run.state {
        ContainerState::Running => ApiState {
            running: Some(ContainerStateRunning { started_at: Some(time(run.started_at)) }),
            ..Default::default()
        },
        ContainerState::Exited => ApiState {
            terminated: Some(ContainerStateTerminated {
                container_id: Some(inputs.container_id(&run.id)),
                exit_code: run.exit_code,
                reason: (!run.reason.is_empty()).then(|| run.reason.clone()),
                message: (!run.message.is_empty()).then(|| run.message.clone()),
                started_at: Some(time(run.started_at)),
                finished_at: Some(time(run.finished_at)),
                signal: None,
            }),
            ..Default::default()
        },
        ContainerState::Created | ContainerState::Unknown => {
            ApiState { waiting: Some(ContainerStateWaiting::default()), ..Default::default() }
        }
    }
}

/// Puts a container that is to be started into waiting, if it is known why it was not.
fn show_waiting(
    inputs: &StatusInputs<'_>,
    kind: ContainerKind,
    container: &Container,
    newest: Option<&ObservedContainer>,
    status: &mut ContainerStatus,
) {
    if kind == ContainerKind::Init {
        let done = newest.is_some_and(|run| run.state == ContainerState::Exited && run.exit_code == 0);
        if done && !is_sidecar(container) {
            return;
        }
        let passed = newest.is_none() && !is_sidecar(container) && any_regular_created(inputs.pod, inputs.observed);
        if passed && status.state.as_ref().is_some_and(|state| state.waiting.is_some()) {
            let message = "Unable to get init container status from container runtime and pod has been initialized, treat it as exited normally";
            status.state = Some(ApiState {
                terminated: Some(ContainerStateTerminated {
                    reason: Some("Completed".into()),
                    message: Some(message.into()),
                    ..Default::default()
                }),
                ..Default::default()
            });
            return;
        }
    }
    if !should_start(container, inputs.pod, inputs.observed) {
        return;
    }
    let Some(failure) = inputs.failures.get(&container.name) else { return };
    if let Some(state) = status.state.take().filter(|state| state.terminated.is_some()) {
        status.last_state = Some(state);
    }
    status.state = Some(waiting(&failure.reason, Some(&failure.message)));
}

/// `started` and `ready`, from the probes' results. Before a probe has one, what was reported for this very run holds,
/// so a restart of the kubelet does not make ready containers unready.
fn set_probe_results(
    inputs: &StatusInputs<'_>,
    kind: ContainerKind,
    container: &Container,
    old: Option<&ContainerStatus>,
    status: &mut ContainerStatus,
) {
    if kind == ContainerKind::Ephemeral {
        status.ready = false;
        status.started = None;
        return;
    }
    let running = status.state.as_ref().is_some_and(|state| state.running.is_some());
    let id = status.container_id.clone().unwrap_or_default();
    let bare = id.rsplit("://").next().unwrap_or_default();
    let same_run = old.filter(|old| old.container_id.as_deref() == Some(&id));
    let started = running
        && match (&container.startup_probe, inputs.probes.startup(bare)) {
            (None, _) => true,
            (Some(_), Some(result)) => result == Verdict::Success,
            (Some(_), None) => same_run.is_some_and(|old| old.started == Some(true)),
        };
    status.started = Some(started);
    if kind == ContainerKind::Init && !is_sidecar(container) {
        status.ready = terminated(&status.state).is_some_and(|state| state.exit_code == 0);
        return;
    }
    status.ready = started
        && match (&container.readiness_probe, inputs.probes.readiness(bare)) {
            (None, _) => true,
            (Some(_), Some(result)) => result == Verdict::Success,
            (Some(_), None) => same_run.is_some_and(|old| old.ready),
        };
}

fn mount_statuses(inputs: &StatusInputs<'_>, container: &Container) -> Option<Vec<VolumeMountStatus>> {
    let mounts = container.volume_mounts.as_ref()?;
    let statuses = mounts.iter().map(|mount| {
        let read_only = mount.read_only == Some(true);
        let recursive = recursive_read_only(mount, inputs.recursive_read_only).unwrap_or(false);
        let mode = if recursive { "Enabled" } else { "Disabled" };
        VolumeMountStatus {
            name: mount.name.clone(),
            mount_path: mount.mount_path.clone(),
            read_only: read_only.then_some(true),
            recursive_read_only: read_only.then(|| mode.to_owned()),
            ..Default::default()
        }
    });
    Some(statuses.collect())
}

pub(super) fn terminated(state: &Option<ApiState>) -> Option<&ContainerStateTerminated> {
    state.as_ref()?.terminated.as_ref()
}

fn waiting(reason: &str, message: Option<&str>) -> ApiState {
    let message = message.filter(|text| !text.is_empty()).map(str::to_owned);
    ApiState { waiting: Some(ContainerStateWaiting { reason: Some(reason.to_owned()), message }), ..Default::default() }
}

/// The end of a container that nobody saw.
pub(super) fn lost(message: &str) -> ApiState {
    ApiState {
        terminated: Some(ContainerStateTerminated {
            reason: Some(LOST_REASON.into()),
            message: Some(message.into()),
            exit_code: LOST_EXIT_CODE,
            ..Default::default()
        }),
        ..Default::default()
    }
}

/// Whole seconds: that is all the API keeps.
fn time(nanoseconds: i64) -> Time {
    let second = nanoseconds.div_euclid(1_000_000_000);
    Time(Timestamp::from_second(second).unwrap_or(Timestamp::UNIX_EPOCH))
}
