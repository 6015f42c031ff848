//! The Node object: registered at start, kept true afterwards (upstream: `kubelet_node_status.go`).

mod lease;
pub(crate) mod machine;
pub(crate) mod status;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Node, NodeSpec, NodeStatus, Taint};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Client;
use serde_json::json;
use skiff_client::objects::PatchKind;
use skiff_client::{EventType, Objects, errors};
use skiff_cri::v1;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::context::NodeFacts;
use crate::events::Events;
use crate::eviction::Conditions;
use crate::runtime::Runtime;
use crate::status::patch::diff;
use machine::{FileSystem, Machine};
use status::{NodeInputs, RuntimeState, differs, node_labels, node_status};

/// How often the status is computed; it is written if it changed.
const CHECK: Duration = Duration::from_secs(10);
/// How often it is computed while the node is not ready.
const CHECK_NOT_READY: Duration = Duration::from_millis(100);
/// From then on, not ready is a lasting state and is looked at less often.
const EAGER: Duration = Duration::from_secs(60);
/// How often it is written although nothing changed.
const REPORT: Duration = Duration::from_secs(300);
/// Pauses between tries to register.
const RETRY_MIN: Duration = Duration::from_millis(100);
const RETRY_MAX: Duration = Duration::from_secs(7);
/// The attach-detach controller manages volumes of this node.
const MANAGED_ATTACH: &str = "volumes.kubernetes.io/controller-managed-attach-detach";

/// What the Node object is made of besides the machine.
#[derive(Clone, Debug)]
pub(crate) struct NodeConfig {
    pub(crate) name: String,
    pub(crate) addresses: Vec<String>,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) taints: Vec<Taint>,
    pub(crate) max_pods: u32,
    /// Port of the kubelet's API.
    pub(crate) port: u16,
    pub(crate) version: String,
    /// Folder whose file system pods use.
    pub(crate) root: PathBuf,
}

/// Keeps the Node object.
pub(crate) struct NodeAgent {
    client: Client,
    runtime: Runtime,
    events: Events,
    config: NodeConfig,
    machine: Machine,
    facts: watch::Sender<Arc<NodeFacts>>,
    /// What the node is short of.
    conditions: Conditions,
}

impl NodeAgent {
    pub(crate) fn new(
        client: Client,
        runtime: Runtime,
        events: Events,
        config: NodeConfig,
        conditions: Conditions,
    ) -> (Self, watch::Receiver<Arc<NodeFacts>>) {
        let machine = Machine::read();
        let (facts, receiver) = watch::channel(Arc::new(NodeFacts {
            host_ips: config.addresses.clone(),
            labels: node_labels(&config.name, machine.architecture, &config.labels),
            memory_capacity: i64::try_from(machine.memory).unwrap_or(i64::MAX),
            network_error: Some("the container runtime has not been asked yet".to_owned()),
            ..Default::default()
        }));
        (Self { client, runtime, events, config, machine, facts, conditions }, receiver)
    }

    /// Looks at the runtime once, so that the facts are true before pods are started.
    pub(crate) async fn look(&self) {
        let runtime = self.runtime_state().await;
        let previous = NodeStatus::default();
        drop(self.status(&runtime, &[], &previous));
    }

    /// Registers the node and keeps its object true until `shutdown`.
    pub(crate) async fn run(self, shutdown: CancellationToken) {
        let node = tokio::select! {
            () = shutdown.cancelled() => return,
            node = self.register() => node,
        };
        let uid = node.metadata.uid.clone().unwrap_or_default();
        self.events.node(&self.config.name, EventType::Normal, "Starting", "Starting kubelet.");
        let lease = tokio::spawn(lease::run(self.client.clone(), self.config.name.clone(), uid, shutdown.clone()));
        tokio::select! {
            () = shutdown.cancelled() => {}
            () = self.keep(node) => {}
        }
        // It ends with the same token.
        let _ = lease.await;
    }

