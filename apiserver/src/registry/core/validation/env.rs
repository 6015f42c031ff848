//! Environment variables and where their values come from.

use skiff_apimachinery::field::{Error, ErrorList};
use skiff_apimachinery::names;

use super::formats;
use crate::registry::at::At;

/// Fields of the pod that an environment variable may show.
const ENV_FIELDS: &[&str] = &[
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
    "spec.nodeName",
    "spec.serviceAccountName",
    "status.hostIP",
    "status.hostIPs",
    "status.podIP",
    "status.podIPs",
];

/// Fields of the pod that a file of a downward API volume may show.
const VOLUME_FIELDS: &[&str] =
    &["metadata.annotations", "metadata.labels", "metadata.name", "metadata.namespace", "metadata.uid"];

/// Fields by which pods are selected, but that none of both shows.
const OTHER_FIELDS: &[&str] = &["spec.restartPolicy", "spec.schedulerName", "status.phase"];

/// Resources of a container that may be shown.
const RESOURCE_FIELDS: &[&str] = &[
    "limits.cpu",
    "limits.ephemeral-storage",
    "limits.memory",
    "requests.cpu",
    "requests.ephemeral-storage",
    "requests.memory",
];

const BYTE_DIVISORS: &[&str] = &["1", "1k", "1M", "1G", "1T", "1P", "1E", "1Ki", "1Mi", "1Gi", "1Ti", "1Pi", "1Ei"];

/// Validates `env`.
pub fn env(list: &At<'_>, errors: &mut ErrorList) {
    for variable in list.items() {
        let name = variable.child("name");
        if name.require(errors) {
            name.messages(errors, names::env_var_name(name.text()));
        }
        value_from(&variable, errors);
    }
}

fn value_from(variable: &At<'_>, errors: &mut ErrorList) {
    let from = variable.child("valueFrom");
    if !from.is_set() {
        return;
    }
    let mut sources = 0;
    let source = |name: &'static str| from.child(name).is_set();
    if source("fieldRef") {
        sources += 1;
        field_ref(&from.child("fieldRef"), ENV_FIELDS, errors);
    }
    if source("resourceFieldRef") {
        sources += 1;
        resource_field_ref(&from.child("resourceFieldRef"), false, errors);
    }
    for reference in ["configMapKeyRef", "secretKeyRef"] {
        if source(reference) {
            sources += 1;
            key_selector(&from.child(reference), errors);
        }
    }
    if source("fileKeyRef") {
        sources += 1;
        file_key_ref(&from.child("fileKeyRef"), errors);
    }
    let mut invalid = |message: &str| {
        errors.push(skiff_apimachinery::field::Error::invalid(&from.path(), "", message));
    };
    if sources == 0 {
        invalid(
            "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or `fileKeyRef`",
        );
    } else if !variable.child("value").is_empty() {
        invalid("may not be specified when `value` is not empty");
    } else if sources > 1 {
        invalid("may not have more than one field specified at a time");
    }
}

/// Validates an item's `fieldRef` in a downward API volume.
pub fn volume_field_ref(at: &At<'_>, errors: &mut ErrorList) {
    field_ref(at, VOLUME_FIELDS, errors);
}

fn field_ref(at: &At<'_>, supported: &[&str], errors: &mut ErrorList) {
    let (version, path) = (at.child("apiVersion"), at.child("fieldPath"));
    if !version.require(errors) || !path.require(errors) {
        return;
    }
    if version.text() != "v1" {
        let message = format!("error converting fieldPath: unsupported pod version: {}", version.text());
        return path.invalid(errors, message);
    }
    if let Some((field, subscript)) = subscripted(path.text()) {
        let messages = match field {
            "metadata.annotations" => names::qualified_name(&subscript.to_lowercase()),
            "metadata.labels" => names::qualified_name(subscript),
            _ => {
                let message = "error converting fieldPath: field label does not support subscript";
                return path.invalid(errors, format!("{message}: {}", path.text()));
            }
        };
        for message in messages {
            errors.push(skiff_apimachinery::field::Error::invalid(&at.path(), subscript, message));
        }
        return;
    }
    let convertible = [ENV_FIELDS, VOLUME_FIELDS, OTHER_FIELDS].iter().any(|fields| fields.contains(&path.text()));
    if !convertible {
        return path.invalid(errors, format!("error converting fieldPath: field label not supported: {}", path.text()));
    }
    if !supported.contains(&path.text()) {
        path.not_supported(errors, supported);
    }
}

