//! The container runtime as the kubelet uses it: CRI calls with a time limit each, and the observation of a pod.
//!
//! Nothing here decides anything. Errors keep the runtime's own text, which becomes the message users see.

mod observe;
mod termination;

use std::future::Future;
use std::time::Duration;

use skiff_cri::Client;
use skiff_cri::v1;
use tonic::{Response, Status};

/// Time limit of ordinary calls (upstream: `--runtime-request-timeout`).
const REQUEST_TIMEOUT: Duration = Duration::from_secs(120);
/// Time limit of the calls that make or remove a sandbox, which include the pod network.
const SANDBOX_TIMEOUT: Duration = Duration::from_secs(240);
/// A pull may take as long as it makes progress; this bound only catches a runtime that hangs.
const PULL_TIMEOUT: Duration = Duration::from_secs(60 * 60);

/// A CRI call that failed.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum RuntimeError {
    /// The runtime answered with an error.
    #[error("{}", .0.message())]
    Status(Status),
    /// It did not answer in time.
    #[error("the container runtime did not answer {0} within {1:?}")]
    Timeout(&'static str, Duration),
    /// It answered with less than CRI promises.
    #[error("the container runtime answered {0} without {1}")]
    Incomplete(&'static str, &'static str),
}

/// How long a runtime that starts beside the kubelet is waited for, and how often it is tried.
const START_PATIENCE: Duration = Duration::from_secs(30);
const START_POLL: Duration = Duration::from_millis(10);

impl RuntimeError {
    /// The object the call was about does not exist.
    pub(crate) fn is_not_found(&self) -> bool {
        matches!(self, Self::Status(status) if status.code() == tonic::Code::NotFound)
    }

    /// The runtime does not know the method.
    pub(crate) fn is_unimplemented(&self) -> bool {
        matches!(self, Self::Status(status) if status.code() == tonic::Code::Unimplemented)
    }

    /// The call, or the command it ran, took too long.
    pub(crate) fn is_timeout(&self) -> bool {
        match self {
            Self::Timeout(..) => true,
            Self::Status(status) => status.code() == tonic::Code::DeadlineExceeded,
            Self::Incomplete(..) => false,
        }
    }
}

type Result<T> = std::result::Result<T, RuntimeError>;

/// What a command in a container printed and how it ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ExecOutput {
    /// Standard output, then standard error.
    pub(crate) output: Vec<u8>,
    pub(crate) exit_code: i32,
}

/// Which streams a session has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Streams {
    pub(crate) stdin: bool,
    pub(crate) stdout: bool,
    pub(crate) stderr: bool,
    pub(crate) tty: bool,
}

/// The runtime. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Runtime {
    client: Client,
}

async fn call<T>(
    method: &'static str,
    limit: Duration,
    answer: impl Future<Output = std::result::Result<Response<T>, Status>>,
) -> Result<T> {
    match tokio::time::timeout(limit, answer).await {
        Ok(Ok(answer)) => Ok(answer.into_inner()),
        Ok(Err(status)) => Err(RuntimeError::Status(status)),
        Err(_) => Err(RuntimeError::Timeout(method, limit)),
    }
}

/// Takes "it is not there" as done.
fn or_gone(result: Result<()>) -> Result<()> {
    match result {
        Err(error) if error.is_not_found() => Ok(()),
        other => other,
    }
}

// === impl Runtime: pods and containers ===

impl Runtime {
    pub(crate) fn new(client: Client) -> Self {
        Self { client }
    }

    pub(crate) async fn version(&self) -> Result<v1::VersionResponse> {
        let request = v1::VersionRequest { version: "0.1.0".into() };
        let mut client = self.client.runtime.clone();
        call("Version", REQUEST_TIMEOUT, client.version(request)).await
    }

    /// Waits until the runtime answers, but not for ever: then the node says that it does not.
    pub(crate) async fn until_there(&self) {
        let asked = async {
            while self.version().await.is_err() {
                tokio::time::sleep(START_POLL).await;
            }
        };
        if tokio::time::timeout(START_PATIENCE, asked).await.is_err() {
            tracing::warn!("the container runtime does not answer");
        }
    }

    pub(crate) async fn status(&self) -> Result<v1::StatusResponse> {
        let mut client = self.client.runtime.clone();
        let request = v1::StatusRequest { verbose: false };
        call("Status", REQUEST_TIMEOUT, client.status(request)).await
    }

    pub(crate) async fn update_pod_cidr(&self, pod_cidr: &str) -> Result<()> {
        let network_config = Some(v1::NetworkConfig { pod_cidr: pod_cidr.into() });
        let request = v1::UpdateRuntimeConfigRequest { runtime_config: Some(v1::RuntimeConfig { network_config }) };
        let mut client = self.client.runtime.clone();
        let answer = client.update_runtime_config(request);
        call("UpdateRuntimeConfig", REQUEST_TIMEOUT, answer).await.map(drop)
    }

