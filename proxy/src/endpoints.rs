//! Which endpoints take a Service port's traffic (upstream `pkg/proxy/topology.go`).

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use crate::model::{Endpoint, Key, Protocol, Service, ServicePort, Slice, State};

/// Address and port of an endpoint.
pub type Target = (Ipv4Addr, u16);

/// Where traffic goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Destination {
    /// To one of these, chosen at random.
    Targets(BTreeSet<Target>),
    /// Nowhere: the Service has no usable endpoint anywhere. Refused, so that clients fail at once.
    Reject,
    /// Nowhere on this node: endpoints exist, but the policy is Local and none is here. Dropped.
    Drop,
}

/// Destinations of one Service port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Routing {
    /// For traffic to the cluster IP.
    pub cluster: Destination,
    /// For traffic to node ports and external addresses.
    pub external: Destination,
    /// Ready endpoints on this node: what the health check port reports.
    pub local_ready: usize,
}

/// Slices grouped by their Service.
pub fn slices_by_service(state: &State) -> BTreeMap<&Key, Vec<&Slice>> {
    let mut grouped: BTreeMap<&Key, Vec<&Slice>> = BTreeMap::new();
    for slice in state.slices.values() {
        grouped.entry(&slice.service).or_default().push(slice);
    }
    grouped
}

/// The routing of one port of a Service, given its slices.
pub fn route(service: &Service, port: &ServicePort, slices: &[&Slice], node_name: &str) -> Routing {
    let all: Vec<(&Endpoint, u16)> = slices.iter().flat_map(|slice| endpoints_of_port(slice, port)).collect();
    let local: Vec<(&Endpoint, u16)> =
        all.iter().copied().filter(|(e, _)| e.node_name.as_deref() == Some(node_name)).collect();
    let cluster_wide = usable(&all);
    let on_node = usable(&local);
    let choose = |local_only: bool| match (local_only, cluster_wide.is_empty()) {
        (_, true) => Destination::Reject,
        (false, false) => Destination::Targets(cluster_wide.clone()),
        (true, false) if on_node.is_empty() => Destination::Drop,
        (true, false) => Destination::Targets(on_node.clone()),
    };
    Routing {
        cluster: choose(service.internal_local),
        external: choose(service.external_local),
        local_ready: local.iter().filter(|(e, _)| e.ready).count(),
    }
}

fn endpoints_of_port<'a>(slice: &'a Slice, port: &ServicePort) -> impl Iterator<Item = (&'a Endpoint, u16)> {
    let number = slice
        .ports
        .iter()
        .find(|(name, protocol, _): &&(String, Protocol, u16)| *name == port.name && *protocol == port.protocol)
        .map(|(_, _, number)| *number);
    slice.endpoints.iter().filter_map(move |endpoint| Some((endpoint, number?)))
}

/// Ready endpoints; when there are none, those that still serve while they terminate.
fn usable(endpoints: &[(&Endpoint, u16)]) -> BTreeSet<Target> {
    let pick = |wanted: fn(&Endpoint) -> bool| -> BTreeSet<Target> {
        endpoints.iter().filter(|(e, _)| wanted(e)).map(|(e, port)| (e.address, *port)).collect()
    };
    let ready = pick(|e| e.ready);
    if ready.is_empty() { pick(|e| e.serving && e.terminating) } else { ready }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> Key {
        Key { namespace: "demo".into(), name: "web".into() }
    }

    fn endpoint(last: u8, ready: bool, terminating: bool, node: &str) -> Endpoint {
        Endpoint {
            address: Ipv4Addr::new(10, 244, 0, last),
            ready,
            serving: true,
            terminating,
            node_name: Some(node.into()),
        }
    }

    fn routing(external_local: bool, endpoints: Vec<Endpoint>) -> Routing {
        let port = ServicePort { name: "http".into(), protocol: Protocol::Tcp, port: 80, node_port: Some(30080) };
        let service = Service {
            key: key(),
            cluster_ip: Ipv4Addr::new(10, 96, 0, 20),
            external_ips: vec![],
            ports: vec![port.clone()],
            affinity_seconds: None,
            external_local,
            internal_local: false,
            health_check_node_port: None,
        };
        let slice = Slice { service: key(), ports: vec![("http".into(), Protocol::Tcp, 8080)], endpoints };
        route(&service, &port, &[&slice], "n1")
    }

    fn targets(lasts: &[u8]) -> Destination {
        Destination::Targets(lasts.iter().map(|l| (Ipv4Addr::new(10, 244, 0, *l), 8080)).collect())
    }

    #[test]
    fn ready_endpoints_take_the_traffic() {
        let routing = routing(false, vec![endpoint(2, true, false, "n1"), endpoint(3, false, true, "n1")]);
        assert_eq!(routing.cluster, targets(&[2]));
        assert_eq!(routing.external, targets(&[2]));
    }

    #[test]
    fn terminating_endpoints_are_the_last_resort() {
        let routing = routing(false, vec![endpoint(3, false, true, "n1")]);
        assert_eq!(routing.cluster, targets(&[3]));
        assert_eq!(routing.local_ready, 0);
    }

    #[test]
    fn no_endpoint_is_refused() {
        assert_eq!(routing(true, vec![endpoint(3, false, false, "n1")]).external, Destination::Reject);
    }

    #[test]
    fn local_policy_keeps_to_the_node_or_drops() {
        let both = vec![endpoint(2, true, false, "n1"), endpoint(3, true, false, "n2")];
        assert_eq!(routing(true, both).external, targets(&[2]));
        let elsewhere = routing(true, vec![endpoint(3, true, false, "n2")]);
        assert_eq!(elsewhere.external, Destination::Drop);
        assert_eq!(elsewhere.cluster, targets(&[3]));
    }

    #[test]
    fn a_port_of_another_name_has_no_endpoints() {
        let mut with_other = vec![endpoint(2, true, false, "n1")];
        with_other[0].ready = true;
        let port = ServicePort { name: "admin".into(), protocol: Protocol::Tcp, port: 81, node_port: None };
        let slice = Slice { service: key(), ports: vec![("http".into(), Protocol::Tcp, 8080)], endpoints: with_other };
        assert_eq!(endpoints_of_port(&slice, &port).count(), 0);
    }
}
