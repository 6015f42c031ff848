//! RuntimeService.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use skiff_cri::v1;
use skiff_cri::v1::runtime_service_server::RuntimeService;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::BroadcastStream;
use tonic::codegen::BoxStream;
use tonic::{Request, Response, Status};

use super::Service;
use crate::container::Container;
use crate::engine::{blocking, now, status};
use crate::sandbox::Sandbox;
use crate::shim::protocol;
use crate::shim_client;

type Answer<T> = Result<Response<T>, Status>;

/// The CRI version that the kubelet checks (upstream: `cri-api/pkg/apis/runtime/v1/constants.go`).
const API_VERSION: &str = "v1";
const KUBE_RUNTIME_VERSION: &str = "0.1.0";

fn selects(selector: &HashMap<String, String>, labels: &HashMap<String, String>) -> bool {
    selector.iter().all(|(key, value)| labels.get(key) == Some(value))
}

fn required<T>(value: Option<T>, what: &str) -> Result<T, Status> {
    value.ok_or_else(|| Status::invalid_argument(format!("{what} is required")))
}

impl Service {
    fn stats_of(&self, filter: &v1::ContainerStatsFilter) -> Vec<Arc<Container>> {
        let mut containers = self.engine.containers();
        containers.retain(|container| {
            container.running()
                && (filter.id.is_empty() || container.id.starts_with(&filter.id))
                && (filter.pod_sandbox_id.is_empty() || container.sandbox_id.starts_with(&filter.pod_sandbox_id))
                && selects(&filter.label_selector, &container.config().labels)
        });
        containers
    }

    fn forget_stats(&self) {
        let engine = &self.engine;
        self.stats.forget(|id| engine.container(id).is_ok() || engine.sandbox(id).is_ok());
    }

    async fn sandbox_stats(&self, sandboxes: Vec<Arc<Sandbox>>) -> Result<Vec<v1::PodSandboxStats>, Status> {
        let (engine, cache) = (Arc::clone(&self.engine), Arc::clone(&self.stats));
        let work = move || Ok(sandboxes.iter().map(|sandbox| cache.sandbox(&engine, sandbox)).collect());
        blocking(work).await.map_err(status("failed to read statistics"))
    }
}

#[tonic::async_trait]
impl RuntimeService for Service {
    async fn version(&self, _: Request<v1::VersionRequest>) -> Answer<v1::VersionResponse> {
        Ok(Response::new(v1::VersionResponse {
            version: KUBE_RUNTIME_VERSION.to_owned(),
            runtime_name: "skiff".to_owned(),
            runtime_version: env!("CARGO_PKG_VERSION").to_owned(),
            runtime_api_version: API_VERSION.to_owned(),
        }))
    }

    async fn status(&self, request: Request<v1::StatusRequest>) -> Answer<v1::StatusResponse> {
        let problem = match &self.engine.network {
            Err(error) => Some(error.clone()),
            Ok(network) if network.pod_cidr().is_none() => Some("the node has no pod range yet".to_owned()),
            Ok(_) => None,
        };
        let condition = |kind: &str, problem: Option<String>| v1::RuntimeCondition {
            r#type: kind.to_owned(),
            status: problem.is_none(),
            reason: if problem.is_some() { "NetworkPluginNotReady".to_owned() } else { String::new() },
            message: problem.unwrap_or_default(),
        };
        let conditions = vec![condition("RuntimeReady", None), condition("NetworkReady", problem)];
        let mut info = HashMap::new();
        if request.into_inner().verbose {
            let text =
                serde_json::json!({ "rootDir": self.engine.paths.root(), "stateDir": self.engine.paths.state() });
            info.insert("config".to_owned(), text.to_string());
        }
        Ok(Response::new(v1::StatusResponse {
            status: Some(v1::RuntimeStatus { conditions }),
            info,
            runtime_handlers: vec![v1::RuntimeHandler {
                name: String::new(),
                features: Some(v1::RuntimeHandlerFeatures { recursive_read_only_mounts: true, user_namespaces: false }),
            }],
            features: Some(v1::RuntimeFeatures { supplemental_groups_policy: true, ..Default::default() }),
        }))
    }

