//! Workloads of apps/v1, and v1 ReplicationController.

use serde::Deserialize;

use super::{Condition, IntOrString, Meta, RawJson, StringMap, kind, nullable};
use crate::selector::LabelSelector;

/// `apps/v1 Deployment`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Deployment {
    /// Metadata.
    pub metadata: Meta,
    /// What it should be.
    pub spec: DeploymentSpec,
    /// What it is.
    pub status: DeploymentStatus,
}
kind!(Deployment, "apps", "v1", "deployments", "Deployment", true);

/// `apps/v1 DeploymentSpec`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct DeploymentSpec {
    /// Wanted pods.
    pub replicas: Option<i32>,
    /// Which pods are its own.
    pub selector: LabelSelector,
    /// Template of the pods.
    pub template: RawJson,
    /// How to replace pods.
    pub strategy: DeploymentStrategy,
    /// How long a pod must be ready to count as available, in seconds.
    pub min_ready_seconds: i32,
    /// How many old ReplicaSets to keep; 10 if absent.
    pub revision_history_limit: Option<i32>,
    /// Whether roll-outs wait.
    #[serde(deserialize_with = "nullable")]
    pub paused: bool,
    /// How long a roll-out may stand still, in seconds; 600 if absent.
    pub progress_deadline_seconds: Option<i32>,
}

/// `apps/v1 DeploymentStrategy`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct DeploymentStrategy {
    /// `RollingUpdate` or `Recreate`.
    #[serde(rename = "type")]
    pub type_: String,
    /// Bounds of a rolling update.
    pub rolling_update: Option<RollingUpdate>,
}

/// Bounds of a rolling update (Deployments and DaemonSets).
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct RollingUpdate {
    /// How many may be missing.
    pub max_unavailable: Option<IntOrString>,
    /// How many may be too many.
    pub max_surge: Option<IntOrString>,
}

/// `apps/v1 DeploymentStatus`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct DeploymentStatus {
    /// Generation this status speaks about.
    pub observed_generation: i64,
    /// Pods.
    pub replicas: i32,
    /// Pods of the newest template.
    pub updated_replicas: i32,
    /// Ready pods.
    pub ready_replicas: i32,
    /// Available pods.
    pub available_replicas: i32,
    /// Pods missing until it is fully available.
    pub unavailable_replicas: i32,
    /// Pods being deleted, if reported.
    pub terminating_replicas: Option<i32>,
    /// Conditions.
    #[serde(deserialize_with = "nullable")]
    pub conditions: Vec<Condition>,
    /// Hash collisions met so far.
    pub collision_count: Option<i32>,
}

/// `apps/v1 ReplicaSet`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ReplicaSet {
    /// Metadata.
    pub metadata: Meta,
    /// What it should be.
    pub spec: ReplicaSetSpec,
    /// What it is.
    pub status: ReplicaSetStatus,
}
kind!(ReplicaSet, "apps", "v1", "replicasets", "ReplicaSet", true);

/// `apps/v1 ReplicaSetSpec`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ReplicaSetSpec {
    /// Wanted pods.
    pub replicas: Option<i32>,
    /// How long a pod must be ready to count as available, in seconds.
    pub min_ready_seconds: i32,
    /// Which pods are its own.
    pub selector: LabelSelector,
    /// Template of the pods.
    pub template: RawJson,
}

/// `apps/v1 ReplicaSetStatus`, also of v1 ReplicationController.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ReplicaSetStatus {
    /// Pods.
    pub replicas: i32,
    /// Pods with all labels of the template.
    pub fully_labeled_replicas: i32,
    /// Ready pods.
    pub ready_replicas: i32,
    /// Available pods.
    pub available_replicas: i32,
    /// Pods being deleted, if reported.
    pub terminating_replicas: Option<i32>,
    /// Generation this status speaks about.
    pub observed_generation: i64,
    /// Conditions.
    #[serde(deserialize_with = "nullable")]
    pub conditions: Vec<Condition>,
}

/// `v1 ReplicationController`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ReplicationController {
    /// Metadata.
    pub metadata: Meta,
    /// What it should be.
    pub spec: ReplicationControllerSpec,
    /// What it is.
    pub status: ReplicaSetStatus,
}
kind!(ReplicationController, "", "v1", "replicationcontrollers", "ReplicationController", true);

/// `v1 ReplicationControllerSpec`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ReplicationControllerSpec {
    /// Wanted pods.
    pub replicas: Option<i32>,
    /// How long a pod must be ready to count as available, in seconds.
    pub min_ready_seconds: i32,
    /// Which pods are its own.
    #[serde(deserialize_with = "nullable")]
    pub selector: StringMap,
    /// Template of the pods.
    pub template: RawJson,
}

/// `apps/v1 StatefulSet`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct StatefulSet {
    /// Metadata.
    pub metadata: Meta,
    /// What it should be.
    pub spec: StatefulSetSpec,
    /// What it is.
    pub status: StatefulSetStatus,
}
kind!(StatefulSet, "apps", "v1", "statefulsets", "StatefulSet", true);

