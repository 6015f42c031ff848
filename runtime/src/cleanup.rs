//! Taking everything away that a cluster's runtime has on the machine, but its data: for `skiff down`.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context;
use skiff_netlink::pod_network;

use crate::cgroup::Hierarchies;
use crate::config::{Config, Paths};
use crate::container::ContainerRecord;
use crate::engine::blocking;
use crate::files::{entries, read_json, remove_dir, remove_file};
use crate::mounts::unmount_all;
use crate::sandbox::{self, SandboxRecord};
use crate::shim_client;

/// How long shims may take to write down the end of their killed containers.
const SHIM_DEADLINE: Duration = Duration::from_secs(15);
const POLL: Duration = Duration::from_millis(10);

/// Ends every container and removes every process, mount, namespace, link, cgroup and socket of the cluster's runtime.
/// Images and records stay: a runtime started later reports the containers as ended. The runtime itself must not run.
/// Done twice, or with nothing there, it succeeds.
pub async fn cleanup_all(config: &Config) -> anyhow::Result<()> {
    let settings = config.clone();
    blocking(move || clean(&settings).map_err(|error| std::io::Error::other(format!("{error:#}")))).await?;
    pod_network::cleanup(&config.cluster, &config.paths().network())
        .await
        .context("the pod network is not cleaned up")?;
    Ok(())
}

fn clean(config: &Config) -> anyhow::Result<()> {
    let (paths, hierarchies) = (config.paths(), Hierarchies::detect()?);
    end_containers(&paths, &hierarchies)?;
    for id in entries(&paths.sandboxes_state())? {
        sandbox::dismantle(&paths.sandbox_state(&id))?;
    }
    for id in entries(&paths.sandboxes_root())? {
        if let Ok(record) = read_json::<SandboxRecord>(&paths.sandbox_root(&id).join("record.json"))
            && record.made_cgroup
        {
            hierarchies.group(&record.cgroup).remove()?;
        }
    }
    hierarchies.group(&config.cgroup_root).remove()?;
    unmount_all(paths.state())?;
    remove_dir(paths.state())?;
    remove_file(&config.socket)?;
    Ok(())
}

fn end_containers(paths: &Paths, hierarchies: &Hierarchies) -> anyhow::Result<()> {
    let ids = entries(&paths.containers_root())?;
    for id in &ids {
        if let Ok(record) = read_json::<ContainerRecord>(&paths.container_root(id).join("record.json")) {
            // Only kills: the shim has to see the exit, and then removes the group itself.
            hierarchies.group(&record.cgroup).kill_all()?;
        }
    }
    let deadline = Instant::now() + SHIM_DEADLINE;
    for id in entries(&paths.containers_state())? {
        wait_for_shim(&paths.container_state(&id), deadline)?;
    }
    for id in &ids {
        if let Ok(record) = read_json::<ContainerRecord>(&paths.container_root(id).join("record.json")) {
            hierarchies.group(&record.cgroup).remove()?;
        }
    }
    Ok(())
}

fn wait_for_shim(state: &Path, deadline: Instant) -> anyhow::Result<()> {
    while shim_client::alive(state) {
        anyhow::ensure!(Instant::now() < deadline, "the shim in {} does not end", state.display());
        std::thread::sleep(POLL);
    }
    Ok(())
}