    async fn runtime_config(&self, _: Request<v1::RuntimeConfigRequest>) -> Answer<v1::RuntimeConfigResponse> {
        let linux = v1::LinuxRuntimeConfiguration { cgroup_driver: v1::CgroupDriver::Cgroupfs.into() };
        Ok(Response::new(v1::RuntimeConfigResponse { linux: Some(linux) }))
    }

    async fn update_runtime_config(
        &self,
        request: Request<v1::UpdateRuntimeConfigRequest>,
    ) -> Answer<v1::UpdateRuntimeConfigResponse> {
        let config = request.into_inner().runtime_config.and_then(|config| config.network_config).unwrap_or_default();
        // Dual-stack nodes name several ranges; only IPv4 is served.
        let ranges =
            config.pod_cidr.split(',').map(str::trim).filter(|range| !range.is_empty() && !range.contains("::"));
        for range in ranges {
            let range = range
                .parse()
                .map_err(|error| Status::invalid_argument(format!("pod CIDR {range:?} is not valid: {error}")))?;
            if let Ok(network) = &self.engine.network {
                network.set_pod_cidr(range);
            }
        }
        Ok(Response::new(v1::UpdateRuntimeConfigResponse {}))
    }

    async fn run_pod_sandbox(&self, request: Request<v1::RunPodSandboxRequest>) -> Answer<v1::RunPodSandboxResponse> {
        let request = request.into_inner();
        let config = required(request.config, "sandbox config")?;
        // On a task of its own: a client that gives up must not leave a pod half made.
        let engine = Arc::clone(&self.engine);
        let made = tokio::spawn(async move { engine.run_sandbox(config, request.runtime_handler).await });
        let pod_sandbox_id = made.await.map_err(|_| Status::internal("making the sandbox panicked"))??;
        Ok(Response::new(v1::RunPodSandboxResponse { pod_sandbox_id }))
    }

    async fn stop_pod_sandbox(
        &self,
        request: Request<v1::StopPodSandboxRequest>,
    ) -> Answer<v1::StopPodSandboxResponse> {
        self.engine.stop_sandbox(&request.into_inner().pod_sandbox_id).await?;
        Ok(Response::new(v1::StopPodSandboxResponse {}))
    }

    async fn remove_pod_sandbox(
        &self,
        request: Request<v1::RemovePodSandboxRequest>,
    ) -> Answer<v1::RemovePodSandboxResponse> {
        self.engine.remove_sandbox(&request.into_inner().pod_sandbox_id).await?;
        self.forget_stats();
        Ok(Response::new(v1::RemovePodSandboxResponse {}))
    }

    async fn pod_sandbox_status(
        &self,
        request: Request<v1::PodSandboxStatusRequest>,
    ) -> Answer<v1::PodSandboxStatusResponse> {
        let request = request.into_inner();
        let sandbox = self.engine.sandbox(&request.pod_sandbox_id)?;
        let containers = self.engine.containers_of(&sandbox.id);
        let mut info = HashMap::new();
        if request.verbose {
            let text =
                serde_json::json!({ "record": sandbox.record(), "networkNamespace": sandbox.network_namespace() });
            info.insert("info".to_owned(), text.to_string());
        }
        Ok(Response::new(v1::PodSandboxStatusResponse {
            status: Some(sandbox.status()),
            info,
            containers_statuses: containers.iter().map(|container| self.engine.container_status(container)).collect(),
            timestamp: now(),
        }))
    }

    async fn list_pod_sandbox(
        &self,
        request: Request<v1::ListPodSandboxRequest>,
    ) -> Answer<v1::ListPodSandboxResponse> {
        let filter = request.into_inner().filter.unwrap_or_default();
        let all = self.engine.sandboxes().into_iter().map(|sandbox| sandbox.listed());
        let items = all.filter(|sandbox| {
            (filter.id.is_empty() || sandbox.id.starts_with(&filter.id))
                && filter.state.is_none_or(|wanted| wanted.state == sandbox.state)
                && selects(&filter.label_selector, &sandbox.labels)
        });
        Ok(Response::new(v1::ListPodSandboxResponse { items: items.collect() }))
    }

