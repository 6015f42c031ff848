//! Pure: from Endpoints and the slices that are there to what should be written.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use serde_json::{Map, Value, json};
use skiff_client::types::{
    Endpoint, EndpointAddress, EndpointConditions, EndpointPort, EndpointSlice, Endpoints, StringMap, SubsetPort,
};

use super::{MANAGED_BY, MANAGED_BY_LABEL, MAX_ENDPOINTS};
use crate::controllers::endpointslice::SERVICE_NAME_LABEL;
use crate::service_backends::TRIGGER_TIME;

/// Label of Endpoints that are not to be mirrored.
const SKIP_LABEL: &str = "endpointslice.kubernetes.io/skip-mirror";
/// Annotation of Endpoints that are a lock.
const LEADER_ANNOTATION: &str = "control-plane.alpha.kubernetes.io/leader";
/// Annotations that say something of the Endpoints alone.
const OWN_ANNOTATIONS: [&str; 2] = [TRIGGER_TIME, "kubectl.kubernetes.io/last-applied-configuration"];

/// What a slice should hold.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Content {
    pub(super) address_type: &'static str,
    pub(super) endpoints: Vec<Endpoint>,
    pub(super) ports: Vec<EndpointPort>,
}

/// What to write.
#[derive(Debug, Default)]
pub(super) struct Plan {
    pub(super) create: Vec<Content>,
    pub(super) update: Vec<(Arc<EndpointSlice>, Content)>,
    pub(super) delete: Vec<Arc<EndpointSlice>>,
    /// Addresses that are none.
    pub(super) invalid: usize,
    /// Addresses that are not mirrored, these included.
    pub(super) skipped: usize,
}

/// Whether Endpoints are mirrored, if their Service has no selector.
pub(super) fn is_mirrored(endpoints: &Endpoints) -> bool {
    endpoints.metadata.labels.get(SKIP_LABEL) != Some("true")
        && !endpoints.metadata.annotations.contains_key(LEADER_ANNOTATION)
}

type Ports = Vec<EndpointPort>;

pub(super) fn plan(endpoints: &Endpoints, slices: &[Arc<EndpointSlice>]) -> Plan {
    let mut plan = Plan::default();
    let desired = desired(endpoints, &mut plan);
    let mut there: BTreeMap<(String, Ports), Vec<Arc<EndpointSlice>>> = BTreeMap::new();
    for slice in slices {
        let mut ports = slice.ports.clone();
        ports.sort();
        there.entry((slice.address_type.clone(), ports)).or_default().push(slice.clone());
    }
    for ((address_type, ports), wanted) in desired {
        let mut here = there.remove(&(address_type.to_owned(), ports.clone())).unwrap_or_default().into_iter();
        let content = Content { address_type, endpoints: wanted, ports };
        match here.next() {
            None => plan.create.push(content),
            Some(slice) if differs(endpoints, &slice, &content) => plan.update.push((slice, content)),
            Some(_) => {}
        }
        plan.delete.extend(here);
    }
    plan.delete.extend(there.into_values().flatten());
    recycle(&mut plan);
    if endpoints.metadata.is_deleting() {
        plan.create.clear();
    }
    plan
}

/// Slices that would be deleted take what would be created, which costs one write instead of two.
fn recycle(plan: &mut Plan) {
    for content in std::mem::take(&mut plan.create) {
        match plan.delete.iter().position(|slice| slice.address_type == content.address_type) {
            Some(at) => plan.update.push((plan.delete.remove(at), content)),
            None => plan.create.push(content),
        }
    }
}

