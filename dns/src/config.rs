//! Settings of the cluster's DNS.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

/// Where names outside of the cluster are asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Upstream {
    /// The `nameserver` lines of a file such as `/etc/resolv.conf`, which may change while we run.
    ResolvConf(PathBuf),
    /// These servers.
    Servers(Vec<SocketAddr>),
}

/// Settings. The default is the zone and the Service address of a cluster with its usual ranges.
#[derive(Clone, Debug)]
pub struct Config {
    /// The cluster's zone, such as `cluster.local`.
    pub cluster_domain: String,
    /// Name of the node that this server runs on.
    pub node_name: String,
    /// Address of the node: where to listen, and what the EndpointSlice says.
    pub node_address: Ipv4Addr,
    /// Port for UDP and TCP; 0 for the one used before, else any. Never 53 by default: that is the host's.
    pub port: u16,
    /// Port for `/metrics`, `/health` and `/ready`; 0 for any.
    pub metrics_port: u16,
    /// Cluster IP of Service kube-system/kube-dns.
    pub service_ip: Ipv4Addr,
    /// Where names outside of the cluster are asked for.
    pub upstream: Upstream,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            cluster_domain: "cluster.local".into(),
            node_name: String::new(),
            node_address: Ipv4Addr::LOCALHOST,
            port: 0,
            metrics_port: 0,
            service_ip: Ipv4Addr::new(10, 96, 0, 10),
            upstream: Upstream::ResolvConf("/etc/resolv.conf".into()),
        }
    }
}
