//! PersistentVolume and PersistentVolumeClaim.
//!
//! Follows `pkg/registry/core/{persistentvolume,persistentvolumeclaim}` and their validation.

use skiff_apimachinery::field::ErrorList;
use skiff_apimachinery::value::Value;

use super::pod_defaults;
use super::validation::{formats, label_selector, resources};
use crate::cacher::FieldSpec;
use crate::registry::at::At;
use crate::registry::defaults::{absent, spec, text};
use crate::registry::strategy::{Strategy, WriteScope};

const ACCESS_MODES: &[&str] = &["ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod"];
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
    }

    fn validate(&self, object: &Value) -> ErrorList {
        let mut errors = ErrorList::default();
        let root = At::root(object);
        claim_spec(&root.child("spec"), &mut errors);
        errors
    }

    fn validate_update(&self, _scope: WriteScope<'_>, new: &Value, old: &Value) -> ErrorList {
        let mut errors = self.validate(new);
        let mut compared = new.get("spec").cloned().unwrap_or_default();
        let before = old.get("spec").cloned().unwrap_or_default();
        let bound = !old.str_at(&["spec", "volumeName"]).unwrap_or("").is_empty();
        let mut keep = |field: &str| match before.get(field) {
            Some(value) => compared.set_at(&[field], value.clone()),
            None => drop(compared.remove_at(&[field])),
        };
        if !bound {
            keep("volumeName");
        }
        keep("volumeAttributesClassName");
        if old.str_at(&["status", "phase"]) == Some("Bound") {
            keep("resources");
        }
        if compared != before {
            let root = At::root(new);
            root.child("spec").forbidden(
                &mut errors,
                "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims",
            );
        }
        shrinking(new, old, &mut errors);
        errors
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
        requests.forbidden(errors, "field can not be less than status.capacity");
    }
}

/// Validates a claim's spec.
pub fn claim_spec(spec: &At<'_>, errors: &mut ErrorList) {
    access_modes(&spec.child("accessModes"), errors);
    label_selector::validate(&spec.child("selector"), errors);
    let res = spec.child("resources");
    let requests = res.child("requests");
    let storage = requests.key("storage");
    match resources::quantity(&storage) {
        None => storage.required(errors, ""),
        Some(amount) if amount.milli_value() <= 0 => storage.invalid(errors, "must be greater than zero"),
        Some(_) => {}
    }
    let class = spec.child("storageClassName");
    if !class.is_empty() {
        formats::subdomain(&class, errors);
    }
    spec.child("volumeMode").if_set_one_of(errors, VOLUME_MODES);
}

fn access_modes(list: &At<'_>, errors: &mut ErrorList) {
    if list.is_empty() {
        return list.required(errors, "at least 1 access mode is required");
    }
    for mode in list.items() {
        mode.if_set_one_of(errors, ACCESS_MODES);
    }
    let single = list.items().any(|mode| mode.text() == "ReadWriteOncePod");
    if single && list.len() > 1 {
        list.forbidden(errors, "may not use ReadWriteOncePod with other access modes");
    }
}

/// PersistentVolume.
pub struct VolumeStrategy;

impl Strategy for VolumeStrategy {
    fn set_defaults(&self, object: &mut Value) {
        spec(object, |spec| {
            text(spec, "persistentVolumeReclaimPolicy", "Retain");
            absent(spec, "volumeMode", "Filesystem");
            crate::registry::defaults::within(spec, "hostPath", |source| absent(source, "type", ""));
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
        let root = At::root(object);
        let spec = root.child("spec");
        access_modes(&spec.child("accessModes"), &mut errors);
        let capacity = spec.child("capacity");
        if capacity.is_empty() {
            capacity.required(&mut errors, "");
        }
        for (name, value) in capacity.entries() {
            resources::quantity_value(name, &value, &mut errors);
        }
        let policy = spec.child("persistentVolumeReclaimPolicy");
        policy.if_set_one_of(&mut errors, &["Delete", "Recycle", "Retain"]);
        spec.child("volumeMode").if_set_one_of(&mut errors, VOLUME_MODES);
        errors
    }

    fn selectable_fields(&self) -> Vec<FieldSpec> {
        Vec::new()
    }

    fn returns_deleted_object(&self) -> bool {
        true
    }
}
