//! Running, stopping and removing pod sandboxes.

use std::io;
use std::sync::Arc;

use skiff_cri::v1::{self, ContainerEventType, NamespaceMode};
use skiff_netlink::hostport::{PortMapping, Protocol};
use tonic::Status;

use super::{Engine, blocking, new_id, now, status};
use crate::container::Container;
use crate::sandbox::{Sandbox, SandboxRecord, namespace_options};

impl Engine {
    /// Makes a pod sandbox and returns its id. Nothing is left behind if it fails.
    pub(crate) async fn run_sandbox(
        self: &Arc<Self>,
        config: v1::PodSandboxConfig,
        runtime_handler: String,
    ) -> Result<String, Status> {
        self.check_sandbox(&config, &runtime_handler)?;
        let id = new_id();
        let cgroup = match config.linux.as_ref().map(|linux| linux.cgroup_parent.as_str()) {
            None | Some("") => format!("{}/pod{}", self.config.cgroup_root, &id[..16]),
            Some(parent) => parent.to_owned(),
        };
        let record = SandboxRecord {
            id: id.clone(),
            created_at: now(),
            runtime_handler,
            ready: true,
            ip: String::new(),
            made_cgroup: !self.hierarchies.group(&cgroup).exists(),
            cgroup,
        };
        let sandbox = Arc::new(Sandbox::new(&self.paths, config, record));
        if let Err(error) = self.build_sandbox(&sandbox).await {
            self.discard_sandbox(&sandbox).await;
            return Err(error);
        }
        self.sandboxes.lock().insert(id.clone(), sandbox);
        self.emit(&id, &id, ContainerEventType::ContainerCreatedEvent);
        self.emit(&id, &id, ContainerEventType::ContainerStartedEvent);
        Ok(id)
    }

    fn check_sandbox(&self, config: &v1::PodSandboxConfig, runtime_handler: &str) -> Result<(), Status> {
        let metadata =
            config.metadata.as_ref().ok_or_else(|| Status::invalid_argument("sandbox metadata is required"))?;
        if !runtime_handler.is_empty() {
            return Err(Status::invalid_argument(format!("no runtime for {runtime_handler:?} is configured")));
        }
        let options = namespace_options(config);
        if options.userns_options.as_ref().is_some_and(|userns| userns.mode() == NamespaceMode::Pod) {
            return Err(Status::unimplemented("user namespaces are not supported"));
        }
        let taken = self.sandboxes.lock().values().any(|known| known.config.metadata.as_ref() == Some(metadata));
        if taken {
            let text = format!("sandbox {}/{} attempt {} exists", metadata.namespace, metadata.name, metadata.attempt);
            return Err(Status::already_exists(text));
        }
        Ok(())
    }

    async fn build_sandbox(&self, sandbox: &Arc<Sandbox>) -> Result<(), Status> {
        let (building, program) = (Arc::clone(sandbox), self.shim_program.clone());
        blocking(move || building.build(&program)).await.map_err(status("failed to set up the sandbox"))?;
        if let Some(namespace) = sandbox.network_namespace() {
            let network = self.network.as_ref().map_err(|e| Status::unavailable(format!("no pod network: {e}")))?;
            let ports = port_mappings(&sandbox.config)?;
            let address = network
                .attach(&sandbox.id, &namespace, &ports)
                .await
                .map_err(|e| Status::unknown(format!("failed to set up the sandbox network: {e}")))?;
            // Not written yet: the first record is, with the address.
            sandbox.set_address(address.ip.to_string());
        }
        sandbox.save().map_err(status("failed to record the sandbox"))
    }

    /// Takes away whatever a failed start left.
    async fn discard_sandbox(&self, sandbox: &Arc<Sandbox>) {
        if let Err(error) = self.release_sandbox(sandbox).await {
            tracing::warn!(sandbox = sandbox.id, %error, "a failed sandbox could not be cleaned up");
        }
        let _ = sandbox.delete();
    }

