//! What is wrong with a Job, or with the spec of one in a template.
//!
//! Follows `ValidateJob` and `validateJobSpec` of `pkg/apis/batch/validation/validation.go`.

use skiff_apimachinery::field::{Error, ErrorList};
use skiff_apimachinery::names;
use skiff_apimachinery::value;
use skiff_apimachinery::value::Value;

use super::{CONTROLLER_UID, JOB_NAME, LEGACY_CONTROLLER_UID, LEGACY_JOB_NAME, policies};
use crate::registry::at::At;
use crate::registry::core::validation::{formats, label_selector, pod_spec};

/// Pods of an indexed Job at the same time, and indexes of one that may fail.
const MAX_INDEXED: i64 = 100_000;
/// The same of one that has more completions than that and a limit for each index.
const MAX_INDEXED_OF_MANY: i64 = 10_000;
const MAX_MANAGER_NAME: usize = 63;
const INDEXED: &str = "Indexed";

/// Validates a Job. `prefixed`: its pods must have the newer ones of the labels that are made for them.
pub(super) fn job(root: &At<'_>, prefixed: bool, errors: &mut ErrorList) {
    generated_selector(root, prefixed, errors);
    spec_with_selector(&root.child("spec"), errors);
    indexed_name(root, errors);
}

/// Validates the spec of a Job.
pub(super) fn spec_with_selector(spec: &At<'_>, errors: &mut ErrorList) {
    job_spec(spec, errors);
    let (selector, template) = (spec.child("selector"), spec.child("template"));
    if selector.is_set() {
        label_selector::validate(&selector, errors);
    } else {
        selector.required(errors, "");
    }
    let metadata = template.child("metadata");
    let labels = metadata.child("labels");
    let matches = label_selector::matches(selector.value(), labels.value().unwrap_or(&Value::Null));
    if label_selector::is_usable(&selector) && !matches {
        labels.or_null().invalid(errors, "`selector` does not match template `labels`");
    }
}

/// Pods of an indexed Job are called after it and their index.
fn indexed_name(root: &At<'_>, errors: &mut ErrorList) {
    let (metadata, spec) = (root.child("metadata"), root.child("spec"));
    let (name, completions) = (metadata.child("name"), spec.child("completions").int().unwrap_or(0));
    if spec.child("completionMode").text() != INDEXED || completions <= 0 {
        return;
    }
    let longest = format!("{}-{}", name.text(), completions - 1);
    if !names::dns1123_label(&longest).is_empty() {
        name.invalid(errors, format!("will not able to create pod with invalid DNS label: {longest}"));
    }
}

/// What a generated selector must look like, so that no client fakes one.
fn generated_selector(root: &At<'_>, prefixed: bool, errors: &mut ErrorList) {
    let spec = root.child("spec");
    let (template, selector) = (spec.child("template"), spec.child("selector"));
    if spec.child("manualSelector").flag() || !selector.is_set() {
        return;
    }
    let metadata = root.child("metadata");
    let (uid, name) = (metadata.child("uid").text(), metadata.child("name").text());
    let template_metadata = template.child("metadata");
    let labels = template_metadata.child("labels");
    let mut expected = value!({});
    let all = [(LEGACY_CONTROLLER_UID, uid), (LEGACY_JOB_NAME, name), (CONTROLLER_UID, uid), (JOB_NAME, name)];
    for (label, wanted) in all.into_iter().take(if prefixed { 4 } else { 2 }) {
        let at = labels.key(label);
        if !at.is_set() {
            at.required(errors, &format!("must be '{wanted}'"));
        } else if at.text() != wanted {
            let shown = labels.value().cloned().unwrap_or_default();
            errors.push(Error::invalid(&at.path(), shown, format!("must be '{wanted}'")));
        }
        expected.set_at(&[label], wanted);
    }
    if label_selector::is_usable(&selector) && !label_selector::matches(selector.value(), &expected) {
        selector.invalid_as("LabelSelector", errors, "`selector` not auto-generated");
    }
}

