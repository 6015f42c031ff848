//! What may change in the spec of a Job.
//!
//! Follows `ValidateJobSpecUpdate` and `validatePodTemplateUpdate` of `pkg/apis/batch/validation/validation.go`.

use skiff_apimachinery::field::{ErrorList, Path};
use skiff_apimachinery::value::Value;

use super::status::is_true;
use super::validation;
use crate::registry::at::At;
use crate::registry::internal;

const IMMUTABLE: &str = "field is immutable";
/// Where the pods run, which may change while none does; of affinity only that to nodes.
const SCHEDULING: [&[&str]; 5] = [
    &["spec", "nodeSelector"],
    &["spec", "tolerations"],
    &["spec", "schedulingGates"],
    &["metadata", "annotations"],
    &["metadata", "labels"],
];

/// Validates a change, after the Job as it is now.
pub(super) fn validate(new: &Value, old: &Value, errors: &mut ErrorList) {
    let (new_root, old_root) = (At::root(new), At::root(old));
    let (spec, before) = (new_root.child("spec"), old_root.child("spec"));
    // Upstream does so twice, and its answers list every fault as often.
    validation::spec_with_selector(&spec, errors);
    let completions = spec.child("completions");
    if spec.child("completionMode").text() != "Indexed" {
        completions.or_null().immutable(errors, &before.child("completions").or_null());
    } else if completions.is_set()
        && completions.value() != before.child("completions").value()
        && completions.int() != spec.child("parallelism").int()
    {
        completions.invalid(errors, "can only be modified in tandem with spec.parallelism");
    }
    spec.child("selector").immutable_as("*LabelSelector", errors, &before.child("selector"));
    template(new, old, errors);
    for (field, ty) in [
        ("completionMode", "*s"),
        ("podFailurePolicy", "*PodFailurePolicy"),
        ("backoffLimitPerIndex", "*i"),
        ("managedBy", "*s"),
        ("successPolicy", "*SuccessPolicy"),
    ] {
        spec.child(field).immutable_as(ty, errors, &before.child(field));
    }
}

/// The template is fixed, but for where pods run and what they take while a Job is suspended and has none.
fn template(new: &Value, old: &Value, errors: &mut ErrorList) {
    let steps = ["spec", "template"];
    let (Some(now), Some(before)) = (new.at(&steps), old.at(&steps)) else { return };
    let suspended = old.bool_at(&["spec", "suspend"]) == Some(true);
    let not_started = old.at(&["status", "startTime"]).is_none();
    let idle = old.i64_at(&["status", "active"]).unwrap_or(0) == 0;
    let path = Path::new("spec").child("template");
    if !(suspended && (not_started || is_true(old, "Suspended")) && idle) {
        if now != before {
            let shown = internal::shown(Some(now), "PodTemplateSpec");
            errors.push(skiff_apimachinery::field::Error::invalid(&path, shown, IMMUTABLE));
        }
        return;
    }
    let mut allowed = before.clone();
    for field in SCHEDULING {
        copy(&mut allowed, now, field);
    }
    let affinity = ["spec", "affinity"];
    copy(&mut allowed, now, &["spec", "affinity", "nodeAffinity"]);
    let is_empty = |value: &Value| value.as_object().is_some_and(skiff_apimachinery::value::Object::is_empty);
    match (allowed.at(&affinity).is_some_and(is_empty), now.at(&affinity)) {
        (true, None) => drop(allowed.remove_at(&affinity)),
        (false, Some(now)) if is_empty(now) && allowed.at(&affinity).is_none() => {
            allowed.set_at(&affinity, now.clone());
        }
        _ => {}
    }
    for list in ["containers", "initContainers"] {
        resources(&mut allowed, now, list);
    }
    if now.get("spec") != allowed.get("spec") {
        let shown = internal::shown(now.get("spec"), "PodSpec");
        errors.push(skiff_apimachinery::field::Error::invalid(&path.child("spec"), shown, IMMUTABLE));
    }
}

fn copy(to: &mut Value, from: &Value, steps: &[&str]) {
    match from.at(steps) {
        Some(value) => to.set_at(steps, value.clone()),
        None => drop(to.remove_at(steps)),
    }
}

/// Takes the resources of containers that have stayed in their places.
fn resources(to: &mut Value, from: &Value, list: &str) {
    let wanted = from.array_at(&["spec", list]).to_vec();
    let containers = to.get_mut("spec").and_then(|spec| spec.get_mut(list)).and_then(Value::as_array_mut);
    for (container, wanted) in containers.into_iter().flatten().zip(&wanted) {
        if container.get("name") == wanted.get("name") {
            copy(container, wanted, &["resources"]);
        }
    }
}
