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

/// Validates a selector and the template that must fit it.
pub(super) fn selector_and_template(spec: &At<'_>, kind: &str, selector_kind: &str, errors: &mut ErrorList) {
    let (selector, template) = (spec.child("selector"), spec.child("template"));
    if selector.is_set() {
        label_selector::validate(&selector, errors);
        if label_selector::is_empty(&selector) {
            selector.invalid(errors, format!("empty selector is invalid for {selector_kind}"));
        }
    } else {
        selector.required(errors, "");
    }
    let metadata = template.child("metadata");
    let labels = metadata.child("labels");
    let fits = label_selector::matches(selector.value(), labels.value().unwrap_or(&Value::Null));
    // A selector that is not there matches nothing, an empty one everything.
    let misses = if selector.is_set() { !label_selector::is_empty(&selector) && !fits } else { true };
    if misses {
        labels.invalid(errors, "`selector` does not match template `labels`");
    }
    pod_spec::template(&template, errors);
    only_always(&template, kind, errors);
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
