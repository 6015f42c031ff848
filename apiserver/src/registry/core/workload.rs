//! ReplicationController.
//!
//! Follows `pkg/registry/core/replicationcontroller`.

use skiff_apimachinery::field::{Error, ErrorList};
use skiff_apimachinery::value::Value;
use skiff_apimachinery::{meta, names};

use super::validation::pod_spec;
use super::{pod_defaults, pod_warnings};
use crate::cacher::FieldSpec;
use crate::registry::at::At;
use crate::registry::defaults::absent;
use crate::registry::strategy::{GarbageCollection, Strategy};
use crate::registry::workloads::status_counts;

/// Numbers in a status, and those that are parts of others.
const COUNTS: &[&str] =
    &["replicas", "fullyLabeledReplicas", "readyReplicas", "availableReplicas", "observedGeneration"];
const PARTS: &[(&str, &str, &str)] = &[
    ("fullyLabeledReplicas", "replicas", "status.replicas"),
    ("readyReplicas", "replicas", "status.replicas"),
    ("availableReplicas", "replicas", "status.replicas"),
    ("availableReplicas", "readyReplicas", "readyReplicas"),
];

/// See the module.
pub struct ReplicationControllerStrategy;

impl Strategy for ReplicationControllerStrategy {
    fn set_defaults(&self, object: &mut Value) {
        let labels = object.at(&["spec", "template", "metadata", "labels"]).cloned();
        if let Some(labels) = labels {
            for at in [["spec", "selector"], ["metadata", "labels"]] {
                if object.at(&at).and_then(Value::as_object).is_none_or(|o| o.is_empty()) {
                    object.set_at(&at, labels.clone());
                }
            }
        }
        let spec = object.object_at_mut(&["spec"]);
        absent(spec, "replicas", 1);
        pod_defaults::template(spec);
    }

    fn validate(&self, object: &Value) -> ErrorList {
        let mut errors = ErrorList::default();
        let root = At::root(object);
        let spec = root.child("spec");
        spec.child("minReadySeconds").not_negative(&mut errors);
        let selector = spec.child("selector");
        selector.require(&mut errors);
        spec.child("replicas").not_negative(&mut errors);
        let template = spec.child("template");
        if !template.is_set() {
            template.required(&mut errors, "");
            return errors;
        }
        let metadata = template.child("metadata");
        let labels = metadata.child("labels");
        if selector.entries().any(|(key, wanted)| labels.key(key).text() != wanted.text() || !labels.key(key).is_set())
        {
            let shown = labels.value().cloned().unwrap_or_default();
            errors.push(Error::invalid(&labels.path(), shown, "`selector` does not match template `labels`"));
        }
        pod_spec::template(&template, &mut errors);
        only_always(&template, "ReplicationController", &mut errors);
        errors
    }

    fn validate_status_update(&self, new: &Value, _old: &Value) -> ErrorList {
        let mut errors = ErrorList::default();
        let root = At::root(new);
        status_counts(&root.child("status"), COUNTS, PARTS, &mut errors);
        errors
    }

    fn selectable_fields(&self) -> Vec<FieldSpec> {
        vec![FieldSpec::at("status.replicas", &["status.replicas"], "0")]
    }

    fn warnings(&self, new: &Value, old: Option<&Value>) -> Vec<String> {
        let mut warnings = Vec::from_iter(name_warning(new, old));
        if pod_warnings::concern(new, old) {
            // Of a change, upstream warns of the template that there was.
            warnings.extend(pod_warnings::of_template(old.unwrap_or(new), &["spec", "template"]));
        }
        warnings
    }

    fn counts_generation(&self) -> bool {
        true
    }

    fn garbage_collection(&self) -> GarbageCollection {
        GarbageCollection::OrphanDependents
    }
}

/// What to tell a client whose new object will give its pods a name that is no label.
pub fn name_warning(new: &Value, old: Option<&Value>) -> Option<String> {
    let messages = names::dns1123_label(meta::name(new));
    (old.is_none() && !messages.is_empty()).then(|| {
        format!(
            "metadata.name: this is used in Pod names and hostnames, which can result in surprising behavior; a DNS label is recommended: [{}]",
            messages.join(" ")
        )
    })
}

/// Pods of a set that keeps them running restart always and have no deadline.
pub fn only_always(template: &At<'_>, kind: &str, errors: &mut ErrorList) {
    let spec = template.child("spec");
    let (policy, deadline) = (spec.child("restartPolicy"), spec.child("activeDeadlineSeconds"));
    if policy.text() != "Always" {
        policy.not_supported(errors, &["Always"]);
    }
    if deadline.is_set() {
        deadline.forbidden(errors, format!("activeDeadlineSeconds in {kind} is not Supported"));
    }
}
