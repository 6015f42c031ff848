//! Creating, starting, stopping and removing containers.

use std::io;
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use oci_spec::image::Config as ImageConfig;
use skiff_cri::v1::{self, ContainerEventType, ContainerState, NamespaceMode};
use tokio::time::timeout;
use tonic::Status;

use super::{Engine, blocking, new_id, now, status};
use crate::cgroup::Limits;
use crate::container::{Container, ContainerRecord, Ended, START_ERROR_CODE, log_path};
use crate::files::{at, create_private_dir, read_json, remove_dir, write_json};
use crate::image::{Hold, ImageRecord};
use crate::mounts::{mount_overlay, unmount_all};
use crate::oci::{rootfs, spec, user};
use crate::sandbox::Sandbox;
use crate::shim::protocol::{Exit, Launch, Request, Response};
use crate::shim_client;
use crate::signal;

/// How long a container may take to disappear after SIGKILL.
const KILL_DEADLINE: Duration = Duration::from_secs(30);
/// Pauses between attempts to reach a shim that lives but does not accept connections yet.
const RECONNECT_PAUSE: Duration = Duration::from_millis(50);
const SIGKILL_CODE: i32 = 137;

impl Engine {
    /// Prepares a container; no process runs yet.
    pub(crate) async fn create(
        self: &Arc<Self>,
        sandbox_id: &str,
        config: v1::ContainerConfig,
    ) -> Result<String, Status> {
        let sandbox = self.sandbox(sandbox_id)?;
        let _guard = sandbox.operation.lock().await;
        if !sandbox.ready() {
            return Err(Status::failed_precondition(format!("sandbox container {sandbox_id:?} is not running")));
        }
        let metadata =
            config.metadata.clone().ok_or_else(|| Status::invalid_argument("container metadata is required"))?;
        let of_pod = self.containers_of(&sandbox.id);
        if of_pod.iter().any(|known| known.config().metadata.as_ref() == Some(&metadata)) {
            let text = format!("container {} attempt {} exists", metadata.name, metadata.attempt);
            return Err(Status::already_exists(text));
        }
        let asked = config.image.as_ref().map(|image| image.image.clone()).unwrap_or_default();
        let image = self.images.find(&asked).ok_or_else(|| Status::not_found(format!("image {asked:?}: not found")))?;
        let id = new_id();
        let target_pid = self.target_pid(&config)?;
        let (engine, pod, new_container) = (Arc::clone(self), Arc::clone(&sandbox), id.clone());
        let built = blocking(move || engine.build(&new_container, &pod, &image, config, target_pid));
        let container = match built.await {
            Ok(container) => Arc::new(container),
            Err(error) => {
                let (engine, id) = (Arc::clone(self), id.clone());
                let _ = blocking(move || engine.erase(&id)).await;
                return Err(status("failed to create the container")(error));
            }
        };
        self.containers.lock().insert(id.clone(), container);
        self.emit(&id, sandbox_id, ContainerEventType::ContainerCreatedEvent);
        Ok(id)
    }

    /// The process whose pid namespace the container joins, if it asks for that.
    fn target_pid(&self, config: &v1::ContainerConfig) -> Result<Option<i32>, Status> {
        let options = spec::security_context(config).namespace_options.unwrap_or_default();
        if options.pid() != NamespaceMode::Target {
            return Ok(None);
        }
        let target = self.container(&options.target_id)?;
        if target.running() {
            Ok(Some(target.record().pid))
        } else {
            Err(Status::failed_precondition(format!("target container {:?} is not running", options.target_id)))
        }
    }

