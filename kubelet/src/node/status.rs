//! The status of the Node (upstream: `pkg/kubelet/nodestatus/setters.go`). Pure.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{
    ContainerImage, DaemonEndpoint, NodeAddress, NodeCondition, NodeDaemonEndpoints, NodeFeatures, NodeRuntimeHandler,
    NodeRuntimeHandlerFeatures, NodeStatus, NodeSwapStatus, NodeSystemInfo,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use skiff_cri::v1;

use super::machine::{FileSystem, Machine};
use crate::eviction::thresholds::Condition;
use crate::quantity::{ResourceList, bytes, millicores};

/// Images shown at most, the largest first (upstream: `nodeStatusMaxImages`).
const IMAGES_MAX: usize = 50;
/// Names of one image that are shown.
const IMAGE_NAMES_MAX: usize = 5;
/// Memory that is kept from pods, in bytes; below it the node is under pressure (upstream: memory.available<100Mi).
pub(crate) const MEMORY_RESERVE: u64 = 100 << 20;
/// Share of the disk that is kept from pods, in percent (upstream: nodefs.available<10%).
const DISK_FREE_PERCENT: u64 = 10;

/// What the runtime says about itself.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct RuntimeState {
    /// Such as `skiff`.
    pub(crate) name: String,
    pub(crate) version: String,
    /// Why it is not ready; `None` if it is.
    pub(crate) error: Option<String>,
    /// Why the pod network is not up; `None` if it is.
    pub(crate) network_error: Option<String>,
    pub(crate) handlers: Vec<v1::RuntimeHandler>,
    pub(crate) supplemental_groups_policy: bool,
}

/// What a status is made of.
pub(crate) struct NodeInputs<'a> {
    pub(crate) machine: &'a Machine,
    /// What there is too little of.
    pub(crate) short: &'a BTreeSet<Condition>,
    pub(crate) disk: FileSystem,
    pub(crate) runtime: &'a RuntimeState,
    pub(crate) images: &'a [v1::Image],
    pub(crate) host_name: &'a str,
    pub(crate) addresses: &'a [String],
    pub(crate) max_pods: u32,
    pub(crate) port: u16,
    pub(crate) version: &'a str,
    /// The status in the API.
    pub(crate) previous: &'a NodeStatus,
    pub(crate) now: Timestamp,
}

/// Computes the status. What others wrote into it stays.
pub(crate) fn node_status(inputs: &NodeInputs<'_>) -> NodeStatus {
    let previous = inputs.previous;
    let (capacity, allocatable) = resources(inputs);
    NodeStatus {
        addresses: Some(addresses(inputs)),
        capacity: Some(with_foreign(capacity, previous.capacity.as_ref())),
        allocatable: Some(with_foreign(allocatable, previous.allocatable.as_ref())),
        conditions: Some(conditions(inputs)),
        daemon_endpoints: Some(NodeDaemonEndpoints {
            kubelet_endpoint: Some(DaemonEndpoint { port: inputs.port.into() }),
        }),
        images: Some(images(inputs.images)),
        node_info: Some(node_info(inputs)),
        runtime_handlers: runtime_handlers(inputs.runtime),
        features: Some(NodeFeatures { supplemental_groups_policy: Some(inputs.runtime.supplemental_groups_policy) }),
        ..previous.clone()
    }
}

/// Whether two statuses differ in more than the time of the last heartbeat.
pub(crate) fn differs(old: &NodeStatus, new: &NodeStatus) -> bool {
    let without_heartbeat = |status: &NodeStatus| {
        let mut status = status.clone();
        for condition in status.conditions.iter_mut().flatten() {
            condition.last_heartbeat_time = None;
        }
        status
    };
    without_heartbeat(old) != without_heartbeat(new)
}

fn addresses(inputs: &NodeInputs<'_>) -> Vec<NodeAddress> {
    let address = |type_: &str, address: &str| NodeAddress { type_: type_.to_owned(), address: address.to_owned() };
    let mut list: Vec<NodeAddress> = inputs.addresses.iter().map(|ip| address("InternalIP", ip)).collect();
    list.push(address("Hostname", inputs.host_name));
    list
}

