//! DeviceTaintRule: a taint that an administrator lays on devices.

use skiff_apimachinery::field::ErrorList;
use skiff_apimachinery::time;
use skiff_apimachinery::value::Value;

use super::formats;
use crate::registry::at::At;
use crate::registry::core::validation::{conditions, formats as core_formats};
use crate::registry::defaults::absent;
use crate::registry::strategy::{Strategy, WriteScope};

const MAX_CONDITIONS: usize = 8;

/// DeviceTaintRule.
pub struct DeviceTaintRuleStrategy;

impl Strategy for DeviceTaintRuleStrategy {
    fn set_defaults(&self, object: &mut Value) {
        absent(object.object_at_mut(&["spec", "taint"]), "timeAdded", now());
    }

    /// The time is that of the effect, unless the client says another.
    fn prepare_for_update(&self, _scope: WriteScope<'_>, new: &mut Value, old: &Value) {
        let taint = |object: &Value, field: &str| object.at(&["spec", "taint", field]).cloned();
        let changed = |field: &str| taint(new, field) != taint(old, field);
        if changed("effect") && !changed("timeAdded") {
            new.object_at_mut(&["spec", "taint"]).insert("timeAdded", now());
        }
    }

    fn validate(&self, object: &Value) -> ErrorList {
        let mut errors = ErrorList::default();
        let root = At::root(object);
        validate(&root.child("spec"), None, &mut errors);
        errors
    }

    fn validate_update(&self, _scope: WriteScope<'_>, new: &Value, old: &Value) -> ErrorList {
        let mut errors = ErrorList::default();
        let (root, old) = (At::root(new), At::root(old));
        validate(&root.child("spec"), Some(&old.child("spec")), &mut errors);
        errors
    }

    fn validate_status_update(&self, new: &Value, _old: &Value) -> ErrorList {
        let mut errors = ErrorList::default();
        let root = At::root(new);
        let status = root.child("status");
        let list = status.child("conditions");
        conditions::validate(&list, &mut errors);
        if list.len() > MAX_CONDITIONS {
            list.too_many(&mut errors, MAX_CONDITIONS);
        }
        errors
    }

    fn counts_generation(&self) -> bool {
        true
    }

    fn returns_deleted_object(&self) -> bool {
        true
    }
}

fn now() -> String {
    time::format(jiff::Timestamp::now())
}

/// Validates a rule; `old` is its spec as it was, whose effect may stay whatever it is.
fn validate(spec: &At<'_>, old: Option<&At<'_>>, errors: &mut ErrorList) {
    let selector = spec.child("deviceSelector");
    let (driver, pool, device) = (selector.child("driver"), selector.child("pool"), selector.child("device"));
    if driver.is_set() {
        formats::driver(&driver, errors);
    }
    if pool.is_set() {
        formats::pool(&pool, errors);
    }
    if device.is_set() {
        core_formats::label(&device, errors);
    }
    let taint = spec.child("taint");
    let before = old.map(|old| old.child("taint").child("effect").text().to_owned());
    formats::taint_unless(&taint, before.as_deref(), errors);
}
