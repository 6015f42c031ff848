//! ValidatingAdmissionPolicy and MutatingAdmissionPolicy.

use std::collections::HashSet;

use skiff_apimachinery::field::{Error, ErrorList};
use skiff_apimachinery::names;
use skiff_apimachinery::value::Value;
use skiff_cel::escape::RESERVED;

use super::rules;
use crate::admission::policy::check;
use crate::apiextensions::jsonpath::JsonPath;
use crate::registry::at::At;
use crate::registry::core::validation::conditions;
use crate::registry::defaults::{absent, spec, within};
use crate::registry::strategy::{Strategy, WriteScope};

const REASONS: &[&str] = &["Forbidden", "Invalid", "RequestEntityTooLarge"];
const PATCH_TYPES: &[&str] = &["ApplyConfiguration", "JSONPatch"];
const MAX_ANNOTATIONS: usize = 20;
/// Bytes of an annotation's expression.
const MAX_ANNOTATION: usize = 5 * 1024;
const NOTHING_TO_DO: &str = "validations or auditAnnotations must contain at least one item";

/// ValidatingAdmissionPolicy.
pub struct ValidatingPolicyStrategy;

impl Strategy for ValidatingPolicyStrategy {
    fn set_defaults(&self, object: &mut Value) {
        spec(object, |spec| {
            absent(spec, "failurePolicy", "Fail");
            within(spec, "matchConstraints", rules::default_match);
        });
    }

    fn validate(&self, object: &Value) -> ErrorList {
        let mut errors = validating(object, true);
        errors.extend(check::validating(object, true));
        errors
    }

    fn validate_update(&self, _scope: WriteScope<'_>, new: &Value, old: &Value) -> ErrorList {
        let with_conditions = conditions_changed(new, old);
        let mut errors = validating(new, with_conditions);
        errors.extend(check::validating(new, with_conditions));
        errors
    }

