//! RuntimeService of the fake runtime.

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::time::Duration;

use tokio::sync::{broadcast, watch};
use tokio_stream::{StreamExt, wrappers::BroadcastStream};
use tonic::codegen::BoxStream;
use tonic::{Request, Response, Status};

use super::state::{Container, Finished, Pod, State, now, selects};
use super::{ExecOutcome, Exit, FakeRuntime, OnStop};
use crate::v1;
use crate::v1::runtime_service_server::RuntimeService;

/// Exit code of a container that could not be started (upstream: containerd's `errorStartExitCode`).
const START_ERROR_CODE: i32 = 128;
const SIGKILL_CODE: i32 = 137;
const SIGTERM_CODE: i32 = 143;

type Answer<T> = Result<Response<T>, Status>;

fn not_found(what: &str, id: &str) -> Status {
    Status::not_found(format!("{what} {id:?} not found"))
}

impl FakeRuntime {
    fn emit(&self, state: &State, container: &str, pod: &str, kind: v1::ContainerEventType) {
        let event = v1::ContainerEventResponse {
            container_id: container.to_owned(),
            container_event_type: kind.into(),
            created_at: now(),
            pod_sandbox_status: state.pods.get(pod).map(|p| p.status(pod)),
            containers_statuses: state.container_statuses(pod),
        };
        // An error only says that nobody listens.
        let _ = self.shared.events.send(event);
    }

    /// Marks a container as exited. False if it is gone or has exited already.
    pub(super) fn finish(&self, id: &str, code: i32, reason: &str) -> bool {
        self.finish_with(id, code, reason, "")
    }

    fn finish_with(&self, id: &str, code: i32, reason: &str, message: &str) -> bool {
        let mut state = self.shared.state.lock();
        let Some(container) = state.containers.get_mut(id) else {
            return false;
        };
        if container.finished.is_some() {
            return false;
        }
        let reason = match (reason, code) {
            ("", 0) => "Completed",
            ("", _) => "Error",
            (reason, _) => reason,
        };
        container.finished = Some(Finished { at: now(), code, reason: reason.to_owned(), message: message.to_owned() });
        container.done.send_replace(true);
        let pod = container.pod.clone();
        self.emit(&state, id, &pod, v1::ContainerEventType::ContainerStoppedEvent);
        true
    }

    fn finish_later(&self, id: &str, exit: &Exit) {
        if exit.after.is_zero() {
            self.finish(id, exit.code, &exit.reason);
            return;
        }
        let (fake, id, exit) = (self.clone(), id.to_owned(), exit.clone());
        tokio::spawn(async move {
            tokio::time::sleep(exit.after).await;
            fake.finish(&id, exit.code, &exit.reason);
        });
    }

    async fn stop(&self, id: &str, grace: Duration) {
        let (on_stop, mut done) = {
            let state = self.shared.state.lock();
            let Some(container) = state.containers.get(id) else {
                return;
            };
            if container.state() != v1::ContainerState::ContainerRunning {
                return;
            }
            (container.script.on_stop, container.done.subscribe())
        };
        let (wait, code) = match on_stop {
            _ if grace.is_zero() => (Duration::ZERO, SIGKILL_CODE),
            OnStop::Terminates => (Duration::ZERO, SIGTERM_CODE),
            OnStop::ExitsAfter(after) if after <= grace => (after, 0),
            OnStop::ExitsAfter(_) | OnStop::Ignores => (grace, SIGKILL_CODE),
        };
        // The container may also end by itself meanwhile; the sender lives as long as the container.
        let _ = tokio::time::timeout(wait, done.wait_for(|done| *done)).await;
        self.finish(id, code, "");
    }

    fn containers_of(&self, pod: &str) -> Vec<String> {
        let state = self.shared.state.lock();
        state.containers.iter().filter(|(_, c)| c.pod == pod).map(|(id, _)| id.clone()).collect()
    }

    fn remove_container_now(&self, id: &str) {
        let mut state = self.shared.state.lock();
        if let Some(container) = state.containers.remove(id) {
            self.emit(&state, id, &container.pod, v1::ContainerEventType::ContainerDeletedEvent);
        }
    }