    /// Makes the Node object, or takes over the one that is there.
    async fn register(&self) -> Node {
        let mut pause = RETRY_MIN;
        loop {
            match self.try_register().await {
                Ok(node) => return node,
                Err(error) => tracing::warn!(%error, "cannot register the node, will retry"),
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(RETRY_MAX);
        }
    }

    async fn try_register(&self) -> kube::Result<Node> {
        let nodes = Objects::<Node>::cluster(&self.client);
        let labels = node_labels(&self.config.name, self.machine.architecture, &self.config.labels);
        if let Some(node) = nodes.get_opt(&self.config.name).await? {
            let known = node.metadata.labels.clone().unwrap_or_default();
            if labels.iter().all(|(key, value)| known.get(key) == Some(value)) {
                return Ok(node);
            }
            let patch = json!({"metadata": {"labels": labels}});
            return nodes.patch(&self.config.name, "", PatchKind::Strategic, &patch).await;
        }
        let runtime = self.runtime_state().await;
        let node = Node {
            metadata: ObjectMeta {
                name: Some(self.config.name.clone()),
                labels: Some(labels),
                annotations: Some([(MANAGED_ATTACH.to_owned(), "true".to_owned())].into()),
                ..Default::default()
            },
            spec: Some(NodeSpec {
                taints: (!self.config.taints.is_empty()).then(|| self.config.taints.clone()),
                ..Default::default()
            }),
            status: Some(self.status(&runtime, &[], &NodeStatus::default())),
        };
        match nodes.create(&node).await {
            Err(error) if errors::is_already_exists(&error) => nodes.get(&self.config.name).await,
            done => done,
        }
    }

    /// Computes and writes the status for ever.
    async fn keep(&self, mut node: Node) {
        let nodes = Objects::<Node>::cluster(&self.client);
        let started = Instant::now();
        let mut reported: Option<Instant> = None;
        let mut pod_cidr = String::new();
        loop {
            let mut pressed = self.conditions.clone();
            pressed.mark_unchanged();
            pod_cidr = self.hand_over_cidr(&node, pod_cidr).await;
            let runtime = self.runtime_state().await;
            self.take_labels(&node);
            let images = self.runtime.list_images().await.unwrap_or_default();
            let old = node.status.clone().unwrap_or_default();
            let new = self.status(&runtime, &images, &old);
            let is_ready = ready_state(&new) == Some("True");
            let due = reported.is_none_or(|at| at.elapsed() >= REPORT);
            if due || differs(&old, &new) {
                match self.write(&nodes, &old, &new).await {
                    Ok(written) => {
                        self.tell_changes(&old, &new);
                        node = written;
                        reported = Some(Instant::now());
                    }
                    Err(error) => {
                        tracing::warn!(%error, "cannot write the node's status, will retry");
                        reported = None;
                    }
                }
            }
            let eager = !is_ready && started.elapsed() < EAGER;
            let pause = tokio::time::sleep(if eager || reported.is_none() { CHECK_NOT_READY } else { CHECK });
            tokio::select! {
                () = pause => {}
                Ok(()) = pressed.changed() => {}
            }

            match nodes.get_opt(&self.config.name).await {
                Ok(Some(now)) => node = now,
                // Someone deleted it while the node is alive.
                Ok(None) => node = self.register().await,
                Err(error) => tracing::debug!(%error, "cannot read the node"),
            }
        }
    }

    /// Pods are admitted against the labels the node has in the API.
    fn take_labels(&self, node: &Node) {
        let labels = node.metadata.labels.clone().unwrap_or_default();
        self.facts.send_if_modified(|facts| {
            let changed = facts.labels != labels;
            if changed {
                *facts = Arc::new(NodeFacts { labels, ..(**facts).clone() });
            }
            changed
        });
    }

    async fn write(&self, nodes: &Objects<Node>, old: &NodeStatus, new: &NodeStatus) -> kube::Result<Node> {
        let json = |status: &NodeStatus| serde_json::to_value(status).unwrap_or_default();
        let change = diff(&json(old), &json(new)).unwrap_or_else(|| json!({}));
        nodes.patch(&self.config.name, "status", PatchKind::Strategic, &json!({"status": change})).await
    }

    /// Gives the runtime the range of pod addresses, once it is known and when it changes.
    async fn hand_over_cidr(&self, node: &Node, known: String) -> String {
        let spec = node.spec.clone().unwrap_or_default();
        let cidrs = spec.pod_cidrs.filter(|list| !list.is_empty()).map(|list| list.join(","));
        let cidr = cidrs.or(spec.pod_cidr).unwrap_or_default();
        if cidr.is_empty() || cidr == known {
            return known;
        }
        match self.runtime.update_pod_cidr(&cidr).await {
            Ok(()) => {
                tracing::info!(%cidr, "the pod network has its addresses");
                cidr
            }
            Err(error) => {
                tracing::warn!(%error, %cidr, "the container runtime does not take the pod CIDR, will retry");
                known
            }
        }
    }

    async fn runtime_state(&self) -> RuntimeState {
        let (version, status) = tokio::join!(self.runtime.version(), self.runtime.status());
        let mut state = RuntimeState::default();
        match version {
            Ok(version) => (state.name, state.version) = (version.runtime_name, version.runtime_version),
            Err(error) => state.error = Some(error.to_string()),
        }
        match status {
            Ok(answer) => {
                let conditions = answer.status.unwrap_or_default().conditions;
                let problem = |type_: &str| problem_of(&conditions, type_);
                state.error = state.error.or_else(|| problem("RuntimeReady"));
                state.network_error = problem("NetworkReady");
                state.handlers = answer.runtime_handlers;
                state.supplemental_groups_policy = answer.features.is_some_and(|f| f.supplemental_groups_policy);
            }
            Err(error) => {
                state.network_error = Some(error.to_string());
                state.error = state.error.or(Some(error.to_string()));
            }
        }
        state
    }

    /// The status as of now; also renews the facts that pods are started with.
    fn status(&self, runtime: &RuntimeState, images: &[v1::Image], previous: &NodeStatus) -> NodeStatus {
        let root = &self.config.root;
        let status = node_status(&NodeInputs {
            machine: &self.machine,
            short: &self.conditions.borrow(),
            disk: FileSystem::read(root).unwrap_or_default(),
            runtime,
            images,
            host_name: &self.config.name,
            addresses: &self.config.addresses,
            max_pods: self.config.max_pods,
            port: self.config.port,
            version: &self.config.version,
            previous,
            now: Timestamp::now(),
        });
        let default = runtime.handlers.iter().find(|handler| handler.name.is_empty());
        let features = default.and_then(|handler| handler.features);
        let facts = NodeFacts {
            allocatable: status.allocatable.clone().unwrap_or_default(),
            runtime_name: runtime.name.clone(),
            network_error: runtime.error.clone().or_else(|| runtime.network_error.clone()),
            recursive_read_only: features.is_some_and(|features| features.recursive_read_only_mounts),
            ..(**self.facts.borrow()).clone()
        };
        self.facts.send_if_modified(|old| {
            let changed = **old != facts;
            if changed {
                *old = Arc::new(facts);
            }
            changed
        });
        status
    }

    /// Events for conditions that changed.
    fn tell_changes(&self, old: &NodeStatus, new: &NodeStatus) {
        let name = &self.config.name;
        let (before, after) = (ready_state(old), ready_state(new));
        if before != after {
            let reason = if after == Some("True") { "NodeReady" } else { "NodeNotReady" };
            self.events.node(name, EventType::Normal, reason, format!("Node {name} status is now: {reason}"));
        }
        for condition in new.conditions.iter().flatten().filter(|c| c.type_ != "Ready") {
            let was = old.conditions.iter().flatten().find(|c| c.type_ == condition.type_);
            let reason = match (condition.type_.as_str(), condition.status.as_str()) {
                ("MemoryPressure", "False") => "NodeHasSufficientMemory",
                ("MemoryPressure", _) => "NodeHasInsufficientMemory",
                ("DiskPressure", "False") => "NodeHasNoDiskPressure",
                ("DiskPressure", _) => "NodeHasDiskPressure",
                ("PIDPressure", "False") => "NodeHasSufficientPID",
                ("PIDPressure", _) => "NodeHasInsufficientPID",
                _ => continue,
            };
            if was.is_none_or(|was| was.status != condition.status) {
                self.events.node(name, EventType::Normal, reason, format!("Node {name} status is now: {reason}"));
            }
        }
    }
}

fn ready_state(status: &NodeStatus) -> Option<&str> {
    status.conditions.iter().flatten().find(|c| c.type_ == "Ready").map(|c| c.status.as_str())
}

/// What is wrong with a condition of the runtime; a missing one counts as wrong.
fn problem_of(conditions: &[v1::RuntimeCondition], type_: &str) -> Option<String> {
    match conditions.iter().find(|condition| condition.r#type == type_) {
        Some(condition) if condition.status => None,
        Some(condition) => Some(format!("{type_}=false reason:{} message:{}", condition.reason, condition.message)),
        None => Some(format!("{type_} is not reported")),
    }
}
