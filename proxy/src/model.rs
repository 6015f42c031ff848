//! What the proxy knows of the cluster: only the fields that decide where a packet goes.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

/// Transport protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// SCTP.
    Sctp,
}

impl Protocol {
    /// As nftables writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Protocol::Tcp => "tcp",
            Protocol::Udp => "udp",
            Protocol::Sctp => "sctp",
        }
    }

    /// From the API's spelling; absent means TCP.
    pub fn parse(text: Option<&str>) -> Self {
        match text {
            Some("UDP") => Protocol::Udp,
            Some("SCTP") => Protocol::Sctp,
            _ => Protocol::Tcp,
        }
    }
}

/// Namespace and name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
}

/// A port of a Service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServicePort {
    /// Name; empty for the only port. Slices are matched by it.
    pub name: String,
    /// Protocol.
    pub protocol: Protocol,
    /// Port on the cluster IP.
    pub port: u16,
    /// Port on every node, if any.
    pub node_port: Option<u16>,
}

/// A Service with a cluster IP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// Its key.
    pub key: Key,
    /// Its IPv4 cluster IP.
    pub cluster_ip: Ipv4Addr,
    /// `spec.externalIPs` and load balancer addresses that this node answers for.
    pub external_ips: Vec<Ipv4Addr>,
    /// Ports.
    pub ports: Vec<ServicePort>,
    /// ClientIP affinity: seconds, if on.
    pub affinity_seconds: Option<u32>,
    /// `externalTrafficPolicy: Local`.
    pub external_local: bool,
    /// `internalTrafficPolicy: Local`.
    pub internal_local: bool,
    /// `spec.healthCheckNodePort`, for external Local.
    pub health_check_node_port: Option<u16>,
}

/// One endpoint of a slice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Address.
    pub address: Ipv4Addr,
    /// Condition `ready` (absent means true).
    pub ready: bool,
    /// Condition `serving` (absent means as ready).
    pub serving: bool,
    /// Condition `terminating`.
    pub terminating: bool,
    /// Node it runs on.
    pub node_name: Option<String>,
}

/// An EndpointSlice of address type IPv4.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slice {
    /// Its Service, from label `kubernetes.io/service-name`.
    pub service: Key,
    /// Port name, protocol, number.
    pub ports: Vec<(String, Protocol, u16)>,
    /// Endpoints.
    pub endpoints: Vec<Endpoint>,
}

/// Everything known.
#[derive(Clone, Debug, Default)]
pub struct State {
    /// Services by key.
    pub services: BTreeMap<Key, Service>,
    /// Slices by their own key.
    pub slices: BTreeMap<Key, Slice>,
}
