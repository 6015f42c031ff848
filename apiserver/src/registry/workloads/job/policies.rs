//! What makes a Job fail or succeed before it is through: `podFailurePolicy` and `successPolicy`.
//!
//! Follows `validatePodFailurePolicy` and `validateSuccessPolicy` of `pkg/apis/batch/validation/validation.go`.

use std::collections::HashSet;

use skiff_apimachinery::field::{Error, ErrorList};
use skiff_apimachinery::names;
use skiff_apimachinery::value::Value;

use super::indexes;
use crate::registry::at::At;

const MAX_RULES: usize = 20;
const MAX_EXIT_CODES: usize = 255;
const MAX_CONDITIONS: usize = 20;
/// Bytes of a text that names indexes.
const MAX_INDEXES: usize = 64 * 1024;
const ACTIONS: &[&str] = &["Count", "FailIndex", "FailJob", "Ignore"];
const OPERATORS: &[&str] = &["In", "NotIn"];
const STATUSES: &[&str] = &["False", "True", "Unknown"];

/// Checks one of some values; the message for a missing one lists them.
fn listed(at: &At<'_>, supported: &[&str], errors: &mut ErrorList) {
    if at.is_empty() {
        let shown = supported.iter().map(|value| format!("{value:?}")).collect::<Vec<_>>();
        at.required(errors, &format!("valid values: [{}]", shown.join(" ")));
    } else if !supported.contains(&at.text()) {
        at.not_supported(errors, supported);
    }
}

/// Validates the failure policy in the spec of a Job.
pub(super) fn failure(spec: &At<'_>, errors: &mut ErrorList) {
    let policy = spec.child("podFailurePolicy");
    let rules = policy.child("rules");
    if rules.len() > MAX_RULES {
        rules.too_many(errors, MAX_RULES);
    }
    for rule in rules.items() {
        let action = rule.child("action");
        if action.text() == "FailIndex" {
            if !spec.child("backoffLimitPerIndex").is_set() {
                action.invalid(errors, "requires the backoffLimitPerIndex to be set");
            }
        } else {
            listed(&action, ACTIONS, errors);
        }
        let (codes, conditions) = (rule.child("onExitCodes"), rule.child("onPodConditions"));
        if codes.is_set() {
            exit_codes(&codes, spec, errors);
        }
        if conditions.len() > MAX_CONDITIONS {
            conditions.too_many(errors, MAX_CONDITIONS);
        }
        for condition in conditions.items() {
            let kind = condition.child("type");
            kind.messages(errors, names::qualified_name(kind.text()));
            listed(&condition.child("status"), STATUSES, errors);
        }
        let text = match (codes.is_set(), !conditions.is_empty()) {
            (true, true) => "specifying both OnExitCodes and OnPodConditions is not supported",
            (false, false) => "specifying one of OnExitCodes and OnPodConditions is required",
            _ => continue,
        };
        rule.invalid_omitted(errors, text);
    }
}

fn exit_codes(codes: &At<'_>, spec: &At<'_>, errors: &mut ErrorList) {
    let (operator, container, values) = (codes.child("operator"), codes.child("containerName"), codes.child("values"));
    listed(&operator, OPERATORS, errors);
    let template = spec.child("template");
    let pod = template.child("spec");
    let named = |list: &str| pod.child(list).items().any(|other| other.child("name").text() == container.text());
    if container.is_set() && !named("containers") && !named("initContainers") {
        container.invalid(errors, "must be one of the container or initContainer names in the pod template");
    }
    if values.is_empty() {
        // Canonical form does not tell an empty list from none; clients write the former.
        errors.push(Error::invalid(&values.path(), Value::Array(Vec::new()), "at least one value is required"));
    } else if values.len() > MAX_EXIT_CODES {
        values.too_many(errors, MAX_EXIT_CODES);
    }
    let mut seen = HashSet::new();
    for value in values.items() {
        if operator.text() == "In" && value.int() == Some(0) {
            value.invalid(errors, "must not be 0 for the In operator");
        }
        if !seen.insert(value.int()) {
            value.duplicate(errors);
        }
    }
    if !values.items().map(|value| value.int()).is_sorted() {
        values.invalid(errors, "must be ordered");
    }
}

/// Validates the success policy in the spec of an indexed Job.
pub(super) fn success(spec: &At<'_>, errors: &mut ErrorList) {
    let policy = spec.child("successPolicy");
    let rules = policy.child("rules");
    if rules.is_empty() {
        rules.required(errors, "at least one rules must be specified when the successPolicy is specified");
    }
    if rules.len() > MAX_RULES {
        rules.too_many(errors, MAX_RULES);
    }
    let completions = spec.child("completions").int().unwrap_or(0);
    for rule in rules.items() {
        success_rule(&rule, completions, errors);
    }
}

fn success_rule(rule: &At<'_>, completions: i64, errors: &mut ErrorList) {
    let (set, count) = (rule.child("succeededIndexes"), rule.child("succeededCount"));
    if !set.is_set() && !count.is_set() {
        rule.required(errors, "at least one of succeededCount or succeededIndexes must be specified");
    }
    let mut named = 0;
    if set.is_set() {
        if set.text().len() > MAX_INDEXES {
            set.too_long(errors, MAX_INDEXES);
        }
        match indexes::count(set.text(), completions) {
            Ok(total) => named = total,
            Err(error) => set.invalid(errors, format!("error parsing succeededIndexes: {error}")),
        }
    }
    count.not_negative(errors);
    let above = |limit: i64| count.int().is_some_and(|count| count > limit);
    if above(completions) {
        let text = format!("must be less than or equal to {completions} (the number of specified completions)");
        count.invalid(errors, text);
    }
    if set.is_set() && above(named) {
        let text = format!(
            "must be less than or equal to {named} (the number of indexes in the specified succeededIndexes field)"
        );
        count.invalid(errors, text);
    }
}
