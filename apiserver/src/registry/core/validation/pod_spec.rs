//! PodSpec, in pods and in templates.

use std::collections::HashSet;

use skiff_apimachinery::field::{Error, ErrorList};
use skiff_apimachinery::names;

use super::container::{self, Surroundings};
use super::{env, formats, ip, os, pod_annotations, pod_level, resources, scheduling, security_context, volume};
use crate::registry::at::At;
use crate::registry::object_meta;

const MAX_NAMESERVERS: usize = 3;
const MAX_SEARCH_PATHS: usize = 32;
const MAX_SEARCH_CHARS: usize = 2048;
const MAX_HOSTNAME_OVERRIDE: usize = 64;

/// Validates a Pod's spec (`pod` is the whole Pod) or a template's (`pod` is the template).
pub fn validate(pod: &At<'_>, is_pod: bool, errors: &mut ErrorList) {
    let spec = pod.child("spec");
    let grace = spec.child("terminationGracePeriodSeconds");
    if !grace.is_set() {
        grace.required(errors, "");
    }
    let metadata = pod.child("metadata");
    let pod_name = if is_pod { metadata.child("name").text() } else { "" };
    let volumes = spec.child("volumes");
    let valid = volume::volumes(&volumes, pod_name, errors);
    claims(&spec.child("resourceClaims"), errors);
    let around = Surroundings {
        spec,
        volumes: valid.iter().map(|(name, index)| (name.as_str(), volumes.index(*index))).collect(),
    };
    container::regular(&around, errors);
    container::init(&around, errors);
    container::ephemeral(&around, errors);
    pod_level::resources(&spec, errors);
    host_network_ports(&spec, is_pod, errors);
    spec.child("restartPolicy").one_of(errors, &["Always", "OnFailure", "Never"]);
    spec.child("dnsPolicy").one_of(errors, &["ClusterFirstWithHostNet", "ClusterFirst", "Default", "None"]);
    let selector = spec.child("nodeSelector");
    if let Some(value) = selector.value() {
        errors.extend(object_meta::validate_labels(value, &selector.path()));
    }
    security_context::pod(&spec.child("securityContext"), &spec, errors);
    scheduling::affinity(&spec.child("affinity"), errors);
    dns_config(&spec, errors);
    gates(&spec, errors);
    scheduling::spread_constraints(&spec.child("topologySpreadConstraints"), errors);
    host_users(&spec, errors);
    hostname_override(&spec, errors);
    names_of_others(&spec, errors);
    scheduling::tolerations(&spec.child("tolerations"), errors);
    host_aliases(&spec.child("hostAliases"), errors);
    rest(&spec, errors);
    env::files(&spec, errors);
    if is_pod {
        only_for_pod(&spec, errors);
        // Of a template, where upstream leaves `metadata` out of the path, they are validated with it.
        let annotations = metadata.child("annotations");
        pod_annotations::validate(&annotations, &spec, &annotations.path(), errors);
    }
}

fn claims(list: &At<'_>, errors: &mut ErrorList) {
    let mut seen = HashSet::new();
    for claim in list.items() {
        let name = claim.child("name");
        if name.require(errors) {
            if seen.insert(name.text().to_owned()) {
                formats::label(&name, errors);
            } else {
                name.duplicate(errors);
            }
        }
        let (by_name, by_template) = (claim.child("resourceClaimName"), claim.child("resourceClaimTemplateName"));
        match (by_name.is_set(), by_template.is_set()) {
            (true, true) => {
                let message = "at most one of `resourceClaimName` or `resourceClaimTemplateName` may be specified";
                claim.invalid_as("PodResourceClaim", errors, message);
            }
            (false, false) => {
                let message = "must specify one of: `resourceClaimName`, `resourceClaimTemplateName`";
                claim.invalid_as("PodResourceClaim", errors, message);
            }
            _ => {}
        }
        for name in [&by_name, &by_template] {
            if name.is_set() {
                formats::subdomain(name, errors);
            }
        }
    }
}

