//! `metav1.Condition` in a status.
//!
//! Follows `k8s.io/apimachinery/pkg/apis/meta/v1/validation`.

use std::collections::HashSet;

use skiff_apimachinery::field::ErrorList;

use super::label_selector;
use crate::registry::at::At;

const STATUSES: &[&str] = &["False", "True", "Unknown"];
/// Bytes of a reason and of a message.
const MAX_REASON: usize = 1024;
const MAX_MESSAGE: usize = 32 * 1024;
const BAD_REASON: &str = "a condition reason must start with alphabetic character, optionally followed by a string of alphanumeric characters or '_,:', and must end with an alphanumeric character or '_' (e.g. 'my_name',  or 'MY_NAME',  or 'MyName',  or 'ReasonA,ReasonB',  or 'ReasonA:ReasonB', regex used for validation is '[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?')";

/// Validates a list of conditions.
pub fn validate(list: &At<'_>, errors: &mut ErrorList) {
    let mut types = HashSet::new();
    for condition in list.items() {
        let kind = condition.child("type");
        if !types.insert(kind.text().to_owned()) {
            kind.duplicate(errors);
        }
        one(&condition, errors);
    }
}

fn one(condition: &At<'_>, errors: &mut ErrorList) {
    label_selector::label_name(&condition.child("type"), errors);
    let status = condition.child("status");
    if !STATUSES.contains(&status.text()) {
        status.not_supported(errors, STATUSES);
    }
    let generation = condition.child("observedGeneration");
    if generation.int().is_some_and(|generation| generation < 0) {
        generation.invalid(errors, "must be greater than or equal to zero");
    }
    condition.child("lastTransitionTime").require(errors);
    let (reason, message) = (condition.child("reason"), condition.child("message"));
    if reason.require(errors) {
        if !is_reason(reason.text()) {
            reason.invalid(errors, BAD_REASON);
        }
        if reason.text().len() > MAX_REASON {
            reason.too_long(errors, MAX_REASON);
        }
    }
    if message.text().len() > MAX_MESSAGE {
        message.too_long(errors, MAX_MESSAGE);
    }
}

fn is_reason(text: &str) -> bool {
    let word = |c: char| c == '_' || c.is_ascii_alphanumeric();
    text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.ends_with(word)
        && text.chars().all(|c| word(c) || matches!(c, ',' | ':'))
}