    fn stats_of(&self, id: &str) -> Result<v1::ContainerStats, Status> {
        let state = self.shared.state.lock();
        let container = state.containers.get(id).ok_or_else(|| not_found("container", id))?;
        let value = |value| Some(v1::UInt64Value { value });
        Ok(v1::ContainerStats {
            attributes: Some(v1::ContainerAttributes {
                id: id.to_owned(),
                metadata: container.config.metadata.clone(),
                labels: container.config.labels.clone(),
                annotations: container.config.annotations.clone(),
            }),
            cpu: Some(v1::CpuUsage { timestamp: now(), usage_core_nano_seconds: value(0), ..Default::default() }),
            memory: Some(v1::MemoryUsage {
                timestamp: now(),
                working_set_bytes: value(1 << 20),
                usage_bytes: value(1 << 20),
                rss_bytes: value(1 << 20),
                ..Default::default()
            }),
            ..Default::default()
        })
    }
}

#[tonic::async_trait]
impl RuntimeService for FakeRuntime {
    async fn version(&self, _: Request<v1::VersionRequest>) -> Answer<v1::VersionResponse> {
        self.enter("Version", "")?;
        Ok(Response::new(v1::VersionResponse {
            version: "0.1.0".to_owned(),
            runtime_name: "fake".to_owned(),
            runtime_version: "0.1.0".to_owned(),
            runtime_api_version: "v1".to_owned(),
        }))
    }

    async fn status(&self, _: Request<v1::StatusRequest>) -> Answer<v1::StatusResponse> {
        self.enter("Status", "")?;
        let network = self.shared.settings.lock().network_not_ready.clone();
        let condition = |kind: &str, problem: Option<String>| v1::RuntimeCondition {
            r#type: kind.to_owned(),
            status: problem.is_none(),
            reason: if problem.is_some() { format!("{kind}IsFalse") } else { String::new() },
            message: problem.unwrap_or_default(),
        };
        let conditions = vec![condition("RuntimeReady", None), condition("NetworkReady", network)];
        Ok(Response::new(v1::StatusResponse { status: Some(v1::RuntimeStatus { conditions }), ..Default::default() }))
    }

    async fn runtime_config(&self, _: Request<v1::RuntimeConfigRequest>) -> Answer<v1::RuntimeConfigResponse> {
        let linux = v1::LinuxRuntimeConfiguration { cgroup_driver: v1::CgroupDriver::Cgroupfs.into() };
        Ok(Response::new(v1::RuntimeConfigResponse { linux: Some(linux) }))
    }

    async fn update_runtime_config(
        &self,
        request: Request<v1::UpdateRuntimeConfigRequest>,
    ) -> Answer<v1::UpdateRuntimeConfigResponse> {
        let config = request.into_inner().runtime_config.and_then(|c| c.network_config).unwrap_or_default();
        self.enter("UpdateRuntimeConfig", &config.pod_cidr)?;
        let base = config.pod_cidr.split('/').next().unwrap_or_default();
        if !base.is_empty() {
            let base = base.parse::<Ipv4Addr>().map_err(|e| Status::invalid_argument(format!("pod CIDR: {e}")))?;
            self.shared.state.lock().pod_cidr = Some(base);
        }
        Ok(Response::new(v1::UpdateRuntimeConfigResponse {}))
    }

    async fn run_pod_sandbox(&self, request: Request<v1::RunPodSandboxRequest>) -> Answer<v1::RunPodSandboxResponse> {
        let request = request.into_inner();
        let config = request.config.ok_or_else(|| Status::invalid_argument("sandbox config is required"))?;
        let metadata = config.metadata.clone().unwrap_or_default();
        self.enter("RunPodSandbox", &format!("{}/{}", metadata.namespace, metadata.name))?;
        let mut state = self.shared.state.lock();
        let options = config.linux.as_ref().and_then(|l| l.security_context.as_ref());
        let options = options.and_then(|c| c.namespace_options.as_ref());
        let host_network = options.is_some_and(|o| o.network == v1::NamespaceMode::Node as i32);
        let ip = (!host_network).then(|| state.new_address());
        let id = state.new_id();
        let pod = Pod { config, runtime_handler: request.runtime_handler, ready: true, created_at: now(), ip };
        state.pods.insert(id.clone(), pod);
        self.emit(&state, &id, &id, v1::ContainerEventType::ContainerCreatedEvent);
        self.emit(&state, &id, &id, v1::ContainerEventType::ContainerStartedEvent);
        Ok(Response::new(v1::RunPodSandboxResponse { pod_sandbox_id: id }))
    }