    /// Mounts the root, writes the bundle and the record. Blocks.
    fn build(
        &self,
        id: &str,
        sandbox: &Sandbox,
        image: &ImageRecord,
        mut config: v1::ContainerConfig,
        target_pid: Option<i32>,
    ) -> io::Result<Container> {
        let held = self.images.hold(&image.layers);
        let image_config = self.images.config(image).map_err(io::Error::other)?;
        let image_config: ImageConfig = image_config.config().clone().unwrap_or_default();
        let (state, root) = (self.paths.container_state(id), self.paths.container_root(id));
        let rootfs = state.join("rootfs");
        let (upper, work) = (root.join("upper"), root.join("work"));
        create_private_dir(&root)?;
        for folder in [&rootfs, &upper, &work] {
            std::fs::create_dir_all(folder).map_err(at("create", folder))?;
        }
        let (layers, held_empty) = if image.layers.is_empty() {
            let (empty, hold) = self.empty_layer()?;
            (vec![empty], Some(hold))
        } else {
            (image.layers.clone(), None)
        };
        mount_overlay(&self.images.layers(), &layers, &upper, &work, &rootfs)?;
        let volumes = self.mount_image_volumes(&state, &mut config)?;

        let handle = rootfs::open_root(&rootfs)?;
        let context = spec::security_context(&config);
        let user = user::resolve(&handle, &context, image_config.user().as_deref().unwrap_or_default())?;
        let working_dir = spec::working_dir(&config, &image_config);
        rootfs::create_dirs_in(handle.as_fd(), Path::new(&working_dir))
            .map_err(at("create", Path::new(&working_dir)))?;
        drop(handle);

        let cgroup = format!("{}/{id}", sandbox.record().cgroup);
        let input = spec::Input {
            config: &config,
            mounts: &volumes.mounts,
            image: &image_config,
            pod: &sandbox.view(),
            user: &user,
            rootfs: &rootfs,
            cgroup: &cgroup,
            target_pid,
            unified: self.hierarchies.unified(),
            v1_cgroups: &self.hierarchies.v1_folders(&cgroup),
        };
        write_json(&state.join("config.json"), &spec::build(&input)?)?;
        let used = [layers.as_slice(), &volumes.layers].concat();
        let hold = self.images.hold(&used);
        drop((held, held_empty, volumes));
        let record = ContainerRecord {
            id: id.to_owned(),
            sandbox_id: sandbox.id.clone(),
            image_id: image.id.clone(),
            layers: used,
            user,
            cgroup,
            stop_signal: signal::stop_signal(config.stop_signal(), image_config.stop_signal().as_deref()),
            created_at: now(),
            ..ContainerRecord::default()
        };
        Container::create(&self.paths, config, record, hold)
    }

    /// A layer without anything, for where overlayfs wants one more than there are.
    pub(super) fn empty_layer(&self) -> io::Result<(String, Hold)> {
        let name = "empty".to_owned();
        // Held first: it is collected like any other.
        let hold = self.images.hold(std::slice::from_ref(&name));
        let folder = self.images.layers().join(&name);
        std::fs::create_dir_all(&folder).map_err(at("create", &folder))?;
        Ok((name, hold))
    }

    /// Runs a created container. If that fails the container counts as ended, with upstream's code 128.
    pub(crate) async fn start(self: &Arc<Self>, container: &Arc<Container>) -> Result<(), Status> {
        let _guard = container.operation.lock().await;
        if container.state() != ContainerState::ContainerCreated {
            return Err(Status::failed_precondition(format!(
                "container {:?} is in state {}",
                container.id,
                container.state().as_str_name()
            )));
        }
        let sandbox = self.sandbox(&container.sandbox_id)?;
        if !sandbox.ready() {
            return Err(Status::failed_precondition(format!("sandbox container {:?} is not running", sandbox.id)));
        }
        let (config, state) = (container.config(), container.state_dir());
        let launch = Launch {
            id: container.id.clone(),
            bundle: state.clone(),
            oci_root: self.paths.oci(),
            exit_file: container.exit_file(),
            log_path: log_path(&sandbox.config.log_directory, &config),
            cgroup: container.record().cgroup,
            tty: config.tty,
            stdin: config.stdin,
            stdin_once: config.stdin_once,
        };
        match shim_client::start(&self.shim_program, &state, &launch).await {
            Ok(process) => {
                let change = |record: &mut ContainerRecord| {
                    record.started_at = process.started_at;
                    record.pid = process.pid;
                };
                container.update(change).map_err(status("failed to record the start"))?;
                self.emit(&container.id, &container.sandbox_id, ContainerEventType::ContainerStartedEvent);
                self.watch(container);
                Ok(())
            }
            Err(error) => {
                let text = format!("failed to start container {:?}: {error}", container.id);
                let ended =
                    Ended { code: START_ERROR_CODE, at: now(), reason: "StartError".to_owned(), message: text.clone() };
                self.conclude(container, ended).await;
                Err(Status::unknown(text))
            }
        }
    }

