//! Namespace.
//!
//! Follows `pkg/registry/core/namespace`. A namespace is deleted in two steps: DELETE marks it as Terminating, and the
//! namespace controller empties it and then removes `kubernetes` from `spec.finalizers` through `/finalize`.

use skiff_apimachinery::field::{Error, ErrorList, Path};
use skiff_apimachinery::names;
use skiff_apimachinery::value::{Object, Value};

use crate::cacher::FieldSpec;
use crate::registry::at::At;
use crate::registry::strategy::{NameRule, Strategy, WriteScope, dns_label};

const FINALIZER: &str = "kubernetes";
const NAME_LABEL: &str = "kubernetes.io/metadata.name";

/// See the module.
pub struct NamespaceStrategy;

impl Strategy for NamespaceStrategy {
    fn set_defaults(&self, object: &mut Value) {
        name_label(object);
    }

    fn prepare_for_create(&self, _scope: WriteScope<'_>, object: &mut Value) {
        name_label(object);
        object.set_at(&["status", "phase"], "Active");
        if !has_finalizer(object) {
            let mut finalizers = object.array_at(&["spec", "finalizers"]).to_vec();
            finalizers.push(FINALIZER.into());
            object.set_at(&["spec", "finalizers"], finalizers);
        }
    }

    fn prepare_for_update(&self, scope: WriteScope<'_>, new: &mut Value, old: &Value) {
        name_label(new);
        if scope.subresource == "finalize" {
            return;
        }
        match old.at(&["spec", "finalizers"]) {
            Some(finalizers) => new.set_at(&["spec", "finalizers"], finalizers.clone()),
            None => drop(new.remove_at(&["spec", "finalizers"])),
        }
    }

    fn validate(&self, object: &Value) -> ErrorList {
        // Upstream says which one it is only to those who finalize.
        finalizers(object, |path, _| path.clone())
    }

    fn validate_update(&self, scope: WriteScope<'_>, new: &Value, _old: &Value) -> ErrorList {
        if scope.subresource == "finalize" { finalizers(new, Path::index) } else { self.validate(new) }
    }

    fn validate_status_update(&self, new: &Value, old: &Value) -> ErrorList {
        let mut errors = ErrorList::default();
        let (root, deleting) = (At::root(new), old.at(&["metadata", "deletionTimestamp"]).is_some());
        let status = root.child("status");
        let phase = status.child("phase");
        // Upstream's name of the field.
        let phase = phase.renamed("Phase");
        match (deleting, phase.text()) {
            (false, "Active" | "") | (true, "Terminating") => {}
            (false, _) => phase.invalid(&mut errors, "may only be 'Active' if `deletionTimestamp` is empty"),
            (true, _) => phase.invalid(&mut errors, "may only be 'Terminating' if `deletionTimestamp` is not empty"),
        }
        errors
    }

    fn name_rule(&self) -> NameRule {
        dns_label
    }

    fn selectable_fields(&self) -> Vec<FieldSpec> {
        vec![FieldSpec::new("status.phase")]
    }

    fn returns_deleted_object(&self) -> bool {
        true
    }

    fn has_other_finalizers(&self, object: &Value) -> bool {
        !object.array_at(&["spec", "finalizers"]).is_empty()
    }

    fn mark_deleting(&self, object: &mut Value) {
        object.set_at(&["status", "phase"], "Terminating");
        // Namespaces end when they are empty, not after a time.
        object.remove_at(&["metadata", "deletionGracePeriodSeconds"]);
    }
}

/// Validates the finalizers; `place` is where one of an index is reported.
fn finalizers(object: &Value, place: fn(&Path, usize) -> Path) -> ErrorList {
    let mut errors = ErrorList::default();
    let path = Path::new("spec").child("finalizers");
    for (index, finalizer) in object.array_at(&["spec", "finalizers"]).iter().enumerate() {
        let (path, finalizer) = (place(&path, index), finalizer.as_str().unwrap_or(""));
        for message in names::qualified_name(finalizer) {
            errors.push(Error::invalid(&path, finalizer, message));
        }
        if !finalizer.contains('/') && finalizer != FINALIZER {
            let message = "name is neither a standard finalizer name nor is it fully qualified";
            errors.push(Error::invalid(&path, finalizer, message));
        }
    }
    errors
}

fn has_finalizer(object: &Value) -> bool {
    object.array_at(&["spec", "finalizers"]).iter().any(|f| f.as_str() == Some(FINALIZER))
}

/// Every namespace carries its name as a label, so that selectors can name it.
fn name_label(object: &mut Value) {
    let name = object.str_at(&["metadata", "name"]).unwrap_or("").to_owned();
    if name.is_empty() {
        return;
    }
    let labels: &mut Object = object.object_at_mut(&["metadata", "labels"]);
    labels.insert(NAME_LABEL, name);
}
