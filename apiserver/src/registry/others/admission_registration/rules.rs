//! What webhooks and policies share: rules, conditions, and which objects they are about.

use std::collections::HashSet;

use skiff_apimachinery::field::{Error, ErrorList};
use skiff_apimachinery::names;
use skiff_apimachinery::value::{Object, Value};

use crate::registry::at::At;
use crate::registry::core::validation::label_selector;
use crate::registry::defaults::{absent, each};

pub(super) const FAILURE_POLICIES: &[&str] = &["Fail", "Ignore"];
pub(super) const MATCH_POLICIES: &[&str] = &["Equivalent", "Exact"];
pub(super) const REINVOCATION_POLICIES: &[&str] = &["IfNeeded", "Never"];
const OPERATIONS: &[&str] = &["*", "CONNECT", "CREATE", "DELETE", "UPDATE"];
const MUTATING_OPERATIONS: &[&str] = &["*", "CONNECT", "CREATE", "UPDATE"];
const SCOPES: &[&str] = &["*", "Cluster", "Namespaced"];
const MAX_CONDITIONS: usize = 64;
/// Names that only files may have.
const STATIC_SUFFIX: &str = ".static.k8s.io";

/// The warning for a name that only files may have.
pub(super) fn name_warnings(object: &Value) -> Vec<String> {
    if !object.str_at(&["metadata", "name"]).is_some_and(|name| name.ends_with(STATIC_SUFFIX)) {
        return Vec::new();
    }
    vec![format!(
        "metadata.name: names ending with {STATIC_SUFFIX:?} are reserved for static manifest-based configurations and cannot be managed via the API"
    )]
}

/// The defaults of rules in this list.
pub(super) fn default_rules(of: &mut Object, list: &str) {
    each(of, list, |rule| absent(rule, "scope", "*"));
}

/// The defaults of which objects are meant.
pub(super) fn default_match(resources: &mut Object) {
    absent(resources, "matchPolicy", "Equivalent");
    absent(resources, "namespaceSelector", Object::new());
    absent(resources, "objectSelector", Object::new());
    default_rules(resources, "resourceRules");
    default_rules(resources, "excludeResourceRules");
}

fn has_wildcard(list: &At<'_>) -> bool {
    list.items().any(|item| item.text() == "*")
}

/// Validates a rule with its operations.
pub(super) fn rule(rule: &At<'_>, errors: &mut ErrorList) {
    let operations = rule.child("operations");
    operations.require(errors);
    if operations.len() > 1 && has_wildcard(&operations) {
        operations.invalid(errors, "if '*' is present, must not specify other operations");
    }
    for operation in operations.items() {
        if !OPERATIONS.contains(&operation.text()) {
            operation.not_supported(errors, OPERATIONS);
        }
    }
    for (field, what) in [("apiGroups", "API groups"), ("apiVersions", "API versions")] {
        let list = rule.child(field);
        list.require(errors);
        if list.len() > 1 && has_wildcard(&list) {
            list.invalid(errors, format!("if '*' is present, must not specify other {what}"));
        }
    }
    for version in rule.child("apiVersions").items() {
        version.require(errors);
    }
    resources(&rule.child("resources"), errors);
    rule.child("scope").if_set_one_of(errors, SCOPES);
}

fn resources(list: &At<'_>, errors: &mut ErrorList) {
    list.require(errors);
    let (mut any_sub_of, mut any_with_sub) = (HashSet::new(), HashSet::new());
    let (mut everything, mut wildcard, mut plain) = (false, false, false);
    for item in list.items() {
        if !item.require(errors) {
            continue;
        }
        let text = item.text();
        everything |= text == "*/*";
        wildcard |= text == "*";
        let Some((resource, sub)) = text.split_once('/') else {
            // As upstream: the last one decides.
            plain = text != "*";
            continue;
        };
        if any_sub_of.contains(resource) {
            item.invalid(errors, format!("if '{resource}/*' is present, must not specify {text}"));
        }
        if any_with_sub.contains(sub) {
            item.invalid(errors, format!("if '*/{sub}' is present, must not specify {text}"));
        }
        if sub == "*" {
            any_sub_of.insert(resource.to_owned());
        }
        if resource == "*" {
            any_with_sub.insert(sub.to_owned());
        }
    }
    if list.len() > 1 && everything {
        list.invalid(errors, "if '*/*' is present, must not specify other resources");
    }
    if wildcard && plain {
        list.invalid(errors, "if '*' is present, must not specify other resources without subresources");
    }
}

/// Validates which objects are meant.
pub(super) fn match_resources(at: &At<'_>, errors: &mut ErrorList) {
    at.child("matchPolicy").one_of(errors, MATCH_POLICIES);
    for field in ["namespaceSelector", "objectSelector"] {
        label_selector::validate(&at.child(field), errors);
    }
    for field in ["resourceRules", "excludeResourceRules"] {
        for rule in at.child(field).items() {
            let mut seen = HashSet::new();
            for name in rule.child("resourceNames").items() {
                name.messages(errors, names::path_segment(name.text()));
                if !seen.insert(name.text().to_owned()) {
                    name.duplicate(errors);
                }
            }
            self::rule(&rule, errors);
        }
    }
}

/// Validates that nobody asks to change what is deleted. Upstream's path has no index.
pub(super) fn mutating_operations(resources: &At<'_>, errors: &mut ErrorList) {
    let rules = resources.child("resourceRules");
    let path = rules.path().child("operations");
    for rule in rules.items() {
        for operation in rule.child("operations").items() {
            if !MUTATING_OPERATIONS.contains(&operation.text()) {
                errors.push(Error::not_supported(&path, operation.text(), MUTATING_OPERATIONS));
            }
        }
    }
}

/// Validates conditions for being asked.
pub(super) fn match_conditions(list: &At<'_>, errors: &mut ErrorList) {
    if list.len() > MAX_CONDITIONS {
        list.too_many(errors, MAX_CONDITIONS);
    }
    let mut seen = HashSet::new();
    for condition in list.items() {
        let (name, expression) = (condition.child("name"), condition.child("expression"));
        if expression.text().trim().is_empty() {
            expression.required(errors, "");
        }
        if name.require(errors) {
            name.messages(errors, names::qualified_name(name.text()));
        }
        if !name.is_empty() && !seen.insert(name.text().to_owned()) {
            name.duplicate(errors);
        }
    }
}