    /// Network, namespaces and shared files of a sandbox. Done twice, it changes nothing.
    async fn release_sandbox(&self, sandbox: &Arc<Sandbox>) -> io::Result<()> {
        if let (Some(_), Ok(network)) = (sandbox.network_namespace(), &self.network) {
            network.detach(&sandbox.id).await.map_err(io::Error::other)?;
        }
        let sandbox = Arc::clone(sandbox);
        blocking(move || sandbox.dismantle()).await
    }

    /// Ends everything in a pod and gives back its network. Unknown is fine.
    pub(crate) async fn stop_sandbox(self: &Arc<Self>, id: &str) -> Result<(), Status> {
        let Ok(sandbox) = self.sandbox(id) else {
            return Ok(());
        };
        let _guard = sandbox.operation.lock().await;
        self.stop_sandbox_locked(&sandbox).await
    }

    async fn stop_sandbox_locked(self: &Arc<Self>, sandbox: &Arc<Sandbox>) -> Result<(), Status> {
        // First, so that no container starts from now on; one that is starting right now is waited for below.
        let was_ready = sandbox.ready();
        if was_ready {
            let change = |record: &mut SandboxRecord| {
                record.ready = false;
                record.ip.clear();
            };
            sandbox.update(change).map_err(status("failed to record the stop"))?;
        }
        let containers = self.containers_of(&sandbox.id);
        let stops = containers.iter().map(|container| self.stop(container, 0));
        futures::future::try_join_all(stops).await?;
        self.release_sandbox(sandbox).await.map_err(status("failed to take down the sandbox"))?;
        if was_ready {
            self.emit(&sandbox.id, &sandbox.id, ContainerEventType::ContainerStoppedEvent);
        }
        Ok(())
    }

    /// Forgets a pod with its containers. Unknown is fine.
    pub(crate) async fn remove_sandbox(self: &Arc<Self>, id: &str) -> Result<(), Status> {
        let Ok(sandbox) = self.sandbox(id) else {
            return Ok(());
        };
        let _guard = sandbox.operation.lock().await;
        self.stop_sandbox_locked(&sandbox).await?;
        let containers: Vec<Arc<Container>> = self.containers_of(&sandbox.id);
        futures::future::try_join_all(containers.iter().map(|container| self.remove(container))).await?;
        let record = sandbox.record();
        if record.made_cgroup {
            let group = self.hierarchies.group(&record.cgroup);
            if !group.remove_if_empty() {
                tracing::debug!(cgroup = record.cgroup, "the pod's cgroup is still in use");
            }
        }
        sandbox.delete().map_err(status("failed to forget the sandbox"))?;
        self.sandboxes.lock().remove(&sandbox.id);
        self.emit(&sandbox.id, &sandbox.id, ContainerEventType::ContainerDeletedEvent);
        Ok(())
    }
}

fn port_mappings(config: &v1::PodSandboxConfig) -> Result<Vec<PortMapping>, Status> {
    let number = |value: i32, what: &str| {
        u16::try_from(value).map_err(|_| Status::invalid_argument(format!("{what} {value} is out of range")))
    };
    // Mappings without a host port only document what the container listens on.
    let wanted = config.port_mappings.iter().filter(|mapping| mapping.host_port > 0);
    wanted
        .map(|mapping| {
            Ok(PortMapping {
                protocol: match mapping.protocol() {
                    v1::Protocol::Tcp => Protocol::Tcp,
                    v1::Protocol::Udp => Protocol::Udp,
                    v1::Protocol::Sctp => Protocol::Sctp,
                },
                host_ip: host_ip(&mapping.host_ip)?,
                host_port: number(mapping.host_port, "host port")?,
                container_port: number(mapping.container_port, "container port")?,
            })
        })
        .collect()
}

fn host_ip(text: &str) -> Result<Option<std::net::Ipv4Addr>, Status> {
    // "::" is how dual-stack clients say "any".
    if text.is_empty() || text == "::" {
        return Ok(None);
    }
    text.parse().map(Some).map_err(|_| Status::invalid_argument(format!("host IP {text:?} is not an IPv4 address")))
}
