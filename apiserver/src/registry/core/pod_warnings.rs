//! What a client should know about a pod or a template that is valid but not wise.
//!
//! Follows `pkg/api/pod/warnings.go`.

use std::collections::{HashMap, HashSet};

use skiff_apimachinery::value::Value;

use super::validation::resources;
use crate::registry::at::At;

/// Kinds of volumes that do nothing any more, or soon.
const OLD_VOLUMES: &[(&str, &str, &str)] = &[
    ("photonPersistentDisk", "photonPersistentDisk", "deprecated in v1.11, non-functional in v1.16+"),
    ("gitRepo", "gitRepo", "deprecated in v1.11, and disabled by default in v1.33+"),
    ("scaleIO", "scaleIO", "deprecated in v1.16, non-functional in v1.22+"),
    ("flocker", "flocker", "deprecated in v1.22, non-functional in v1.25+"),
    ("storageos", "storageOS", "deprecated in v1.22, non-functional in v1.25+"),
    ("quobyte", "quobyte", "deprecated in v1.22, non-functional in v1.25+"),
    ("glusterfs", "glusterfs", "deprecated in v1.25, non-functional in v1.26+"),
    ("cephfs", "cephfs", "deprecated in v1.28, non-functional in v1.31+"),
    ("rbd", "rbd", "deprecated in v1.28, non-functional in v1.31+"),
];
const OLD_ANNOTATIONS: &[(&str, &str)] = &[
    (
        "scheduler.alpha.kubernetes.io/critical-pod",
        "non-functional in v1.16+; use the \"priorityClassName\" field instead",
    ),
    ("security.alpha.kubernetes.io/sysctls", "non-functional in v1.11+; use the \"sysctls\" field instead"),
    ("security.alpha.kubernetes.io/unsafe-sysctls", "non-functional in v1.11+; use the \"sysctls\" field instead"),
];
const SECCOMP: &str = "seccomp.security.alpha.kubernetes.io/pod";
const BYTES: [&str; 2] = ["memory", "ephemeral-storage"];

/// Warnings about the template at these steps of an object.
pub fn of_template(object: &Value, steps: &[&str]) -> Vec<String> {
    let root = At::root(object);
    match steps {
        [] => of(&root),
        [first] => of(&root.child(first)),
        [first, second] => of(&root.child(first).child(second)),
        [first, second, third, fourth] => of(&root.child(first).child(second).child(third).child(fourth)),
        _ => Vec::new(),
    }
}

/// Whether an object is new, or what is wanted of it other than before.
pub fn concern(new: &Value, old: Option<&Value>) -> bool {
    let generation = |object: &Value| object.i64_at(&["metadata", "generation"]);
    old.is_none_or(|old| generation(old) != generation(new))
}

/// Warnings about a template of an object that is new, or of which something else is wanted than before.
pub fn of_changed_template(new: &Value, old: Option<&Value>, steps: &[&str]) -> Vec<String> {
    if concern(new, old) { of_template(new, steps) } else { Vec::new() }
}

/// Warnings about what has `metadata` and `spec` of a pod.
pub fn of(pod: &At<'_>) -> Vec<String> {
    let mut warnings = Vec::new();
    let (metadata, spec) = (pod.child("metadata"), pod.child("spec"));
    spread(&spec, &mut warnings);
    let annotations = metadata.child("annotations");
    for (key, text) in OLD_ANNOTATIONS.iter().filter(|(key, _)| annotations.key(key).is_set()) {
        warnings.push(format!("{}: {text}", annotations.key(key).path()));
    }
    volumes(&spec.child("volumes"), &mut warnings);
    repeated(&spec.child("hostAliases"), "ip", &mut warnings);
    repeated(&spec.child("imagePullSecrets"), "name", &mut warnings);
    for secret in spec.child("imagePullSecrets").items().filter(|secret| secret.child("name").is_empty()) {
        warnings.push(format!("{}: invalid empty name \"\"", secret.child("name").path()));
    }
    fractions(&spec.child("overhead"), &mut warnings);
    let context = spec.child("securityContext");
    if annotations.key(SECCOMP).is_set() && !context.child("seccompProfile").is_set() {
        let text = "non-functional in v1.27+; use the \"seccompProfile\" field instead";
        warnings.push(format!("{}: {text}", annotations.key(SECCOMP).path()));
    }
    for list in ["initContainers", "containers", "ephemeralContainers"] {
        for container in spec.child(list).items() {
            for amounts in BYTES.iter().flat_map(|resource| ["limits", "requests"].map(|list| (list, *resource))) {
                let resources = container.child("resources");
                fraction(&resources.child(amounts.0).key(amounts.1), &mut warnings);
            }
            hidden_variables(&container.child("env"), &mut warnings);
        }
    }
    ports(&spec, &mut warnings);
    if spec.child("terminationGracePeriodSeconds").int().is_some_and(|seconds| seconds < 0) {
        let path = spec.child("terminationGracePeriodSeconds").path();
        warnings.push(format!("{path}: must be >= 0; negative values are invalid and will be treated as 1"));
    }
    affinity(&spec.child("affinity"), &mut warnings);
    warnings
}

