//! Cleaning up what no worker looks after: pods that vanished while the kubelet was down, and what they left
//! (upstream: `kubelet_pods.go`, HandlePodCleanups).

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::context::Context;
use crate::labels::POD_UID;
use crate::pod_workers::PodWorkers;
use crate::runtime::RuntimeError;
use crate::sync::gc;

/// Time between rounds.
const PERIOD: Duration = Duration::from_secs(30);
/// Seconds a container gets whose pod nobody knows any more.
const ORPHAN_GRACE: i64 = 2;

/// Cleans up until `shutdown`. Starts when the pods of the node are known, or everything would look like an orphan.
pub(crate) async fn run(ctx: Arc<Context>, workers: PodWorkers, shutdown: CancellationToken) {
    // Seen without a worker in the round before: a pod that is just being made known gets a second chance.
    let mut suspects: HashSet<String> = HashSet::new();
    loop {
        let orphans = match orphans_in_runtime(&ctx, &workers).await {
            Ok(orphans) => orphans,
            Err(error) => {
                tracing::debug!(%error, "cannot look for orphans");
                HashSet::new()
            }
        };
        for uid in orphans.intersection(&suspects) {
            tracing::info!(%uid, "removing a pod that is gone from the API");
            if let Err(error) = remove_orphan(&ctx, uid).await {
                tracing::warn!(%uid, %error, "cannot remove an orphaned pod, will retry");
            }
        }
        remove_leftovers(&ctx, &workers).await;
        let first = suspects.is_empty() && !orphans.is_empty();
        suspects = orphans;
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = tokio::time::sleep(if first { Duration::from_secs(1) } else { PERIOD }) => {}
        }
    }
}

async fn orphans_in_runtime(ctx: &Context, workers: &PodWorkers) -> Result<HashSet<String>, RuntimeError> {
    let (sandboxes, containers) = tokio::try_join!(ctx.runtime.list_sandboxes(), ctx.runtime.list_containers())?;
    let uid = |labels: &HashMap<String, String>| labels.get(POD_UID).cloned();
    let all = sandboxes.iter().filter_map(|s| uid(&s.labels)).chain(containers.iter().filter_map(|c| uid(&c.labels)));
    Ok(all.filter(|uid| !workers.knows(uid)).collect())
}

async fn remove_orphan(ctx: &Context, uid: &str) -> Result<(), RuntimeError> {
    let observed = ctx.runtime.observe(uid).await?;
    for container in observed.running_containers() {
        ctx.runtime.stop_container(&container.id, ORPHAN_GRACE).await?;
    }
    gc::remove_pod(ctx, &observed, None).await
}

/// Folders and cgroups of pods that neither a worker nor the runtime knows.
async fn remove_leftovers(ctx: &Context, workers: &PodWorkers) {
    let mut uids = ctx.volumes.known_pods();
    uids.extend(ctx.cgroups.iter().flat_map(crate::cgroups::Cgroups::known_pods));
    uids.sort();
    uids.dedup();
    for uid in uids.iter().filter(|uid| !workers.knows(uid)) {
        match ctx.runtime.observe(uid).await {
            Ok(observed) if observed.is_gone() => {}
            _ => continue,
        }
        if let Err(error) = ctx.volumes.tear_down(uid).await {
            tracing::warn!(%uid, %error, "cannot remove the folder of a pod that is gone, will retry");
            continue;
        }
        if let Some(cgroups) = ctx.cgroups.clone() {
            let uid = uid.clone();
            if let Err(error) = crate::volumes::blocking(move || cgroups.remove_pod(&uid)).await {
                tracing::debug!(%error, "cannot remove the cgroup of a pod that is gone, will retry");
            }
        }
    }
    remove_old_logs(ctx, workers).await;
}

/// Folders of logs are called `NAMESPACE_NAME_UID`.
async fn remove_old_logs(ctx: &Context, workers: &PodWorkers) {
    let entries = std::fs::read_dir(&ctx.settings.logs_root).into_iter().flatten().flatten();
    for entry in entries {
        let name = entry.file_name().to_string_lossy().into_owned();
        let Some(uid) = name.rsplit('_').next().filter(|_| name.matches('_').count() == 2) else { continue };
        if workers.knows(uid) {
            continue;
        }
        if ctx.runtime.observe(uid).await.is_ok_and(|observed| observed.is_gone()) {
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
}
