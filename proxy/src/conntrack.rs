//! UDP flows to endpoints that are gone. A UDP client that goes on sending keeps its tracked flow for ever, and with it
//! an endpoint that no longer exists; such flows are forgotten, so that the next packet finds a new endpoint (upstream
//! `pkg/proxy/conntrack/cleanup.go`).

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddrV4};

use skiff_netlink::conntrack::{self, Flow};

use crate::endpoints::Target;
use crate::model::{Key, Protocol, State};

/// The addresses of a Service port that clients use, and its endpoints that serve.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frontend {
    /// Cluster IP, external and load balancer addresses.
    pub addresses: Vec<Ipv4Addr>,
    /// Port on them.
    pub port: u16,
    /// Port on every node.
    pub node_port: Option<u16>,
    /// Endpoints that serve, be they terminating or not: flows to them go on.
    pub serving: Vec<Target>,
}

/// The frontends of a Service's ports of a protocol. Ports without any serving endpoint are left out, as their flows
/// have nowhere better to go.
pub fn frontends(state: &State, key: &Key, protocol: Protocol) -> Vec<Frontend> {
    let Some(service) = state.services.get(key) else { return Vec::new() };
    let ports = service.ports.iter().filter(|port| port.protocol == protocol);
    let frontends = ports.map(|port| Frontend {
        addresses: [&[service.cluster_ip], &*service.external_ips, &*service.load_balancer_ips].concat(),
        port: port.port,
        node_port: port.node_port,
        serving: state
            .endpoints(key, port)
            .into_iter()
            .filter(|(endpoint, _)| endpoint.serving)
            .map(|(endpoint, number)| (endpoint.address, number))
            .collect(),
    });
    frontends.filter(|frontend| !frontend.serving.is_empty()).collect()
}

/// Removes the UDP flows through these frontends to other endpoints than theirs, and returns how many. Blocks for the
/// time that the kernel needs to list all flows.
pub fn remove_stale(frontends: &[Frontend]) -> skiff_netlink::Result<usize> {
    let index = Index::new(frontends);
    let stale = conntrack::list(conntrack::UDP, |flow| index.is_stale(flow.destination, flow.answers_from))?;
    delete(&stale)
}

fn delete(stale: &[Flow]) -> skiff_netlink::Result<usize> {
    if stale.is_empty() { Ok(0) } else { conntrack::delete(stale) }
}

/// Frontends by the address and port that clients use.
struct Index<'a> {
    addresses: HashMap<SocketAddrV4, &'a Frontend>,
    node_ports: HashMap<u16, &'a Frontend>,
}

impl<'a> Index<'a> {
    fn new(frontends: &'a [Frontend]) -> Self {
        let pairs = frontends.iter().flat_map(|frontend| {
            frontend.addresses.iter().map(move |address| (SocketAddrV4::new(*address, frontend.port), frontend))
        });
        let node_ports = frontends.iter().filter_map(|frontend| Some((frontend.node_port?, frontend)));
        Self { addresses: pairs.collect(), node_ports: node_ports.collect() }
    }

    fn is_stale(&self, destination: SocketAddrV4, answers_from: SocketAddrV4) -> bool {
        let frontend = self.addresses.get(&destination).or_else(|| self.node_ports.get(&destination.port()));
        let target = (*answers_from.ip(), answers_from.port());
        frontend.is_some_and(|frontend| !frontend.serving.contains(&target))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flows_to_other_endpoints_are_stale() {
        let dns = Frontend {
            addresses: vec![Ipv4Addr::new(10, 96, 0, 10)],
            port: 53,
            node_port: Some(30053),
            serving: vec![(Ipv4Addr::new(192, 0, 2, 2), 10053)],
        };
        let frontends = [dns];
        let index = Index::new(&frontends);
        let stale = |destination: &str, answers_from: &str| {
            index.is_stale(destination.parse().expect("address"), answers_from.parse().expect("address"))
        };
        assert!(!stale("10.96.0.10:53", "192.0.2.2:10053"), "its own endpoint");
        assert!(stale("10.96.0.10:53", "192.0.2.2:9999"), "an endpoint that is gone");
        assert!(stale("10.96.0.10:53", "10.96.0.10:53"), "begun before there was an endpoint");
        assert!(stale("192.0.2.2:30053", "192.0.2.2:9999"), "by node port");
        assert!(!stale("10.96.0.11:53", "192.0.2.2:9999"), "another Service");
    }
}
