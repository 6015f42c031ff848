//! One container: its record on disk, its state, and its CRI views.

use std::io;
use std::path::PathBuf;

use parking_lot::Mutex;
use prost::Message;
use serde::{Deserialize, Serialize};
use skiff_cri::v1::{self, ContainerState};
use tokio::sync::watch;

use crate::config::Paths;
use crate::files::{create_private_dir, read_json, write_atomic, write_json};
use crate::image::Hold;
use crate::oci::user::User;
use crate::shim::protocol::Exit;

const RECORD_FILE: &str = "record.json";
const CONFIG_FILE: &str = "config.pb";

/// Exit code of a container that could not be started, as containerd has it.
pub(crate) const START_ERROR_CODE: i32 = 128;
/// Exit code when nobody knows how the container ended, for example after a reboot.
pub(crate) const UNKNOWN_CODE: i32 = 255;

/// What is written down of a container.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct ContainerRecord {
    pub(crate) id: String,
    pub(crate) sandbox_id: String,
    pub(crate) image_id: String,
    /// Layers that the root is made of, base first.
    pub(crate) layers: Vec<String>,
    pub(crate) user: User,
    pub(crate) cgroup: String,
    /// Signal number that asks the container to stop.
    pub(crate) stop_signal: i32,
    /// Nanoseconds since the epoch.
    pub(crate) created_at: i64,
    /// Zero until it was started.
    pub(crate) started_at: i64,
    pub(crate) pid: i32,
    pub(crate) ended: Option<Ended>,
}

/// How a container ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Ended {
    pub(crate) code: i32,
    pub(crate) at: i64,
    /// Set for an end that the exit code does not explain.
    pub(crate) reason: String,
    pub(crate) message: String,
}

/// A container. The configuration never changes but for its resources.
pub(crate) struct Container {
    pub(crate) id: String,
    pub(crate) sandbox_id: String,
    paths: Paths,
    config: Mutex<v1::ContainerConfig>,
    record: Mutex<ContainerRecord>,
    /// Serialises start, stop and removal.
    pub(crate) operation: tokio::sync::Mutex<()>,
    /// True once the container has ended.
    pub(crate) ended: watch::Sender<bool>,
    _layers: Hold,
}

// === impl Container ===

impl Container {
    /// Writes down a new container.
    pub(crate) fn create(
        paths: &Paths,
        config: v1::ContainerConfig,
        record: ContainerRecord,
        layers: Hold,
    ) -> io::Result<Self> {
        let folder = paths.container_root(&record.id);
        create_private_dir(&folder)?;
        write_atomic(&folder.join(CONFIG_FILE), &config.encode_to_vec())?;
        write_json(&folder.join(RECORD_FILE), &record)?;
        Ok(Self::new(paths, config, record, layers))
    }

    /// Reads a container back; `hold` keeps its layers.
    pub(crate) fn load(paths: &Paths, id: &str, hold: impl FnOnce(&[String]) -> Hold) -> io::Result<Self> {
        let folder = paths.container_root(id);
        let record: ContainerRecord = read_json(&folder.join(RECORD_FILE))?;
        let config = v1::ContainerConfig::decode(std::fs::read(folder.join(CONFIG_FILE))?.as_slice())?;
        let layers = hold(&record.layers);
        Ok(Self::new(paths, config, record, layers))
    }

    fn new(paths: &Paths, config: v1::ContainerConfig, record: ContainerRecord, layers: Hold) -> Self {
        Self {
            id: record.id.clone(),
            sandbox_id: record.sandbox_id.clone(),
            paths: paths.clone(),
            config: Mutex::new(config),
            ended: watch::Sender::new(record.ended.is_some()),
            record: Mutex::new(record),
            operation: tokio::sync::Mutex::new(()),
            _layers: layers,
        }
    }

    pub(crate) fn record(&self) -> ContainerRecord {
        self.record.lock().clone()
    }

    pub(crate) fn config(&self) -> v1::ContainerConfig {
        self.config.lock().clone()
    }

    /// Changes the record, on disk first.
    pub(crate) fn update(&self, change: impl FnOnce(&mut ContainerRecord)) -> io::Result<()> {
        let mut record = self.record.lock();
        let mut changed = record.clone();
        change(&mut changed);
        write_json(&self.paths.container_root(&self.id).join(RECORD_FILE), &changed)?;
        *record = changed;
        Ok(())
    }

    /// Changes the resources in the configuration, on disk first.
    pub(crate) fn set_resources(&self, resources: v1::LinuxContainerResources) -> io::Result<()> {
        let mut config = self.config.lock();
        let mut changed = config.clone();
        changed.linux.get_or_insert_default().resources = Some(resources);
        write_atomic(&self.paths.container_root(&self.id).join(CONFIG_FILE), &changed.encode_to_vec())?;
        *config = changed;
        Ok(())
    }

