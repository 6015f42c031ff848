//! What the status of a pod may say about its resource claims.
//!
//! Follows `validatePodResourceClaimStatuses` and `validatePodExtendedResourceClaimStatus` of
//! `pkg/apis/core/validation/validation.go`.

use std::collections::HashSet;

use skiff_apimachinery::field::{Error, ErrorList};
use skiff_apimachinery::names;

use super::formats;
use crate::registry::at::At;

const NO_CONTAINER: &str = "must match the name of an entry in spec.initContainers.name or spec.containers.name";
const NO_REQUEST: &str = "must match the extended resource name of an entry in spec.initContainers.resources.requests or spec.containers.resources.requests";

/// Validates which claims were made for the pod.
pub fn of_pod(statuses: &At<'_>, spec: &At<'_>, errors: &mut ErrorList) {
    let claims = spec.child("resourceClaims");
    let mut seen = HashSet::new();
    for status in statuses.items() {
        let (name, claim) = (status.child("name"), status.child("resourceClaimName"));
        if !claims.items().any(|claim| claim.child("name").text() == name.text()) {
            name.invalid(errors, "must match the name of an entry in `spec.resourceClaims`");
        }
        if !seen.insert(name.text().to_owned()) {
            name.duplicate(errors);
        }
        if claim.is_set() {
            claim.messages(errors, names::dns1123_subdomain(claim.text()));
        }
    }
}

/// Validates which claim was made for the extended resources of the pod, and for what.
pub fn of_extended_resources(status: &At<'_>, spec: &At<'_>, errors: &mut ErrorList) {
    if !status.is_set() {
        return;
    }
    let mappings = status.child("requestMappings");
    if mappings.is_empty() {
        mappings.required(errors, "at least one request mapping is required");
    }
    let mut seen = HashSet::new();
    for mapping in mappings.items() {
        let parts = ["containerName", "resourceName", "requestName"];
        let [container, resource, request] = parts.map(|part| mapping.child(part));
        match asks_for(spec, container.text(), resource.text()) {
            None => container.invalid(errors, NO_CONTAINER),
            Some(false) => resource.invalid(errors, NO_REQUEST),
            Some(true) => {}
        }
        // Upstream leaves the mapping out of this path.
        let path = status.path().child("requestName");
        for message in names::dns1123_label(request.text()) {
            errors.push(Error::invalid(&path, request.text(), message));
        }
        if !seen.insert([&container, &resource, &request].map(|part| part.text().to_owned())) {
            [container, resource, request].iter().for_each(|part| part.duplicate(errors));
        }
    }
    let claim = status.child("resourceClaimName");
    if claim.require(errors) {
        formats::subdomain(&claim, errors);
    }
}

/// Whether a container requests a resource; `None` if there is no such container.
fn asks_for(spec: &At<'_>, container: &str, resource: &str) -> Option<bool> {
    ["containers", "initContainers"].iter().find_map(|list| {
        let list = spec.child(list);
        let found = list.items().find(|one| one.child("name").text() == container)?;
        let resources = found.child("resources");
        Some(resources.child("requests").key(resource).is_set())
    })
}
