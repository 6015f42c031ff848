//! The proxy's table: hooks and maps that never change, and what each Service adds.
//!
//! A packet for a Service is found by one map lookup, goes to the Service's chain and is translated there to an endpoint
//! at random. Sources outside the pod range, hairpins and everything that came by a node port are masqueraded, so that
//! answers come back this way.
//!
//! A Service port has one chain and no map of its own where that is possible: the kernel looks for a free name among all
//! anonymous maps for each new one, so ten thousand of them would take ten seconds to load.

use std::collections::BTreeSet;

use crate::config::Config;
use crate::endpoints::{Destination, Here, Routing, Target, is_local, route};
use crate::model::{Service, ServicePort, State};
use crate::ruleset::{Base, Ruleset};

/// Mark of packets to masquerade (upstream's default masquerade bit, 14).
const MASQUERADE: &str = "meta mark set meta mark or 0x4000";

/// Maps from destination to verdict.
const SERVICE_IPS: &str = "service_ips";
const SERVICE_NODEPORTS: &str = "service_nodeports";
const REFUSED_IPS: &str = "refused_ips";
const REFUSED_NODEPORTS: &str = "refused_nodeports";
/// Pairs of an endpoint's address and itself: a pod that reaches itself by a Service.
const HAIRPINS: &str = "hairpins";

/// The chain of the base through which every packet for a Service goes.
pub const ENTRY_CHAIN: &str = "services";

/// The maps of the base.
const MAPS: [&str; 4] = [SERVICE_IPS, SERVICE_NODEPORTS, REFUSED_IPS, REFUSED_NODEPORTS];
/// The sets of the base.
const SETS: [&str; 1] = [HAIRPINS];
/// The chains of the base.
const CHAINS: [&str; 9] = [
    "services",
    "refuse",
    "unroutable",
    "prerouting",
    "output",
    "postrouting",
    "filter_input",
    "filter_forward",
    "filter_output",
];

