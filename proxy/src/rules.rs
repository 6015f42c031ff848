//! The proxy's table: hooks and maps that never change, and what each Service adds.
//!
//! A packet for a Service is found by one map lookup, goes to the Service's chain, is sent to one endpoint's chain at
//! random and translated there. Sources outside the pod range, hairpins and everything that came by a node port are
//! masqueraded, so that answers come back this way.

use std::fmt::Write;

use crate::config::Config;
use crate::endpoints::{Destination, Routing, Target, route, slices_by_service};
use crate::model::{Service, ServicePort, State};
use crate::ruleset::Ruleset;

/// Mark of packets to masquerade (upstream's default masquerade bit, 14).
const MASQUERADE: &str = "meta mark set meta mark or 0x4000";

/// Maps from destination to verdict.
const SERVICE_IPS: &str = "service_ips";
const SERVICE_NODEPORTS: &str = "service_nodeports";
const REFUSED_IPS: &str = "refused_ips";
const REFUSED_NODEPORTS: &str = "refused_nodeports";

/// Maps, hooks and the chains they share.
pub fn base(config: &Config) -> String {
    let Config { service_range, .. } = config;
    format!(
        "\
 map {SERVICE_IPS} {{ type ipv4_addr . inet_proto . inet_service : verdict; }}
 map {SERVICE_NODEPORTS} {{ type inet_proto . inet_service : verdict; }}
 map {REFUSED_IPS} {{ type ipv4_addr . inet_proto . inet_service : verdict; }}
 map {REFUSED_NODEPORTS} {{ type inet_proto . inet_service : verdict; }}
 chain services {{
  ip daddr . meta l4proto . th dport vmap @{SERVICE_IPS}
  fib daddr type local meta l4proto . th dport vmap @{SERVICE_NODEPORTS}
 }}
 chain refuse {{
  reject
 }}
 chain unroutable {{
  ct state new ip daddr . meta l4proto . th dport vmap @{REFUSED_IPS}
  ct state new fib daddr type local meta l4proto . th dport vmap @{REFUSED_NODEPORTS}
  ct state new ip daddr {service_range} ct status != dnat reject
 }}
 chain prerouting {{
  type nat hook prerouting priority dstnat; policy accept;
  jump services
 }}
 chain output {{
  type nat hook output priority -100; policy accept;
  jump services
 }}
 chain postrouting {{
  type nat hook postrouting priority srcnat; policy accept;
  meta mark & 0x4000 == 0x4000 meta mark set meta mark xor 0x4000 masquerade fully-random
 }}
 chain filter_input {{
  type filter hook input priority 0; policy accept;
  ip daddr 127.0.0.0/8 ip saddr != 127.0.0.0/8 ct status != dnat ct state new drop
  jump unroutable
 }}
 chain filter_forward {{
  type filter hook forward priority 0; policy accept;
  jump unroutable
 }}
 chain filter_output {{
  type filter hook output priority 0; policy accept;
  jump unroutable
 }}
"
    )
}

/// What the Services and endpoints known add to the base.
pub fn build(config: &Config, state: &State) -> Ruleset {
    let mut ruleset = Ruleset::default();
    let slices = slices_by_service(state);
    for service in state.services.values() {
        let slices = slices.get(&service.key).map(Vec::as_slice).unwrap_or_default();
        for port in &service.ports {
            let routing = route(service, port, slices, &config.node_name);
            add_port(&mut ruleset, config, service, port, &routing);
        }
    }
    ruleset
}

fn add_port(ruleset: &mut Ruleset, config: &Config, service: &Service, port: &ServicePort, routing: &Routing) {
    let id = chain_id(service, port);
    let protocol = port.protocol.as_str();
    let cluster_key = format!("{} . {protocol} . {}", service.cluster_ip, port.port);
    let from_outside = format!("ip saddr != {} {MASQUERADE}", config.pod_range);
    let cluster_chain = format!("svc_{id}");
    if add_destination(ruleset, service, port, &cluster_chain, vec![from_outside], &routing.cluster) {
        ruleset.elements.insert((SERVICE_IPS, cluster_key), format!("goto {cluster_chain}"));
    } else if routing.cluster == Destination::Reject {
        ruleset.elements.insert((REFUSED_IPS, cluster_key), "goto refuse".to_owned());
    } else {
        ruleset.elements.insert((REFUSED_IPS, cluster_key), "drop".to_owned());
    }
    add_external(ruleset, config, service, port, routing, &id);
}

