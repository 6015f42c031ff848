//! The resolver configuration of a pod (upstream: `pkg/kubelet/network/dns/dns.go`).

use k8s_openapi::api::core::v1::{Pod, PodDNSConfig};
use skiff_cri::v1::DnsConfig;

use crate::pod::PodExt;

const SERVERS_MAX: usize = 3;
const SEARCHES_MAX: usize = 32;
const SEARCH_CHARS_MAX: usize = 2048;
const NAME_CHARS_MAX: usize = 253;
const DEFAULT_OPTIONS: &str = "ndots:5";

/// What the node offers.
#[derive(Clone, Debug, Default)]
pub(crate) struct NodeDns {
    /// Addresses of the cluster's DNS Service.
    pub(crate) cluster_servers: Vec<String>,
    /// The cluster's domain, such as `cluster.local`; may be empty.
    pub(crate) cluster_domain: String,
    /// The node's own resolver configuration; `None` if there is none.
    pub(crate) host: Option<DnsConfig>,
}

/// A pod's configuration and what had to be left out, as messages for events.
pub(crate) struct PodDns {
    pub(crate) config: DnsConfig,
    pub(crate) warnings: Vec<(&'static str, String)>,
}

/// Reads a resolver file. Unknown lines are ignored; the last `search` line counts.
pub(crate) fn parse_resolv_conf(text: &str) -> DnsConfig {
    let mut config = DnsConfig::default();
    for line in text.lines() {
        let mut words = line.split_whitespace();
        match words.next() {
            Some("nameserver") => config.servers.extend(words.next().map(str::to_owned)),
            Some("search") => {
                let domains = words.filter(|word| *word != ".");
                config.searches = domains.map(|word| word.trim_end_matches('.').to_owned()).collect();
            }
            Some("options") => {
                for word in words {
                    set_option(&mut config.options, word.to_owned());
                }
            }
            _ => {}
        }
    }
    config
}

/// Adds an option or replaces the one with the same name before the colon.
fn set_option(options: &mut Vec<String>, option: String) {
    let name = |text: &str| text.split(':').next().unwrap_or_default().to_owned();
    match options.iter_mut().find(|old| name(old) == name(&option)) {
        Some(old) => *old = option,
        None => options.push(option),
    }
}

#[derive(PartialEq, Eq)]
enum Policy {
    None,
    Cluster,
    Host,
}

fn policy(pod: &Pod) -> Policy {
    match pod.pod_spec().dns_policy.as_deref() {
        Some("None") => Policy::None,
        Some("Default") => Policy::Host,
        Some("ClusterFirst") if pod.is_host_network() => Policy::Host,
        _ => Policy::Cluster,
    }
}

/// The configuration for a pod.
pub(crate) fn pod_dns(pod: &Pod, node: &NodeDns) -> PodDns {
    let mut warnings = Vec::new();
    let mut policy = policy(pod);
    if policy == Policy::Cluster && node.cluster_servers.is_empty() {
        let text = "kubelet does not have ClusterDNS IP configured and cannot create Pod using \"ClusterFirst\" policy. Falling back to \"Default\" policy.";
        warnings.push(("MissingClusterDNS", format!("pod: {:?}. {text}", pod.display())));
        policy = Policy::Host;
    }
    let host = node.host.clone();
    let mut config = match policy {
        Policy::None => DnsConfig::default(),
        Policy::Cluster => cluster_config(pod, node, host.unwrap_or_default()),
        Policy::Host => host.unwrap_or_else(|| DnsConfig {
            servers: vec!["127.0.0.1".into()],
            searches: vec![".".into()],
            options: Vec::new(),
        }),
    };
    if let Some(extra) = &pod.pod_spec().dns_config {
        append(&mut config, extra);
    }
    fit_limits(&mut config, &mut warnings);
    PodDns { config, warnings }
}

fn cluster_config(pod: &Pod, node: &NodeDns, host: DnsConfig) -> DnsConfig {
    let domain = &node.cluster_domain;
    let mut searches = Vec::new();
    if !domain.is_empty() {
        searches.push(format!("{}.svc.{domain}", pod.namespace()));
        searches.push(format!("svc.{domain}"));
        searches.push(domain.clone());
    }
    searches.extend(host.searches);
    without_duplicates(&mut searches);
    DnsConfig { servers: node.cluster_servers.clone(), searches, options: vec![DEFAULT_OPTIONS.into()] }
}

fn append(config: &mut DnsConfig, extra: &PodDNSConfig) {
    config.servers.extend(extra.nameservers.iter().flatten().cloned());
    without_duplicates(&mut config.servers);
    config.searches.extend(extra.searches.iter().flatten().cloned());
    without_duplicates(&mut config.searches);
    for option in extra.options.iter().flatten() {
        let name = option.name.clone().unwrap_or_default();
        match option.value.as_deref().filter(|value| !value.is_empty()) {
            Some(value) => set_option(&mut config.options, format!("{name}:{value}")),
            None => set_option(&mut config.options, name),
        }
    }
}

fn without_duplicates(list: &mut Vec<String>) {
    let mut seen = std::collections::HashSet::new();
    list.retain(|entry| seen.insert(entry.clone()));
}

fn fit_limits(config: &mut DnsConfig, warnings: &mut Vec<(&'static str, String)>) {
    if config.servers.len() > SERVERS_MAX {
        config.servers.truncate(SERVERS_MAX);
        let line = config.servers.join(" ");
        warnings.push((
            "DNSConfigForming",
            format!("Nameserver limits were exceeded, some nameservers have been omitted, the applied nameserver line is: {line}"),
        ));
    }
    let before = config.searches.len();
    config.searches.truncate(SEARCHES_MAX);
    config.searches.retain(|search| search.len() <= NAME_CHARS_MAX);
    while config.searches.join(" ").len() > SEARCH_CHARS_MAX {
        config.searches.pop();
    }
    if config.searches.len() < before {
        let line = config.searches.join(" ");
        warnings.push((
            "DNSConfigForming",
            format!("Search Line limits were exceeded, some search paths have been omitted, the applied search line is: {line}"),
        ));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn node() -> NodeDns {
        NodeDns {
            cluster_servers: vec!["10.96.0.10".into()],
            cluster_domain: "cluster.local".into(),
            host: Some(parse_resolv_conf(
                "# x\nnameserver 9.9.9.9\nsearch old\nsearch corp. .\noptions ndots:2 rotate\n",
            )),
        }
    }

    fn check(spec: Value, expected: &str) {
        check_on(&node(), spec, expected);
    }

    fn check_on(node: &NodeDns, spec: Value, expected: &str) {
        let mut spec = spec;
        spec["containers"] = json!([]);
        let pod: Pod =
            serde_json::from_value(json!({"metadata": {"name": "p", "namespace": "ns"}, "spec": spec})).expect("a pod");
        let config = pod_dns(&pod, node).config;
        let text =
            format!("{} | {} | {}", config.servers.join(" "), config.searches.join(" "), config.options.join(" "));
        assert_eq!(text, expected);
    }

    #[test]
    fn policies() {
        let cluster = "10.96.0.10 | ns.svc.cluster.local svc.cluster.local cluster.local corp | ndots:5";
        let host = "9.9.9.9 | corp | ndots:2 rotate";
        check(json!({"dnsPolicy": "ClusterFirst"}), cluster);
        check(json!({"dnsPolicy": "ClusterFirst", "hostNetwork": true}), host);
        check(json!({"dnsPolicy": "ClusterFirstWithHostNet", "hostNetwork": true}), cluster);
        check(json!({"dnsPolicy": "Default"}), host);
        check_on(&NodeDns::default(), json!({"dnsPolicy": "ClusterFirst"}), "127.0.0.1 | . | ");
    }

    #[test]
    fn the_pods_configuration_is_added() {
        let extra = json!({"nameservers": ["1.1.1.1"], "searches": ["my.domain"],
            "options": [{"name": "ndots", "value": "2"}, {"name": "edns0"}]});
        check(json!({"dnsPolicy": "None", "dnsConfig": extra}), "1.1.1.1 | my.domain | ndots:2 edns0");
        check(
            json!({"dnsPolicy": "ClusterFirst", "dnsConfig": extra}),
            "10.96.0.10 1.1.1.1 | ns.svc.cluster.local svc.cluster.local cluster.local corp my.domain | ndots:2 edns0",
        );
    }

    #[test]
    fn limits_are_kept_and_told() {
        let spec = json!({"containers": [], "dnsPolicy": "None", "dnsConfig": {"nameservers": ["1.1.1.1", "2.2.2.2", "3.3.3.3", "4.4.4.4"],
            "searches": (0..40).map(|n| format!("s{n}")).collect::<Vec<_>>()}});
        let pod: Pod = serde_json::from_value(json!({"spec": spec})).expect("a pod");
        let dns = pod_dns(&pod, &node());
        assert_eq!((dns.config.servers.len(), dns.config.searches.len(), dns.warnings.len()), (3, 32, 2));
    }
}
