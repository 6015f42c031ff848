//! Settings of the proxy.

use std::net::SocketAddr;
use std::time::Duration;

use ipnet::Ipv4Net;

/// Settings. The default is a cluster named `skiff` with its usual ranges, and no listening sockets but those that
/// Services ask for.
#[derive(Clone, Debug)]
pub struct Config {
    /// Cluster name: part of the nftables table's name.
    pub cluster: String,
    /// This node's name: which endpoints are local.
    pub node_name: String,
    /// The range of all pods: other sources are masqueraded on their way to a cluster IP.
    pub pod_range: Ipv4Net,
    /// The range of cluster IPs: unallocated addresses in it are refused, not routed out.
    pub service_range: Ipv4Net,
    /// Where node ports answer: on the node's addresses in these ranges; on all of them if empty.
    pub node_port_addresses: Vec<Ipv4Net>,
    /// Where `/healthz` and `/livez` are served, if at all (upstream's default is 0.0.0.0:10256).
    pub healthz_address: Option<SocketAddr>,
    /// Where `/metrics` and `/proxyMode` are served, if at all (upstream's default is 127.0.0.1:10249).
    pub metrics_address: Option<SocketAddr>,
    /// How often to look whether the table is still there, in case someone else flushed it.
    pub check_period: Duration,
    /// Connections that the kernel tracks at least; 0 leaves the kernel's limit. Never lowers it.
    pub conntrack_min: u32,
}

impl Default for Config {
    fn default() -> Self {
        let range = |a, b, length| Ipv4Net::new_assert([a, b, 0, 0].into(), length);
        Self {
            cluster: "skiff".into(),
            node_name: String::new(),
            pod_range: range(10, 244, 16),
            service_range: range(10, 96, 12),
            node_port_addresses: Vec::new(),
            healthz_address: None,
            metrics_address: None,
            check_period: Duration::from_secs(30),
            conntrack_min: 131_072,
        }
    }
}
