//! LimitRange, ResourceQuota and ServiceAccount.
//!
//! Follows `pkg/registry/core/{limitrange,resourcequota,serviceaccount}` and their validation.

use skiff_apimachinery::field::{Error, ErrorList};
use skiff_apimachinery::names;
use skiff_apimachinery::quantity::Quantity;
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
            limit_item(&item, &mut seen, &mut errors);
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

/// Types of limits with a name of their own; others are qualified.
const LIMIT_TYPES: [&str; 3] = ["Container", "PersistentVolumeClaim", "Pod"];

fn limit_item(item: &At<'_>, seen: &mut std::collections::HashSet<String>, errors: &mut ErrorList) {
    let kind = item.child("type");
    let messages = names::qualified_name(kind.text());
    if messages.is_empty() && !kind.text().contains('/') && !LIMIT_TYPES.contains(&kind.text()) {
        kind.invalid(errors, "must be a standard limit type or fully qualified");
    }
    messages.into_iter().for_each(|message| errors.push(Error::invalid(&kind.path(), kind.text(), message)));
    if !seen.insert(kind.text().to_owned()) {
        kind.duplicate(errors);
    }
    for field in ["max", "min"] {
        item.child(field).entries().for_each(|(name, at)| limit_resource(kind.text(), name, &at, errors));
    }
    for field in ["default", "defaultRequest"] {
        if kind.text() != "Pod" {
            item.child(field).entries().for_each(|(name, at)| limit_resource(kind.text(), name, &at, errors));
        } else if !item.child(field).is_empty() {
            item.child(field).forbidden(errors, "may not be specified when `type` is 'Pod'");
        }
    }
    let has_storage = |field: &str| item.child(field).key("storage").is_set();
    if kind.text() == "PersistentVolumeClaim" && !has_storage("min") && !has_storage("max") {
        let message = "either minimum or maximum storage value is required, but neither was provided";
        item.child("limits").required(errors, message);
    }
    item.child("maxLimitRequestRatio").entries().for_each(|(name, at)| limit_resource(kind.text(), name, &at, errors));
    ordered(item, errors);
}

fn limit_resource(kind: &str, name: &str, at: &At<'_>, errors: &mut ErrorList) {
    const CONTAINER: [&str; 3] = ["cpu", "ephemeral-storage", "memory"];
    if matches!(kind, "Container" | "Pod") {
        return resources::resource_name(name, at, errors);
    }
    for message in names::qualified_name(name) {
        errors.push(Error::invalid(&at.path(), name, message));
    }
    let standard = CONTAINER.contains(&name) || name == "storage" || is_quota_resource(name);
    if !name.contains('/') && !standard {
        errors.push(Error::invalid(&at.path(), name, "must be a standard resource type or fully qualified"));
    }
}

/// min ≤ defaultRequest ≤ default ≤ max, for each resource.
fn ordered(item: &At<'_>, errors: &mut ErrorList) {
    let [min, request, default, max] = ["min", "defaultRequest", "default", "max"].map(|field| item.child(field));
    let lists = [&min, &request, &default, &max];
    let ratios = item.child("maxLimitRequestRatio");
    let mut names = lists
        .iter()
        .chain([&&ratios])
        .flat_map(|list| list.entries().map(|(name, _)| name.to_owned()))
        .collect::<Vec<_>>();
    names.sort();
    names.dedup();
    for name in &names {
        let amount = |list: &At<'_>| resources::quantity(&list.key(name));
        // Which is lower, which is higher, where it is reported, whose value is shown, and how.
        for (low, high, place, shown, text) in [
            (&min, &max, &min, &min, "min value {} is greater than max value {}"),
            (&min, &request, &request, &request, "min value {} is greater than default request value {}"),
            (&request, &max, &request, &request, "default request value {} is greater than max value {}"),
            (&request, &default, &request, &request, "default request value {} is greater than default limit value {}"),
            (&min, &default, &default, &min, "min value {} is greater than default value {}"),
            (&default, &max, &default, &max, "default value {} is greater than max value {}"),
        ] {
            if let (Some(a), Some(b)) = (amount(low), amount(high))
                && a > b
            {
                let message = text.replacen("{}", &a.to_string(), 1).replacen("{}", &b.to_string(), 1);
                errors.push(Error::invalid(&place.key(name).path(), shown.key(name).text(), message));
            }
        }
        ratio(&ratios.key(name), amount(&min), amount(&max), errors);
    }
}

