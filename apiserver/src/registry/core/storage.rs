//! PersistentVolume and PersistentVolumeClaim.
//!
//! Follows `pkg/registry/core/{persistentvolume,persistentvolumeclaim}` and their validation.

use skiff_apimachinery::field::{Error, ErrorList, Path};
use skiff_apimachinery::names;
use skiff_apimachinery::value::Value;

use super::pod_defaults;
use super::validation::volume_sources::{self, Place};
use super::validation::{formats, label_selector, resources, scheduling};
use crate::cacher::FieldSpec;
use crate::registry::at::At;
use crate::registry::defaults::{absent, spec, text};
use crate::registry::internal;
use crate::registry::strategy::{Strategy, WriteScope};

const CLASS_ANNOTATION: &str = "volume.beta.kubernetes.io/storage-class";
const ACCESS_MODES: &[&str] = &["ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod"];
const NOT_INLINE: &str = "may not be specified in the context of inline volumes";
const VOLUME_MODES: &[&str] = &["Block", "Filesystem"];

/// PersistentVolumeClaim.
pub struct ClaimStrategy;

impl Strategy for ClaimStrategy {
    fn set_defaults(&self, object: &mut Value) {
        spec(object, pod_defaults::claim_spec);
        text(object.object_at_mut(&["status"]), "phase", "Pending");
    }

    fn prepare_for_create(&self, _scope: WriteScope<'_>, object: &mut Value) {
        object.set_at(&["status", "phase"], "Pending");
        if object.str_at(&["spec", "dataSourceRef", "namespace"]).is_some_and(|namespace| !namespace.is_empty()) {
            // Sources in other namespaces are a feature that is off.
            object.remove_at(&["spec", "dataSourceRef"]);
        }
        data_sources(object);
    }

    fn validate(&self, object: &Value) -> ErrorList {
        let mut errors = ErrorList::default();
        let root = At::root(object);
        claim_spec(&root.child("spec"), &mut errors);
        errors
    }

    fn prepare_for_update(&self, _scope: WriteScope<'_>, new: &mut Value, _old: &Value) {
        data_sources(new);
    }

    fn validate_update(&self, _scope: WriteScope<'_>, new: &Value, old: &Value) -> ErrorList {
        let mut errors = self.validate(new);
        let mut compared = new.get("spec").cloned().unwrap_or_default();
        let mut before = old.get("spec").cloned().unwrap_or_default();
        if before.str_at(&["volumeName"]).unwrap_or("").is_empty() {
            put(&mut before, &["volumeName"], compared.get("volumeName").cloned());
        }
        class_change(new, old, &mut compared, &mut errors);
        if new.str_at(&["status", "phase"]) == Some("Bound") {
            let storage = ["resources", "requests", "storage"];
            put(&mut compared, &storage, before.at(&storage).cloned());
            put(&mut compared, &["volumeAttributesClassName"], before.get("volumeAttributesClassName").cloned());
        }
        let root = At::root(new);
        let spec = root.child("spec");
        if compared != before {
            let ty = "PersistentVolumeClaimSpec";
            let difference =
                internal::diff::unified(&internal::pretty(Some(&before), ty), &internal::pretty(Some(&compared), ty));
            let message = "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims";
            spec.forbidden(&mut errors, format!("{message}\n{difference}"));
        }
        shrinking(new, old, &mut errors);
        if new.at(&["spec", "volumeMode"]) != old.at(&["spec", "volumeMode"]) {
            let mode = new.at(&["spec", "volumeMode"]).cloned().unwrap_or_default();
            errors.push(Error::invalid(&Path::new("volumeMode"), mode, "field is immutable"));
        }
        errors
    }

    fn validate_status_update(&self, new: &Value, _old: &Value) -> ErrorList {
        let mut errors = ErrorList::default();
        let root = At::root(new);
        let capacity = root.child("status");
        for (_, amount) in capacity.child("capacity").entries() {
            if resources::quantity(&amount).is_some_and(|quantity| quantity.is_negative()) {
                let shown = Value::Raw(amount.text().into());
                errors.push(Error::invalid(&amount.path(), shown, "must be a valid resource quantity"));
            }
        }
        allocated(&capacity, &mut errors);
        errors
    }

