//! Settings of a kubelet.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

use k8s_openapi::api::core::v1::Taint;
use rustls::RootCertStore;
use rustls::server::ResolvesServerCert;

use crate::eviction::thresholds::EvictionPolicy;
use crate::images::gc::ImageGcPolicy;

/// Port of the kubelet's API.
pub const DEFAULT_PORT: u16 = 10250;
/// Pods a node takes.
pub const DEFAULT_MAX_PODS: u32 = 110;

/// How the kubelet's API proves itself and whom it believes. Both can be exchanged while it runs: the certificate by the
/// resolver, the authorities by a restart of the kubelet only.
#[derive(Clone)]
pub struct ServingTls {
    /// The certificate of the server, asked for at every handshake.
    pub certificate: Arc<dyn ResolvesServerCert>,
    /// Authorities of client certificates.
    pub client_ca: Arc<RootCertStore>,
}

impl std::fmt::Debug for ServingTls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ServingTls").field("client_ca", &self.client_ca.len()).finish_non_exhaustive()
    }
}

/// Everything that is set for one kubelet. [`Config::new`] has upstream's defaults.
#[derive(Clone, Debug)]
pub struct Config {
    /// Name of the Node object.
    pub node_name: String,
    /// Addresses of the node, the primary one first. Empty: found out from the routing table.
    pub node_ips: Vec<IpAddr>,
    /// Labels the node is registered with, besides the usual ones.
    pub node_labels: BTreeMap<String, String>,
    /// Taints the node is registered with.
    pub register_with_taints: Vec<Taint>,
    /// Folder for volumes and what else belongs to pods. Absolute.
    pub root_dir: PathBuf,
    /// Folder for the logs of containers. Absolute.
    pub pod_logs_dir: PathBuf,
    /// Where the runtime serves CRI: `unix:///path` or an absolute path.
    pub container_runtime_endpoint: String,
    /// A connection to the runtime made by the caller, instead of the endpoint; for tests.
    pub runtime_client: Option<skiff_cri::Client>,
    /// Cgroup under which those of pods are made, such as `/skiff`; `/` for the root. `None` makes none.
    pub cgroup_root: Option<String>,
    /// Memory volumes and secrets are on tmpfs. Without the right to mount this has to be off.
    pub tmpfs: bool,
    /// Addresses of the cluster's DNS.
    pub cluster_dns: Vec<IpAddr>,
    /// The cluster's domain.
    pub cluster_domain: String,
    /// The node's resolver file; `None` if pods shall not get it.
    pub resolv_conf: Option<PathBuf>,
    /// Containers that say nothing about seccomp get the runtime's default profile.
    pub seccomp_default: bool,
    /// Size in bytes from which on a container's log is rotated.
    pub container_log_max_size: u64,
    /// Log files kept of a container, the one that is written among them; at least 2.
    pub container_log_max_files: usize,
    /// When images that nobody uses are removed.
    pub image_gc: ImageGcPolicy,
    /// When pods are ended because the node is short of something.
    pub eviction: EvictionPolicy,
    /// Pods the node takes.
    pub max_pods: u32,
    /// Where the kubelet's API listens. Port 0 takes a free one.
    pub listen: SocketAddr,
    /// TLS of the kubelet's API; `None` does not serve it.
    pub serving: Option<ServingTls>,
    /// Version shown in the Node, such as `v1.36.0+skiff.0.1.0`.
    pub version: String,
}

impl Config {
    /// Upstream's defaults for a node, with the folders and the cgroup of the cluster called `cluster`.
    pub fn new(node_name: impl Into<String>, cluster: &str) -> Self {
        Self {
            node_name: node_name.into(),
            node_ips: Vec::new(),
            node_labels: BTreeMap::new(),
            register_with_taints: Vec::new(),
            root_dir: PathBuf::from("/var/lib").join(cluster).join("kubelet"),
            pod_logs_dir: PathBuf::from("/var/log").join(cluster).join("pods"),
            container_runtime_endpoint: format!("unix:///run/skiff/{cluster}/cri.sock"),
            runtime_client: None,
            cgroup_root: Some(format!("/{cluster}")),
            tmpfs: true,
            cluster_dns: Vec::new(),
            cluster_domain: "cluster.local".to_owned(),
            resolv_conf: Some(PathBuf::from("/etc/resolv.conf")),
            seccomp_default: false,
            container_log_max_size: 10 << 20,
            container_log_max_files: 5,
            image_gc: ImageGcPolicy::default(),
            eviction: EvictionPolicy::default(),
            max_pods: DEFAULT_MAX_PODS,
            listen: SocketAddr::from((Ipv4Addr::UNSPECIFIED, DEFAULT_PORT)),
            serving: None,
            version: "v1.36.0".to_owned(),
        }
    }

    /// Refuses what cannot work, with a message that names the setting.
    pub fn validate(&self) -> anyhow::Result<()> {
        anyhow::ensure!(!self.node_name.is_empty(), "the node needs a name");
        for (setting, path) in [("root_dir", &self.root_dir), ("pod_logs_dir", &self.pod_logs_dir)] {
            anyhow::ensure!(path.is_absolute(), "{setting} must be an absolute path, not {}", path.display());
        }
        self.eviction.thresholds()?;
        self.image_gc.validate()?;
        anyhow::ensure!(self.container_log_max_files > 1, "container_log_max_files must be greater than 1");
        Ok(())
    }
}