    async fn stop_pod_sandbox(
        &self,
        request: Request<v1::StopPodSandboxRequest>,
    ) -> Answer<v1::StopPodSandboxResponse> {
        let id = request.into_inner().pod_sandbox_id;
        self.enter("StopPodSandbox", &id)?;
        for container in self.containers_of(&id) {
            self.stop(&container, Duration::ZERO).await;
        }
        let mut state = self.shared.state.lock();
        if let Some(pod) = state.pods.get_mut(&id)
            && std::mem::replace(&mut pod.ready, false)
        {
            pod.ip = None;
            self.emit(&state, &id, &id, v1::ContainerEventType::ContainerStoppedEvent);
        }
        Ok(Response::new(v1::StopPodSandboxResponse {}))
    }

    async fn remove_pod_sandbox(
        &self,
        request: Request<v1::RemovePodSandboxRequest>,
    ) -> Answer<v1::RemovePodSandboxResponse> {
        let id = request.into_inner().pod_sandbox_id;
        self.enter("RemovePodSandbox", &id)?;
        for container in self.containers_of(&id) {
            self.stop(&container, Duration::ZERO).await;
            self.remove_container_now(&container);
        }
        let mut state = self.shared.state.lock();
        if state.pods.remove(&id).is_some() {
            self.emit(&state, &id, &id, v1::ContainerEventType::ContainerDeletedEvent);
        }
        Ok(Response::new(v1::RemovePodSandboxResponse {}))
    }

    async fn pod_sandbox_status(
        &self,
        request: Request<v1::PodSandboxStatusRequest>,
    ) -> Answer<v1::PodSandboxStatusResponse> {
        let id = request.into_inner().pod_sandbox_id;
        let state = self.shared.state.lock();
        let pod = state.pods.get(&id).ok_or_else(|| not_found("sandbox", &id))?;
        Ok(Response::new(v1::PodSandboxStatusResponse {
            status: Some(pod.status(&id)),
            info: HashMap::new(),
            containers_statuses: state.container_statuses(&id),
            timestamp: now(),
        }))
    }

    async fn list_pod_sandbox(
        &self,
        request: Request<v1::ListPodSandboxRequest>,
    ) -> Answer<v1::ListPodSandboxResponse> {
        let filter = request.into_inner().filter.unwrap_or_default();
        let state = self.shared.state.lock();
        let items = state.pods.iter().filter(|(id, pod)| {
            (filter.id.is_empty() || id.starts_with(&filter.id))
                && filter.state.is_none_or(|wanted| wanted.state == pod.state())
                && selects(&filter.label_selector, &pod.config.labels)
        });
        Ok(Response::new(v1::ListPodSandboxResponse { items: items.map(|(id, pod)| pod.listed(id)).collect() }))
    }

