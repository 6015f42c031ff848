//! ValidatingAdmissionPolicyBinding and MutatingAdmissionPolicyBinding.

use std::collections::HashSet;

use skiff_apimachinery::field::ErrorList;
use skiff_apimachinery::names;
use skiff_apimachinery::value::Value;

use super::rules;
use crate::registry::at::At;
use crate::registry::core::validation::{formats, label_selector};
use crate::registry::defaults::within;
use crate::registry::strategy::{Strategy, WriteScope};

const ACTIONS: &[&str] = &["Audit", "Deny", "Warn"];
const NOT_FOUND_ACTIONS: &[&str] = &["Deny", "Allow"];
const EXCLUSIVE: &str = "name and selector are mutually exclusive";
const DENY_AND_WARN: &str = "must not contain both Deny and Warn (repeating the same validation failure information in the API response and headers serves no purpose)";

/// A binding of either kind.
pub struct BindingStrategy {
    /// Whether its policy changes objects.
    pub mutating: bool,
}

impl Strategy for BindingStrategy {
    fn set_defaults(&self, object: &mut Value) {
        within(object.object_at_mut(&["spec"]), "matchResources", rules::default_match);
    }

    fn validate(&self, object: &Value) -> ErrorList {
        let mut errors = ErrorList::default();
        let root = At::root(object);
        let spec = root.child("spec");
        let policy = spec.child("policyName");
        if policy.require(&mut errors) {
            formats::subdomain(&policy, &mut errors);
        }
        let parameter = spec.child("paramRef");
        if parameter.is_set() {
            parameter_reference(&parameter, &mut errors);
        }
        let resources = spec.child("matchResources");
        if resources.is_set() {
            rules::match_resources(&resources, &mut errors);
        }
        if self.mutating {
            rules::mutating_operations(&resources, &mut errors);
        } else {
            actions(&spec.child("validationActions"), &mut errors);
        }
        errors
    }

    fn validate_update(&self, _scope: WriteScope<'_>, new: &Value, _old: &Value) -> ErrorList {
        self.validate(new)
    }

    fn warnings(&self, new: &Value, _old: Option<&Value>) -> Vec<String> {
        rules::name_warnings(new)
    }

    fn counts_generation(&self) -> bool {
        true
    }

    fn allow_unconditional_update(&self) -> bool {
        false
    }
}

fn parameter_reference(at: &At<'_>, errors: &mut ErrorList) {
    let (name, selector, action) = (at.child("name"), at.child("selector"), at.child("parameterNotFoundAction"));
    if !name.is_empty() {
        name.messages(errors, names::path_segment(name.text()));
        if selector.is_set() {
            name.forbidden(errors, EXCLUSIVE);
        }
    }
    if selector.is_set() {
        label_selector::validate(&selector, errors);
        if !name.is_empty() {
            selector.forbidden(errors, EXCLUSIVE);
        }
    }
    if name.is_empty() && !selector.is_set() {
        at.required(errors, "one of name or selector must be specified");
    }
    action.one_of(errors, NOT_FOUND_ACTIONS);
}

fn actions(list: &At<'_>, errors: &mut ErrorList) {
    let mut seen = HashSet::new();
    for action in list.items() {
        if !ACTIONS.contains(&action.text()) {
            action.not_supported(errors, ACTIONS);
        }
        if !seen.insert(action.text().to_owned()) {
            action.duplicate(errors);
        }
    }
    if seen.contains("Deny") && seen.contains("Warn") {
        list.invalid(errors, DENY_AND_WARN);
    }
    if seen.is_empty() {
        list.required(errors, "at least one validation action is required");
    }
}
