//! PATCH: JSON patch, merge patch, strategic merge patch, and server-side apply.
//!
//! Follows `k8s.io/apiserver/pkg/endpoints/handlers/patch.go`. The patch works on the object in the version of the
//! request; the result is decoded under the schema again, which finds unknown fields and wrong types.

use axum::body::Body;
use bytes::Bytes;
use http::{Request, StatusCode};
use skiff_apimachinery::field::{Error, ErrorList, Path};
use skiff_apimachinery::schema::{SchemaRef, Type, TypeTable};
use skiff_apimachinery::status::{self, Status};
use skiff_apimachinery::value::Value;
use skiff_apimachinery::{json, managedfields, meta, patch as formats, yaml};

use super::Call;
use super::create::{Manager, dedup_owner_references, match_namespace};
use super::params::{FieldValidation, WriteOptions};
use super::update::check_name;
use crate::authorization::{Attributes, Decision};
use crate::body::{self, strict_errors, strict_errors_after_pruning};
use crate::response::Response;

const JSON_PATCH: &str = "application/json-patch+json";
const MERGE_PATCH: &str = "application/merge-patch+json";
const STRATEGIC_PATCH: &str = "application/strategic-merge-patch+json";
const APPLY_PATCH: &str = "application/apply-patch+yaml";

impl Call<'_> {
    /// The patches that the kind takes: custom resources have no strategic merge.
    fn patch_types(&self) -> Vec<&'static str> {
        let all = [JSON_PATCH, MERGE_PATCH, STRATEGIC_PATCH, APPLY_PATCH];
        all.into_iter().filter(|media| *media != STRATEGIC_PATCH || self.resource.custom.is_none()).collect()
    }
}

/// A patch, parsed as far as it can be without the object.
enum Patch {
    Json(Bytes),
    Merge(Value),
    Strategic(Value),
    Apply(Value),
}

/// Patches the object the URL names.
pub async fn patch(call: &Call<'_>, request: Request<Body>) -> Result<Response, Status> {
    let media = call.cx.content_type.split(';').next().unwrap_or("").trim().to_owned();
    let known = call.patch_types();
    if !known.contains(&media.as_str()) {
        return Err(status::unsupported_media_type(&known));
    }
    let output = call.output(false)?;
    let bytes = body::read(request.into_body()).await?;
    let apply = media == APPLY_PATCH;
    let options = WriteOptions::from_query(call.cx, "PatchOptions", apply)?;
    let patch = parse(call, &media, bytes, &options)?;
    let store = call.store()?;
    let manager = Manager::of(call, &options);
    let transform = |current: Option<&Value>| {
        let live = current.map(|current| call.view(current));
        let mut new = patched(call, &patch, live.as_ref(), &manager, &options)?;
        if live.is_none() && !meta::uid(&new).is_empty() {
            let message = format!(
                "uid mismatch: the provided object specified uid {}, and no existing object was found",
                meta::uid(&new)
            );
            return Err(status::conflict(&call.cx.info.group, &call.cx.info.resource, &call.cx.info.name, &message));
        }
        match_namespace(call, &mut new)?;
        check_name(call, &new)?;
        dedup_owner_references(call, &mut new);
        if !apply {
            new = call.completed(new)?;
            managedfields::update(live.as_ref(), &mut new, call.schema(), &manager.info());
        }
        call.merge(new, current)
    };
    let mut write = call.write(&call.cx.info.name, options.dry_run);
    write.force_create = apply && call.subresource.is_none();
    if write.force_create {
        authorize_creation(call).await?;
    }
    let written = store.update(&write, &transform).await?;
    let code = if written.created { StatusCode::CREATED } else { StatusCode::OK };
    call.respond(output, code, written.json)
}

fn parse(call: &Call<'_>, media: &str, bytes: Bytes, options: &WriteOptions) -> Result<Patch, Status> {
    let document = |bytes: &[u8]| {
        json::parse(bytes).map_err(|error| status::bad_request(format!("error decoding patch: {error}")))
    };
    Ok(match media {
        JSON_PATCH => Patch::Json(bytes),
        MERGE_PATCH => {
            let patch = document(&bytes)?;
            formats::merge::check(&patch)?;
            Patch::Merge(patch)
        }
        STRATEGIC_PATCH => Patch::Strategic(document(&bytes)?),
        _ => {
            let decoded = yaml::decode(&bytes, SchemaRef::new(&TypeTable::default(), &Type::Any))
                .map_err(|error| status::bad_request(format!("error decoding YAML: {error}")))?;
            strict(call, strict_errors(&[], &decoded.duplicate), options, |errors| {
                status::bad_request(format!("error strict decoding YAML: {errors}"))
            })?;
            let mut applied = decoded.value;
            body::check_type(call.expected(), &mut applied)?;
            Patch::Apply(applied)
        }
    })
}