fn host_network_ports(spec: &At<'_>, is_pod: bool, errors: &mut ErrorList) {
    if !spec.child("hostNetwork").flag() {
        return;
    }
    let containers = spec.child("containers");
    for container in containers.items() {
        let ports = container.child("ports");
        for port in ports.items() {
            let host = port.child("hostPort");
            let (wanted, given) = (port.child("containerPort").int().unwrap_or(0), host.int().unwrap_or(0));
            // In a template the host port may still be open.
            if (is_pod || given != 0) && given != wanted {
                host.invalid(errors, "must match `containerPort` when `hostNetwork` is true");
            }
        }
    }
}

fn dns_config(spec: &At<'_>, errors: &mut ErrorList) {
    let config = spec.child("dnsConfig");
    let (servers, searches, options) = (config.child("nameservers"), config.child("searches"), config.child("options"));
    if spec.child("dnsPolicy").text() == "None" {
        if !config.is_set() {
            return config.required(errors, "must provide `dnsConfig` when `dnsPolicy` is None");
        }
        if servers.is_empty() {
            return servers.required(errors, "must provide at least one DNS nameserver when `dnsPolicy` is None");
        }
    }
    if servers.len() > MAX_NAMESERVERS {
        servers.invalid(errors, format!("must not have more than {MAX_NAMESERVERS} nameservers"));
    }
    for server in servers.items() {
        ip::legacy(&server, &[], errors);
    }
    if searches.len() > MAX_SEARCH_PATHS {
        searches.invalid(errors, format!("must not have more than {MAX_SEARCH_PATHS} search paths"));
    }
    let characters = searches.items().map(|s| s.text().len() + 1).sum::<usize>().saturating_sub(1);
    if characters > MAX_SEARCH_CHARS {
        let message =
            format!("must not have more than {MAX_SEARCH_CHARS} characters (including spaces) in the search list");
        searches.invalid(errors, message);
    }
    for search in searches.items() {
        let name = search.text().strip_suffix('.').unwrap_or(search.text());
        if search.text() != "." {
            search.messages(errors, names::dns1123_subdomain_with_underscore(name));
        }
    }
    for option in options.items() {
        if option.child("name").is_empty() {
            option.required(errors, "must not be empty");
        }
    }
}

fn gates(spec: &At<'_>, errors: &mut ErrorList) {
    let readiness = spec.child("readinessGates");
    for gate in readiness.items() {
        let condition = gate.child("conditionType");
        condition.messages(errors, names::qualified_name(condition.text()));
    }
    let scheduling = spec.child("schedulingGates");
    let mut seen = HashSet::new();
    for gate in scheduling.items() {
        let name = gate.child("name").text().to_owned();
        for message in names::qualified_name(&name) {
            errors.push(Error::invalid(&gate.path(), name.as_str(), message));
        }
        if !seen.insert(name.clone()) {
            errors.push(Error::duplicate(&gate.path(), name));
        }
    }
}

fn host_users(spec: &At<'_>, errors: &mut ErrorList) {
    let users = spec.child("hostUsers");
    if !users.is_set() || users.flag() {
        return;
    }
    for (field, shown) in [("hostNetwork", "hostNetwork"), ("hostPID", "HostPID"), ("hostIPC", "HostIPC")] {
        if spec.child(field).flag() {
            errors.push(Error::forbidden(&spec.path().child(shown), "when `hostUsers` is false"));
        }
    }
    for list in ["initContainers", "containers", "ephemeralContainers"] {
        for container in spec.child(list).items() {
            let devices = container.child("volumeDevices");
            if !devices.is_empty() {
                devices.forbidden(errors, "when `hostUsers` is false");
            }
        }
    }
}

