//! DaemonSet and ControllerRevision.

use skiff_apimachinery::field::{Error, ErrorList, Path};
use skiff_apimachinery::value::Value;

use super::{at_most_100_percent, int_or_percent, plain_amount, selector_and_template};
use crate::registry::at::At;
use crate::registry::core::pod_defaults;
use crate::registry::defaults::{absent, spec, text};
use crate::registry::strategy::{Strategy, WriteScope};

/// DaemonSet.
pub struct DaemonSetStrategy;

impl Strategy for DaemonSetStrategy {
    fn set_defaults(&self, object: &mut Value) {
        spec(object, |spec| {
            let strategy = spec.object_mut("updateStrategy");
            text(strategy, "type", "RollingUpdate");
            if strategy.get("type").and_then(Value::as_str) == Some("RollingUpdate") {
                let rolling = strategy.object_mut("rollingUpdate");
                absent(rolling, "maxUnavailable", 1);
                absent(rolling, "maxSurge", 0);
            }
            absent(spec, "revisionHistoryLimit", 10);
            pod_defaults::template(spec);
        });
    }

    fn validate(&self, object: &Value) -> ErrorList {
        let mut errors = ErrorList::default();
        let root = At::root(object);
        let spec = root.child("spec");
        selector_and_template(&spec, "DaemonSet", "daemonset", &mut errors);
        spec.child("minReadySeconds").not_negative(&mut errors);
        let strategy = spec.child("updateStrategy");
        match strategy.child("type").text() {
            "OnDelete" => {}
            "RollingUpdate" => rolling_update(&strategy.child("rollingUpdate"), &mut errors),
            _ => strategy.child("type").not_supported(&mut errors, &["RollingUpdate", "OnDelete"]),
        }
        spec.child("revisionHistoryLimit").not_negative(&mut errors);
        errors
    }

    fn validate_update(&self, _scope: WriteScope<'_>, new: &Value, old: &Value) -> ErrorList {
        let mut errors = self.validate(new);
        let (new_root, old_root) = (At::root(new), At::root(old));
        let (spec, before) = (new_root.child("spec"), old_root.child("spec"));
        spec.child("selector").immutable(&mut errors, &before.child("selector"));
        errors
    }

    fn counts_generation(&self) -> bool {
        true
    }
}

fn rolling_update(rolling: &At<'_>, errors: &mut ErrorList) {
    if !rolling.is_set() {
        return rolling.required(errors, "");
    }
    let (unavailable, surge) = (rolling.child("maxUnavailable"), rolling.child("maxSurge"));
    int_or_percent(&unavailable, errors);
    int_or_percent(&surge, errors);
    at_most_100_percent(&unavailable, errors);
    at_most_100_percent(&surge, errors);
    match (plain_amount(&unavailable) > 0, plain_amount(&surge) > 0) {
        (true, true) => surge.invalid(errors, "may not be set when maxUnavailable is non-zero"),
        (false, false) => unavailable.required(errors, "cannot be 0 when maxSurge is 0"),
        _ => {}
    }
}

/// ControllerRevision.
pub struct ControllerRevisionStrategy;

impl Strategy for ControllerRevisionStrategy {
    fn validate(&self, object: &Value) -> ErrorList {
        let mut errors = ErrorList::default();
        let root = At::root(object);
        if !root.child("data").is_set() {
            errors.push(Error::required(&Path::new("data"), "data is mandatory"));
        }
        root.child("revision").not_negative(&mut errors);
        errors
    }

    fn validate_update(&self, _scope: WriteScope<'_>, new: &Value, old: &Value) -> ErrorList {
        let mut errors = self.validate(new);
        let (new, old) = (At::root(new), At::root(old));
        new.child("data").immutable(&mut errors, &old.child("data"));
        errors
    }
}
