//! Which requests a webhook or a policy is about: its rules, and the selectors of namespace and object.
//!
//! Follows `k8s.io/apiserver/pkg/admission/plugin/webhook/predicates`.

use std::sync::Arc;

use skiff_apimachinery::status::{self, Status};
use skiff_apimachinery::value::Value;

use super::{Operation, Request};
use crate::objects::Objects;
use crate::registry::core::validation::label_selector;
use crate::registry::{Registry, Resource};

/// Group of the configurations of admission.
const GROUP: &str = "admissionregistration.k8s.io";
/// Resources of that group that admission is never asked about: a mistake could not be undone.
const EXEMPT: [&str; 6] = [
    "mutatingadmissionpolicies",
    "mutatingadmissionpolicybindings",
    "mutatingwebhookconfigurations",
    "validatingadmissionpolicies",
    "validatingadmissionpolicybindings",
    "validatingwebhookconfigurations",
];

/// Whether admission by webhooks and policies leaves a resource alone.
pub fn is_exempt(group: &str, resource: &str) -> bool {
    group == GROUP && EXEMPT.contains(&resource)
}

/// `RuleWithOperations`.
#[derive(Clone, Debug, Default)]
pub struct Rule {
    operations: Vec<String>,
    groups: Vec<String>,
    versions: Vec<String>,
    /// Resource and subresource.
    resources: Vec<(String, String)>,
    scope: Scope,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Scope {
    #[default]
    All,
    Namespaced,
    Cluster,
    Unknown,
}

/// A place in the API, as rules name it.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    /// API group.
    pub group: &'a str,
    /// API version.
    pub version: &'a str,
    /// Resource.
    pub resource: &'a str,
    /// Subresource, empty for none.
    pub subresource: &'a str,
    /// Whether the request is within a namespace (one for a namespace itself is not).
    pub in_namespace: bool,
}

impl Rule {
    /// From an item of `rules` or `resourceRules`.
    pub fn parse(rule: &Value) -> Self {
        let texts = |field: &str| {
            rule.array_at(&[field]).iter().filter_map(Value::as_str).map(str::to_owned).collect::<Vec<_>>()
        };
        let split = |text: String| match text.split_once('/') {
            Some((resource, subresource)) => (resource.to_owned(), subresource.to_owned()),
            None => (text, String::new()),
        };
        Self {
            operations: texts("operations"),
            groups: texts("apiGroups"),
            versions: texts("apiVersions"),
            resources: texts("resources").into_iter().map(split).collect(),
            scope: match rule.str_at(&["scope"]).unwrap_or("*") {
                "*" => Scope::All,
                "Namespaced" => Scope::Namespaced,
                "Cluster" => Scope::Cluster,
                _ => Scope::Unknown,
            },
        }
    }

    /// Whether the rule names this operation at this place.
    pub fn matches(&self, operation: Operation, place: Place<'_>) -> bool {
        let in_scope = match self.scope {
            Scope::All => true,
            Scope::Namespaced => place.in_namespace,
            Scope::Cluster => !place.in_namespace,
            Scope::Unknown => false,
        };
        in_scope
            && names(&self.operations, operation.as_str())
            && names(&self.groups, place.group)
            && names(&self.versions, place.version)
            && self.resources.iter().any(|(resource, subresource)| {
                (resource == "*" || resource == place.resource)
                    && (subresource == "*" || subresource == place.subresource)
            })
    }
}

fn names(listed: &[String], text: &str) -> bool {
    listed.iter().any(|item| item == "*" || item == text)
}

/// The namespace that a request is about; that of a Namespace is itself.
pub fn namespace_of<'a>(request: &'a Request<'_>) -> &'a str {
    if !is_namespace(request) {
        return request.namespace;
    }
    match request.name {
        "" => request.object().str_at(&["metadata", "name"]).unwrap_or(""),
        name => name,
    }
}

fn is_namespace(request: &Request<'_>) -> bool {
    request.concerns("", "namespaces")
}

/// The place of a request in a version of its resource.
pub fn place<'a>(request: &Request<'a>, resource: &'a Resource) -> Place<'a> {
    Place {
        group: &resource.info.group,
        version: &resource.info.version,
        resource: &resource.info.plural,
        subresource: request.subresource,
        in_namespace: !is_namespace(request) && !request.namespace.is_empty(),
    }
}

/// The version of its resource in which rules name a request: that of the request, or, if others do as well
/// (`matchPolicy: Equivalent`), the first other one that a rule names.
pub fn matched(request: &Request<'_>, rules: &[Rule], equivalent: bool, registry: &Registry) -> Option<Arc<Resource>> {
    let asked = request.asked?.resource();
    if rules.iter().any(|rule| rule.matches(request.operation, place(request, asked))) {
        return Some(asked.clone());
    }
    let store = asked.store.as_ref().filter(|_| equivalent)?;
    let served = registry.served();
    let others = served.resources().filter(|other| {
        let same = |theirs: &crate::registry::store::Store| {
            (&theirs.group, &theirs.resource) == (&store.group, &store.resource)
        };
        !Arc::ptr_eq(other, asked) && other.store.as_deref().is_some_and(same)
    });
    let others = others.collect::<Vec<_>>();
    rules.iter().find_map(|rule| {
        let named = others.iter().find(|other| rule.matches(request.operation, place(request, other)))?;
        Some(Arc::clone(named))
    })
}

