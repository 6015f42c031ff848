//! PUT of an object or one of its subresources that has the object's own form.

use axum::body::Body;
use http::{Request, StatusCode};
use skiff_apimachinery::status::{self, Status};
use skiff_apimachinery::value::Value;
use skiff_apimachinery::{managedfields, meta};

use super::Call;
use super::create::{Manager, dedup_owner_references, keep_sent, match_namespace};
use super::params::WriteOptions;
use crate::body;
use crate::response::Response;

/// Replaces the object with the one in the body.
pub async fn update(call: &Call<'_>, request: Request<Body>) -> Result<Response, Status> {
    let output = call.output(false)?;
    let encoding = call.body_encoding()?;
    let bytes = body::read(request.into_body()).await?;
    let options = WriteOptions::from_query(call.cx, "UpdateOptions", false)?;
    let mut object = body::decode(call.cx, call.expected(), encoding, &bytes, options.validation)?;
    keep_sent(call, &object);
    check_name(call, &object)?;
    match_namespace(call, &mut object)?;
    dedup_owner_references(call, &mut object, "");
    let store = call.store()?;
    let object = call.completed(object)?;
    let manager = Manager::of(call, &options);
    let transform = |current: Option<&Value>| {
        let mut new = object.clone();
        let live = current.map(|current| call.view(current));
        match &live {
            Some(live) => managedfields::update(Some(&**live), &mut new, call.schema(), &manager.info()),
            None => managedfields::on_create(&mut new, call.schema(), &manager.info()),
        }
        call.merge(new, current)
    };
    let written = store.update(&call.write(&call.cx.info.name, options.dry_run), &transform).await?;
    let code = if written.created { StatusCode::CREATED } else { StatusCode::OK };
    call.respond(output, code, written.json)
}

/// The object is the one the URL names (`checkName` upstream).
pub fn check_name(call: &Call<'_>, object: &Value) -> Result<(), Status> {
    let (name, wanted) = (meta::name(object), call.cx.info.name.as_str());
    if name.is_empty() {
        return Err(status::bad_request(format!(
            "the name of the object ({wanted} based on URL) was undeterminable: name must be provided"
        )));
    }
    if name != wanted {
        return Err(status::bad_request(format!(
            "the name of the object ({name}) does not match the name on the URL ({wanted})"
        )));
    }
    let (namespace, wanted) = (meta::namespace(object), call.cx.info.namespace.as_str());
    if call.resource.info.namespaced && !namespace.is_empty() && namespace != wanted {
        return Err(status::bad_request(format!(
            "the namespace of the object ({namespace}) does not match the namespace on the request ({wanted})"
        )));
    }
    Ok(())
}
