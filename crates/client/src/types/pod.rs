//! Pods, as scheduler, controllers and endpoints read them.

use jiff::Timestamp;
use serde::Deserialize;

use super::{Condition, Meta, NodeSelector, NodeSelectorTerm, RawJson, StringMap, condition_is_true, kind, nullable};
use crate::selector::LabelSelector;

/// `v1.Pod`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Pod {
    /// Metadata.
    pub metadata: Meta,
    /// What it should be.
    pub spec: PodSpec,
    /// What it is.
    pub status: PodStatus,
}
kind!(Pod, "", "v1", "pods", "Pod", true);

impl Pod {
    /// Whether it reached Succeeded or Failed.
    pub fn is_terminal(&self) -> bool {
        matches!(self.status.phase.as_str(), "Succeeded" | "Failed")
    }

    /// Whether its Ready condition is True.
    pub fn is_ready(&self) -> bool {
        condition_is_true(&self.status.conditions, "Ready")
    }

    /// Neither finished nor being deleted: counts as a replica (upstream `IsPodActive`).
    pub fn is_active(&self) -> bool {
        !self.is_terminal() && !self.metadata.is_deleting()
    }

    /// The claims that its volumes use, by name, those made for it included.
    pub fn claim_names(&self) -> impl Iterator<Item = String> + '_ {
        self.spec.volumes.iter().filter_map(|volume| volume.claim_name(&self.metadata.name))
    }

    /// Ready for at least `min_ready_seconds` (upstream `IsPodAvailable`).
    pub fn is_available(&self, min_ready_seconds: i64, now: Timestamp) -> bool {
        let Some(ready) = super::condition(&self.status.conditions, "Ready").filter(|c| c.status == "True") else {
            return false;
        };
        min_ready_seconds == 0
            || ready.last_transition_time.is_some_and(|since| now.as_second() - since.as_second() >= min_ready_seconds)
    }
}

/// `v1.PodSpec`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct PodSpec {
    /// Node it is bound to; empty before.
    pub node_name: String,
    /// Scheduler that is to bind it.
    pub scheduler_name: String,
    /// Identity.
    pub service_account_name: String,
    /// `Always`, `OnFailure` or `Never`.
    pub restart_policy: String,
    /// Host name inside; empty for the pod's name.
    pub hostname: String,
    /// Subdomain in the cluster's DNS.
    pub subdomain: String,
    /// Whether it uses the node's network.
    #[serde(deserialize_with = "nullable")]
    pub host_network: bool,
    /// Priority; admission fills it.
    pub priority: Option<i32>,
    /// `PreemptLowerPriority` (also when empty) or `Never`.
    pub preemption_policy: String,
    /// Grace at deletion, in seconds.
    pub termination_grace_period_seconds: Option<i64>,
    /// Deadline from start, in seconds.
    pub active_deadline_seconds: Option<i64>,
    /// Main containers.
    pub containers: Vec<Container>,
    /// Init containers, sidecars among them.
    #[serde(deserialize_with = "nullable")]
    pub init_containers: Vec<Container>,
    /// What the sandbox itself costs.
    #[serde(deserialize_with = "nullable")]
    pub overhead: StringMap,
    /// Pod-level requests and limits.
    pub resources: Option<Box<Resources>>,
    /// Required node labels.
    #[serde(deserialize_with = "nullable")]
    pub node_selector: StringMap,
    /// Affinity rules.
    pub affinity: Option<Box<Affinity>>,
    /// Taints it tolerates.
    #[serde(deserialize_with = "nullable")]
    pub tolerations: Vec<Toleration>,
    /// Spreading rules.
    #[serde(deserialize_with = "nullable")]
    pub topology_spread_constraints: Vec<TopologySpreadConstraint>,
    /// While any is there, it is not scheduled.
    #[serde(deserialize_with = "nullable")]
    pub scheduling_gates: Vec<SchedulingGate>,
    /// Volumes, as far as the control plane reads them.
    #[serde(deserialize_with = "nullable")]
    pub volumes: Vec<PodVolume>,
}