/// Capacity, and what of it is for pods.
fn resources(inputs: &NodeInputs<'_>) -> (ResourceList, ResourceList) {
    let machine = inputs.machine;
    let cpus = millicores(i64::try_from(machine.cpus * 1000).unwrap_or(i64::MAX));
    let pods = Quantity(inputs.max_pods.to_string());
    let list = |memory: u64, storage: Quantity| -> ResourceList {
        [
            ("cpu".to_owned(), cpus.clone()),
            ("memory".to_owned(), bytes(memory)),
            ("ephemeral-storage".to_owned(), storage),
            ("pods".to_owned(), pods.clone()),
        ]
        .into()
    };
    let usable_disk = inputs.disk.size / 100 * (100 - DISK_FREE_PERCENT);
    let capacity = list(machine.memory, bytes(inputs.disk.size));
    let allocatable = list(machine.memory.saturating_sub(MEMORY_RESERVE), Quantity(usable_disk.to_string()));
    (capacity, allocatable)
}

/// Adds resources that someone else put there: they are advertised through the API.
fn with_foreign(mut list: ResourceList, previous: Option<&ResourceList>) -> ResourceList {
    for (name, amount) in previous.into_iter().flatten() {
        if name.contains('/') {
            list.entry(name.clone()).or_insert_with(|| amount.clone());
        }
    }
    list
}

