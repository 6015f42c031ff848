//! Names to records, per the specification of DNS-based service discovery in Kubernetes, version 1.1.0; where it is
//! silent, as CoreDNS's plugin `kubernetes`. Pure.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::index::{Index, Key, Kind, Service, Slice};

/// The version of the specification, which `dns-version.ZONE` tells.
pub const SCHEMA_VERSION: &str = "1.1.0";
/// Label of the name server's own name below the zone (`ns.dns.ZONE`).
const NAME_SERVER: [&str; 2] = ["ns", "dns"];
/// Sum of the weights of a Service's SRV records.
const WEIGHTS: u16 = 100;

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// IPv4 addresses.
    A,
    /// IPv6 addresses.
    Aaaa,
    /// Ports and targets.
    Srv,
    /// Name of an address.
    Ptr,
    /// Text.
    Txt,
    /// Start of authority.
    Soa,
    /// Name servers.
    Ns,
    /// Anything else, of which there is nothing.
    Other,
}

/// Data of a record. Names are absolute, without the final dot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Data {
    /// IPv4 address.
    A(Ipv4Addr),
    /// IPv6 address.
    Aaaa(Ipv6Addr),
    /// Weight, port, target.
    Srv(u16, u16, String),
    /// Name.
    Ptr(String),
    /// Text.
    Txt(&'static str),
    /// Start of authority; its content is the server's affair.
    Soa,
    /// Name server.
    Ns(String),
}

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The name exists: its records of the type asked for, possibly none, and addresses of the names in them.
    Records(Vec<Data>, Vec<(String, Data)>),
    /// The name stands for another one.
    Alias(String),
    /// There is no such name, nor any below it.
    NoName,
    /// Not a name that this index knows about.
    Elsewhere,
}

impl Answer {
    /// The name exists, but has nothing of the type asked for.
    fn nothing() -> Self {
        Answer::Records(Vec::new(), Vec::new())
    }

    fn exists(yes: bool) -> Self {
        if yes { Self::nothing() } else { Answer::NoName }
    }
}

/// A zone and who serves it.
#[derive(Clone, Debug)]
pub struct Zone {
    /// Labels of the zone, in lower case.
    labels: Vec<String>,
    /// The zone, in lower case, without the final dot.
    pub name: String,
    /// Address of the name server.
    service_ip: Ipv4Addr,
}

impl Zone {
    /// A zone served at this address.
    pub fn new(name: &str, service_ip: Ipv4Addr) -> Self {
        let name = name.trim_matches('.').to_lowercase();
        Self { labels: name.split('.').map(str::to_owned).collect(), name, service_ip }
    }

    /// The name server's name.
    pub fn name_server(&self) -> String {
        format!("{}.{}", NAME_SERVER.join("."), self.name)
    }

    /// The labels of `name` below the zone, if it is in it.
    pub fn below<'a, 'n>(&self, name: &'a [&'n str]) -> Option<&'a [&'n str]> {
        let rest = name.len().checked_sub(self.labels.len())?;
        let matches = name[rest..].iter().zip(&self.labels).all(|(have, want)| have == want);
        matches.then(|| &name[..rest])
    }

    fn service_name(&self, key: &Key) -> String {
        format!("{}.{}.svc.{}", key.name, key.namespace, self.name)
    }
}

/// Looks a name up; its labels are in lower case, the most specific first.
pub fn lookup(index: &Index, zone: &Zone, name: &[&str], asked: Asked) -> Answer {
    if let Some(address) = reverse_address(name) {
        return pointer(index, zone, address, asked);
    }
    let Some(below) = zone.below(name) else { return Answer::Elsewhere };
    match below {
        [] => apex(zone, asked),
        ["dns-version"] if asked == Asked::Txt => Answer::Records(vec![Data::Txt(SCHEMA_VERSION)], vec![]),
        ["dns-version" | "dns" | "svc" | "pod"] => Answer::nothing(),
        [a, b] if [*a, *b] == NAME_SERVER => Answer::Records(of_family(&[zone.service_ip.into()], asked), vec![]),
        [namespace, "svc" | "pod"] => Answer::exists(index.has_namespace(namespace)),
        [dashed, namespace, "pod"] => pod(index, dashed, namespace, asked),
        [labels @ .., service, namespace, "svc"] => {
            let key = Key { namespace: (*namespace).into(), name: (*service).into() };
            match index.service(namespace, service) {
                Some((found, slices)) => ServiceView { zone, key, service: found, slices }.lookup(labels, asked),
                None => Answer::NoName,
            }
        }
        _ => Answer::NoName,
    }
}

