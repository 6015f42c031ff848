//! Certificate signing requests: approved where the rules say so, signed, and cleaned away.
//!
//! Upstream: `pkg/controller/certificates`. [`approver`] approves what nodes ask for their clients, [`signer`] signs what
//! is approved for the signers of `kubernetes.io`, [`cleaner`] deletes what nobody needs any more. [`request`] reads
//! what is asked, [`authority`] makes certificates.

pub mod approver;
mod authority;
pub mod cleaner;
mod der;
mod request;
pub mod signer;

pub use authority::Signing;

use std::sync::Arc;

use serde_json::Value;
use skiff_client::types::CertificateSigningRequest;
use skiff_client::{Informer, Kind, Objects, Workqueue};

use crate::context::Context;
use crate::control_loop::unless_gone;

/// A queue of the names of requests that change.
fn queue_of(requests: &Informer<CertificateSigningRequest>) -> Workqueue<String> {
    let queue = Workqueue::new();
    let to = queue.clone();
    requests.add_handler(move |event| to.add(event.object().metadata.name.clone()));
    queue
}

/// Changes a request through one of its subresources, if it is still the one that was decided on.
async fn change(
    context: &Context,
    request: &Arc<CertificateSigningRequest>,
    subresource: &str,
    change: impl FnOnce(&mut Value),
) -> anyhow::Result<()> {
    let api = Objects::<Value>::of(&context.client, CertificateSigningRequest::RESOURCE, "");
    let meta = &request.metadata;
    let Some(mut live) = api.get_opt(&meta.name).await? else { return Ok(()) };
    if live["metadata"]["resourceVersion"] != meta.resource_version.as_str() {
        // What is there now comes by the informer.
        return Ok(());
    }
    change(&mut live);
    unless_gone(api.replace(&meta.name, subresource, &live).await)?;
    Ok(())
}

/// Adds a condition that is true.
fn add_condition(request: &mut Value, kind: &str, reason: &str, message: &str) {
    let condition = serde_json::json!({"type": kind, "status": "True", "reason": reason, "message": message});
    match request["status"]["conditions"].as_array_mut() {
        Some(conditions) => conditions.push(condition),
        None => request["status"]["conditions"] = Value::Array(vec![condition]),
    }
}
