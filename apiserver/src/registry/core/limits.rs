//! LimitRange, ResourceQuota and ServiceAccount.
//!
//! Follows `pkg/registry/core/{limitrange,resourcequota,serviceaccount}` and their validation.

use skiff_apimachinery::field::{Error, ErrorList};
use skiff_apimachinery::names;
use skiff_apimachinery::value::{Object, Value};

use super::validation::resources;
use crate::registry::at::At;
use crate::registry::defaults::{absent, each};
use crate::registry::strategy::{Strategy, WriteScope};

/// LimitRange.
pub struct LimitRangeStrategy;

impl Strategy for LimitRangeStrategy {
    fn set_defaults(&self, object: &mut Value) {
        each(object.object_at_mut(&["spec"]), "limits", |item| {
            if item.get("type").and_then(Value::as_str) == Some("Container") {
                fill(item, "max", "default");
                fill(item, "default", "defaultRequest");
                fill(item, "min", "defaultRequest");
            }
        });
    }

    fn validate(&self, object: &Value) -> ErrorList {
        let mut errors = ErrorList::default();
        let root = At::root(object);
        let spec = root.child("spec");
        let limits = spec.child("limits");
        let mut seen = std::collections::HashSet::new();
        for item in limits.items() {
            let kind = item.child("type");
            kind.require(&mut errors);
            if !seen.insert(kind.text().to_owned()) {
                kind.duplicate(&mut errors);
            }
            ordered(&item, &mut errors);
        }
        errors
    }

    fn allow_create_on_update(&self) -> bool {
        true
    }
}

/// Copies amounts that the target does not state.
fn fill(item: &mut Object, from: &str, to: &str) {
    let Some(Value::Object(amounts)) = item.get(from).cloned() else {
        return;
    };
    let target = item.object_mut(to);
    for (name, amount) in amounts {
        absent(target, &name, amount);
    }
}

/// min ≤ defaultRequest ≤ default ≤ max, for each resource.
fn ordered(item: &At<'_>, errors: &mut ErrorList) {
    let [min, request, default, max] = ["min", "defaultRequest", "default", "max"].map(|field| item.child(field));
    for (low, high, text) in [
        (&min, &max, "min value {} is greater than max value {}"),
        (&min, &request, "min value {} is greater than default request value {}"),
        (&request, &max, "default request value {} is greater than max value {}"),
        (&request, &default, "default request value {} is greater than default limit value {}"),
        (&default, &max, "default value {} is greater than max value {}"),
        (&min, &default, "min value {} is greater than default value {}"),
    ] {
        for (name, at) in low.entries() {
            let other = high.key(name);
            if let (Some(a), Some(b)) = (resources::quantity(&at), resources::quantity(&other))
                && a > b
            {
                let message = text.replacen("{}", &a.to_string(), 1).replacen("{}", &b.to_string(), 1);
                errors.push(Error::invalid(&at.path(), a.to_string(), message));
            }
        }
    }
}

/// ResourceQuota.
pub struct ResourceQuotaStrategy;

impl Strategy for ResourceQuotaStrategy {
    fn validate(&self, object: &Value) -> ErrorList {
        let mut errors = ErrorList::default();
        let root = At::root(object);
        let spec = root.child("spec");
        let hard = spec.child("hard");
        for (name, value) in hard.entries() {
            for message in names::qualified_name(name) {
                errors.push(Error::invalid(&value.path(), name, message));
            }
            if !name.contains('/') && !is_quota_resource(name) {
                errors.push(Error::invalid(&value.path(), name, "must be a standard resource for quota"));
            }
            resources::not_negative(&value, &mut errors);
        }
        scopes(&spec, &mut errors);
        errors
    }

    fn validate_update(&self, _scope: WriteScope<'_>, new: &Value, old: &Value) -> ErrorList {
        let mut errors = self.validate(new);
        let (new_root, old_root) = (At::root(new), At::root(old));
        let (spec, before) = (new_root.child("spec"), old_root.child("spec"));
        let scopes = spec.child("scopes");
        scopes.immutable(&mut errors, &before.child("scopes"));
        errors
    }

    fn returns_deleted_object(&self) -> bool {
        true
    }
}

/// What pods are counted and measured by in quotas.
const OF_PODS: &[&str] = &[
    "cpu",
    "ephemeral-storage",
    "limits.cpu",
    "limits.ephemeral-storage",
    "limits.memory",
    "memory",
    "requests.cpu",
    "requests.ephemeral-storage",
    "requests.memory",
];
/// What else quotas limit under names of their own; other kinds are `count/RESOURCE.GROUP`.
const OF_OTHERS: &[&str] = &[
    "configmaps",
    "persistentvolumeclaims",
    "pods",
    "replicationcontrollers",
    "requests.storage",
    "resourcequotas",
    "secrets",
    "services",
    "services.loadbalancers",
    "services.nodeports",
];

fn is_quota_resource(name: &str) -> bool {
    let huge_pages = name.strip_prefix("requests.").unwrap_or(name).starts_with("hugepages-");
    huge_pages || OF_PODS.contains(&name) || OF_OTHERS.contains(&name)
}

/// Checks that scopes exist, fit the resources that are limited, and do not exclude each other.
fn scopes(spec: &At<'_>, errors: &mut ErrorList) {
    let (list, hard) = (spec.child("scopes"), spec.child("hard"));
    for scope in list.items() {
        let fits = |name: &str| match scope.text() {
            "Terminating" | "NotTerminating" | "NotBestEffort" | "PriorityClass" | "CrossNamespacePodAffinity" => {
                name == "pods" || OF_PODS.contains(&name)
            }
            "BestEffort" => name == "pods",
            "VolumeAttributesClass" => matches!(name, "persistentvolumeclaims" | "requests.storage"),
            _ => true,
        };
        let known = [
            "Terminating",
            "NotTerminating",
            "BestEffort",
            "NotBestEffort",
            "PriorityClass",
            "CrossNamespacePodAffinity",
            "VolumeAttributesClass",
        ];
        if !known.contains(&scope.text()) {
            list.invalid(errors, "unsupported scope");
        }
        for _ in hard.entries().filter(|(name, _)| is_quota_resource(name) && !fits(name)) {
            list.invalid(errors, "unsupported scope applied to resource");
        }
    }
    let has = |wanted: &str| list.items().any(|scope| scope.text() == wanted);
    for (one, other) in [("BestEffort", "NotBestEffort"), ("Terminating", "NotTerminating")] {
        if has(one) && has(other) {
            list.invalid(errors, "conflicting scopes");
        }
    }
}

/// ServiceAccount.
pub struct ServiceAccountStrategy;

impl Strategy for ServiceAccountStrategy {
    fn prepare_for_create(&self, _scope: WriteScope<'_>, object: &mut Value) {
        names_only(object);
    }

    fn prepare_for_update(&self, _scope: WriteScope<'_>, new: &mut Value, _old: &Value) {
        names_only(new);
    }

    fn returns_deleted_object(&self) -> bool {
        true
    }
}

/// References to secrets are by name alone.
fn names_only(object: &mut Value) {
    each(object.object_at_mut(&[]), "secrets", |secret| secret.retain(|key, _| key == "name"));
}