    /// Follows a running container to its end, in the background.
    pub(super) fn watch(self: &Arc<Self>, container: &Arc<Container>) {
        let (engine, container) = (Arc::clone(self), Arc::clone(container));
        tokio::spawn(async move {
            let ended = engine.await_end(&container).await;
            engine.conclude(&container, ended).await;
        });
    }

    /// Waits for the shim's word; if the shim is gone, for what it wrote down.
    async fn await_end(&self, container: &Container) -> Ended {
        let state = container.state_dir();
        loop {
            let waiting =
                async { shim_client::response(&mut shim_client::connect(&state, &Request::Wait).await?).await };
            if let Ok(Response::Exit(exit)) = waiting.await {
                return exit.into();
            }
            if let Ok(exit) = read_json::<Exit>(&container.exit_file()) {
                return exit.into();
            }
            if !shim_client::alive(&state) {
                break;
            }
            tokio::time::sleep(RECONNECT_PAUSE).await;
        }
        // Between the last read and the death of the shim it may have finished properly.
        if let Ok(exit) = read_json::<Exit>(&container.exit_file()) {
            return exit.into();
        }
        let (hierarchies, cgroup) = (self.hierarchies.clone(), container.record().cgroup);
        let killed = blocking(move || hierarchies.group(&cgroup).remove()).await;
        if let Err(error) = killed {
            tracing::warn!(container = container.id, %error, "a container without a shim could not be ended");
        }
        Ended {
            code: SIGKILL_CODE,
            at: now(),
            reason: "Unknown".to_owned(),
            message: "the container's shim died".to_owned(),
        }
    }

    /// Notes the end of a container and frees what only a running one needs.
    pub(super) async fn conclude(self: &Arc<Self>, container: &Arc<Container>, ended: Ended) {
        let state = container.state_dir();
        let freed = blocking(move || unmount_all(&state)).await;
        if let Err(error) = freed {
            tracing::warn!(container = container.id, %error, "the root of an ended container stays mounted");
        }
        match container.end(ended) {
            Ok(true) => {
                self.emit(&container.id, &container.sandbox_id, ContainerEventType::ContainerStoppedEvent);
            }
            Ok(false) => {}
            Err(error) => {
                tracing::error!(container = container.id, %error, "the end of a container is not recorded")
            }
        }
    }

    /// Asks a container to stop, and kills it after `grace` seconds. Not running is fine.
    pub(crate) async fn stop(self: &Arc<Self>, container: &Arc<Container>, grace: i64) -> Result<(), Status> {
        // A start that is under way comes first. The lock is not kept: another stop may be less patient.
        drop(container.operation.lock().await);
        self.stop_running(container, grace).await
    }

    async fn stop_running(self: &Arc<Self>, container: &Arc<Container>, grace: i64) -> Result<(), Status> {
        if !container.running() {
            return Ok(());
        }
        let grace = Duration::from_secs(u64::try_from(grace).unwrap_or(0));
        if !grace.is_zero() {
            let signal = container.record().stop_signal;
            self.signal(container, signal).await?;
            if timeout(grace, container.wait()).await.is_ok() {
                return Ok(());
            }
        }
        self.signal(container, signal::SIGKILL).await?;
        timeout(KILL_DEADLINE, container.wait())
            .await
            .map_err(|_| Status::deadline_exceeded(format!("container {:?} survives SIGKILL", container.id)))
    }