/// Maps, hooks and the chains they share. A refused TCP connection is reset rather than told "port unreachable": the
/// kernel does not deliver that message to itself on a node without a default route.
pub fn base(config: &Config) -> Base {
    let Config { service_range, .. } = config;
    let node_ports = node_port_destination(config);
    let text = format!(
        "\
 map {SERVICE_IPS} {{ type ipv4_addr . inet_proto . inet_service : verdict; }}
 map {SERVICE_NODEPORTS} {{ type inet_proto . inet_service : verdict; }}
 map {REFUSED_IPS} {{ type ipv4_addr . inet_proto . inet_service : verdict; }}
 map {REFUSED_NODEPORTS} {{ type inet_proto . inet_service : verdict; }}
 set {HAIRPINS} {{ type ipv4_addr . ipv4_addr; }}
 chain services {{
  ip daddr . meta l4proto . th dport vmap @{SERVICE_IPS}
  {node_ports} meta l4proto . th dport vmap @{SERVICE_NODEPORTS}
 }}
 chain refuse {{
  meta l4proto tcp reject with tcp reset
  reject
 }}
 chain unroutable {{
  ct state new ip daddr . meta l4proto . th dport vmap @{REFUSED_IPS}
  ct state new {node_ports} meta l4proto . th dport vmap @{REFUSED_NODEPORTS}
  ct state new ip daddr {service_range} jump refuse
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
  ct status & dnat == dnat ip saddr . ip daddr @{HAIRPINS} masquerade fully-random
 }}
 chain filter_input {{
  type filter hook input priority 0; policy accept;
  iifname != \"lo\" ip daddr 127.0.0.0/8 ct status & dnat == 0 ct state new drop
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
    );
    Base { text, maps: &MAPS, sets: &SETS, chains: &CHAINS }
}

/// Matches the addresses on which node ports answer.
fn node_port_destination(config: &Config) -> String {
    let ranges: Vec<String> = config.node_port_addresses.iter().map(|range| format!("ip daddr {range}")).collect();
    match ranges.as_slice() {
        [] => "fib daddr type local".to_owned(),
        [one] => format!("fib daddr type local {one}"),
        _ => {
            let ranges: Vec<String> = config.node_port_addresses.iter().map(ToString::to_string).collect();
            format!("fib daddr type local ip daddr {{ {} }}", ranges.join(", "))
        }
    }
}

/// What all Services known add to the base.
pub fn build(config: &Config, state: &State) -> Ruleset {
    let mut whole = Ruleset::default();
    for key in state.services.keys() {
        whole.merge(build_service(config, state, &state.services[key]));
    }
    whole
}

/// What one Service adds to the base.
pub fn build_service(config: &Config, state: &State, service: &Service) -> Ruleset {
    let here = Here { node: &config.node_name, zone: &state.zone };
    let mut ruleset = Ruleset::default();
    for port in &service.ports {
        let endpoints = state.endpoints(&service.key, port);
        let routing = route(service, &endpoints, here);
        for (endpoint, _) in endpoints.iter().filter(|(e, _)| e.node_name.is_none() || is_local(e, here)) {
            let pair = format!("{} . {}", endpoint.address, endpoint.address);
            ruleset.elements.insert((HAIRPINS, pair), String::new());
        }
        let rules = PortRules { config, service, port, id: chain_id(service, port) };
        rules.add_cluster(&mut ruleset, &routing);
        if port.node_port.is_some() || !service.external_ips.is_empty() || !service.load_balancer_ips.is_empty() {
            rules.add_external(&mut ruleset, &routing);
        }
    }
    ruleset
}

/// One Service port on its way into a ruleset.
struct PortRules<'a> {
    config: &'a Config,
    service: &'a Service,
    port: &'a ServicePort,
    id: String,
}

impl PortRules<'_> {
    fn key(&self, address: std::net::Ipv4Addr) -> String {
        format!("{address} . {} . {}", self.port.protocol.as_str(), self.port.port)
    }

    /// The cluster IP.
    fn add_cluster(&self, ruleset: &mut Ruleset, routing: &Routing) {
        let key = self.key(self.service.cluster_ip);
        let from_outside = format!("ip saddr != {} {MASQUERADE}", self.config.pod_range);
        let chain = format!("svc_{}", self.id);
        match &routing.cluster {
            Destination::Targets(targets) => {
                self.add_spread(ruleset, &chain, vec![from_outside], targets);
                ruleset.elements.insert((SERVICE_IPS, key), format!("goto {chain}"));
            }
            nowhere => {
                ruleset.elements.insert((REFUSED_IPS, key), refusal(nowhere).to_owned());
            }
        }
    }

    /// Node port, external addresses and load balancer addresses share one chain.
    fn add_external(&self, ruleset: &mut Ruleset, routing: &Routing) {
        let chain = format!("ext_{}", self.id);
        let mut rules = self.before_spread(routing);
        let mut translated = true;
        match &routing.external {
            Destination::Targets(targets) => self.add_spread(ruleset, &chain, rules, targets),
            // Pods and the node itself may still reach endpoints elsewhere.
            nowhere => {
                self.add_entries(ruleset, (REFUSED_IPS, REFUSED_NODEPORTS), refusal(nowhere));
                translated = *nowhere == Destination::Drop && matches!(routing.cluster, Destination::Targets(_));
                if translated {
                    ruleset.chains.insert(chain.clone(), std::mem::take(&mut rules));
                }
            }
        }
        if translated {
            self.add_entries(ruleset, (SERVICE_IPS, SERVICE_NODEPORTS), &format!("goto {chain}"));
        }
    }

    /// Under policy Local the client's address is kept, but for clients on this node, which pods cannot tell from
    /// others; what pods and the node itself send is not "external" and goes where the cluster IP leads.
    fn before_spread(&self, routing: &Routing) -> Vec<String> {
        if !self.service.external_local {
            return vec![MASQUERADE.to_owned()];
        }
        let mut rules = Vec::new();
        let inside = matches!(routing.cluster, Destination::Targets(_));
        if inside {
            rules.push(format!("ip saddr {} goto svc_{}", self.config.pod_range, self.id));
        }
        rules.push(format!("fib saddr type local {MASQUERADE}"));
        if inside {
            rules.push(format!("fib saddr type local goto svc_{}", self.id));
        }
        rules
    }

    /// Enters node port, external and load balancer addresses into the maps for addresses and for node ports.
    fn add_entries(&self, ruleset: &mut Ruleset, maps: (&'static str, &'static str), verdict: &str) {
        if let Some(node_port) = self.port.node_port {
            let key = format!("{} . {node_port}", self.port.protocol.as_str());
            ruleset.elements.insert((maps.1, key), verdict.to_owned());
        }
        for address in &self.service.external_ips {
            ruleset.elements.insert((maps.0, self.key(*address)), verdict.to_owned());
        }
        for address in &self.service.load_balancer_ips {
            let verdict = self.guard_load_balancer(ruleset, maps.0, verdict);
            ruleset.elements.insert((maps.0, self.key(*address)), verdict);
        }
    }

    /// Load balancer addresses let in only the source ranges, if there are any.
    fn guard_load_balancer(&self, ruleset: &mut Ruleset, map: &'static str, verdict: &str) -> String {
        if self.service.source_ranges.is_empty() || map != SERVICE_IPS {
            return verdict.to_owned();
        }
        let chain = format!("fw_{}", self.id);
        let ranges: Vec<String> = self.service.source_ranges.iter().map(ToString::to_string).collect();
        // Upstream lets a node reach its own load balancers, however far away their clients must be.
        let mut rules: Vec<String> = ranges.iter().map(|range| format!("ip saddr {range} {verdict}")).collect();
        rules.push(format!("fib saddr type local {verdict}"));
        rules.push("drop".to_owned());
        ruleset.chains.insert(chain.clone(), rules);
        format!("goto {chain}")
    }

    /// Adds the chain that spreads over the targets, after some rules of its own.
    fn add_spread(&self, ruleset: &mut Ruleset, chain: &str, mut rules: Vec<String>, targets: &BTreeSet<Target>) {
        match self.service.affinity_seconds {
            Some(seconds) => self.spread_with_affinity(ruleset, &mut rules, targets, seconds),
            None => rules.extend(self.spread(targets)),
        }
        ruleset.chains.insert(chain.to_owned(), rules);
    }

    /// Translates to one of the targets at random, each as likely as the others.
    fn spread(&self, targets: &BTreeSet<Target>) -> Vec<String> {
        let protocol = self.port.protocol.as_str();
        if targets.len() > SINGLE_RULES {
            let choices = targets.iter().enumerate();
            let choices: Vec<String> =
                choices.map(|(n, (address, port))| format!("{n} : {address} . {port}")).collect();
            let (count, choices) = (targets.len(), choices.join(", "));
            return vec![format!("meta l4proto {protocol} dnat ip to numgen random mod {count} map {{ {choices} }}")];
        }
        let rules = targets
            .iter()
            .zip((1..=targets.len()).rev())
            .map(|((address, port), left)| format!("{}meta l4proto {protocol} dnat to {address}:{port}", one_in(left)));
        rules.collect()
    }

    /// A known client goes to its endpoint, a new one to one at random. Each endpoint has a chain, which remembers the
    /// client and translates.
    fn spread_with_affinity(
        &self,
        ruleset: &mut Ruleset,
        rules: &mut Vec<String>,
        targets: &BTreeSet<Target>,
        seconds: u32,
    ) {
        let mut known = Vec::new();
        let mut random = Vec::new();
        for (target, left) in targets.iter().zip((1..=targets.len()).rev()) {
            let chain = endpoint_chain(&self.id, target);
            let set = affinity_set(&chain, seconds);
            known.push(format!("ip saddr @{set} goto {chain}"));
            random.push(format!("{}goto {chain}", one_in(left)));
            let (protocol, (address, port)) = (self.port.protocol.as_str(), target);
            let translate = format!("meta l4proto {protocol} dnat to {address}:{port}");
            ruleset.chains.insert(chain, vec![format!("update @{set} {{ ip saddr }}"), translate]);
            let definition =
                format!("type ipv4_addr; flags dynamic,timeout; timeout {seconds}s; size {AFFINITY_CLIENTS};");
            ruleset.sets.insert(set, definition);
        }
        rules.extend(known);
        rules.extend(random);
    }
}

