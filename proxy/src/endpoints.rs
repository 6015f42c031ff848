//! Which endpoints take a Service port's traffic (upstream `pkg/proxy/topology.go`).

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use crate::model::{Endpoint, Service};

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
}

/// The node that traffic is routed on.
#[derive(Clone, Copy, Debug)]
pub struct Here<'a> {
    /// Its name.
    pub node: &'a str,
    /// Its zone; empty if unknown.
    pub zone: &'a str,
}

/// The routing of one port of a Service among its endpoints.
pub fn route(service: &Service, endpoints: &[(&Endpoint, u16)], here: Here<'_>) -> Routing {
    let local: Vec<(&Endpoint, u16)> = endpoints.iter().copied().filter(|(e, _)| is_local(e, here)).collect();
    let anywhere = usable(endpoints, |_| true);
    let near = usable(endpoints, nearest(endpoints, here));
    let on_node = usable(&local, |_| true);
    let choose = |local_only: bool| match (local_only, anywhere.is_empty()) {
        (_, true) => Destination::Reject,
        (false, false) => Destination::Targets(near.clone()),
        (true, false) if on_node.is_empty() => Destination::Drop,
        (true, false) => Destination::Targets(on_node.clone()),
    };
    Routing { cluster: choose(service.internal_local), external: choose(service.external_local) }
}

/// Whether an endpoint is on this node.
pub fn is_local(endpoint: &Endpoint, here: Here<'_>) -> bool {
    endpoint.node_name.as_deref() == Some(here.node)
}

/// Which ready endpoints the hints leave: those for this node if every ready one has such a hint and one names this
/// node, else likewise by zone, else all.
fn nearest(endpoints: &[(&Endpoint, u16)], here: Here<'_>) -> impl Fn(&Endpoint) -> bool {
    let hinted = |hints: fn(&Endpoint) -> &Vec<String>, name: &str| {
        let mut ready = endpoints.iter().filter(|(e, _)| e.ready).map(|(e, _)| hints(e)).peekable();
        ready.peek().is_some()
            && ready.clone().all(|names| !names.is_empty())
            && ready.any(|names| names.iter().any(|have| have == name))
    };
    let by_node = hinted(|e| &e.for_nodes, here.node);
    let by_zone = !by_node && hinted(|e| &e.for_zones, here.zone);
    move |endpoint| match (by_node, by_zone) {
        (true, _) => endpoint.for_nodes.iter().any(|name| name == here.node),
        (_, true) => endpoint.for_zones.iter().any(|name| name == here.zone),
        _ => true,
    }
}

/// Ready endpoints that `allowed` lets through; when there are none, those that still serve while they terminate.
fn usable(endpoints: &[(&Endpoint, u16)], allowed: impl Fn(&Endpoint) -> bool) -> BTreeSet<Target> {
    let pick = |wanted: &dyn Fn(&Endpoint) -> bool| -> BTreeSet<Target> {
        endpoints.iter().filter(|(e, _)| wanted(e)).map(|(e, port)| (e.address, *port)).collect()
    };
    let ready = pick(&|e| e.ready && allowed(e));
    if ready.is_empty() { pick(&|e| e.serving && e.terminating) } else { ready }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Key, Protocol, ServicePort, Slice};

    const HERE: Here<'static> = Here { node: "n1", zone: "z1" };

    fn endpoint(last: u8, ready: bool, terminating: bool, node: &str) -> Endpoint {
        Endpoint {
            address: Ipv4Addr::new(10, 244, 0, last),
            ready,
            serving: true,
            terminating,
            node_name: Some(node.into()),
            for_nodes: vec![],
            for_zones: vec![],
        }
    }

    fn port() -> ServicePort {
        ServicePort { name: "http".into(), protocol: Protocol::Tcp, port: 80, node_port: Some(30080) }
    }

    fn routing(external_local: bool, endpoints: &[Endpoint]) -> Routing {
        let service = Service {
            key: Key { namespace: "demo".into(), name: "web".into() },
            cluster_ip: Ipv4Addr::new(10, 96, 0, 20),
            external_ips: vec![],
            load_balancer_ips: vec![],
            source_ranges: vec![],
            ports: vec![port()],
            affinity_seconds: None,
            external_local,
            internal_local: false,
            health_check_node_port: None,
        };
        let endpoints: Vec<_> = endpoints.iter().map(|e| (e, 8080)).collect();
        route(&service, &endpoints, HERE)
    }

    fn targets(lasts: &[u8]) -> Destination {
        Destination::Targets(lasts.iter().map(|l| (Ipv4Addr::new(10, 244, 0, *l), 8080)).collect())
    }

    #[test]
    fn ready_endpoints_take_the_traffic() {
        let routing = routing(false, &[endpoint(2, true, false, "n1"), endpoint(3, false, true, "n1")]);
        assert_eq!(routing, Routing { cluster: targets(&[2]), external: targets(&[2]) });
    }

    #[test]
    fn terminating_endpoints_are_the_last_resort() {
        assert_eq!(routing(false, &[endpoint(3, false, true, "n1")]).cluster, targets(&[3]));
    }

    #[test]
    fn no_endpoint_is_refused() {
        assert_eq!(routing(true, &[endpoint(3, false, false, "n1")]).external, Destination::Reject);
    }

    #[test]
    fn local_policy_keeps_to_the_node_or_drops() {
        let both = [endpoint(2, true, false, "n1"), endpoint(3, true, false, "n2")];
        assert_eq!(routing(true, &both).external, targets(&[2]));
        let elsewhere = routing(true, &[endpoint(3, true, false, "n2")]);
        assert_eq!(elsewhere, Routing { cluster: targets(&[3]), external: Destination::Drop });
    }

    #[test]
    fn hints_keep_traffic_near_when_every_ready_endpoint_has_one() {
        let zoned =
            |last: u8, zone: &str| Endpoint { for_zones: vec![zone.into()], ..endpoint(last, true, false, "n1") };
        let with_node =
            |last: u8, zone: &str, node: &str| Endpoint { for_nodes: vec![node.into()], ..zoned(last, zone) };
        assert_eq!(routing(false, &[zoned(2, "z1"), zoned(3, "z2")]).cluster, targets(&[2]));
        assert_eq!(routing(false, &[zoned(2, "z3"), zoned(3, "z2")]).cluster, targets(&[2, 3]), "none for this zone");
        let unhinted = [zoned(2, "z1"), endpoint(3, true, false, "n1")];
        assert_eq!(routing(false, &unhinted).cluster, targets(&[2, 3]), "one without a hint");
        let nodes = [with_node(2, "z1", "n2"), with_node(3, "z2", "n1")];
        assert_eq!(routing(false, &nodes).cluster, targets(&[3]), "the node goes before the zone");
    }

    #[test]
    fn a_port_of_another_name_has_no_endpoints() {
        let slice = Slice {
            ports: vec![("http".into(), Protocol::Tcp, 8080)],
            endpoints: vec![endpoint(2, true, false, "n1")],
        };
        assert_eq!(slice.endpoints_of(&port()).count(), 1);
        assert_eq!(slice.endpoints_of(&ServicePort { name: "admin".into(), ..port() }).count(), 0);
        assert_eq!(slice.endpoints_of(&ServicePort { protocol: Protocol::Udp, ..port() }).count(), 0);
    }
}
