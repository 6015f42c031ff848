//! Volumes of a pod, and where containers mount them.

use std::collections::HashSet;

use skiff_apimachinery::field::{Error, ErrorList};

use super::container::Surroundings;
use super::volume_sources::{self, Place};
use super::{env, formats, resources};
use crate::registry::at::At;
use crate::registry::core::storage;
use crate::registry::object_meta;

const HOST_PATH_TYPES: &[&str] =
    &["", "BlockDevice", "CharDevice", "Directory", "DirectoryOrCreate", "File", "FileOrCreate", "Socket"];
const CHECKED_SOURCES: &[&str] =
    &["configMap", "downwardAPI", "emptyDir", "ephemeral", "hostPath", "projected", "secret"];

/// Validates `volumes`; returns the names of the valid ones with their index.
pub fn volumes(list: &At<'_>, pod_name: &str, errors: &mut ErrorList) -> Vec<(String, usize)> {
    let mut valid: Vec<(String, usize)> = Vec::new();
    let created = list
        .items()
        .filter(|volume| !pod_name.is_empty() && volume.child("ephemeral").is_set())
        .map(|volume| format!("{pod_name}-{}", volume.child("name").text()))
        .collect::<HashSet<_>>();
    for (index, volume) in list.items().enumerate() {
        let mut found = ErrorList::default();
        source(&volume, &mut found);
        let name = volume.child("name");
        if name.require(&mut found) {
            formats::label(&name, &mut found);
        }
        if valid.iter().any(|(other, _)| other == name.text()) {
            name.duplicate(&mut found);
        }
        if found.is_empty() {
            valid.push((name.text().to_owned(), index));
        }
        errors.extend(found);
        let claim = volume.child("persistentVolumeClaim");
        let claim = claim.child("claimName");
        if created.contains(claim.text()) {
            claim.invalid(errors, "must not reference a PVC that gets created for an ephemeral volume");
        }
    }
    valid
}

/// Validates that a volume has one source, and that one.
fn source(volume: &At<'_>, errors: &mut ErrorList) {
    let mut given = 0;
    for (kind, _) in volume.entries() {
        if kind == "name" {
            continue;
        }
        let at = volume.child(kind);
        if !at.is_set() {
            continue;
        }
        given += 1;
        if given > 1 {
            at.forbidden(errors, "may not specify more than 1 volume type");
            continue;
        }
        if CHECKED_SOURCES.contains(&kind) {
            checked_source(kind, &at, errors);
        } else {
            volume_sources::validate(kind, &volume.child(kind), Place::Pod, errors);
        }
    }
    if given == 0 {
        volume.required(errors, "must specify a volume type");
    }
}

fn checked_source(kind: &str, at: &At<'_>, errors: &mut ErrorList) {
    match kind {
        "emptyDir" => {
            let limit = at.child("sizeLimit");
            if resources::quantity(&limit).is_some_and(|q| q.milli_value() < 0) {
                limit.forbidden(errors, "SizeLimit field must be a valid resource quantity");
            }
        }
        "hostPath" => {
            let path = at.child("path");
            if path.require(errors) {
                formats::no_backsteps(&path, errors);
                at.child("type").if_set_one_of(errors, HOST_PATH_TYPES);
            }
        }
        "secret" => {
            at.child("secretName").require(errors);
            files(at, errors);
        }
        "configMap" => {
            at.child("name").require(errors);
            files(at, errors);
        }
        "downwardAPI" => {
            formats::file_mode(&at.child("defaultMode"), errors);
            let items = at.child("items");
            for item in items.items() {
                // Upstream does not say which item it is.
                downward_file(&item.at_parent().at_parent(), errors);
            }
        }
        "projected" => {
            formats::file_mode(&at.child("defaultMode"), errors);
            projections(at, errors);
        }
        _ => {
            let template = at.child("volumeClaimTemplate");
            if !template.is_set() {
                return template.required(errors, "");
            }
            let metadata = template.child("metadata");
            for (field, check) in [
                ("labels", object_meta::validate_labels as fn(&_, &_) -> _),
                ("annotations", object_meta::validate_annotations as fn(&_, &_) -> _),
            ] {
                if let Some(value) = metadata.child(field).value() {
                    errors.extend(check(value, &metadata.child(field).path()));
                }
            }
            storage::claim_spec(&template.child("spec"), errors);
        }
    }
}