    async fn create_container(
        &self,
        request: Request<v1::CreateContainerRequest>,
    ) -> Answer<v1::CreateContainerResponse> {
        let request = request.into_inner();
        let config = request.config.ok_or_else(|| Status::invalid_argument("container config is required"))?;
        let name = config.metadata.as_ref().map(|m| m.name.clone()).unwrap_or_default();
        let image = config.image.clone().unwrap_or_default().image;
        self.enter("CreateContainer", &name)?;
        let script = self.next_script(&name, &image);
        if let Some(error) = script.create_error {
            return Err(error);
        }
        let mut state = self.shared.state.lock();
        if !state.pods.get(&request.pod_sandbox_id).is_some_and(|pod| pod.ready) {
            return Err(not_found("running sandbox", &request.pod_sandbox_id));
        }
        let Some((image_id, _)) = state.image_of(&image) else {
            return Err(not_found("image", &image));
        };
        let container = Container {
            pod: request.pod_sandbox_id.clone(),
            image_id: image_id.clone(),
            config,
            script,
            created_at: now(),
            started_at: 0,
            finished: None,
            done: watch::Sender::new(false),
        };
        let id = state.new_id();
        state.containers.insert(id.clone(), container);
        self.emit(&state, &id, &request.pod_sandbox_id, v1::ContainerEventType::ContainerCreatedEvent);
        Ok(Response::new(v1::CreateContainerResponse { container_id: id }))
    }

    async fn start_container(&self, request: Request<v1::StartContainerRequest>) -> Answer<v1::StartContainerResponse> {
        let id = request.into_inner().container_id;
        let (name, script) = {
            let state = self.shared.state.lock();
            let container = state.containers.get(&id).ok_or_else(|| not_found("container", &id))?;
            if container.state() != v1::ContainerState::ContainerCreated {
                return Err(Status::failed_precondition(format!("container {id:?} was started already")));
            }
            (container.name().to_owned(), container.script.clone())
        };
        self.enter("StartContainer", &name)?;
        tokio::time::sleep(script.start_delay).await;
        if let Some(error) = script.start_error {
            self.finish_with(&id, START_ERROR_CODE, "StartError", error.message());
            return Err(error);
        }
        {
            let mut state = self.shared.state.lock();
            let container = state.containers.get_mut(&id).ok_or_else(|| not_found("container", &id))?;
            container.started_at = now();
            let pod = container.pod.clone();
            self.emit(&state, &id, &pod, v1::ContainerEventType::ContainerStartedEvent);
            if let Some(container) = state.containers.get(&id) {
                container.write_logs(&state).map_err(|e| Status::internal(format!("cannot write the log: {e}")))?;
            }
        }
        if let Some(exit) = &script.exit {
            self.finish_later(&id, exit);
        }
        Ok(Response::new(v1::StartContainerResponse {}))
    }

    async fn stop_container(&self, request: Request<v1::StopContainerRequest>) -> Answer<v1::StopContainerResponse> {
        let request = request.into_inner();
        self.enter("StopContainer", &request.container_id)?;
        let grace = Duration::from_secs(request.timeout.try_into().unwrap_or(0));
        self.stop(&request.container_id, grace).await;
        Ok(Response::new(v1::StopContainerResponse {}))
    }

    async fn remove_container(
        &self,
        request: Request<v1::RemoveContainerRequest>,
    ) -> Answer<v1::RemoveContainerResponse> {
        let id = request.into_inner().container_id;
        self.enter("RemoveContainer", &id)?;
        self.stop(&id, Duration::ZERO).await;
        self.remove_container_now(&id);
        Ok(Response::new(v1::RemoveContainerResponse {}))
    }

    async fn list_containers(&self, request: Request<v1::ListContainersRequest>) -> Answer<v1::ListContainersResponse> {
        let filter = request.into_inner().filter.unwrap_or_default();
        let state = self.shared.state.lock();
        let containers = state.containers.iter().filter(|(id, container)| {
            (filter.id.is_empty() || id.starts_with(&filter.id))
                && (filter.pod_sandbox_id.is_empty() || filter.pod_sandbox_id == container.pod)
                && filter.state.is_none_or(|wanted| wanted.state == i32::from(container.state()))
                && selects(&filter.label_selector, &container.config.labels)
        });
        let containers = containers.map(|(id, container)| container.listed(id)).collect();
        Ok(Response::new(v1::ListContainersResponse { containers }))
    }

    async fn container_status(
        &self,
        request: Request<v1::ContainerStatusRequest>,
    ) -> Answer<v1::ContainerStatusResponse> {
        let id = request.into_inner().container_id;
        let state = self.shared.state.lock();
        let container = state.containers.get(&id).ok_or_else(|| not_found("container", &id))?;
        let status = container.status(&id, &state);
        Ok(Response::new(v1::ContainerStatusResponse { status: Some(status), info: HashMap::new() }))
    }

