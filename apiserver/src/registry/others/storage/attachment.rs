//! VolumeAttachment: a volume that is to be at a node.

use skiff_apimachinery::field::ErrorList;
use skiff_apimachinery::value::Value;

use crate::registry::at::At;
use crate::registry::core::storage::{Inline, volume_spec};
use crate::registry::core::validation::{formats, volume_sources};
use crate::registry::strategy::{Strategy, WriteScope};

/// Bytes of what a driver says of an attachment.
const MAX_METADATA: usize = 256 * 1024;
/// Bytes of an error's message; upstream's complaint names the other limit.
const MAX_MESSAGE: usize = 1024;
const EXACTLY_ONE: &str = "must specify exactly one of inlineVolumeSpec and persistentVolumeName";

/// VolumeAttachment.
pub struct VolumeAttachmentStrategy;

impl Strategy for VolumeAttachmentStrategy {
    fn validate(&self, object: &Value) -> ErrorList {
        let mut errors = ErrorList::default();
        let root = At::root(object);
        let spec = root.child("spec");
        let attacher = spec.child("attacher");
        if attacher.require(&mut errors) {
            volume_sources::driver_name(&attacher, &mut errors);
        }
        let source = spec.child("source");
        let (inline, name) = (source.child("inlineVolumeSpec"), source.child("persistentVolumeName"));
        match (inline.is_set(), name.is_set()) {
            (false, false) => source.required(&mut errors, EXACTLY_ONE),
            (true, true) => source.forbidden(&mut errors, EXACTLY_ONE),
            (false, true) if name.is_empty() => {
                name.required(&mut errors, "must specify non empty persistentVolumeName")
            }
            (false, true) => {}
            (true, false) => volume_spec(&inline, Inline::Yes, &mut errors),
        }
        formats::subdomain(&spec.child("nodeName"), &mut errors);
        status(&root.child("status"), &mut errors);
        if name.is_set() {
            formats::subdomain(&name, &mut errors);
        }
        errors
    }

    fn validate_update(&self, _scope: WriteScope<'_>, new: &Value, old: &Value) -> ErrorList {
        let mut errors = self.validate(new);
        let (new, old) = (At::root(new), At::root(old));
        new.child("spec").immutable_as("VolumeAttachmentSpec", &mut errors, &old.child("spec"));
        errors
    }

    fn validate_status_update(&self, new: &Value, _old: &Value) -> ErrorList {
        self.validate(new)
    }

    fn returns_deleted_object(&self) -> bool {
        true
    }

    fn allow_unconditional_update(&self) -> bool {
        false
    }
}

fn status(status: &At<'_>, errors: &mut ErrorList) {
    let metadata = status.child("attachmentMetadata");
    if metadata.entries().map(|(key, value)| key.len() + value.text().len()).sum::<usize>() > MAX_METADATA {
        metadata.too_long(errors, MAX_METADATA);
    }
    for field in ["attachError", "detachError"] {
        let error = status.child(field);
        let (message, code) = (error.child("message"), error.child("errorCode"));
        if message.text().len() > MAX_MESSAGE {
            message.too_long(errors, MAX_METADATA);
        }
        if code.int().is_some_and(|code| code < 0) {
            code.invalid(errors, format!("must be between 0 and {}, inclusive", i32::MAX));
        }
    }
}
