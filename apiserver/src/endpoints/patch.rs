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
use skiff_apimachinery::value::{Object, Value};
use skiff_apimachinery::{json, managedfields, meta, patch as formats, yaml};

use super::create::{Manager, dedup_owner_references, match_namespace};
use super::params::{FieldValidation, WriteOptions};
use super::update::check_name;
use super::{Call, unstructured};
use crate::authorization::{Attributes, Decision};
use crate::body::{self, strict_errors, strict_errors_after_pruning};
use crate::claim::{self, Mismatch};
use crate::response::{self, Response};

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
struct Patch {
    form: Form,
    /// What strict validation objects to in the patch itself.
    strict: Vec<String>,
}

enum Form {
    Json(formats::json::Patch),
    Merge(Value),
    Strategic(Value),
    Apply(Value),
}

/// Patches the object the URL names.
pub async fn patch(call: &Call<'_>, request: Request<Body>) -> Result<Response, Status> {
    let media = call.cx.content_type.split(';').next().unwrap_or("").trim().to_owned();
    let known = call.patch_types();
    if !known.contains(&media.as_str()) {
        let custom = call.resource.custom.is_some();
        return Err(if custom { status::unsupported_media_type(&known) } else { status::not_consumed() });
    }
    let output = call.output(false)?;
    let bytes = body::read(request.into_body()).await?;
    let apply = media == APPLY_PATCH;
    let options = WriteOptions::from_query(call.cx, "PatchOptions", apply)?;
    let patch = parse(call, &media, bytes.clone(), &options)?;
    if let Some(audit) = &call.cx.audit {
        match &patch.form {
            // Kept as it was sent.
            Form::Json(_) => audit.request_patch(&response::parse(&bytes).unwrap_or_default()),
            Form::Merge(patch) | Form::Strategic(patch) | Form::Apply(patch) => audit.request_patch(patch),
        }
    }
    let store = call.store()?;
    let manager = Manager::of(call, &options);
    let transform = |current: Option<&Value>| {
        let live = current.map(|current| call.view(current));
        let mut new = patched(call, &patch, live.as_deref(), &manager, &options)?;
        if live.is_none() && !meta::uid(&new).is_empty() {
            let message = format!(
                "uid mismatch: the provided object specified uid {}, and no existing object was found",
                meta::uid(&new)
            );
            return Err(status::conflict(&call.cx.info.group, &call.cx.info.resource, &call.cx.info.name, &message));
        }
        match_namespace(call, &mut new)?;
        check_name(call, &new)?;
        dedup_owner_references(call, &mut new, " after mutating admission happens");
        new = call.completed(new)?;
        if !apply {
            managedfields::update(live.as_deref(), &mut new, call.schema(), &manager.info());
        }
        call.merge(new, current)
    };
    let mut write = call.write(&call.cx.info.name, options.dry_run);
    write.uid_is_precondition = false;
    write.force_create = apply && call.subresource.is_none();
    if write.force_create {
        authorize_creation(call).await?;
    }
    let written = store.update(&write, &transform).await?;
    let code = if written.created { StatusCode::CREATED } else { StatusCode::OK };
    call.respond(output, code, written.json)
}

fn parse(call: &Call<'_>, media: &str, bytes: Bytes, options: &WriteOptions) -> Result<Patch, Status> {
    let (form, strict) = match media {
        JSON_PATCH => {
            let read = formats::json::decode(&bytes)?;
            (Form::Json(read.patch), read.strict)
        }
        MERGE_PATCH => {
            let read = formats::decode_map(&bytes, "error decoding patch: ")?;
            formats::merge::check(&read.patch)?;
            (Form::Merge(read.patch), read.strict)
        }
        STRATEGIC_PATCH => {
            let read = formats::decode_map(&bytes, "")?;
            // Unlike a merge patch, one that is null changes nothing.
            let patch = if read.patch.is_null() { Value::Object(Object::new()) } else { read.patch };
            (Form::Strategic(patch), read.strict)
        }
        _ => {
            let decoded = yaml::decode(&bytes, SchemaRef::new(&TypeTable::default(), &Type::Any)).map_err(|error| {
                status::bad_request(format!("error decoding YAML: error converting YAML to JSON: {error}"))
            })?;
            strict_keys(call, &decoded.repeated_keys, options)?;
            let applied = formats::configuration(decoded.value)?;
            if !is_of_type(call, &applied) {
                return Err(status::bad_request(format!("invalid object type: {}", type_of(&applied))));
            }
            (Form::Apply(applied), Vec::new())
        }
    };
    Ok(Patch { form, strict })
}

/// Keys that are there twice in YAML: a warning each, or in strict mode an error.
fn strict_keys(call: &Call<'_>, repeated: &[String], options: &WriteOptions) -> Result<(), Status> {
    match options.validation {
        _ if repeated.is_empty() => {}
        FieldValidation::Ignore => {}
        FieldValidation::Warn => call.cx.warnings.extend(repeated.iter().cloned()),
        FieldValidation::Strict => {
            return Err(status::bad_request(format!(
                "error strict decoding YAML: error converting YAML to JSON: yaml: unmarshal errors:\n  {}",
                repeated.join("\n  ")
            )));
        }
    }
    Ok(())
}