    async fn update_container_resources(
        &self,
        request: Request<v1::UpdateContainerResourcesRequest>,
    ) -> Answer<v1::UpdateContainerResourcesResponse> {
        let request = request.into_inner();
        self.enter("UpdateContainerResources", &request.container_id)?;
        let mut state = self.shared.state.lock();
        let id = request.container_id;
        let container = state.containers.get_mut(&id).ok_or_else(|| not_found("container", &id))?;
        container.config.linux.get_or_insert_default().resources = request.linux;
        Ok(Response::new(v1::UpdateContainerResourcesResponse {}))
    }

    async fn reopen_container_log(
        &self,
        request: Request<v1::ReopenContainerLogRequest>,
    ) -> Answer<v1::ReopenContainerLogResponse> {
        self.enter("ReopenContainerLog", &request.into_inner().container_id)?;
        Ok(Response::new(v1::ReopenContainerLogResponse {}))
    }

    async fn exec_sync(&self, request: Request<v1::ExecSyncRequest>) -> Answer<v1::ExecSyncResponse> {
        let request = request.into_inner();
        let name = {
            let state = self.shared.state.lock();
            let id = &request.container_id;
            let container = state.containers.get(id).ok_or_else(|| not_found("container", id))?;
            if container.state() != v1::ContainerState::ContainerRunning {
                return Err(Status::unknown(format!("container {id:?} is not running")));
            }
            container.name().to_owned()
        };
        self.enter("ExecSync", &format!("{name} {}", request.cmd.join(" ")))?;
        let handler = self.shared.settings.lock().exec.clone();
        let outcome = handler.map_or_else(ExecOutcome::default, |handler| handler(&name, &request.cmd));
        let timeout = Duration::from_secs(request.timeout.try_into().unwrap_or(0));
        if !timeout.is_zero() && outcome.takes > timeout {
            tokio::time::sleep(timeout).await;
            return Err(Status::deadline_exceeded(format!("command {:?} timed out", request.cmd)));
        }
        tokio::time::sleep(outcome.takes).await;
        let ExecOutcome { stdout, stderr, exit_code, .. } = outcome;
        Ok(Response::new(v1::ExecSyncResponse { stdout, stderr, exit_code }))
    }

    async fn container_stats(&self, request: Request<v1::ContainerStatsRequest>) -> Answer<v1::ContainerStatsResponse> {
        let stats = self.stats_of(&request.into_inner().container_id)?;
        Ok(Response::new(v1::ContainerStatsResponse { stats: Some(stats) }))
    }

    async fn list_container_stats(
        &self,
        request: Request<v1::ListContainerStatsRequest>,
    ) -> Answer<v1::ListContainerStatsResponse> {
        let filter = request.into_inner().filter.unwrap_or_default();
        let ids: Vec<String> = {
            let state = self.shared.state.lock();
            let running = state.containers.iter().filter(|(id, container)| {
                container.state() == v1::ContainerState::ContainerRunning
                    && (filter.id.is_empty() || **id == filter.id)
                    && (filter.pod_sandbox_id.is_empty() || filter.pod_sandbox_id == container.pod)
                    && selects(&filter.label_selector, &container.config.labels)
            });
            running.map(|(id, _)| id.clone()).collect()
        };
        let stats = ids.iter().filter_map(|id| self.stats_of(id).ok()).collect();
        Ok(Response::new(v1::ListContainerStatsResponse { stats }))
    }

    async fn get_container_events(
        &self,
        _: Request<v1::GetEventsRequest>,
    ) -> Answer<BoxStream<v1::ContainerEventResponse>> {
        let receiver: broadcast::Receiver<_> = self.shared.events.subscribe();
        let events = BroadcastStream::new(receiver).map(|event| {
            event.map_err(|lagged| Status::resource_exhausted(format!("the subscriber was too slow: {lagged}")))
        });
        Ok(Response::new(Box::pin(events)))
    }
}
