//! Rows of the kinds of core/v1, and of events.

use std::collections::BTreeSet;

use jiff::Timestamp;
use skiff_apimachinery::value::Value;

use super::human::{NONE, UNKNOWN, UNSET, age, labels, since, some_of, timestamp};
use super::{AGE, Column, NAME, Printer, containers, count, joined, name, non_empty, number, pod, scalar, text};
use super::{CONTAINERS, IMAGES};

pub(super) static PRINTERS: &[Printer] = &[
    Printer::new("", "Pod", &pod::COLUMNS, pod::cells),
    Printer::new("", "Service", &SERVICE, service),
    Printer::new("", "Node", &NODE, node),
    Printer::new("", "Namespace", &NAMESPACE, |object, now| {
        vec![name(object), text(object, &["status", "phase"]).into(), age(object, now)]
    }),
    Printer::new("", "ConfigMap", &CONFIG_MAP, |object, now| {
        vec![name(object), (count(object, &["data"]) + count(object, &["binaryData"])).into(), age(object, now)]
    }),
    Printer::new("", "Secret", &SECRET, |object, now| {
        vec![name(object), text(object, &["type"]).into(), count(object, &["data"]).into(), age(object, now)]
    }),
    Printer::new("", "ServiceAccount", &[NAME, AGE], |object, now| vec![name(object), age(object, now)]),
    Printer::new("", "Event", &EVENT, event),
    Printer::new("events.k8s.io", "Event", &EVENT, event),
    Printer::new("", "Endpoints", &ENDPOINTS, |object, now| {
        vec![name(object), endpoints(object).into(), age(object, now)]
    }),
    Printer::new("", "ReplicationController", &REPLICATION_CONTROLLER, replication_controller),
    Printer::new("", "PodTemplate", &POD_TEMPLATE, |object, _| {
        let [names, images] = containers(object, &["template", "spec", "containers"]);
        vec![name(object), names, images, labels(object.at(&["template", "metadata", "labels"])).into()]
    }),
    Printer::new("", "PersistentVolume", &PERSISTENT_VOLUME, persistent_volume),
    Printer::new("", "PersistentVolumeClaim", &PERSISTENT_VOLUME_CLAIM, persistent_volume_claim),
    Printer::new("", "ResourceQuota", &RESOURCE_QUOTA, resource_quota),
    Printer::new("", "ComponentStatus", &COMPONENT_STATUS, component_status),
];

static SERVICE: [Column; 7] = [
    NAME,
    Column::string("Type", "How the service is exposed."),
    Column::string("Cluster-IP", "Address inside the cluster."),
    Column::string("External-IP", "Addresses outside the cluster."),
    Column::string("Port(s)", "Ports of the service, with their node ports."),
    AGE,
    Column::string("Selector", "Labels of the pods behind the service.").wide(),
];

fn service(object: &Value, now: Timestamp) -> Vec<Value> {
    let ports: Vec<String> = object.array_at(&["spec", "ports"]).iter().map(service_port).collect();
    let cluster_ip = object.array_at(&["spec", "clusterIPs"]).first().and_then(Value::as_str).unwrap_or(NONE);
    vec![
        name(object),
        text(object, &["spec", "type"]).into(),
        cluster_ip.into(),
        external_ip(object),
        non_empty(&ports.join(","), NONE),
        age(object, now),
        labels(object.at(&["spec", "selector"])).into(),
    ]
}

fn service_port(port: &Value) -> String {
    let (number_, protocol) = (number(port, &["port"]), text(port, &["protocol"]));
    match number(port, &["nodePort"]) {
        1.. => format!("{number_}:{}/{protocol}", number(port, &["nodePort"])),
        _ => format!("{number_}/{protocol}"),
    }
}

fn external_ip(object: &Value) -> Value {
    let external = joined(object, &["spec", "externalIPs"], ",");
    match text(object, &["spec", "type"]) {
        "ClusterIP" | "NodePort" => non_empty(&external, NONE),
        "LoadBalancer" => {
            let ingress = load_balancer(object);
            let all: Vec<&str> = [ingress.as_str(), external.as_str()].into_iter().filter(|s| !s.is_empty()).collect();
            non_empty(&all.join(","), "<pending>")
        }
        "ExternalName" => text(object, &["spec", "externalName"]).into(),
        _ => UNKNOWN.into(),
    }
}

/// Addresses that a load balancer assigned, sorted.
pub(super) fn load_balancer(object: &Value) -> String {
    let ingress = object.array_at(&["status", "loadBalancer", "ingress"]).iter();
    let addresses: BTreeSet<&str> = ingress
        .map(|item| match text(item, &["ip"]) {
            "" => text(item, &["hostname"]),
            ip => ip,
        })
        .filter(|address| !address.is_empty())
        .collect();
    addresses.into_iter().collect::<Vec<_>>().join(",")
}