fn conditions(inputs: &NodeInputs<'_>) -> Vec<NodeCondition> {
    let pressure = |kind: Condition, texts: [(&str, &str); 2]| {
        let under = inputs.short.contains(&kind);
        let (reason, message) = texts[usize::from(under)];
        condition(inputs, kind.as_str(), under, reason, message)
    };
    let own = vec![
        pressure(
            Condition::MemoryPressure,
            [
                ("KubeletHasSufficientMemory", "kubelet has sufficient memory available"),
                ("KubeletHasInsufficientMemory", "kubelet has insufficient memory available"),
            ],
        ),
        pressure(
            Condition::DiskPressure,
            [
                ("KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
                ("KubeletHasDiskPressure", "kubelet has disk pressure"),
            ],
        ),
        pressure(
            Condition::PidPressure,
            [
                ("KubeletHasSufficientPID", "kubelet has sufficient PID available"),
                ("KubeletHasInsufficientPID", "kubelet has insufficient PID available"),
            ],
        ),
        ready(inputs),
    ];
    let foreign = inputs.previous.conditions.iter().flatten().filter(|old| own.iter().all(|c| c.type_ != old.type_));
    let mut list: Vec<NodeCondition> = foreign.cloned().collect();
    list.extend(own);
    list
}

fn ready(inputs: &NodeInputs<'_>) -> NodeCondition {
    let problems: Vec<String> = [
        inputs.runtime.error.as_ref().map(|error| format!("container runtime is down or not ready: {error}")),
        inputs.runtime.network_error.as_ref().map(|error| format!("container runtime network not ready: {error}")),
    ]
    .into_iter()
    .flatten()
    .collect();
    if problems.is_empty() {
        return condition(inputs, "Ready", true, "KubeletReady", "kubelet is posting ready status");
    }
    let message = match problems.as_slice() {
        [one] => one.clone(),
        many => format!("[{}]", many.join(", ")),
    };
    condition(inputs, "Ready", false, "KubeletNotReady", &message)
}

fn condition(inputs: &NodeInputs<'_>, type_: &str, status: bool, reason: &str, message: &str) -> NodeCondition {
    let status = if status { "True" } else { "False" };
    let now = Time(crate::status::generate::whole_seconds(inputs.now));
    let old = inputs.previous.conditions.iter().flatten().find(|old| old.type_ == type_);
    let changed = match old {
        Some(old) if old.status == status => old.last_transition_time.clone(),
        _ => None,
    };
    NodeCondition {
        type_: type_.to_owned(),
        status: status.to_owned(),
        reason: Some(reason.to_owned()),
        message: Some(message.to_owned()),
        last_heartbeat_time: Some(now.clone()),
        last_transition_time: changed.or(Some(now)),
    }
}

fn images(images: &[v1::Image]) -> Vec<ContainerImage> {
    let mut sorted: Vec<&v1::Image> = images.iter().collect();
    sorted.sort_by(|a, b| (b.size, &a.id).cmp(&(a.size, &b.id)));
    let shown = sorted.into_iter().take(IMAGES_MAX).map(|image| {
        let names = image.repo_digests.iter().chain(&image.repo_tags).take(IMAGE_NAMES_MAX);
        ContainerImage {
            names: Some(names.cloned().collect()),
            size_bytes: Some(i64::try_from(image.size).unwrap_or(i64::MAX)),
        }
    });
    shown.filter(|image| image.names.as_ref().is_some_and(|names| !names.is_empty())).collect()
}

fn node_info(inputs: &NodeInputs<'_>) -> NodeSystemInfo {
    let machine = inputs.machine;
    NodeSystemInfo {
        architecture: machine.architecture.to_owned(),
        boot_id: machine.boot_id.clone(),
        container_runtime_version: format!("{}://{}", inputs.runtime.name, inputs.runtime.version),
        kernel_version: machine.kernel_version.clone(),
        kube_proxy_version: String::new(),
        kubelet_version: inputs.version.to_owned(),
        machine_id: machine.machine_id.clone(),
        operating_system: "linux".to_owned(),
        os_image: machine.os_image.clone(),
        system_uuid: machine.system_uuid.clone(),
        // The API takes no capacity of nothing.
        swap: (machine.swap > 0)
            .then(|| NodeSwapStatus { capacity: Some(i64::try_from(machine.swap).unwrap_or(i64::MAX)) }),
    }
}

fn runtime_handlers(runtime: &RuntimeState) -> Option<Vec<NodeRuntimeHandler>> {
    let handlers = runtime.handlers.iter().map(|handler| NodeRuntimeHandler {
        name: Some(handler.name.clone()),
        features: handler.features.as_ref().map(|features| NodeRuntimeHandlerFeatures {
            recursive_read_only_mounts: Some(features.recursive_read_only_mounts),
            user_namespaces: Some(features.user_namespaces),
        }),
    });
    let handlers: Vec<NodeRuntimeHandler> = handlers.collect();
    (!handlers.is_empty()).then_some(handlers)
}

/// Labels of a Node.
pub(crate) fn node_labels(
    host_name: &str,
    architecture: &str,
    own: &BTreeMap<String, String>,
) -> BTreeMap<String, String> {
    let mut labels: BTreeMap<String, String> = [
        ("beta.kubernetes.io/arch", architecture),
        ("beta.kubernetes.io/os", "linux"),
        ("kubernetes.io/arch", architecture),
        ("kubernetes.io/hostname", host_name),
        ("kubernetes.io/os", "linux"),
    ]
    .map(|(key, value)| (key.to_owned(), value.to_owned()))
    .into();
    labels.extend(own.clone());
    labels
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    struct Case {
        machine: Machine,
        disk: FileSystem,
        short: BTreeSet<Condition>,
        runtime: RuntimeState,
        images: Vec<v1::Image>,
        previous: NodeStatus,
        second: i64,
    }

    impl Case {
        fn new() -> Self {
            let disk = FileSystem { size: 1000 << 20, free: 500 << 20, inodes: 100, inodes_free: 50 };
            Self {
                machine: Machine { cpus: 4, memory: 8 << 30, architecture: "amd64", ..Default::default() },
                disk,
                short: BTreeSet::new(),
                runtime: RuntimeState { name: "skiff".into(), version: "0.1.0".into(), ..Default::default() },
                images: Vec::new(),
                previous: NodeStatus::default(),
                second: 100,
            }
        }

        fn status(&self) -> NodeStatus {
            node_status(&NodeInputs {
                machine: &self.machine,
                short: &self.short,
                disk: self.disk,
                runtime: &self.runtime,
                images: &self.images,
                host_name: "node",
                addresses: &["10.0.0.1".into()],
                max_pods: 110,
                port: 10250,
                version: "v1.36.0",
                previous: &self.previous,
                now: Timestamp::from_second(self.second).expect("a time"),
            })
        }
    }

    fn states(status: &NodeStatus) -> Vec<String> {
        status
            .conditions
            .iter()
            .flatten()
            .map(|c| format!("{}={} {}", c.type_, c.status, c.reason.clone().unwrap_or_default()))
            .collect()
    }

    #[test]
    fn swap_is_said_where_there_is_some() {
        let mut case = Case::new();
        let swap = |case: &Case| case.status().node_info.expect("information").swap;
        assert_eq!(swap(&case), None);
        case.machine.swap = 1 << 30;
        assert_eq!(swap(&case).and_then(|swap| swap.capacity), Some(1 << 30));
    }

    #[test]
    fn a_healthy_node() {
        let status = Case::new().status();
        assert_eq!(
            states(&status),
            [
                "MemoryPressure=False KubeletHasSufficientMemory",
                "DiskPressure=False KubeletHasNoDiskPressure",
                "PIDPressure=False KubeletHasSufficientPID",
                "Ready=True KubeletReady"
            ]
        );
        assert_eq!(
            serde_json::to_value(&status.capacity).expect("a list"),
            json!({"cpu": "4", "memory": "8388608Ki", "ephemeral-storage": "1024000Ki", "pods": "110"})
        );
        assert_eq!(status.allocatable.as_ref().map(|list| list["memory"].0.as_str()), Some("8286208Ki"));
        assert_eq!(status.node_info.map(|info| info.container_runtime_version).as_deref(), Some("skiff://0.1.0"));
    }

    #[test]
    fn problems_are_told() {
        let mut case = Case::new();
        case.short = [Condition::MemoryPressure, Condition::DiskPressure, Condition::PidPressure].into();
        case.runtime.network_error = Some("no pod CIDR".into());
        let status = case.status();
        assert!(states(&status)[..3].iter().all(|state| state.contains("=True")), "{:?}", states(&status));
        let ready = status.conditions.expect("conditions").remove(3);
        assert_eq!(
            (ready.status.as_str(), ready.message.as_deref()),
            ("False", Some("container runtime network not ready: no pod CIDR"))
        );
    }

    #[test]
    fn heartbeats_alone_are_no_change_and_times_are_those_of_changes() {
        let mut case = Case::new();
        case.previous = case.status();
        case.second = 200;
        let later = case.status();
        assert!(!differs(&case.previous, &later));
        let ready = &later.conditions.as_ref().expect("conditions")[3];
        assert_eq!(ready.last_transition_time.as_ref().map(|t| t.0.as_second()), Some(100));
        assert_eq!(ready.last_heartbeat_time.as_ref().map(|t| t.0.as_second()), Some(200));
        case.runtime.error = Some("down".into());
        assert!(differs(&case.previous, &case.status()));
    }

    #[test]
    fn what_others_wrote_stays() {
        let mut case = Case::new();
        case.previous = serde_json::from_value(json!({
            "capacity": {"example.com/gpu": "2", "cpu": "1"},
            "conditions": [{"type": "NetworkUnavailable", "status": "False"}]}))
        .expect("a status");
        let status = case.status();
        let capacity = status.capacity.as_ref().expect("capacity");
        assert_eq!((capacity["example.com/gpu"].0.as_str(), capacity["cpu"].0.as_str()), ("2", "4"));
        assert_eq!(states(&status).len(), 5);
    }

    #[test]
    fn the_largest_images_are_shown() {
        let image = |id: &str, tag: &str, size| v1::Image {
            id: id.into(),
            repo_tags: vec![tag.into()],
            size,
            ..Default::default()
        };
        let mut case = Case::new();
        case.images = (0..60).map(|n| image(&format!("i{n}"), &format!("t{n}"), n)).collect();
        case.images.push(v1::Image { id: "nameless".into(), size: 1000, ..Default::default() });
        let images = case.status().images.expect("images");
        assert_eq!(images.len(), 49);
        assert_eq!(images[0].names.as_deref(), Some(&["t59".to_owned()][..]));
    }
}
