//! storage.k8s.io and node.k8s.io.

use skiff_apimachinery::field::{Error, ErrorList, Path};
use skiff_apimachinery::value::Value;

use crate::cacher::FieldSpec;
use crate::registry::at::At;
use crate::registry::core::validation::formats;
use crate::registry::defaults::{absent, spec};
use crate::registry::strategy::{Strategy, WriteScope};

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
        root.child("provisioner").require(&mut errors);
        root.child("reclaimPolicy").if_set_one_of(&mut errors, &["Delete", "Retain"]);
        root.child("volumeBindingMode").if_set_one_of(&mut errors, &["Immediate", "WaitForFirstConsumer"]);
        errors
    }

    fn validate_update(&self, _scope: WriteScope<'_>, new: &Value, old: &Value) -> ErrorList {
        let mut errors = self.validate(new);
        for field in ["parameters", "provisioner", "reclaimPolicy", "volumeBindingMode"] {
            if new.get(field) != old.get(field) {
                errors.push(Error::forbidden(&Path::new(field), "updates to {} are forbidden.".replace("{}", field)));
            }
        }
        errors
    }

    fn returns_deleted_object(&self) -> bool {
        true
    }
}

/// CSIDriver.
pub struct CsiDriverStrategy;

impl Strategy for CsiDriverStrategy {
    fn set_defaults(&self, object: &mut Value) {
        spec(object, |spec| {
            absent(spec, "attachRequired", true);
            absent(spec, "podInfoOnMount", false);
            absent(spec, "storageCapacity", false);
            absent(spec, "fsGroupPolicy", "ReadWriteOnceWithFSType");
            absent(spec, "volumeLifecycleModes", vec!["Persistent"]);
            absent(spec, "requiresRepublish", false);
            absent(spec, "seLinuxMount", false);
        });
    }

    fn returns_deleted_object(&self) -> bool {
        true
    }

    fn allow_unconditional_update(&self) -> bool {
        false
    }
}

/// Kinds whose spec is fixed once made: CSINode is not, VolumeAttachment is.
pub struct VolumeAttachmentStrategy;

impl Strategy for VolumeAttachmentStrategy {
    fn validate(&self, object: &Value) -> ErrorList {
        let mut errors = ErrorList::default();
        let root = At::root(object);
        let spec = root.child("spec");
        for field in ["attacher", "nodeName"] {
            spec.child(field).require(&mut errors);
        }
        errors
    }

    fn validate_update(&self, _scope: WriteScope<'_>, new: &Value, old: &Value) -> ErrorList {
        let mut errors = self.validate(new);
        let (new, old) = (At::root(new), At::root(old));
        if new.child("spec").value() != old.child("spec").value() {
            new.child("spec").invalid(&mut errors, "field is immutable");
        }
        errors
    }

    fn returns_deleted_object(&self) -> bool {
        true
    }

    fn allow_unconditional_update(&self) -> bool {
        false
    }
}

/// Kinds of storage.k8s.io that answer a delete with the object and insist on a version.
pub struct CsiNodeStrategy;

impl Strategy for CsiNodeStrategy {
    fn returns_deleted_object(&self) -> bool {
        true
    }

    fn allow_unconditional_update(&self) -> bool {
        false
    }
}

/// RuntimeClass.
pub struct RuntimeClassStrategy;

impl Strategy for RuntimeClassStrategy {
    fn validate(&self, object: &Value) -> ErrorList {
        let mut errors = ErrorList::default();
        let root = At::root(object);
        let handler = root.child("handler");
        if handler.require(&mut errors) {
            formats::label(&handler, &mut errors);
        }
        errors
    }

    fn validate_update(&self, _scope: WriteScope<'_>, new: &Value, old: &Value) -> ErrorList {
        let mut errors = ErrorList::default();
        let (new, old) = (At::root(new), At::root(old));
        new.child("handler").immutable(&mut errors, &old.child("handler"));
        errors
    }

    fn allow_create_on_update(&self) -> bool {
        true
    }

    fn allow_unconditional_update(&self) -> bool {
        false
    }
}

/// Kinds of which nothing is known here but that every write must name the version it read.
pub struct Conditional;

impl Strategy for Conditional {
    fn allow_unconditional_update(&self) -> bool {
        false
    }
}

/// Kinds whose generation counts changes of their spec, and nothing else.
pub struct Counted;

impl Strategy for Counted {
    fn counts_generation(&self) -> bool {
        true
    }
}

/// Kinds of resource.k8s.io: counted, and a delete answers with the object.
pub struct DeviceKinds;

impl Strategy for DeviceKinds {
    fn counts_generation(&self) -> bool {
        true
    }

    fn returns_deleted_object(&self) -> bool {
        true
    }
}

/// Slices of devices, which drivers and kubelets select by driver and node.
pub struct ResourceSliceStrategy;

impl Strategy for ResourceSliceStrategy {
    fn counts_generation(&self) -> bool {
        true
    }

    fn returns_deleted_object(&self) -> bool {
        true
    }

    fn selectable_fields(&self) -> Vec<FieldSpec> {
        vec![FieldSpec::new("spec.nodeName"), FieldSpec::new("spec.driver")]
    }
}

/// VolumeAttributesClass: a delete answers with the object.
pub struct VolumeAttributesClassStrategy;

impl Strategy for VolumeAttributesClassStrategy {
    fn returns_deleted_object(&self) -> bool {
        true
    }
}

/// Webhook configurations: their generation counts changes of the webhooks.
pub struct WebhookConfiguration;

impl Strategy for WebhookConfiguration {
    fn counts_generation(&self) -> bool {
        true
    }

    fn generation_changed(&self, new: &Value, old: &Value) -> bool {
        new.get("webhooks") != old.get("webhooks")
    }

    fn allow_unconditional_update(&self) -> bool {
        false
    }
}
