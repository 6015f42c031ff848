//! Annotations of pods that mean something, or once did.
//!
//! Follows `ValidatePodSpecificAnnotations` of `pkg/apis/core/validation` and `applyAppArmorVersionSkew` of
//! `pkg/registry/core/pod`.

use skiff_apimachinery::field::{Error, ErrorList, Path};
use skiff_apimachinery::value;
use skiff_apimachinery::value::Value;

use super::formats;
use crate::registry::at::At;

const MIRROR_POD: &str = "kubernetes.io/config.mirror";
const DELETION_COST: &str = "controller.kubernetes.io/pod-deletion-cost";
const SECCOMP_POD: &str = "seccomp.security.alpha.kubernetes.io/pod";
const SECCOMP_CONTAINER: &str = "container.seccomp.security.alpha.kubernetes.io/";
/// What the keys of the old annotations for AppArmor begin with.
pub(super) const APP_ARMOR: &str = "container.apparmor.security.beta.kubernetes.io/";
const CONTAINERS: [&str; 3] = ["initContainers", "containers", "ephemeralContainers"];

/// Validates the annotations of a pod, which are at `path`.
pub fn validate(annotations: &At<'_>, spec: &At<'_>, path: &Path, errors: &mut ErrorList) {
    for (key, at) in annotations.entries() {
        let at_key = path.key(key);
        match key {
            MIRROR_POD if spec.child("nodeName").is_empty() => {
                let message = "must set spec.nodeName if mirror pod annotation is set";
                errors.push(Error::invalid(&at_key, at.text(), message));
            }
            DELETION_COST if !is_cost(at.text()) => {
                errors.push(Error::invalid(&at_key, at.text(), "must be a 32bit integer"));
            }
            _ if key == SECCOMP_POD || key.starts_with(SECCOMP_CONTAINER) => seccomp(&at, &path.child(key), errors),
            _ => {}
        }
    }
    for (key, at) in annotations.entries() {
        let Some(name) = key.strip_prefix(APP_ARMOR) else { continue };
        if !CONTAINERS.iter().any(|list| spec.child(list).items().any(|c| c.child("name").text() == name)) {
            errors.push(Error::invalid(&path.key(key), name, "container not found"));
        }
        if app_armor_profile(at.text()).is_none() {
            let message = format!("invalid AppArmor profile name: {:?}", at.text());
            errors.push(Error::invalid(&path.key(key), at.text(), message));
        }
    }
}

/// A number that Go's parser takes and that is written in the one way that people expect.
fn is_cost(text: &str) -> bool {
    let digits = text.strip_prefix('-').unwrap_or(text);
    text.parse::<i32>().is_ok() && !text.starts_with('+') && (digits == "0" || !digits.starts_with('0'))
}

fn seccomp(at: &At<'_>, path: &Path, errors: &mut ErrorList) {
    match at.text() {
        "unconfined" | "runtime/default" | "docker/default" => {}
        text => match text.strip_prefix("localhost/") {
            Some(profile) => {
                let value = Value::from(profile);
                let mut found = ErrorList::default();
                formats::local_descending_path(&At::root(&value), &mut found);
                errors.extend(found.into_iter().map(|error| Error::invalid(path, profile, error.detail)));
            }
            None => errors.push(Error::invalid(path, text, "must be a valid seccomp profile")),
        },
    }
}

/// The profile that a value of the old annotation stands for.
fn app_armor_profile(text: &str) -> Option<Value> {
    Some(match text {
        "unconfined" => value!({"type": "Unconfined"}),
        "runtime/default" => value!({"type": "RuntimeDefault"}),
        _ => match text.strip_prefix("localhost/") {
            Some(profile) if !profile.is_empty() => value!({"type": "Localhost", "localhostProfile": profile}),
            _ => return None,
        },
    })
}

/// Copies AppArmor profiles from annotations to containers that have none of their own.
pub fn app_armor_to_fields(pod: &mut Value) {
    for Annotated { list, index, profile, .. } in annotated(pod) {
        let containers = pod.object_at_mut(&["spec"]).get_mut(list).and_then(Value::as_array_mut);
        if let (Some(container), Some(profile)) = (containers.and_then(|all| all.get_mut(index)), profile) {
            container.set_at(&["securityContext", "appArmorProfile"], profile);
        }
    }
}

/// Warnings about profiles in annotations of a pod that has not been changed by [`app_armor_to_fields`].
pub fn app_armor_warnings(pod: &Value) -> Vec<String> {
    let text = "deprecated since v1.30; use the \"appArmorProfile\" field instead";
    annotated(pod).into_iter().map(|one| format!("metadata.annotations[{}]: {text}", one.key)).collect()
}

/// A container whose profile only an annotation states.
struct Annotated {
    list: &'static str,
    index: usize,
    key: String,
    /// What the annotation says, if it says something that is valid.
    profile: Option<Value>,
}

/// Containers with a profile in an annotation that is not also that of the pod.
fn annotated(pod: &Value) -> Vec<Annotated> {
    let mut found = Vec::new();
    if pod.str_at(&["spec", "os", "name"]) == Some("windows") || pod.at(&["metadata", "annotations"]).is_none() {
        return found;
    }
    let of_pod = pod.at(&["spec", "securityContext", "appArmorProfile"]);
    for list in CONTAINERS {
        for (index, container) in pod.array_at(&["spec", list]).iter().enumerate() {
            let key = format!("{APP_ARMOR}{}", container.str_at(&["name"]).unwrap_or(""));
            let Some(annotation) = pod.str_at(&["metadata", "annotations", &key]) else { continue };
            let profile = app_armor_profile(annotation);
            let own = container.at(&["securityContext", "appArmorProfile"]);
            if own.is_none() && (profile.is_none() || profile.as_ref() != of_pod) {
                found.push(Annotated { list, index, key, profile });
            }
        }
    }
    found
}

/// Validates that profiles in fields and annotations are the same.
pub fn app_armor_agrees(pod: &At<'_>, errors: &mut ErrorList) {
    let (metadata, spec) = (pod.child("metadata"), pod.child("spec"));
    for list in CONTAINERS {
        for container in spec.child(list).items() {
            let key = format!("{APP_ARMOR}{}", container.child("name").text());
            let wanted = app_armor_profile(metadata.child("annotations").key(&key).text());
            let context = container.child("securityContext");
            let own = context.child("appArmorProfile");
            let Some(wanted) = wanted.filter(|_| own.is_set()) else { continue };
            if wanted.str_at(&["type"]) != Some(own.child("type").text()) {
                own.child("type").forbidden(errors, "apparmor type in annotation and field must match");
            } else if wanted.str_at(&["localhostProfile"]).unwrap_or("") != own.child("localhostProfile").text() {
                own.child("localhostProfile").forbidden(errors, "apparmor profile in annotation and field must match");
            }
        }
    }
}
