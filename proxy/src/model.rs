//! What the proxy knows of the cluster: only the fields that decide where a packet goes.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

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
    /// `spec.externalIPs`.
    pub external_ips: Vec<Ipv4Addr>,
    /// Load balancer addresses that this node answers for.
    pub load_balancer_ips: Vec<Ipv4Addr>,
    /// Which clients may use the load balancer addresses (`spec.loadBalancerSourceRanges`); empty for all.
    pub source_ranges: Vec<Ipv4Net>,
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
    /// Nodes that should use it; empty for no hint.
    pub for_nodes: Vec<String>,
    /// Zones that should use it; empty for no hint.
    pub for_zones: Vec<String>,
}

/// An EndpointSlice of address type IPv4.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slice {
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
    /// Slices by the key of their Service (label `kubernetes.io/service-name`) and their own name.
    pub slices: BTreeMap<Key, BTreeMap<String, Slice>>,
    /// Zone of this node (label `topology.kubernetes.io/zone`); empty if unknown.
    pub zone: String,
}

impl State {
    /// Puts a slice in.
    pub fn add_slice(&mut self, service: Key, name: &str, slice: Slice) {
        self.slices.entry(service).or_default().insert(name.to_owned(), slice);
    }

    /// Takes a slice out.
    pub fn remove_slice(&mut self, service: &Key, name: &str) {
        if let Some(slices) = self.slices.get_mut(service) {
            slices.remove(name);
            if slices.is_empty() {
                self.slices.remove(service);
            }
        }
    }

    /// The endpoints of one port of a Service, from all its slices.
    pub fn endpoints(&self, service: &Key, port: &ServicePort) -> Vec<(&Endpoint, u16)> {
        let slices = self.slices.get(service).into_iter().flat_map(BTreeMap::values);
        slices.flat_map(|slice| slice.endpoints_of(port)).collect()
    }
}

impl Slice {
    /// The endpoints with the number that this Service port has in the slice; none if the slice does not have it.
    pub fn endpoints_of(&self, port: &ServicePort) -> impl Iterator<Item = (&Endpoint, u16)> {
        let number = self
            .ports
            .iter()
            .find(|(name, protocol, _)| *name == port.name && *protocol == port.protocol)
            .map(|(_, _, number)| *number);
        self.endpoints.iter().filter_map(move |endpoint| Some((endpoint, number?)))
    }
}