    fn validate_status_update(&self, new: &Value, _old: &Value) -> ErrorList {
        let mut errors = ErrorList::default();
        let root = At::root(new);
        let status = root.child("status");
        let checking = status.child("typeChecking");
        for warning in checking.child("expressionWarnings").items() {
            warning.child("warning").require(&mut errors);
            field_reference(&warning.child("fieldRef"), &mut errors);
        }
        conditions::validate(&status.child("conditions"), &mut errors);
        errors
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

/// MutatingAdmissionPolicy.
pub struct MutatingPolicyStrategy;

impl Strategy for MutatingPolicyStrategy {
    fn set_defaults(&self, object: &mut Value) {
        ValidatingPolicyStrategy.set_defaults(object);
    }

    fn validate(&self, object: &Value) -> ErrorList {
        let mut errors = mutating(object, true);
        errors.extend(check::mutating(object, true));
        errors
    }

    fn validate_update(&self, _scope: WriteScope<'_>, new: &Value, old: &Value) -> ErrorList {
        let with_conditions = conditions_changed(new, old);
        let mut errors = mutating(new, with_conditions);
        errors.extend(check::mutating(new, with_conditions));
        errors
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

/// Conditions that stay as they are are not looked at again.
fn conditions_changed(new: &Value, old: &Value) -> bool {
    ["paramKind", "matchConditions"].iter().any(|field| new.at(&["spec", field]) != old.at(&["spec", field]))
}

/// What both kinds begin with.
fn common(spec: &At<'_>, mutating: bool, with_conditions: bool, errors: &mut ErrorList) {
    spec.child("failurePolicy").if_set_one_of(errors, rules::FAILURE_POLICIES);
    let params = spec.child("paramKind");
    if params.is_set() {
        param_kind(&params, errors);
    }
    let constraints = spec.child("matchConstraints");
    if constraints.is_set() {
        rules::match_resources(&constraints, errors);
        constraints.child("resourceRules").require(errors);
        if mutating {
            rules::mutating_operations(&constraints, errors);
        }
    } else {
        constraints.required(errors, "");
    }
    if with_conditions {
        rules::match_conditions(&spec.child("matchConditions"), errors);
    }
    for variable in spec.child("variables").items() {
        let (name, expression) = (variable.child("name"), variable.child("expression"));
        if name.text().trim().is_empty() {
            name.required(errors, "name is not specified");
        } else if !is_identifier(name.text()) {
            name.invalid(errors, "must be a valid CEL identifier");
        }
        if expression.text().trim().is_empty() {
            expression.required(errors, "expression is not specified");
        }
    }
}

fn is_identifier(name: &str) -> bool {
    let word = |c: u8| c == b'_' || c.is_ascii_alphanumeric();
    !name.starts_with(|c: char| c.is_ascii_digit()) && name.bytes().all(word) && !RESERVED.contains(&name)
}

fn param_kind(at: &At<'_>, errors: &mut ErrorList) {
    let (version, kind) = (at.child("apiVersion"), at.child("kind"));
    if version.require(errors) {
        api_version(&version, errors);
    }
    if kind.require(errors) {
        let messages = names::dns1035_label(&kind.text().to_lowercase());
        if !messages.is_empty() {
            let messages = messages.join(",");
            kind.invalid(errors, format!("may have mixed case, but should otherwise match: {messages}"));
        }
    }
}

fn api_version(at: &At<'_>, errors: &mut ErrorList) {
    let text = at.text();
    let (group, version) = match text.split_once('/') {
        Some((_, rest)) if rest.contains('/') => {
            return at.invalid(errors, format!("unexpected GroupVersion string: {text}"));
        }
        Some(parts) => parts,
        None => ("", text),
    };
    let mut wrong = |part: &str, messages: Vec<String>| {
        if !messages.is_empty() {
            errors.push(Error::invalid(&at.path(), part, messages.join(",")));
        }
    };
    if !group.is_empty() {
        wrong(group, names::dns1123_subdomain(group));
    }
    if version.is_empty() {
        wrong(text, vec!["version must be specified".to_owned()]);
    } else {
        wrong(version, names::dns1035_label(version));
    }
}

fn validating(object: &Value, with_conditions: bool) -> ErrorList {
    let mut errors = ErrorList::default();
    let root = At::root(object);
    let spec = root.child("spec");
    common(&spec, false, with_conditions, &mut errors);
    let (validations, annotations) = (spec.child("validations"), spec.child("auditAnnotations"));
    if validations.is_empty() && annotations.is_empty() {
        validations.required(&mut errors, NOTHING_TO_DO);
        annotations.required(&mut errors, NOTHING_TO_DO);
        return errors;
    }
    for one in validations.items() {
        validation(&one, &mut errors);
    }
    if annotations.len() > MAX_ANNOTATIONS {
        let message = format!("must not have more than {MAX_ANNOTATIONS} auditAnnotations");
        annotations.invalid_as("[AuditAnnotation", &mut errors, message);
    }
    let mut keys = HashSet::new();
    for annotation in annotations.items() {
        let (key, value) = (annotation.child("key"), annotation.child("valueExpression"));
        let policy = object.str_at(&["metadata", "name"]).unwrap_or("");
        let full = format!("{policy}/{}", key.text());
        for message in names::qualified_name(&full) {
            errors.push(Error::invalid(&key.path(), full.as_str(), message));
        }
        let length = value.text().trim().len();
        if length == 0 {
            value.required(&mut errors, "valueExpression is not specified");
        } else if length > MAX_ANNOTATION {
            value.required(&mut errors, &format!("must not exceed {MAX_ANNOTATION} bytes in length"));
        }
        if !keys.insert(key.text().to_owned()) {
            key.duplicate(&mut errors);
        }
    }
    errors
}

fn validation(at: &At<'_>, errors: &mut ErrorList) {
    let expression = at.child("expression");
    if expression.text().trim().is_empty() {
        expression.required(errors, "expression is not specified");
    }
    for field in ["messageExpression", "message"] {
        let text = at.child(field);
        let trimmed = text.text().trim();
        if !text.is_empty() && trimmed.is_empty() {
            text.invalid(errors, "must be non-empty if specified");
        } else if field == "message" && trimmed.contains(['\n', '\r']) {
            text.invalid(errors, "must not contain line breaks");
        }
    }
    at.child("reason").if_set_one_of(errors, REASONS);
}

fn mutating(object: &Value, with_conditions: bool) -> ErrorList {
    let mut errors = ErrorList::default();
    let root = At::root(object);
    let spec = root.child("spec");
    common(&spec, true, with_conditions, &mut errors);
    let mutations = spec.child("mutations");
    if mutations.is_empty() {
        mutations.required(&mut errors, "mutations must contain at least one item");
    }
    for mutation in mutations.items() {
        patch(&mutation, &mut errors);
    }
    spec.child("reinvocationPolicy").one_of(&mut errors, rules::REINVOCATION_POLICIES);
    errors
}

fn patch(mutation: &At<'_>, errors: &mut ErrorList) {
    let kind = mutation.child("patchType");
    let (own, other) = match kind.text() {
        "" => return kind.required(errors, ""),
        "JSONPatch" => ("jsonPatch", "applyConfiguration"),
        "ApplyConfiguration" => ("applyConfiguration", "jsonPatch"),
        _ => return kind.not_supported(errors, PATCH_TYPES),
    };
    let (own, other) = (mutation.child(own), mutation.child(other));
    if own.is_set() {
        let expression = own.child("expression");
        if expression.text().trim().is_empty() {
            expression.required(errors, "");
        }
    } else {
        own.required(errors, &format!("must be specified when patchType is {}", kind.text()));
    }
    if other.is_set() {
        let path = other.path();
        let name = if kind.text() == "JSONPatch" { "{applyConfiguration}" } else { "{jsonPatch}" };
        let message = format!("must not be specified when patchType is {}", kind.text());
        errors.push(Error::invalid(&path, name, message));
    }
}

/// A place in the policy that a warning is about, as a JSONPath.
fn field_reference(at: &At<'_>, errors: &mut ErrorList) {
    let text = at.text().trim();
    if text.is_empty() {
        return at.required(errors, "");
    }
    if let Err(problem) = JsonPath::parse(text) {
        errors.push(Error::invalid(&at.path(), text, format!("invalid JSONPath: {problem}")));
    }
}
