//! Settings of the proxy.

use ipnet::Ipv4Net;

/// Settings.
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
}