    fn warnings(&self, new: &Value, _old: Option<&Value>) -> Vec<String> {
        let root = At::root(new);
        let mut warnings = Vec::new();
        let (metadata, spec) = (root.child("metadata"), root.child("spec"));
        let class = metadata.child("annotations");
        let class = class.key(CLASS_ANNOTATION);
        if class.is_set() {
            let text = "deprecated since v1.8; use \"storageClassName\" attribute instead";
            warnings.push(format!("{}: {text}", class.path()));
        }
        let (res, requests) = (spec.child("resources"), "requests");
        let requests = res.child(requests);
        let storage = requests.key("storage");
        if resources::quantity(&storage).is_some_and(|amount| amount.milli_value() % 1000 != 0) {
            let text = storage.text();
            warnings.push(format!("{}: fractional byte value {text:?} is invalid, must be an integer", storage.path()));
        }
        warnings
    }

    fn returns_deleted_object(&self) -> bool {
        true
    }
}

fn shrinking(new: &Value, old: &Value, errors: &mut ErrorList) {
    let (new, old) = (At::root(new), At::root(old));
    let (spec, before) = (new.child("spec"), old.child("spec"));
    let (res, res_before) = (spec.child("resources"), before.child("resources"));
    let (requests, requests_before) = (res.child("requests"), res_before.child("requests"));
    let (now, was) = (requests.key("storage"), requests_before.key("storage"));
    if let (Some(now_amount), Some(was_amount)) = (resources::quantity(&now), resources::quantity(&was))
        && now_amount < was_amount
    {
        let (status, capacity) = (old.child("status"), "capacity");
        let capacity = status.child(capacity);
        // What was never provided is nothing.
        if resources::quantity(&capacity.key("storage")).is_some_and(|provided| now_amount <= provided) {
            requests.child("storage").forbidden(errors, "field can not be less than status.capacity");
        }
    }
}

/// A claim's two fields for what it is filled with say the same; one that nothing can come from is dropped.
fn data_sources(claim: &mut Value) {
    let spec = claim.object_at_mut(&["spec"]);
    let known = |source: &Value| {
        let (group, kind) = (source.str_at(&["apiGroup"]).unwrap_or(""), source.str_at(&["kind"]).unwrap_or(""));
        matches!((group, kind), ("", "PersistentVolumeClaim") | ("snapshot.storage.k8s.io", "VolumeSnapshot"))
    };
    if spec.get("dataSourceRef").is_none() && spec.get("dataSource").is_some_and(|source| !known(source)) {
        spec.remove("dataSource");
    }
    match (spec.get("dataSource").cloned(), spec.get("dataSourceRef").cloned()) {
        (Some(source), None) => drop(spec.insert("dataSourceRef", source)),
        (None, Some(source)) if source.str_at(&["namespace"]).unwrap_or("").is_empty() => {
            spec.insert("dataSource", source);
        }
        _ => {}
    }
}

fn put(object: &mut Value, path: &[&str], value: Option<Value>) {
    match value {
        Some(value) => object.set_at(path, value),
        None => drop(object.remove_at(path)),
    }
}

/// Validates a claim's spec.
pub fn claim_spec(spec: &At<'_>, errors: &mut ErrorList) {
    access_modes(&spec.child("accessModes"), "at least 1 access mode is required", errors);
    label_selector::validate(&spec.child("selector"), errors);
    let res = spec.child("resources");
    let requests = res.child("requests");
    let storage = requests.key("storage");
    // Upstream leaves `requests` out of the path.
    let path = res.path().key("storage");
    match resources::quantity(&storage) {
        None => errors.push(Error::required(&path, "")),
        Some(amount) if amount.is_negative() || amount.is_zero() => {
            errors.push(Error::invalid(&path, storage.text(), "must be greater than zero"));
        }
        Some(_) => {}
    }
    for field in ["storageClassName", "volumeAttributesClassName"] {
        let class = spec.child(field);
        if field == "storageClassName" && !class.is_empty() {
            formats::subdomain(&class, errors);
        }
    }
    spec.child("volumeMode").if_set_one_of(errors, VOLUME_MODES);
    for field in ["dataSource", "dataSourceRef"] {
        data_source(&spec.child(field), errors);
    }
    let (source, reference) = (spec.child("dataSource"), spec.child("dataSourceRef"));
    let same = ["apiGroup", "kind", "name"].iter().all(|f| source.child(f).text() == reference.child(f).text());
    if source.is_set() && reference.is_set() && !same {
        errors.push(Error::invalid(&spec.path(), Value::Raw("{}".into()), "must match dataSourceRef"));
    }
    let class = spec.child("volumeAttributesClassName");
    if !class.is_empty() {
        formats::subdomain(&class, errors);
    }
}

