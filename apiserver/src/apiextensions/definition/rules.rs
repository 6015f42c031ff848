//! Rules in schemas (`x-kubernetes-validations`) as they are written: texts, paths, and whether they compile.

use std::sync::Arc;

use skiff_apimachinery::field::{Error, ErrorList, Path};
use skiff_apimachinery::value::Value;
use skiff_cel::declared::Declared;

use super::super::declared;
use super::super::rules::{Compiled, compile_rules};
use super::super::schema::Schema;
use super::rule_costs::{Costs, repeated};
use super::schemas::follow;

const REASONS: [&str; 4] = ["FieldValueDuplicate", "FieldValueForbidden", "FieldValueInvalid", "FieldValueRequired"];

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

/// Checks that expressions compile, look only at what can be told, and cost no more than they may. Of an `unchanged`
/// schema only all expressions together are held to what they may cost.
pub(super) fn validate(schema: &Value, unchanged: bool, path: &Path, errors: &mut ErrorList) {
    let mut walk = Walk { costs: Costs::new(unchanged), errors };
    walk.schema(schema, path, &Place { root: true, untold: None, times: Some(1) });
    walk.costs.conclude(path, walk.errors);
}

/// Where a schema stands.
struct Place {
    /// Whether it is that of the resource.
    root: bool,
    /// Where a list begins above it whose elements have no identity: nobody can say what they were before.
    untold: Option<Path>,
    /// How many of its values an object can have; `None` without a bound.
    times: Option<u64>,
}

struct Walk<'e> {
    costs: Costs,
    errors: &'e mut ErrorList,
}

impl Walk<'_> {
    fn schema(&mut self, schema: &Value, path: &Path, place: &Place) {
        let times = place.times.and_then(|times| Some(times.saturating_mul(repeated(schema)?)));
        let below = |untold: Option<Path>| Place { root: false, untold, times };
        // What is below is told first, as upstream does.
        if let Some(additional) = schema.get("additionalProperties").filter(|schema| schema.as_object().is_some()) {
            self.schema(additional, &path.child("additionalProperties"), &below(place.untold.clone()));
        }
        let properties = schema.get("properties").and_then(Value::as_object);
        for (key, property) in properties.into_iter().flat_map(|properties| properties.iter()) {
            self.schema(property, &path.child("properties").key(key), &below(place.untold.clone()));
        }
        if let Some(items) = schema.get("items") {
            let keyed = schema.str_at(&["x-kubernetes-list-type"]) == Some("map");
            let untold = place.untold.clone().or_else(|| (!keyed).then(|| path.clone()));
            self.schema(items, &path.child("items"), &below(untold));
        }
        let rules = schema.array_at(&["x-kubernetes-validations"]);
        if !rules.is_empty() {
            self.rules(schema, rules, path, place);
        }
    }

    fn rules(&mut self, schema: &Value, rules: &[Value], path: &Path, place: &Place) {
        let path = path.child("x-kubernetes-validations");
        let parsed = Schema::parse(schema);
        let Some(declared) = declared::of(&parsed, "selfType", place.root || parsed.embedded) else {
            let why = "internal error: failed to construct type information for x-kubernetes-validations rules: \
                       unable to convert structural schema to CEL declarations";
            self.errors.push(Error::internal(&path, why));
            return;
        };
        let declared = Arc::new(declared);
        for (index, (rule, compiled)) in rules.iter().zip(compile_rules(&parsed, &declared)).enumerate() {
            self.rule(rule, &compiled, &declared, &path.index(index), place);
        }
    }

    fn rule(&mut self, rule: &Value, compiled: &Compiled, declared: &Declared, path: &Path, place: &Place) {
        let at_rule = path.child("rule");
        match &compiled.program {
            Ok(program) => self.costs.rule(program, declared, place.times, &at_rule, self.errors),
            Err(why) => self.errors.push(Error::invalid(&at_rule, as_go_shows(rule), why.clone())),
        }
        let at_message = path.child("messageExpression");
        match &compiled.message {
            Some(Ok(program)) => self.costs.message(program, declared, &at_message, self.errors),
            Some(Err(why)) => self.errors.push(Error::invalid(&at_message, as_go_shows(rule), why.clone())),
            None => {}
        }
        match (compiled.uses_old_self, &place.untold, rule.get("optionalOldSelf")) {
            (true, Some(untold), _) => {
                let why = format!("oldSelf cannot be used on the uncorrelatable portion of the schema within {untold}");
                let text = rule.get("rule").cloned().unwrap_or_default();
                self.errors.push(Error::invalid(&at_rule, text, why));
            }
            (false, _, Some(optional)) => {
                let why = "may not be set if oldSelf is not used in rule";
                self.errors.push(Error::invalid(&path.child("optionalOldSelf"), optional.clone(), why));
            }
            _ => {}
        }
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
