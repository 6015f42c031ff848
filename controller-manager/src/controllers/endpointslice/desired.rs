//! Which endpoints a Service should have, by address family and set of ports.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use skiff_client::types::{Endpoint, EndpointConditions, EndpointHints, EndpointPort, ForName, Pod, Service};

use crate::service_backends::{hostname, reference, target_port};

/// Endpoints by their ports.
pub(super) type ByPorts = BTreeMap<Vec<EndpointPort>, Vec<Endpoint>>;

/// Endpoints by address type (`IPv4`, `IPv6`), one entry for each type that the Service has.
pub(super) type Desired = BTreeMap<&'static str, ByPorts>;

/// What a Service's slices should hold. `zone` gives a node's zone.
pub(super) fn desired(service: &Service, pods: &[Arc<Pod>], zone: impl Fn(&str) -> Option<String>) -> Desired {
    let mut desired: Desired = address_types(service).into_iter().map(|type_| (type_, ByPorts::new())).collect();
    for (type_, by_ports) in &mut desired {
        for pod in pods {
            let Some(address) = address(pod, type_) else { continue };
            let ports = ports(service, pod);
            by_ports.entry(ports).or_default().push(endpoint(service, pod, address, &zone));
        }
        for endpoints in by_ports.values_mut() {
            endpoints.sort_by(|a, b| a.addresses.cmp(&b.addresses));
        }
    }
    desired
}

fn address_types(service: &Service) -> Vec<&'static str> {
    let type_of = |family: &String| if family == "IPv6" { "IPv6" } else { "IPv4" };
    if !service.spec.ip_families.is_empty() {
        return service.spec.ip_families.iter().map(type_of).collect();
    }
    let is_v6 = service.spec.cluster_ip.parse::<IpAddr>().is_ok_and(|address| address.is_ipv6());
    vec![if is_v6 { "IPv6" } else { "IPv4" }]
}

fn address(pod: &Pod, type_: &str) -> Option<String> {
    let addresses = pod.status.pod_ips.iter().map(|one| one.ip.as_str());
    let mut addresses = addresses.chain(std::iter::once(pod.status.pod_ip.as_str()));
    let fits = |text: &&str| text.parse::<IpAddr>().is_ok_and(|address| address.is_ipv6() == (type_ == "IPv6"));
    addresses.find(fits).map(str::to_owned)
}

/// Ports whose name the pod does not know are left out: the pod is an endpoint of the other ports only.
fn ports(service: &Service, pod: &Pod) -> Vec<EndpointPort> {
    let known = service.spec.ports.iter().filter_map(|port| {
        Some(EndpointPort {
            name: port.name.clone(),
            protocol: Some(if port.protocol.is_empty() { "TCP".into() } else { port.protocol.clone() }),
            port: Some(target_port(port, pod)?),
            app_protocol: port.app_protocol.clone(),
        })
    });
    let mut ports: Vec<_> = known.collect();
    ports.sort();
    ports
}

fn endpoint(service: &Service, pod: &Pod, address: String, zone: impl Fn(&str) -> Option<String>) -> Endpoint {
    let (serving, terminating) = (pod.is_ready(), pod.metadata.is_deleting());
    let ready = service.spec.publish_not_ready_addresses || (serving && !terminating);
    let node = Some(pod.spec.node_name.clone()).filter(|node| !node.is_empty());
    let zone = node.as_deref().and_then(zone);
    let hints = hints(&service.spec.traffic_distribution, zone.as_deref(), node.as_deref()).filter(|_| ready);
    Endpoint {
        addresses: vec![address],
        conditions: EndpointConditions { ready: Some(ready), serving: Some(serving), terminating: Some(terminating) },
        hostname: hostname(pod, service).map(str::to_owned),
        node_name: node,
        zone,
        target_ref: Some(reference(pod)),
        hints,
    }
}

fn hints(distribution: &str, zone: Option<&str>, node: Option<&str>) -> Option<EndpointHints> {
    let named = |name: Option<&str>| name.map(|name| ForName { name: name.into() }).into_iter().collect();
    let hints = match distribution {
        "PreferClose" | "PreferSameZone" => EndpointHints { for_zones: named(zone), for_nodes: Vec::new() },
        "PreferSameNode" => EndpointHints { for_zones: named(zone), for_nodes: named(node) },
        _ => return None,
    };
    Some(hints).filter(|hints| *hints != EndpointHints::default())
}
