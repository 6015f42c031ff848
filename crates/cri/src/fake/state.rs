//! Pods, containers and images of the fake runtime, and their CRI views.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io::Write;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use tokio::sync::watch;

use super::Script;
use crate::v1;

/// Which output a log line came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogStream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

#[derive(Default)]
pub(super) struct State {
    pub(super) pods: BTreeMap<String, Pod>,
    pub(super) containers: BTreeMap<String, Container>,
    pub(super) images: BTreeMap<String, Image>,
    pub(super) pod_cidr: Option<Ipv4Addr>,
    created: u32,
    addresses: u32,
}

pub(super) struct Pod {
    pub(super) config: v1::PodSandboxConfig,
    pub(super) runtime_handler: String,
    pub(super) ready: bool,
    pub(super) created_at: i64,
    pub(super) ip: Option<Ipv4Addr>,
}

pub(super) struct Container {
    pub(super) pod: String,
    pub(super) config: v1::ContainerConfig,
    pub(super) script: Script,
    pub(super) image_id: String,
    pub(super) created_at: i64,
    pub(super) started_at: i64,
    pub(super) finished: Option<Finished>,
    /// True once the container has exited.
    pub(super) done: watch::Sender<bool>,
}

pub(super) struct Finished {
    pub(super) at: i64,
    pub(super) code: i32,
    pub(super) reason: String,
    pub(super) message: String,
}

pub(super) struct Image {
    pub(super) tags: BTreeSet<String>,
    pub(super) size: u64,
}

/// Nanoseconds since the epoch, as CRI counts time.
pub(super) fn now() -> i64 {
    let elapsed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(elapsed.as_nanos()).unwrap_or(i64::MAX)
}

/// True if every label that `selector` asks for is there with that value.
pub(super) fn selects(selector: &HashMap<String, String>, labels: &HashMap<String, String>) -> bool {
    selector.iter().all(|(key, value)| labels.get(key) == Some(value))
}

// === impl State ===

impl State {
    /// Ids look like containerd's (64 hexadecimal digits) and sort by creation.
    pub(super) fn new_id(&mut self) -> String {
        self.created += 1;
        format!("{:064x}", self.created)
    }

    /// Pod addresses count up from .2 of the pod CIDR.
    pub(super) fn new_address(&mut self) -> Ipv4Addr {
        let base = self.pod_cidr.unwrap_or(Ipv4Addr::new(10, 244, 0, 0));
        self.addresses += 1;
        Ipv4Addr::from(u32::from(base) + self.addresses + 1)
    }

    pub(super) fn newest_running(&self, container_name: &str) -> Option<String> {
        let running = self.containers.iter().rev().filter(|(_, c)| c.state() == v1::ContainerState::ContainerRunning);
        running.into_iter().find(|(_, c)| c.name() == container_name).map(|(id, _)| id.clone())
    }

    pub(super) fn image_of(&self, reference: &str) -> Option<(&String, &Image)> {
        self.images.iter().find(|(id, image)| *id == reference || image.tags.contains(reference))
    }

    pub(super) fn container_statuses(&self, pod: &str) -> Vec<v1::ContainerStatus> {
        let of_pod = self.containers.iter().filter(|(_, c)| c.pod == pod);
        of_pod.map(|(id, c)| c.status(id, self)).collect()
    }
}

// === impl Pod ===

impl Pod {
    pub(super) fn state(&self) -> i32 {
        let state = if self.ready { v1::PodSandboxState::SandboxReady } else { v1::PodSandboxState::SandboxNotready };
        state.into()
    }