fn apex(zone: &Zone, asked: Asked) -> Answer {
    match asked {
        Asked::Soa => Answer::Records(vec![Data::Soa], vec![]),
        Asked::Ns => {
            let server = zone.name_server();
            Answer::Records(vec![Data::Ns(server.clone())], vec![(server, Data::A(zone.service_ip))])
        }
        _ => Answer::nothing(),
    }
}

/// `1-2-3-4.NAMESPACE.pod`: the address is in the name, so pods need not be known.
fn pod(index: &Index, dashed: &str, namespace: &str, asked: Asked) -> Answer {
    if !index.has_namespace(namespace) {
        return Answer::NoName;
    }
    let address = match dashed.replace('-', ".").parse::<Ipv4Addr>() {
        Ok(address) => IpAddr::V4(address),
        Err(_) => match dashed.replace('-', ":").parse::<Ipv6Addr>() {
            Ok(address) => IpAddr::V6(address),
            Err(_) => return Answer::NoName,
        },
    };
    Answer::Records(of_family(&[address], asked), vec![])
}

fn pointer(index: &Index, zone: &Zone, address: IpAddr, asked: Asked) -> Answer {
    let mut names: Vec<String> = index.by_cluster_ip(address).map(|key| zone.service_name(key)).into_iter().collect();
    if names.is_empty() {
        let endpoints = index.by_endpoint(address).into_iter();
        names.extend(endpoints.map(|(key, label)| format!("{label}.{}", zone.service_name(key))));
    }
    match asked {
        _ if names.is_empty() => Answer::Elsewhere,
        Asked::Ptr => Answer::Records(names.into_iter().map(Data::Ptr).collect(), vec![]),
        _ => Answer::nothing(),
    }
}

/// The address that a name below `in-addr.arpa` or `ip6.arpa` stands for.
fn reverse_address(name: &[&str]) -> Option<IpAddr> {
    match name {
        [d, c, b, a, "in-addr", "arpa"] => {
            let octet = |text: &str| text.parse::<u8>().ok();
            Some(IpAddr::from([octet(a)?, octet(b)?, octet(c)?, octet(d)?]))
        }
        [nibbles @ .., "ip6", "arpa"] if nibbles.len() == 32 => {
            let mut address = 0u128;
            for nibble in nibbles.iter().rev() {
                let digit = (nibble.len() == 1).then(|| u128::from_str_radix(nibble, 16).ok())??;
                address = address << 4 | digit;
            }
            Some(IpAddr::from(address.to_be_bytes()))
        }
        _ => None,
    }
}

fn of_family(addresses: &[IpAddr], asked: Asked) -> Vec<Data> {
    let wanted = addresses.iter().filter_map(|address| match (asked, address) {
        (Asked::A, IpAddr::V4(address)) => Some(Data::A(*address)),
        (Asked::Aaaa, IpAddr::V6(address)) => Some(Data::Aaaa(*address)),
        _ => None,
    });
    wanted.collect()
}

/// An existing Service under the zone.
struct ServiceView<'a> {
    zone: &'a Zone,
    key: Key,
    service: &'a Service,
    slices: &'a BTreeMap<String, Slice>,
}

