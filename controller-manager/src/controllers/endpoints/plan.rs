//! Pure: from a Service and its pods to an Endpoints object.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use serde_json::{Map, Value, json};
use skiff_client::types::{EndpointAddress, EndpointSubset, Endpoints, Pod, Service, StringMap, SubsetPort};

use super::{LEADER_ANNOTATION, MAX_ADDRESSES, or_null};
use crate::service_backends::{HEADLESS_LABEL, TRIGGER_TIME, hostname, newest_change, reference, target_port};

const MANAGED_BY_LABEL: &str = "endpoints.kubernetes.io/managed-by";
const MANAGED_BY: &str = "endpoint-controller";
const OVER_CAPACITY: &str = "endpoints.kubernetes.io/over-capacity";

/// What to write.
#[derive(Debug)]
pub(super) enum Plan {
    Nothing,
    Create(Value),
    /// A merge patch.
    Update(Value),
}

/// Whether an object without a Service is this controller's to delete.
pub(super) fn is_ours(endpoints: &Endpoints) -> bool {
    endpoints.metadata.labels.get(MANAGED_BY_LABEL) == Some(MANAGED_BY)
        && !endpoints.metadata.annotations.contains_key(LEADER_ANNOTATION)
        && !endpoints.metadata.is_deleting()
}

pub(super) fn plan(service: &Service, pods: &[Arc<Pod>], current: Option<&Endpoints>) -> Plan {
    let mut subsets = repack(collect(service, pods));
    let truncated = truncate(&mut subsets);
    let labels = labels(service);
    let changed = newest_change(service, pods).map(|changed| changed.to_string());
    let over_capacity = truncated.then_some("truncated");
    let Some(current) = current else {
        let annotations: StringMap = [(TRIGGER_TIME, changed.as_deref()), (OVER_CAPACITY, over_capacity)]
            .into_iter()
            .filter_map(|(key, value)| Some((key, value?)))
            .collect();
        return Plan::Create(json!({
            "metadata": {"name": service.metadata.name, "namespace": service.metadata.namespace, "labels": labels,
                "annotations": annotations},
            "subsets": subsets,
        }));
    };
    let same = current.subsets == subsets
        && current.metadata.labels == labels
        && current.metadata.annotations.get(OVER_CAPACITY) == over_capacity;
    if same {
        return Plan::Nothing;
    }
    let mut label_patch: Map<String, Value> =
        labels.iter().map(|(key, value)| (key.to_owned(), json!(value))).collect();
    for (gone, _) in current.metadata.labels.iter().filter(|(key, _)| !labels.contains_key(key)) {
        label_patch.insert(gone.to_owned(), Value::Null);
    }
    Plan::Update(json!({
        "metadata": {"resourceVersion": current.metadata.resource_version, "labels": label_patch,
            "annotations": {TRIGGER_TIME: or_null(changed.as_deref()), OVER_CAPACITY: or_null(over_capacity)}},
        "subsets": subsets,
    }))
}

fn labels(service: &Service) -> StringMap {
    let mut labels = service.metadata.labels.clone();
    labels.remove(HEADLESS_LABEL);
    if service.is_headless() {
        labels.insert(HEADLESS_LABEL, "");
    }
    labels.insert(MANAGED_BY_LABEL, MANAGED_BY);
    labels
}

/// Addresses by readiness (ready first) and by the text that orders them.
type Addresses = BTreeMap<(bool, String), EndpointAddress>;

/// The addresses of each port. A Service without ports has its addresses under no port.
fn collect(service: &Service, pods: &[Arc<Pod>]) -> BTreeMap<Option<SubsetPort>, Addresses> {
    let mut by_port: BTreeMap<Option<SubsetPort>, Addresses> = BTreeMap::new();
    for pod in pods.iter().filter(|pod| service.spec.publish_not_ready_addresses || !pod.metadata.is_deleting()) {
        let Some(address) = address(service, pod) else { continue };
        let ready = service.spec.publish_not_ready_addresses || pod.is_ready();
        let key = (!ready, format!("{} {}", address.ip, pod.metadata.uid));
        let mut add = |port| by_port.entry(port).or_default().insert(key.clone(), address.clone());
        if service.spec.ports.is_empty() {
            add(None);
        }
        for port in &service.spec.ports {
            let Some(number) = target_port(port, pod) else { continue };
            add(Some(SubsetPort {
                name: port.name.clone(),
                port: number,
                protocol: if port.protocol.is_empty() { "TCP".into() } else { port.protocol.clone() },
                app_protocol: port.app_protocol.clone(),
            }));
        }
    }
    by_port
}

