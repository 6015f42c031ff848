//! Pods of a Job.

use serde_json::{Value, json};
use skiff_client::types::{Job, OwnerReference};

use super::observe::{FAILURES, FINALIZER, IGNORED_FAILURES, INDEX};
use super::plan::NewPod;
use crate::pods;

/// Environment variable with the completion index.
const INDEX_VARIABLE: &str = "JOB_COMPLETION_INDEX";
/// Longest base of a generated name: five more characters make it a label.
const MAX_BASE: usize = 58;

/// A pod as it is created.
pub(super) fn pod(job: &Job, owner: &OwnerReference, new: &NewPod) -> Value {
    let mut pod = pods::from_template(&job.spec.template, &job.metadata.namespace, owner);
    let metadata = &mut pod["metadata"];
    match metadata["finalizers"].as_array_mut() {
        Some(finalizers) => finalizers.push(json!(FINALIZER)),
        None => metadata["finalizers"] = json!([FINALIZER]),
    }
    let name = &job.metadata.name;
    let Some(index) = new.index else {
        metadata["generateName"] = json!(pods::generate_name(name));
        return pod;
    };
    let suffix = format!("-{index}-");
    let base: String = name.chars().take(MAX_BASE.saturating_sub(suffix.len())).collect();
    metadata["generateName"] = json!(format!("{base}{suffix}"));
    metadata["annotations"][INDEX] = json!(index.to_string());
    metadata["labels"][INDEX] = json!(index.to_string());
    if let Some((failures, ignored)) = new.failures {
        metadata["annotations"][FAILURES] = json!(failures.to_string());
        if ignored > 0 {
            metadata["annotations"][IGNORED_FAILURES] = json!(ignored.to_string());
        }
    }
    let spec = &mut pod["spec"];
    spec["hostname"] = json!(format!("{name}-{index}"));
    for list in ["initContainers", "containers"] {
        for container in spec[list].as_array_mut().into_iter().flatten() {
            add_index_variable(container);
        }
    }
    pod
}

fn add_index_variable(container: &mut Value) {
    let there = container["env"].as_array().is_some_and(|env| env.iter().any(|one| one["name"] == INDEX_VARIABLE));
    if there {
        return;
    }
    let path = format!("metadata.labels['{INDEX}']");
    let variable = json!({"name": INDEX_VARIABLE, "valueFrom": {"fieldRef": {"fieldPath": path}}});
    match container["env"].as_array_mut() {
        Some(env) => env.push(variable),
        None => container["env"] = json!([variable]),
    }
}

/// What pods name as their controller.
pub(super) fn reference(job: &Job) -> OwnerReference {
    crate::ownership::controller_reference(&<Job as skiff_client::Kind>::RESOURCE, &job.metadata)
}