    async fn create_container(
        &self,
        request: Request<v1::CreateContainerRequest>,
    ) -> Answer<v1::CreateContainerResponse> {
        let request = request.into_inner();
        let config = required(request.config, "container config")?;
        // On a task of its own, for the same reason.
        let engine = Arc::clone(&self.engine);
        let made = tokio::spawn(async move { engine.create(&request.pod_sandbox_id, config).await });
        let container_id = made.await.map_err(|_| Status::internal("creating the container panicked"))??;
        Ok(Response::new(v1::CreateContainerResponse { container_id }))
    }

    async fn start_container(&self, request: Request<v1::StartContainerRequest>) -> Answer<v1::StartContainerResponse> {
        let container = self.engine.container(&request.into_inner().container_id)?;
        // On a task of its own: a client that gives up must not leave a container half started.
        let engine = Arc::clone(&self.engine);
        let started = tokio::spawn(async move { engine.start(&container).await });
        started.await.map_err(|_| Status::internal("starting the container panicked"))??;
        Ok(Response::new(v1::StartContainerResponse {}))
    }

    async fn stop_container(&self, request: Request<v1::StopContainerRequest>) -> Answer<v1::StopContainerResponse> {
        let request = request.into_inner();
        if let Ok(container) = self.engine.container(&request.container_id) {
            self.engine.stop(&container, request.timeout).await?;
        }
        Ok(Response::new(v1::StopContainerResponse {}))
    }

    async fn remove_container(
        &self,
        request: Request<v1::RemoveContainerRequest>,
    ) -> Answer<v1::RemoveContainerResponse> {
        if let Ok(container) = self.engine.container(&request.into_inner().container_id) {
            self.engine.remove(&container).await?;
            self.forget_stats();
        }
        Ok(Response::new(v1::RemoveContainerResponse {}))
    }

    async fn list_containers(&self, request: Request<v1::ListContainersRequest>) -> Answer<v1::ListContainersResponse> {
        let filter = request.into_inner().filter.unwrap_or_default();
        let all = self.engine.containers().into_iter().map(|container| container.listed());
        let containers = all.filter(|container| {
            (filter.id.is_empty() || container.id.starts_with(&filter.id))
                && (filter.pod_sandbox_id.is_empty() || container.pod_sandbox_id.starts_with(&filter.pod_sandbox_id))
                && filter.state.is_none_or(|wanted| wanted.state == container.state)
                && selects(&filter.label_selector, &container.labels)
        });
        Ok(Response::new(v1::ListContainersResponse { containers: containers.collect() }))
    }

    async fn container_status(
        &self,
        request: Request<v1::ContainerStatusRequest>,
    ) -> Answer<v1::ContainerStatusResponse> {
        let request = request.into_inner();
        let container = self.engine.container(&request.container_id)?;
        let mut info = HashMap::new();
        if request.verbose {
            let record = container.record();
            let text = serde_json::json!({ "pid": record.pid, "sandboxID": record.sandbox_id, "record": record });
            info.insert("info".to_owned(), text.to_string());
        }
        let status = Some(self.engine.container_status(&container));
        Ok(Response::new(v1::ContainerStatusResponse { status, info }))
    }

    async fn update_container_resources(
        &self,
        request: Request<v1::UpdateContainerResourcesRequest>,
    ) -> Answer<v1::UpdateContainerResourcesResponse> {
        let request = request.into_inner();
        let container = self.engine.container(&request.container_id)?;
        self.engine.update_resources(&container, required(request.linux, "linux resources")?).await?;
        Ok(Response::new(v1::UpdateContainerResourcesResponse {}))
    }

    async fn reopen_container_log(
        &self,
        request: Request<v1::ReopenContainerLogRequest>,
    ) -> Answer<v1::ReopenContainerLogResponse> {
        let container = self.engine.container(&request.into_inner().container_id)?;
        if !container.running() {
            return Err(Status::failed_precondition(format!("container {:?} is not running", container.id)));
        }
        shim_client::call(&container.state_dir(), &protocol::Request::ReopenLog)
            .await
            .map_err(status("failed to reopen the log"))?;
        Ok(Response::new(v1::ReopenContainerLogResponse {}))
    }