fn patched(
    call: &Call<'_>,
    patch: &Patch,
    live: Option<&Value>,
    manager: &Manager,
    options: &WriteOptions,
) -> Result<Value, Status> {
    if let Patch::Apply(applied) = patch {
        let merged = managedfields::apply(live, applied.clone(), call.schema(), &manager.info(), options.force)?;
        // What the client sent is as it wrote it; stored is the canonical form.
        return conform(call, &merged, None, options);
    }
    let Some(live) = live else {
        return Err(status::not_found(&call.cx.info.group, &call.cx.info.resource, &call.cx.info.name));
    };
    let result = match patch {
        Patch::Json(operations) => {
            let mut document = live.clone();
            formats::json::apply(&mut document, operations)?;
            document
        }
        Patch::Merge(patch) => formats::merge::apply(live.clone(), patch),
        Patch::Strategic(patch) => formats::strategic::apply(live.clone(), patch, call.schema())?,
        Patch::Apply(applied) => applied.clone(),
    };
    let shown = if let Patch::Strategic(patch) = patch { Some(patch) } else { None };
    let mut new = conform(call, &result, shown, options)?;
    // apiVersion and kind are not the client's to change.
    body::check_type(call.expected(), &mut new)?;
    Ok(new)
}

/// Decodes what a patch made under the schema: canonical scalars, no unknown fields, no wrong types. Errors quote what
/// was made, or the patch itself if it is `shown`, as Go prints a map.
fn conform(call: &Call<'_>, object: &Value, shown: Option<&Value>, options: &WriteOptions) -> Result<Value, Status> {
    let mut text = Vec::with_capacity(4096);
    json::write(object, &mut text);
    let invalid = |detail: String| {
        let mut errors = ErrorList::default();
        let quoted = match shown {
            Some(patch) => crate::pretty::as_go_prints(patch),
            None => String::from_utf8_lossy(&text).into_owned(),
        };
        errors.push(Error::invalid(&Path::new("patch"), quoted, detail));
        status::invalid("", "", "", errors)
    };
    let expected = call.expected();
    let mut decoded = json::decode(&text, expected.schema).map_err(|error| invalid(error.to_string()))?;
    let errors = match expected.pruning {
        Some(strategy) => {
            let pruned = strategy.prune(&mut decoded.value);
            strict_errors_after_pruning(&decoded.duplicate, &decoded.unknown, &pruned)
        }
        None => strict_errors(&decoded.unknown, &decoded.duplicate),
    };
    strict(call, errors, options, |errors| invalid(format!("strict decoding error: {errors}")))?;
    Ok(decoded.value)
}

fn strict(
    call: &Call<'_>,
    errors: Vec<String>,
    options: &WriteOptions,
    fail: impl FnOnce(String) -> Status,
) -> Result<(), Status> {
    match options.validation {
        _ if errors.is_empty() => Ok(()),
        FieldValidation::Ignore => Ok(()),
        FieldValidation::Warn => {
            call.cx.warnings.extend(errors);
            Ok(())
        }
        FieldValidation::Strict => Err(fail(errors.join(", "))),
    }
}

/// Apply to a missing object is a create and needs the right to create.
async fn authorize_creation(call: &Call<'_>) -> Result<(), Status> {
    let store = call.store()?;
    let info = &call.cx.info;
    if store.exists(&info.namespace, &info.name).await? {
        return Ok(());
    }
    let attributes = Attributes { verb: "create".into(), ..call.server.attributes(call.cx) };
    match call.server.authorizer.authorize(&attributes) {
        Decision::Allow(_) => Ok(()),
        Decision::Deny(reason) | Decision::NoOpinion(reason) => {
            Err(crate::handler_chain::forbidden(&attributes, &reason))
        }
    }
}
