//! Deployment and ReplicaSet.

use skiff_apimachinery::field::ErrorList;
use skiff_apimachinery::value::Value;

use super::{at_most_100_percent, collisions, int_or_percent, plain_amount, selector_and_template, status_counts};
use crate::registry::at::At;
use crate::registry::core::workload::name_warning;
use crate::registry::core::{pod_defaults, pod_warnings};
use crate::registry::defaults::{absent, spec, text};
use crate::registry::strategy::{Strategy, WriteScope};

/// Numbers in a Deployment's status.
const DEPLOYMENT_COUNTS: &[&str] = &[
    "observedGeneration",
    "replicas",
    "updatedReplicas",
    "readyReplicas",
    "availableReplicas",
    "unavailableReplicas",
    "terminatingReplicas",
    "collisionCount",
];
/// Those that are parts of others, and how the other is called.
const DEPLOYMENT_PARTS: &[(&str, &str, &str)] = &[
    ("updatedReplicas", "replicas", "status.replicas"),
    ("readyReplicas", "replicas", "status.replicas"),
    ("availableReplicas", "replicas", "status.replicas"),
    ("availableReplicas", "readyReplicas", "readyReplicas"),
];
/// Numbers in a ReplicaSet's status.
const REPLICA_SET_COUNTS: &[&str] = &[
    "replicas",
    "fullyLabeledReplicas",
    "readyReplicas",
    "availableReplicas",
    "observedGeneration",
    "terminatingReplicas",
];
const REPLICA_SET_PARTS: &[(&str, &str, &str)] = &[
    ("fullyLabeledReplicas", "replicas", "status.replicas"),
    ("readyReplicas", "replicas", "status.replicas"),
    ("availableReplicas", "replicas", "status.replicas"),
    ("availableReplicas", "readyReplicas", "readyReplicas"),
];

/// Deployment.
pub struct DeploymentStrategy;

impl Strategy for DeploymentStrategy {
    fn set_defaults(&self, object: &mut Value) {
        spec(object, |spec| {
            absent(spec, "replicas", 1);
            let strategy = spec.object_mut("strategy");
            text(strategy, "type", "RollingUpdate");
            if strategy.get("type").and_then(Value::as_str) == Some("RollingUpdate") {
                let rolling = strategy.object_mut("rollingUpdate");
                absent(rolling, "maxUnavailable", "25%");
                absent(rolling, "maxSurge", "25%");
            }
            absent(spec, "revisionHistoryLimit", 10);
            absent(spec, "progressDeadlineSeconds", 600);
            pod_defaults::template(spec);
        });
    }

    fn validate(&self, object: &Value) -> ErrorList {
        let mut errors = ErrorList::default();
        let root = At::root(object);
        let spec = root.child("spec");
        spec.child("replicas").not_negative(&mut errors);
        selector_and_template(&spec, "ReplicaSet", "deployment", "invalid label selector", &mut errors);
        update_strategy(&spec.child("strategy"), &mut errors);
        spec.child("minReadySeconds").not_negative(&mut errors);
        spec.child("revisionHistoryLimit").not_negative(&mut errors);
        let deadline = spec.child("progressDeadlineSeconds");
        deadline.not_negative(&mut errors);
        if deadline.int().is_some_and(|d| d <= spec.child("minReadySeconds").int().unwrap_or(0)) {
            deadline.invalid(&mut errors, "must be greater than minReadySeconds");
        }
        errors
    }

    fn validate_update(&self, _scope: WriteScope<'_>, new: &Value, old: &Value) -> ErrorList {
        let mut errors = self.validate(new);
        immutable_selector(new, old, &mut errors);
        errors
    }

    fn prepare_for_status_update(&self, new: &mut Value, old: &Value) {
        keep_labels(new, old);
    }