static NODE: [Column; 10] = [
    NAME,
    Column::string("Status", "Whether the node is ready, and whether pods are scheduled to it."),
    Column::string("Roles", "Roles from the node's labels."),
    AGE,
    Column::string("Version", "Version of the kubelet."),
    Column::string("Internal-IP", "Address inside the cluster.").wide(),
    Column::string("External-IP", "Address outside the cluster.").wide(),
    Column::string("OS-Image", "Operating system of the node.").wide(),
    Column::string("Kernel-Version", "Kernel of the node, with its architecture.").wide(),
    Column::string("Container-Runtime", "Container runtime of the node, with its version.").wide(),
];

fn node(object: &Value, now: Timestamp) -> Vec<Value> {
    let ready = object.array_at(&["status", "conditions"]).iter().rfind(|item| text(item, &["type"]) == "Ready");
    let mut status = match ready.map(|item| text(item, &["status"])) {
        Some("True") => String::from("Ready"),
        Some(_) => "NotReady".into(),
        None => "Unknown".into(),
    };
    if object.bool_at(&["spec", "unschedulable"]) == Some(true) {
        status.push_str(",SchedulingDisabled");
    }
    let info = |field: &str| text(object, &["status", "nodeInfo", field]);
    let address = |wanted: &str| {
        let mut addresses = object.array_at(&["status", "addresses"]).iter();
        let found = addresses.find(|item| text(item, &["type"]) == wanted);
        Value::from(found.map_or(NONE, |item| text(item, &["address"])))
    };
    let kernel = match (info("kernelVersion"), info("architecture")) {
        ("", "") => UNKNOWN.into(),
        ("", architecture) => format!("{UNKNOWN} ({architecture})"),
        (kernel, "") => kernel.into(),
        (kernel, architecture) => format!("{kernel} ({architecture})"),
    };
    vec![
        name(object),
        status.into(),
        node_roles(object),
        age(object, now),
        info("kubeletVersion").into(),
        address("InternalIP"),
        address("ExternalIP"),
        non_empty(info("osImage"), UNKNOWN),
        kernel.into(),
        non_empty(info("containerRuntimeVersion"), UNKNOWN),
    ]
}

fn node_roles(object: &Value) -> Value {
    let labels = object.at(&["metadata", "labels"]).and_then(Value::as_object);
    let roles: BTreeSet<&str> = labels
        .into_iter()
        .flat_map(|labels| labels.iter())
        .filter_map(|(key, value)| match key.strip_prefix("node-role.kubernetes.io/") {
            Some(role) => Some(role),
            None if key == "kubernetes.io/role" => value.as_str(),
            None => None,
        })
        .filter(|role| !role.is_empty())
        .collect();
    non_empty(&roles.into_iter().collect::<Vec<_>>().join(","), NONE)
}

static NAMESPACE: [Column; 3] = [NAME, Column::string("Status", "Whether the namespace is in use or going away."), AGE];
static CONFIG_MAP: [Column; 3] = [NAME, Column::string("Data", "Number of entries."), AGE];
static SECRET: [Column; 4] =
    [NAME, Column::string("Type", "What the secret is for."), Column::string("Data", "Number of entries."), AGE];

static EVENT: [Column; 10] = [
    Column::string("Last Seen", "Time since the event was last recorded."),
    Column::string("Type", "Normal or Warning."),
    Column::string("Reason", "Short, machine-readable cause of the event."),
    Column::string("Object", "What the event is about."),
    Column::string("Subobject", "Part of the object that the event is about.").wide(),
    Column::string("Source", "Component that recorded the event.").wide(),
    Column::string("Message", "What happened."),
    Column::string("First Seen", "Time since the event was first recorded.").wide(),
    Column::string("Count", "How often the event was recorded.").wide(),
    Column { priority: 1, ..NAME },
];

