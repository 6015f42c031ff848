//! Pod.
//!
//! Follows `pkg/registry/core/pod/strategy.go`.

use skiff_apimachinery::field::ErrorList;
use skiff_apimachinery::value;
use skiff_apimachinery::value::{Object, Value};
use skiff_apimachinery::{meta, names};

use super::validation::{pod_annotations, pod_resize, pod_spec, pod_status, pod_update};
use super::{pod_defaults, pod_resources, pod_warnings};
use crate::cacher::FieldSpec;
use crate::registry::at::At;
use crate::registry::strategy::{Strategy, WriteScope};

/// See the module.
pub struct PodStrategy;

impl Strategy for PodStrategy {
    fn set_defaults(&self, object: &mut Value) {
        pod_defaults::pod(object);
    }

    fn prepare_for_create(&self, _scope: WriteScope<'_>, object: &mut Value) {
        let qos = pod_resources::qos_class(object.object_at_mut(&["spec"]));
        let mut status = value!({"phase": "Pending", "qosClass": qos});
        if !object.array_at(&["spec", "schedulingGates"]).is_empty() {
            let gated = value!({
                "type": "PodScheduled",
                "status": "False",
                "lastProbeTime": null,
                "lastTransitionTime": (skiff_apimachinery::time::format(jiff::Timestamp::now())),
                "reason": "SchedulingGated",
                "message": "Scheduling is blocked due to non-empty scheduling gates"
            });
            status.set_at(&["conditions"], vec![gated]);
        }
        object.set_at(&["status"], status);
        // Sidecars' and probes' periods aside, no pod may wait for ever.
        if object.i64_at(&["spec", "terminationGracePeriodSeconds"]).is_some_and(|seconds| seconds < 0) {
            object.set_at(&["spec", "terminationGracePeriodSeconds"], 1);
        }
        label_keys_into_selectors(object);
        pod_annotations::app_armor_to_fields(object);
    }

    fn prepare_for_update(&self, scope: WriteScope<'_>, new: &mut Value, old: &Value) {
        match scope.subresource {
            "ephemeralcontainers" => only_spec_field(new, old, "ephemeralContainers"),
            "resize" => {
                pod_resize::keep_the_rest(new, old);
                keep_metadata(new, old);
            }
            _ => {}
        }
        // A node agent that drops the class must not lose it.
        if let Some(qos) = old.at(&["status", "qosClass"])
            && new.get("status").is_some()
        {
            new.set_at(&["status", "qosClass"], qos.clone());
        }
    }

    fn prepare_for_status_update(&self, new: &mut Value, old: &Value) {
        if new.str_at(&["status", "qosClass"]).unwrap_or("").is_empty()
            && let Some(qos) = old.at(&["status", "qosClass"])
        {
            new.set_at(&["status", "qosClass"], qos.clone());
        }
        // Clients older than the list know only the first address, and what they say of it counts.
        let ip = new.str_at(&["status", "podIP"]).unwrap_or("").to_owned();
        let first = new.array_at(&["status", "podIPs"]).first().and_then(|ip| ip.str_at(&["ip"])).unwrap_or("");
        if !ip.is_empty() && first != ip {
            new.set_at(&["status", "podIPs"], vec![value!({"ip": ip})]);
        } else if ip.is_empty() && !first.is_empty() {
            let first = first.to_owned();
            new.set_at(&["status", "podIP"], first);
        }
    }

    fn validate(&self, object: &Value) -> ErrorList {
        let mut errors = ErrorList::default();
        let root = At::root(object);
        pod_spec::validate(&root, true, &mut errors);
        let spec = root.child("spec");
        let (gates, node) = (spec.child("schedulingGates"), spec.child("nodeName"));
        if !gates.is_empty() && !node.is_empty() {
            node.forbidden(&mut errors, "cannot be set until all schedulingGates have been cleared");
        }
        let ephemeral = spec.child("ephemeralContainers");
        if !ephemeral.is_empty() {
            ephemeral.forbidden(&mut errors, "cannot be set on create");
        }
        pod_annotations::app_armor_agrees(&root, &mut errors);
        errors
    }

    fn validate_update(&self, scope: WriteScope<'_>, new: &Value, old: &Value) -> ErrorList {
        let mut errors = ErrorList::default();
        match scope.subresource {
            "ephemeralcontainers" => pod_update::ephemeral(new, old, &mut errors),
            "resize" => pod_resize::validate(new, old, &mut errors),
            // The binding may set the node, once; it has checked that itself.
            "binding" => {}
            _ => pod_update::validate(new, old, &mut errors),
        }
        errors
    }

    fn validate_status_update(&self, new: &Value, old: &Value) -> ErrorList {
        let mut errors = ErrorList::default();
        pod_status::validate(new, old, &mut errors);
        errors
    }

    fn early_warnings(&self, new: &Value) -> Vec<String> {
        pod_annotations::app_armor_warnings(new)
    }

    fn warnings(&self, new: &Value, old: Option<&Value>) -> Vec<String> {
        let mut warnings = Vec::new();
        let messages = names::dns1123_label(meta::name(new));
        if old.is_none() && !messages.is_empty() {
            warnings.push(format!(
                "metadata.name: this is used in the Pod's hostname, which can result in surprising behavior; a DNS label is recommended: [{}]",
                messages.join(" ")
            ));
        }
        warnings.extend(pod_warnings::of(&At::root(new)));
        warnings
    }

