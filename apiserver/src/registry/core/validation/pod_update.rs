//! What may change in a pod that exists.

use skiff_apimachinery::field::{Error, ErrorList, Path};
use skiff_apimachinery::value::Value;

use super::pod_annotations::APP_ARMOR;
use super::{pod_spec, scheduling};
use crate::registry::at::At;
use crate::registry::internal;

const UPDATABLE: &str = "`spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)";
/// Annotation of pods that show a static one.
pub(super) const MIRROR_POD: &str = "kubernetes.io/config.mirror";

/// Validates a change of a pod by its own endpoint.
pub fn validate(new: &Value, old: &Value, errors: &mut ErrorList) {
    let (new_at, old_at) = (At::root(new), At::root(old));
    pod_spec::validate(&new_at, true, errors);
    annotations(&new_at, &old_at, errors);
    let (new_spec, old_spec) = (new_at.child("spec"), old_at.child("spec"));
    for list in ["containers", "initContainers"] {
        let (new_list, old_list) = (new_spec.child(list), old_spec.child(list));
        if new_list.len() != old_list.len() {
            return new_list.forbidden(errors, "pod updates may not add or remove containers");
        }
        for container in new_list.items() {
            let image = container.child("image");
            if image.is_empty() {
                image.required(errors, "");
            } else if image.text() != image.text().trim() {
                image.invalid(errors, "must not have leading or trailing whitespace");
            }
        }
    }
    deadline(&new_spec, &old_spec, errors);
    only_added_tolerations(&new_spec, &old_spec, errors);
    only_removed_gates(&new_spec, &old_spec, errors);
    if new_spec.value() == old_spec.value() {
        return;
    }
    let (mut munged, old_value) = (new.get("spec").cloned().unwrap_or_default(), old.get("spec"));
    put_back_mutable(&mut munged, old_value.unwrap_or(&Value::Null));
    if !old_spec.child("schedulingGates").is_empty() {
        put_back_gated(&mut munged, &new_spec, &old_spec, errors);
    }
    if Some(&munged) != old_value {
        let (before, after) = (internal::pretty(old_value, "PodSpec"), internal::pretty(Some(&munged), "PodSpec"));
        let difference = internal::diff::unified(&before, &after);
        let message = format!("pod updates may not change fields other than {UPDATABLE}\n{difference}");
        errors.push(Error::forbidden(&Path::new("spec"), message));
    }
}

fn deadline(new: &At<'_>, old: &At<'_>, errors: &mut ErrorList) {
    let at = new.child("activeDeadlineSeconds");
    match (at.int(), old.child("activeDeadlineSeconds").int()) {
        (Some(now), _) if !(0..=i64::from(i32::MAX)).contains(&now) => {
            at.invalid(errors, format!("must be between 0 and {}, inclusive", i32::MAX));
        }
        (Some(now), Some(before)) if before < now => {
            at.invalid(errors, "must be less than or equal to previous value");
        }
        (None, Some(_)) => at.or_null().invalid(errors, "must not update from a positive integer to nil value"),
        _ => {}
    }
}

fn only_added_tolerations(new: &At<'_>, old: &At<'_>, errors: &mut ErrorList) {
    let (new, old) = (new.child("tolerations"), old.child("tolerations"));
    // The seconds of a toleration may change; the rest identifies it.
    let identity = |toleration: &At<'_>| {
        let mut value = toleration.value().cloned().unwrap_or_default();
        value.remove_at(&["tolerationSeconds"]);
        value
    };
    let kept = new.items().map(|t| identity(&t)).collect::<Vec<_>>();
    if old.items().any(|toleration| !kept.contains(&identity(&toleration))) {
        return new.forbidden(errors, "existing toleration can not be modified except its tolerationSeconds");
    }
    // Upstream does so with the rest of the spec as well.
    scheduling::tolerations(&new, errors);
}

fn only_removed_gates(new: &At<'_>, old: &At<'_>, errors: &mut ErrorList) {
    let (new, old) = (new.child("schedulingGates"), old.child("schedulingGates"));
    for gate in new.items() {
        let name = gate.child("name").text();
        if !old.items().any(|before| before.child("name").text() == name) {
            gate.child("name")
                .forbidden(errors, "only deletion is allowed, but found new scheduling gate '".to_owned() + name + "'");
        }
    }
}

fn put_back_mutable(spec: &mut Value, old: &Value) {
    for list in ["containers", "initContainers"] {
        let images = old.array_at(&[list]).iter().map(|c| c.get("image").cloned()).collect::<Vec<_>>();
        let containers = spec.get_mut(list).and_then(Value::as_array_mut);
        for (container, image) in containers.into_iter().flatten().zip(images) {
            put(container, "image", image);
        }
    }
    for field in ["activeDeadlineSeconds", "tolerations", "schedulingGates"] {
        put(spec, field, old.get(field).cloned());
    }
    let grace = |spec: &Value| spec.i64_at(&["terminationGracePeriodSeconds"]);
    if grace(old).is_some_and(|n| n < 0) && grace(spec) == Some(1) {
        put(spec, "terminationGracePeriodSeconds", old.get("terminationGracePeriodSeconds").cloned());
    }
}