    fn validate_status_update(&self, new: &Value, old: &Value) -> ErrorList {
        let mut errors = ErrorList::default();
        let (new, old) = (At::root(new), At::root(old));
        status_counts(&new.child("status"), DEPLOYMENT_COUNTS, DEPLOYMENT_PARTS, &mut errors);
        collisions(&new.child("status"), &old.child("status"), &mut errors);
        errors
    }

    fn warnings(&self, new: &Value, old: Option<&Value>) -> Vec<String> {
        pod_warnings::of_changed_template(new, old, &["spec", "template"])
    }

    fn counts_generation(&self) -> bool {
        true
    }

    fn generation_changed(&self, new: &Value, old: &Value) -> bool {
        // Annotations are copied to the ReplicaSets, so they are part of what is wanted.
        let annotations = ["metadata", "annotations"];
        new.get("spec") != old.get("spec") || new.at(&annotations) != old.at(&annotations)
    }
}

fn update_strategy(at: &At<'_>, errors: &mut ErrorList) {
    let (kind, rolling) = (at.child("type"), at.child("rollingUpdate"));
    match kind.text() {
        "Recreate" => {
            if rolling.is_set() {
                rolling.forbidden(errors, "may not be specified when strategy `type` is 'Recreate'");
            }
        }
        "RollingUpdate" => {
            if !rolling.is_set() {
                return rolling.required(errors, "this should be defaulted and never be nil");
            }
            let (unavailable, surge) = (rolling.child("maxUnavailable"), rolling.child("maxSurge"));
            int_or_percent(&unavailable, errors);
            int_or_percent(&surge, errors);
            if plain_amount(&unavailable) == 0 && plain_amount(&surge) == 0 {
                unavailable.invalid(errors, "may not be 0 when `maxSurge` is 0");
            }
            at_most_100_percent(&unavailable, errors);
        }
        _ => at.not_supported_as("DeploymentStrategy", errors, &["Recreate", "RollingUpdate"]),
    }
}

fn immutable_selector(new: &Value, old: &Value, errors: &mut ErrorList) {
    let (new, old) = (At::root(new), At::root(old));
    let (spec, before) = (new.child("spec"), old.child("spec"));
    spec.child("selector").immutable_as("LabelSelector", errors, &before.child("selector"));
}

/// A write to status does not touch labels.
pub(super) fn keep_labels(new: &mut Value, old: &Value) {
    match old.at(&["metadata", "labels"]) {
        Some(labels) => new.set_at(&["metadata", "labels"], labels.clone()),
        None => drop(new.remove_at(&["metadata", "labels"])),
    }
}

/// ReplicaSet.
pub struct ReplicaSetStrategy;

impl Strategy for ReplicaSetStrategy {
    fn set_defaults(&self, object: &mut Value) {
        spec(object, |spec| {
            absent(spec, "replicas", 1);
            pod_defaults::template(spec);
        });
    }

    fn validate(&self, object: &Value) -> ErrorList {
        let mut errors = ErrorList::default();
        let root = At::root(object);
        let spec = root.child("spec");
        spec.child("replicas").not_negative(&mut errors);
        spec.child("minReadySeconds").not_negative(&mut errors);
        selector_and_template(&spec, "ReplicaSet", "deployment", "invalid label selector", &mut errors);
        errors
    }

    fn validate_update(&self, _scope: WriteScope<'_>, new: &Value, old: &Value) -> ErrorList {
        let mut errors = self.validate(new);
        immutable_selector(new, old, &mut errors);
        errors
    }

    fn validate_status_update(&self, new: &Value, _old: &Value) -> ErrorList {
        let mut errors = ErrorList::default();
        status_counts(&At::root(new).child("status"), REPLICA_SET_COUNTS, REPLICA_SET_PARTS, &mut errors);
        errors
    }

    fn warnings(&self, new: &Value, old: Option<&Value>) -> Vec<String> {
        let mut warnings = Vec::from_iter(name_warning(new, old));
        warnings.extend(pod_warnings::of_changed_template(new, old, &["spec", "template"]));
        warnings
    }

    fn counts_generation(&self) -> bool {
        true
    }
}