/// `v1.Container`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Container {
    /// Name.
    pub name: String,
    /// Image.
    pub image: String,
    /// `Always` makes an init container a sidecar.
    pub restart_policy: String,
    /// Ports.
    #[serde(deserialize_with = "nullable")]
    pub ports: Vec<ContainerPort>,
    /// Requests and limits.
    pub resources: Resources,
}

/// `v1.ContainerPort`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ContainerPort {
    /// Name that Services may target.
    pub name: String,
    /// Port inside.
    pub container_port: i32,
    /// Port on the node; 0 for none.
    pub host_port: i32,
    /// Address on the node; empty for all.
    #[serde(rename = "hostIP")]
    pub host_ip: String,
    /// `TCP`, `UDP` or `SCTP`; empty means TCP.
    pub protocol: String,
}

/// `v1.ResourceRequirements`: quantities as text.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Resources {
    /// Requested quantities by resource.
    #[serde(deserialize_with = "nullable")]
    pub requests: StringMap,
    /// Limits by resource.
    #[serde(deserialize_with = "nullable")]
    pub limits: StringMap,
}

/// `v1.Toleration`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Toleration {
    /// Taint key; empty with `Exists` tolerates all.
    pub key: String,
    /// `Equal` (also when empty), `Exists`, `Lt` or `Gt`.
    pub operator: String,
    /// Taint value.
    pub value: String,
    /// Effect; empty for all.
    pub effect: String,
    /// How long a NoExecute taint is tolerated; none for ever.
    pub toleration_seconds: Option<i64>,
}

impl Toleration {
    /// Whether it tolerates the taint (upstream `ToleratesTaint`).
    pub fn tolerates(&self, taint: &super::Taint) -> bool {
        (self.effect.is_empty() || self.effect == taint.effect)
            && (self.key.is_empty() || self.key == taint.key)
            && match self.operator.as_str() {
                "" | "Equal" => self.value == taint.value,
                "Exists" => true,
                "Lt" => compare_integers(&taint.value, &self.value).is_some_and(|order| order.is_lt()),
                "Gt" => compare_integers(&taint.value, &self.value).is_some_and(|order| order.is_gt()),
                _ => false,
            }
    }
}

fn compare_integers(taint: &str, toleration: &str) -> Option<std::cmp::Ordering> {
    Some(taint.parse::<i64>().ok()?.cmp(&toleration.parse::<i64>().ok()?))
}

/// `v1.Affinity`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Affinity {
    /// Towards nodes.
    pub node_affinity: Option<NodeAffinity>,
    /// Towards pods.
    pub pod_affinity: Option<PodAffinity>,
    /// Away from pods.
    pub pod_anti_affinity: Option<PodAffinity>,
}

/// `v1.NodeAffinity`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct NodeAffinity {
    /// Terms of which one must match.
    #[serde(rename = "requiredDuringSchedulingIgnoredDuringExecution")]
    pub required: Option<NodeSelector>,
    /// Weighted wishes.
    #[serde(rename = "preferredDuringSchedulingIgnoredDuringExecution", deserialize_with = "nullable")]
    pub preferred: Vec<PreferredNodeTerm>,
}

/// `v1.PreferredSchedulingTerm`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct PreferredNodeTerm {
    /// 1 to 100.
    pub weight: i32,
    /// The wish.
    pub preference: NodeSelectorTerm,
}

/// `v1.PodAffinity` and `v1.PodAntiAffinity`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct PodAffinity {
    /// All must hold.
    #[serde(rename = "requiredDuringSchedulingIgnoredDuringExecution", deserialize_with = "nullable")]
    pub required: Vec<PodAffinityTerm>,
    /// Weighted wishes.
    #[serde(rename = "preferredDuringSchedulingIgnoredDuringExecution", deserialize_with = "nullable")]
    pub preferred: Vec<WeightedPodAffinityTerm>,
}

/// `v1.PodAffinityTerm`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct PodAffinityTerm {
    /// Which pods.
    pub label_selector: Option<LabelSelector>,
    /// In which namespaces by name.
    #[serde(deserialize_with = "nullable")]
    pub namespaces: Vec<String>,
    /// In which namespaces by label.
    pub namespace_selector: Option<LabelSelector>,
    /// Node label that makes "the same place".
    pub topology_key: String,
}

