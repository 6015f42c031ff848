//! POST of an object.

use axum::body::Body;
use http::{Request, StatusCode};
use skiff_apimachinery::status::{self, Status};
use skiff_apimachinery::value::Value;
use skiff_apimachinery::{managedfields, meta, time};

use super::params::WriteOptions;
use super::{Call, reset};
use crate::body;
use crate::registry::conversion::OtherVersions;
use crate::response::Response;

/// Creates the object in the body.
pub async fn create(call: &Call<'_>, request: Request<Body>) -> Result<Response, Status> {
    let output = call.output(false)?;
    let encoding = call.body_encoding()?;
    let bytes = body::read(request.into_body()).await?;
    let options = WriteOptions::from_query(call.cx, "CreateOptions", false)?;
    let mut object = body::decode(call.cx, call.expected(), encoding, &bytes, options.validation)?;
    if object.get("metadata").is_none_or(|m| m.as_object().is_none()) {
        object.object_at_mut(&["metadata"]);
    }
    keep_sent(call, &object);
    match_namespace(call, &mut object)?;
    if !meta::resource_version(&object).is_empty() {
        return Err(status::bad_request("resourceVersion should not be set on objects to be created"));
    }
    let store = call.store()?;
    let mut object = call.completed(object)?;
    dedup_owner_references(call, &mut object, "");
    managedfields::on_create(&mut object, call.schema(), &Manager::of(call, &options).info());
    let name = meta::name(&object).to_owned();
    let written = store.create(&call.write(&name, options.dry_run), call.to_stored(object)).await?;
    call.respond(output, StatusCode::CREATED, written.json)
}

/// Who a write of this request counts for in managedFields.
pub struct Manager {
    name: String,
    api_version: String,
    subresource: String,
    time: String,
    reset: reset::Paths,
    versions: Option<OtherVersions>,
}

impl Manager {
    /// The manager of this request.
    pub fn of(call: &Call<'_>, options: &WriteOptions) -> Self {
        Self {
            name: options.manager.clone(),
            // That of the kind in question: a Scale has a version of its own.
            api_version: call.expected().api_version(),
            subresource: call.cx.info.subresource.clone(),
            time: time::format(jiff::Timestamp::now()),
            reset: call.reset_fields(),
            versions: call.resource.custom.is_none().then(|| OtherVersions::of(&call.resource.info)).flatten(),
        }
    }

    /// As managedfields wants it.
    pub fn info(&self) -> managedfields::ManagerInfo<'_> {
        managedfields::ManagerInfo {
            name: &self.name,
            api_version: &self.api_version,
            subresource: &self.subresource,
            time: &self.time,
            reset: self.reset,
            versions: self.versions.as_ref().map(|versions| versions as &dyn managedfields::Versions),
        }
    }
}

/// Keeps what was sent where that is wanted: with its defaults, as upstream does.
pub fn keep_sent(call: &Call<'_>, object: &Value) {
    if call.cx.audit.is_some()
        && let Ok(complete) = call.completed(object.clone())
    {
        body::sent(call.cx, &complete);
    }
}

/// The object lives where the URL says (`EnsureObjectNamespaceMatchesRequestNamespace` upstream).
pub fn match_namespace(call: &Call<'_>, object: &mut Value) -> Result<(), Status> {
    let wanted = if call.resource.info.namespaced { call.cx.info.namespace.as_str() } else { "" };
    let given = meta::namespace(object);
    if given == wanted {
        return Ok(());
    }
    if wanted.is_empty() {
        object.remove_at(&["metadata", "namespace"]);
    } else if given.is_empty() {
        object.set_at(&["metadata", "namespace"], wanted);
    } else {
        return Err(status::bad_request(
            "the namespace of the provided object does not match the namespace sent on the request",
        ));
    }
    Ok(())
}

/// Owners named twice are kept once, with a warning.
pub fn dedup_owner_references(call: &Call<'_>, object: &mut Value, when: &str) {
    let owners = object.array_at(&["metadata", "ownerReferences"]);
    let mut unique: Vec<Value> = Vec::with_capacity(owners.len());
    let mut repeated: Vec<String> = Vec::new();
    for owner in owners {
        if unique.contains(owner) {
            repeated.push(owner.str_at(&["uid"]).unwrap_or("").to_owned());
        } else {
            unique.push(owner.clone());
        }
    }
    if repeated.is_empty() {
        return;
    }
    call.cx.warnings.add(format!(
        ".metadata.ownerReferences contains duplicate entries{when}; API server dedups owner references in 1.20+, and may reject such requests as early as 1.24; please fix your requests; duplicate UID(s) observed: {}",
        repeated.join(", ")
    ));
    object.set_at(&["metadata", "ownerReferences"], unique);
}