fn files(at: &At<'_>, errors: &mut ErrorList) {
    formats::file_mode(&at.child("defaultMode"), errors);
    let items = at.child("items");
    for item in items.items() {
        key_to_path(&item, errors);
    }
}

fn key_to_path(item: &At<'_>, errors: &mut ErrorList) {
    item.child("key").require(errors);
    let path = item.child("path");
    path.require(errors);
    formats::local_non_reserved_path(&path, errors);
    formats::file_mode(&item.child("mode"), errors);
}

fn downward_file(item: &At<'_>, errors: &mut ErrorList) {
    let path = item.child("path");
    path.require(errors);
    formats::local_non_reserved_path(&path, errors);
    let (field, resource) = (item.child("fieldRef"), item.child("resourceFieldRef"));
    if field.is_set() {
        env::volume_field_ref(&field, errors);
        if resource.is_set() {
            let message = "fieldRef and resourceFieldRef can not be specified simultaneously";
            errors.push(Error::invalid(&item.path(), "resource", message));
        }
    } else if resource.is_set() {
        env::resource_field_ref(&resource, true, errors);
    } else {
        item.required(errors, "one of fieldRef and resourceFieldRef is required");
    }
    formats::file_mode(&item.child("mode"), errors);
}

fn projections(projected: &At<'_>, errors: &mut ErrorList) {
    let mut paths = HashSet::new();
    let mut unique = |path: &str, shown: &str, errors: &mut ErrorList| {
        if !path.is_empty() && !paths.insert(path.to_owned()) {
            errors.push(Error::invalid(&projected.path(), shown, "conflicting duplicate paths"));
        }
    };
    let sources = projected.child("sources");
    for source in sources.items() {
        let mut given = 0;
        for kind in ["secret", "configMap"] {
            let at = source.child(kind);
            if !at.is_set() {
                continue;
            }
            given += 1;
            let name = at.child("name");
            name.require(errors);
            let items = at.child("items");
            for item in items.items() {
                key_to_path(&item, errors);
                unique(item.child("path").text(), name.text(), errors);
            }
        }
        let downward = source.child("downwardAPI");
        if downward.is_set() {
            given += 1;
            let items = downward.child("items");
            for item in items.items() {
                downward_file(&item.at_parent().at_parent(), errors);
                unique(item.child("path").text(), item.child("path").text(), errors);
            }
        }
        let token = source.child("serviceAccountToken");
        if token.is_set() {
            given += 1;
            token_projection(&token, projected, errors);
        }
        for kind in ["clusterTrustBundle", "podCertificate"] {
            given += usize::from(source.child(kind).is_set());
        }
        if given > 1 {
            source.forbidden(errors, "may not specify more than 1 volume type per source");
        }
    }
}

fn token_projection(token: &At<'_>, projected: &At<'_>, errors: &mut ErrorList) {
    const MIN_SECONDS: i64 = 600;
    let seconds = token.child("expirationSeconds");
    if seconds.int().unwrap_or(0) < MIN_SECONDS {
        seconds.invalid(errors, "may not specify a duration less than 10 minutes");
    }
    if seconds.int().unwrap_or(0) > 1 << 32 {
        seconds.invalid(errors, "may not specify a duration larger than 2^32 seconds");
    }
    let path = token.child("path");
    if path.is_empty() {
        errors.push(Error::required(&projected.path().child("path"), ""));
    } else {
        formats::local_non_reserved_path(&path, errors);
    }
}