    pub(crate) async fn run_sandbox(&self, config: v1::PodSandboxConfig, handler: &str) -> Result<String> {
        let request = v1::RunPodSandboxRequest { config: Some(config), runtime_handler: handler.into() };
        let mut client = self.client.runtime.clone();
        let answer = client.run_pod_sandbox(request);
        Ok(call("RunPodSandbox", SANDBOX_TIMEOUT, answer).await?.pod_sandbox_id)
    }

    pub(crate) async fn stop_sandbox(&self, id: &str) -> Result<()> {
        let request = v1::StopPodSandboxRequest { pod_sandbox_id: id.into() };
        let mut client = self.client.runtime.clone();
        let answer = client.stop_pod_sandbox(request);
        or_gone(call("StopPodSandbox", SANDBOX_TIMEOUT, answer).await.map(drop))
    }

    pub(crate) async fn remove_sandbox(&self, id: &str) -> Result<()> {
        let request = v1::RemovePodSandboxRequest { pod_sandbox_id: id.into() };
        let mut client = self.client.runtime.clone();
        let answer = client.remove_pod_sandbox(request);
        or_gone(call("RemovePodSandbox", SANDBOX_TIMEOUT, answer).await.map(drop))
    }

    pub(crate) async fn create_container(
        &self,
        sandbox_id: &str,
        config: v1::ContainerConfig,
        sandbox: v1::PodSandboxConfig,
    ) -> Result<String> {
        let request = v1::CreateContainerRequest {
            pod_sandbox_id: sandbox_id.into(),
            config: Some(config),
            sandbox_config: Some(sandbox),
        };
        let mut client = self.client.runtime.clone();
        let answer = client.create_container(request);
        Ok(call("CreateContainer", REQUEST_TIMEOUT, answer).await?.container_id)
    }

    pub(crate) async fn start_container(&self, id: &str) -> Result<()> {
        let request = v1::StartContainerRequest { container_id: id.into() };
        let mut client = self.client.runtime.clone();
        let answer = client.start_container(request);
        call("StartContainer", REQUEST_TIMEOUT, answer).await.map(drop)
    }

    /// Stops a container; after `grace_seconds` the runtime kills it.
    pub(crate) async fn stop_container(&self, id: &str, grace_seconds: i64) -> Result<()> {
        let request = v1::StopContainerRequest { container_id: id.into(), timeout: grace_seconds };
        let grace = Duration::from_secs(grace_seconds.try_into().unwrap_or(0));
        let mut client = self.client.runtime.clone();
        let answer = client.stop_container(request);
        or_gone(call("StopContainer", grace + REQUEST_TIMEOUT, answer).await.map(drop))
    }

    /// Changes the knobs of a container that runs.
    pub(crate) async fn update_resources(&self, id: &str, resources: v1::LinuxContainerResources) -> Result<()> {
        let request = v1::UpdateContainerResourcesRequest {
            container_id: id.into(),
            linux: Some(resources),
            ..Default::default()
        };
        let mut client = self.client.runtime.clone();
        let answer = client.update_container_resources(request);
        call("UpdateContainerResources", REQUEST_TIMEOUT, answer).await.map(drop)
    }

    pub(crate) async fn remove_container(&self, id: &str) -> Result<()> {
        let request = v1::RemoveContainerRequest { container_id: id.into() };
        let mut client = self.client.runtime.clone();
        let answer = client.remove_container(request);
        or_gone(call("RemoveContainer", REQUEST_TIMEOUT, answer).await.map(drop))
    }

    pub(crate) async fn reopen_log(&self, id: &str) -> Result<()> {
        let request = v1::ReopenContainerLogRequest { container_id: id.into() };
        let mut client = self.client.runtime.clone();
        let answer = client.reopen_container_log(request);
        call("ReopenContainerLog", REQUEST_TIMEOUT, answer).await.map(drop)
    }

    pub(crate) async fn list_sandboxes(&self) -> Result<Vec<v1::PodSandbox>> {
        let mut client = self.client.runtime.clone();
        let answer = client.list_pod_sandbox(v1::ListPodSandboxRequest::default());
        Ok(call("ListPodSandbox", REQUEST_TIMEOUT, answer).await?.items)
    }

    pub(crate) async fn list_containers(&self) -> Result<Vec<v1::Container>> {
        let mut client = self.client.runtime.clone();
        let answer = client.list_containers(v1::ListContainersRequest::default());
        Ok(call("ListContainers", REQUEST_TIMEOUT, answer).await?.containers)
    }

    /// Full status of one container.
    pub(crate) async fn container_status(&self, id: &str) -> Result<v1::ContainerStatus> {
        let request = v1::ContainerStatusRequest { container_id: id.into(), verbose: false };
        let mut client = self.client.runtime.clone();
        let answer = client.container_status(request);
        let answer = call("ContainerStatus", REQUEST_TIMEOUT, answer).await?;
        answer.status.ok_or(RuntimeError::Incomplete("ContainerStatus", "a status"))
    }

    /// Changes of containers as they happen. Unimplemented by older runtimes.
    pub(crate) async fn events(&self) -> Result<tonic::Streaming<v1::ContainerEventResponse>> {
        let mut client = self.client.runtime.clone();
        let answer = client.get_container_events(v1::GetEventsRequest {});
        call("GetContainerEvents", REQUEST_TIMEOUT, answer).await
    }
}