/// `v1.WeightedPodAffinityTerm`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct WeightedPodAffinityTerm {
    /// 1 to 100.
    pub weight: i32,
    /// The wish.
    pub pod_affinity_term: PodAffinityTerm,
}

/// `v1.TopologySpreadConstraint`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct TopologySpreadConstraint {
    /// Largest difference allowed.
    pub max_skew: i32,
    /// Node label that makes the domains.
    pub topology_key: String,
    /// `DoNotSchedule` or `ScheduleAnyway`.
    pub when_unsatisfiable: String,
    /// Which pods count.
    pub label_selector: Option<LabelSelector>,
    /// Domains needed before the minimum counts.
    pub min_domains: Option<i32>,
    /// `Honor` (also when empty) or `Ignore`.
    pub node_affinity_policy: String,
    /// `Honor` or `Ignore` (also when empty).
    pub node_taints_policy: String,
    /// Pod labels whose values join the selector.
    #[serde(deserialize_with = "nullable")]
    pub match_label_keys: Vec<String>,
}

/// `v1.PodSchedulingGate`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct SchedulingGate {
    /// Name.
    pub name: String,
}

/// `v1.Volume`, as far as the control plane reads it.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct PodVolume {
    /// Name.
    pub name: String,
    /// A claim it uses.
    pub persistent_volume_claim: Option<ClaimVolume>,
    /// A claim that is made for it and goes with it.
    pub ephemeral: Option<EphemeralVolume>,
}

impl PodVolume {
    /// The claim that it uses in a pod of this name, if it uses one.
    pub fn claim_name(&self, pod: &str) -> Option<String> {
        match (&self.persistent_volume_claim, &self.ephemeral) {
            (Some(claim), _) => Some(claim.claim_name.clone()),
            (None, Some(_)) => Some(format!("{pod}-{}", self.name)),
            (None, None) => None,
        }
    }
}

/// `v1.EphemeralVolumeSource`. The claim's name follows from the pod's.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct EphemeralVolume {
    /// What the claim is made from.
    pub volume_claim_template: RawJson,
}

/// `v1.PersistentVolumeClaimVolumeSource`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ClaimVolume {
    /// Name of the claim, in the pod's namespace.
    pub claim_name: String,
}

/// `v1.PodStatus`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct PodStatus {
    /// `Pending`, `Running`, `Succeeded`, `Failed` or `Unknown`.
    pub phase: String,
    /// One word on why it is in this phase.
    pub reason: String,
    /// A sentence on why it is in this phase.
    pub message: String,
    /// Address of the node.
    #[serde(rename = "hostIP")]
    pub host_ip: String,
    /// Address.
    #[serde(rename = "podIP")]
    pub pod_ip: String,
    /// Addresses of all families.
    #[serde(rename = "podIPs", deserialize_with = "nullable")]
    pub pod_ips: Vec<PodIp>,
    /// Where preemption made room for it.
    pub nominated_node_name: String,
    /// When the kubelet took it up.
    pub start_time: Option<Timestamp>,
    /// Conditions.
    #[serde(deserialize_with = "nullable")]
    pub conditions: Vec<Condition>,
    /// Main containers.
    #[serde(deserialize_with = "nullable")]
    pub container_statuses: Vec<ContainerStatus>,
    /// Init containers.
    #[serde(deserialize_with = "nullable")]
    pub init_container_statuses: Vec<ContainerStatus>,
}

/// `v1.PodIP`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct PodIp {
    /// Address.
    pub ip: String,
}

/// `v1.ContainerStatus`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ContainerStatus {
    /// Name.
    pub name: String,
    /// Whether it passed its readiness probe.
    #[serde(deserialize_with = "nullable")]
    pub ready: bool,
    /// How often it was restarted.
    #[serde(deserialize_with = "nullable")]
    pub restart_count: i32,
    /// Its state now.
    pub state: ContainerState,
}

/// `v1.ContainerState`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ContainerState {
    /// Set once it ended.
    pub terminated: Option<Terminated>,
}

/// `v1.ContainerStateTerminated`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Terminated {
    /// Exit code.
    pub exit_code: i32,
    /// One word on why.
    pub reason: String,
    /// When it ended.
    pub finished_at: Option<Timestamp>,
}
