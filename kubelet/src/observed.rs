//! What the runtime says about one pod: the observed half of every decision. Data only, no I/O.

use k8s_openapi::api::core::v1::ResourceRequirements;
use skiff_cri::v1;

/// A pod as the runtime knows it.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct ObservedPod {
    /// Sandboxes, newest first.
    pub(crate) sandboxes: Vec<ObservedSandbox>,
    /// Containers of all sandboxes, newest first.
    pub(crate) containers: Vec<ObservedContainer>,
}

/// One pod sandbox.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct ObservedSandbox {
    pub(crate) id: String,
    pub(crate) attempt: u32,
    /// Nanoseconds since the epoch.
    pub(crate) created_at: i64,
    pub(crate) ready: bool,
    pub(crate) host_network: bool,
    /// Addresses, the primary one first; empty for the host's network.
    pub(crate) ips: Vec<String>,
}

/// State of a container.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum ContainerState {
    Created,
    Running,
    Exited,
    #[default]
    Unknown,
}

/// One run of a container.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct ObservedContainer {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) sandbox_id: String,
    pub(crate) state: ContainerState,
    /// Nanoseconds since the epoch, as the two below.
    pub(crate) created_at: i64,
    pub(crate) started_at: i64,
    pub(crate) finished_at: i64,
    pub(crate) exit_code: i32,
    pub(crate) reason: String,
    pub(crate) message: String,
    /// The image as the user wrote it.
    pub(crate) image: String,
    /// What the status shows as imageID.
    pub(crate) image_ref: String,
    /// Hash of the container's spec when it was created.
    pub(crate) hash: u64,
    pub(crate) restart_count: u32,
    pub(crate) log_path: String,
    pub(crate) resources: Option<v1::LinuxContainerResources>,
    /// What it was created with; `None` if that is not known.
    pub(crate) created_with: Option<ResourceRequirements>,
    pub(crate) user: Option<v1::LinuxContainerUser>,
}

// === impl ObservedPod ===

impl ObservedPod {
    /// The newest run of a container.
    pub(crate) fn container(&self, name: &str) -> Option<&ObservedContainer> {
        self.containers.iter().find(|c| c.name == name)
    }

    /// Containers of the newest sandbox.
    pub(crate) fn active_containers(&self) -> impl Iterator<Item = &ObservedContainer> {
        let sandbox = self.sandboxes.first().map(|s| s.id.as_str());
        self.containers.iter().filter(move |c| Some(c.sandbox_id.as_str()) == sandbox)
    }

    /// Containers that run or may run.
    pub(crate) fn running_containers(&self) -> impl Iterator<Item = &ObservedContainer> {
        self.containers.iter().filter(|c| matches!(c.state, ContainerState::Running | ContainerState::Unknown))
    }

    /// Addresses of the pod: those of the newest sandbox, if it is up.
    pub(crate) fn ips(&self) -> &[String] {
        match self.sandboxes.first() {
            Some(sandbox) if sandbox.ready => &sandbox.ips,
            _ => &[],
        }
    }

    /// Nothing of the pod is left in the runtime.
    pub(crate) fn is_gone(&self) -> bool {
        self.sandboxes.is_empty() && self.containers.is_empty()
    }

    /// Puts newest first. Sandboxes go by attempt, then by creation.
    pub(crate) fn sort(&mut self) {
        self.sandboxes.sort_by(|a, b| (b.attempt, b.created_at, &a.id).cmp(&(a.attempt, a.created_at, &b.id)));
        self.containers.sort_by(|a, b| (b.created_at, &a.id).cmp(&(a.created_at, &b.id)));
    }
}

impl From<v1::ContainerState> for ContainerState {
    fn from(state: v1::ContainerState) -> Self {
        match state {
            v1::ContainerState::ContainerCreated => Self::Created,
            v1::ContainerState::ContainerRunning => Self::Running,
            v1::ContainerState::ContainerExited => Self::Exited,
            v1::ContainerState::ContainerUnknown => Self::Unknown,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn newest_comes_first_and_only_its_containers_are_active() {
        let sandbox = |id: &str, attempt, ready| ObservedSandbox {
            id: id.into(),
            attempt,
            ready,
            ips: vec![format!("10.0.0.{attempt}")],
            ..Default::default()
        };
        let container = |id: &str, sandbox: &str, created_at| ObservedContainer {
            id: id.into(),
            name: "c".into(),
            sandbox_id: sandbox.into(),
            created_at,
            ..Default::default()
        };
        let mut pod = ObservedPod {
            sandboxes: vec![sandbox("s0", 0, false), sandbox("s1", 1, true)],
            containers: vec![container("c0", "s0", 5), container("c1", "s1", 9)],
        };
        pod.sort();
        assert_eq!(pod.sandboxes[0].id, "s1");
        assert_eq!(pod.container("c").map(|c| c.id.as_str()), Some("c1"));
        assert_eq!(pod.active_containers().count(), 1);
        assert_eq!(pod.ips(), ["10.0.0.1"]);
        pod.sandboxes[0].ready = false;
        assert!(pod.ips().is_empty());
    }
}
