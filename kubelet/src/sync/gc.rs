//! Removing what is no longer needed in the runtime: old runs of containers, and everything of a pod that is gone
//! (upstream: `pkg/kubelet/kuberuntime/kuberuntime_gc.go`).

use std::collections::HashMap;
use std::path::Path;

use k8s_openapi::api::core::v1::Pod;

use crate::context::Context;
use crate::observed::{ContainerState, ObservedContainer, ObservedPod};
use crate::pod::{PodExt, is_sidecar};
use crate::runtime::RuntimeError;

/// Runs of a container that are kept: the present one, and the one before for its logs.
const RUNS_KEPT: usize = 2;

/// Removes runs beyond those that are kept, and sandboxes without containers. Failures are tried again next time.
pub(crate) async fn remove_old_runs(ctx: &Context, observed: &ObservedPod) {
    for container in old_runs(observed) {
        remove_run(ctx, container).await;
    }
    for sandbox in old_sandboxes(observed) {
        if let Err(error) = ctx.runtime.remove_sandbox(sandbox).await {
            tracing::debug!(%error, sandbox, "cannot remove an old sandbox yet");
        }
    }
}

fn old_runs(observed: &ObservedPod) -> Vec<&ObservedContainer> {
    let mut seen: HashMap<&str, usize> = HashMap::new();
    let old = observed.containers.iter().filter(|container| {
        let count = seen.entry(&container.name).or_default();
        *count += 1;
        *count > RUNS_KEPT && container.state == ContainerState::Exited
    });
    old.collect()
}

fn old_sandboxes(observed: &ObservedPod) -> Vec<&str> {
    let unused = observed.sandboxes.iter().skip(1).filter(|sandbox| {
        !sandbox.ready && !observed.containers.iter().any(|container| container.sandbox_id == sandbox.id)
    });
    unused.map(|sandbox| sandbox.id.as_str()).collect()
}

/// Removes all runs of init containers: they run again in a new sandbox.
pub(crate) async fn remove_init_containers(ctx: &Context, pod: &Pod, observed: &ObservedPod) {
    let init = |name: &str| pod.init_containers().iter().any(|c| c.name == name && !is_sidecar(c));
    for container in observed.containers.iter().filter(|c| init(&c.name)) {
        remove_run(ctx, container).await;
    }
}

/// Removes the containers of a pod that is over, with their logs.
pub(crate) async fn remove_ended(ctx: &Context, observed: &ObservedPod) {
    for container in observed.containers.iter().filter(|c| c.state == ContainerState::Exited) {
        remove_run(ctx, container).await;
    }
}

async fn remove_run(ctx: &Context, container: &ObservedContainer) {
    match ctx.runtime.remove_container(&container.id).await {
        Ok(()) => remove_logs(Path::new(&container.log_path)),
        Err(error) => tracing::debug!(%error, container = %container.id, "cannot remove an old container yet"),
    }
}

/// Removes a log and what was rotated out of it.
fn remove_logs(path: &Path) {
    let (Some(dir), Some(name)) = (path.parent(), path.file_name().and_then(|name| name.to_str())) else {
        return;
    };
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        if entry.file_name().to_str().is_some_and(|found| found.starts_with(name)) {
            let _ = std::fs::remove_file(entry.path());
        }
    }
}

/// Removes everything of a pod from the runtime, and its logs.
pub(crate) async fn remove_pod(ctx: &Context, observed: &ObservedPod, logs: Option<&Path>) -> Result<(), RuntimeError> {
    for container in &observed.containers {
        ctx.runtime.remove_container(&container.id).await?;
    }
    for sandbox in &observed.sandboxes {
        ctx.runtime.stop_sandbox(&sandbox.id).await?;
        ctx.runtime.remove_sandbox(&sandbox.id).await?;
    }
    if let Some(logs) = logs {
        let _ = std::fs::remove_dir_all(logs);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observed::ObservedSandbox;

    #[test]
    fn the_present_and_the_last_run_are_kept() {
        let container = |id: &str, name: &str, state| ObservedContainer {
            id: id.into(),
            name: name.into(),
            sandbox_id: "s1".into(),
            state,
            ..Default::default()
        };
        let sandbox = |id: &str, ready| ObservedSandbox { id: id.into(), ready, ..Default::default() };
        let observed = ObservedPod {
            sandboxes: vec![sandbox("s2", true), sandbox("s1", false), sandbox("s0", false)],
            containers: vec![
                container("a3", "a", ContainerState::Running),
                container("a2", "a", ContainerState::Exited),
                container("b1", "b", ContainerState::Exited),
                container("a1", "a", ContainerState::Exited),
                container("a0", "a", ContainerState::Unknown),
            ],
        };
        let ids: Vec<&str> = old_runs(&observed).iter().map(|c| c.id.as_str()).collect();
        assert_eq!(ids, ["a1"]);
        assert_eq!(old_sandboxes(&observed), ["s0"]);
    }

    #[test]
    fn logs_go_with_their_rotated_parts() {
        let dir = tempfile::tempdir().expect("a folder");
        for name in ["0.log", "0.log.20260101-000000", "1.log"] {
            std::fs::write(dir.path().join(name), "").expect("a file");
        }
        remove_logs(&dir.path().join("0.log"));
        let left: Vec<_> = std::fs::read_dir(dir.path()).expect("a folder").flatten().map(|e| e.file_name()).collect();
        assert_eq!(left, ["1.log"]);
    }
}