/// Validates the spec of a Job, its selector aside.
pub(super) fn job_spec(spec: &At<'_>, errors: &mut ErrorList) {
    for field in [
        "parallelism",
        "completions",
        "activeDeadlineSeconds",
        "backoffLimit",
        "ttlSecondsAfterFinished",
        "backoffLimitPerIndex",
        "maxFailedIndexes",
    ] {
        spec.child(field).not_negative(errors);
    }
    let (per_index, max_failed) = (spec.child("backoffLimitPerIndex"), spec.child("maxFailedIndexes"));
    if max_failed.is_set() && !per_index.is_set() {
        per_index.required(errors, "when maxFailedIndexes is specified");
    }
    managed_by(&spec.child("managedBy"), errors);
    let mode = spec.child("completionMode");
    mode.if_set_one_of(errors, &["NonIndexed", INDEXED]);
    if mode.text() == INDEXED {
        indexed(spec, errors);
    } else if matches!(mode.text(), "" | "NonIndexed") {
        for at in [&per_index, &max_failed].into_iter().filter(|at| at.is_set()) {
            at.invalid(errors, "requires indexed completion mode");
        }
    }
    policies::failure(spec, errors);
    let success = spec.child("successPolicy");
    if success.is_set() && mode.text() == INDEXED {
        policies::success(spec, errors);
    } else if success.is_set() {
        success.invalid_as("SuccessPolicy", errors, "requires indexed completion mode");
    }
    let replacement = spec.child("podReplacementPolicy");
    if spec.child("podFailurePolicy").is_set() {
        replacement.if_set_one_of(errors, &["Failed"]);
    } else {
        replacement.if_set_one_of(errors, &["Failed", "TerminatingOrFailed"]);
    }
    let template = spec.child("template");
    pod_spec::template(&template, errors);
    restart_policy(spec, &template.child("spec").child("restartPolicy"), errors);
}

fn restart_policy(spec: &At<'_>, policy: &At<'_>, errors: &mut ErrorList) {
    match policy.text() {
        "Always" | "" => policy.required(errors, "valid values: \"OnFailure\", \"Never\""),
        "OnFailure" if spec.child("podFailurePolicy").is_set() => {
            policy.invalid(errors, "only \"Never\" is supported when podFailurePolicy is specified");
        }
        "OnFailure" | "Never" => {}
        _ => policy.not_supported(errors, &["OnFailure", "Never"]),
    }
}

fn managed_by(manager: &At<'_>, errors: &mut ErrorList) {
    if manager.is_set() {
        formats::domain_prefixed_path(manager, errors);
        if manager.text().len() > MAX_MANAGER_NAME {
            manager.too_long(errors, MAX_MANAGER_NAME);
        }
    }
}

fn indexed(spec: &At<'_>, errors: &mut ErrorList) {
    let (completions, parallelism) = (spec.child("completions"), spec.child("parallelism"));
    let (per_index, max_failed) = (spec.child("backoffLimitPerIndex"), spec.child("maxFailedIndexes"));
    if !completions.is_set() {
        completions.required(errors, "when completion mode is Indexed");
    }
    let above = |at: &At<'_>, limit: i64| at.int().is_some_and(|number| number > limit);
    if above(&parallelism, MAX_INDEXED) {
        let text = format!("must be less than or equal to {MAX_INDEXED} when completion mode is Indexed");
        parallelism.invalid(errors, text);
    }
    if completions.int().is_some_and(|completions| above(&max_failed, completions)) {
        max_failed.invalid(errors, "must be less than or equal to completions");
    }
    if above(&max_failed, MAX_INDEXED) {
        max_failed.invalid(errors, format!("must be less than or equal to {MAX_INDEXED}"));
    }
    if above(&completions, MAX_INDEXED) && per_index.is_set() {
        if !max_failed.is_set() {
            max_failed.required(errors, &format!("must be specified when completions is above {MAX_INDEXED}"));
        }
        for at in [&parallelism, &max_failed].into_iter().filter(|at| above(at, MAX_INDEXED_OF_MANY)) {
            at.invalid(
                errors,
                format!(
                    "must be less than or equal to {MAX_INDEXED_OF_MANY} when completions are above {MAX_INDEXED} and used with backoff limit per index"
                ),
            );
        }
    }
}
