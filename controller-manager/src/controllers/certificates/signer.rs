//! Signs what is approved, for the signers of `kubernetes.io`.
//!
//! Upstream: `pkg/controller/certificates/signer`. What was approved and does not suit its signer gets the condition
//! Failed, for good.

use std::sync::Arc;

use skiff_client::Informer;
use skiff_client::types::CertificateSigningRequest;
use tracing::warn;

use super::authority::Authority;
use super::request::{Asked, der_of};
use super::{add_condition, change, queue_of};
use crate::context::Context;
use crate::control_loop::{self, Next, Reconciler};

const NAME: &str = "certificatesigningrequest-signing-controller";

struct Controller {
    context: Context,
    requests: Informer<CertificateSigningRequest>,
    authority: Authority,
}

/// Runs the signer; without an authority there is nothing to do.
pub async fn run(context: Context) -> anyhow::Result<()> {
    let Some(signing) = &context.config.signing else {
        warn!("no authority to sign certificates with: requests for kubernetes.io signers stay as they are");
        context.shutdown.cancelled().await;
        return Ok(());
    };
    let authority = Authority::open(signing)?;
    let controller = Arc::new(Controller { requests: context.informer(), authority, context: context.clone() });
    let queue = queue_of(&controller.requests);
    if !context.synced(&controller.requests).await {
        return Ok(());
    }
    control_loop::run(NAME, &context, queue, controller).await
}

#[async_trait::async_trait]
impl Reconciler for Controller {
    type Key = String;

    async fn reconcile(&self, name: &String) -> anyhow::Result<Next> {
        let Some(request) = self.requests.get_by_name("", name) else { return Ok(Next::Event) };
        let approved = request.has("Approved") && !request.has("Denied") && !request.has("Failed");
        if !approved || request.is_issued() {
            return Ok(Next::Event);
        }
        let spec = &request.spec;
        let der = der_of(&spec.request)?;
        let Some(suits) = Asked::of(&der)?.suits(&spec.signer_name, &spec.usages) else { return Ok(Next::Event) };
        if let Err(reason) = suits {
            let fail = |live: &mut _| add_condition(live, "Failed", "SignerValidationFailure", &reason);
            change(&self.context, &request, "status", fail).await?;
            return Ok(Next::Event);
        }
        let certificate = self.authority.sign(&der, &spec.usages, spec.expiration_seconds, self.context.now())?;
        change(&self.context, &request, "status", |live| live["status"]["certificate"] = certificate.into()).await?;
        Ok(Next::Event)
    }
}