// === impl Runtime: commands and streams ===

impl Runtime {
    /// Runs a command to its end. `limit` of zero means no limit of the command itself.
    pub(crate) async fn exec_sync(&self, id: &str, command: Vec<String>, limit: Duration) -> Result<ExecOutput> {
        let request = v1::ExecSyncRequest {
            container_id: id.into(),
            cmd: command,
            timeout: limit.as_secs().try_into().unwrap_or(i64::MAX),
        };
        let call_limit = if limit.is_zero() { PULL_TIMEOUT } else { limit + REQUEST_TIMEOUT };
        let mut client = self.client.runtime.clone();
        let answer = call("ExecSync", call_limit, client.exec_sync(request)).await?;
        let mut output = answer.stdout;
        output.extend(answer.stderr);
        Ok(ExecOutput { output, exit_code: answer.exit_code })
    }

    /// URL at which the runtime serves an exec session.
    pub(crate) async fn exec_url(&self, id: &str, command: Vec<String>, streams: Streams) -> Result<String> {
        let request = v1::ExecRequest {
            container_id: id.into(),
            cmd: command,
            tty: streams.tty,
            stdin: streams.stdin,
            stdout: streams.stdout,
            stderr: streams.stderr,
        };
        let mut client = self.client.runtime.clone();
        Ok(call("Exec", REQUEST_TIMEOUT, client.exec(request)).await?.url)
    }

    /// URL at which the runtime serves an attach session.
    pub(crate) async fn attach_url(&self, id: &str, streams: Streams) -> Result<String> {
        let request = v1::AttachRequest {
            container_id: id.into(),
            stdin: streams.stdin,
            tty: streams.tty,
            stdout: streams.stdout,
            stderr: streams.stderr,
        };
        let mut client = self.client.runtime.clone();
        Ok(call("Attach", REQUEST_TIMEOUT, client.attach(request)).await?.url)
    }

    /// URL at which the runtime serves a port-forward session.
    pub(crate) async fn port_forward_url(&self, sandbox_id: &str, ports: Vec<i32>) -> Result<String> {
        let request = v1::PortForwardRequest { pod_sandbox_id: sandbox_id.into(), port: ports };
        let mut client = self.client.runtime.clone();
        Ok(call("PortForward", REQUEST_TIMEOUT, client.port_forward(request)).await?.url)
    }
}

// === impl Runtime: images and statistics ===

impl Runtime {
    pub(crate) async fn list_images(&self) -> Result<Vec<v1::Image>> {
        let mut client = self.client.images.clone();
        let answer = client.list_images(v1::ListImagesRequest::default());
        Ok(call("ListImages", REQUEST_TIMEOUT, answer).await?.images)
    }

    /// The image behind a reference, or `None` if it is not on the node.
    pub(crate) async fn image_status(&self, image: v1::ImageSpec) -> Result<Option<v1::Image>> {
        let request = v1::ImageStatusRequest { image: Some(image), verbose: false };
        let mut client = self.client.images.clone();
        let answer = client.image_status(request);
        match call("ImageStatus", REQUEST_TIMEOUT, answer).await {
            Ok(answer) => Ok(answer.image),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Pulls an image and returns its id.
    pub(crate) async fn pull_image(
        &self,
        image: v1::ImageSpec,
        auth: Option<v1::AuthConfig>,
        sandbox: v1::PodSandboxConfig,
    ) -> Result<String> {
        let request = v1::PullImageRequest { image: Some(image), auth, sandbox_config: Some(sandbox) };
        let mut client = self.client.images.clone();
        Ok(call("PullImage", PULL_TIMEOUT, client.pull_image(request)).await?.image_ref)
    }

    pub(crate) async fn remove_image(&self, id: &str) -> Result<()> {
        let image = Some(v1::ImageSpec { image: id.into(), ..Default::default() });
        let mut client = self.client.images.clone();
        let answer = client.remove_image(v1::RemoveImageRequest { image });
        or_gone(call("RemoveImage", REQUEST_TIMEOUT, answer).await.map(drop))
    }

    pub(crate) async fn image_fs_info(&self) -> Result<v1::ImageFsInfoResponse> {
        let mut client = self.client.images.clone();
        let answer = client.image_fs_info(v1::ImageFsInfoRequest {});
        call("ImageFsInfo", REQUEST_TIMEOUT, answer).await
    }

    pub(crate) async fn container_stats(&self) -> Result<Vec<v1::ContainerStats>> {
        let mut client = self.client.runtime.clone();
        let answer = client.list_container_stats(v1::ListContainerStatsRequest::default());
        Ok(call("ListContainerStats", REQUEST_TIMEOUT, answer).await?.stats)
    }

    pub(crate) async fn sandbox_stats(&self) -> Result<Vec<v1::PodSandboxStats>> {
        let mut client = self.client.runtime.clone();
        let answer = client.list_pod_sandbox_stats(v1::ListPodSandboxStatsRequest::default());
        Ok(call("ListPodSandboxStats", REQUEST_TIMEOUT, answer).await?.stats)
    }
}
