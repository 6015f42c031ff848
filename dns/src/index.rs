//! What the cluster's zone contains: Services and endpoints by name and by address. Pure, kept up to date object by
//! object; [`crate::lookup`] answers from it.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;

use skiff_client::types;

/// Namespace and name of a Service.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
}

/// What a Service's name stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Addresses of its own.
    ClusterIp(Vec<IpAddr>),
    /// The addresses of its endpoints.
    Headless,
    /// Another name.
    External(String),
}

/// A port with a name, protocol (lower case, as in names) and number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Port {
    /// Name; empty if unnamed.
    pub name: String,
    /// `tcp`, `udp` or `sctp`.
    pub protocol: String,
    /// Number.
    pub number: u16,
}

/// A Service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// What its name stands for.
    pub kind: Kind,
    /// Its ports.
    pub ports: Vec<Port>,
}

/// An endpoint that gets traffic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Its label below the Service's name: its host name, else its address with dashes.
    pub label: String,
    /// Its addresses.
    pub addresses: Vec<IpAddr>,
}

/// The ready endpoints of one EndpointSlice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slice {
    /// Ports that every endpoint has.
    pub ports: Vec<Port>,
    /// Endpoints.
    pub endpoints: Vec<Endpoint>,
}

/// A namespace and what DNS knows of its Services.
#[derive(Debug, Default)]
struct Namespace {
    /// Whether the object exists, or only things that name it.
    exists: bool,
    services: HashMap<String, Entry>,
}

/// A Service and its slices; either may come first.
#[derive(Debug, Default)]
pub(crate) struct Entry {
    pub(crate) service: Option<Service>,
    pub(crate) slices: BTreeMap<String, Slice>,
}

/// The index.
#[derive(Debug, Default)]
pub struct Index {
    namespaces: HashMap<String, Namespace>,
    by_cluster_ip: HashMap<IpAddr, BTreeSet<Key>>,
    /// Endpoint addresses: Service, slice and the endpoint's label.
    by_endpoint: HashMap<IpAddr, BTreeSet<(Key, String, String)>>,
}

impl Index {
    /// Notes that a namespace exists or no longer does.
    pub fn set_namespace(&mut self, name: &str, exists: bool) {
        if exists {
            self.namespaces.entry(name.to_owned()).or_default().exists = true;
        } else if let Some(namespace) = self.namespaces.get_mut(name) {
            namespace.exists = false;
            self.tidy(name);
        }
    }

    /// Puts a Service in, or takes it out.
    pub fn set_service(&mut self, key: &Key, service: Option<Service>) {
        if let Some(Service { kind: Kind::ClusterIp(addresses), .. }) = self.entry(key).and_then(|e| e.service.clone())
        {
            for address in addresses {
                forget(&mut self.by_cluster_ip, address, key);
            }
        }
        if let Some(Service { kind: Kind::ClusterIp(addresses), .. }) = &service {
            for address in addresses {
                self.by_cluster_ip.entry(*address).or_default().insert(key.clone());
            }
        }
        self.entry_mut(key).service = service;
        self.tidy_entry(key);
    }

    /// Puts a slice of a Service in, or takes it out.
    pub fn set_slice(&mut self, key: &Key, name: &str, slice: Option<Slice>) {
        if let Some(old) = self.entry_mut(key).slices.remove(name) {
            for (address, label) in pointers(&old) {
                forget(&mut self.by_endpoint, address, &(key.clone(), name.to_owned(), label));
            }
        }
        if let Some(slice) = slice {
            for (address, label) in pointers(&slice) {
                self.by_endpoint.entry(address).or_default().insert((key.clone(), name.to_owned(), label));
            }
            self.entry_mut(key).slices.insert(name.to_owned(), slice);
        }
        self.tidy_entry(key);
    }

    /// Whether a namespace exists.
    pub fn has_namespace(&self, name: &str) -> bool {
        self.namespaces.get(name).is_some_and(|namespace| namespace.exists)
    }

    /// A Service that exists, and its slices.
    pub(crate) fn service(&self, namespace: &str, name: &str) -> Option<(&Service, &BTreeMap<String, Slice>)> {
        let entry = self.namespaces.get(namespace)?.services.get(name)?;
        Some((entry.service.as_ref()?, &entry.slices))
    }

    /// The Service with this cluster IP.
    pub(crate) fn by_cluster_ip(&self, address: IpAddr) -> Option<&Key> {
        self.by_cluster_ip.get(&address)?.first()
    }

    /// The endpoints with this address: Service and label, without repetition.
    pub(crate) fn by_endpoint(&self, address: IpAddr) -> BTreeSet<(&Key, &str)> {
        let pointers = self.by_endpoint.get(&address).into_iter().flatten();
        pointers.map(|(key, _, label)| (key, label.as_str())).collect()
    }

    fn entry(&self, key: &Key) -> Option<&Entry> {
        self.namespaces.get(&key.namespace)?.services.get(&key.name)
    }

    fn entry_mut(&mut self, key: &Key) -> &mut Entry {
        self.namespaces.entry(key.namespace.clone()).or_default().services.entry(key.name.clone()).or_default()
    }

    fn tidy_entry(&mut self, key: &Key) {
        if let Some(namespace) = self.namespaces.get_mut(&key.namespace)
            && namespace.services.get(&key.name).is_some_and(|entry| entry.service.is_none() && entry.slices.is_empty())
        {
            namespace.services.remove(&key.name);
            self.tidy(&key.namespace);
        }
    }

    fn tidy(&mut self, name: &str) {
        if self.namespaces.get(name).is_some_and(|namespace| !namespace.exists && namespace.services.is_empty()) {
            self.namespaces.remove(name);
        }
    }
}

