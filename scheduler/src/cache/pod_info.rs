//! A pod with what is computed from it once.

use std::sync::Arc;

use skiff_client::ObjectKey;
use skiff_client::types::{Affinity, Pod};

use crate::resources::{Resource, pod_nonzero_request, pod_request};

/// A port that a pod takes on its node.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct HostPort {
    /// Port.
    pub port: i32,
    /// `TCP`, `UDP` or `SCTP`.
    pub protocol: Box<str>,
    /// Address; empty for all.
    pub ip: Box<str>,
}

impl HostPort {
    /// Whether both cannot be on one node: same port and protocol, and addresses that overlap.
    pub fn conflicts(&self, other: &HostPort) -> bool {
        let overlap = self.ip.is_empty() || other.ip.is_empty() || self.ip == other.ip;
        self.port == other.port && self.protocol == other.protocol && overlap
    }
}

/// A pod with its requests and ports.
#[derive(Debug)]
pub struct PodInfo {
    /// The pod.
    pub pod: Arc<Pod>,
    /// What it asks for.
    pub request: Resource,
    /// CPU and memory that it counts as when nodes are scored.
    pub nonzero: (i64, i64),
    /// Ports that it takes on its node.
    pub host_ports: Vec<HostPort>,
}

impl PodInfo {
    /// Computes what is needed later.
    pub fn new(pod: Arc<Pod>) -> Self {
        Self { request: pod_request(&pod), nonzero: pod_nonzero_request(&pod), host_ports: host_ports(&pod), pod }
    }

    /// UID.
    pub fn uid(&self) -> &str {
        &self.pod.metadata.uid
    }

    /// Namespace and name.
    pub fn key(&self) -> ObjectKey {
        self.pod.metadata.key()
    }

    /// Priority.
    pub fn priority(&self) -> i32 {
        self.pod.spec.priority.unwrap_or(0)
    }

    /// Affinity rules, if any.
    pub fn affinity(&self) -> Option<&Affinity> {
        self.pod.spec.affinity.as_deref()
    }
}

/// Ports of main containers and sidecars; with the host's network every container port is one, and admission has
/// written it as such.
fn host_ports(pod: &Pod) -> Vec<HostPort> {
    let sidecars = pod.spec.init_containers.iter().filter(|container| container.restart_policy == "Always");
    let containers = pod.spec.containers.iter().chain(sidecars);
    let taken = containers.flat_map(|container| &container.ports).filter(|port| port.host_port > 0);
    taken
        .map(|port| HostPort {
            port: port.host_port,
            protocol: if port.protocol.is_empty() { "TCP".into() } else { port.protocol.as_str().into() },
            ip: if matches!(port.host_ip.as_str(), "0.0.0.0" | "::") {
                "".into()
            } else {
                port.host_ip.as_str().into()
            },
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_conflict_where_addresses_overlap() {
        let port = |ip: &str, protocol: &str, port| HostPort { port, protocol: protocol.into(), ip: ip.into() };
        let check = |a: HostPort, b: HostPort, expected: bool| assert_eq!(a.conflicts(&b), expected, "{a:?} {b:?}");
        check(port("", "TCP", 80), port("127.0.0.1", "TCP", 80), true);
        check(port("127.0.0.1", "TCP", 80), port("127.0.0.2", "TCP", 80), false);
        check(port("", "TCP", 80), port("", "UDP", 80), false);
        check(port("", "TCP", 80), port("", "TCP", 81), false);
    }
}
