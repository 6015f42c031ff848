//! Storage that volumes of pods and PersistentVolumes have in common.
//!
//! Follows the `validate*VolumeSource` functions of `pkg/apis/core/validation`.

use skiff_apimachinery::field::{Error, ErrorList};

use super::formats;
use crate::registry::at::At;

/// Where a source is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// In a pod: secrets are in its namespace.
    Pod,
    /// In a PersistentVolume: secrets name their namespace.
    PersistentVolume,
}

/// Kinds and the fields that they require.
const REQUIRED: &[(&str, &[&str])] = &[
    ("awsElasticBlockStore", &["volumeID"]),
    ("azureDisk", &["diskName", "diskURI"]),
    ("azureFile", &["secretName", "shareName"]),
    ("cephfs", &["monitors"]),
    ("cinder", &["volumeID"]),
    ("csi", &["driver"]),
    ("fc", &[]),
    ("flexVolume", &["driver"]),
    ("flocker", &[]),
    ("gcePersistentDisk", &["pdName"]),
    ("gitRepo", &["repository"]),
    ("glusterfs", &["endpoints", "path"]),
    ("image", &[]),
    ("iscsi", &["targetPortal"]),
    ("nfs", &["server", "path"]),
    ("persistentVolumeClaim", &["claimName"]),
    ("photonPersistentDisk", &["pdID"]),
    ("portworxVolume", &["volumeID"]),
    ("quobyte", &[]),
    ("rbd", &["monitors", "image"]),
    ("scaleIO", &["gateway", "system", "volumeName"]),
    ("storageos", &["volumeName"]),
    ("vsphereVolume", &["volumePath"]),
];

/// Whether [`validate`] knows the kind.
pub fn is_known(kind: &str) -> bool {
    REQUIRED.iter().any(|(known, _)| *known == kind)
}

/// Validates a source of this kind.
pub fn validate(kind: &str, at: &At<'_>, place: Place, errors: &mut ErrorList) {
    // Upstream calls one by an older name.
    let renamed = (kind == "gcePersistentDisk").then(|| at.renamed("persistentDisk"));
    let at = renamed.as_ref().unwrap_or(at);
    for field in REQUIRED.iter().filter(|(known, _)| *known == kind).flat_map(|(_, fields)| *fields) {
        at.child(field).require(errors);
    }
    match kind {
        "awsElasticBlockStore" | "gcePersistentDisk" => {
            let partition = at.child("partition");
            if partition.int().is_some_and(|n| !(0..=255).contains(&n)) {
                partition.invalid(errors, "must be between 1 and 255, inclusive");
            }
        }
        "azureDisk" => azure_disk(at, errors),
        "azureFile" if at.child("secretNamespace").is_set() => drop(at.child("secretNamespace").require(errors)),
        "cinder" | "storageos" => secret(&at.child("secretRef"), place, errors),
        "csi" => csi(at, place, errors),
        "fc" => fibre_channel(at, errors),
        "flexVolume" => flex(at, errors),
        "flocker" => flocker(at, errors),
        "gitRepo" if at.child("directory").text().starts_with('/') => {
            at.child("directory").invalid(errors, "must be a relative path");
        }
        "gitRepo" => formats::no_backsteps(&at.child("directory"), errors),
        "image" => image(at, errors),
        "iscsi" => iscsi(at, place, errors),
        "nfs" if !at.child("path").text().starts_with('/') => {
            at.child("path").invalid(errors, "must be an absolute path")
        }
        "quobyte" => quobyte(at, errors),
        _ => {}
    }
    if kind == "storageos" && !at.child("volumeName").is_empty() {
        formats::label(&at.child("volumeName"), errors);
    }
}

fn secret(at: &At<'_>, place: Place, errors: &mut ErrorList) {
    if !at.is_set() {
        return;
    }
    at.child("name").require(errors);
    if place == Place::PersistentVolume {
        at.child("namespace").require(errors);
    }
}

fn azure_disk(at: &At<'_>, errors: &mut ErrorList) {
    const BLOB: &str = "https://{account-name}.blob.core.windows.net/{container-name}/{disk-name}.vhd";
    const MANAGED: &str =
        "/subscriptions/{sub-id}/resourcegroups/{group-name}/providers/microsoft.compute/disks/{disk-id}";
    at.child("cachingMode").if_set_one_of(errors, &["None", "ReadOnly", "ReadWrite"]);
    let (kind, uri) = (at.child("kind"), at.child("diskURI"));
    kind.if_set_one_of(errors, &["Dedicated", "Managed", "Shared"]);
    if kind.text() == "Managed" && !uri.text().starts_with("/subscriptions/") {
        uri.not_supported(errors, &[MANAGED]);
    } else if kind.is_set() && kind.text() != "Managed" && !uri.text().starts_with("https://") {
        uri.not_supported(errors, &[BLOB]);
    }
}

fn csi(at: &At<'_>, place: Place, errors: &mut ErrorList) {
    driver_name(&at.child("driver"), errors);
    if place == Place::Pod {
        let reference = at.child("nodePublishSecretRef");
        if reference.is_set() && reference.child("name").is_empty() {
            errors.push(Error::required(&reference.path().child("name"), ""));
        }
        return;
    }
    at.child("volumeHandle").require(errors);
    for field in
        ["controllerPublishSecretRef", "controllerExpandSecretRef", "nodePublishSecretRef", "nodeExpandSecretRef"]
    {
        secret(&at.child(field), place, errors);
    }
}

