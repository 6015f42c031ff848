//! `metadata` on its way in: system fields, validation, and what updates may not change.
//!
//! Follows `k8s.io/apimachinery/pkg/api/validation/objectmeta.go` and `k8s.io/apiserver/pkg/registry/rest`.

use skiff_apimachinery::field::{Error, ErrorList, Path};
use skiff_apimachinery::value::Value;
use skiff_apimachinery::{meta, names};

use super::internal;
use super::strategy::NameRule;

/// Bytes that keys and values of all annotations may have together.
pub const MAX_ANNOTATION_BYTES: usize = 256 * 1024;

/// Finalizer that makes the garbage collector orphan dependents.
pub const FINALIZER_ORPHAN: &str = "orphan";
/// Finalizer that makes the garbage collector delete dependents first.
pub const FINALIZER_FOREGROUND: &str = "foregroundDeletion";

const FIELD_IMMUTABLE: &str = "field is immutable";

/// Gives a new object its uid and creation time and removes what only the server may set.
pub fn fill_system_fields(object: &mut Value, now: &str) {
    let metadata = object.object_at_mut(&["metadata"]);
    for field in ["deletionTimestamp", "deletionGracePeriodSeconds", "selfLink", "resourceVersion", "generation"] {
        metadata.remove(field);
    }
    metadata.insert("creationTimestamp", now);
    metadata.insert("uid", meta::new_uid());
}

/// Validates the metadata of a new or changed object.
pub fn validate(object: &Value, namespaced: bool, name_rule: NameRule) -> ErrorList {
    let path = Path::new("metadata");
    let mut errors = ErrorList::default();
    let generate_name = object.str_at(&["metadata", "generateName"]).unwrap_or("");
    if !generate_name.is_empty() {
        for message in name_rule(generate_name, true) {
            errors.push(Error::invalid(&path.child("generateName"), generate_name, message));
        }
    }
    let name = meta::name(object);
    if name.is_empty() {
        errors.push(Error::required(&path.child("name"), "name or generateName is required"));
    } else {
        for message in name_rule(name, false) {
            errors.push(Error::invalid(&path.child("name"), name, message));
        }
    }
    validate_namespace(object, namespaced, &path, &mut errors);
    validate_maps(object, &path, &mut errors);
    validate_finalizers(object, &path.child("finalizers"), &mut errors);
    errors
}

fn validate_maps(object: &Value, path: &Path, errors: &mut ErrorList) {
    if let Some(labels) = object.at(&["metadata", "labels"]) {
        errors.extend(validate_labels(labels, &path.child("labels")));
    }
    if let Some(annotations) = object.at(&["metadata", "annotations"]) {
        errors.extend(validate_annotations(annotations, &path.child("annotations")));
    }
    validate_owner_references(object, &path.child("ownerReferences"), errors);
}

fn validate_namespace(object: &Value, namespaced: bool, path: &Path, errors: &mut ErrorList) {
    let namespace = meta::namespace(object);
    let path = path.child("namespace");
    match (namespaced, namespace.is_empty()) {
        (true, true) => errors.push(Error::required(&path, "")),
        (true, false) => {
            for message in names::dns1123_label(namespace) {
                errors.push(Error::invalid(&path, namespace, message));
            }
        }
        (false, false) => errors.push(Error::forbidden(&path, "not allowed on this type")),
        (false, true) => {}
    }
}

/// Validates a map of labels (`ValidateLabels` upstream).
pub fn validate_labels(labels: &Value, path: &Path) -> ErrorList {
    let mut errors = ErrorList::default();
    let Some(labels) = labels.as_object() else {
        return errors;
    };
    for (key, value) in labels.iter() {
        for message in names::qualified_name(key) {
            errors.push(Error::invalid(path, key, message));
        }
        let value = value.as_str().unwrap_or("");
        for message in names::label_value(value) {
            errors.push(Error::invalid(path, value, message));
        }
    }
    errors
}

/// Validates annotations: keys and the total size (`ValidateAnnotations` upstream).
pub fn validate_annotations(annotations: &Value, path: &Path) -> ErrorList {
    let mut errors = ErrorList::default();
    let Some(annotations) = annotations.as_object() else {
        return errors;
    };
    let mut total = 0;
    for (key, value) in annotations.iter() {
        for message in names::qualified_name(&key.to_lowercase()) {
            errors.push(Error::invalid(path, key, message));
        }
        total += key.len() + value.as_str().map_or(0, str::len);
    }
    if total > MAX_ANNOTATION_BYTES {
        errors.push(Error::too_long(path, "", MAX_ANNOTATION_BYTES));
    }
    errors
}