    async fn signal(&self, container: &Arc<Container>, signal: i32) -> Result<(), Status> {
        let outcome = shim_client::call(&container.state_dir(), &Request::Kill { signal }).await;
        match outcome {
            // Its watcher will notice that the shim is gone, or already has.
            Err(_) if !shim_client::alive(&container.state_dir()) => Ok(()),
            other => other.map_err(status("failed to signal the container")),
        }
    }

    /// Forgets a container, stopping it first if need be.
    pub(crate) async fn remove(self: &Arc<Self>, container: &Arc<Container>) -> Result<(), Status> {
        let _guard = container.operation.lock().await;
        self.stop_running(container, 0).await?;
        let (engine, id) = (Arc::clone(self), container.id.clone());
        blocking(move || engine.erase(&id)).await.map_err(status("failed to remove the container"))?;
        let removed = self.containers.lock().remove(&container.id);
        if removed.is_some() {
            self.emit(&container.id, &container.sandbox_id, ContainerEventType::ContainerDeletedEvent);
        }
        Ok(())
    }

    /// Removes mounts and folders of a container that does not run. Blocks. Nothing there is fine.
    pub(super) fn erase(&self, id: &str) -> io::Result<()> {
        let state = self.paths.container_state(id);
        unmount_all(&state)?;
        remove_dir(&state)?;
        remove_dir(&self.paths.oci().join(id))?;
        // The record goes last: without it nobody would look for the rest.
        remove_dir(&self.paths.container_root(id))
    }

    /// Changes the limits of a container.
    pub(crate) async fn update_resources(
        &self,
        container: &Arc<Container>,
        asked: v1::LinuxContainerResources,
    ) -> Result<(), Status> {
        let _guard = container.operation.lock().await;
        if !container.running() {
            return Err(Status::failed_precondition(format!("container {:?} is not running", container.id)));
        }
        let (limits, hierarchies, cgroup) = (limits_of(&asked), self.hierarchies.clone(), container.record().cgroup);
        blocking(move || hierarchies.group(&cgroup).update(&limits))
            .await
            .map_err(status("failed to update the limits"))?;
        let merged = merged(container.config().linux.and_then(|l| l.resources).unwrap_or_default(), asked);
        container.set_resources(merged).map_err(status("failed to record the limits"))
    }
}

fn limits_of(asked: &v1::LinuxContainerResources) -> Limits {
    let text = |value: &str| (!value.is_empty()).then(|| value.to_owned());
    let positive = |value: i64| u64::try_from(value).ok().filter(|value| *value > 0);
    Limits {
        cpu_shares: positive(asked.cpu_shares),
        cpu_quota: (asked.cpu_quota != 0).then_some(asked.cpu_quota),
        cpu_period: positive(asked.cpu_period),
        memory: (asked.memory_limit_in_bytes != 0).then_some(asked.memory_limit_in_bytes),
        memory_swap: (asked.memory_swap_limit_in_bytes != 0).then_some(asked.memory_swap_limit_in_bytes),
        cpuset_cpus: text(&asked.cpuset_cpus),
        cpuset_mems: text(&asked.cpuset_mems),
        unified: asked.unified.iter().map(|(name, value)| (name.clone(), value.clone())).collect(),
    }
}

/// The resources after an update: what it does not mention stays.
fn merged(mut old: v1::LinuxContainerResources, new: v1::LinuxContainerResources) -> v1::LinuxContainerResources {
    let number = |old: &mut i64, new: i64| {
        if new != 0 {
            *old = new;
        }
    };
    number(&mut old.cpu_period, new.cpu_period);
    number(&mut old.cpu_quota, new.cpu_quota);
    number(&mut old.cpu_shares, new.cpu_shares);
    number(&mut old.memory_limit_in_bytes, new.memory_limit_in_bytes);
    number(&mut old.memory_swap_limit_in_bytes, new.memory_swap_limit_in_bytes);
    number(&mut old.oom_score_adj, new.oom_score_adj);
    if !new.cpuset_cpus.is_empty() {
        old.cpuset_cpus = new.cpuset_cpus;
    }
    if !new.cpuset_mems.is_empty() {
        old.cpuset_mems = new.cpuset_mems;
    }
    old.unified.extend(new.unified);
    old
}
