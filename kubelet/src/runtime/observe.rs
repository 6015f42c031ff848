//! Looking at one pod: sandboxes, containers and their states, put together from several CRI calls.

use std::collections::HashMap;

use futures::future::try_join_all;
use skiff_cri::v1;

use super::{REQUEST_TIMEOUT, Result, Runtime, RuntimeError, call, termination};
use crate::labels::{CONTAINER_NAME, POD_UID, remembered};
use crate::observed::{ContainerState, ObservedContainer, ObservedPod, ObservedSandbox};

impl Runtime {
    /// The present state of everything that belongs to the pod with this UID.
    pub(crate) async fn observe(&self, uid: &str) -> Result<ObservedPod> {
        let (sandboxes, containers) = tokio::try_join!(self.sandboxes_of(uid), self.containers_of(uid))?;
        let mut pod = ObservedPod {
            sandboxes: try_join_all(sandboxes.iter().map(|s| self.observe_sandbox(s)))
                .await?
                .into_iter()
                .flatten()
                .collect(),
            containers: try_join_all(containers.iter().map(|c| self.observe_container(c)))
                .await?
                .into_iter()
                .flatten()
                .collect(),
        };
        pod.sort();
        Ok(pod)
    }

    async fn sandboxes_of(&self, uid: &str) -> Result<Vec<v1::PodSandbox>> {
        let filter = v1::PodSandboxFilter { label_selector: selector(uid), ..Default::default() };
        let mut client = self.client.runtime.clone();
        let answer = client.list_pod_sandbox(v1::ListPodSandboxRequest { filter: Some(filter) });
        Ok(call("ListPodSandbox", REQUEST_TIMEOUT, answer).await?.items)
    }

    async fn containers_of(&self, uid: &str) -> Result<Vec<v1::Container>> {
        let filter = v1::ContainerFilter { label_selector: selector(uid), ..Default::default() };
        let mut client = self.client.runtime.clone();
        let answer = client.list_containers(v1::ListContainersRequest { filter: Some(filter) });
        Ok(call("ListContainers", REQUEST_TIMEOUT, answer).await?.containers)
    }

    /// `None` if it was removed meanwhile.
    async fn observe_sandbox(&self, listed: &v1::PodSandbox) -> Result<Option<ObservedSandbox>> {
        let request = v1::PodSandboxStatusRequest { pod_sandbox_id: listed.id.clone(), verbose: false };
        let mut client = self.client.runtime.clone();
        let answer = client.pod_sandbox_status(request);
        match call("PodSandboxStatus", REQUEST_TIMEOUT, answer).await {
            Ok(answer) => {
                let missing = RuntimeError::Incomplete("PodSandboxStatus", "a status");
                answer.status.map(|status| Some(sandbox(status))).ok_or(missing)
            }
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// `None` if it was removed meanwhile.
    async fn observe_container(&self, listed: &v1::Container) -> Result<Option<ObservedContainer>> {
        match self.container_status(&listed.id).await {
            Ok(status) => Ok(Some(container(status, &listed.pod_sandbox_id))),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }
}

fn selector(uid: &str) -> HashMap<String, String> {
    HashMap::from([(POD_UID.to_owned(), uid.to_owned())])
}

fn sandbox(status: v1::PodSandboxStatus) -> ObservedSandbox {
    let ready = status.state() == v1::PodSandboxState::SandboxReady;
    let options =
        status.linux.and_then(|linux| linux.namespaces).and_then(|namespaces| namespaces.options).unwrap_or_default();
    let network = status.network.unwrap_or_default();
    let ips = std::iter::once(network.ip).chain(network.additional_ips.into_iter().map(|ip| ip.ip));
    ObservedSandbox {
        id: status.id,
        attempt: status.metadata.map_or(0, |metadata| metadata.attempt),
        created_at: status.created_at,
        ready,
        host_network: options.network() == v1::NamespaceMode::Node,
        ips: ips.filter(|ip| !ip.is_empty()).collect(),
    }
}

fn container(status: v1::ContainerStatus, sandbox_id: &str) -> ObservedContainer {
    let state = ContainerState::from(status.state());
    let notes = remembered(&status.annotations);
    let message =
        if state == ContainerState::Exited { termination::message(&status, &notes) } else { status.message.clone() };
    let image = status.image.unwrap_or_default();
    let written = [image.user_specified_image, image.image];
    ObservedContainer {
        name: status.labels.get(CONTAINER_NAME).cloned().unwrap_or_default(),
        sandbox_id: sandbox_id.to_owned(),
        state,
        created_at: status.created_at,
        started_at: status.started_at,
        finished_at: status.finished_at,
        exit_code: status.exit_code,
        message,
        image: written.into_iter().find(|text| !text.is_empty()).unwrap_or_default(),
        hash: notes.hash,
        restart_count: notes.restart_count,
        created_with: notes.resources,
        resources: status.resources.and_then(|resources| resources.linux),
        user: status.user.and_then(|user| user.linux),
        id: status.id,
        reason: status.reason,
        image_ref: status.image_ref,
        log_path: status.log_path,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_container_is_read_back_from_labels_and_annotations() {
        let status = v1::ContainerStatus {
            id: "c1".into(),
            state: v1::ContainerState::ContainerExited.into(),
            exit_code: 3,
            image: Some(v1::ImageSpec {
                image: "sha256:1".into(),
                user_specified_image: "web:v1".into(),
                ..Default::default()
            }),
            image_ref: "sha256:1".into(),
            reason: "Error".into(),
            labels: HashMap::from([(CONTAINER_NAME.to_owned(), "web".to_owned())]),
            annotations: HashMap::from([
                ("io.kubernetes.container.hash".to_owned(), "ff".to_owned()),
                ("io.kubernetes.container.restartCount".to_owned(), "4".to_owned()),
            ]),
            ..Default::default()
        };
        let container = container(status, "s1");
        assert_eq!((container.name.as_str(), container.hash, container.restart_count), ("web", 255, 4));
        assert_eq!(container.image, "web:v1");
        assert_eq!(container.state, ContainerState::Exited);
    }
}