/// Node port, external addresses and load balancer addresses share one chain.
fn add_external(
    ruleset: &mut Ruleset,
    config: &Config,
    service: &Service,
    port: &ServicePort,
    routing: &Routing,
    id: &str,
) {
    if port.node_port.is_none() && service.external_ips.is_empty() {
        return;
    }
    let protocol = port.protocol.as_str();
    let chain = format!("ext_{id}");
    // Under policy Local the client's address is kept, but for clients on this node's loopback, which pods cannot answer.
    let masquerade = if service.external_local {
        let pods_go_cluster_wide = format!("ip saddr {} goto svc_{id}", config.pod_range);
        let mut rules = vec![format!("fib saddr type local {MASQUERADE}")];
        if matches!(routing.cluster, Destination::Targets(_)) {
            rules.insert(0, pods_go_cluster_wide);
        }
        rules
    } else {
        vec![MASQUERADE.to_owned()]
    };
    let (map, verdict) = if add_destination(ruleset, service, port, &chain, masquerade, &routing.external) {
        ((SERVICE_IPS, SERVICE_NODEPORTS), format!("goto {chain}"))
    } else if routing.external == Destination::Reject {
        ((REFUSED_IPS, REFUSED_NODEPORTS), "goto refuse".to_owned())
    } else {
        ((REFUSED_IPS, REFUSED_NODEPORTS), "drop".to_owned())
    };
    if let Some(node_port) = port.node_port {
        ruleset.elements.insert((map.1, format!("{protocol} . {node_port}")), verdict.clone());
    }
    for address in &service.external_ips {
        ruleset.elements.insert((map.0, format!("{address} . {protocol} . {}", port.port)), verdict.clone());
    }
}

/// Adds the chain that spreads over the targets; false when there are none.
fn add_destination(
    ruleset: &mut Ruleset,
    service: &Service,
    port: &ServicePort,
    chain: &str,
    mut rules: Vec<String>,
    destination: &Destination,
) -> bool {
    let Destination::Targets(targets) = destination else { return false };
    let id = chain_id(service, port);
    let mut choices = String::new();
    for (number, target) in targets.iter().enumerate() {
        let endpoint = endpoint_chain(&id, target);
        if service.affinity_seconds.is_some() {
            rules.push(format!("ip saddr @aff_{endpoint} goto {endpoint}"));
        }
        let separator = if number == 0 { "" } else { ", " };
        // Writing to a String cannot fail.
        let _ = write!(choices, "{separator}{number} : goto {endpoint}");
        add_endpoint(ruleset, service, port, &endpoint, target);
    }
    rules.push(format!("numgen random mod {} vmap {{ {choices} }}", targets.len()));
    ruleset.chains.insert(chain.to_owned(), rules);
    true
}

fn add_endpoint(ruleset: &mut Ruleset, service: &Service, port: &ServicePort, chain: &str, target: &Target) {
    let (address, number) = target;
    let mut rules = vec![format!("ip saddr {address} {MASQUERADE}")];
    if let Some(seconds) = service.affinity_seconds {
        let definition = format!("type ipv4_addr; flags dynamic,timeout; timeout {seconds}s; size 65536;");
        ruleset.sets.insert(format!("aff_{chain}"), definition);
        rules.push(format!("update @aff_{chain} {{ ip saddr }}"));
    }
    rules.push(format!("meta l4proto {} dnat to {address}:{number}", port.protocol.as_str()));
    ruleset.chains.insert(chain.to_owned(), rules);
}

fn endpoint_chain(id: &str, (address, port): &Target) -> String {
    format!("ep_{id}_{}_{port}", address.to_string().replace('.', "_"))
}

