//! pods/binding and bindings: the scheduler's decision.
//!
//! Follows `BindingREST` in `pkg/registry/core/pod/storage/storage.go`.

use axum::body::Body;
use http::{Request, StatusCode};
use skiff_apimachinery::field::{Error, Path};
use skiff_apimachinery::status::{self, Status};
use skiff_apimachinery::value;
use skiff_apimachinery::value::Value;
use skiff_apimachinery::{meta, time};

use super::params::WriteOptions;
use super::{Call, delete};
use crate::admission::Operation;
use crate::body::{self, Expected};
use crate::negotiation;
use crate::response::Response;

/// Assigns a pod to the node that the Binding names.
pub async fn bind(call: &Call<'_>, request: Request<Body>) -> Result<Response, Status> {
    let output = call.output(false)?;
    let encoding = negotiation::body_encoding(&call.cx.content_type, true)?;
    let bytes = body::read(request.into_body()).await?;
    let options = WriteOptions::from_query(call.cx, "CreateOptions", false)?;
    let schema = skiff_api::builtin()
        .schema_of("", "v1", "Binding")
        .ok_or_else(|| status::internal_error("no schema for Binding"))?;
    let expected = Expected { group: "", version: "v1", kind: "Binding", schema, pruning: None };
    let mut binding = body::decode(call.cx, expected, encoding, &bytes, options.validation)?;
    let in_body = meta::name(&binding).to_owned();
    let name = if call.cx.info.name.is_empty() { in_body.as_str() } else { call.cx.info.name.as_str() };
    if !in_body.is_empty() && in_body != name {
        return Err(status::bad_request("name in URL does not match name in Binding object"));
    }
    let namespace = meta::namespace(&binding);
    if !namespace.is_empty() && namespace != call.cx.info.namespace {
        return Err(status::bad_request(
            "the namespace of the provided object does not match the namespace sent on the request",
        ));
    }
    if name.is_empty() {
        return Err(status::bad_request("Name parameter required."));
    }
    validate(&binding)?;
    if call.cx.info.name.is_empty() {
        // The older resource is one whose objects' system fields are wiped; a pod's subresource keeps them.
        binding.remove_at(&["metadata", "uid"]);
    }
    call.admit(Operation::Create, name, Some(&mut binding)).await?;
    let pods =
        call.server.registry.store("", "pods").ok_or_else(|| status::internal_error("pods are not stored here"))?;
    let transform = |current: Option<&Value>| match current {
        Some(pod) => assigned(pod, &binding),
        None => Err(pods.not_found(name)),
    };
    let mut write = call.write(name, options.dry_run);
    write.subresource = "binding";
    write.admission = &[];
    pods.update(&write, &transform).await?;
    delete::success(call, output, StatusCode::CREATED, None)
}

/// Upstream's storage, not its validation, looks at the target, and what it finds is not told as the client's fault.
fn validate(binding: &Value) -> Result<(), Status> {
    let target = |field: &str| binding.str_at(&["target", field]).unwrap_or("");
    let path = Path::new("target");
    let mut faults = Vec::new();
    if !matches!(target("kind"), "" | "Node") {
        faults.push(Error::not_supported(&path.child("kind"), target("kind"), &["Node", "<empty>"]).to_string());
    }
    if target("name").is_empty() {
        faults.push(Error::required(&path.child("name"), "").to_string());
    }
    match faults.as_slice() {
        [] => Ok(()),
        [fault] => Err(Status::new(500, "", fault.clone())),
        several => Err(Status::new(500, "", format!("[{}]", several.join(", ")))),
    }
}

fn assigned(pod: &Value, binding: &Value) -> Result<Value, Status> {
    let name = meta::name(pod);
    let conflict = |why: String| Err(status::conflict("", "pods/binding", name, &why));
    let preconditions = [
        ("UID", meta::uid(binding), meta::uid(pod)),
        ("ResourceVersion", meta::resource_version(binding), meta::resource_version(pod)),
    ];
    for (what, wanted, current) in preconditions {
        if !wanted.is_empty() && wanted != current {
            let key = format!("/registry/pods/{}/{name}", meta::namespace(pod));
            // The error of upstream's store, which knows nothing of bindings.
            let why = format!(
                "StorageError: invalid object, Code: 4, Key: {key}, ResourceVersion: 0, AdditionalErrorMsg: Precondition failed: {what} in precondition: {wanted}, {what} in object meta: {current}"
            );
            return Err(status::conflict("", "pods", name, &why));
        }
    }
    if meta::deletion_timestamp(pod).is_some() {
        return conflict(format!("pod {name} is being deleted, cannot be assigned to a host"));
    }
    let node = pod.str_at(&["spec", "nodeName"]).unwrap_or("");
    if !node.is_empty() {
        return conflict(format!("pod {name} is already assigned to node {node:?}"));
    }
    if !pod.array_at(&["spec", "schedulingGates"]).is_empty() {
        return conflict(format!("pod {name} has non-empty .spec.schedulingGates"));
    }
    let mut pod = pod.clone();
    pod.set_at(&["spec", "nodeName"], binding.str_at(&["target", "name"]).unwrap_or(""));
    for map in ["annotations", "labels"] {
        let added = binding.at(&["metadata", map]).and_then(Value::as_object);
        for (key, value) in added.into_iter().flat_map(|added| added.iter()) {
            pod.set_at(&["metadata", map, key], value.clone());
        }
    }
    let condition = value!({
        "type": "PodScheduled",
        "status": "True",
        "lastProbeTime": null,
        "lastTransitionTime": (time::format(jiff::Timestamp::now()))
    });
    set_condition(&mut pod, condition);
    Ok(pod)
}

/// Puts a condition in the place of the one of its type; its transition time stays when its status does.
pub fn set_condition(pod: &mut Value, mut condition: Value) {
    let mut conditions = pod.array_at(&["status", "conditions"]).to_vec();
    let kind = condition.str_at(&["type"]).unwrap_or("").to_owned();
    match conditions.iter_mut().find(|c| c.str_at(&["type"]) == Some(kind.as_str())) {
        Some(existing) => {
            if existing.get("status") == condition.get("status")
                && let Some(since) = existing.get("lastTransitionTime")
            {
                condition.set_at(&["lastTransitionTime"], since.clone());
            }
            *existing = condition;
        }
        None => conditions.push(condition),
    }
    pod.set_at(&["status", "conditions"], conditions);
}
