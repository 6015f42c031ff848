//! The kinds of apps and batch: what keeps pods running, and what runs them to their end.
//!
//! Follows `pkg/registry/{apps,batch}` and `pkg/apis/{apps,batch}/{v1/defaults.go,validation}`.

pub mod daemonset;
pub mod deployment;
pub mod job;
pub mod statefulset;

use skiff_apimachinery::field::ErrorList;
use skiff_apimachinery::value::Value;

use crate::registry::at::At;
use crate::registry::core::validation::{label_selector, pod_spec};
use crate::registry::core::workload::only_always;

/// Validates a selector and the template that must fit it. `unusable` is said of a selector that selects nothing because
/// it is malformed.
pub(super) fn selector_and_template(
    spec: &At<'_>,
    kind: &str,
    selector_kind: &str,
    unusable: &str,
    errors: &mut ErrorList,
) {
    let (selector, template) = (spec.child("selector"), spec.child("template"));
    let mut found = ErrorList::default();
    if selector.is_set() {
        label_selector::validate(&selector, &mut found);
    } else {
        selector.required(errors, "");
    }
    let usable = found.is_empty();
    errors.extend(found);
    if selector.is_set() && label_selector::is_empty(&selector) {
        selector.invalid(errors, format!("empty selector is invalid for {selector_kind}"));
    }
    if usable {
        selects_template(&selector, &template, errors);
        pod_spec::template(&template, errors);
    } else {
        selector.invalid_as("LabelSelector", errors, unusable);
    }
    only_always(&template, kind, errors);
}

/// Checks that a selector, which must be well-formed, selects what the template makes; an empty one always does.
pub(super) fn selects_template(selector: &At<'_>, template: &At<'_>, errors: &mut ErrorList) {
    let metadata = template.child("metadata");
    let labels = metadata.child("labels");
    let everything = selector.is_set() && label_selector::is_empty(selector);
    if !everything && !label_selector::matches(selector.value(), labels.value().unwrap_or(&Value::Null)) {
        labels.or_null().invalid(errors, "`selector` does not match template `labels`");
    }
}

/// Validates the numbers of a status: none is negative, and none in `parts` is above the one it is a part of.
pub(crate) fn status_counts(status: &At<'_>, fields: &[&str], parts: &[(&str, &str, &str)], errors: &mut ErrorList) {
    for field in fields {
        status.child(field).not_negative(errors);
    }
    let count = |field: &str| status.child(field).int().unwrap_or(0);
    for (part, whole, name) in parts {
        if count(part) > count(whole) {
            status.child(part).invalid(errors, format!("cannot be greater than {name}"));
        }
    }
}

/// Checks that the number of collisions in a status did not become smaller.
pub(super) fn collisions(new: &At<'_>, old: &At<'_>, errors: &mut ErrorList) {
    let (now, before) = (new.child("collisionCount"), old.child("collisionCount"));
    if before.int().is_some_and(|before| now.int().is_none_or(|now| now < before)) {
        now.or_zero().invalid(errors, "cannot be decremented");
    }
}

/// Checks a number, or a percentage up to any height; neither may be negative.
pub(super) fn int_or_percent(at: &At<'_>, errors: &mut ErrorList) {
    match at.value() {
        Some(Value::String(text)) => {
            let digits = text.strip_suffix('%').unwrap_or("");
            if digits.is_empty() || !digits.chars().all(|c| c.is_ascii_digit()) {
                at.invalid(
                    errors,
                    "a valid percent string must be a numeric string followed by an ending '%' (e.g. '1%',  or '93%', regex used for validation is '[0-9]+%')",
                );
            }
        }
        Some(_) => at.not_negative(errors),
        None => {}
    }
}

/// Checks that a percentage is at most 100.
pub(super) fn at_most_100_percent(at: &At<'_>, errors: &mut ErrorList) {
    if percent(at).is_some_and(|percent| percent > 100) {
        at.invalid(errors, "must not be greater than 100%");
    }
}

fn percent(at: &At<'_>) -> Option<i64> {
    at.text().strip_suffix('%')?.parse().ok()
}

/// The number, or the percentage as a number.
pub(super) fn plain_amount(at: &At<'_>) -> i64 {
    percent(at).or(at.int()).unwrap_or(0)
}