/// A pod that waits behind gates may still be narrowed in where it runs.
fn put_back_gated(munged: &mut Value, new: &At<'_>, old: &At<'_>, errors: &mut ErrorList) {
    let (selector, old_selector) = (new.child("nodeSelector"), old.child("nodeSelector"));
    if old_selector.entries().any(|(key, at)| selector.key(key).text() != at.text() || !selector.key(key).is_set()) {
        let message = "only additions to spec.nodeSelector are allowed (no mutations or deletions)";
        selector.or_null().invalid(errors, message);
    }
    put(munged, "nodeSelector", old_selector.value().cloned());
    let old_affinity = old.child("affinity");
    let old_node = old_affinity.child("nodeAffinity").value().cloned();
    if munged.at(&["affinity", "nodeAffinity"]) == old_node.as_ref() {
        return;
    }
    let required = ["requiredDuringSchedulingIgnoredDuringExecution", "nodeSelectorTerms"];
    let before = old_node.as_ref().map(|node| node.array_at(&required)).unwrap_or_default();
    let affinity = new.child("affinity");
    let node = affinity.child("nodeAffinity");
    let terms = node.child(required[0]);
    let terms = terms.child(required[1]);
    if !before.is_empty() && terms.len() != before.len() {
        let text = "no additions/deletions to non-empty NodeSelectorTerms list are allowed";
        terms.or_null().invalid_as("[NodeSelectorTerm", errors, text);
    } else {
        for (term, _) in terms.items().zip(before).filter(|(term, before)| !only_narrows(term, before)) {
            term.invalid_as("NodeSelectorTerm", errors, "only additions are allowed (no mutations or deletions)");
        }
    }
    match old_node {
        Some(node) => munged.set_at(&["affinity", "nodeAffinity"], node),
        None => drop(munged.remove_at(&["affinity", "nodeAffinity"])),
    }
    if !old_affinity.is_set() && munged.get("affinity").and_then(Value::as_object).is_some_and(|a| a.is_empty()) {
        munged.remove_at(&["affinity"]);
    }
}

/// Whether a term has all that it had before, in its place; one that selected nothing stays so.
fn only_narrows(term: &At<'_>, before: &Value) -> bool {
    const LISTS: [&str; 2] = ["matchExpressions", "matchFields"];
    let was_empty = LISTS.iter().all(|list| before.array_at(&[list]).is_empty());
    let now = term.value().unwrap_or(&Value::Null);
    LISTS.iter().all(|list| {
        let (now, before) = (now.array_at(&[list]), before.array_at(&[list]));
        now.starts_with(before) && (!was_empty || now.is_empty())
    })
}

fn put(object: &mut Value, field: &str, value: Option<Value>) {
    match value {
        Some(value) => object.set_at(&[field], value),
        None => drop(object.remove_at(&[field])),
    }
}

/// Annotations that bind a pod to its file or its profiles may not change.
pub fn annotations(new: &At<'_>, old: &At<'_>, errors: &mut ErrorList) {
    let (new, old) = (new.child("metadata"), old.child("metadata"));
    let (new, old) = (new.child("annotations"), old.child("annotations"));
    let (now, before) = (new.key(MIRROR_POD), old.key(MIRROR_POD));
    if before.is_set() && now.value() != before.value() {
        now.forbidden(errors, "may not remove or update mirror pod annotation");
    } else if !before.is_set() && now.is_set() {
        now.forbidden(errors, "may not add mirror pod annotation");
    }
    for (key, was) in old.entries().filter(|(key, _)| key.starts_with(APP_ARMOR)) {
        if new.key(key).value() != was.value() {
            new.key(key).forbidden(errors, "may not remove or update AppArmor annotations");
        }
    }
    for (key, now) in new.entries().filter(|(key, _)| key.starts_with(APP_ARMOR)) {
        if !old.key(key).is_set() {
            now.forbidden(errors, "may not add AppArmor annotations");
        }
    }
}

/// Validates a change of `ephemeralContainers`: they can only be added.
pub fn ephemeral(new: &Value, old: &Value, errors: &mut ErrorList) {
    let (new_at, old_at) = (At::root(new), At::root(old));
    pod_spec::validate(&new_at, true, errors);
    if old.at(&["metadata", "annotations"]).is_some_and(|a| a.get(MIRROR_POD).is_some()) {
        let error = Error::forbidden(&Path::new(""), "static pods do not support ephemeral containers");
        return errors.push(error);
    }
    let (new_spec, old_spec) = (new_at.child("spec"), old_at.child("spec"));
    let (new_list, old_list) = (new_spec.child("ephemeralContainers"), old_spec.child("ephemeralContainers"));
    for before in old_list.items() {
        let name = before.child("name").text();
        match new_list.items().find(|now| now.child("name").text() == name) {
            None => {
                let message = format!("existing ephemeral containers {name:?} may not be removed\n");
                new_list.forbidden(errors, message);
            }
            Some(now) if now.value() != before.value() => {
                let [before, after] = [before, now].map(|one| internal::pretty(one.value(), "EphemeralContainer"));
                let difference = internal::diff::unified(&before, &after);
                let message = format!("existing ephemeral containers {name:?} may not be changed\n{difference}");
                new_list.forbidden(errors, message);
            }
            Some(_) => {}
        }
    }
}