/// Whether a namespace selector selects the request; those outside of namespaces are always selected.
pub async fn namespace_selected(selector: &Value, request: &Request<'_>, objects: &Objects) -> Result<bool, Status> {
    let name = namespace_of(request);
    if (name.is_empty() && request.resource != "namespaces") || is_everything(selector) {
        return Ok(true);
    }
    let labels = |object: &Value| object.at(&["metadata", "labels"]).cloned().unwrap_or_default();
    let writes = matches!(request.operation, Operation::Create | Operation::Update);
    if is_namespace(request) && request.subresource.is_empty() && writes {
        return Ok(label_selector::matches(Some(selector), &labels(request.object())));
    }
    match objects.find("", "namespaces", "", name).await? {
        Some(namespace) => Ok(label_selector::matches(Some(selector), &labels(&namespace))),
        None => Err(status::not_found("", "namespaces", name)),
    }
}

/// Whether an object selector selects the object before or after the request.
pub fn object_selected(selector: &Value, new: Option<&Value>, old: Option<&Value>) -> bool {
    let nothing = Value::Null;
    let selected = |object: &Value| {
        let labels = object.at(&["metadata", "labels"]).unwrap_or(&nothing);
        // What has no metadata (a review, the options of a connection) has no labels either.
        object.get("metadata").is_some() && label_selector::matches(Some(selector), labels)
    };
    is_everything(selector) || new.is_some_and(selected) || old.is_some_and(selected)
}

fn is_everything(selector: &Value) -> bool {
    let is_empty = |field: &str| match selector.get(field) {
        Some(Value::Object(pairs)) => pairs.is_empty(),
        Some(Value::Array(items)) => items.is_empty(),
        _ => true,
    };
    is_empty("matchLabels") && is_empty("matchExpressions")
}

#[cfg(test)]
mod tests {
    use skiff_apimachinery::value;

    use super::*;

    fn at<'a>(group: &'a str, resource: &'a str, subresource: &'a str, in_namespace: bool) -> Place<'a> {
        Place { group, version: "v1", resource, subresource, in_namespace }
    }

    #[test]
    fn rules_name_resources_and_subresources() {
        let rule = |resources: Vec<&str>, scope: &str| {
            Rule::parse(&value!({
                "operations": ["CREATE"], "apiGroups": ["", "apps"], "apiVersions": ["v1"],
                "resources": resources, "scope": scope
            }))
        };
        let pods = rule(vec!["pods"], "*");
        assert!(pods.matches(Operation::Create, at("", "pods", "", true)));
        assert!(!pods.matches(Operation::Update, at("", "pods", "", true)));
        assert!(!pods.matches(Operation::Create, at("", "pods", "status", true)));
        assert!(!pods.matches(Operation::Create, at("batch", "pods", "", true)));
        assert!(!pods.matches(Operation::Create, Place { version: "v2", ..at("", "pods", "", true) }));
        assert!(rule(vec!["pods/*"], "*").matches(Operation::Create, at("", "pods", "", true)));
        assert!(rule(vec!["pods/*"], "*").matches(Operation::Create, at("", "pods", "exec", true)));
        assert!(!rule(vec!["*"], "*").matches(Operation::Create, at("", "pods", "exec", true)));
        assert!(rule(vec!["*/exec"], "*").matches(Operation::Create, at("", "pods", "exec", true)));
        assert!(!rule(vec!["pods"], "Cluster").matches(Operation::Create, at("", "pods", "", true)));
        assert!(rule(vec!["namespaces"], "Cluster").matches(Operation::Create, at("", "namespaces", "", false)));
        assert!(!rule(vec!["namespaces"], "Namespaced").matches(Operation::Create, at("", "namespaces", "", false)));
    }

    #[test]
    fn object_selectors_look_at_both_objects() {
        let selector = value!({"matchLabels": {"a": "b"}});
        let (with, without) = (value!({"metadata": {"labels": {"a": "b"}}}), value!({"metadata": {}}));
        assert!(object_selected(&selector, Some(&without), Some(&with)));
        assert!(object_selected(&selector, Some(&with), None));
        assert!(!object_selected(&selector, Some(&without), None));
        assert!(object_selected(&value!({}), None, None));
        let absent = value!({"matchExpressions": [{"key": "a", "operator": "DoesNotExist"}]});
        assert!(object_selected(&absent, Some(&without), None));
        assert!(!object_selected(&absent, Some(&value!({"kind": "PodExecOptions"})), None));
    }
}
