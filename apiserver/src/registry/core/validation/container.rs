//! Containers: regular, init and ephemeral ones.

use std::collections::HashSet;

use skiff_apimachinery::field::ErrorList;
use skiff_apimachinery::names;

use super::{env, formats, probe, resources, security_context, volume};
use crate::registry::at::At;

const PROTOCOLS: &[&str] = &["SCTP", "TCP", "UDP"];
const RESTART_POLICIES: &[&str] = &["Always", "Never", "OnFailure"];
const ONLY_SIDECARS: &str = "may not be set for init containers without restartPolicy=Always";
const NOT_EPHEMERAL: &str = "cannot be set for an Ephemeral Container";

/// What an ephemeral container may not have, in upstream's order.
const NOT_EPHEMERAL_FIELDS: &[&str] = &[
    "ports",
    "resources",
    "resizePolicy",
    "restartPolicy",
    "restartPolicyRules",
    "livenessProbe",
    "readinessProbe",
    "startupProbe",
    "lifecycle",
];

/// What containers are validated against.
pub struct Surroundings<'a> {
    /// The pod spec.
    pub spec: At<'a>,
    /// Volumes that are valid, by name, with their place.
    pub volumes: Vec<(&'a str, At<'a>)>,
}

impl<'a> Surroundings<'a> {
    /// The volume of this name.
    pub fn volume(&self, name: &str) -> Option<&At<'a>> {
        self.volumes.iter().find(|(n, _)| *n == name).map(|(_, at)| at)
    }
}

/// Validates the regular containers.
pub fn regular(around: &Surroundings<'_>, errors: &mut ErrorList) {
    let list = around.spec.child("containers");
    if list.is_empty() {
        return list.required(errors, "");
    }
    let mut seen = HashSet::new();
    for container in list.items() {
        common(&container, around, errors);
        let name = container.child("name");
        if !seen.insert(name.text().to_owned()) {
            name.duplicate(errors);
        }
        probe::lifecycle_and_probes(&container, &around.spec, errors);
        restart_policy(&container, errors);
    }
    host_port_conflicts(&list, list.items(), errors);
}

/// Validates the init containers.
pub fn init(around: &Surroundings<'_>, errors: &mut ErrorList) {
    let (list, regular) = (around.spec.child("initContainers"), around.spec.child("containers"));
    let mut seen = regular.items().map(|c| c.child("name").text().to_owned()).collect::<HashSet<_>>();
    for container in list.items() {
        common(&container, around, errors);
        restart_policy(&container, errors);
        let name = container.child("name");
        if !name.is_empty() && !seen.insert(name.text().to_owned()) {
            name.duplicate(errors);
        }
        // Init containers run one by one, so each is checked alone.
        host_port_conflicts(&list, std::iter::once(container), errors);
        if container.child("restartPolicy").text() == "Always" {
            probe::lifecycle_and_probes(&container, &around.spec, errors);
        } else {
            for field in ["lifecycle", "livenessProbe", "readinessProbe", "startupProbe"] {
                let at = container.child(field);
                if at.is_set() {
                    at.forbidden(errors, ONLY_SIDECARS);
                }
            }
        }
    }
}

/// Validates the ephemeral containers.
pub fn ephemeral(around: &Surroundings<'_>, errors: &mut ErrorList) {
    let list = around.spec.child("ephemeralContainers");
    if list.is_empty() {
        return;
    }
    let others = ["containers", "initContainers"].map(|field| {
        let containers = around.spec.child(field);
        containers.items().map(|c| c.child("name").text().to_owned()).collect::<Vec<_>>()
    });
    let others = others.concat();
    let mut seen = others.iter().cloned().collect::<HashSet<_>>();
    for container in list.items() {
        common(&container, around, errors);
        only_for_pod(&container, errors);
        let name = container.child("name");
        if !seen.insert(name.text().to_owned()) {
            name.duplicate(errors);
        }
        let target = container.child("targetContainerName");
        if !target.is_empty() && !others.iter().any(|other| other == target.text()) {
            target.not_found(errors);
        }
        for at in NOT_EPHEMERAL_FIELDS.iter().map(|field| container.child(field)).filter(|at| !at.is_empty()) {
            at.forbidden(errors, NOT_EPHEMERAL);
        }
        let mounts = container.child("volumeMounts");
        for mount in mounts.items() {
            for field in ["subPath", "subPathExpr"] {
                let at = mount.child(field);
                if !at.is_empty() {
                    at.forbidden(errors, NOT_EPHEMERAL);
                }
            }
        }
    }
}

/// What holds in a pod but not yet in a template: the image has no spaces around it.
pub fn only_for_pod(container: &At<'_>, errors: &mut ErrorList) {
    let image = container.child("image");
    if image.text() != image.text().trim() {
        image.invalid(errors, "must not have leading or trailing whitespace");
    }
}

