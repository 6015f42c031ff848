//! Job and CronJob.
//!
//! Follows `pkg/registry/batch` and `pkg/apis/batch`.

pub mod cron;
mod indexes;
mod policies;
mod status;
mod update;
mod validation;

use skiff_apimachinery::field::ErrorList;
use skiff_apimachinery::meta;
use skiff_apimachinery::value::{Object, Value};

use crate::cacher::FieldSpec;
use crate::registry::at::At;
use crate::registry::core::workload::name_warning;
use crate::registry::core::{pod_defaults, pod_warnings};
use crate::registry::defaults::{absent, each, spec, text, within};
use crate::registry::strategy::{GarbageCollection, Strategy, WriteScope};

const CONTROLLER_UID: &str = "batch.kubernetes.io/controller-uid";
const JOB_NAME: &str = "batch.kubernetes.io/job-name";
const LEGACY_CONTROLLER_UID: &str = "controller-uid";
const LEGACY_JOB_NAME: &str = "job-name";
/// Completions and parallelism above which failed indexes may not all be kept track of.
const MANY_COMPLETIONS: i64 = 100_000;
const MANY_AT_ONCE: i64 = 10_000;

/// Job.
pub struct JobStrategy;

impl Strategy for JobStrategy {
    fn set_defaults(&self, object: &mut Value) {
        labels_from_template(object);
        spec(object, job_spec_defaults);
    }

    fn prepare_for_create(&self, _scope: WriteScope<'_>, object: &mut Value) {
        if object.bool_at(&["spec", "manualSelector"]) != Some(true) {
            generate_selector(object);
        }
    }

    fn after_validation(&self, object: &mut Value) {
        // Upstream fills in defaults again when it reads what it stored.
        labels_from_template(object);
    }

    fn validate(&self, object: &Value) -> ErrorList {
        let mut errors = ErrorList::default();
        validation::job(&At::root(object), true, &mut errors);
        errors
    }

    fn validate_update(&self, _scope: WriteScope<'_>, new: &Value, old: &Value) -> ErrorList {
        let mut errors = ErrorList::default();
        let label = |name: &str| old.at(&["spec", "template", "metadata", "labels", name]).is_some();
        validation::job(&At::root(new), label(JOB_NAME) && label(CONTROLLER_UID), &mut errors);
        update::validate(new, old, &mut errors);
        errors
    }

    fn validate_status_update(&self, new: &Value, old: &Value) -> ErrorList {
        let mut errors = ErrorList::default();
        status::validate(new, old, &mut errors);
        errors
    }

    fn warnings(&self, new: &Value, old: Option<&Value>) -> Vec<String> {
        let mut warnings = Vec::from_iter(name_warning(new, old));
        warnings.extend(spec_warnings(new, old, &["spec"]));
        warnings
    }

    fn selectable_fields(&self) -> Vec<FieldSpec> {
        vec![FieldSpec::at("status.successful", &["status.succeeded"], "0")]
    }

    fn counts_generation(&self) -> bool {
        true
    }

    fn garbage_collection(&self) -> GarbageCollection {
        GarbageCollection::OrphanDependents
    }
}

/// Warnings about the spec of a Job at these steps (`WarningsForJobSpec` upstream).
fn spec_warnings(new: &Value, old: Option<&Value>, steps: &[&str]) -> Vec<String> {
    let mut warnings = Vec::new();
    if !pod_warnings::concern(new, old) {
        return warnings;
    }
    let spec = new.at(steps).cloned().unwrap_or_default();
    let number = |field: &str| spec.i64_at(&[field]).unwrap_or(0);
    if spec.str_at(&["completionMode"]) == Some("Indexed")
        && number("completions") > MANY_COMPLETIONS
        && number("parallelism") > MANY_AT_ONCE
    {
        warnings.push(format!(
            "{}: In Indexed Jobs with a number of completions higher than 10^5 and a parallelism higher than 10^4, Kubernetes might not be able to track completedIndexes when a big number of indexes fail",
            steps.join(".")
        ));
    }
    let template = [steps, &["template"]].concat();
    warnings.extend(pod_warnings::of_changed_template(new, old, &template));
    warnings
}

/// A Job without labels has those of its pods.
fn labels_from_template(object: &mut Value) {
    if let Some(labels) = object.at(&["spec", "template", "metadata", "labels"]).cloned()
        && object.at(&["metadata", "labels"]).and_then(Value::as_object).is_none_or(Object::is_empty)
    {
        object.set_at(&["metadata", "labels"], labels);
    }
}

fn job_spec_defaults(spec: &mut Object) {
    if spec.get("completions").is_none() && spec.get("parallelism").is_none() {
        spec.insert("completions", 1);
    }
    absent(spec, "parallelism", 1);
    let backoff = if spec.get("backoffLimitPerIndex").is_some() { i64::from(i32::MAX) } else { 6 };
    absent(spec, "backoffLimit", backoff);
    absent(spec, "completionMode", "NonIndexed");
    absent(spec, "suspend", false);
    let replacement = if spec.get("podFailurePolicy").is_some() { "Failed" } else { "TerminatingOrFailed" };
    absent(spec, "podReplacementPolicy", replacement);
    absent(spec, "manualSelector", false);
    failure_policy_defaults(spec);
    pod_defaults::template(spec);
}

/// A condition of a failure policy asks for one that is true.
fn failure_policy_defaults(spec: &mut Object) {
    within(spec, "podFailurePolicy", |policy| {
        each(policy, "rules", |rule| each(rule, "onPodConditions", |pattern| text(pattern, "status", "True")));
    });
}

/// Gives the pods labels that no other Job's pods have, and selects them.
fn generate_selector(object: &mut Value) {
    let (name, uid) = (meta::name(object).to_owned(), meta::uid(object).to_owned());
    let labels = object.object_at_mut(&["spec", "template", "metadata", "labels"]);
    for (label, value) in
        [(LEGACY_JOB_NAME, &name), (JOB_NAME, &name), (LEGACY_CONTROLLER_UID, &uid), (CONTROLLER_UID, &uid)]
    {
        absent(labels, label, value.as_str());
    }
    absent(object.object_at_mut(&["spec", "selector", "matchLabels"]), CONTROLLER_UID, uid.as_str());
}
