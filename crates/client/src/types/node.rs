//! Nodes and leases.

use jiff::Timestamp;
use serde::Deserialize;

use super::{Condition, Meta, StringMap, kind, nullable};

/// `v1.Node`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Node {
    /// Metadata.
    pub metadata: Meta,
    /// What it should be.
    pub spec: NodeSpec,
    /// What it is.
    pub status: NodeStatus,
}
kind!(Node, "", "v1", "nodes", "Node", false);

/// `v1.NodeSpec`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct NodeSpec {
    /// Whether it was cordoned.
    #[serde(deserialize_with = "nullable")]
    pub unschedulable: bool,
    /// Taints.
    #[serde(deserialize_with = "nullable")]
    pub taints: Vec<Taint>,
    /// Address range of its pods; empty until assigned.
    #[serde(rename = "podCIDR")]
    pub pod_cidr: String,
    /// Address ranges of its pods, of all families.
    #[serde(rename = "podCIDRs", deserialize_with = "nullable")]
    pub pod_cidrs: Vec<String>,
    /// Identity at the infrastructure provider.
    #[serde(rename = "providerID")]
    pub provider_id: String,
}

/// `v1.Taint`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, serde::Serialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Taint {
    /// Key.
    pub key: String,
    /// Value.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub value: String,
    /// `NoSchedule`, `PreferNoSchedule` or `NoExecute`.
    pub effect: String,
    /// When a NoExecute taint was added.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time_added: Option<Timestamp>,
}

impl Taint {
    /// Same key and effect: what makes taints one (upstream `MatchTaint`).
    pub fn matches(&self, other: &Taint) -> bool {
        self.key == other.key && self.effect == other.effect
    }
}

/// `v1.NodeStatus`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct NodeStatus {
    /// What it has, by resource.
    #[serde(deserialize_with = "nullable")]
    pub capacity: StringMap,
    /// What pods may use, by resource.
    #[serde(deserialize_with = "nullable")]
    pub allocatable: StringMap,
    /// Conditions.
    #[serde(deserialize_with = "nullable")]
    pub conditions: Vec<Condition>,
    /// Addresses.
    #[serde(deserialize_with = "nullable")]
    pub addresses: Vec<NodeAddress>,
    /// Images it holds.
    #[serde(deserialize_with = "nullable")]
    pub images: Vec<NodeImage>,
}

/// `v1.NodeAddress`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct NodeAddress {
    /// `InternalIP`, `ExternalIP`, `Hostname`, ...
    #[serde(rename = "type")]
    pub type_: String,
    /// The address.
    pub address: String,
}

/// `v1.ContainerImage`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct NodeImage {
    /// All names of it.
    #[serde(deserialize_with = "nullable")]
    pub names: Vec<String>,
    /// Size.
    pub size_bytes: i64,
}

/// `coordination.k8s.io/v1 Lease`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Lease {
    /// Metadata.
    pub metadata: Meta,
    /// Who holds it, and since when.
    pub spec: LeaseSpec,
}
kind!(Lease, "coordination.k8s.io", "v1", "leases", "Lease", true);

/// `coordination.k8s.io/v1 LeaseSpec`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct LeaseSpec {
    /// Holder; empty when released.
    #[serde(deserialize_with = "nullable")]
    pub holder_identity: String,
    /// How long a renewal lasts, in seconds.
    #[serde(deserialize_with = "nullable")]
    pub lease_duration_seconds: i32,
    /// When the holder took it.
    pub acquire_time: Option<Timestamp>,
    /// When the holder last renewed it.
    pub renew_time: Option<Timestamp>,
    /// How often the holder changed.
    #[serde(deserialize_with = "nullable")]
    pub lease_transitions: i32,
}