/// Names a Service port: a readable part and a hash, as names may be longer than nftables takes.
fn chain_id(service: &Service, port: &ServicePort) -> String {
    use sha2::{Digest, Sha256};
    let full = format!("{}/{}/{}/{}", service.key.namespace, service.key.name, port.protocol.as_str(), port.name);
    let digest = Sha256::digest(full.as_bytes());
    let hash: String = digest.iter().take(5).map(|byte| format!("{byte:02x}")).collect();
    let readable: String =
        service.key.name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).take(24).collect();
    format!("{readable}_{hash}")
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;
    use crate::model::{Endpoint, Key, Protocol, Slice};

    fn config() -> Config {
        Config {
            cluster: "t".into(),
            node_name: "n1".into(),
            pod_range: "10.244.0.0/16".parse().expect("range"),
            service_range: "10.96.0.0/12".parse().expect("range"),
        }
    }

    fn state(affinity_seconds: Option<u32>, ready: bool) -> State {
        let key = Key { namespace: "demo".into(), name: "web".into() };
        let endpoints = [2, 3].map(|last| Endpoint {
            address: Ipv4Addr::new(10, 244, 0, last),
            ready,
            serving: ready,
            terminating: false,
            node_name: Some("n1".into()),
        });
        let service = Service {
            key: key.clone(),
            cluster_ip: Ipv4Addr::new(10, 96, 1, 1),
            external_ips: vec![],
            ports: vec![ServicePort {
                name: String::new(),
                protocol: Protocol::Tcp,
                port: 80,
                node_port: Some(30080),
            }],
            affinity_seconds,
            external_local: false,
            internal_local: false,
            health_check_node_port: None,
        };
        let slice = Slice {
            service: key.clone(),
            ports: vec![(String::new(), Protocol::Tcp, 8080)],
            endpoints: endpoints.into(),
        };
        State { services: [(key.clone(), service)].into(), slices: [(key, slice)].into() }
    }

    #[test]
    fn a_service_becomes_chains_and_map_elements() {
        let ruleset = build(&config(), &state(None, true));
        let (name, service) = ruleset.chains.iter().find(|(n, _)| n.starts_with("svc_web_")).expect("service chain");
        assert_eq!(service[0], "ip saddr != 10.244.0.0/16 meta mark set meta mark or 0x4000");
        assert!(service[1].starts_with("numgen random mod 2 vmap { 0 : goto ep_web_"), "{service:?}");
        assert_eq!(
            ruleset.elements[&(SERVICE_IPS, "10.96.1.1 . tcp . 80".to_owned())],
            format!("goto {name}")
        );
        assert!(ruleset.elements[&(SERVICE_NODEPORTS, "tcp . 30080".to_owned())].starts_with("goto ext_web_"));
        let endpoint = ruleset.chains.iter().find(|(n, _)| n.ends_with("_10_244_0_2_8080")).expect("endpoint").1;
        assert_eq!(
            endpoint.as_slice(),
            ["ip saddr 10.244.0.2 meta mark set meta mark or 0x4000", "meta l4proto tcp dnat to 10.244.0.2:8080"]
        );
    }

    #[test]
    fn without_endpoints_both_ports_are_refused() {
        let ruleset = build(&config(), &state(None, false));
        assert!(ruleset.chains.is_empty());
        assert_eq!(ruleset.elements[&(REFUSED_IPS, "10.96.1.1 . tcp . 80".to_owned())], "goto refuse");
        assert_eq!(ruleset.elements[&(REFUSED_NODEPORTS, "tcp . 30080".to_owned())], "goto refuse");
    }

    #[test]
    fn affinity_remembers_clients_per_endpoint() {
        let ruleset = build(&config(), &state(Some(600), true));
        assert_eq!(ruleset.sets.len(), 2);
        let service = ruleset.chains.iter().find(|(n, _)| n.starts_with("svc_")).expect("service chain").1;
        assert!(service[1].starts_with("ip saddr @aff_ep_web_"), "{service:?}");
    }
}