fn spread(spec: &At<'_>, warnings: &mut Vec<String>) {
    for constraint in spec.child("topologySpreadConstraints").items() {
        no_selector(&constraint, warnings);
    }
}

fn no_selector(at: &At<'_>, warnings: &mut Vec<String>) {
    let selector = at.child("labelSelector");
    if !selector.is_set() {
        warnings.push(format!("{}: a null labelSelector results in matching no pod", selector.path()));
    }
}

fn affinity(affinity: &At<'_>, warnings: &mut Vec<String>) {
    for kind in ["podAffinity", "podAntiAffinity"] {
        let at = affinity.child(kind);
        for term in at.child("requiredDuringSchedulingIgnoredDuringExecution").items() {
            no_selector(&term, warnings);
        }
        for term in at.child("preferredDuringSchedulingIgnoredDuringExecution").items() {
            no_selector(&term.child("podAffinityTerm"), warnings);
        }
    }
}

fn volumes(list: &At<'_>, warnings: &mut Vec<String>) {
    for volume in list.items() {
        warnings.extend(of_volume_source(&volume));
    }
    for volume in list.items() {
        let projected = volume.child("projected");
        for source in projected.child("sources").items().filter(At::is_empty) {
            let _ = source;
            warnings.push(format!("volume {:?} (Projected) has no sources provided", volume.child("name").text()));
        }
    }
}

/// Warnings about kinds of storage that do nothing any more.
pub fn of_volume_source(volume: &At<'_>) -> Vec<String> {
    let old = OLD_VOLUMES.iter().filter(|(kind, _, _)| volume.child(kind).is_set());
    old.map(|(_, shown, text)| format!("{}: {text}", volume.child(shown).path())).collect()
}

fn repeated(list: &At<'_>, field: &str, warnings: &mut Vec<String>) {
    let mut seen = HashSet::new();
    for item in list.items() {
        let at = item.child(field);
        if !seen.insert(at.text().to_owned()) {
            warnings.push(format!("{}: duplicate {field} {:?}", at.path(), at.text()));
        }
    }
}

fn fractions(amounts: &At<'_>, warnings: &mut Vec<String>) {
    for resource in BYTES {
        fraction(&amounts.key(resource), warnings);
    }
}

fn fraction(at: &At<'_>, warnings: &mut Vec<String>) {
    if resources::quantity(at).is_some_and(|amount| amount.milli_value() % 1000 != 0) {
        warnings.push(format!("{}: fractional byte value {:?} is invalid, must be an integer", at.path(), at.text()));
    }
}

/// A variable may be defined twice where the second extends the first.
fn hidden_variables(env: &At<'_>, warnings: &mut Vec<String>) {
    let mut seen = HashSet::new();
    for variable in env.items() {
        let (name, value) = (variable.child("name").text(), variable.child("value").text());
        if seen.insert(name.to_owned()) {
            continue;
        }
        let reference = format!("$({name})");
        if variable.child("valueFrom").is_set() || value == reference || !value.contains(&reference) {
            let path = variable.path();
            warnings
                .push(format!("{path}: hides previous definition of {name:?}, which may be dropped when using apply"));
        }
    }
}

fn ports(spec: &At<'_>, warnings: &mut Vec<String>) {
    let mut by_number: HashMap<(i64, String), Vec<(String, String, i64)>> = HashMap::new();
    let mut by_name: HashMap<String, String> = HashMap::new();
    let mut named = Vec::new();
    for list in ["initContainers", "containers", "ephemeralContainers"] {
        for container in spec.child(list).items() {
            for port in container.child("ports").items() {
                let (path, host_ip) = (port.path().to_string(), port.child("hostIP").text().to_owned());
                let host_port = port.child("hostPort").int().unwrap_or(0);
                let number = port.child("containerPort").int().unwrap_or(0);
                let others = by_number.entry((number, port.child("protocol").text().to_owned())).or_default();
                for (other, other_ip, other_port) in others.iter() {
                    let kind = if (&host_ip, host_port) == (other_ip, *other_port) {
                        "duplicate port definition"
                    } else if host_port == 0 || *other_port == 0 {
                        "overlapping port definition"
                    } else if host_port == *other_port && (host_ip.is_empty() != other_ip.is_empty()) {
                        "dangerously ambiguous port definition"
                    } else {
                        continue;
                    };
                    warnings.push(format!("{path}: {kind} with {other}"));
                }
                others.push((path.clone(), host_ip, host_port));
                let name = port.child("name").text().to_owned();
                match by_name.get(&name) {
                    _ if name.is_empty() => {}
                    Some(other) => named.push(format!(
                        "{path}: duplicate port name {name:?} with {other}, services and probes that select ports by name will use {other}"
                    )),
                    None => drop(by_name.insert(name, path)),
                }
            }
        }
    }
    warnings.extend(named);
}
