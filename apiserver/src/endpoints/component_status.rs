//! ComponentStatus: how what the server needs is doing. Nothing is kept; only the store is asked, which is what this
//! server knows of. Deprecated upstream, and still read by old tools.

use std::sync::atomic::Ordering;

use http::StatusCode;
use skiff_apimachinery::status::{self, Status};
use skiff_apimachinery::value::{Object, Value};
use skiff_apimachinery::{fields, labels, value};

use super::params::ListOptions;
use super::{Call, partial_type, table};
use crate::ApiServer;
use crate::negotiation::Shape;
use crate::printers::partial;
use crate::response::{self, ObjectType, Response};

/// The only component.
const STORE: &str = "etcd-0";

/// The components with their conditions.
fn all(server: &ApiServer) -> Vec<Value> {
    let condition = if server.health.store_ok.load(Ordering::Relaxed) {
        value!({"type": "Healthy", "status": "True", "message": "ok"})
    } else {
        value!({"type": "Healthy", "status": "False", "message": "the store does not answer"})
    };
    vec![value!({
        "kind": "ComponentStatus",
        "apiVersion": "v1",
        "metadata": {"name": STORE},
        "conditions": [condition]
    })]
}

/// GET of one.
pub(super) fn get(call: &Call<'_>) -> Result<Response, Status> {
    let output = call.output(false)?;
    let name = call.cx.info.name.as_str();
    let found = all(call.server).into_iter().find(|component| component.str_at(&["metadata", "name"]) == Some(name));
    // Upstream names the kind here as no other does.
    let found = found.ok_or_else(|| status::not_found("", "componentstatus", name))?;
    let object = match output.shape {
        Shape::Full => return one(call, &call.resource.info.kind, found),
        Shape::PartialMetadata(version) => {
            (partial_type(version, "PartialObjectMetadata")?, partial::object(&found, version))
        }
        Shape::Table(version) => (partial_type(version, "Table")?, table::of_object(call, &found, version)?),
    };
    response::value(call.cx, output, object.0, StatusCode::OK, object.1)
}

/// GET of those that the selectors choose.
pub(super) fn list(call: &Call<'_>) -> Result<Response, Status> {
    let output = call.output(true)?;
    let options = ListOptions::from_query(&call.cx.query, false)?;
    let chosen = chosen(&options, all(call.server))?;
    let list = |api_version: &str, kind: &str, items: Vec<Value>| value!({"kind": kind, "apiVersion": api_version, "metadata": {}, "items": items});
    match output.shape {
        Shape::Full => one(call, "ComponentStatusList", list("v1", "ComponentStatusList", chosen)),
        Shape::PartialMetadata(version) => {
            let ty = partial_type(version, "PartialObjectMetadataList")?;
            let items = chosen.iter().map(|object| partial::object(object, version)).collect();
            response::value(call.cx, output, ty, StatusCode::OK, list(ty.api_version, ty.kind, items))
        }
        Shape::Table(version) => {
            let table = table::of_list(call, &chosen, Object::new(), version)?;
            response::value(call.cx, output, partial_type(version, "Table")?, StatusCode::OK, table)
        }
    }
}

/// Components have no labels, and no fields but their name.
fn chosen(options: &ListOptions, mut all: Vec<Value>) -> Result<Vec<Value>, Status> {
    let labels = labels::Selector::parse(&options.label_selector).map_err(status::bad_request)?;
    let fields = fields::Selector::parse(&options.field_selector).map_err(status::bad_request)?;
    if let Some(term) = fields.requirements().iter().find(|term| term.field != "metadata.name") {
        return Err(status::bad_request(format!("field label not supported: {}", term.field)));
    }
    all.retain(|component| {
        let name = component.str_at(&["metadata", "name"]).unwrap_or_default();
        fields.requirements().iter().all(|term| (term.value == name) == term.equal) && labels.matches_with(|_| None)
    });
    Ok(all)
}

fn one(call: &Call<'_>, kind: &str, object: Value) -> Result<Response, Status> {
    let schema = skiff_api::builtin().schema_of("", "v1", kind);
    let schema = schema.ok_or_else(|| status::internal_error(format!("no schema for v1 {kind}")))?;
    let ty = ObjectType { api_version: "v1", kind, schema };
    response::value(call.cx, call.output(kind.ends_with("List"))?, ty, StatusCode::OK, object)
}
