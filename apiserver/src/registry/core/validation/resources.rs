//! Resource requests and limits.

use std::collections::BTreeSet;

use skiff_apimachinery::field::{Error, ErrorList};
use skiff_apimachinery::names;
use skiff_apimachinery::quantity::Quantity;

use super::formats;
use crate::registry::at::At;

/// Resources that a container may ask for by their short name.
const CONTAINER_RESOURCES: &[&str] = &["cpu", "memory", "ephemeral-storage"];
/// Prefix of resource names that only quotas may use.
const QUOTA_PREFIX: &str = "requests.";

/// Validates a container's `resources`.
pub fn of_container(at: &At<'_>, spec: &At<'_>, errors: &mut ErrorList) {
    lists(at, resource_name, errors);
    claims(&at.child("claims"), &spec.child("resourceClaims"), errors);
}

/// Validates `requests` against `limits` (`validateResourceRequirements` upstream).
pub fn lists(at: &At<'_>, name_rule: fn(&str, &At<'_>, &mut ErrorList), errors: &mut ErrorList) {
    let (limits, requests) = (at.child("limits"), at.child("requests"));
    let mut huge = false;
    let mut cpu_or_memory = false;
    for (name, value) in limits.entries() {
        entry(name, name_rule, &value, errors);
        huge |= is_huge_pages(name);
        cpu_or_memory |= matches!(name, "cpu" | "memory");
    }
    for (name, value) in requests.entries() {
        entry(name, name_rule, &value, errors);
        huge |= is_huge_pages(name);
        cpu_or_memory |= matches!(name, "cpu" | "memory");
        let limit = limits.key(name);
        let (Some(asked), limit) = (quantity(&value), quantity(&limit)) else {
            continue;
        };
        match limit {
            Some(limit) if asked != limit && !overcommit_allowed(name) => {
                let message = format!("must be equal to {name} limit of {limit}");
                errors.push(Error::invalid(&requests.path(), asked.to_string(), message));
            }
            Some(limit) if asked > limit => {
                let message = format!("must be less than or equal to {name} limit of {limit}");
                errors.push(Error::invalid(&requests.path(), asked.to_string(), message));
            }
            None if !overcommit_allowed(name) => {
                limits.required(errors, "Limit must be set for non overcommitable resources");
            }
            _ => {}
        }
    }
    if huge && !cpu_or_memory {
        at.forbidden(errors, "HugePages require cpu or memory");
    }
}

/// Validates what pods take beside their containers, in the form of limits.
pub fn overhead(limits: &At<'_>, errors: &mut ErrorList) {
    for (name, value) in limits.entries() {
        entry(name, resource_name, &value, errors);
    }
    let has = |wanted: fn(&str) -> bool| limits.entries().any(|(name, _)| wanted(name));
    if has(is_huge_pages) && !has(|name| matches!(name, "cpu" | "memory")) {
        limits.at_parent().forbidden(errors, "HugePages require cpu or memory");
    }
}

