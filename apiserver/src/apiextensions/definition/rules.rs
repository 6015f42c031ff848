//! Rules in schemas (`x-kubernetes-validations`) as they are written: texts, paths, and whether they compile.

use std::collections::HashSet;

use skiff_apimachinery::field::{Error, ErrorList, Path};
use skiff_apimachinery::value::Value;

use super::super::cel::program::Program;
use super::super::schema::Schema;
use super::schemas::follow;

const REASONS: [&str; 4] = ["FieldValueDuplicate", "FieldValueForbidden", "FieldValueInvalid", "FieldValueRequired"];

/// Rules that a definition had before: they are held against nobody.
#[derive(Default)]
pub(super) struct Rules(HashSet<String>);

impl Rules {
    /// Of the definition that is replaced.
    pub(super) fn of(old: Option<&Value>) -> Self {
        let mut known = HashSet::new();
        for version in old.map(|old| old.array_at(&["spec", "versions"])).unwrap_or_default() {
            if let Some(schema) = version.at(&["schema", "openAPIV3Schema"]) {
                add_rules(&Schema::parse(schema), &mut known);
            }
        }
        Self(known)
    }
}

fn add_rules(schema: &Schema, known: &mut HashSet<String>) {
    known.extend(schema.rules.iter().flat_map(|rule| [rule.rule.clone(), rule.message_expression.clone()]));
    schema.properties.values().chain(schema.additional_schema()).for_each(|schema| add_rules(schema, known));
    schema.items.iter().for_each(|schema| add_rules(schema, known));
}

/// Checks what rules say beside their expressions.
pub(super) fn check_text(schema: &Value, path: &Path, errors: &mut ErrorList) {
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

/// Checks that expressions compile and look only at what can be told.
pub(super) fn validate(schema: &Value, known: &Rules, path: &Path, errors: &mut ErrorList) {
    walk(schema, known, path, None, errors);
}

/// `untold` is where a list begins whose elements have no identity: nobody can say what they were before.
fn walk(schema: &Value, known: &Rules, path: &Path, untold: Option<&Path>, errors: &mut ErrorList) {
    for (index, rule) in schema.array_at(&["x-kubernetes-validations"]).iter().enumerate() {
        check_expressions(rule, known, &path.child("x-kubernetes-validations").index(index), untold, errors);
    }
    let properties = schema.get("properties").and_then(Value::as_object);
    for (key, property) in properties.into_iter().flat_map(|properties| properties.iter()) {
        walk(property, known, &path.child("properties").key(key), untold, errors);
    }
    if let Some(additional) = schema.get("additionalProperties").filter(|schema| schema.as_object().is_some()) {
        walk(additional, known, &path.child("additionalProperties"), untold, errors);
    }
    if let Some(items) = schema.get("items") {
        let keyed = schema.str_at(&["x-kubernetes-list-type"]) == Some("map");
        let untold = untold.or((!keyed).then_some(path));
        walk(items, known, &path.child("items"), untold, errors);
    }
}

fn check_expressions(rule: &Value, known: &Rules, place: &Path, untold: Option<&Path>, errors: &mut ErrorList) {
    let text = |key: &str| rule.str_at(&[key]).unwrap_or("");
    for key in ["rule", "messageExpression"] {
        let expression = text(key);
        if expression.is_empty() {
            continue;
        }
        let place = place.child(key);
        match Program::compile(expression) {
            Err(_) if known.0.contains(expression) => {}
            Err(why) => errors.push(Error::invalid(&place, as_go_shows(rule), why)),
            Ok(program) if key == "rule" => {
                if !program.may_be_bool() {
                    errors.push(Error::invalid(&place, as_go_shows(rule), "cel expression must evaluate to a bool"));
                }
                check_old_self(rule, &program, &place, untold, errors);
            }
            Ok(_) => {}
        }
    }
}

fn check_old_self(rule: &Value, program: &Program, place: &Path, untold: Option<&Path>, errors: &mut ErrorList) {
    if let (true, Some(untold)) = (program.uses_old_self, untold) {
        let why = format!("oldSelf cannot be used on the uncorrelatable portion of the schema within {untold}");
        errors.push(Error::invalid(place, rule.get("rule").cloned().unwrap_or_default(), why));
    }
    if let (false, Some(optional)) = (program.uses_old_self, rule.get("optionalOldSelf")) {
        let place = place.to_string();
        let place = Path::new(place.strip_suffix(".rule").unwrap_or(&place)).child("optionalOldSelf");
        errors.push(Error::invalid(&place, optional.clone(), "may not be set if oldSelf is not used in rule"));
    }
}

/// A rule as Go's error shows its struct, with the characters of HTML escaped.
fn as_go_shows(rule: &Value) -> Value {
    let fields = [
        ("Rule", "rule", Value::from("")),
        ("Message", "message", Value::from("")),
        ("MessageExpression", "messageExpression", Value::from("")),
        ("Reason", "reason", Value::Null),
        ("FieldPath", "fieldPath", Value::from("")),
        ("OptionalOldSelf", "optionalOldSelf", Value::Null),
    ];
    let fields = fields.map(|(name, key, default)| {
        let mut text = Vec::new();
        skiff_apimachinery::json::write(rule.get(key).unwrap_or(&default), &mut text);
        format!("{name:?}:{}", String::from_utf8_lossy(&text))
    });
    let text = format!("{{{}}}", fields.join(","));
    Value::Raw(text.replace('<', "\\u003c").replace('>', "\\u003e").replace('&', "\\u0026").into())
}