/// The endpoints by address family and ports.
fn desired(endpoints: &Endpoints, plan: &mut Plan) -> BTreeMap<(&'static str, Ports), Vec<Endpoint>> {
    let mut desired: BTreeMap<(&'static str, Ports), BTreeMap<Identity, Endpoint>> = BTreeMap::new();
    for subset in repack(endpoints) {
        let mut ports: Ports = subset.ports.iter().map(slice_port).collect();
        ports.sort();
        let mut added = 0;
        // Ready ones first: they are what is mirrored if there are too many.
        let (ready, others): (Vec<_>, Vec<_>) = subset.addresses.into_iter().partition(|(_, (_, ready))| *ready);
        for (identity, (address, ready)) in ready.into_iter().chain(others) {
            if added == MAX_ENDPOINTS {
                plan.skipped += 1;
                continue;
            }
            let Ok(ip) = address.ip.parse::<IpAddr>() else {
                (plan.invalid, plan.skipped) = (plan.invalid + 1, plan.skipped + 1);
                continue;
            };
            let family = if ip.is_ipv4() { "IPv4" } else { "IPv6" };
            let endpoint = Endpoint {
                addresses: vec![ip.to_string()],
                conditions: EndpointConditions { ready: Some(ready), ..EndpointConditions::default() },
                hostname: Some(address.hostname).filter(|name| !name.is_empty()),
                node_name: address.node_name,
                target_ref: address.target_ref,
                ..Endpoint::default()
            };
            desired.entry((family, ports.clone())).or_default().insert(identity, endpoint);
            added += 1;
        }
    }
    desired.into_iter().map(|(key, endpoints)| (key, endpoints.into_values().collect())).collect()
}

/// What makes an address the same one: itself, and the UID of what stands behind it.
type Identity = (String, String);

/// Ports, and the addresses that have all of them, with their readiness.
struct Subset {
    ports: Vec<SubsetPort>,
    addresses: BTreeMap<Identity, (EndpointAddress, bool)>,
}

/// Subsets without overlap: ports with the same addresses are one subset (upstream `RepackSubsets`).
fn repack(endpoints: &Endpoints) -> Vec<Subset> {
    let mut by_port: BTreeMap<Option<SubsetPort>, BTreeMap<Identity, (EndpointAddress, bool)>> = BTreeMap::new();
    for subset in &endpoints.subsets {
        let ports: Vec<Option<SubsetPort>> = match subset.ports.as_slice() {
            [] => vec![None],
            ports => ports.iter().cloned().map(Some).collect(),
        };
        let ready = subset.addresses.iter().map(|address| (address, true));
        let all: Vec<_> = ready.chain(subset.not_ready_addresses.iter().map(|address| (address, false))).collect();
        for port in ports {
            let addresses = by_port.entry(port).or_default();
            for (address, ready) in &all {
                let uid = address.target_ref.as_ref().map_or("", |target| target.uid.as_str());
                let identity = (address.ip.clone(), uid.to_owned());
                // Not ready anywhere is not ready.
                let known = addresses.entry(identity).or_insert_with(|| ((*address).clone(), *ready));
                known.1 &= *ready;
            }
        }
    }
    let mut by_addresses: BTreeMap<BTreeSet<(Identity, bool)>, Subset> = BTreeMap::new();
    for (port, addresses) in by_port {
        let key = addresses.iter().map(|(identity, (_, ready))| (identity.clone(), *ready)).collect();
        by_addresses.entry(key).or_insert_with(|| Subset { ports: Vec::new(), addresses }).ports.extend(port);
    }
    by_addresses.into_values().collect()
}

fn slice_port(port: &SubsetPort) -> EndpointPort {
    EndpointPort {
        name: port.name.clone(),
        protocol: Some(port.protocol.clone()).filter(|protocol| !protocol.is_empty()),
        port: Some(port.port),
        app_protocol: port.app_protocol.clone(),
    }
}

fn differs(endpoints: &Endpoints, slice: &EndpointSlice, content: &Content) -> bool {
    let sorted = |endpoints: &[Endpoint]| {
        let mut lines: Vec<String> = endpoints.iter().map(|one| json!(one).to_string()).collect();
        lines.sort();
        lines
    };
    !slice.metadata.is_controlled_by(&endpoints.metadata.uid)
        || sorted(&slice.endpoints) != sorted(&content.endpoints)
        || slice.metadata.labels != labels(endpoints)
        || slice.metadata.annotations != annotations(endpoints)
}

/// Labels of a slice: those of the Endpoints and ours.
pub(super) fn labels(endpoints: &Endpoints) -> StringMap {
    let mut labels = endpoints.metadata.labels.clone();
    labels.insert(SERVICE_NAME_LABEL, endpoints.metadata.name.clone());
    labels.insert(MANAGED_BY_LABEL, MANAGED_BY);
    labels
}

/// Annotations of a slice: those of the Endpoints that are not theirs alone.
pub(super) fn annotations(endpoints: &Endpoints) -> StringMap {
    let mut annotations = endpoints.metadata.annotations.clone();
    for own in OWN_ANNOTATIONS {
        annotations.remove(own);
    }
    annotations
}

/// A change of a map as a merge patch: what is no longer wanted is removed.
pub(super) fn map_patch(have: &StringMap, wanted: &StringMap) -> Value {
    let gone = have.iter().filter(|(key, _)| !wanted.contains_key(key));
    let mut patch: Map<String, Value> = gone.map(|(key, _)| (key.to_owned(), Value::Null)).collect();
    patch.extend(wanted.iter().map(|(key, value)| (key.to_owned(), json!(value))));
    Value::Object(patch)
}

/// The whole plan as text, for golden tests.
#[cfg(test)]
pub(super) fn golden(objects: &crate::golden::Objects) -> String {
    let mut endpoints: Endpoints = objects.one("Endpoints");
    let many = objects.extra()["many"].as_u64().unwrap_or(0);
    let address = |at: u64| EndpointAddress { ip: format!("10.0.{}.{}", at / 200, at % 200), ..Default::default() };
    if let Some(subset) = endpoints.subsets.first_mut() {
        subset.addresses.extend((0..many).map(address));
    }
    let slices: Vec<Arc<EndpointSlice>> = objects.all("EndpointSlice").into_iter().map(Arc::new).collect();
    if !is_mirrored(&endpoints) {
        return "not mirrored".into();
    }
    let plan = plan(&endpoints, &slices);
    let describe = |content: &Content| {
        let endpoints = match content.endpoints.len() {
            many if many > 5 => format!(" {many} endpoints"),
            _ => content.endpoints.iter().map(|one| format!("\n    {}", json!(one))).collect(),
        };
        format!("{} {}{endpoints}", content.address_type, json!(content.ports))
    };
    let mut lines: Vec<String> = plan.create.iter().map(|content| format!("create {}", describe(content))).collect();
    lines.extend(plan.update.iter().map(|(slice, content)| {
        let labels = map_patch(&slice.metadata.labels, &labels(&endpoints));
        let annotations = map_patch(&slice.metadata.annotations, &annotations(&endpoints));
        format!("update {} labels {labels} annotations {annotations} {}", slice.metadata.name, describe(content))
    }));
    lines.extend(plan.delete.iter().map(|slice| format!("delete {}", slice.metadata.name)));
    if plan.skipped > 0 {
        lines.push(format!("skipped {}, of which {} are invalid", plan.skipped, plan.invalid));
    }
    if lines.is_empty() { "nothing".into() } else { lines.join("\n") }
}
