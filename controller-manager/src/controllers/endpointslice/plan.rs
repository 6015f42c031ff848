//! Pure: from the slices that are there and the endpoints that should be to the fewest writes.

use std::collections::HashMap;
use std::sync::Arc;

use serde_json::{Map, Value, json};
use skiff_client::types::{Endpoint, EndpointPort, EndpointSlice, Service, StringMap};

use super::desired::{ByPorts, Desired};
use super::{MANAGED_BY, MANAGED_BY_LABEL, MAX_ENDPOINTS, SERVICE_NAME_LABEL};
use crate::service_backends::HEADLESS_LABEL;

/// What a slice should hold.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Content {
    pub(super) address_type: String,
    pub(super) endpoints: Vec<Endpoint>,
    pub(super) ports: Vec<EndpointPort>,
}

/// What to write.
#[derive(Debug, Default)]
pub(super) struct Plan {
    pub(super) create: Vec<Content>,
    pub(super) update: Vec<(Arc<EndpointSlice>, Content)>,
    pub(super) delete: Vec<Arc<EndpointSlice>>,
}

/// A slice that is there, and what it will hold.
struct Kept {
    slice: Arc<EndpointSlice>,
    content: Content,
}

impl Kept {
    fn has_changed(&self) -> bool {
        self.slice.endpoints != self.content.endpoints
    }

    fn room(&self) -> usize {
        MAX_ENDPOINTS.saturating_sub(self.content.endpoints.len())
    }
}

pub(super) fn plan(service: &Service, slices: &[Arc<EndpointSlice>], desired: &Desired) -> Plan {
    let mut plan = Plan::default();
    let (ours, strangers): (Vec<_>, Vec<_>) =
        slices.iter().cloned().partition(|slice| slice.metadata.is_controlled_by(&service.metadata.uid));
    // Slices of a Service of the same name that is gone, and of address types that the Service no longer has.
    plan.delete.extend(strangers.into_iter().filter(|slice| !slice.metadata.is_deleting()));
    for slice in ours.iter().filter(|slice| !desired.contains_key(slice.address_type.as_str())) {
        plan.delete.push(slice.clone());
    }
    for (type_, by_ports) in desired {
        let of_type: Vec<_> = ours.iter().filter(|slice| slice.address_type == *type_).cloned().collect();
        plan_type(service, type_, of_type, by_ports, &mut plan);
    }
    plan
}

fn plan_type(service: &Service, type_: &str, slices: Vec<Arc<EndpointSlice>>, by_ports: &ByPorts, plan: &mut Plan) {
    let mut create = Vec::new();
    let mut unused = Vec::new();
    let mut kept = Vec::new();
    let mut by_slice_ports: HashMap<Vec<EndpointPort>, Vec<Arc<EndpointSlice>>> = HashMap::new();
    for slice in slices {
        let mut ports = slice.ports.clone();
        ports.sort();
        if by_ports.contains_key(&ports) {
            by_slice_ports.entry(ports).or_default().push(slice);
        } else {
            unused.push(slice);
        }
    }
    for (ports, endpoints) in by_ports {
        let slices = by_slice_ports.remove(ports).unwrap_or_default();
        plan_ports(type_, ports, endpoints, slices, &mut kept, &mut create);
    }
    // Slices that became empty can take what needs a slice, which costs one write instead of two.
    let (used, empty): (Vec<_>, Vec<_>) = kept.into_iter().partition(|kept| !kept.content.endpoints.is_empty());
    unused.extend(empty.into_iter().map(|kept| kept.slice));
    if used.is_empty() && create.is_empty() {
        create.push(Content { address_type: type_.into(), endpoints: Vec::new(), ports: Vec::new() });
    }
    let mut unused = unused.into_iter();
    let mut contents: Vec<(Arc<EndpointSlice>, Content)> =
        used.into_iter().map(|kept| (kept.slice, kept.content)).collect();
    for content in create {
        match unused.next() {
            Some(slice) => contents.push((slice, content)),
            None => plan.create.push(content),
        }
    }
    plan.delete.extend(unused);
    plan.update.extend(contents.into_iter().filter(|(slice, content)| differs(service, slice, content)));
}