fn ratio(at: &At<'_>, min: Option<Quantity>, max: Option<Quantity>, errors: &mut ErrorList) {
    let Some(ratio) = resources::quantity(at) else { return };
    if ratio < Quantity::from_value(1) {
        at.invalid(errors, format!("ratio {ratio} is less than 1"));
    }
    if let (Some(min), Some(max)) = (min, max)
        && min.milli_value() > 0
    {
        // As upstream shows it, six digits after the point.
        let limit = max.milli_value() as f64 / min.milli_value() as f64;
        if ratio.milli_value() as f64 / 1000.0 > limit {
            at.invalid(errors, format!("ratio {ratio} is greater than max/min = {limit:.6}"));
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
        quota_amounts(&hard, &mut errors);
        scopes(&spec, &mut errors);
        scope_selector(&spec, &mut errors);
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

    fn validate_status_update(&self, new: &Value, _old: &Value) -> ErrorList {
        let mut errors = ErrorList::default();
        let root = At::root(new);
        let status = root.child("status");
        quota_amounts(&status.child("hard"), &mut errors);
        quota_amounts(&status.child("used"), &mut errors);
        errors
    }

    fn returns_deleted_object(&self) -> bool {
        true
    }
}

fn quota_amounts(list: &At<'_>, errors: &mut ErrorList) {
    for (name, value) in list.entries() {
        for message in names::qualified_name(name) {
            errors.push(Error::invalid(&value.path(), name, message));
        }
        if !name.contains('/') && !is_quota_resource(name) {
            let at = value.path();
            if !is_standard(name) && names::qualified_name(name).is_empty() {
                errors.push(Error::invalid(&at, name, "must be a standard resource type or fully qualified"));
            }
            errors.push(Error::invalid(&at, name, "must be a standard resource for quota"));
        }
        resources::quantity_value(name, &value, errors);
    }
}

/// Whether a short name is known at all.
fn is_standard(name: &str) -> bool {
    is_quota_resource(name) || name == "storage"
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

/// Validates requirements on scopes.
fn scope_selector(spec: &At<'_>, errors: &mut ErrorList) {
    let selector = spec.child("scopeSelector");
    let list = selector.child("matchExpressions");
    for expression in list.items() {
        // Upstream's paths end at the list.
        let at = expression.at_parent();
        let (scope, operator, values) = (at.child("scopeName"), at.child("operator"), at.child("values"));
        if !SCOPES.contains(&scope.text()) {
            scope.invalid(errors, "unsupported scope");
        }
        let only_exists = !matches!(scope.text(), "PriorityClass" | "VolumeAttributesClass");
        if SCOPES.contains(&scope.text()) && only_exists && operator.text() != "Exists" {
            let message = "must be 'Exists' when scope is any of ResourceQuotaScopeTerminating, ResourceQuotaScopeNotTerminating, ResourceQuotaScopeBestEffort, ResourceQuotaScopeNotBestEffort or ResourceQuotaScopeCrossNamespacePodAffinity";
            operator.invalid(errors, message);
        }
        match operator.text() {
            "In" | "NotIn" if values.is_empty() => {
                values.required(
                    errors,
                    "must be at least one value when `operator` is 'In' or 'NotIn' for scope selector",
                );
            }
            "Exists" | "DoesNotExist" if !values.is_empty() => {
                values.or_null().invalid(
                    errors,
                    "must be no value when `operator` is 'Exist' or 'DoesNotExist' for scope selector",
                );
            }
            "In" | "NotIn" | "Exists" | "DoesNotExist" => {}
            _ => operator.invalid(errors, "not a valid selector operator"),
        }
    }
}

const SCOPES: [&str; 7] = [
    "Terminating",
    "NotTerminating",
    "BestEffort",
    "NotBestEffort",
    "PriorityClass",
    "CrossNamespacePodAffinity",
    "VolumeAttributesClass",
];

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
        if !SCOPES.contains(&scope.text()) {
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

    fn warnings(&self, new: &Value, old: Option<&Value>) -> Vec<String> {
        const ENFORCED: &str = "kubernetes.io/enforce-mountable-secrets";
        let has = |account: &Value| account.at(&["metadata", "annotations", ENFORCED]).is_some();
        if !has(new) || old.is_some_and(has) {
            return Vec::new();
        }
        let advice = "prefer separate namespaces to isolate access to mounted secrets";
        vec![format!("metadata.annotations[{ENFORCED}]: deprecated in v1.32+; {advice}")]
    }

    fn returns_deleted_object(&self) -> bool {
        true
    }
}

/// References to secrets are by name alone.
fn names_only(object: &mut Value) {
    each(object.object_at_mut(&[]), "secrets", |secret| secret.retain(|key, _| key == "name"));
}