/// An event of core/v1 or events.k8s.io/v1, which name the same things differently.
fn event(object: &Value, now: Timestamp) -> Vec<Value> {
    let either = |core: &'static str, events: &'static str| object.get(core).or_else(|| object.get(events));
    let is_set = |value: Option<&Value>| timestamp(value).is_some();
    let first = either("firstTimestamp", "deprecatedFirstTimestamp");
    let first = since(if is_set(first) { first } else { object.get("eventTime") }, now);
    let last = either("lastTimestamp", "deprecatedLastTimestamp");
    let mut last = if is_set(last) { since(last, now) } else { first.clone() };
    let mut count = either("count", "deprecatedCount").and_then(Value::as_i64).unwrap_or(0);
    if let Some(series) = object.get("series").filter(|series| !series.is_null()) {
        last = since(series.get("lastObservedTime"), now);
        count = number(series, &["count"]);
    } else if count == 0 {
        count = 1;
    }
    let regarding = either("involvedObject", "regarding").cloned().unwrap_or_default();
    let kind = text(&regarding, &["kind"]).to_lowercase();
    let target = match text(&regarding, &["name"]) {
        "" => kind,
        name => format!("{kind}/{name}"),
    };
    vec![
        last.into(),
        text(object, &["type"]).into(),
        text(object, &["reason"]).into(),
        target.into(),
        text(&regarding, &["fieldPath"]).into(),
        event_source(object).into(),
        either("message", "note").and_then(Value::as_str).unwrap_or("").trim().into(),
        first.into(),
        count.into(),
        name(object),
    ]
}

fn event_source(object: &Value) -> String {
    let source = object.get("source").or_else(|| object.get("deprecatedSource")).cloned().unwrap_or_default();
    let first = |texts: [&str; 3]| texts.into_iter().find(|text| !text.is_empty()).unwrap_or("").to_owned();
    let component = first([
        text(&source, &["component"]),
        text(object, &["reportingComponent"]),
        text(object, &["reportingController"]),
    ]);
    match first([text(&source, &["host"]), text(object, &["reportingInstance"]), ""]) {
        host if host.is_empty() => component,
        host => format!("{component}, {host}"),
    }
}

static ENDPOINTS: [Column; 3] = [NAME, Column::string("Endpoints", "Addresses and ports behind the service."), AGE];

fn endpoints(object: &Value) -> String {
    const SHOWN: usize = 3;
    let mut shown = Vec::new();
    let mut count = 0;
    for subset in object.array_at(&["subsets"]) {
        let addresses = subset.array_at(&["addresses"]);
        let ports = subset.array_at(&["ports"]);
        let mut add = |port: Option<&Value>| {
            count += addresses.len();
            for address in addresses.iter().take(SHOWN.saturating_sub(shown.len())) {
                let ip = text(address, &["ip"]);
                shown.push(match port.map(|port| number(port, &["port"])) {
                    None => ip.to_owned(),
                    Some(port) if ip.contains(':') => format!("[{ip}]:{port}"),
                    Some(port) => format!("{ip}:{port}"),
                });
            }
        };
        if ports.is_empty() {
            add(None);
        }
        ports.iter().for_each(|port| add(Some(port)));
    }
    if object.array_at(&["subsets"]).is_empty() {
        return NONE.into();
    }
    some_of(&shown, count, SHOWN)
}

static REPLICATION_CONTROLLER: [Column; 8] = [
    NAME,
    Column::integer("Desired", "Pods that are wanted."),
    Column::integer("Current", "Pods that there are."),
    Column::integer("Ready", "Pods that are ready."),
    AGE,
    CONTAINERS,
    IMAGES,
    Column::string("Selector", "Labels of the pods.").wide(),
];

fn replication_controller(object: &Value, now: Timestamp) -> Vec<Value> {
    let [names, images] = containers(object, &["spec", "template", "spec", "containers"]);
    vec![
        name(object),
        number(object, &["spec", "replicas"]).into(),
        number(object, &["status", "replicas"]).into(),
        number(object, &["status", "readyReplicas"]).into(),
        age(object, now),
        names,
        images,
        labels(object.at(&["spec", "selector"])).into(),
    ]
}

static POD_TEMPLATE: [Column; 4] = [
    NAME,
    Column::string("Containers", "Names of the containers."),
    Column::string("Images", "Images of the containers."),
    Column::string("Pod Labels", "Labels of pods made from the template."),
];

static PERSISTENT_VOLUME: [Column; 11] = [
    NAME,
    Column::string("Capacity", "Size of the volume."),
    Column::string("Access Modes", "Ways in which the volume can be mounted."),
    Column::string("Reclaim Policy", "What happens to the volume when its claim is gone."),
    Column::string("Status", "Whether the volume is available or bound."),
    Column::string("Claim", "Claim that the volume is bound to."),
    Column::string("StorageClass", "Class of the volume."),
    Column::string("VolumeAttributesClass", "Class of the volume's changeable attributes."),
    Column::string("Reason", "Why the volume is in its state."),
    AGE,
    Column::string("VolumeMode", "Whether the volume is a file system or a block device.").wide(),
];