/// Keeps endpoints where they are, then puts new ones into slices that change anyway, then into others with room.
fn plan_ports(
    type_: &str,
    ports: &[EndpointPort],
    endpoints: &[Endpoint],
    slices: Vec<Arc<EndpointSlice>>,
    kept: &mut Vec<Kept>,
    create: &mut Vec<Content>,
) {
    let mut missing: Vec<Option<&Endpoint>> = endpoints.iter().map(Some).collect();
    let by_identity: HashMap<String, usize> =
        endpoints.iter().enumerate().map(|(at, one)| (identity(one), at)).collect();
    let mut here: Vec<Kept> = Vec::new();
    for slice in slices {
        let mut content = Content { address_type: type_.into(), endpoints: Vec::new(), ports: ports.to_vec() };
        for have in &slice.endpoints {
            if let Some(wanted) = by_identity.get(&identity(have)).and_then(|at| missing[*at].take()) {
                content.endpoints.push(wanted.clone());
            }
        }
        here.push(Kept { slice, content });
    }
    let mut missing: Vec<Endpoint> = missing.into_iter().flatten().cloned().collect();
    // Changed ones first; of those equally changed, the fullest, so that few slices are half empty.
    here.sort_by_key(|kept| (!kept.has_changed(), kept.room(), kept.slice.metadata.name.clone()));
    for slice in &mut here {
        let taken = missing.len().min(slice.room());
        slice.content.endpoints.extend(missing.drain(..taken));
    }
    kept.extend(here);
    for chunk in missing.chunks(MAX_ENDPOINTS) {
        create.push(Content { address_type: type_.into(), endpoints: chunk.to_vec(), ports: ports.to_vec() });
    }
}

/// What makes an endpoint the same one: its pod and address.
fn identity(endpoint: &Endpoint) -> String {
    let uid = endpoint.target_ref.as_ref().map_or("", |target| target.uid.as_str());
    format!("{uid} {}", endpoint.addresses.join(","))
}

fn differs(service: &Service, slice: &EndpointSlice, content: &Content) -> bool {
    let mut ports = slice.ports.clone();
    ports.sort();
    slice.endpoints != content.endpoints || ports != content.ports || slice.metadata.labels != labels(service)
}

/// Labels of a Service's slices: the Service's own and ours.
pub(super) fn labels(service: &Service) -> StringMap {
    let mut labels = service.metadata.labels.clone();
    labels.insert(SERVICE_NAME_LABEL, service.metadata.name.clone());
    labels.insert(MANAGED_BY_LABEL, MANAGED_BY);
    labels.remove(HEADLESS_LABEL);
    if service.is_headless() {
        labels.insert(HEADLESS_LABEL, "");
    }
    labels
}

/// The labels of a slice as a merge patch: those that are no longer wanted are removed.
pub(super) fn labels_patch(slice: &EndpointSlice, service: &Service) -> Value {
    let wanted = labels(service);
    let gone = slice.metadata.labels.iter().filter(|(key, _)| !wanted.contains_key(key));
    let mut patch: Map<String, Value> = gone.map(|(key, _)| (key.to_owned(), Value::Null)).collect();
    patch.extend(wanted.iter().map(|(key, value)| (key.to_owned(), json!(value))));
    Value::Object(patch)
}

/// The whole plan as text, for golden tests.
#[cfg(test)]
pub(super) fn golden(objects: &crate::golden::Objects) -> String {
    use skiff_client::Informer;
    use skiff_client::types::Pod;

    let service: Service = objects.one("Service");
    let mut slices: Vec<Arc<EndpointSlice>> = objects.all("EndpointSlice").into_iter().map(Arc::new).collect();
    let pods = Informer::<Pod>::detached();
    let extra = objects.extra();
    for number in 0..extra["pods"].as_u64().unwrap_or(0) {
        let name = format!("pod-{number:03}");
        let pod = json!({"metadata": {"name": name, "namespace": "demo", "uid": name, "labels": {"app": "web"}},
            "status": {"podIP": format!("10.0.{}.{}", number / 100, number % 100), "phase": "Running"}});
        pods.apply(serde_json::from_value(pod).expect("a pod"));
    }
    for pod in objects.all::<Pod>("Pod") {
        pods.apply(pod);
    }
    let pods = crate::service_backends::pods_of(&service, &pods);
    let desired = super::desired::desired(&service, &pods, |node| Some(format!("zone-of-{node}")));
    if extra["fill"].as_bool() == Some(true) {
        // The first slice holds the first hundred.
        let mut full = (*slices[0]).clone();
        full.endpoints = desired["IPv4"].values().flatten().take(MAX_ENDPOINTS).cloned().collect();
        slices[0] = Arc::new(full);
    }
    let plan = plan(&service, &slices, &desired);
    let describe = |content: &Content| {
        let endpoints: Vec<Value> = content.endpoints.iter().map(|one| json!(one)).collect();
        let endpoints = if endpoints.len() > 5 {
            format!("{} endpoints", endpoints.len())
        } else {
            endpoints.iter().map(|one| format!("\n    {one}")).collect()
        };
        format!("{} {} {endpoints}", content.address_type, json!(content.ports))
    };
    let mut lines: Vec<String> = plan.create.iter().map(|content| format!("create {}", describe(content))).collect();
    lines.extend(plan.update.iter().map(|(slice, content)| {
        let labels = if slice.metadata.labels == labels(&service) {
            String::new()
        } else {
            format!(" labels {}", labels_patch(slice, &service))
        };
        format!("update {}{labels} {}", slice.metadata.name, describe(content))
    }));
    lines.extend(plan.delete.iter().map(|slice| format!("delete {}", slice.metadata.name)));
    if lines.is_empty() { "nothing".into() } else { lines.join("\n") }
}
