//! Taking over what an earlier run of the runtime left, after a restart or a reboot.

use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{Engine, blocking, now};
use crate::container::{Container, Ended, UNKNOWN_CODE};
use crate::files::{entries, read_json, remove_dir};
use crate::mounts::{mounts_below, unmount_all};
use crate::sandbox::{self, Sandbox};
use crate::shim::protocol::{Exit, Process, STARTED_FILE};
use crate::shim_client;

/// How long a shim may take to finish a start that this runtime did not see the end of.
const ADOPT_DEADLINE: Duration = Duration::from_secs(30);
const ADOPT_PAUSE: Duration = Duration::from_millis(20);

impl Engine {
    pub(super) async fn recover(self: &Arc<Self>) -> io::Result<()> {
        let rebooted = self.note_boot()?;
        self.recover_sandboxes(rebooted).await?;
        self.recover_containers(rebooted).await?;
        self.clean_strangers().await
    }

    /// True if the machine was started since the last run.
    fn note_boot(&self) -> io::Result<bool> {
        let current = std::fs::read_to_string("/proc/sys/kernel/random/boot_id")?;
        let path = self.paths.boot_id();
        let rebooted = std::fs::read_to_string(&path).is_ok_and(|last| last != current);
        crate::files::write_atomic(&path, current.as_bytes())?;
        Ok(rebooted)
    }

    async fn recover_sandboxes(self: &Arc<Self>, rebooted: bool) -> io::Result<()> {
        for id in entries(&self.paths.sandboxes_root())? {
            let Ok(sandbox) = Sandbox::load(&self.paths, &id) else {
                // Torn while it was made: nobody was told of it.
                remove_dir(&self.paths.sandbox_root(&id))?;
                continue;
            };
            if sandbox.ready() && (rebooted || !sandbox.intact()) {
                tracing::info!(sandbox = id, "the namespaces of a sandbox are gone");
                sandbox.update(|record| {
                    record.ready = false;
                    record.ip.clear();
                })?;
            }
            self.sandboxes.lock().insert(id, Arc::new(sandbox));
        }
        Ok(())
    }

    async fn recover_containers(self: &Arc<Self>, rebooted: bool) -> io::Result<()> {
        for id in entries(&self.paths.containers_root())? {
            let Ok(container) = Container::load(&self.paths, &id, |layers| self.images.hold(layers)) else {
                let (engine, torn) = (Arc::clone(self), id.clone());
                blocking(move || engine.erase(&torn)).await?;
                continue;
            };
            let container = Arc::new(container);
            self.containers.lock().insert(id, Arc::clone(&container));
            self.recover_container(&container, rebooted).await?;
        }
        Ok(())
    }

    async fn recover_container(self: &Arc<Self>, container: &Arc<Container>, rebooted: bool) -> io::Result<()> {
        if container.record().ended.is_some() {
            return Ok(());
        }
        let state = container.state_dir();
        if !rebooted && shim_client::alive(&state) {
            if container.record().started_at == 0 {
                self.adopt(container).await?;
            }
            // Also right if the end is written down already: the watcher reads it.
            self.watch(container);
            return Ok(());
        }
        if let Ok(exit) = read_json::<Exit>(&container.exit_file()) {
            if container.record().started_at == 0 {
                self.adopt(container).await?;
            }
            self.conclude(container, exit.into()).await;
            return Ok(());
        }
        if container.record().started_at == 0 && !mounts_below(&state)?.is_empty() {
            // Created and never started; it still can be.
            return Ok(());
        }
        let ended = Ended {
            code: UNKNOWN_CODE,
            at: now(),
            reason: "Unknown".to_owned(),
            message: "the container was lost with a restart of the node".to_owned(),
        };
        self.conclude(container, ended).await;
        Ok(())
    }

    /// Learns of a container that was started while this runtime was killed, before it wrote that down.
    async fn adopt(&self, container: &Container) -> io::Result<()> {
        let started = container.state_dir().join(STARTED_FILE);
        let deadline = Instant::now() + ADOPT_DEADLINE;
        // The shim may be right in the middle of the start.
        let process: Process = loop {
            match read_json(&started) {
                Ok(process) => break process,
                Err(error) if Instant::now() > deadline => return Err(error),
                Err(_) if !shim_client::alive(&container.state_dir()) => return Ok(()),
                Err(_) => tokio::time::sleep(ADOPT_PAUSE).await,
            }
        };
        container.update(|record| {
            record.started_at = process.started_at;
            record.pid = process.pid;
        })
    }

    /// Removes state of pods and containers that no record mentions: what a crash left half made.
    async fn clean_strangers(self: &Arc<Self>) -> io::Result<()> {
        let known: BTreeSet<String> = self.containers().iter().map(|container| container.id.clone()).collect();
        for id in entries(&self.paths.containers_state())?.into_iter().filter(|id| !known.contains(id)) {
            let engine = Arc::clone(self);
            blocking(move || engine.erase(&id)).await?;
        }
        let ready: BTreeSet<String> =
            self.sandboxes().iter().filter(|sandbox| sandbox.ready()).map(|sandbox| sandbox.id.clone()).collect();
        for id in entries(&self.paths.sandboxes_state())?.into_iter().filter(|id| !ready.contains(id)) {
            let folder = self.paths.sandbox_state(&id);
            blocking(move || sandbox::dismantle(&folder)).await?;
        }
        if let Ok(network) = &self.network {
            let attached = network.attached().map_err(io::Error::other)?;
            for id in attached.into_iter().filter(|id| !ready.contains(id)) {
                network.detach(&id).await.map_err(io::Error::other)?;
            }
        }
        let execs = self.paths.execs();
        blocking(move || {
            unmount_all(&execs)?;
            entries(&execs)?.iter().try_for_each(|name| remove_dir(&execs.join(name)))
        })
        .await?;
        let images = Arc::clone(&self.images);
        blocking(move || images.collect()).await
    }
}