/// Validates `volumeMounts` of a container.
pub fn mounts(container: &At<'_>, around: &Surroundings<'_>, errors: &mut ErrorList) {
    let (list, devices) = (container.child("volumeMounts"), container.child("volumeDevices"));
    let mut paths = HashSet::new();
    for (index, mount) in list.items().enumerate() {
        let (name, path) = (mount.child("name"), mount.child("mountPath"));
        name.require(errors);
        if around.volume(name.text()).is_none() {
            name.not_found(errors);
        }
        path.require(errors);
        if !paths.insert(path.text().to_owned()) {
            path.invalid(errors, "must be unique");
        }
        for device in devices.items() {
            if device.child("name").text() == name.text() {
                name.invalid(errors, "must not already exist in volumeDevices");
            }
            if device.child("devicePath").text() == path.text() {
                path.invalid(errors, "must not already exist as a path in volumeDevices");
            }
        }
        // Upstream leaves the index out of these paths.
        let mount = mount.at_parent();
        let (sub_path, expression) = (mount.child("subPath"), mount.child("subPathExpr"));
        if !sub_path.is_empty() {
            formats::local_descending_path(&sub_path, errors);
        }
        if !expression.is_empty() {
            if !sub_path.is_empty() {
                let path = list.path().index(index).child("subPathExpr");
                errors.push(Error::invalid(&path, expression.text(), "subPathExpr and subPath are mutually exclusive"));
            }
            formats::local_descending_path(&expression, errors);
        }
        propagation(&mount, container, errors);
    }
}

fn propagation(mount: &At<'_>, container: &At<'_>, errors: &mut ErrorList) {
    let mode = mount.child("mountPropagation");
    mode.if_set_one_of(errors, &["Bidirectional", "HostToContainer", "None"]);
    let context = container.child("securityContext");
    if mode.text() == "Bidirectional" && !context.child("privileged").flag() {
        mode.forbidden(errors, "Bidirectional mount propagation is available only to privileged containers");
    }
    let recursive = mount.child("recursiveReadOnly");
    match recursive.text() {
        "" | "Disabled" => {}
        "Enabled" | "IfPossible" => {
            if !mount.child("readOnly").flag() {
                recursive.forbidden(errors, "may only be specified when readOnly is true");
            }
            if !matches!(mode.text(), "" | "None") {
                recursive.forbidden(errors, "may only be specified when mountPropagation is None or not specified");
            }
        }
        _ => recursive.not_supported(errors, &["Disabled", "Enabled", "IfPossible"]),
    }
}

/// Validates `volumeDevices` of a container.
pub fn devices(container: &At<'_>, around: &Surroundings<'_>, errors: &mut ErrorList) {
    let (list, mounts) = (container.child("volumeDevices"), container.child("volumeMounts"));
    let (mut names, mut paths) = (HashSet::new(), HashSet::new());
    for device in list.items() {
        let (name, path) = (device.child("name"), device.child("devicePath"));
        name.require(errors);
        if !name.is_empty() && !names.insert(name.text().to_owned()) {
            name.invalid(errors, "must be unique");
        }
        match around.volume(name.text()) {
            None => name.not_found(errors),
            Some(volume) if !volume.child("persistentVolumeClaim").is_set() && !volume.child("ephemeral").is_set() => {
                name.invalid(
                    errors,
                    "can only use volume source type of PersistentVolumeClaim or Ephemeral for block mode",
                );
            }
            Some(_) => {}
        }
        path.require(errors);
        if path.text().split('/').any(|part| part == "..") {
            path.invalid(errors, "can not contain backsteps ('..')");
        } else if !paths.insert(path.text().to_owned()) {
            path.invalid(errors, "must be unique");
        }
        for mount in mounts.items() {
            if mount.child("name").text() == name.text() {
                name.invalid(errors, "must not already exist in volumeMounts");
            }
            if mount.child("mountPath").text() == path.text() {
                path.invalid(errors, "must not already exist as a path in volumeMounts");
            }
        }
    }
}
