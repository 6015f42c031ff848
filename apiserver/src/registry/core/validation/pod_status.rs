//! What the status of a pod may say.
//!
//! Follows `ValidatePodStatusUpdate` of `pkg/apis/core/validation/validation.go`.

use std::collections::HashSet;

use skiff_apimachinery::field::{Error, ErrorList};
use skiff_apimachinery::names;
use skiff_apimachinery::value::Value;

use super::pod_update::annotations;
use super::{formats, ip, pod_claims};
use crate::registry::at::At;

const HEALTH: &[&str] = &["Healthy", "Unhealthy", "Unknown"];
/// Bytes of a text about the health of a device.
const MAX_HEALTH_MESSAGE: usize = 1024;

/// Validates a write to a pod's status.
pub fn validate(new: &Value, old: &Value, errors: &mut ErrorList) {
    let (new_at, old_at) = (At::root(new), At::root(old));
    annotations(&new_at, &old_at, errors);
    let (status, before) = (new_at.child("status"), old_at.child("status"));
    let conditions = status.child("conditions");
    for condition in conditions.items() {
        let (kind, generation) = (condition.child("type"), condition.child("observedGeneration"));
        if generation.int().is_some_and(|generation| generation < 0) {
            generation.invalid(errors, "must be a non-negative integer");
        }
        if !matches!(kind.text(), "PodScheduled" | "Ready" | "Initialized") {
            for message in names::qualified_name(kind.text()) {
                errors.push(Error::invalid(&condition.path().child("Type"), kind.text(), message));
            }
        }
    }
    let nominated = status.child("nominatedNodeName");
    if !nominated.is_empty() && nominated.text() != before.child("nominatedNodeName").text() {
        nominated.messages(errors, names::dns1123_subdomain(nominated.text()));
        let spec = old_at.child("spec");
        if !spec.child("nodeName").is_empty() {
            nominated.forbidden(errors, "may not be set on pods that are already bound to a node");
        }
    }
    let observed = status.child("observedGeneration");
    if observed.int().is_some_and(|generation| generation < 0) {
        observed.invalid(errors, "must be a non-negative integer");
    }
    let qos = status.child("qosClass");
    qos.immutable(errors, &before.child("qosClass"));
    let spec = old_at.child("spec");
    for list in ["containerStatuses", "initContainerStatuses"] {
        no_revival(&status.child(list), &before.child(list), &spec, list == "initContainerStatuses", errors);
    }
    let spec = new_at.child("spec");
    pod_claims::of_pod(&status.child("resourceClaimStatuses"), &spec, errors);
    pod_claims::of_extended_resources(&status.child("extendedResourceClaimStatus"), &spec, errors);
    addresses(&status, &before, errors);
    containers(&status, &spec, errors);
}

/// Validates who runs in the containers, and the health of what they were given.
fn containers(status: &At<'_>, spec: &At<'_>, errors: &mut ErrorList) {
    for list in ["initContainerStatuses", "containerStatuses", "ephemeralContainerStatuses"] {
        for container in status.child(list).items() {
            linux_user(&container.child("user").child("linux"), errors);
        }
    }
    for (list, containers) in [("containerStatuses", "containers"), ("initContainerStatuses", "initContainers")] {
        for container in status.child(list).items() {
            allocated(&container, &spec.child(containers), errors);
        }
    }
    for container in status.child("ephemeralContainerStatuses").items() {
        let resources = container.child("allocatedResourcesStatus");
        if !resources.is_empty() {
            resources.forbidden(errors, "must not be specified in container status");
        }
    }
}

