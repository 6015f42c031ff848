//! GET of one object.

use http::StatusCode;
use skiff_apimachinery::status::Status;

use super::Call;
use crate::negotiation::Output;
use crate::response::{self, Response};

/// Answers with the object, at least as new as `resourceVersion` asks.
pub async fn get(call: &Call<'_>) -> Result<Response, Status> {
    let output = call.output(false)?;
    let store = call.store()?;
    let (info, version) = (&call.cx.info, call.cx.query.text("resourceVersion"));
    let namespace = if call.resource.info.namespaced { info.namespace.as_str() } else { "" };
    let json = store.get(namespace, &info.name, version).await?;
    if output == Output::JSON && call.resource.custom.is_some() && info.subresource != "scale" {
        let cached = store.cache.get(namespace, &info.name);
        // Of what the cache has, it is known whether it is shown as it is.
        if let Some(cached) = cached.filter(|cached| *cached.json() == json) {
            return response::json(call.cx, StatusCode::OK, call.resource.json_of(&cached)?);
        }
    }
    call.respond(output, StatusCode::OK, json)
}
