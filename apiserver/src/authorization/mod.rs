//! Whether they may.

pub mod bootstrap;
pub mod node;
pub mod rbac;

use std::sync::Arc;

use skiff_apimachinery::status::Status;

use self::node::NodeAuthorizer;
use self::rbac::{Rbac, RbacWrite};
use crate::authentication::UserInfo;
use crate::cacher::SharedReader;

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

/// Members of this group may do everything, whatever roles say.
pub const SUPERUSERS: &str = "system:masters";

/// The authorizers of the API server, asked in order: superusers, nodes, RBAC.
pub struct Authorization {
    node: NodeAuthorizer,
    rbac: Rbac,
}

impl Authorization {
    /// Decides from the objects behind this reader.
    pub fn build(reader: SharedReader) -> Self {
        Self { node: NodeAuthorizer::new(reader.clone()), rbac: Rbac::new(reader) }
    }

    /// Whether a write of a role or binding gives away only what the writer has.
    pub fn check_escalation(&self, user: &Arc<UserInfo>, write: &RbacWrite<'_>) -> Result<(), Status> {
        self.rbac.check_escalation(self, user, write)
    }

    fn authorizers(&self) -> [&dyn Authorizer; 2] {
        [&self.node, &self.rbac]
    }
}

impl Authorizer for Authorization {
    fn authorize(&self, attributes: &Attributes) -> Decision {
        if attributes.user.groups.iter().any(|group| group == SUPERUSERS) {
            return Decision::Allow(String::new());
        }
        let mut reasons = Vec::new();
        for authorizer in self.authorizers() {
            match authorizer.authorize(attributes) {
                Decision::NoOpinion(reason) if reason.is_empty() => {}
                Decision::NoOpinion(reason) => reasons.push(reason),
                decided => return decided,
            }
        }
        Decision::NoOpinion(reasons.join("\n"))
    }

    fn rules_for(&self, user: &UserInfo, namespace: &str) -> RulesReview {
        let mut all = RulesReview::default();
        let mut errors = Vec::new();
        for authorizer in self.authorizers() {
            let review = authorizer.rules_for(user, namespace);
            all.resource_rules.extend(review.resource_rules);
            all.non_resource_rules.extend(review.non_resource_rules);
            all.incomplete |= review.incomplete;
            if !review.evaluation_error.is_empty() {
                errors.push(review.evaluation_error);
            }
        }
        all.evaluation_error = match errors.as_slice() {
            [one] => one.clone(),
            [] => String::new(),
            several => format!("[{}]", several.join(", ")),
        };
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::objects::testing::FakeReader;

    #[test]
    fn authorizers_are_asked_in_order() {
        let authorization = Authorization::build(Arc::new(FakeReader::default()));
        let ask = |name: &str, group: &str| {
            let user = UserInfo { name: name.into(), groups: vec![group.into()], ..UserInfo::default() };
            let attributes = Attributes {
                user: Arc::new(user),
                verb: "get".into(),
                is_resource_request: true,
                resource: "nodes".into(),
                name: "n1".into(),
                ..Attributes::default()
            };
            authorization.authorize(&attributes)
        };
        assert_eq!(ask("x", "system:masters"), Decision::Allow(String::new()));
        assert_eq!(ask("system:node:n1", "system:nodes"), Decision::Allow(String::new()));
        assert_eq!(
            ask("system:node:n2", "system:nodes"),
            Decision::NoOpinion("node 'n2' cannot read 'n1', only its own Node object".into())
        );
        assert_eq!(ask("x", "system:authenticated"), Decision::NoOpinion(String::new()));
    }
}
