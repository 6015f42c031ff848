//! GET of one object.

use http::StatusCode;
use skiff_apimachinery::status::Status;

use super::Call;
use crate::response::Response;

/// Answers with the object, at least as new as `resourceVersion` asks.
pub async fn get(call: &Call<'_>) -> Result<Response, Status> {
    let output = call.output(false)?;
    let store = call.store()?;
    let (info, version) = (&call.cx.info, call.cx.query.text("resourceVersion"));
    let namespace = if call.resource.info.namespaced { info.namespace.as_str() } else { "" };
    let json = store.get(namespace, &info.name, version).await?;
    call.respond(output, StatusCode::OK, json)
}
