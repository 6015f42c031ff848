//! What may change in a pod by its resize endpoint (upstream: `pkg/apis/core/validation`, ValidatePodResize).

use skiff_apimachinery::field::{Error, ErrorList, Path};
use skiff_apimachinery::value::Value;

use super::pod_spec;
use super::pod_update::MIRROR_POD;
use crate::registry::at::At;
use crate::registry::core::pod_resources::qos_class;

/// Resources that can be changed.
const RESIZABLE: [&str; 2] = ["cpu", "memory"];
/// How upstream writes the path of no field.
const NO_FIELD: &str = "[]";
const LISTS: [&str; 2] = ["requests", "limits"];
const ONLY_RESIZABLE: &str = "only cpu and memory resources are mutable";

/// Keeps everything but the resources, and what the metadata of a status endpoint may change, as it was. Other
/// containers than before are left for the validation to refuse.
pub fn keep_the_rest(new: &mut Value, old: &Value) {
    let lists = ["containers", "initContainers"];
    let count = |pod: &Value, list: &str| pod.array_at(&["spec", list]).len();
    if lists.iter().any(|list| count(new, list) != count(old, list)) {
        return;
    }
    let mut spec = old.get("spec").cloned().unwrap_or_default();
    put(&mut spec, "resources", new.at(&["spec", "resources"]).cloned());
    for list in lists {
        let merged = merged(new.array_at(&["spec", list]), old.array_at(&["spec", list]));
        if !merged.is_empty() {
            spec.set_at(&[list], merged);
        }
    }
    new.set_at(&["spec"], spec);
    match old.get("status") {
        Some(status) => new.set_at(&["status"], status.clone()),
        None => drop(new.remove_at(&["status"])),
    }
}

fn merged(new: &[Value], old: &[Value]) -> Vec<Value> {
    let name = |container: &Value| container.str_at(&["name"]).unwrap_or("").to_owned();
    if new.iter().zip(old).any(|(new, old)| name(new) != name(old)) {
        return new.to_vec();
    }
    let one = |(new, old): (&Value, &Value)| {
        let mut container = old.clone();
        for field in ["resources", "resizePolicy"] {
            put(&mut container, field, new.get(field).cloned());
        }
        container
    };
    new.iter().zip(old).map(one).collect()
}

fn put(object: &mut Value, field: &str, value: Option<Value>) {
    match value {
        Some(value) => object.set_at(&[field], value),
        None => drop(object.remove_at(&[field])),
    }
}

/// Validates a change by the resize endpoint.
pub fn validate(new: &Value, old: &Value, errors: &mut ErrorList) {
    let (new_at, old_at) = (At::root(new), At::root(old));
    pod_spec::validate(&new_at, true, errors);
    let refused = |errors: &mut ErrorList, message: &str| {
        *errors = ErrorList::default();
        errors.push(Error::forbidden(&Path::new(NO_FIELD), message));
    };
    if old_at.child("metadata").child("annotations").key(MIRROR_POD).is_set() {
        return refused(errors, "static pods cannot be resized");
    }
    let (spec, before) = (new_at.child("spec"), old_at.child("spec"));
    if before.child("os").child("name").text() == "windows" {
        return refused(errors, "windows pods cannot be resized");
    }
    let class = |pod: &Value| pod.get("spec").and_then(Value::as_object).map(qos_class);
    let was = old.str_at(&["status", "qosClass"]).or(class(old));
    if was != class(new) {
        let shown = Value::from(new.str_at(&["status", "qosClass"]).unwrap_or(""));
        errors.push(Error::invalid(&spec.path(), shown, "Pod QOS Class may not change as a result of resizing"));
    }
    if !is_supported(&old_at) {
        spec.forbidden(errors, "Pod running on node without support for resize");
    }
    pod_level(&spec, &before, errors);
    let count = errors.len();
    same_containers(&spec, &before, errors);
    if errors.len() > count {
        return;
    }
    for list in ["initContainers", "containers"] {
        let (list, old_list) = (spec.child(list), before.child(list));
        for (container, old) in list.items().zip(old_list.items()) {
            not_removed(&container.child("resources"), &old.child("resources"), "resource", errors);
        }
    }
    only_resizable(&spec, &before, errors);
}