fn data_source(at: &At<'_>, errors: &mut ErrorList) {
    if !at.is_set() {
        return;
    }
    at.child("name").require(errors);
    let (kind, group) = (at.child("kind"), at.child("apiGroup"));
    kind.require(errors);
    if group.is_empty() && kind.text() != "PersistentVolumeClaim" {
        let message = "must be 'PersistentVolumeClaim' when referencing the default apiGroup";
        errors.push(Error::invalid(&at.path(), kind.text(), message));
    }
    if !group.is_empty() {
        formats::subdomain(&group, errors);
    }
}

fn access_modes(list: &At<'_>, missing: &str, errors: &mut ErrorList) {
    if list.is_empty() {
        return list.required(errors, missing);
    }
    for mode in list.items().filter(|mode| !ACCESS_MODES.contains(&mode.text())) {
        errors.push(Error::not_supported(&list.path(), mode.text(), ACCESS_MODES));
    }
    let single = list.items().any(|mode| mode.text() == "ReadWriteOncePod");
    if single && list.items().any(|mode| mode.text() != "ReadWriteOncePod") {
        list.forbidden(errors, "may not use ReadWriteOncePod with other access modes");
    }
}

/// A claim without a class may be given one; one whose class is in the old annotation may say so in the field.
fn class_change(new: &Value, old: &Value, compared: &mut Value, errors: &mut ErrorList) {
    let annotation = |claim: &Value| claim.str_at(&["metadata", "annotations", CLASS_ANNOTATION]).map(str::to_owned);
    let class = |claim: &Value| claim.str_at(&["spec", "storageClassName"]).map(str::to_owned);
    let (now, before) = (annotation(new), annotation(old));
    let given = class(new).filter(|_| class(old).is_none());
    let moves = before.is_some() && given == before && now.as_ref().is_none_or(|now| Some(now) == before.as_ref());
    if !moves && now.clone().unwrap_or_default() != before.clone().unwrap_or_default() {
        let path = Path::new("metadata").child("annotations").child(CLASS_ANNOTATION);
        errors.push(Error::invalid(&path, now.unwrap_or_default(), "field is immutable"));
    }
    if given.is_some() && (before.is_none() || given == before) {
        compared.remove_at(&["storageClassName"]);
    }
}

/// States of a claim that grows.
const RESIZE_STATES: &[&str] = &[
    "ControllerResizeInProgress",
    "ControllerResizeInfeasible",
    "NodeResizeInProgress",
    "NodeResizeInfeasible",
    "NodeResizePending",
];

/// Validates what a claim that grows was given so far.
fn allocated(status: &At<'_>, errors: &mut ErrorList) {
    let storage_only = |name: &str, path: &Path, errors: &mut ErrorList| {
        let faults = names::qualified_name(name);
        if !faults.is_empty() {
            errors.extend(faults.into_iter().map(|fault| Error::invalid(path, name, fault)));
            return false;
        }
        let fits = name == "storage" || (name.contains('/') && !name.contains("kubernetes.io/"));
        if !fits {
            errors.push(Error::not_supported(path, name, &["storage"]));
        }
        fits
    };
    let states = status.child("allocatedResourceStatuses");
    for (name, state) in states.entries() {
        storage_only(name, &states.path(), errors);
        if !RESIZE_STATES.contains(&state.text()) {
            errors.push(Error::not_supported(&states.path(), name, RESIZE_STATES));
        }
    }
    let amounts = status.child("allocatedResources");
    for (name, amount) in amounts.entries() {
        if !storage_only(name, &amounts.path(), errors) {
            continue;
        }
        match resources::quantity(&amount) {
            Some(quantity) if quantity.is_negative() => {
                let shown = Value::Raw(amount.text().into());
                errors.push(Error::invalid(&amount.path(), shown, "must be a valid resource quantity"));
            }
            _ => resources::quantity_value("storage", &amount, errors),
        }
    }
}

/// PersistentVolume.
pub struct VolumeStrategy;