/// `apps/v1 StatefulSetSpec`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct StatefulSetSpec {
    /// Wanted pods.
    pub replicas: Option<i32>,
    /// Which pods are its own.
    pub selector: LabelSelector,
    /// Template of the pods.
    pub template: RawJson,
    /// Templates of claims, one claim per pod each.
    #[serde(deserialize_with = "nullable")]
    pub volume_claim_templates: Vec<RawJson>,
    /// Service that names its pods.
    pub service_name: String,
    /// `OrderedReady` or `Parallel`.
    pub pod_management_policy: String,
    /// How to replace pods.
    pub update_strategy: StatefulSetUpdateStrategy,
    /// How many old revisions to keep; 10 if absent.
    pub revision_history_limit: Option<i32>,
    /// How long a pod must be ready to count as available, in seconds.
    pub min_ready_seconds: i32,
    /// What happens to claims.
    pub persistent_volume_claim_retention_policy: Option<ClaimRetentionPolicy>,
    /// Where numbering starts.
    pub ordinals: Option<Ordinals>,
}

/// `apps/v1 StatefulSetUpdateStrategy`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct StatefulSetUpdateStrategy {
    /// `RollingUpdate` or `OnDelete`.
    #[serde(rename = "type")]
    pub type_: String,
    /// Bounds of a rolling update.
    pub rolling_update: Option<StatefulSetRollingUpdate>,
}

/// `apps/v1 RollingUpdateStatefulSetStrategy`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct StatefulSetRollingUpdate {
    /// Pods below this ordinal keep the old revision.
    pub partition: Option<i32>,
    /// How many may be missing.
    pub max_unavailable: Option<IntOrString>,
}

/// `apps/v1 StatefulSetPersistentVolumeClaimRetentionPolicy`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ClaimRetentionPolicy {
    /// `Retain` or `Delete` when the set goes.
    pub when_deleted: String,
    /// `Retain` or `Delete` when it shrinks.
    pub when_scaled: String,
}

/// `apps/v1 StatefulSetOrdinals`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Ordinals {
    /// First ordinal.
    pub start: i32,
}

/// `apps/v1 StatefulSetStatus`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct StatefulSetStatus {
    /// Generation this status speaks about.
    pub observed_generation: i64,
    /// Pods.
    pub replicas: i32,
    /// Ready pods.
    pub ready_replicas: i32,
    /// Available pods.
    pub available_replicas: i32,
    /// Pods of the current revision.
    pub current_replicas: i32,
    /// Pods of the update revision.
    pub updated_replicas: i32,
    /// Revision that pods below the partition have.
    pub current_revision: String,
    /// Revision of the newest template.
    pub update_revision: String,
    /// Hash collisions met so far.
    pub collision_count: Option<i32>,
    /// Conditions.
    #[serde(deserialize_with = "nullable")]
    pub conditions: Vec<Condition>,
}

/// `apps/v1 DaemonSet`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct DaemonSet {
    /// Metadata.
    pub metadata: Meta,
    /// What it should be.
    pub spec: DaemonSetSpec,
    /// What it is.
    pub status: DaemonSetStatus,
}
kind!(DaemonSet, "apps", "v1", "daemonsets", "DaemonSet", true);

/// `apps/v1 DaemonSetSpec`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct DaemonSetSpec {
    /// Which pods are its own.
    pub selector: LabelSelector,
    /// Template of the pods.
    pub template: RawJson,
    /// How to replace pods.
    pub update_strategy: DeploymentStrategy,
    /// How long a pod must be ready to count as available, in seconds.
    pub min_ready_seconds: i32,
    /// How many old revisions to keep; 10 if absent.
    pub revision_history_limit: Option<i32>,
}

/// `apps/v1 DaemonSetStatus`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct DaemonSetStatus {
    /// Nodes that run it and should.
    pub current_number_scheduled: i32,
    /// Nodes that run it and should not.
    pub number_misscheduled: i32,
    /// Nodes that should run it.
    pub desired_number_scheduled: i32,
    /// Nodes where it is ready.
    pub number_ready: i32,
    /// Generation this status speaks about.
    pub observed_generation: i64,
    /// Nodes with the newest template.
    pub updated_number_scheduled: i32,
    /// Nodes where it is available.
    pub number_available: i32,
    /// Nodes where it is not.
    pub number_unavailable: i32,
    /// Hash collisions met so far.
    pub collision_count: Option<i32>,
}

/// `apps/v1 ControllerRevision`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ControllerRevision {
    /// Metadata.
    pub metadata: Meta,
    /// What was recorded: a patch with the template.
    pub data: RawJson,
    /// Its number.
    pub revision: i64,
}
kind!(ControllerRevision, "apps", "v1", "controllerrevisions", "ControllerRevision", true);