fn entry(name: &str, name_rule: fn(&str, &At<'_>, &mut ErrorList), value: &At<'_>, errors: &mut ErrorList) {
    name_rule(name, value, errors);
    quantity_value(name, value, errors);
    if is_huge_pages(name)
        && let Some(page) = name.strip_prefix("hugepages-").and_then(|size| Quantity::parse(size).ok())
        && let Some(amount) = quantity(value)
        && page.value() > 0
        && amount.value() % page.value() != 0
    {
        let message = format!("{amount} is not positive integer multiple of {name}");
        value.invalid(errors, message);
    }
}

/// Validates the name of a resource of containers.
pub fn resource_name(name: &str, at: &At<'_>, errors: &mut ErrorList) {
    let mut invalid = |message: String| errors.push(Error::invalid(&at.path(), name, message));
    let messages = names::qualified_name(name);
    messages.into_iter().for_each(&mut invalid);
    if !name.contains('/') {
        if !CONTAINER_RESOURCES.contains(&name) && !is_huge_pages(name) {
            let standard = matches!(name, "pods" | "services" | "storage" | "secrets" | "configmaps");
            if !standard && names::qualified_name(name).is_empty() {
                invalid("must be a standard resource type or fully qualified".to_owned());
            }
            invalid("must be a standard resource for containers".to_owned());
        }
    } else if !is_native(name) && !is_extended(name) {
        invalid("doesn't follow extended resource name standard".to_owned());
    }
}

/// Validates a quantity: not negative, whole where only whole units exist.
pub fn quantity_value(name: &str, at: &At<'_>, errors: &mut ErrorList) {
    let Some(amount) = quantity(at) else { return };
    if amount.milli_value() < 0 {
        at.invalid(errors, "must be greater than or equal to 0");
    }
    if is_integer(name) && amount.milli_value() % 1000 != 0 {
        at.invalid(errors, "must be an integer");
    }
}

/// Validates that a quantity is not negative.
pub fn not_negative(at: &At<'_>, errors: &mut ErrorList) {
    if quantity(at).is_some_and(|amount| amount.milli_value() < 0) {
        at.invalid(errors, "must be greater than or equal to 0");
    }
}

/// The quantity at a place; decoding has made sure that it is one.
pub fn quantity(at: &At<'_>) -> Option<Quantity> {
    Quantity::parse(at.text()).ok()
}

/// Whether a resource is huge pages of some size.
pub fn is_huge_pages(name: &str) -> bool {
    name.starts_with("hugepages-")
}

fn is_native(name: &str) -> bool {
    !name.contains('/') || name.contains("kubernetes.io/")
}

/// Resources that nodes advertise and Kubernetes knows nothing else of.
pub fn is_extended(name: &str) -> bool {
    !is_native(name)
        && !name.starts_with(QUOTA_PREFIX)
        && names::qualified_name(&format!("{QUOTA_PREFIX}{name}")).is_empty()
}

fn overcommit_allowed(name: &str) -> bool {
    is_native(name) && !is_huge_pages(name)
}

fn is_integer(name: &str) -> bool {
    const COUNTS: &[&str] = &[
        "pods",
        "persistentvolumeclaims",
        "services",
        "services.nodeports",
        "services.loadbalancers",
        "replicationcontrollers",
        "resourcequotas",
        "secrets",
        "configmaps",
    ];
    COUNTS.contains(&name) || is_extended(name)
}

/// Validates what claims `resources` names.
pub fn claims(list: &At<'_>, of_pod: &At<'_>, errors: &mut ErrorList) {
    // Claims with one of their requests, or with an empty one as a whole.
    let mut seen: BTreeSet<(String, String)> = BTreeSet::new();
    for claim in list.items() {
        if !claim.child("name").require(errors) {
            continue;
        }
        let [name, request] = ["name", "request"].map(|field| claim.child(field).text().to_owned());
        let of_claim = || seen.iter().filter(|(claim, _)| *claim == name);
        if of_claim().any(|(_, whole)| whole.is_empty()) {
            errors.push(Error::duplicate(&claim.path(), name.as_str()));
        } else {
            if !request.is_empty() {
                formats::label(&claim.child("request"), errors);
            }
            if request.is_empty() {
                // It covers each of its requests that is there already.
                errors.extend(of_claim().map(|_| Error::duplicate(&claim.path(), name.as_str())));
            } else if of_claim().any(|(_, other)| *other == request) {
                errors.push(Error::duplicate(&claim.path(), format!("{name}/{request}")));
            }
            seen.insert((name.clone(), request));
        }
        if !of_pod.items().any(|pod_claim| pod_claim.child("name").text() == name) {
            let mut error = Error::not_found(&claim.path(), name.as_str());
            error.detail = "must be one of the names in pod.spec.resourceClaims".to_owned();
            if of_pod.is_empty() {
                error.detail.push_str(" which is empty");
            } else {
                let names = of_pod.items().map(|claim| claim.child("name").text().to_owned()).collect::<Vec<_>>();
                error.detail.push_str(&format!(": {}", names.join(", ")));
            }
            errors.push(error);
        }
    }
}
