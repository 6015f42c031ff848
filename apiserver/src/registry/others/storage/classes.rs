//! StorageClass, VolumeAttributesClass and CSIStorageCapacity: what storage there is.

use std::collections::{BTreeMap, BTreeSet};

use skiff_apimachinery::field::{Error, ErrorList};
use skiff_apimachinery::names;
use skiff_apimachinery::value::Value;

use crate::registry::at::At;
use crate::registry::core::node_labels;
use crate::registry::core::validation::{formats, label_selector, resources};
use crate::registry::defaults::absent;
use crate::registry::strategy::{Strategy, WriteScope};

/// Parameters that a class may have, and bytes that they may have together.
const MAX_PARAMETERS: usize = 512;
const MAX_PARAMETER_BYTES: usize = 256 * 1024;

/// StorageClass.
pub struct StorageClassStrategy;

impl Strategy for StorageClassStrategy {
    fn set_defaults(&self, object: &mut Value) {
        let class = object.object_at_mut(&[]);
        absent(class, "reclaimPolicy", "Delete");
        absent(class, "volumeBindingMode", "Immediate");
    }

    fn validate(&self, object: &Value) -> ErrorList {
        let mut errors = ErrorList::default();
        let root = At::root(object);
        provisioner(&root.child("provisioner"), &mut errors);
        parameters(&root.child("parameters"), &mut errors);
        let policy = root.child("reclaimPolicy");
        if !policy.is_empty() {
            policy.if_set_one_of(&mut errors, &["Delete", "Retain"]);
        }
        root.child("volumeBindingMode").if_set_one_of(&mut errors, &["Immediate", "WaitForFirstConsumer"]);
        topologies(&root.child("allowedTopologies"), &mut errors);
        errors
    }

    fn validate_update(&self, _scope: WriteScope<'_>, new: &Value, old: &Value) -> ErrorList {
        let mut errors = self.validate(new);
        let (new, old) = (At::root(new), At::root(old));
        new.child("parameters").or_null().immutable(&mut errors, &old.child("parameters").or_null());
        for field in ["provisioner", "reclaimPolicy", "volumeBindingMode"] {
            new.child(field).immutable(&mut errors, &old.child(field));
        }
        errors
    }

    fn warnings(&self, new: &Value, _old: Option<&Value>) -> Vec<String> {
        let root = At::root(new);
        let mut warnings = Vec::new();
        for term in root.child("allowedTopologies").items() {
            for expression in term.child("matchLabelExpressions").items() {
                let key = expression.child("key");
                warnings.extend(node_labels::deprecation(key.text()).map(|text| format!("{}: {text}", key.path())));
            }
        }
        warnings
    }

    fn returns_deleted_object(&self) -> bool {
        true
    }
}

fn provisioner(at: &At<'_>, errors: &mut ErrorList) {
    if at.require(errors) {
        let name = at.text().to_lowercase();
        for message in names::qualified_name(&name) {
            errors.push(Error::invalid(&at.path(), name.as_str(), message));
        }
    }
}

fn parameters(at: &At<'_>, errors: &mut ErrorList) {
    let mut bytes = 0;
    let entries = at.entries().count();
    if entries > MAX_PARAMETERS {
        return at.too_long(errors, MAX_PARAMETERS);
    }
    for (key, value) in at.entries() {
        if key.is_empty() {
            errors.push(Error::invalid(&at.path(), key, "field can not be empty."));
        }
        bytes += key.len() + value.text().len();
    }
    if bytes > MAX_PARAMETER_BYTES {
        at.too_long(errors, MAX_PARAMETER_BYTES);
    }
}

fn topologies(list: &At<'_>, errors: &mut ErrorList) {
    let mut seen: Vec<BTreeMap<String, BTreeSet<String>>> = Vec::new();
    for term in list.items() {
        let mut raw = BTreeMap::new();
        let expressions = term.child("matchLabelExpressions");
        for expression in expressions.items() {
            let (key, values) = (expression.child("key"), expression.child("values"));
            values.require(errors);
            let mut set = BTreeSet::new();
            for value in values.items() {
                if !set.insert(value.text().to_owned()) {
                    value.duplicate(errors);
                }
            }
            label_selector::label_name(&key, errors);
            if raw.insert(key.text().to_owned(), set).is_some() {
                key.duplicate(errors);
            }
        }
        // Upstream begins with as many empty terms as there are terms; an empty one is the same as each of these.
        let presumed = if raw.is_empty() { list.len() } else { 0 };
        for _ in 0..presumed + seen.iter().filter(|other| **other == raw).count() {
            errors.push(Error::duplicate(&expressions.path(), ""));
        }
        seen.push(raw);
    }
}

/// VolumeAttributesClass.
pub struct VolumeAttributesClassStrategy;

impl Strategy for VolumeAttributesClassStrategy {
    fn validate(&self, object: &Value) -> ErrorList {
        let mut errors = ErrorList::default();
        let root = At::root(object);
        provisioner(&root.child("driverName"), &mut errors);
        let given = root.child("parameters");
        parameters(&given, &mut errors);
        if given.is_empty() {
            given.required(&mut errors, "must contain at least one key/value pair");
        }
        errors
    }

    fn validate_update(&self, _scope: WriteScope<'_>, new: &Value, old: &Value) -> ErrorList {
        let mut errors = ErrorList::default();
        let root = At::root(new);
        for field in ["driverName", "parameters"] {
            if new.get(field) != old.get(field) {
                root.child(field).forbidden(&mut errors, format!("updates to {field} are forbidden."));
            }
        }
        errors.extend(self.validate(new));
        errors
    }

    fn returns_deleted_object(&self) -> bool {
        true
    }
}

/// CSIStorageCapacity.
pub struct StorageCapacityStrategy;

impl Strategy for StorageCapacityStrategy {
    fn validate(&self, object: &Value) -> ErrorList {
        let mut errors = ErrorList::default();
        let root = At::root(object);
        label_selector::validate(&root.child("nodeTopology"), &mut errors);
        formats::subdomain(&root.child("storageClassName"), &mut errors);
        resources::not_negative(&root.child("capacity"), &mut errors);
        errors
    }

    fn validate_update(&self, _scope: WriteScope<'_>, new: &Value, old: &Value) -> ErrorList {
        let mut errors = self.validate(new);
        let (new, old) = (At::root(new), At::root(old));
        new.child("nodeTopology").immutable_as("*LabelSelector", &mut errors, &old.child("nodeTopology"));
        new.child("storageClassName").immutable(&mut errors, &old.child("storageClassName"));
        errors
    }

    fn warnings(&self, new: &Value, _old: Option<&Value>) -> Vec<String> {
        let root = At::root(new);
        node_labels::selector_deprecations(&root.child("nodeTopology"))
    }

    fn allow_unconditional_update(&self) -> bool {
        false
    }
}