impl ServiceView<'_> {
    /// `labels` are those before the Service's name.
    fn lookup(&self, labels: &[&str], asked: Asked) -> Answer {
        if let Kind::External(name) = &self.service.kind {
            return if labels.is_empty() { Answer::Alias(name.clone()) } else { Answer::NoName };
        }
        match labels {
            [] => self.itself(asked),
            [protocol] if protocol.starts_with('_') => {
                Answer::exists(self.srv(|_, have| have == &protocol[1..]).next().is_some())
            }
            [label] => self.endpoint(label, asked),
            [port, protocol] if port.starts_with('_') && protocol.starts_with('_') => {
                let named = |name: &str, have: &str| !name.is_empty() && name == &port[1..] && have == &protocol[1..];
                match asked {
                    _ if self.srv(named).next().is_none() => Answer::NoName,
                    Asked::Srv => self.srv_records(named),
                    _ => Answer::nothing(),
                }
            }
            _ => Answer::NoName,
        }
    }

    /// The Service's own name.
    fn itself(&self, asked: Asked) -> Answer {
        match (&self.service.kind, asked) {
            (Kind::Headless, _) if !self.slices.values().any(|slice| !slice.endpoints.is_empty()) => Answer::NoName,
            (_, Asked::Srv) => self.srv_records(|_, _| true),
            (Kind::ClusterIp(addresses), _) => Answer::Records(of_family(addresses, asked), vec![]),
            _ => Answer::Records(of_family(&self.endpoint_addresses(|_| true), asked), vec![]),
        }
    }

    fn endpoint(&self, label: &str, asked: Asked) -> Answer {
        let addresses = self.endpoint_addresses(|have| have == label);
        if addresses.is_empty() { Answer::NoName } else { Answer::Records(of_family(&addresses, asked), vec![]) }
    }

    fn endpoint_addresses(&self, wanted: impl Fn(&str) -> bool) -> Vec<IpAddr> {
        let endpoints = self.slices.values().flat_map(|slice| &slice.endpoints);
        let mut addresses: Vec<IpAddr> =
            endpoints.filter(|endpoint| wanted(&endpoint.label)).flat_map(|e| e.addresses.iter().copied()).collect();
        addresses.sort_unstable();
        addresses.dedup();
        addresses
    }

    /// Port numbers and targets of the ports for which `wanted` (name, protocol) says yes.
    fn srv<'s>(&'s self, wanted: impl Fn(&str, &str) -> bool + 's) -> Box<dyn Iterator<Item = Target<'s>> + 's> {
        match &self.service.kind {
            Kind::ClusterIp(addresses) => Box::new(
                self.service.ports.iter().filter(move |port| wanted(&port.name, &port.protocol)).map(|port| Target {
                    port: port.number,
                    name: self.zone.service_name(&self.key),
                    addresses,
                }),
            ),
            _ => Box::new(self.slices.values().flat_map(move |slice| {
                let wanted: Vec<u16> = slice
                    .ports
                    .iter()
                    .filter(|port| wanted(&port.name, &port.protocol))
                    .map(|port| port.number)
                    .collect();
                slice.endpoints.iter().flat_map(move |endpoint| {
                    wanted.clone().into_iter().map(move |port| Target {
                        port,
                        name: format!("{}.{}", endpoint.label, self.zone.service_name(&self.key)),
                        addresses: &endpoint.addresses,
                    })
                })
            })),
        }
    }

    fn srv_records(&self, wanted: impl Fn(&str, &str) -> bool) -> Answer {
        let targets: Vec<Target<'_>> = self.srv(wanted).collect();
        // Weights add up to about a hundred, as everywhere in this zone all targets are equal.
        let weight = (WEIGHTS / u16::try_from(targets.len().max(1)).unwrap_or(WEIGHTS)).max(1);
        let mut additional: Vec<(String, Data)> = Vec::new();
        for target in &targets {
            if !additional.iter().any(|(name, _)| *name == target.name) {
                let both = [Asked::A, Asked::Aaaa].into_iter().flat_map(|family| of_family(target.addresses, family));
                additional.extend(both.map(|data| (target.name.clone(), data)));
            }
        }
        Answer::Records(targets.into_iter().map(|t| Data::Srv(weight, t.port, t.name)).collect(), additional)
    }
}

/// Where an SRV record leads.
struct Target<'a> {
    port: u16,
    name: String,
    addresses: &'a [IpAddr],
}

#[cfg(test)]
mod tests;
