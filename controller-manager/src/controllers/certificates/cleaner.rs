//! Deletes requests that nobody needs any more: an hour after the answer, a day without one, and when the certificate
//! has expired.
//!
//! Upstream: `pkg/controller/certificates/cleaner`.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::{SignedDuration, Timestamp};
use skiff_client::objects::DeleteOptions;
use skiff_client::types::CertificateSigningRequest;
use skiff_client::{Informer, Objects};
use x509_parser::prelude::{FromDer, Pem, X509Certificate};

use super::queue_of;
use crate::context::Context;
use crate::control_loop::{self, Next, Reconciler, unless_gone};

const NAME: &str = "certificatesigningrequest-cleaner-controller";
/// How long a request stays after its certificate was issued, or after it was denied or has failed.
const ANSWERED: SignedDuration = SignedDuration::from_hours(1);
/// How long a request stays that nobody answers.
const UNANSWERED: SignedDuration = SignedDuration::from_hours(24);

struct Controller {
    context: Context,
    requests: Informer<CertificateSigningRequest>,
}

/// Runs the cleaner.
pub async fn run(context: Context) -> anyhow::Result<()> {
    let controller = Arc::new(Controller { requests: context.informer(), context: context.clone() });
    let queue = queue_of(&controller.requests);
    if !context.synced(&controller.requests).await {
        return Ok(());
    }
    control_loop::run(NAME, &context, queue, controller).await
}

/// When a request is to be deleted; `None` for one about whose conditions there is no rule.
fn due(request: &CertificateSigningRequest) -> Option<Timestamp> {
    let conditions = &request.status.conditions;
    let times = conditions.iter().filter_map(|condition| {
        let keep = match condition.type_.as_str() {
            "Approved" if request.is_issued() => ANSWERED,
            "Approved" => UNANSWERED,
            "Denied" | "Failed" => ANSWERED,
            _ => return None,
        };
        Some(condition.last_update_time? + keep)
    });
    let expiry = expiry_of(&request.status.certificate).filter(|_| request.has("Approved"));
    let unhandled = request.metadata.creation_timestamp.filter(|_| conditions.is_empty());
    times.chain(expiry).chain(unhandled.map(|created| created + UNANSWERED)).min()
}

fn expiry_of(certificate: &str) -> Option<Timestamp> {
    let pem = STANDARD.decode(certificate).ok()?;
    let block = Pem::iter_from_buffer(&pem).next()?.ok()?;
    let (_, certificate) = X509Certificate::from_der(&block.contents).ok()?;
    Timestamp::from_second(certificate.validity().not_after.timestamp()).ok()
}

#[async_trait::async_trait]
impl Reconciler for Controller {
    type Key = String;

    async fn reconcile(&self, name: &String) -> anyhow::Result<Next> {
        let Some(request) = self.requests.get_by_name("", name) else { return Ok(Next::Event) };
        let Some(due) = due(&request) else { return Ok(Next::Event) };
        let left = due.duration_since(self.context.now());
        if left.is_positive() {
            return Ok(Next::After(Duration::try_from(left)?));
        }
        let api = Objects::<CertificateSigningRequest>::cluster(&self.context.client);
        unless_gone(api.delete(name, &DeleteOptions::with_uid(&request.metadata.uid)).await)?;
        Ok(Next::Event)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    #[test]
    fn requests_stay_as_long_as_somebody_may_look() {
        let check = |status: Value, expected: Option<&str>| {
            let metadata = json!({"name": "r", "creationTimestamp": "2026-01-01T00:00:00Z"});
            let request = serde_json::from_value(json!({"metadata": metadata, "status": status})).expect("a request");
            assert_eq!(due(&request).map(|due| due.to_string()).as_deref(), expected);
        };
        let condition =
            |kind: &str| json!([{"type": kind, "status": "True", "lastUpdateTime": "2026-01-01T02:00:00Z"}]);
        check(json!({}), Some("2026-01-02T00:00:00Z"));
        check(json!({"conditions": condition("Denied")}), Some("2026-01-01T03:00:00Z"));
        check(json!({"conditions": condition("Failed")}), Some("2026-01-01T03:00:00Z"));
        check(json!({"conditions": condition("Approved")}), Some("2026-01-02T02:00:00Z"));
        check(json!({"conditions": condition("Approved"), "certificate": "eA=="}), Some("2026-01-01T03:00:00Z"));
        check(json!({"conditions": condition("Other")}), None);
    }
}