/// Validates the addresses of the pod and of its host: one of each family, the first the same as in the older field.
fn addresses(status: &At<'_>, before: &At<'_>, errors: &mut ErrorList) {
    for (field, single, ty) in [("podIPs", "podIP", "[PodIP"), ("hostIPs", "hostIP", "[HostIP")] {
        let list = status.child(field);
        let first = list.index(0);
        let first = first.child("ip");
        if field == "hostIPs" && !list.is_empty() && first.text() != status.child(single).text() {
            first.invalid(errors, format!("must be equal to `{single}`"));
        }
        let had = before.child(field).value().and_then(Value::as_array).unwrap_or_default();
        let had = had.iter().filter_map(|ip| ip.str_at(&["ip"])).collect::<Vec<_>>();
        for address in list.items() {
            ip::legacy_of_element(&address, &had, errors);
        }
        let families = list.items().filter_map(|address| ip::sloppy(address.child("ip").text()));
        let families = families.map(|ip| ip.is_ipv4()).collect::<Vec<_>>();
        let one_of_each = families.len() == 2 && families[0] != families[1];
        if list.len() > 1 && families.len() == list.len() && !one_of_each {
            list.invalid_as(ty, errors, "may specify no more than one IP for each IP family");
        }
    }
}

fn linux_user(at: &At<'_>, errors: &mut ErrorList) {
    if !at.is_set() {
        return;
    }
    formats::user_id(&at.child("uid"), errors);
    formats::group_id(&at.child("gid"), errors);
    for group in at.child("supplementalGroups").items() {
        formats::group_id(&group, errors);
    }
}

/// A container that ended and may not be started again stays ended.
fn no_revival(new: &At<'_>, old: &At<'_>, spec: &At<'_>, init: bool, errors: &mut ErrorList) {
    let policy = spec.child("restartPolicy").text();
    if policy == "Always" {
        return;
    }
    let containers = spec.child(if init { "initContainers" } else { "containers" });
    for (index, before) in old.items().enumerate() {
        let (name, state) = (before.child("name").text(), before.child("state"));
        let terminated = state.child("terminated");
        if !terminated.is_set() {
            continue;
        }
        let own_policy = containers.items().find(|c| c.child("name").text() == name).map(|c| {
            let own = c.child("restartPolicy");
            (own.text().to_owned(), !c.child("restartPolicyRules").is_empty())
        });
        let failed = terminated.child("exitCode").int().unwrap_or(0) != 0;
        let may_restart = match own_policy {
            Some((_, true)) => true,
            Some((own, _)) if own == "Always" => true,
            Some((own, _)) if !own.is_empty() => own == "OnFailure" && failed,
            _ => policy == "OnFailure" && failed,
        };
        let revived = new.items().any(|now| {
            let state = now.child("state");
            now.child("name").text() == name && !state.child("terminated").is_set()
        });
        if revived && !may_restart {
            let path = new.path().index(index).child("state");
            errors.push(Error::forbidden(&path, "may not be transitioned to non-terminated state"));
        }
    }
}

/// Validates the health of what a container was given.
fn allocated(status: &At<'_>, containers: &At<'_>, errors: &mut ErrorList) {
    let mut containers = containers.items();
    let container = containers.find(|container| container.child("name").text() == status.child("name").text());
    for resource in status.child("allocatedResourcesStatus").items() {
        let name = resource.child("name");
        if let Some(container) = &container {
            let own = container.child("resources");
            let claims = own.child("claims");
            let claim_name = |claim: At<'_>| match claim.child("request").text() {
                "" => format!("claim:{}", claim.child("name").text()),
                request => format!("claim:{}/{request}", claim.child("name").text()),
            };
            let (known, text) = if name.text().starts_with("claim:") {
                let text = "must match one of the container's resource claims in a format 'claim:<claimName>/<request>' or 'claim:<claimName>' if request is empty";
                (claims.items().any(|claim| claim_name(claim) == name.text()), text)
            } else {
                let known = own.child("requests").key(name.text()).is_set();
                (known, "must match one of the container's resource requests")
            };
            if !known {
                name.invalid(errors, text);
            }
        }
        let mut seen = HashSet::new();
        for device in resource.child("resources").items() {
            let (health, message, id) = (device.child("health"), device.child("message"), device.child("resourceID"));
            if !HEALTH.contains(&health.text()) {
                health.not_supported(errors, HEALTH);
            }
            if message.is_set() && message.is_empty() {
                message.required(errors, "must be non-empty if specified");
            } else if message.text().len() > MAX_HEALTH_MESSAGE {
                message.too_long(errors, MAX_HEALTH_MESSAGE);
            }
            if !seen.insert(id.text().to_owned()) {
                id.duplicate(errors);
            }
        }
    }
}
