//! Groups that belong to the Kubernetes community need an approval.
//!
//! Follows `apihelpers/helpers.go` and `controller/apiapproval`.

use skiff_apimachinery::field::{Error, ErrorList, Path};
use skiff_apimachinery::value::Value;

use super::conditions::{self, Condition};
use skiff_cel::formats;

/// Holds the approval.
pub const ANNOTATION: &str = "api-approved.kubernetes.io";
const CONDITION: &str = "KubernetesAPIApprovalPolicyConformant";
const SEE: &str = "see https://github.com/kubernetes/enhancements/pull/1111";

/// Whether a group is one of the community's.
pub fn is_protected(group: &str) -> bool {
    ["k8s.io", "kubernetes.io"]
        .iter()
        .any(|community| group.strip_suffix(community).is_some_and(|rest| rest.is_empty() || rest.ends_with('.')))
}

enum Approval {
    Missing(String),
    Invalid(String),
    Bypassed(String),
    Approved(String),
}

fn approval(definition: &Value) -> Approval {
    let text = definition.str_at(&["metadata", "annotations", ANNOTATION]).unwrap_or("");
    if text.is_empty() {
        Approval::Missing(format!("protected groups must have approval annotation {ANNOTATION:?}, {SEE}"))
    } else if text.starts_with("unapproved") {
        Approval::Bypassed(format!("not approved: {text:?}"))
    } else if formats::accepts("uri", text) && text.contains("://") {
        Approval::Approved(format!("approved in {text}"))
    } else {
        Approval::Invalid(format!(
            "protected groups must have approval annotation {ANNOTATION:?} with either a URL or a reason starting with \"unapproved\", {SEE}"
        ))
    }
}

fn group(definition: &Value) -> &str {
    definition.str_at(&["spec", "group"]).unwrap_or("")
}

/// Says in the status whether the group is approved.
pub fn set_condition(definition: &mut Value) {
    if !is_protected(group(definition)) {
        return;
    }
    let (status, reason, message) = match approval(definition) {
        Approval::Missing(message) => (false, "MissingAnnotation", message),
        Approval::Invalid(message) => (false, "InvalidAnnotation", message),
        Approval::Bypassed(message) => (false, "UnapprovedAnnotation", message),
        Approval::Approved(message) => (true, "ApprovedAnnotation", message),
    };
    conditions::set(definition, Condition { ty: CONDITION, status, reason, message: &message });
}

/// Refuses a definition without approval; what is there already may stay as it is.
pub fn validate(new: &Value, old: Option<&Value>) -> ErrorList {
    let mut errors = ErrorList::new();
    if !is_protected(group(new)) {
        return errors;
    }
    let is_bad = |definition: &Value| matches!(approval(definition), Approval::Missing(_) | Approval::Invalid(_));
    if old.is_some_and(is_bad) {
        return errors;
    }
    let path = Path::new("metadata").child("annotations").key(ANNOTATION);
    match approval(new) {
        Approval::Missing(message) => errors.push(Error::required(&path, message)),
        Approval::Invalid(message) => {
            let text = new.str_at(&["metadata", "annotations", ANNOTATION]).unwrap_or("");
            errors.push(Error::invalid(&path, text, message));
        }
        Approval::Bypassed(_) | Approval::Approved(_) => {}
    }
    errors
}

#[cfg(test)]
mod tests {
    use skiff_apimachinery::value;

    use super::*;

    #[test]
    fn community_groups_need_a_link_or_an_excuse() {
        assert!(is_protected("k8s.io") && is_protected("a.k8s.io") && is_protected("x.kubernetes.io"));
        assert!(!is_protected("notk8s.io"));
        for (annotation, errors, reason) in [
            ("", 1, "MissingAnnotation"),
            ("x", 1, "InvalidAnnotation"),
            ("unapproved, testing", 0, "UnapprovedAnnotation"),
            ("https://github.com/x", 0, "ApprovedAnnotation"),
        ] {
            let mut object = value!({"metadata": {"annotations": {}}, "spec": {"group": "a.k8s.io"}});
            object.set_at(&["metadata", "annotations", ANNOTATION], annotation);
            assert_eq!(validate(&object, None).len(), errors, "{annotation}");
            set_condition(&mut object);
            let condition = conditions::find(&object, CONDITION).expect("a condition");
            assert_eq!(condition.str_at(&["reason"]), Some(reason));
        }
    }
}