fn forget<T: Ord>(map: &mut HashMap<IpAddr, BTreeSet<T>>, address: IpAddr, value: &T) {
    if let Some(values) = map.get_mut(&address) {
        values.remove(value);
        if values.is_empty() {
            map.remove(&address);
        }
    }
}

fn pointers(slice: &Slice) -> impl Iterator<Item = (IpAddr, String)> {
    let endpoints = slice.endpoints.iter();
    endpoints.flat_map(|endpoint| endpoint.addresses.iter().map(|address| (*address, endpoint.label.clone())))
}

/// The key of an object.
pub fn key(meta: &types::Meta) -> Key {
    Key { namespace: meta.namespace.clone(), name: meta.name.clone() }
}

/// What DNS knows of a Service; `None` while it has no address.
pub fn service(object: &types::Service) -> Option<Service> {
    let spec = &object.spec;
    let kind = if spec.type_ == "ExternalName" {
        Kind::External(spec.external_name.trim_end_matches('.').to_lowercase())
    } else if object.is_headless() {
        Kind::Headless
    } else {
        let all: BTreeSet<IpAddr> =
            spec.cluster_ips.iter().chain([&spec.cluster_ip]).filter_map(|address| address.parse().ok()).collect();
        if all.is_empty() {
            return None;
        }
        Kind::ClusterIp(all.into_iter().collect())
    };
    let ports = spec.ports.iter().filter_map(|p| port(&p.name, Some(&p.protocol), p.port));
    Some(Service { kind, ports: ports.collect() })
}

/// The ready endpoints of a slice, with its Service.
pub fn slice(object: &types::EndpointSlice) -> Option<(Key, Slice)> {
    let key = Key { namespace: object.metadata.namespace.clone(), name: object.service_name()?.to_owned() };
    let ready = object.endpoints.iter().filter(|endpoint| endpoint.conditions.is_ready());
    let endpoints = ready.filter_map(|endpoint| {
        let addresses: Vec<IpAddr> = endpoint.addresses.iter().filter_map(|address| address.parse().ok()).collect();
        let first = addresses.first()?;
        let label = match endpoint.hostname.as_deref() {
            Some(hostname) if !hostname.is_empty() => hostname.to_lowercase(),
            _ => dashed(*first),
        };
        Some(Endpoint { label, addresses })
    });
    let ports = object.ports.iter().filter_map(|p| port(&p.name, p.protocol.as_deref(), p.port?));
    Some((key, Slice { ports: ports.collect(), endpoints: endpoints.collect() }))
}

fn port(name: &str, protocol: Option<&str>, number: i32) -> Option<Port> {
    let protocol = protocol.filter(|text| !text.is_empty()).unwrap_or("TCP").to_lowercase();
    Some(Port { name: name.to_lowercase(), protocol, number: u16::try_from(number).ok()? })
}

/// An address as a label: dots and colons become dashes.
pub(crate) fn dashed(address: IpAddr) -> String {
    address.to_string().replace(['.', ':'], "-")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn key(name: &str) -> Key {
        Key { namespace: "demo".into(), name: name.into() }
    }

    #[test]
    fn nothing_stays_of_what_is_gone() {
        let mut index = Index::default();
        let address: IpAddr = "10.96.0.7".parse().expect("address");
        let pod: IpAddr = "10.244.0.2".parse().expect("address");
        index.set_namespace("demo", true);
        index.set_service(&key("web"), Some(Service { kind: Kind::ClusterIp(vec![address]), ports: vec![] }));
        let endpoints = vec![Endpoint { label: "a".into(), addresses: vec![pod] }];
        index.set_slice(&key("web"), "web-1", Some(Slice { ports: vec![], endpoints: endpoints.clone() }));
        index.set_slice(&key("web"), "web-2", Some(Slice { ports: vec![], endpoints }));
        assert_eq!(index.by_cluster_ip(address), Some(&key("web")));
        assert_eq!(index.by_endpoint(pod), BTreeSet::from([(&key("web"), "a")]));
        index.set_slice(&key("web"), "web-1", None);
        assert_eq!(index.by_endpoint(pod).len(), 1, "the other slice still has it");
        index.set_slice(&key("web"), "web-2", None);
        index.set_namespace("demo", false);
        assert!(index.service("demo", "web").is_some(), "a Service outlives the note of its namespace");
        index.set_service(&key("web"), None);
        assert!(index.namespaces.is_empty() && index.by_cluster_ip.is_empty() && index.by_endpoint.is_empty());
    }

    #[test]
    fn only_ready_endpoints_have_names() {
        let object = json!({"metadata": {"name": "s", "namespace": "demo", "labels": {"kubernetes.io/service-name": "db"}},
            "addressType": "IPv4", "ports": [{"name": "Sql", "port": 5432, "protocol": "TCP"}, {"name": "all"}],
            "endpoints": [{"addresses": ["10.244.0.2"], "hostname": "db-0", "conditions": {"ready": true}},
                {"addresses": ["10.244.0.3"]}, {"addresses": ["10.244.0.4"], "conditions": {"ready": false, "serving": true}}]});
        let (service, slice) = slice(&serde_json::from_value(object).expect("a slice")).expect("counts");
        assert_eq!(service, key("db"));
        let labels: Vec<&str> = slice.endpoints.iter().map(|endpoint| endpoint.label.as_str()).collect();
        assert_eq!(labels, ["db-0", "10-244-0-3"]);
        assert_eq!(slice.ports, [Port { name: "sql".into(), protocol: "tcp".into(), number: 5432 }]);
    }
}