fn is_of_type(call: &Call<'_>, object: &Value) -> bool {
    let expected = call.expected();
    object.str_at(&["apiVersion"]) == Some(expected.api_version().as_str())
        && object.str_at(&["kind"]) == Some(expected.kind)
}

/// What an object says it is, as Go prints it: `apps/v1, Kind=Deployment`, `/v1, Kind=Pod`.
fn type_of(object: &Value) -> String {
    let text = |field: &str| object.str_at(&[field]).unwrap_or("");
    let api_version = text("apiVersion");
    let group = if api_version.contains('/') { "" } else { "/" };
    format!("{group}{api_version}, Kind={}", text("kind"))
}

fn patched(
    call: &Call<'_>,
    patch: &Patch,
    live: Option<&Value>,
    manager: &Manager,
    options: &WriteOptions,
) -> Result<Value, Status> {
    if let Form::Apply(applied) = &patch.form {
        let merged = managedfields::apply(live, applied.clone(), call.schema(), &manager.info(), options.force)?;
        // What the client sent is as it wrote it; stored is the canonical form.
        return conform(call, merged, None, &[], options);
    }
    let Some(live) = live else {
        return Err(status::not_found(&call.cx.info.group, &call.cx.info.resource, &call.cx.info.name));
    };
    let result = match &patch.form {
        Form::Json(operations) => {
            let mut document = live.clone();
            operations.apply(&mut document)?;
            document
        }
        Form::Merge(patch) => formats::merge::apply(live.clone(), patch),
        Form::Strategic(patch) => formats::strategic::apply(live.clone(), patch, call.schema())?,
        Form::Apply(applied) => applied.clone(),
    };
    let shown = if let Form::Strategic(patch) = &patch.form { Some(patch) } else { None };
    conform(call, result, shown, &patch.strict, options)
}

/// Decodes what a patch made under the schema: canonical scalars, no unknown fields, no wrong types. Errors quote what
/// was made, or the patch itself if it is `shown`, as Go prints a map.
fn conform(
    call: &Call<'_>,
    object: Value,
    shown: Option<&Value>,
    of_patch: &[String],
    options: &WriteOptions,
) -> Result<Value, Status> {
    let expected = call.expected();
    let mismatch = shown.and_then(|_| unstructured::mismatch(&object, expected.schema));
    let is_plain = mismatch.is_none() && of_patch.is_empty() && expected.pruning.is_none();
    if is_plain && is_of_type(call, &object) && json::conforms(&object, expected.schema) {
        return Ok(object);
    }
    let mut text = Vec::with_capacity(4096);
    json::write(&object, &mut text);
    let invalid = |detail: String| {
        let mut errors = ErrorList::default();
        let quoted = match shown {
            Some(patch) => crate::pretty::as_go_prints(patch),
            None => String::from_utf8_lossy(&text).into_owned(),
        };
        errors.push(Error::invalid(&Path::new("patch"), quoted, detail));
        status::invalid("", "", "", errors)
    };
    if let Some(wrong) = mismatch {
        return Err(invalid(wrong));
    }
    let mut decoded = json::decode(&text, expected.schema).map_err(|error| invalid(error.to_string()))?;
    if call.resource.custom.is_some() {
        same_custom_kind(expected, &decoded.value)?;
    } else if shown.is_none() {
        same_type(expected, &decoded.value).map_err(invalid)?;
    }
    decoded.value.set_at(&["apiVersion"], expected.api_version());
    decoded.value.set_at(&["kind"], expected.kind);
    let of_result = match expected.pruning {
        Some(strategy) => {
            let pruned = strategy.prune(&mut decoded.value);
            strict_errors_after_pruning(&decoded.duplicate, &decoded.unknown, &pruned)
        }
        None => strict_errors(&decoded.unknown, &decoded.duplicate),
    };
    let errors = [of_patch, &of_result].concat();
    strict(call, errors, options, |errors| invalid(format!("strict decoding error: {errors}")))?;
    Ok(decoded.value)
}

/// A custom resource of another kind is not valid, whereas no type of Go's stands in its way.
fn same_custom_kind(expected: body::Expected<'_>, object: &Value) -> Result<(), Status> {
    match object.str_at(&["kind"]) {
        Some(kind) if !kind.is_empty() && kind != expected.kind => {
            let mut errors = ErrorList::default();
            errors.push(Error::invalid(&Path::new("kind"), kind, format!("must be {}", expected.kind)));
            Err(status::invalid(expected.group, kind, meta::name(object), errors))
        }
        _ => Ok(()),
    }
}

/// apiVersion and kind are not the client's to change; the error is that of Go's decoder, which tries.
fn same_type(expected: body::Expected<'_>, object: &Value) -> Result<(), String> {
    let text = |field: &str| object.str_at(&[field]).unwrap_or("");
    let (api_version, kind) = (text("apiVersion"), text("kind"));
    match claim::compare(expected, api_version, kind) {
        Ok(()) => Ok(()),
        Err(Mismatch::Malformed(error) | Mismatch::Undecodable(error)) => Err(error),
        Err(Mismatch::OtherVersion) => {
            let version = api_version.rsplit('/').next().unwrap_or(api_version);
            Err(claim::unconvertible(expected, version, expected.kind))
        }
    }
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