impl Strategy for VolumeStrategy {
    fn set_defaults(&self, object: &mut Value) {
        spec(object, |spec| {
            text(spec, "persistentVolumeReclaimPolicy", "Retain");
            absent(spec, "volumeMode", "Filesystem");
            pod_defaults::volume_source(spec);
        });
        text(object.object_at_mut(&["status"]), "phase", "Pending");
    }

    fn prepare_for_create(&self, _scope: WriteScope<'_>, object: &mut Value) {
        object.set_at(&["status", "phase"], "Pending");
        let now = skiff_apimachinery::time::format(jiff::Timestamp::now());
        object.set_at(&["status", "lastPhaseTransitionTime"], now);
    }

    /// A phase that changes gets its time, unless the client says one.
    fn prepare_for_status_update(&self, new: &mut Value, old: &Value) {
        const TIME: &[&str] = &["status", "lastPhaseTransitionTime"];
        const PHASE: &[&str] = &["status", "phase"];
        if new.at(PHASE) == old.at(PHASE) {
            return;
        }
        if new.at(TIME).is_none() || new.at(TIME) == old.at(TIME) {
            new.set_at(TIME, skiff_apimachinery::time::format(jiff::Timestamp::now()));
        }
    }

    fn validate(&self, object: &Value) -> ErrorList {
        let mut errors = ErrorList::default();
        volume_spec(&At::root(object).child("spec"), Inline::No, &mut errors);
        errors
    }

    fn validate_update(&self, _scope: WriteScope<'_>, new: &Value, old: &Value) -> ErrorList {
        let mut errors = self.validate(new);
        let mut compared = new.get("spec").cloned().unwrap_or_default();
        let before = old.get("spec").cloned().unwrap_or_default();
        if before.at(&["csi", "controllerExpandSecretRef"]).is_none() {
            compared.remove_at(&["csi", "controllerExpandSecretRef"]);
        }
        let ty = "PersistentVolumeSource";
        let (was, is) = (internal::pretty(Some(&before), ty), internal::pretty(Some(&compared), ty));
        if was != is {
            let difference = internal::diff::unified(&was, &is);
            let message = "spec.persistentvolumesource is immutable after creation";
            let path = Path::new("spec").child("persistentvolumesource");
            errors.push(Error::forbidden(&path, format!("{message}\n{difference}")));
        }
        if new.at(&["spec", "volumeMode"]) != old.at(&["spec", "volumeMode"]) {
            let mode = new.at(&["spec", "volumeMode"]).cloned().unwrap_or_default();
            errors.push(Error::invalid(&Path::new("volumeMode"), mode, "field is immutable"));
        }
        let affinity = ["spec", "nodeAffinity"];
        if old.at(&affinity).is_some() && new.at(&affinity) != old.at(&affinity) {
            let shown = internal::shown(new.at(&affinity), "*VolumeNodeAffinity");
            let message = "field is immutable, except for updating from beta label to GA";
            errors.push(Error::invalid(&Path::new("nodeAffinity"), shown, message));
        }
        errors
    }

    fn warnings(&self, new: &Value, _old: Option<&Value>) -> Vec<String> {
        let mut warnings = Vec::new();
        if new.str_at(&["spec", "persistentVolumeReclaimPolicy"]) == Some("Recycle") {
            warnings.push("spec.persistentVolumeReclaimPolicy: The Recycle reclaim policy is deprecated. Instead, the recommended approach is to use dynamic provisioning.".to_owned());
        }
        warnings.extend(super::pod_warnings::of_volume_source(&At::root(new).child("spec")));
        warnings
    }

    fn selectable_fields(&self) -> Vec<FieldSpec> {
        Vec::new()
    }

    fn returns_deleted_object(&self) -> bool {
        true
    }
}

/// Where a volume's spec is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Inline {
    /// In a PersistentVolume.
    No,
    /// In a VolumeAttachment.
    Yes,
}