    /// Where the shim writes the exit.
    pub(crate) fn exit_file(&self) -> PathBuf {
        self.paths.container_root(&self.id).join("exit.json")
    }

    pub(crate) fn state_dir(&self) -> PathBuf {
        self.paths.container_state(&self.id)
    }

    pub(crate) fn state(&self) -> ContainerState {
        self.record.lock().state()
    }

    pub(crate) fn running(&self) -> bool {
        self.state() == ContainerState::ContainerRunning
    }

    /// Notes the end, unless one is known already. True if this is news.
    pub(crate) fn end(&self, ended: Ended) -> io::Result<bool> {
        if self.record.lock().ended.is_some() {
            return Ok(false);
        }
        let outcome = self.update(|record| record.ended = Some(ended.clone()));
        if outcome.is_err() {
            // The state in memory has to move on even with a full disk; the exit file still tells after a restart.
            self.record.lock().ended = Some(ended);
        }
        self.ended.send_replace(true);
        outcome.map(|()| true)
    }

    /// Waits until the container has ended.
    pub(crate) async fn wait(&self) {
        // The sender lives in self, so it cannot be gone.
        let _ = self.ended.subscribe().wait_for(|ended| *ended).await;
    }

    /// CRI's full view. `log_directory` is the pod's.
    pub(crate) fn status(&self, log_directory: &str) -> v1::ContainerStatus {
        let (config, record) = (self.config(), self.record());
        let state = record.state();
        let ended = record.ended.as_ref();
        let groups = record.user.groups.iter().map(|gid| i64::from(*gid)).collect();
        let user = v1::LinuxContainerUser {
            uid: record.user.uid.into(),
            gid: record.user.gid.into(),
            supplemental_groups: groups,
        };
        v1::ContainerStatus {
            id: record.id.clone(),
            metadata: config.metadata.clone(),
            state: state.into(),
            created_at: record.created_at,
            started_at: record.started_at,
            finished_at: ended.map_or(0, |ended| ended.at),
            exit_code: ended.map_or(0, |ended| ended.code),
            reason: ended.map(Ended::reason).unwrap_or_default(),
            message: ended.map(|ended| ended.message.clone()).unwrap_or_default(),
            log_path: log_path(log_directory, &config).map(|p| p.display().to_string()).unwrap_or_default(),
            resources: config
                .linux
                .as_ref()
                .map(|linux| v1::ContainerResources { linux: linux.resources.clone(), windows: None }),
            image: config.image,
            image_ref: record.image_id.clone(),
            image_id: record.image_id,
            labels: config.labels,
            annotations: config.annotations,
            mounts: config.mounts,
            user: Some(v1::ContainerUser { linux: Some(user) }),
            stop_signal: config.stop_signal,
        }
    }

    /// CRI's short view.
    pub(crate) fn listed(&self) -> v1::Container {
        let (config, record) = (self.config(), self.record());
        v1::Container {
            state: record.state().into(),
            id: record.id,
            pod_sandbox_id: record.sandbox_id,
            metadata: config.metadata,
            image: config.image,
            image_ref: record.image_id.clone(),
            image_id: record.image_id,
            created_at: record.created_at,
            labels: config.labels,
            annotations: config.annotations,
        }
    }
}

/// Where the log of a container goes, if it has one.
pub(crate) fn log_path(directory: &str, config: &v1::ContainerConfig) -> Option<PathBuf> {
    let wanted = !directory.is_empty() && !config.log_path.is_empty();
    wanted.then(|| PathBuf::from(directory).join(&config.log_path))
}

// === impl ContainerRecord ===

impl ContainerRecord {
    pub(crate) fn state(&self) -> ContainerState {
        match (&self.ended, self.started_at) {
            (Some(_), _) => ContainerState::ContainerExited,
            (None, 0) => ContainerState::ContainerCreated,
            (None, _) => ContainerState::ContainerRunning,
        }
    }
}

// === impl Ended ===

impl Ended {
    fn reason(&self) -> String {
        match (self.reason.as_str(), self.code) {
            ("", 0) => "Completed".to_owned(),
            ("", _) => "Error".to_owned(),
            (reason, _) => reason.to_owned(),
        }
    }
}

impl From<Exit> for Ended {
    fn from(exit: Exit) -> Self {
        let reason = if exit.oom_killed { "OOMKilled" } else { "" };
        Self { code: exit.code, at: exit.finished_at, reason: reason.to_owned(), message: String::new() }
    }
}