/// Validates the name of a CSI driver, if there is one.
pub fn driver_name(at: &At<'_>, errors: &mut ErrorList) {
    const MAX: usize = 63;
    if at.text().len() > MAX {
        at.too_long(errors, MAX);
    }
    if !at.is_empty() {
        at.messages(errors, skiff_apimachinery::names::dns1123_subdomain(&at.text().to_lowercase()));
    }
}

fn fibre_channel(at: &At<'_>, errors: &mut ErrorList) {
    let (wwns, wwids, lun) = (at.child("targetWWNs"), at.child("wwids"), at.child("lun"));
    if wwns.is_empty() && wwids.is_empty() {
        wwns.required(errors, "must specify either targetWWNs or wwids, but not both");
    }
    if !wwns.is_empty() && !wwids.is_empty() {
        wwns.invalid(errors, "targetWWNs and wwids can not be specified simultaneously");
    }
    if !wwns.is_empty() {
        match lun.int() {
            None => lun.required(errors, "lun is required if targetWWNs is specified"),
            Some(number) => logical_unit(&lun, number, errors),
        }
    }
}

fn logical_unit(at: &At<'_>, number: i64, errors: &mut ErrorList) {
    if !(0..=255).contains(&number) {
        at.invalid(errors, "must be between 0 and 255, inclusive");
    }
}

fn flex(at: &At<'_>, errors: &mut ErrorList) {
    let options = at.child("options");
    for (key, option) in options.entries() {
        let domain = key.split_once('/').map_or("", |(domain, _)| domain);
        let normalized = format!(".{}", domain.to_lowercase());
        if normalized.ends_with(".kubernetes.io") || normalized.ends_with(".k8s.io") {
            let message = "kubernetes.io and k8s.io namespaces are reserved";
            errors.push(Error::invalid(&option.path(), key, message));
        }
    }
}

fn flocker(at: &At<'_>, errors: &mut ErrorList) {
    let (name, uuid) = (at.child("datasetName"), at.child("datasetUUID"));
    match (name.is_empty(), uuid.is_empty()) {
        (true, true) => at.required(errors, "one of datasetName and datasetUUID is required"),
        (false, false) => {
            let message = "datasetName and datasetUUID can not be specified simultaneously";
            errors.push(Error::invalid(&at.path(), "resource", message));
        }
        _ => {}
    }
    if name.text().contains('/') {
        name.invalid(errors, "must not contain '/'");
    }
}

fn image(at: &At<'_>, errors: &mut ErrorList) {
    let reference = at.child("reference");
    if reference.is_empty() {
        reference.required(errors, "");
    }
    let policy = at.child("pullPolicy");
    if !policy.is_empty() {
        policy.if_set_one_of(errors, &["Always", "IfNotPresent", "Never"]);
    }
}

fn iscsi(at: &At<'_>, place: Place, errors: &mut ErrorList) {
    const PREFIXES: [&str; 3] = ["iqn", "eui", "naa"];
    let detail = if place == Place::Pod {
        "must be valid format starting with iqn, eui, or naa"
    } else {
        "must be valid format"
    };
    let check = |at: &At<'_>, errors: &mut ErrorList| {
        if !PREFIXES.iter().any(|prefix| at.text().starts_with(prefix)) {
            at.invalid(errors, detail);
        } else if !is_iscsi_name(at.text()) {
            at.invalid(errors, "must be valid format");
        }
    };
    let (name, lun) = (at.child("iqn"), at.child("lun"));
    if name.require(errors) {
        check(&name, errors);
    }
    logical_unit(&lun, lun.int().unwrap_or(0), errors);
    let reference = at.child("secretRef");
    if (at.child("chapAuthDiscovery").flag() || at.child("chapAuthSession").flag()) && !reference.is_set() {
        reference.required(errors, "");
    }
    if place == Place::PersistentVolume && reference.is_set() {
        reference.child("name").require(errors);
    }
    let initiator = at.child("initiatorName");
    if initiator.is_set() {
        check(&initiator.renamed("initiatorname"), errors);
    }
}

/// `iqn.YYYY-MM.domain[:name]`, `eui.` and 16 hexadecimal digits, or `naa.` and 32 at most.
fn is_iscsi_name(text: &str) -> bool {
    let hex = |digits: &str| digits.chars().all(|c| c.is_ascii_hexdigit());
    match text.split_once('.') {
        Some(("eui", digits)) => digits.len() == 16 && hex(digits),
        Some(("naa", digits)) => matches!(digits.len(), 16 | 32) && hex(digits),
        Some(("iqn", rest)) => {
            let (date, name) = rest.split_once('.').unwrap_or((rest, ""));
            let (year, month) = date.split_once('-').unwrap_or((date, ""));
            let digits = |text: &str, length| text.len() == length && text.chars().all(|c| c.is_ascii_digit());
            let (domain, own) = name.split_once(':').map_or((name, None), |(domain, own)| (domain, Some(own)));
            let domain_ok = !domain.is_empty()
                && domain.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '.' | '-'));
            digits(year, 4) && digits(month, 2) && domain_ok && own.is_none_or(|own| !own.is_empty())
        }
        _ => false,
    }
}

fn quobyte(at: &At<'_>, errors: &mut ErrorList) {
    const PAIR: &str = "must be a host:port pair or multiple pairs separated by commas";
    const MAX_TENANT: usize = 64;
    let (registry, tenant) = (at.child("registry"), at.child("tenant"));
    if registry.is_empty() {
        registry.required(errors, PAIR);
    } else if tenant.text().len() > MAX_TENANT {
        tenant.required(errors, "must be a UUID and may not exceed a length of 64 characters");
    } else {
        for pair in registry.text().split(',') {
            if !pair.contains(':') {
                registry.invalid(errors, PAIR);
            }
        }
    }
    at.child("volume").require(errors);
}
