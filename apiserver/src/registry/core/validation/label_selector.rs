//! `metav1.LabelSelector` as a field of an object.
//!
//! Follows `k8s.io/apimachinery/pkg/apis/meta/v1/validation`.

use skiff_apimachinery::field::{Error, ErrorList};
use skiff_apimachinery::names;
use skiff_apimachinery::value::Value;

use crate::registry::at::At;
use crate::registry::object_meta;

/// Validates a selector.
pub fn validate(at: &At<'_>, errors: &mut ErrorList) {
    let labels = at.child("matchLabels");
    if let Some(value) = labels.value() {
        errors.extend(object_meta::validate_labels(value, &labels.path()));
    }
    let expressions = at.child("matchExpressions");
    for expression in expressions.items() {
        requirement(&expression, errors);
    }
}

fn requirement(at: &At<'_>, errors: &mut ErrorList) {
    let (key, operator, values) = (at.child("key"), at.child("operator"), at.child("values"));
    match operator.text() {
        "In" | "NotIn" if values.is_empty() => {
            values.required(errors, "must be specified when `operator` is 'In' or 'NotIn'");
        }
        "Exists" | "DoesNotExist" if !values.is_empty() => {
            values.forbidden(errors, "may not be specified when `operator` is 'Exists' or 'DoesNotExist'");
        }
        "In" | "NotIn" | "Exists" | "DoesNotExist" => {}
        _ => operator.invalid(errors, "not a valid selector operator"),
    }
    label_name(&key, errors);
    for value in values.items() {
        value.messages(errors, names::label_value(value.text()));
    }
}

/// Validates a label's key.
pub fn label_name(at: &At<'_>, errors: &mut ErrorList) {
    at.messages(errors, names::qualified_name(at.text()));
}

/// Whether a selector, which must be valid, matches these labels; an absent selector matches nothing.
pub fn matches(selector: Option<&Value>, labels: &Value) -> bool {
    let Some(selector) = selector else {
        return false;
    };
    let label = |key: &str| labels.get(key).and_then(Value::as_str);
    let pairs = selector.get("matchLabels").and_then(Value::as_object);
    let pairs_match = pairs.into_iter().flat_map(|o| o.iter()).all(|(key, value)| label(key) == value.as_str());
    pairs_match
        && selector.array_at(&["matchExpressions"]).iter().all(|expression| {
            let found = label(expression.str_at(&["key"]).unwrap_or(""));
            let listed = |value: &str| expression.array_at(&["values"]).iter().any(|v| v.as_str() == Some(value));
            match expression.str_at(&["operator"]).unwrap_or("") {
                "In" => found.is_some_and(listed),
                "NotIn" => !found.is_some_and(listed),
                "Exists" => found.is_some(),
                "DoesNotExist" => found.is_none(),
                _ => false,
            }
        })
}

/// Whether a selector is well-formed.
pub fn is_usable(at: &At<'_>) -> bool {
    let mut errors = ErrorList::default();
    validate(at, &mut errors);
    errors.is_empty()
}

/// Whether a selector selects everything.
pub fn is_empty(at: &At<'_>) -> bool {
    at.child("matchLabels").is_empty() && at.child("matchExpressions").is_empty()
}

/// Validates that a workload's selector is not empty and selects what its template makes.
pub fn of_workload(spec: &At<'_>, template_labels: Option<&Value>, errors: &mut ErrorList) {
    let selector = spec.child("selector");
    if !selector.is_set() {
        return selector.required(errors, "");
    }
    validate(&selector, errors);
    if is_empty(&selector) {
        selector.invalid(errors, "empty selector is invalid for deployment");
    } else if !matches(selector.value(), template_labels.unwrap_or(&Value::Null)) {
        let (template, metadata) = (spec.child("template"), "metadata");
        let metadata = template.child(metadata);
        let labels = metadata.child("labels");
        let shown = labels.value().cloned().unwrap_or_default();
        errors.push(Error::invalid(&labels.path(), shown, "`selector` does not match template `labels`"));
    }
}

/// A selector in its text form, terms in the order of their keys. A plain map of labels is one as well.
pub fn to_text(selector: Option<&Value>) -> String {
    let Some(selector) = selector else {
        return String::new();
    };
    let is_plain = selector.get("matchLabels").is_none() && selector.get("matchExpressions").is_none();
    let labels = if is_plain { Some(selector) } else { selector.get("matchLabels") };
    let mut terms = labels
        .and_then(Value::as_object)
        .into_iter()
        .flat_map(|labels| labels.iter())
        .map(|(key, value)| (key.to_owned(), format!("{key}={}", value.as_str().unwrap_or(""))))
        .collect::<Vec<_>>();
    for expression in selector.array_at(&["matchExpressions"]) {
        let key = expression.str_at(&["key"]).unwrap_or("");
        let mut values = expression.array_at(&["values"]).iter().filter_map(Value::as_str).collect::<Vec<_>>();
        values.sort_unstable();
        let values = values.join(",");
        let term = match expression.str_at(&["operator"]).unwrap_or("") {
            "In" => format!("{key} in ({values})"),
            "NotIn" => format!("{key} notin ({values})"),
            "Exists" => key.to_owned(),
            _ => format!("!{key}"),
        };
        terms.push((key.to_owned(), term));
    }
    terms.sort();
    terms.into_iter().map(|(_, term)| term).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use skiff_apimachinery::value;

    use super::*;

    #[test]
    fn text_form() {
        let selector = value!({
            "matchLabels": {"b": "1"},
            "matchExpressions": [
                {"key": "a", "operator": "In", "values": ["y", "x"]},
                {"key": "c", "operator": "DoesNotExist"}
            ]
        });
        assert_eq!(to_text(Some(&selector)), "a in (x,y),b=1,!c");
        assert_eq!(to_text(Some(&value!({"app": "web"}))), "app=web");
    }
}
