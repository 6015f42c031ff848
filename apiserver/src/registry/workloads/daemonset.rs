//! DaemonSet and ControllerRevision.

use skiff_apimachinery::field::{Error, ErrorList, Path};
use skiff_apimachinery::value::Value;

use super::{at_most_100_percent, collisions, int_or_percent, plain_amount, selects_template, status_counts};
use crate::registry::at::At;
use crate::registry::core::validation::{label_selector, pod_spec};
use crate::registry::core::workload::only_always;
use crate::registry::core::{pod_defaults, pod_warnings};
use crate::registry::defaults::{absent, spec, text, within};
use crate::registry::strategy::{Strategy, WriteScope};

const TEMPLATE_GENERATION: &str = "deprecated.daemonset.template.generation";

/// Numbers in a status.
const COUNTS: &[&str] = &[
    "currentNumberScheduled",
    "numberMisscheduled",
    "desiredNumberScheduled",
    "numberReady",
    "observedGeneration",
    "updatedNumberScheduled",
    "numberAvailable",
    "numberUnavailable",
    "collisionCount",
];

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
            // Upstream's own form knows no absent numbers.
            within(strategy, "rollingUpdate", |rolling| {
                absent(rolling, "maxUnavailable", 0);
                absent(rolling, "maxSurge", 0);
            });
            absent(spec, "revisionHistoryLimit", 10);
            pod_defaults::template(spec);
        });
    }

    fn validate(&self, object: &Value) -> ErrorList {
        let mut errors = ErrorList::default();
        let root = At::root(object);
        let spec = root.child("spec");
        let (selector, template) = (spec.child("selector"), spec.child("template"));
        label_selector::validate(&selector, &mut errors);
        if errors.is_empty() {
            selects_template(&selector, &template, &mut errors);
        }
        if selector.is_set() && label_selector::is_empty(&selector) {
            selector.invalid(&mut errors, "empty selector is invalid for daemonset");
        }
        pod_spec::template(&template, &mut errors);
        only_always(&template, "DaemonSet", &mut errors);
        spec.child("minReadySeconds").not_negative(&mut errors);
        let strategy = spec.child("updateStrategy");
        match strategy.child("type").text() {
            "OnDelete" => {}
            "RollingUpdate" => rolling_update(&strategy.child("rollingUpdate"), &mut errors),
            _ => strategy.not_supported_as("DaemonSetUpdateStrategy", &mut errors, &["RollingUpdate", "OnDelete"]),
        }
        spec.child("revisionHistoryLimit").not_negative(&mut errors);
        errors
    }

    fn validate_update(&self, _scope: WriteScope<'_>, new: &Value, old: &Value) -> ErrorList {
        let mut errors = ErrorList::default();
        let (new_root, old_root) = (At::root(new), At::root(old));
        let (spec, before) = (new_root.child("spec"), old_root.child("spec"));
        spec.child("selector").immutable_as("LabelSelector", &mut errors, &before.child("selector"));
        errors.extend(self.validate(new));
        errors
    }

    fn validate_status_update(&self, new: &Value, old: &Value) -> ErrorList {
        let mut errors = ErrorList::default();
        let (new, old) = (At::root(new), At::root(old));
        status_counts(&new.child("status"), COUNTS, &[], &mut errors);
        collisions(&new.child("status"), &old.child("status"), &mut errors);
        errors
    }

    fn prepare_for_create(&self, _scope: WriteScope<'_>, object: &mut Value) {
        set_template_generation(object, template_generation(object).max(1));
    }

    fn prepare_for_update(&self, _scope: WriteScope<'_>, new: &mut Value, old: &Value) {
        let template = ["spec", "template"];
        let changed = new.at(&template) != old.at(&template);
        set_template_generation(new, template_generation(old) + i64::from(changed));
    }

    fn prepare_for_status_update(&self, new: &mut Value, old: &Value) {
        set_template_generation(new, template_generation(old));
    }

    fn warnings(&self, new: &Value, old: Option<&Value>) -> Vec<String> {
        pod_warnings::of_changed_template(new, old, &["spec", "template"])
    }

    fn counts_generation(&self) -> bool {
        true
    }
}

/// Counts changes of the template; upstream keeps it in a field that only this annotation shows.
fn template_generation(object: &Value) -> i64 {
    object.str_at(&["metadata", "annotations", TEMPLATE_GENERATION]).and_then(|text| text.parse().ok()).unwrap_or(0)
}

fn set_template_generation(object: &mut Value, generation: i64) {
    object.set_at(&["metadata", "annotations", TEMPLATE_GENERATION], generation.to_string());
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
    match (plain_amount(&unavailable) != 0, plain_amount(&surge) != 0) {
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
        root.child("revision").not_negative(&mut errors);
        match root.child("data").value() {
            None => errors.push(Error::required(&Path::new("data"), "data is mandatory")),
            Some(Value::Object(_)) => {}
            Some(_) => errors.push(Error::required(&Path::new("data"), "data must be a valid JSON object")),
        }
        errors
    }

    fn validate_update(&self, _scope: WriteScope<'_>, new: &Value, old: &Value) -> ErrorList {
        let mut errors = ErrorList::default();
        let (new, old) = (At::root(new), At::root(old));
        new.child("revision").not_negative(&mut errors);
        new.child("data").immutable(&mut errors, &old.child("data"));
        errors
    }
}