/// Whether the kubelet of a running pod says what its containers have: an old one that does not cannot resize.
fn is_supported(pod: &At<'_>) -> bool {
    let status = pod.child("status");
    let statuses = status.child("containerStatuses");
    let running = statuses.items().find(|status| status.child("state").child("running").is_set());
    running.is_none_or(|status| status.child("resources").is_set())
}

fn pod_level(spec: &At<'_>, before: &At<'_>, errors: &mut ErrorList) {
    let (resources, old) = (spec.child("resources"), before.child("resources"));
    let is_set = |resources: &At<'_>| LISTS.iter().any(|list| !resources.child(list).is_empty());
    if !is_set(&resources) && !is_set(&old) {
        return;
    }
    if old.is_set() && !resources.is_set() {
        return resources.forbidden(errors, "pod-level resources cannot be removed");
    }
    not_removed(&resources, &old, "pod-level resource", errors);
    if !same_but_resizable(resources.value(), old.value()) {
        spec.forbidden(errors, "only cpu and memory resources are mutable at pod-level");
    }
}

fn not_removed(new: &At<'_>, old: &At<'_>, what: &str, errors: &mut ErrorList) {
    for list in LISTS {
        let (now, before) = (new.child(list), old.child(list));
        if before.entries().any(|(name, _)| !now.key(name).is_set()) {
            now.forbidden(errors, format!("{what} {list} cannot be removed"));
        }
    }
}

fn same_containers(spec: &At<'_>, before: &At<'_>, errors: &mut ErrorList) {
    for list in ["containers", "initContainers"] {
        let (now, old) = (spec.child(list), before.child(list));
        if now.len() != old.len() {
            now.forbidden(errors, format!("{list} may not be added or removed on resize"));
            continue;
        }
        for (container, old) in now.items().zip(old.items()) {
            if container.child("name").text() != old.child("name").text() {
                container.child("name").forbidden(errors, format!("{list} may not be renamed or reordered on resize"));
            }
        }
    }
}

/// A pod is otherwise as it was: the rest was put back before, but for other resources and the policy.
fn only_resizable(spec: &At<'_>, before: &At<'_>, errors: &mut ErrorList) {
    let (containers, old) = (spec.child("containers"), before.child("containers"));
    for (container, old) in containers.items().zip(old.items()) {
        if !is_same(&container, &old) {
            spec.forbidden(errors, ONLY_RESIZABLE);
        }
    }
    let (containers, old) = (spec.child("initContainers"), before.child("initContainers"));
    for (container, old) in containers.items().zip(old.items()) {
        if !is_same(&container, &old) {
            container.forbidden(errors, "only cpu and memory resources for init or sidecar containers are mutable");
        }
        let is_sidecar = container.child("restartPolicy").text() == "Always";
        if container.value() != old.value() && !is_sidecar {
            let policies = container.child("resizePolicy");
            for _ in policies.items().filter(|policy| policy.child("restartPolicy").text() == "RestartContainer") {
                let message = "non-sidecar init containers with a resize policy of RestartContainer cannot be resized";
                container.forbidden(errors, message);
            }
        }
    }
}

fn is_same(new: &At<'_>, old: &At<'_>) -> bool {
    let policy = |container: &At<'_>| container.child("resizePolicy").value().cloned();
    let mut resources = new.child("resources").value().cloned().unwrap_or_default();
    // Upstream leaves claims out here; they are checked with the rest of the pod.
    resources.remove_at(&["claims"]);
    policy(new) == policy(old) && same_but_resizable(Some(&resources), old.child("resources").value())
}

/// Whether nothing but cpu and memory differs.
fn same_but_resizable(new: Option<&Value>, old: Option<&Value>) -> bool {
    let rest = |resources: Option<&Value>| {
        let mut resources = resources.cloned().unwrap_or_default();
        for list in LISTS {
            for name in RESIZABLE {
                resources.remove_at(&[list, name]);
            }
            if resources.at(&[list]).and_then(Value::as_object).is_some_and(|list| list.is_empty()) {
                resources.remove_at(&[list]);
            }
        }
        if resources.as_object().is_some_and(|resources| resources.is_empty()) { Value::Null } else { resources }
    };
    rest(new) == rest(old)
}
