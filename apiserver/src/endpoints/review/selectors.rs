//! The selectors of a SubjectAccessReview: what is wrong with them, and what of them an authorizer can use.
//!
//! Follows `pkg/apis/authorization/validation` and `pkg/registry/authorization/util/helpers.go`. What cannot be read is
//! left out, which makes the question broader, and the answer says so.

use skiff_apimachinery::field::{Error, ErrorList, Path};
use skiff_apimachinery::value::Value;
use skiff_apimachinery::{fields, labels, names};

/// Operators that upstream knows; others may come from newer clients and are not refused.
const SET: [&str; 2] = ["In", "NotIn"];
const EXISTENCE: [&str; 2] = ["Exists", "DoesNotExist"];

/// Validates both selectors of `resourceAttributes`.
pub(super) fn validate(attributes: &Value, errors: &mut ErrorList) {
    let path = Path::new("spec.resourceAttributes");
    for (field, check) in [
        ("fieldSelector", field_requirement as fn(&Value, &Path, &mut ErrorList)),
        ("labelSelector", label_requirement),
    ] {
        let Some(selector) = attributes.get(field) else { continue };
        let path = path.child(field);
        let requirements = selector.array_at(&["requirements"]);
        let raw = selector.str_at(&["rawSelector"]).unwrap_or("");
        if !raw.is_empty() && !requirements.is_empty() {
            let text = "may not specified at the same time as requirements";
            errors.push(Error::invalid(&path.child("rawSelector"), raw, text));
        }
        if raw.is_empty() && requirements.is_empty() {
            let text = format!("when {path} is specified, requirements or rawSelector is required");
            errors.push(Error::required(&path.child("requirements"), text));
        }
        for (index, requirement) in requirements.iter().enumerate() {
            check(requirement, &path.child("requirements").index(index), errors);
        }
    }
}

fn field_requirement(requirement: &Value, path: &Path, errors: &mut ErrorList) {
    if requirement.str_at(&["key"]).unwrap_or("").is_empty() {
        errors.push(Error::required(&path.child("key"), "must be specified"));
    }
    values(requirement, path, errors);
}

fn label_requirement(requirement: &Value, path: &Path, errors: &mut ErrorList) {
    values(requirement, path, errors);
    let key = requirement.str_at(&["key"]).unwrap_or("");
    for message in names::qualified_name(key) {
        errors.push(Error::invalid(&path.child("key"), key, message));
    }
    for (index, value) in requirement.array_at(&["values"]).iter().filter_map(Value::as_str).enumerate() {
        for message in names::label_value(value) {
            errors.push(Error::invalid(&path.child("values").index(index), value, message));
        }
    }
}

fn values(requirement: &Value, path: &Path, errors: &mut ErrorList) {
    let operator = requirement.str_at(&["operator"]).unwrap_or("");
    let empty = requirement.array_at(&["values"]).is_empty();
    if SET.contains(&operator) && empty {
        let text = "must be specified when `operator` is 'In' or 'NotIn'";
        errors.push(Error::required(&path.child("values"), text));
    }
    if EXISTENCE.contains(&operator) && !empty {
        let text = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'";
        errors.push(Error::forbidden(&path.child("values"), text));
    }
}

/// What an authorizer can use of the field selector, and what the answer says about the rest of both selectors.
pub(super) fn usable(attributes: &Value) -> (Vec<(String, String, String)>, String) {
    let (fields, field_trouble) = field_requirements(attributes.get("fieldSelector"));
    let (label_count, label_trouble) = label_requirements(attributes.get("labelSelector"));
    let mut notes = Vec::new();
    for (name, trouble, some) in
        [("fieldSelector", field_trouble, !fields.is_empty()), ("labelSelector", label_trouble, label_count > 0)]
    {
        if trouble {
            let partially = if some { "partially " } else { "" };
            notes.push(format!("spec.resourceAttributes.{name} {partially}ignored due to parse error"));
        }
    }
    (fields, notes.join("; "))
}

fn requirements(selector: Option<&Value>) -> (&str, &[Value]) {
    let raw = selector.and_then(|selector| selector.str_at(&["rawSelector"])).unwrap_or("");
    (raw, selector.map_or(&[], |selector| selector.array_at(&["requirements"])))
}

fn field_requirements(selector: Option<&Value>) -> (Vec<(String, String, String)>, bool) {
    let (raw, list) = requirements(selector);
    let operator = |equal: bool| if equal { "=" } else { "!=" }.to_owned();
    if !raw.is_empty() {
        return match fields::Selector::parse(raw) {
            Ok(parsed) => {
                let all = parsed.requirements().iter().map(|r| (r.field.clone(), operator(r.equal), r.value.clone()));
                (all.collect(), false)
            }
            Err(_) => (Vec::new(), true),
        };
    }
    let usable = list.iter().filter_map(|requirement| {
        let equal = match requirement.str_at(&["operator"]) {
            Some("In") => true,
            Some("NotIn") => false,
            _ => return None,
        };
        let [value] = requirement.array_at(&["values"]) else { return None };
        Some((requirement.str_at(&["key"])?.to_owned(), operator(equal), value.as_str()?.to_owned()))
    });
    let usable = usable.collect::<Vec<_>>();
    let trouble = usable.len() < list.len();
    (usable, trouble)
}

/// How many requirements could be used, and whether any could not: no authorizer here looks at labels.
fn label_requirements(selector: Option<&Value>) -> (usize, bool) {
    let (raw, list) = requirements(selector);
    if !raw.is_empty() {
        return labels::Selector::parse(raw).map_or((0, true), |parsed| (parsed.requirements().len(), false));
    }
    let known = |requirement: &&Value| {
        requirement.str_at(&["operator"]).is_some_and(|o| SET.contains(&o) || EXISTENCE.contains(&o))
    };
    let usable = list.iter().filter(known).count();
    (usable, usable < list.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use skiff_apimachinery::value;

    #[test]
    fn what_cannot_be_read_is_left_out_and_said() {
        let requirement = |operator: &str, values: Value| value!({"key": "a", "operator": operator, "values": values});
        let of = |selector: Value| usable(&value!({"fieldSelector": selector}));
        let note = |text: &str| format!("spec.resourceAttributes.fieldSelector {text}ignored due to parse error");
        let equal = ("a".to_owned(), "=".to_owned(), "b".to_owned());
        assert_eq!(of(value!({"rawSelector": "a=b"})), (vec![equal.clone()], String::new()));
        assert_eq!(of(value!({"rawSelector": "a"})), (Vec::new(), note("")));
        let both = value!({"requirements": [(requirement("In", value!(["b"]))), (requirement("Exists", value!([])))]});
        assert_eq!(of(both), (vec![equal], note("partially ")));
        let several = value!({"requirements": [(requirement("In", value!(["b", "c"])))]});
        assert_eq!(of(several), (Vec::new(), note("")));
    }
}