fn address(service: &Service, pod: &Pod) -> Option<EndpointAddress> {
    let wants_v6 = match service.spec.ip_families.first() {
        Some(family) => family == "IPv6",
        None => service.spec.cluster_ip.parse::<IpAddr>().is_ok_and(|address| address.is_ipv6()),
    };
    let mut addresses = pod.status.pod_ips.iter().map(|one| &one.ip).chain([&pod.status.pod_ip]);
    let ip = addresses.find(|ip| ip.parse::<IpAddr>().is_ok_and(|address| address.is_ipv6() == wants_v6))?;
    Some(EndpointAddress {
        ip: ip.clone(),
        hostname: hostname(pod, service).unwrap_or_default().to_owned(),
        node_name: Some(pod.spec.node_name.clone()).filter(|node| !node.is_empty()),
        target_ref: Some(reference(pod)),
    })
}

/// Ports that have the same addresses share a subset (upstream `RepackSubsets`).
fn repack(by_port: BTreeMap<Option<SubsetPort>, Addresses>) -> Vec<EndpointSubset> {
    let mut by_addresses: BTreeMap<BTreeSet<(bool, String)>, (Addresses, Vec<SubsetPort>)> = BTreeMap::new();
    for (port, addresses) in by_port {
        let identity = addresses.keys().cloned().collect();
        by_addresses.entry(identity).or_insert_with(|| (addresses, Vec::new())).1.extend(port);
    }
    let subsets = by_addresses.into_values().map(|(addresses, ports)| {
        let mut subset = EndpointSubset { ports, ..EndpointSubset::default() };
        for ((not_ready, _), address) in addresses {
            if not_ready { &mut subset.not_ready_addresses } else { &mut subset.addresses }.push(address);
        }
        subset
    });
    subsets.collect()
}

/// Cuts to [`MAX_ADDRESSES`], not-ready ones first. Whether anything was cut.
fn truncate(subsets: &mut [EndpointSubset]) -> bool {
    let mut room = MAX_ADDRESSES;
    let mut cut = false;
    for addresses in subsets.iter_mut().map(|subset| &mut subset.addresses) {
        cut |= addresses.len() > room;
        addresses.truncate(room);
        room -= addresses.len();
    }
    for addresses in subsets.iter_mut().map(|subset| &mut subset.not_ready_addresses) {
        cut |= addresses.len() > room;
        addresses.truncate(room);
        room -= addresses.len();
    }
    cut
}

/// The whole plan as text, for golden tests.
#[cfg(test)]
pub(super) fn golden(objects: &crate::golden::Objects) -> String {
    use skiff_client::Informer;

    let service: Service = objects.one("Service");
    let pods = Informer::<Pod>::detached();
    for number in 0..objects.extra()["pods"].as_u64().unwrap_or(0) {
        let name = format!("pod-{number:04}");
        let pod = json!({"metadata": {"name": name, "namespace": "demo", "uid": name, "labels": {"app": "web"}},
            "status": {"podIP": format!("10.0.{}.{}", number / 100, number % 100), "phase": "Running"}});
        pods.apply(serde_json::from_value(pod).expect("a pod"));
    }
    for pod in objects.all::<Pod>("Pod") {
        pods.apply(pod);
    }
    let pods = crate::service_backends::pods_of(&service, &pods);
    let current = objects.all::<Endpoints>("Endpoints").pop();
    let shorten = |body: &Value| {
        let text = body.to_string();
        if text.len() < 2000 {
            return text;
        }
        let lists = ["addresses", "notReadyAddresses"];
        let count = |subset: &Value| lists.map(|list| subset[list].as_array().map_or(0, Vec::len));
        let counts: Vec<_> = body["subsets"].as_array().into_iter().flatten().map(count).collect();
        format!("{} with ready and not ready addresses {counts:?}", body["metadata"])
    };
    match plan(&service, &pods, current.as_ref()) {
        Plan::Nothing => "nothing".into(),
        Plan::Create(body) => format!("create {}", shorten(&body)),
        Plan::Update(patch) => format!("update {}", shorten(&patch)),
    }
}