fn persistent_volume(object: &Value, now: Timestamp) -> Vec<Value> {
    let claim = object
        .at(&["spec", "claimRef"])
        .map_or(String::new(), |claim| format!("{}/{}", text(claim, &["namespace"]), text(claim, &["name"])));
    vec![
        name(object),
        scalar(object.at(&["spec", "capacity", "storage"]), "0"),
        access_modes(object, &["spec", "accessModes"]).into(),
        text(object, &["spec", "persistentVolumeReclaimPolicy"]).into(),
        phase(object),
        claim.into(),
        storage_class(object),
        text_or(object, &["spec", "volumeAttributesClassName"], UNSET),
        text(object, &["status", "reason"]).into(),
        age(object, now),
        text_or(object, &["spec", "volumeMode"], UNSET),
    ]
}

static PERSISTENT_VOLUME_CLAIM: [Column; 9] = [
    NAME,
    Column::string("Status", "Whether the claim is bound."),
    Column::string("Volume", "Volume that the claim is bound to."),
    Column::string("Capacity", "Size of the volume."),
    Column::string("Access Modes", "Ways in which the volume can be mounted."),
    Column::string("StorageClass", "Class of the volume."),
    Column::string("VolumeAttributesClass", "Class of the volume's changeable attributes."),
    AGE,
    Column::string("VolumeMode", "Whether the volume is a file system or a block device.").wide(),
];

fn persistent_volume_claim(object: &Value, now: Timestamp) -> Vec<Value> {
    let volume = text(object, &["spec", "volumeName"]);
    let (capacity, modes) = match volume {
        "" => ("".into(), String::new()),
        _ => (
            scalar(object.at(&["status", "capacity", "storage"]), "0"),
            access_modes(object, &["status", "accessModes"]),
        ),
    };
    vec![
        name(object),
        phase(object),
        volume.into(),
        capacity,
        modes.into(),
        storage_class(object),
        text_or(object, &["spec", "volumeAttributesClassName"], UNSET),
        age(object, now),
        text_or(object, &["spec", "volumeMode"], UNSET),
    ]
}

fn text_or(object: &Value, path: &[&str], default: &str) -> Value {
    object.str_at(path).unwrap_or(default).into()
}

fn phase(object: &Value) -> Value {
    match object.at(&["metadata", "deletionTimestamp"]) {
        Some(_) => "Terminating".into(),
        None => text(object, &["status", "phase"]).into(),
    }
}

fn storage_class(object: &Value) -> Value {
    let annotation = object.str_at(&["metadata", "annotations", "volume.beta.kubernetes.io/storage-class"]);
    annotation.unwrap_or_else(|| text(object, &["spec", "storageClassName"])).into()
}

fn access_modes(object: &Value, path: &[&str]) -> String {
    let modes = object.array_at(path);
    let known =
        [("ReadWriteOnce", "RWO"), ("ReadOnlyMany", "ROX"), ("ReadWriteMany", "RWX"), ("ReadWriteOncePod", "RWOP")];
    let has = |mode: &str| modes.iter().any(|item| item.as_str() == Some(mode));
    known.into_iter().filter(|(mode, _)| has(mode)).map(|(_, short)| short).collect::<Vec<_>>().join(",")
}

static RESOURCE_QUOTA: [Column; 4] = [
    NAME,
    Column::string("Request", "Use and bound of requests and counts."),
    Column::string("Limit", "Use and bound of limits."),
    AGE,
];

fn resource_quota(object: &Value, now: Timestamp) -> Vec<Value> {
    let (mut requests, mut limits) = (Vec::new(), Vec::new());
    let hard = object.at(&["status", "hard"]).and_then(Value::as_object);
    for (resource, bound) in hard.into_iter().flat_map(|hard| hard.iter()) {
        let quantity = |value: Option<&Value>| scalar(value, "0").as_str().unwrap_or("0").to_owned();
        let used = quantity(object.at(&["status", "used", resource]));
        let column = if resource.starts_with("limits.") { &mut limits } else { &mut requests };
        column.push(format!("{resource}: {used}/{}", quantity(Some(bound))));
    }
    vec![name(object), requests.join(", ").into(), limits.join(", ").into(), age(object, now)]
}

static COMPONENT_STATUS: [Column; 4] = [
    NAME,
    Column::string("Status", "Whether the component is healthy."),
    Column::string("Message", "What the component said."),
    Column::string("Error", "Error of the last check."),
];

fn component_status(object: &Value, _: Timestamp) -> Vec<Value> {
    let mut conditions = object.array_at(&["conditions"]).iter();
    let healthy = conditions.find(|item| text(item, &["type"]) == "Healthy");
    let status = match healthy.map(|item| text(item, &["status"])) {
        Some("True") => "Healthy",
        Some(_) => "Unhealthy",
        None => "Unknown",
    };
    let part = |field: &str| Value::from(healthy.map_or("", |item| text(item, &[field])));
    vec![name(object), status.into(), part("message"), part("error")]
}
