//! DeviceClass.

use skiff_apimachinery::field::ErrorList;
use skiff_apimachinery::value::Value;

use super::{claim, formats};
use crate::registry::at::At;
use crate::registry::core::validation::resources;
use crate::registry::strategy::{Strategy, WriteScope};

/// DeviceClass.
pub struct DeviceClassStrategy;

impl Strategy for DeviceClassStrategy {
    fn validate(&self, object: &Value) -> ErrorList {
        let mut errors = ErrorList::default();
        let root = At::root(object);
        let spec = root.child("spec");
        claim::device_selectors(&spec.child("selectors"), &mut errors);
        formats::each(&spec.child("config"), claim::MAX_CONFIGURATIONS, &mut errors, formats::configuration);
        let extended = spec.child("extendedResourceName");
        if extended.is_set() && !resources::is_extended(extended.text()) {
            extended.invalid(&mut errors, "must be a valid extended resource name");
        }
        errors
    }

    fn validate_update(&self, _scope: WriteScope<'_>, new: &Value, _old: &Value) -> ErrorList {
        self.validate(new)
    }

    fn counts_generation(&self) -> bool {
        true
    }

    fn returns_deleted_object(&self) -> bool {
        true
    }
}
