//! Node.
//!
//! Follows `pkg/registry/core/node` and `ValidateNode`.

use std::collections::HashSet;

use skiff_apimachinery::field::{Error, ErrorList, Path};
use skiff_apimachinery::value::Value;
use skiff_apimachinery::{json, names};

use super::validation::{ip, resources, scheduling};
use crate::cacher::FieldSpec;
use crate::registry::at::At;
use crate::registry::internal;
use crate::registry::strategy::{Strategy, WriteScope};

/// Longest name of a feature that a node declares.
const MAX_FEATURE_NAME: usize = 253;

/// See the module.
pub struct NodeStrategy;

impl Strategy for NodeStrategy {
    fn set_defaults(&self, object: &mut Value) {
        if object.at(&["status", "allocatable"]).is_none()
            && let Some(capacity) = object.at(&["status", "capacity"]).cloned()
        {
            object.set_at(&["status", "allocatable"], capacity);
        }
        // The older field is the first entry of the newer one.
        let cidr = object.str_at(&["spec", "podCIDR"]).unwrap_or("").to_owned();
        let first = object.array_at(&["spec", "podCIDRs"]).first().and_then(Value::as_str).unwrap_or("").to_owned();
        if !cidr.is_empty() && first != cidr {
            object.set_at(&["spec", "podCIDRs"], vec![Value::from(cidr)]);
        } else if cidr.is_empty() && !first.is_empty() {
            object.set_at(&["spec", "podCIDR"], first);
        }
    }

    fn prepare_for_create(&self, _scope: WriteScope<'_>, object: &mut Value) {
        drop_old_config(object, &Value::Null, &["spec", "configSource"]);
        drop_old_config(object, &Value::Null, &["status", "config"]);
    }

    fn prepare_for_update(&self, _scope: WriteScope<'_>, new: &mut Value, old: &Value) {
        drop_old_config(new, old, &["spec", "configSource"]);
    }

    fn prepare_for_status_update(&self, new: &mut Value, old: &Value) {
        drop_old_config(new, old, &["status", "config"]);
    }

    fn validate(&self, object: &Value) -> ErrorList {
        let mut errors = ErrorList::default();
        let root = At::root(object);
        let spec = root.child("spec");
        annotations(&root, &mut errors);
        taints(&spec.child("taints"), &mut errors);
        status_resources(&root, &mut errors);
        swap(&root, &mut errors);
        declared_features(&root, &mut errors);
        cidrs(&spec, &mut errors);
        errors
    }

    fn validate_update(&self, _scope: WriteScope<'_>, new: &Value, old: &Value) -> ErrorList {
        let mut errors = self.validate(new);
        changes(new, old, &mut errors);
        errors
    }

    fn validate_status_update(&self, new: &Value, old: &Value) -> ErrorList {
        let mut errors = ErrorList::default();
        changes(new, old, &mut errors);
        errors
    }

    fn warnings(&self, new: &Value, _old: Option<&Value>) -> Vec<String> {
        let mut warnings = Vec::new();
        let root = At::root(new);
        let spec = root.child("spec");
        if spec.child("configSource").is_set() {
            warnings.push("spec.configSource: the feature is removed".to_owned());
        }
        if !spec.child("externalID").is_empty() {
            warnings.push("spec.externalID: this field is deprecated, and is unused by Kubernetes".to_owned());
        }
        for cidr in spec.child("podCIDRs").items() {
            warnings.extend(ip::cidr_warnings(&cidr.path(), cidr.text()));
        }
        warnings
    }

    fn keeps_status_on_create(&self) -> bool {
        true
    }

    fn selectable_fields(&self) -> Vec<FieldSpec> {
        vec![FieldSpec::at("spec.unschedulable", &["spec.unschedulable"], "false")]
    }
}

/// Drops what configured kubelets once, unless it was there before.
fn drop_old_config(new: &mut Value, old: &Value, steps: &[&str]) {
    if old.at(steps).is_none() {
        new.remove_at(steps);
    }
}

/// Validates what changed (`ValidateNodeUpdate` upstream).
fn changes(new: &Value, old: &Value, errors: &mut ErrorList) {
    let (new, old) = (At::root(new), At::root(old));
    let (spec, before) = (new.child("spec"), old.child("spec"));
    annotations(&new, errors);
    status_resources(&new, errors);
    declared_features(&new, errors);
    let status = new.child("status");
    let mut seen = HashSet::new();
    for address in status.child("addresses").items() {
        let key = (address.child("type").text().to_owned(), address.child("address").text().to_owned());
        if !seen.insert(key) {
            errors.push(Error::duplicate(&address.path(), internal::shown(address.value(), "NodeAddress")));
        }
    }
    let (cidrs, cidrs_before) = (spec.child("podCIDRs"), before.child("podCIDRs"));
    let changed = cidrs.texts().iter().zip(cidrs_before.texts()).filter(|(now, before)| *now != before).count();
    let changed = if cidrs.len() == cidrs_before.len() { changed } else { usize::from(!cidrs_before.is_empty()) };
    for _ in 0..changed {
        cidrs.forbidden(errors, "node updates may not change podCIDR except from \"\" to valid");
    }
    let (provider, provider_before) = (spec.child("providerID"), before.child("providerID"));
    if !provider_before.is_empty() && provider.text() != provider_before.text() {
        provider.forbidden(errors, "node updates may not change providerID except from \"\" to valid");
    }
    taints(&spec.child("taints"), errors);
    if spec.child("externalID").text() != before.child("externalID").text() {
        spec.child("externalID").forbidden(errors, "may not be updated");
    }
}

