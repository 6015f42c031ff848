//! Namespaces, identities, configuration and roles.

use serde::Deserialize;

use super::{Condition, Meta, RawJson, StringMap, kind, nullable};
use crate::selector::LabelSelector;

/// `v1.Namespace`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Namespace {
    /// Metadata.
    pub metadata: Meta,
    /// Who must finish before it goes.
    pub spec: NamespaceSpec,
    /// What it is.
    pub status: NamespaceStatus,
}
kind!(Namespace, "", "v1", "namespaces", "Namespace", false);

/// `v1.NamespaceSpec`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct NamespaceSpec {
    /// Finalizers; `kubernetes` is removed last, by the namespace controller.
    #[serde(deserialize_with = "nullable")]
    pub finalizers: Vec<String>,
}

/// `v1.NamespaceStatus`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct NamespaceStatus {
    /// `Active` or `Terminating`.
    pub phase: String,
    /// Conditions of its deletion.
    #[serde(deserialize_with = "nullable")]
    pub conditions: Vec<Condition>,
}

/// `v1.ServiceAccount`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ServiceAccount {
    /// Metadata.
    pub metadata: Meta,
}
kind!(ServiceAccount, "", "v1", "serviceaccounts", "ServiceAccount", true);

/// `v1.ConfigMap`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ConfigMap {
    /// Metadata.
    pub metadata: Meta,
    /// Entries.
    #[serde(deserialize_with = "nullable")]
    pub data: StringMap,
}
kind!(ConfigMap, "", "v1", "configmaps", "ConfigMap", true);

/// `v1.Secret`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Secret {
    /// Metadata.
    pub metadata: Meta,
    /// What it is for.
    #[serde(rename = "type")]
    pub type_: String,
    /// Entries, in base64.
    #[serde(deserialize_with = "nullable")]
    pub data: StringMap,
}
kind!(Secret, "", "v1", "secrets", "Secret", true);

/// `rbac.authorization.k8s.io/v1 ClusterRole`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ClusterRole {
    /// Metadata.
    pub metadata: Meta,
    /// What it allows.
    #[serde(deserialize_with = "nullable")]
    pub rules: Vec<RawJson>,
    /// Which roles it gathers, if it does.
    pub aggregation_rule: Option<AggregationRule>,
}
kind!(ClusterRole, "rbac.authorization.k8s.io", "v1", "clusterroles", "ClusterRole", false);

/// `rbac.authorization.k8s.io/v1 AggregationRule`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct AggregationRule {
    /// Roles that match any of these are gathered.
    #[serde(deserialize_with = "nullable")]
    pub cluster_role_selectors: Vec<LabelSelector>,
}