/// Targets that get a rule each; more of them share a map.
const SINGLE_RULES: usize = 8;

/// Matches one packet in `left`.
fn one_in(left: usize) -> String {
    if left == 1 { String::new() } else { format!("numgen random mod {left} 0 ") }
}

/// Clients that an affinity set remembers at most; more of them are spread as without affinity.
const AFFINITY_CLIENTS: u32 = 65_536;

/// The set of an endpoint's clients. The timeout is part of the name, as a set's timeout cannot be changed.
fn affinity_set(endpoint_chain: &str, seconds: u32) -> String {
    format!("aff{seconds}_{endpoint_chain}")
}

/// The verdict for what leads nowhere.
fn refusal(destination: &Destination) -> &'static str {
    if *destination == Destination::Drop { "drop" } else { "goto refuse" }
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
            ..Config::default()
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
            for_nodes: vec![],
            for_zones: vec![],
        });
        let service = Service {
            key: key.clone(),
            cluster_ip: Ipv4Addr::new(10, 96, 1, 1),
            external_ips: vec![],
            load_balancer_ips: vec![],
            source_ranges: vec![],
            ports: vec![ServicePort { name: String::new(), protocol: Protocol::Tcp, port: 80, node_port: Some(30080) }],
            affinity_seconds,
            external_local: false,
            internal_local: false,
            health_check_node_port: None,
        };
        let slice = Slice { ports: vec![(String::new(), Protocol::Tcp, 8080)], endpoints: endpoints.into() };
        let mut state = State { services: [(key.clone(), service)].into(), ..State::default() };
        state.add_slice(key, "web-1", slice);
        state
    }

    #[test]
    fn a_service_becomes_chains_and_map_elements() {
        let ruleset = build(&config(), &state(None, true));
        let (name, service) = ruleset.chains.iter().find(|(n, _)| n.starts_with("svc_web_")).expect("service chain");
        assert_eq!(service[0], "ip saddr != 10.244.0.0/16 meta mark set meta mark or 0x4000");
        assert_eq!(service[1], "numgen random mod 2 0 meta l4proto tcp dnat to 10.244.0.2:8080");
        assert_eq!(service[2], "meta l4proto tcp dnat to 10.244.0.3:8080");
        assert_eq!(ruleset.elements[&(SERVICE_IPS, "10.96.1.1 . tcp . 80".to_owned())], format!("goto {name}"));
        assert!(ruleset.elements[&(SERVICE_NODEPORTS, "tcp . 30080".to_owned())].starts_with("goto ext_web_"));
        let hairpins: Vec<&str> =
            ruleset.elements.keys().filter(|(map, _)| *map == HAIRPINS).map(|(_, key)| key.as_str()).collect();
        assert_eq!(hairpins, ["10.244.0.2 . 10.244.0.2", "10.244.0.3 . 10.244.0.3"]);
    }

    #[test]
    fn many_endpoints_share_a_map() {
        let mut state = state(None, true);
        let key = Key { namespace: "demo".into(), name: "web".into() };
        let endpoints = &mut state.slices.get_mut(&key).expect("slices").get_mut("web-1").expect("slice").endpoints;
        let model = endpoints[0].clone();
        endpoints.extend((4..11).map(|last| Endpoint { address: Ipv4Addr::new(10, 244, 0, last), ..model.clone() }));
        let ruleset = build(&config(), &state);
        let (_, rules) = ruleset.chains.iter().find(|(n, _)| n.starts_with("svc_")).expect("service chain");
        assert!(rules[1].contains("numgen random mod 9 map { 0 : 10.244.0.2 . 8080, 1 : "), "{rules:?}");
        assert_eq!(rules.len(), 2);
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
        assert!(service[1].starts_with("ip saddr @aff600_ep_web_"), "{service:?}");
    }

    #[test]
    fn policy_local_without_endpoints_here_still_serves_the_node_and_its_pods() {
        let mut state = state(None, true);
        let key = Key { namespace: "demo".into(), name: "web".into() };
        state.services.get_mut(&key).expect("web").external_local = true;
        for endpoint in &mut state.slices.get_mut(&key).expect("slices").get_mut("web-1").expect("slice").endpoints {
            endpoint.node_name = Some("n2".into());
        }
        let ruleset = build(&config(), &state);
        assert_eq!(ruleset.elements[&(REFUSED_NODEPORTS, "tcp . 30080".to_owned())], "drop");
        let (name, rules) = ruleset.chains.iter().find(|(n, _)| n.starts_with("ext_")).expect("external chain");
        assert_eq!(ruleset.elements[&(SERVICE_NODEPORTS, "tcp . 30080".to_owned())], format!("goto {name}"));
        let verdicts: Vec<&str> = rules.iter().map(|rule| rule.rsplit_once(' ').expect("words").1).collect();
        assert!(verdicts[0].starts_with("svc_") && verdicts[2].starts_with("svc_"), "{rules:?}");
        assert_eq!(rules.len(), 3, "nothing for others: {rules:?}");
    }

    #[test]
    fn load_balancer_addresses_let_in_their_source_ranges_only() {
        let mut state = state(None, true);
        let key = Key { namespace: "demo".into(), name: "web".into() };
        let service = state.services.get_mut(&key).expect("web");
        service.load_balancer_ips = vec![Ipv4Addr::new(203, 0, 113, 9)];
        service.source_ranges = vec!["198.51.100.0/24".parse().expect("range")];
        let ruleset = build(&config(), &state);
        let verdict = &ruleset.elements[&(SERVICE_IPS, "203.0.113.9 . tcp . 80".to_owned())];
        let rules = &ruleset.chains[verdict.strip_prefix("goto ").expect("a chain")];
        assert!(rules[0].starts_with("ip saddr 198.51.100.0/24 goto ext_web_"), "{rules:?}");
        assert_eq!(rules.last().map(String::as_str), Some("drop"));
    }
}