fn common(container: &At<'_>, around: &Surroundings<'_>, errors: &mut ErrorList) {
    let name = container.child("name");
    if name.require(errors) {
        formats::label(&name, errors);
    }
    container.child("image").require(errors);
    let policy = container.child("terminationMessagePolicy");
    policy.one_of(errors, &["File", "FallbackToLogsOnError"]);
    ports(&container.child("ports"), errors);
    env::env(&container.child("env"), errors);
    env::env_from(&container.child("envFrom"), errors);
    volume::mounts(container, around, errors);
    volume::devices(container, around, errors);
    container.child("imagePullPolicy").one_of(errors, &["Always", "IfNotPresent", "Never"]);
    resources::of_container(&container.child("resources"), &around.spec, errors);
    resize_policy(&container.child("resizePolicy"), &around.spec, errors);
    security_context::container(&container.child("securityContext"), &around.spec, errors);
}

fn ports(list: &At<'_>, errors: &mut ErrorList) {
    let mut seen = HashSet::new();
    for port in list.items() {
        let name = port.child("name");
        if !name.is_empty() {
            let messages = names::port_name(name.text());
            if !messages.is_empty() {
                name.messages(errors, messages);
            } else if !seen.insert(name.text().to_owned()) {
                name.duplicate(errors);
            }
        }
        let number = port.child("containerPort");
        if number.int().unwrap_or(0) == 0 {
            number.required(errors, "");
        } else {
            formats::port_number(&number, errors);
        }
        let host = port.child("hostPort");
        if host.int().unwrap_or(0) != 0 {
            formats::port_number(&host, errors);
        }
        port.child("protocol").one_of(errors, PROTOCOLS);
    }
}

/// Two ports of the pod may not be the same port of the host.
fn host_port_conflicts<'a>(list: &At<'_>, containers: impl Iterator<Item = At<'a>>, errors: &mut ErrorList) {
    let mut seen = HashSet::new();
    for (index, container) in containers.enumerate() {
        let ports = container.child("ports");
        for (number, port) in ports.items().enumerate() {
            let host = port.child("hostPort").int().unwrap_or(0);
            if host == 0 {
                continue;
            }
            let key = format!("{}/{}/{host}", port.child("protocol").text(), port.child("hostIP").text());
            if !seen.insert(key.clone()) {
                use skiff_apimachinery::field::Error;
                let path = list.path().index(index).child("ports").index(number).child("hostPort");
                errors.push(Error::duplicate(&path, key));
            }
        }
    }
}

fn restart_policy(container: &At<'_>, errors: &mut ErrorList) {
    const MAX_RULES: usize = 20;
    const MAX_EXIT_CODES: usize = 255;
    let (policy, rules) = (container.child("restartPolicy"), container.child("restartPolicyRules"));
    if policy.is_set() {
        policy.if_set_one_of(errors, RESTART_POLICIES);
    } else if !rules.is_empty() {
        policy.required(errors, "must specify restartPolicy when restart rules are used");
    }
    if rules.len() > MAX_RULES {
        errors.push(skiff_apimachinery::field::Error::too_many(&rules.path(), rules.len(), MAX_RULES));
    }
    for rule in rules.items() {
        let action = rule.child("action");
        if action.text() != "Restart" {
            action.not_supported(errors, &["Restart", "RestartAllContainers"]);
        }
        let codes = rule.child("exitCodes");
        if !codes.is_set() {
            codes.required(errors, "must be specified");
            continue;
        }
        let operator = codes.child("operator");
        if !matches!(operator.text(), "In" | "NotIn") {
            operator.not_supported(errors, &["In", "NotIn"]);
        }
        let values = codes.child("values");
        if values.len() > MAX_EXIT_CODES {
            errors.push(skiff_apimachinery::field::Error::too_many(&values.path(), values.len(), MAX_EXIT_CODES));
        }
    }
}

fn resize_policy(list: &At<'_>, spec: &At<'_>, errors: &mut ErrorList) {
    let mut seen = HashSet::new();
    for policy in list.items() {
        let (resource, restart) = (policy.child("resourceName"), policy.child("restartPolicy"));
        if !seen.insert(resource.text().to_owned()) {
            errors.push(skiff_apimachinery::field::Error::duplicate(&policy.path(), resource.text()));
        }
        // Upstream's paths end at the list.
        let (resource, restart) = (resource.at_parent().at_parent(), restart.at_parent().at_parent());
        resource.one_of(errors, &["cpu", "memory"]);
        restart.one_of(errors, &["NotRequired", "RestartContainer"]);
        if spec.child("restartPolicy").text() == "Never" && restart.text() != "NotRequired" {
            restart.invalid(errors, "must be 'NotRequired' when pod `restartPolicy` is 'Never'");
        }
    }
}
