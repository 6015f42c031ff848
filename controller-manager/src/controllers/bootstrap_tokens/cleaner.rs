//! Deletes bootstrap tokens when they expire.
//!
//! Upstream: `pkg/controller/bootstrap/tokencleaner.go`.

use std::sync::Arc;
use std::time::Duration;

use skiff_client::objects::DeleteOptions;
use skiff_client::types::Secret;
use skiff_client::{Informer, Objects, Workqueue};

use super::{NAMESPACE, expiration, has_expired, tokens};
use crate::context::Context;
use crate::control_loop::{self, Next, Reconciler, unless_gone};

const NAME: &str = "token-cleaner-controller";

struct Controller {
    context: Context,
    tokens: Informer<Secret>,
}

/// Runs the cleaner.
pub async fn run(context: Context) -> anyhow::Result<()> {
    let controller = Arc::new(Controller { tokens: tokens(&context), context: context.clone() });
    let queue = Workqueue::new();
    let to = queue.clone();
    controller.tokens.add_handler(move |event| to.add(event.object().metadata.name.clone()));
    if !context.synced(&controller.tokens).await {
        return Ok(());
    }
    control_loop::run(NAME, &context, queue, controller).await
}

#[async_trait::async_trait]
impl Reconciler for Controller {
    type Key = String;

    async fn reconcile(&self, name: &String) -> anyhow::Result<Next> {
        let Some(token) = self.tokens.get_by_name(NAMESPACE, name) else { return Ok(Next::Event) };
        let Some(end) = expiration(&token) else { return Ok(Next::Event) };
        let now = self.context.now();
        if !has_expired(&token, now) {
            return Ok(Next::After(Duration::try_from(end.duration_since(now))?));
        }
        let api = Objects::<Secret>::namespaced(&self.context.client, NAMESPACE);
        unless_gone(api.delete(name, &DeleteOptions::with_uid(&token.metadata.uid)).await)?;
        Ok(Next::Event)
    }
}
