//! Host ports of pods (`hostPort`): one nftables table, rewritten whole on every change.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::net::Ipv4Addr;

/// Transport protocol of a mapping.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// SCTP.
    Sctp,
}

impl Protocol {
    fn nft(self) -> &'static str {
        match self {
            Protocol::Tcp => "tcp",
            Protocol::Udp => "udp",
            Protocol::Sctp => "sctp",
        }
    }
}

/// A port of the node that leads to a port of the pod.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct PortMapping {
    /// Address of the node to listen on; `None` for all.
    pub host_ip: Option<Ipv4Addr>,
    /// Port of the node.
    pub host_port: u16,
    /// Port of the pod.
    pub container_port: u16,
    /// Protocol.
    pub protocol: Protocol,
}

/// The whole ruleset for these pods: address and mappings by sandbox id.
pub fn render(table: &str, pods: &BTreeMap<String, (Ipv4Addr, Vec<PortMapping>)>) -> String {
    let mut rules = String::new();
    for (address, mappings) in pods.values() {
        for mapping in mappings {
            let destination = match mapping.host_ip {
                Some(ip) if !ip.is_unspecified() => format!("ip daddr {ip}"),
                _ => "fib daddr type local".to_owned(),
            };
            // Infallible: writing to a String.
            let _ = writeln!(
                rules,
                "  {destination} meta l4proto {protocol} th dport {port} meta mark set meta mark or 0x4000 dnat to {address}:{target}",
                protocol = mapping.protocol.nft(),
                port = mapping.host_port,
                target = mapping.container_port,
            );
        }
    }
    format!(
        "add table ip {table}\ndelete table ip {table}\ntable ip {table} {{\n chain mappings {{\n{rules} }}\n \
         chain prerouting {{\n  type nat hook prerouting priority dstnat - 5; policy accept;\n  jump mappings\n }}\n \
         chain output {{\n  type nat hook output priority -105; policy accept;\n  jump mappings\n }}\n \
         chain postrouting {{\n  type nat hook postrouting priority srcnat - 5; policy accept;\n  \
         ct status dnat meta mark & 0x4000 == 0x4000 masquerade\n }}\n}}\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mappings_become_dnat_rules() {
        let mapping =
            |host_ip, host_port| PortMapping { host_ip, host_port, container_port: 80, protocol: Protocol::Tcp };
        let pods = BTreeMap::from([(
            "s".to_owned(),
            (Ipv4Addr::new(10, 244, 0, 5), vec![mapping(None, 8080), mapping(Some(Ipv4Addr::LOCALHOST), 8081)]),
        )]);
        let text = render("t", &pods);
        assert!(text.contains("fib daddr type local meta l4proto tcp th dport 8080 "));
        assert!(text.contains("ip daddr 127.0.0.1 meta l4proto tcp th dport 8081 "));
        assert!(text.contains("dnat to 10.244.0.5:80\n"));
    }
}