/// Validates the spec of a PersistentVolume.
pub fn volume_spec(spec: &At<'_>, inline: Inline, errors: &mut ErrorList) {
    let capacity = spec.child("capacity");
    if inline == Inline::Yes {
        for field in ["claimRef", "capacity"] {
            if !spec.child(field).is_empty() || field == "claimRef" && spec.child(field).is_set() {
                spec.child(field).forbidden(errors, NOT_INLINE);
            }
        }
        if !spec.child("csi").is_set() {
            spec.child("csi").required(errors, "has to be specified in the context of inline volumes");
        }
    }
    access_modes(&spec.child("accessModes"), "", errors);
    if inline == Inline::No {
        if capacity.is_empty() {
            capacity.required(errors, "");
        }
        if capacity.entries().count() != 1 || !capacity.key("storage").is_set() {
            let shown = capacity.or_null().value().cloned().unwrap_or_default();
            errors.push(Error::not_supported(&capacity.path(), shown, &["storage"]));
        }
        for (name, value) in capacity.entries() {
            resources::quantity_value(name, &value, errors);
            if resources::quantity(&value).is_some_and(|amount| amount.is_negative() || amount.is_zero()) {
                value.invalid(errors, "must be greater than zero");
            }
        }
        if !spec.child("persistentVolumeReclaimPolicy").is_empty() {
            let policy = spec.child("persistentVolumeReclaimPolicy");
            policy.if_set_one_of(errors, &["Delete", "Recycle", "Retain"]);
        }
    } else {
        let policy = spec.child("persistentVolumeReclaimPolicy");
        if !matches!(policy.text(), "" | "Retain") {
            policy.forbidden(errors, "may only be Retain in the context of inline volumes");
        }
    }
    let affinity = spec.child("nodeAffinity");
    if affinity.is_set() && inline == Inline::Yes {
        affinity.forbidden(errors, NOT_INLINE);
    } else if affinity.is_set() {
        let required = affinity.child("required");
        if required.is_set() {
            scheduling::node_selector(&required, errors);
        } else {
            required.required(errors, "must specify required node constraints");
        }
    }
    volume_source(spec, errors);
    let (class, mode) = (spec.child("storageClassName"), spec.child("volumeMode"));
    if inline == Inline::Yes {
        if !class.is_empty() {
            class.forbidden(errors, NOT_INLINE);
        }
        if mode.is_set() && mode.text() != "Filesystem" {
            let message = "may not specify volumeMode other than Filesystem in the context of inline volumes";
            mode.forbidden(errors, message);
        }
    } else {
        if !class.is_empty() {
            formats::subdomain(&class, errors);
        }
        mode.if_set_one_of(errors, VOLUME_MODES);
    }
    let attributes = spec.child("volumeAttributesClassName");
    if attributes.is_set() {
        if attributes.is_empty() {
            attributes.required(errors, "an empty string is disallowed");
        } else {
            formats::subdomain(&attributes, errors);
        }
        if !spec.child("csi").is_set() {
            spec.child("csi").required(errors, "has to be specified when using volumeAttributesClassName");
        }
    }
}

/// Sources in upstream's order; of several, all but the first are too many.
const SOURCES: &[&str] = &[
    "hostPath",
    "gcePersistentDisk",
    "awsElasticBlockStore",
    "glusterfs",
    "flocker",
    "nfs",
    "rbd",
    "quobyte",
    "cephfs",
    "iscsi",
    "cinder",
    "fc",
    "flexVolume",
    "azureFile",
    "vsphereVolume",
    "photonPersistentDisk",
    "portworxVolume",
    "azureDisk",
    "scaleIO",
    "local",
    "storageos",
    "csi",
];

fn volume_source(spec: &At<'_>, errors: &mut ErrorList) {
    let mut given = SOURCES.iter().filter(|kind| spec.child(kind).is_set());
    let Some(kind) = given.next() else {
        return spec.required(errors, "must specify a volume type");
    };
    let at = spec.child(kind);
    match *kind {
        "hostPath" => {
            let path = at.child("path");
            if path.require(errors) {
                formats::no_backsteps(&path, errors);
            }
            let root = path.text().split('/').all(|part| matches!(part, "" | "."));
            let policy = spec.child("persistentVolumeReclaimPolicy");
            if root && !path.is_empty() && policy.text() == "Recycle" {
                policy.forbidden(errors, "may not be 'recycle' for a hostPath mount of '/'");
            }
        }
        "local" => {
            let path = at.child("path");
            if path.require(errors) {
                formats::no_backsteps(&path, errors);
            }
            if !spec.child("nodeAffinity").is_set() {
                spec.child("nodeAffinity").required(errors, "Local volume requires node affinity");
            }
        }
        kind => volume_sources::validate(kind, &at, Place::PersistentVolume, errors),
    }
    for kind in given {
        spec.child(kind).forbidden(errors, "may not specify more than 1 volume type");
    }
}
