//! What a pod asks for as a whole.
//!
//! Follows `validatePodResources` of `pkg/apis/core/validation/validation.go`.

use skiff_apimachinery::field::{Error, ErrorList};
use skiff_apimachinery::names;
use skiff_apimachinery::quantity::Quantity;
use skiff_apimachinery::value::{Object, Value};

use super::resources::{claims, is_huge_pages, lists, quantity};
use crate::registry::at::At;
use crate::registry::core::pod_resources;

const SUPPORTED: &[&str] = &["cpu", "hugepages-", "memory"];

/// Validates `resources` of a pod.
pub fn resources(spec: &At<'_>, errors: &mut ErrorList) {
    let own = spec.child("resources");
    if !own.is_set() {
        return;
    }
    if spec.child("os").child("name").text() == "windows" {
        return own.forbidden(errors, "may not be set for a windows pod");
    }
    if own.child("claims").is_set() {
        own.child("claims").forbidden(errors, "claims may not be set for Resources at pod-level");
    }
    lists(&own, resource_name, errors);
    claims(&own.child("claims"), &spec.child("resourceClaims"), errors);
    against_containers(spec, &own, errors);
}

fn resource_name(name: &str, at: &At<'_>, errors: &mut ErrorList) {
    const STANDARD: &[&str] = &[
        "cpu",
        "memory",
        "ephemeral-storage",
        "storage",
        "pods",
        "services",
        "secrets",
        "configmaps",
        "persistentvolumeclaims",
        "replicationcontrollers",
        "resourcequotas",
        "services.nodeports",
        "services.loadbalancers",
    ];
    let faults = names::qualified_name(name);
    let strange = faults.is_empty() && !name.contains('/') && !STANDARD.contains(&name) && !is_huge_pages(name);
    let strange = strange.then(|| "must be a standard resource type or fully qualified".to_owned());
    let found = errors.len();
    errors.extend(faults.into_iter().chain(strange).map(|fault| Error::invalid(&at.path(), name, fault)));
    if errors.len() == found && !matches!(name, "cpu" | "memory") && !is_huge_pages(name) {
        errors.push(Error::not_supported(&at.path(), name, SUPPORTED));
    }
}

/// The pod must have room for its containers.
fn against_containers(spec: &At<'_>, own: &At<'_>, errors: &mut ErrorList) {
    let empty = Object::new();
    let object = spec.value().and_then(Value::as_object).unwrap_or(&empty);
    let (requests, limits) = (own.child("requests"), own.child("limits"));
    let short = |at: &At<'_>, total: &Quantity, what: &str, errors: &mut ErrorList| {
        if quantity(at).is_some_and(|amount| *total > amount) {
            let text = format!("must be greater than or equal to aggregate container {what} of {total}");
            errors.push(Error::invalid(&at.path(), at.text(), text));
        }
    };
    for (name, total) in pod_resources::requests(object) {
        short(&requests.key(&name), &total, "requests", errors);
    }
    for (name, total) in pod_resources::limits(object).iter().filter(|(name, _)| is_huge_pages(name)) {
        short(&limits.key(name), total, "limits", errors);
    }
    for (index, container) in spec.child("containers").items().enumerate() {
        for (name, limit) in container.child("resources").child("limits").entries() {
            if let (Some(amount), Some(most)) = (quantity(&limit), quantity(&limits.key(name)))
                && amount > most
            {
                let path = own.path().child("containers").index(index).key(name).child("limits");
                let text = format!("must be less than or equal to pod limits of {most}");
                errors.push(Error::invalid(&path, limit.text(), text));
            }
        }
    }
}
