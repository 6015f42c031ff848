//! ResourceClaim and ResourceClaimTemplate.

use skiff_apimachinery::field::{ErrorList, Path};
use skiff_apimachinery::value::Value;

use super::{claim, status};
use crate::registry::at::At;
use crate::registry::object_meta;
use crate::registry::strategy::{Strategy, WriteScope};

/// ResourceClaim.
pub struct ClaimStrategy;

impl Strategy for ClaimStrategy {
    fn set_defaults(&self, object: &mut Value) {
        claim::set_defaults(object.object_at_mut(&["spec"]));
    }

    fn validate(&self, object: &Value) -> ErrorList {
        let mut errors = ErrorList::default();
        claim::spec(&At::root(object).child("spec"), &mut errors);
        errors
    }

    fn validate_update(&self, _scope: WriteScope<'_>, new: &Value, old: &Value) -> ErrorList {
        let mut errors = ErrorList::default();
        let (new, old) = (At::root(new), At::root(old));
        new.child("spec").immutable_as("ResourceClaimSpec", &mut errors, &old.child("spec"));
        errors
    }

    fn prepare_for_status_update(&self, new: &mut Value, old: &Value) {
        status::forget_deallocated(new, old);
    }

    fn validate_status_update(&self, new: &Value, old: &Value) -> ErrorList {
        let mut errors = ErrorList::default();
        status::validate(new, old, &mut errors);
        errors
    }

    fn returns_deleted_object(&self) -> bool {
        true
    }
}

/// ResourceClaimTemplate.
pub struct ClaimTemplateStrategy;

impl Strategy for ClaimTemplateStrategy {
    fn set_defaults(&self, object: &mut Value) {
        claim::set_defaults(object.object_at_mut(&["spec", "spec"]));
    }

    fn validate(&self, object: &Value) -> ErrorList {
        let mut errors = ErrorList::default();
        let root = At::root(object);
        let template = root.child("spec");
        let path = Path::new("spec").child("metadata");
        let metadata = template.child("metadata");
        if let Some(annotations) = metadata.child("annotations").value() {
            errors.extend(object_meta::validate_annotations(annotations, &path.child("annotations")));
        }
        if let Some(labels) = metadata.child("labels").value() {
            errors.extend(object_meta::validate_labels(labels, &path.child("labels")));
        }
        // What templates may not set: everything else.
        for field in ["name", "generateName", "namespace", "uid", "resourceVersion", "ownerReferences", "finalizers"] {
            let at = metadata.child(field);
            if !at.is_empty() {
                at.forbidden(&mut errors, "cannot be set");
            }
        }
        claim::spec(&template.child("spec"), &mut errors);
        errors
    }

    fn validate_update(&self, _scope: WriteScope<'_>, new: &Value, old: &Value) -> ErrorList {
        let mut errors = self.validate(new);
        let (new, old) = (At::root(new), At::root(old));
        new.child("spec").immutable_as("ResourceClaimTemplateSpec", &mut errors, &old.child("spec"));
        errors
    }

    fn returns_deleted_object(&self) -> bool {
        true
    }
}
