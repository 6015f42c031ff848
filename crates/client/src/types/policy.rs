//! Disruption budgets, quotas and priorities.

use jiff::Timestamp;
use serde::Deserialize;

use super::{Condition, IntOrString, Meta, StringMap, kind, nullable};
use crate::selector::LabelSelector;

/// `policy/v1 PodDisruptionBudget`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct PodDisruptionBudget {
    /// Metadata.
    pub metadata: Meta,
    /// What it should guard.
    pub spec: PodDisruptionBudgetSpec,
    /// What it allows now.
    pub status: PodDisruptionBudgetStatus,
}
kind!(PodDisruptionBudget, "policy", "v1", "poddisruptionbudgets", "PodDisruptionBudget", true);

/// `policy/v1 PodDisruptionBudgetSpec`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct PodDisruptionBudgetSpec {
    /// How many must stay.
    pub min_available: Option<IntOrString>,
    /// How many may be missing.
    pub max_unavailable: Option<IntOrString>,
    /// Which pods.
    pub selector: Option<LabelSelector>,
}

/// `policy/v1 PodDisruptionBudgetStatus`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct PodDisruptionBudgetStatus {
    /// Generation this status speaks about.
    pub observed_generation: i64,
    /// Pods whose eviction was granted and not yet seen, with the time of it.
    #[serde(deserialize_with = "nullable")]
    pub disrupted_pods: std::collections::BTreeMap<String, Timestamp>,
    /// Evictions allowed now.
    pub disruptions_allowed: i32,
    /// Healthy pods now.
    pub current_healthy: i32,
    /// Healthy pods needed.
    pub desired_healthy: i32,
    /// Pods counted.
    pub expected_pods: i32,
    /// Conditions.
    #[serde(deserialize_with = "nullable")]
    pub conditions: Vec<Condition>,
}

/// `v1.ResourceQuota`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ResourceQuota {
    /// Metadata.
    pub metadata: Meta,
    /// What it should limit.
    pub spec: ResourceQuotaSpec,
    /// What is limited and used.
    pub status: ResourceQuotaStatus,
}
kind!(ResourceQuota, "", "v1", "resourcequotas", "ResourceQuota", true);

/// `v1.ResourceQuotaSpec`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ResourceQuotaSpec {
    /// Limits by resource.
    #[serde(deserialize_with = "nullable")]
    pub hard: StringMap,
    /// Scopes that objects must match.
    #[serde(deserialize_with = "nullable")]
    pub scopes: Vec<String>,
}

/// `v1.ResourceQuotaStatus`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ResourceQuotaStatus {
    /// Limits by resource.
    #[serde(deserialize_with = "nullable")]
    pub hard: StringMap,
    /// Use by resource.
    #[serde(deserialize_with = "nullable")]
    pub used: StringMap,
}

/// `scheduling.k8s.io/v1 PriorityClass`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct PriorityClass {
    /// Metadata.
    pub metadata: Meta,
    /// Priority of its pods.
    pub value: i32,
    /// Whether pods without a class get it.
    #[serde(deserialize_with = "nullable")]
    pub global_default: bool,
    /// `PreemptLowerPriority` or `Never`.
    #[serde(deserialize_with = "nullable")]
    pub preemption_policy: String,
}
kind!(PriorityClass, "scheduling.k8s.io", "v1", "priorityclasses", "PriorityClass", false);