fn hostname_override(spec: &At<'_>, errors: &mut ErrorList) {
    let name = spec.child("hostnameOverride");
    if !name.is_set() {
        return;
    }
    if spec.child("setHostnameAsFQDN").flag() {
        name.forbidden(errors, "may not be specified when setHostnameAsFQDN is true");
    }
    if spec.child("hostNetwork").flag() {
        name.forbidden(errors, "may not be specified when hostNetwork is true");
    }
    if name.text().len() > MAX_HOSTNAME_OVERRIDE {
        errors.push(Error::too_long(&name.path(), "", MAX_HOSTNAME_OVERRIDE));
    }
    formats::subdomain(&name, errors);
}

/// Names of other objects, and of the pod on the network.
fn names_of_others(spec: &At<'_>, errors: &mut ErrorList) {
    for field in ["serviceAccountName", "nodeName"] {
        let at = spec.child(field);
        if !at.is_empty() {
            formats::subdomain(&at, errors);
        }
    }
    let deadline = spec.child("activeDeadlineSeconds");
    if deadline.int().is_some_and(|n| !(1..=i64::from(i32::MAX)).contains(&n)) {
        deadline.invalid(errors, format!("must be between 1 and {}, inclusive", i32::MAX));
    }
    for field in ["hostname", "subdomain"] {
        let at = spec.child(field);
        if !at.is_empty() {
            formats::label(&at, errors);
        }
    }
}

fn host_aliases(list: &At<'_>, errors: &mut ErrorList) {
    for alias in list.items() {
        ip::legacy(&alias.child("ip"), &[], errors);
        let hostnames = alias.child("hostnames");
        for hostname in hostnames.items() {
            formats::subdomain(&hostname, errors);
        }
    }
}

fn rest(spec: &At<'_>, errors: &mut ErrorList) {
    for field in ["priorityClassName", "runtimeClassName"] {
        let at = spec.child(field);
        if !at.is_empty() {
            formats::subdomain(&at, errors);
        }
    }
    spec.child("preemptionPolicy").if_set_one_of(errors, &["PreemptLowerPriority", "Never"]);
    let overhead = spec.child("overhead");
    resources::overhead(&overhead.wrapped("limits"), errors);
    let os = spec.child("os");
    if os.is_set() {
        let name = os.child("name");
        if name.is_empty() {
            name.required(errors, "");
        } else if !matches!(name.text(), "linux" | "windows") {
            errors.push(Error::not_supported(&os.path(), name.text(), &["linux", "windows"]));
        }
        os::fields(spec, errors);
    }
    os::host_process(spec, errors);
}

fn only_for_pod(spec: &At<'_>, errors: &mut ErrorList) {
    if spec.child("serviceAccountName").is_empty() {
        let volumes = spec.child("volumes");
        for volume in volumes.items() {
            let projected = volume.child("projected");
            let sources = projected.child("sources");
            for source in sources.items() {
                let token = source.child("serviceAccountToken");
                if token.is_set() {
                    token.forbidden(errors, "must not be specified when serviceAccountName is not set");
                }
            }
        }
    }
    for list in ["containers", "initContainers"] {
        let list = spec.child(list);
        for container in list.items() {
            container::only_for_pod(&container, errors);
        }
    }
}

/// Validates a template: its labels, its annotations and its spec (`ValidatePodTemplateSpec` upstream).
pub fn template(template: &At<'_>, errors: &mut ErrorList) {
    let metadata = template.child("metadata");
    for (field, check) in [
        ("labels", object_meta::validate_labels as fn(&_, &_) -> _),
        ("annotations", object_meta::validate_annotations as fn(&_, &_) -> _),
    ] {
        if let Some(value) = metadata.child(field).value() {
            // Upstream leaves `metadata` out of the path.
            errors.extend(check(value, &template.path().child(field)));
        }
    }
    let annotations = metadata.child("annotations");
    let path = template.path().child("annotations");
    pod_annotations::validate(&annotations, &template.child("spec"), &path, errors);
    validate(template, false, errors);
    let (spec, field) = (template.child("spec"), "ephemeralContainers");
    let ephemeral = spec.child(field);
    if !ephemeral.is_empty() {
        ephemeral.forbidden(errors, "ephemeral containers not allowed in pod template");
    }
}
