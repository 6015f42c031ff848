//! Policies of admission.

use serde::Deserialize;

use super::{Meta, kind, nullable};

/// `admissionregistration.k8s.io/v1 ValidatingAdmissionPolicy`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ValidatingAdmissionPolicy {
    /// Metadata.
    pub metadata: Meta,
    /// What it demands, and of what.
    pub spec: ValidatingAdmissionPolicySpec,
    /// What was found about it.
    pub status: ValidatingAdmissionPolicyStatus,
}
kind!(
    ValidatingAdmissionPolicy,
    "admissionregistration.k8s.io",
    "v1",
    "validatingadmissionpolicies",
    "ValidatingAdmissionPolicy",
    false
);

/// `admissionregistration.k8s.io/v1 ValidatingAdmissionPolicySpec`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ValidatingAdmissionPolicySpec {
    /// The kind of its parameters, if it has some.
    pub param_kind: Option<ParamKind>,
    /// What it is about.
    #[serde(deserialize_with = "nullable")]
    pub match_constraints: MatchResources,
    /// Expressions that have names.
    #[serde(deserialize_with = "nullable")]
    pub variables: Vec<Variable>,
    /// What must hold.
    #[serde(deserialize_with = "nullable")]
    pub validations: Vec<Validation>,
}

/// `admissionregistration.k8s.io/v1 ParamKind`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ParamKind {
    /// Group and version.
    pub api_version: String,
    /// Kind.
    pub kind: String,
}

/// `admissionregistration.k8s.io/v1 MatchResources`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct MatchResources {
    /// Any of these.
    #[serde(deserialize_with = "nullable")]
    pub resource_rules: Vec<ResourceRule>,
}

/// `admissionregistration.k8s.io/v1 NamedRuleWithOperations`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ResourceRule {
    /// Groups; `*` is any.
    #[serde(deserialize_with = "nullable")]
    pub api_groups: Vec<String>,
    /// Versions; `*` is any.
    #[serde(deserialize_with = "nullable")]
    pub api_versions: Vec<String>,
    /// Resources and subresources; `*` is any.
    #[serde(deserialize_with = "nullable")]
    pub resources: Vec<String>,
}

/// `admissionregistration.k8s.io/v1 Variable`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Variable {
    /// What expressions call it.
    pub name: String,
    /// Its value.
    pub expression: String,
}

/// `admissionregistration.k8s.io/v1 Validation`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Validation {
    /// What must be true.
    pub expression: String,
    /// What is said where it is not; empty for the usual message.
    pub message_expression: String,
}

/// `admissionregistration.k8s.io/v1 ValidatingAdmissionPolicyStatus`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ValidatingAdmissionPolicyStatus {
    /// Generation this status speaks about.
    pub observed_generation: i64,
}
