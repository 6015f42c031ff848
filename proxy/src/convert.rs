//! From the API's objects to the model. What the proxy has no use for becomes `None`: headless and ExternalName
//! Services, and what is not IPv4.

use std::net::Ipv4Addr;

use skiff_client::types;

use crate::model::{Endpoint, Key, Protocol, Service, ServicePort, Slice};

/// Affinity timeout when the Service does not say one (upstream `DefaultClientIPServiceAffinitySeconds`).
const DEFAULT_AFFINITY_SECONDS: u32 = 10_800;

/// The key of an object.
pub fn key(meta: &types::Meta) -> Key {
    Key { namespace: meta.namespace.clone(), name: meta.name.clone() }
}

/// A Service, if it has an IPv4 cluster IP (upstream `ShouldSkipService`).
pub fn service(object: &types::Service) -> Option<Service> {
    let spec = &object.spec;
    if spec.type_ == "ExternalName" || object.is_headless() {
        return None;
    }
    let cluster_ip = spec.cluster_ips.iter().chain([&spec.cluster_ip]).find_map(|ip| ip.parse().ok())?;
    let client_ip = spec.session_affinity_config.as_ref().and_then(|config| config.client_ip.as_ref());
    let affinity = client_ip.and_then(|client| client.timeout_seconds).and_then(|seconds| u32::try_from(seconds).ok());
    let external = matches!(spec.type_.as_str(), "NodePort" | "LoadBalancer") || !spec.external_ips.is_empty();
    let ingress = &object.status.load_balancer.ingress;
    Some(Service {
        key: key(&object.metadata),
        cluster_ip,
        external_ips: addresses(&spec.external_ips),
        load_balancer_ips: ingress.iter().filter(|i| i.ip_mode != "Proxy").filter_map(|i| i.ip.parse().ok()).collect(),
        source_ranges: spec.load_balancer_source_ranges.iter().filter_map(|range| range.trim().parse().ok()).collect(),
        ports: spec.ports.iter().filter_map(port).collect(),
        affinity_seconds: (spec.session_affinity == "ClientIP").then(|| affinity.unwrap_or(DEFAULT_AFFINITY_SECONDS)),
        external_local: external && spec.external_traffic_policy == "Local",
        internal_local: spec.internal_traffic_policy == "Local",
        health_check_node_port: number(spec.health_check_node_port),
    })
}

fn port(port: &types::ServicePort) -> Option<ServicePort> {
    Some(ServicePort {
        name: port.name.clone(),
        protocol: Protocol::parse(Some(&port.protocol)),
        port: number(port.port)?,
        node_port: number(port.node_port),
    })
}

/// A port number; 0 and what is out of range is none.
fn number(value: i32) -> Option<u16> {
    u16::try_from(value).ok().filter(|port| *port > 0)
}

fn addresses(texts: &[String]) -> Vec<Ipv4Addr> {
    texts.iter().filter_map(|text| text.parse().ok()).collect()
}

/// A slice of IPv4 addresses, with the key of its Service.
pub fn slice(object: &types::EndpointSlice) -> Option<(Key, Slice)> {
    if object.address_type != "IPv4" {
        return None;
    }
    let service = Key { namespace: object.metadata.namespace.clone(), name: object.service_name()?.to_owned() };
    let ports = object.ports.iter().filter_map(|port| {
        // A port without number means all ports, which no Service port can be translated to.
        Some((port.name.clone(), Protocol::parse(port.protocol.as_deref()), number(port.port?)?))
    });
    let endpoints = object.endpoints.iter().filter_map(endpoint);
    Some((service, Slice { ports: ports.collect(), endpoints: endpoints.collect() }))
}

fn endpoint(endpoint: &types::Endpoint) -> Option<Endpoint> {
    let names = |hints: &[types::ForName]| hints.iter().map(|hint| hint.name.clone()).collect();
    let hints = endpoint.hints.as_ref();
    Some(Endpoint {
        address: endpoint.addresses.first()?.parse().ok()?,
        ready: endpoint.conditions.is_ready(),
        serving: endpoint.conditions.is_serving(),
        terminating: endpoint.conditions.is_terminating(),
        node_name: endpoint.node_name.clone(),
        for_nodes: hints.map(|hints| names(&hints.for_nodes)).unwrap_or_default(),
        for_zones: hints.map(|hints| names(&hints.for_zones)).unwrap_or_default(),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn parse(spec: Value) -> Option<Service> {
        let object = json!({"metadata": {"name": "web", "namespace": "demo"}, "spec": spec});
        service(&serde_json::from_value(object).expect("a service"))
    }

    #[test]
    fn services_with_an_address_count() {
        let web = parse(json!({
            "type": "NodePort", "clusterIP": "10.96.0.7", "clusterIPs": ["fd00::1", "10.96.0.7"],
            "sessionAffinity": "ClientIP", "externalTrafficPolicy": "Local", "internalTrafficPolicy": "Cluster",
            "ports": [{"name": "a", "protocol": "UDP", "port": 53, "nodePort": 30053}, {"port": 80}],
        }))
        .expect("has an address");
        assert_eq!(web.cluster_ip, Ipv4Addr::new(10, 96, 0, 7));
        assert_eq!((web.affinity_seconds, web.external_local, web.internal_local), (Some(10_800), true, false));
        assert_eq!((web.ports[0].protocol, web.ports[0].node_port), (Protocol::Udp, Some(30053)));
        assert_eq!((web.ports[1].protocol, web.ports[1].node_port), (Protocol::Tcp, None));

        assert_eq!(parse(json!({"clusterIP": "None", "clusterIPs": ["None"]})), None);
        assert_eq!(parse(json!({"type": "ExternalName", "externalName": "example.org"})), None);
        assert_eq!(parse(json!({"clusterIP": "fd00::1", "clusterIPs": ["fd00::1"]})), None);
        let cluster_ip =
            parse(json!({"type": "ClusterIP", "clusterIP": "10.96.0.7", "externalTrafficPolicy": "Local"}));
        assert!(!cluster_ip.expect("has an address").external_local, "the policy needs something external");
    }

    #[test]
    fn slices_belong_to_services() {
        let object = |address_type: &str, labels: Value| {
            json!({"metadata": {"name": "s", "namespace": "demo", "labels": labels}, "addressType": address_type,
                "ports": [{"name": "a", "port": 8080}, {"name": "all"}],
                "endpoints": [{"addresses": ["10.244.0.2"], "conditions": {"ready": false, "terminating": true, "serving": true}},
                    {"addresses": ["10.244.0.3"], "nodeName": "n1", "hints": {"forZones": [{"name": "z"}]}}]})
        };
        let parse = |value| slice(&serde_json::from_value(value).expect("a slice"));
        let (service, found) = parse(object("IPv4", json!({"kubernetes.io/service-name": "web"}))).expect("counts");
        assert_eq!(service, Key { namespace: "demo".into(), name: "web".into() });
        assert_eq!(found.ports, [("a".to_owned(), Protocol::Tcp, 8080)]);
        let conditions: Vec<_> = found.endpoints.iter().map(|e| (e.ready, e.serving, e.terminating)).collect();
        assert_eq!(conditions, [(false, true, true), (true, true, false)]);
        assert_eq!(found.endpoints[1].for_zones, ["z"]);
        assert_eq!(parse(object("IPv6", json!({"kubernetes.io/service-name": "web"}))), None);
        assert_eq!(parse(object("IPv4", json!({}))), None);
    }
}