/// Validates the annotation by which nodes once asked for pods to go elsewhere.
fn annotations(root: &At<'_>, errors: &mut ErrorList) {
    const AVOID_PODS: &str = "scheduler.alpha.kubernetes.io/preferAvoidPods";
    let metadata = root.child("metadata");
    let annotations = metadata.child("annotations");
    let text = annotations.key(AVOID_PODS).text();
    if text.is_empty() {
        return;
    }
    let path = annotations.path();
    let avoided = match json::parse(text.as_bytes()) {
        Ok(avoided) => avoided,
        Err(error) => return errors.push(Error::invalid(&path.child("AvoidPods"), AVOID_PODS, error.to_string())),
    };
    for (index, entry) in avoided.array_at(&["preferAvoidPods"]).iter().enumerate() {
        let path = path.child(AVOID_PODS).index(index).child("PodSignature");
        match entry.at(&["podSignature", "podController"]) {
            None => errors.push(Error::required(&path, "")),
            Some(owner) if owner.bool_at(&["controller"]) != Some(true) => {
                let path = path.child("PodController").child("Controller");
                errors.push(Error::invalid(&path, false, "must point to a controller"));
            }
            Some(_) => {}
        }
    }
}

/// Validates taints. Upstream reports them at a place in `metadata`.
fn taints(list: &At<'_>, errors: &mut ErrorList) {
    let mut seen = HashSet::new();
    for (index, taint) in list.items().enumerate() {
        let path = Path::new("metadata").child("taints").index(index);
        let (key, value, effect) = (taint.child("key"), taint.child("value"), taint.child("effect"));
        for fault in names::qualified_name(key.text()) {
            errors.push(Error::invalid(&path.child("key"), key.text(), fault));
        }
        let faults = names::label_value(value.text());
        if !faults.is_empty() {
            errors.push(Error::invalid(&path.child("value"), value.text(), faults.join(";")));
        }
        if effect.is_empty() {
            errors.push(Error::required(&path.child("effect"), ""));
        } else if !scheduling::TAINT_EFFECTS.contains(&effect.text()) {
            errors.push(Error::not_supported(&path.child("effect"), effect.text(), scheduling::TAINT_EFFECTS));
        }
        if !seen.insert((key.text().to_owned(), effect.text().to_owned())) {
            let mut error = Error::duplicate(&path, internal::shown(taint.value(), "Taint"));
            error.detail = "taints must be unique by key and effect pair".to_owned();
            errors.push(error);
        }
    }
}

/// Validates the size of the swap space, which upstream reports at a place in `metadata`.
fn swap(root: &At<'_>, errors: &mut ErrorList) {
    let status = root.child("status");
    let info = status.child("nodeInfo");
    let capacity = info.child("swap").child("capacity").int();
    if let Some(capacity) = capacity.filter(|capacity| *capacity <= 0) {
        let path = Path::new("metadata").child("nodeSwapStatus").child("capacity");
        errors.push(Error::invalid(&path, capacity, "must be greater than zero"));
    }
}

/// Validates the names of what a node can do, which are sorted.
fn declared_features(root: &At<'_>, errors: &mut ErrorList) {
    let status = root.child("status");
    let features = status.child("declaredFeatures");
    let mut before: Option<At<'_>> = None;
    for feature in features.items() {
        if let Some(before) = &before {
            if before.text() == feature.text() {
                feature.duplicate(errors);
            } else if before.text() > feature.text() {
                feature.invalid(errors, "list must be sorted alphabetically");
            }
        }
        let name = feature.text();
        if name.len() > MAX_FEATURE_NAME {
            let text = format!("invalid feature name {name:?}: must be no more than {MAX_FEATURE_NAME} characters");
            feature.invalid(errors, text);
        } else if !is_feature_name(name) {
            let text = format!(
                "invalid feature name {name:?}: must start with an UpperCamelCase segment, with subsequent segments separated by '/' (e.g., MyFeature or MyFeature/mySubFeature), and contain only alphanumeric characters and slashes"
            );
            feature.invalid(errors, text);
        }
        before = Some(feature);
    }
}

fn is_feature_name(name: &str) -> bool {
    let segment = |segment: &str| {
        segment.starts_with(|c: char| c.is_ascii_alphabetic()) && segment.bytes().all(|c| c.is_ascii_alphanumeric())
    };
    name.starts_with(|c: char| c.is_ascii_uppercase()) && name.split('/').all(segment)
}

fn cidrs(spec: &At<'_>, errors: &mut ErrorList) {
    let list = spec.child("podCIDRs");
    for cidr in list.items() {
        ip::legacy_cidr(&cidr.path(), cidr.text(), &[], errors);
    }
    if list.len() < 2 {
        return;
    }
    let both = ip::both_families(&list.texts());
    if let Err(index) = both {
        let text = list.index(index).text();
        let text = format!(
            "invalid PodCIDRs. failed to check with dual stack with error:invalid CIDR[{index}]: <nil> (invalid CIDR address: {text})"
        );
        errors.push(Error::internal(&list.path(), text));
    }
    if both != Ok(true) || list.len() > 2 {
        list.invalid(errors, "may specify no more than one CIDR for each IP family");
    }
}

fn status_resources(root: &At<'_>, errors: &mut ErrorList) {
    let status = root.child("status");
    for field in ["capacity", "allocatable"] {
        let list = status.child(field);
        for (name, _) in list.entries() {
            // Upstream's path has the name like a field.
            resources::quantity_value(name, &list.child(name), errors);
        }
    }
}