    async fn exec_sync(&self, request: Request<v1::ExecSyncRequest>) -> Answer<v1::ExecSyncResponse> {
        let request = request.into_inner();
        let container = self.engine.container(&request.container_id)?;
        let limit = Duration::from_secs(u64::try_from(request.timeout).unwrap_or(0));
        let finished = self.engine.exec_sync(&container, request.cmd, limit).await?;
        Ok(Response::new(v1::ExecSyncResponse {
            stdout: finished.stdout,
            stderr: finished.stderr,
            exit_code: finished.code,
        }))
    }

    async fn exec(&self, request: Request<v1::ExecRequest>) -> Answer<v1::ExecResponse> {
        let url = self.streams.exec(request.into_inner())?;
        Ok(Response::new(v1::ExecResponse { url }))
    }

    async fn attach(&self, request: Request<v1::AttachRequest>) -> Answer<v1::AttachResponse> {
        let url = self.streams.attach(request.into_inner())?;
        Ok(Response::new(v1::AttachResponse { url }))
    }

    async fn port_forward(&self, request: Request<v1::PortForwardRequest>) -> Answer<v1::PortForwardResponse> {
        let url = self.streams.port_forward(request.into_inner())?;
        Ok(Response::new(v1::PortForwardResponse { url }))
    }

    async fn container_stats(&self, request: Request<v1::ContainerStatsRequest>) -> Answer<v1::ContainerStatsResponse> {
        let container = self.engine.container(&request.into_inner().container_id)?;
        let (engine, cache) = (Arc::clone(&self.engine), Arc::clone(&self.stats));
        let stats = blocking(move || Ok(cache.container(&engine, &container))).await;
        let stats = stats.map_err(status("failed to read statistics"))?;
        Ok(Response::new(v1::ContainerStatsResponse { stats: Some(stats) }))
    }

    async fn list_container_stats(
        &self,
        request: Request<v1::ListContainerStatsRequest>,
    ) -> Answer<v1::ListContainerStatsResponse> {
        let containers = self.stats_of(&request.into_inner().filter.unwrap_or_default());
        let (engine, cache) = (Arc::clone(&self.engine), Arc::clone(&self.stats));
        let stats = blocking(move || Ok(containers.iter().map(|c| cache.container(&engine, c)).collect())).await;
        let stats = stats.map_err(status("failed to read statistics"))?;
        Ok(Response::new(v1::ListContainerStatsResponse { stats }))
    }

    async fn pod_sandbox_stats(
        &self,
        request: Request<v1::PodSandboxStatsRequest>,
    ) -> Answer<v1::PodSandboxStatsResponse> {
        let sandbox = self.engine.sandbox(&request.into_inner().pod_sandbox_id)?;
        let stats = self.sandbox_stats(vec![sandbox]).await?.pop();
        Ok(Response::new(v1::PodSandboxStatsResponse { stats }))
    }

    async fn list_pod_sandbox_stats(
        &self,
        request: Request<v1::ListPodSandboxStatsRequest>,
    ) -> Answer<v1::ListPodSandboxStatsResponse> {
        let filter = request.into_inner().filter.unwrap_or_default();
        let mut sandboxes = self.engine.sandboxes();
        sandboxes.retain(|sandbox| {
            sandbox.ready()
                && (filter.id.is_empty() || sandbox.id.starts_with(&filter.id))
                && selects(&filter.label_selector, &sandbox.config.labels)
        });
        let stats = self.sandbox_stats(sandboxes).await?;
        Ok(Response::new(v1::ListPodSandboxStatsResponse { stats }))
    }

    async fn get_container_events(
        &self,
        _: Request<v1::GetEventsRequest>,
    ) -> Answer<BoxStream<v1::ContainerEventResponse>> {
        let events = BroadcastStream::new(self.engine.events()).map(|event| {
            event.map_err(|lagged| Status::resource_exhausted(format!("the subscriber was too slow: {lagged}")))
        });
        Ok(Response::new(Box::pin(events)))
    }
}