fn validate_owner_references(object: &Value, path: &Path, errors: &mut ErrorList) {
    let mut controller: Option<String> = None;
    for reference in object.array_at(&["metadata", "ownerReferences"]) {
        let text = |field: &str| reference.str_at(&[field]).unwrap_or("");
        let (api_version, kind, name, uid) = (text("apiVersion"), text("kind"), text("name"), text("uid"));
        let version = api_version.rsplit('/').next().unwrap_or("");
        if version.is_empty() {
            errors.push(Error::invalid(&path.child("apiVersion"), api_version, "version must not be empty"));
        }
        for (field, value) in [("kind", kind), ("name", name), ("uid", uid)] {
            if value.is_empty() {
                errors.push(Error::invalid(&path.child(field), value, "must not be empty"));
            }
        }
        if api_version == "v1" && kind == "Event" {
            let message = "/v1, Kind=Event is disallowed from being an owner";
            errors.push(Error::invalid(path, internal::shown(Some(reference), "OwnerReference"), message));
        }
        if reference.bool_at(&["controller"]) == Some(true) {
            let current = format!("{kind}/{name}");
            match &controller {
                Some(first) => {
                    let message = format!(
                        "Only one reference can have Controller set to true. Found \"true\" in references for {first} and {current}"
                    );
                    let all = internal::shown(object.at(&["metadata", "ownerReferences"]), "[OwnerReference");
                    errors.push(Error::invalid(path, all, message));
                }
                None => controller = Some(current),
            }
        }
    }
}

fn validate_finalizers(object: &Value, path: &Path, errors: &mut ErrorList) {
    let finalizers = meta::finalizers(object).collect::<Vec<_>>();
    for finalizer in &finalizers {
        for message in names::qualified_name(finalizer) {
            errors.push(Error::invalid(path, *finalizer, message));
        }
    }
    if finalizers.contains(&FINALIZER_ORPHAN) && finalizers.contains(&FINALIZER_FOREGROUND) {
        let message = format!("finalizer {FINALIZER_ORPHAN} and {FINALIZER_FOREGROUND} cannot be both set");
        let all = object.at(&["metadata", "finalizers"]).cloned().unwrap_or_default();
        errors.push(Error::invalid(path, all, message));
    }
}

/// Validates that finalizers of a built-in kind are either upstream's own or qualified (`ValidateFinalizerName` of
/// `pkg/apis/core/validation`).
pub fn validate_own_finalizers(object: &Value) -> ErrorList {
    const STANDARD: [&str; 3] = ["kubernetes", FINALIZER_FOREGROUND, FINALIZER_ORPHAN];
    let path = Path::new("metadata").child("finalizers");
    let own = |finalizer: &str| STANDARD.contains(&finalizer) || finalizer.contains('/');
    let message = "name is neither a standard finalizer name nor is it fully qualified";
    let finalizers = meta::finalizers(object).enumerate().filter(|(_, finalizer)| !own(finalizer));
    finalizers.map(|(index, finalizer)| Error::invalid(&path.index(index), finalizer, message)).collect()
}

/// Puts back the metadata that an update cannot change (`BeforeUpdate` upstream). Generation is set by the caller.
pub fn carry_over(new: &mut Value, old: &Value) {
    let old_of = |field: &str| old.at(&["metadata", field]).cloned();
    let metadata = new.object_at_mut(&["metadata"]);
    metadata.remove("selfLink");
    if metadata.get("uid").and_then(Value::as_str).unwrap_or("").is_empty()
        && let Some(uid) = old_of("uid")
    {
        metadata.insert("uid", uid);
    }
    for field in ["creationTimestamp", "generation"] {
        match old_of(field) {
            Some(value) => drop(metadata.insert(field, value)),
            None => drop(metadata.remove(field)),
        }
    }
    if let Some(time) = old_of("deletionTimestamp") {
        metadata.insert("deletionTimestamp", time);
    }
    if let Some(seconds) = old_of("deletionGracePeriodSeconds") {
        metadata.get_or_insert_with("deletionGracePeriodSeconds", || seconds);
    }
}

/// Validates how metadata changed (`ValidateObjectMetaAccessorUpdate` upstream).
pub fn validate_update(new: &Value, old: &Value) -> ErrorList {
    let path = Path::new("metadata");
    let mut errors = ErrorList::default();
    if meta::deletion_timestamp(old).is_some() {
        let before = meta::finalizers(old).collect::<Vec<_>>();
        let mut extra =
            meta::finalizers(new).filter(|f| !before.contains(f)).map(|f| format!("{f:?}")).collect::<Vec<_>>();
        if !extra.is_empty() {
            extra.sort();
            let message = format!(
                "no new finalizers can be added if the object is being deleted, found new finalizers []string{{{}}}",
                extra.join(", ")
            );
            errors.push(Error::forbidden(&path.child("finalizers"), message));
        }
    }
    for field in ["name", "namespace", "uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds"] {
        let at = ["metadata", field];
        if new.at(&at) != old.at(&at) {
            let value = new.at(&at).cloned().unwrap_or_else(|| Value::from(""));
            errors.push(Error::invalid(&path.child(field), value, FIELD_IMMUTABLE));
        }
    }
    validate_maps(new, &path, &mut errors);
    errors
}