/// Splits `metadata.labels['key']`.
fn subscripted(path: &str) -> Option<(&str, &str)> {
    let (field, rest) = path.strip_suffix("']")?.split_once("['")?;
    Some((field, rest))
}

/// Validates `resourceFieldRef`; in a volume it must name its container.
pub fn resource_field_ref(at: &At<'_>, in_volume: bool, errors: &mut ErrorList) {
    let (container, resource) = (at.child("containerName"), at.child("resource"));
    if in_volume && container.is_empty() {
        container.required(errors, "");
    } else if resource.require(errors) {
        let huge = ["limits.hugepages-", "requests.hugepages-"].iter().any(|p| resource.text().starts_with(p));
        if !huge && !RESOURCE_FIELDS.contains(&resource.text()) {
            resource.not_supported(errors, RESOURCE_FIELDS);
        }
    }
    divisor(at, resource.text(), errors);
}

fn divisor(at: &At<'_>, resource: &str, errors: &mut ErrorList) {
    let divisor = at.child("divisor");
    if divisor.is_empty() || divisor.text() == "0" {
        return;
    }
    let (supported, of): (&[&str], &str) = match resource.split_once('.').map_or("", |(_, name)| name) {
        "cpu" => (&["1m", "1"], "cpu"),
        "memory" => (BYTE_DIVISORS, "memory"),
        "ephemeral-storage" => (BYTE_DIVISORS, "local ephemeral storage"),
        name if name.starts_with("hugepages-") => (BYTE_DIVISORS, "hugepages"),
        _ => return,
    };
    if !supported.contains(&divisor.text()) {
        let list = if of == "cpu" { "1m and 1".to_owned() } else { supported.join(", ") };
        let message = format!("only divisor's values {list} are supported with the {of} resource");
        errors.push(skiff_apimachinery::field::Error::invalid(&divisor.path(), resource, message));
    }
}

fn key_selector(at: &At<'_>, errors: &mut ErrorList) {
    formats::subdomain(&at.child("name"), errors);
    let key = at.child("key");
    if key.require(errors) {
        key.messages(errors, names::config_map_key(key.text()));
    }
}

fn file_key_ref(at: &At<'_>, errors: &mut ErrorList) {
    let (key, volume, path) = (at.child("key"), at.child("volumeName"), at.child("path"));
    if key.require(errors) {
        key.messages(errors, names::env_var_name(key.text()));
    }
    if volume.require(errors) {
        formats::label(&volume, errors);
    }
    if path.require(errors) {
        formats::no_backsteps(&path, errors);
    }
}

/// Checks that files with values of variables are in volumes that begin empty.
pub fn files(spec: &At<'_>, errors: &mut ErrorList) {
    let volumes = spec.child("volumes");
    for list in ["initContainers", "containers", "ephemeralContainers"] {
        for container in spec.child(list).items() {
            for variable in container.child("env").items() {
                let from = variable.child("valueFrom");
                let file = from.child("fileKeyRef");
                let name = file.child("volumeName");
                if !file.is_set() {
                    continue;
                }
                let mut volumes = volumes.items();
                match volumes.find(|volume| volume.child("name").text() == name.text()) {
                    None => errors.push(Error::not_found(&name.path(), name.text())),
                    Some(volume) if !volume.child("emptyDir").is_set() => {
                        name.invalid(errors, "referenced volume must be of type emptyDir");
                    }
                    Some(_) => {}
                }
            }
        }
    }
}

/// Validates `envFrom`.
pub fn env_from(list: &At<'_>, errors: &mut ErrorList) {
    for source in list.items() {
        let prefix = source.child("prefix");
        if !prefix.is_empty() {
            prefix.messages(errors, names::env_var_name(prefix.text()));
        }
        let mut sources = 0;
        for reference in ["configMapRef", "secretRef"] {
            let at = source.child(reference);
            if at.is_set() {
                sources += 1;
                let name = at.child("name");
                if name.require(errors) {
                    formats::subdomain(&name, errors);
                }
            }
        }
        let message = match sources {
            0 => "must specify one of: `configMapRef` or `secretRef`",
            1 => continue,
            _ => "may not have more than one field specified at a time",
        };
        errors.push(skiff_apimachinery::field::Error::invalid(&list.path(), "", message));
    }
}
