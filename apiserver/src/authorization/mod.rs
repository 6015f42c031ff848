//! Whether they may.

use std::sync::Arc;

use crate::authentication::UserInfo;

/// What is being asked (`authorizer.Attributes` upstream).
#[derive(Clone, Debug, Default)]
pub struct Attributes {
    /// Who asks.
    pub user: Arc<UserInfo>,
    /// `get`, `list`, `watch`, `create`, `update`, `patch`, `delete`, `deletecollection`, or a special verb; for
    /// non-resource paths the lower-case HTTP method.
    pub verb: String,
    /// Whether `resource` and friends are set rather than `path`.
    pub is_resource_request: bool,
    /// API group, empty for core.
    pub api_group: String,
    /// API version.
    pub api_version: String,
    /// Resource (plural).
    pub resource: String,
    /// Subresource, empty for none.
    pub subresource: String,
    /// Namespace, empty for cluster scope or all namespaces.
    pub namespace: String,
    /// Object name, empty for collections.
    pub name: String,
    /// URL path of a non-resource request.
    pub path: String,
    /// Parsed field selector requirements `(field, operator, value)` of a list, watch or deletecollection.
    pub field_selector: Vec<(String, String, String)>,
}

/// The answer of an authorizer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Allowed, with the reason.
    Allow(String),
    /// Denied for good, with the reason.
    Deny(String),
    /// Nothing to say; the next authorizer is asked, and if none allows, the request is forbidden.
    NoOpinion(String),
}

/// Something that knows what identities may do. Answers from memory: never waits.
pub trait Authorizer: Send + Sync + 'static {
    /// The decision for these attributes.
    fn authorize(&self, attributes: &Attributes) -> Decision;

    /// The rules that apply to a user in a namespace (SelfSubjectRulesReview); `incomplete` where not all can be listed.
    fn rules_for(&self, user: &UserInfo, namespace: &str) -> RulesReview;
}

/// Answer of [`Authorizer::rules_for`].
#[derive(Clone, Debug, Default)]
pub struct RulesReview {
    /// Each with `verbs`, `apiGroups`, `resources`, `resourceNames`, as JSON objects.
    pub resource_rules: Vec<skiff_apimachinery::value::Value>,
    /// Each with `verbs`, `nonResourceURLs`.
    pub non_resource_rules: Vec<skiff_apimachinery::value::Value>,
    /// Whether the list may lack rules.
    pub incomplete: bool,
    /// Why, when it may.
    pub evaluation_error: String,
}
