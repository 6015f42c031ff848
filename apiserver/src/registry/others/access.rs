//! rbac.authorization.k8s.io.

use skiff_apimachinery::field::{Error, ErrorList, Path};
use skiff_apimachinery::names;
use skiff_apimachinery::value::{Object, Value};

use crate::registry::at::At;
use crate::registry::core::validation::label_selector;
use crate::registry::defaults::{each, text};
use crate::registry::strategy::{NameRule, Strategy, WriteScope, path_segment};

const RBAC: &str = "rbac.authorization.k8s.io";

/// Role and ClusterRole.
pub struct RoleStrategy {
    /// Whether it is the Role of a namespace.
    pub namespaced: bool,
}

impl Strategy for RoleStrategy {
    fn validate(&self, object: &Value) -> ErrorList {
        let mut errors = ErrorList::default();
        let root = At::root(object);
        let rules = root.child("rules");
        for rule in rules.items() {
            policy_rule(&rule, self.namespaced, &mut errors);
        }
        let aggregation = root.child("aggregationRule");
        if aggregation.is_set() {
            let selectors = aggregation.child("clusterRoleSelectors");
            if selectors.is_empty() {
                let detail = "at least one clusterRoleSelector required if aggregationRule is non-nil";
                selectors.required(&mut errors, detail);
            }
            for selector in selectors.items() {
                label_selector::validate(&selector, &mut errors);
                if !label_selector::is_usable(&selector) {
                    errors.push(Error::invalid(&selector.path(), Value::Null, "invalid label selector."));
                }
            }
        }
        errors
    }

    fn name_rule(&self) -> NameRule {
        path_segment
    }

    fn allow_create_on_update(&self) -> bool {
        true
    }
}

fn policy_rule(rule: &At<'_>, namespaced: bool, errors: &mut ErrorList) {
    let (verbs, urls) = (rule.child("verbs"), rule.child("nonResourceURLs"));
    let (groups, resources, names) = (rule.child("apiGroups"), rule.child("resources"), rule.child("resourceNames"));
    if verbs.is_empty() {
        verbs.required(errors, "verbs must contain at least one value");
    }
    if !urls.is_empty() {
        if namespaced {
            urls.invalid(errors, "namespaced rules cannot apply to non-resource URLs");
        }
        if groups.len() + resources.len() + names.len() > 0 {
            urls.invalid(errors, "rules cannot apply to both regular resources and non-resource URLs");
        }
        return;
    }
    if groups.is_empty() {
        groups.required(errors, "resource rules must supply at least one api group");
    }
    if resources.is_empty() {
        resources.required(errors, "resource rules must supply at least one resource");
    }
}

/// RoleBinding and ClusterRoleBinding.
pub struct RoleBindingStrategy {
    /// Whether it is the RoleBinding of a namespace.
    pub namespaced: bool,
}

impl Strategy for RoleBindingStrategy {
    fn set_defaults(&self, object: &mut Value) {
        text(object.object_at_mut(&["roleRef"]), "apiGroup", RBAC);
        each(object.object_at_mut(&[]), "subjects", |subject| {
            if matches!(subject.get("kind").and_then(Value::as_str), Some("User" | "Group")) {
                text(subject, "apiGroup", RBAC);
            }
        });
    }

    fn validate(&self, object: &Value) -> ErrorList {
        let mut errors = ErrorList::default();
        let root = At::root(object);
        let role = root.child("roleRef");
        let (group, kind, name) = (role.child("apiGroup"), role.child("kind"), role.child("name"));
        if group.text() != RBAC {
            group.not_supported(&mut errors, &[RBAC]);
        }
        let kinds: &[&str] = if self.namespaced { &["Role", "ClusterRole"] } else { &["ClusterRole"] };
        if !kinds.contains(&kind.text()) {
            kind.not_supported(&mut errors, kinds);
        }
        if name.require(&mut errors) {
            name.messages(&mut errors, names::path_segment(name.text()));
        }
        let subjects = root.child("subjects");
        for subject in subjects.items() {
            self.subject(&subject, &mut errors);
        }
        errors
    }

    fn validate_update(&self, _scope: WriteScope<'_>, new: &Value, old: &Value) -> ErrorList {
        let mut errors = self.validate(new);
        if new.get("roleRef") != old.get("roleRef") {
            // By the names of upstream's internal type.
            let text = |field: &str| Value::from(new.str_at(&["roleRef", field]).unwrap_or(""));
            let shown = [("APIGroup", "apiGroup"), ("Kind", "kind"), ("Name", "name")];
            let shown = Value::from(shown.map(|(name, field)| (name, text(field))).into_iter().collect::<Object>());
            errors.push(Error::invalid(&Path::new("roleRef"), shown, "cannot change roleRef"));
        }
        errors
    }

    fn name_rule(&self) -> NameRule {
        path_segment
    }

    fn allow_create_on_update(&self) -> bool {
        true
    }
}

impl RoleBindingStrategy {
    fn subject(&self, subject: &At<'_>, errors: &mut ErrorList) {
        let (kind, name) = (subject.child("kind"), subject.child("name"));
        let (group, namespace) = (subject.child("apiGroup"), subject.child("namespace"));
        name.require(errors);
        match kind.text() {
            "ServiceAccount" => {
                if !name.is_empty() {
                    name.messages(errors, names::dns1123_subdomain(name.text()));
                }
                if !group.is_empty() {
                    group.not_supported(errors, &[""]);
                }
                if !self.namespaced && namespace.is_empty() {
                    namespace.required(errors, "");
                }
            }
            "User" | "Group" => {
                if group.text() != RBAC {
                    group.not_supported(errors, &[RBAC]);
                }
            }
            _ => kind.not_supported(errors, &["ServiceAccount", "User", "Group"]),
        }
    }
}