    fn selectable_fields(&self) -> Vec<FieldSpec> {
        let mut fields = [
            "spec.nodeName",
            "spec.restartPolicy",
            "spec.schedulerName",
            "spec.serviceAccountName",
            "status.phase",
            "status.podIP",
            "status.nominatedNodeName",
        ]
        .map(FieldSpec::new)
        .to_vec();
        fields.push(FieldSpec::at("spec.hostNetwork", &["spec.hostNetwork"], "false"));
        fields.push(FieldSpec::at("status.podIPs", &["status.podIP"], ""));
        fields
    }

    fn counts_generation(&self) -> bool {
        true
    }

    fn generation_changed(&self, new: &Value, old: &Value) -> bool {
        // Being bound is no change of what is wanted, and the one way in which nodeName may change.
        fn wanted(pod: &Value) -> impl Iterator<Item = (&str, &Value)> {
            let spec = pod.get("spec").and_then(Value::as_object);
            spec.into_iter().flat_map(Object::iter).filter(|(field, _)| *field != "nodeName")
        }
        !wanted(new).eq(wanted(old))
    }

    fn writes_status(&self, subresource: &str) -> bool {
        subresource == "binding"
    }

    fn returns_deleted_object(&self) -> bool {
        true
    }

    fn grace_period(&self, pod: &Value, asked: Option<i64>) -> Option<i64> {
        let own = pod.i64_at(&["spec", "terminationGracePeriodSeconds"]);
        let scheduled = !pod.str_at(&["spec", "nodeName"]).unwrap_or("").is_empty();
        let ended = matches!(pod.str_at(&["status", "phase"]), Some("Failed" | "Succeeded"));
        if !scheduled || ended {
            return Some(0);
        }
        let period = asked.or(own).unwrap_or(0);
        Some(if period < 0 { 1 } else { period })
    }
}

/// Metadata that subresources of a pod do not change.
const KEPT_METADATA: [&str; 6] =
    ["annotations", "deletionGracePeriodSeconds", "deletionTimestamp", "finalizers", "labels", "ownerReferences"];

/// Takes one value from another object.
fn take(to: &mut Value, from: &Value, steps: &[&str]) {
    match from.at(steps) {
        Some(value) => to.set_at(steps, value.clone()),
        None => drop(to.remove_at(steps)),
    }
}

/// Puts back the metadata that is not for subresources to change.
fn keep_metadata(new: &mut Value, old: &Value) {
    KEPT_METADATA.iter().for_each(|field| take(new, old, &["metadata", field]));
}

/// Keeps everything but one field of the spec as it was.
fn only_spec_field(new: &mut Value, old: &Value, field: &str) {
    let written = std::mem::replace(new, old.clone());
    take(new, &written, &["metadata"]);
    keep_metadata(new, old);
    take(new, &written, &["spec", field]);
}

/// `matchLabelKeys` and `mismatchLabelKeys` become requirements with the pod's own values.
fn label_keys_into_selectors(object: &mut Value) {
    let labels = object.at(&["metadata", "labels"]).cloned().unwrap_or_default();
    let spec = object.object_at_mut(&["spec"]);
    for kind in ["podAffinity", "podAntiAffinity"] {
        let Some(affinity) = spec.get_mut("affinity").and_then(|a| a.get_mut(kind)).and_then(Value::as_object_mut)
        else {
            continue;
        };
        crate::registry::defaults::each(affinity, "requiredDuringSchedulingIgnoredDuringExecution", |term| {
            extend_selector(term, &labels);
        });
        crate::registry::defaults::each(affinity, "preferredDuringSchedulingIgnoredDuringExecution", |term| {
            crate::registry::defaults::within(term, "podAffinityTerm", |term| extend_selector(term, &labels));
        });
    }
    crate::registry::defaults::each(spec, "topologySpreadConstraints", |constraint| {
        extend_selector(constraint, &labels)
    });
}

fn extend_selector(term: &mut Object, labels: &Value) {
    let mut added = Vec::new();
    for (field, operator) in [("matchLabelKeys", "In"), ("mismatchLabelKeys", "NotIn")] {
        for key in term.get(field).and_then(Value::as_array).unwrap_or(&[]) {
            let key = key.as_str().unwrap_or("");
            if let Some(own) = labels.get(key).and_then(Value::as_str) {
                added.push(value!({"key": key, "operator": operator, "values": [own]}));
            }
        }
    }
    if added.is_empty() || term.get("labelSelector").is_none() {
        return;
    }
    let selector = term.object_mut("labelSelector");
    let mut expressions = selector.get("matchExpressions").and_then(Value::as_array).unwrap_or(&[]).to_vec();
    expressions.extend(added);
    selector.insert("matchExpressions", expressions);
}

/// PodTemplate: a template kept as an object of its own.
pub struct PodTemplateStrategy;

impl Strategy for PodTemplateStrategy {
    fn set_defaults(&self, object: &mut Value) {
        pod_defaults::template(object.object_at_mut(&[]));
    }

    fn validate(&self, object: &Value) -> ErrorList {
        let mut errors = ErrorList::default();
        let root = At::root(object);
        pod_spec::template(&root.child("template"), &mut errors);
        errors
    }

    fn warnings(&self, new: &Value, old: Option<&Value>) -> Vec<String> {
        pod_warnings::of_changed_template(new, old, &["template"])
    }

    fn counts_generation(&self) -> bool {
        true
    }

    fn generation_changed(&self, new: &Value, old: &Value) -> bool {
        new.get("template") != old.get("template")
    }

    fn returns_deleted_object(&self) -> bool {
        true
    }
}