    pub(super) fn status(&self, id: &str) -> v1::PodSandboxStatus {
        let linux = self.config.linux.clone().unwrap_or_default();
        let options = linux.security_context.and_then(|c| c.namespace_options).unwrap_or_default();
        v1::PodSandboxStatus {
            id: id.to_owned(),
            metadata: self.config.metadata.clone(),
            state: self.state(),
            created_at: self.created_at,
            network: Some(v1::PodSandboxNetworkStatus {
                ip: self.ip.map(|ip| ip.to_string()).unwrap_or_default(),
                additional_ips: Vec::new(),
            }),
            linux: Some(v1::LinuxPodSandboxStatus { namespaces: Some(v1::Namespace { options: Some(options) }) }),
            labels: self.config.labels.clone(),
            annotations: self.config.annotations.clone(),
            runtime_handler: self.runtime_handler.clone(),
        }
    }

    pub(super) fn listed(&self, id: &str) -> v1::PodSandbox {
        v1::PodSandbox {
            id: id.to_owned(),
            metadata: self.config.metadata.clone(),
            state: self.state(),
            created_at: self.created_at,
            labels: self.config.labels.clone(),
            annotations: self.config.annotations.clone(),
            runtime_handler: self.runtime_handler.clone(),
        }
    }
}

// === impl Container ===

impl Container {
    pub(super) fn name(&self) -> &str {
        self.config.metadata.as_ref().map_or("", |m| m.name.as_str())
    }

    pub(super) fn state(&self) -> v1::ContainerState {
        match (&self.finished, self.started_at) {
            (Some(_), _) => v1::ContainerState::ContainerExited,
            (None, 0) => v1::ContainerState::ContainerCreated,
            (None, _) => v1::ContainerState::ContainerRunning,
        }
    }

    pub(super) fn status(&self, id: &str, state: &State) -> v1::ContainerStatus {
        let finished = self.finished.as_ref();
        v1::ContainerStatus {
            id: id.to_owned(),
            metadata: self.config.metadata.clone(),
            state: self.state().into(),
            created_at: self.created_at,
            started_at: self.started_at,
            finished_at: finished.map_or(0, |f| f.at),
            exit_code: finished.map_or(0, |f| f.code),
            image: self.config.image.clone(),
            image_ref: self.image_id.clone(),
            image_id: self.image_id.clone(),
            reason: finished.map(|f| f.reason.clone()).unwrap_or_default(),
            message: finished.map(|f| f.message.clone()).unwrap_or_default(),
            labels: self.config.labels.clone(),
            annotations: self.config.annotations.clone(),
            mounts: self.config.mounts.clone(),
            log_path: self.log_path(state).map(|p| p.display().to_string()).unwrap_or_default(),
            resources: self
                .config
                .linux
                .as_ref()
                .map(|linux| v1::ContainerResources { linux: linux.resources.clone(), windows: None }),
            user: None,
            stop_signal: self.config.stop_signal,
        }
    }

    pub(super) fn listed(&self, id: &str) -> v1::Container {
        v1::Container {
            id: id.to_owned(),
            pod_sandbox_id: self.pod.clone(),
            metadata: self.config.metadata.clone(),
            image: self.config.image.clone(),
            image_ref: self.image_id.clone(),
            image_id: self.image_id.clone(),
            state: self.state().into(),
            created_at: self.created_at,
            labels: self.config.labels.clone(),
            annotations: self.config.annotations.clone(),
        }
    }

    fn log_path(&self, state: &State) -> Option<PathBuf> {
        let directory = &state.pods.get(&self.pod)?.config.log_directory;
        if directory.is_empty() || self.config.log_path.is_empty() {
            return None;
        }
        Some(PathBuf::from(directory).join(&self.config.log_path))
    }

    /// Writes the scripted lines in CRI log format, where the pod asked for a log.
    pub(super) fn write_logs(&self, state: &State) -> std::io::Result<()> {
        let Some(path) = self.log_path(state) else {
            return Ok(());
        };
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent)?;
        }
        let mut file = std::fs::OpenOptions::new().create(true).append(true).open(path)?;
        for (stream, line) in &self.script.logs {
            let stream = match stream {
                LogStream::Stdout => "stdout",
                LogStream::Stderr => "stderr",
            };
            writeln!(file, "{:.9} {stream} F {line}", jiff::Timestamp::now())?;
        }
        Ok(())
    }
}
