//! ServiceAccounts: every namespace has one named `default`.
//!
//! Upstream: `pkg/controller/serviceaccount/serviceaccounts_controller.go`.

use std::sync::Arc;

use serde_json::json;
use skiff_client::types::{Namespace, ServiceAccount};
use skiff_client::{Event, Informer, Objects, Workqueue, errors};

use crate::context::Context;
use crate::control_loop::{self, Next, Reconciler};

const NAME: &str = "serviceaccount-controller";
const ACCOUNT: &str = "default";

struct Controller {
    context: Context,
    namespaces: Informer<Namespace>,
    accounts: Informer<ServiceAccount>,
}

/// Runs the ServiceAccount controller.
pub async fn run(context: Context) -> anyhow::Result<()> {
    let controller =
        Arc::new(Controller { namespaces: context.informer(), accounts: context.informer(), context: context.clone() });
    let queue = Workqueue::new();
    let to = queue.clone();
    controller.namespaces.add_handler(move |event| to.add(event.object().metadata.name.clone()));
    let to = queue.clone();
    controller.accounts.add_handler(move |event| {
        if let Event::Deleted(account) = event {
            to.add(account.metadata.namespace.clone());
        }
    });
    if !(context.synced(&controller.namespaces).await && context.synced(&controller.accounts).await) {
        return Ok(());
    }
    control_loop::run(NAME, &context, queue, controller).await
}

/// Whether the account must be created.
fn is_missing(namespace: Option<&Namespace>, account: Option<&ServiceAccount>) -> bool {
    account.is_none() && namespace.is_some_and(|namespace| namespace.status.phase != "Terminating")
}

#[async_trait::async_trait]
impl Reconciler for Controller {
    type Key = String;

    async fn reconcile(&self, namespace: &String) -> anyhow::Result<Next> {
        let account = self.accounts.get_by_name(namespace, ACCOUNT);
        if is_missing(self.namespaces.get_by_name("", namespace).as_deref(), account.as_deref()) {
            let body = json!({"metadata": {"name": ACCOUNT, "namespace": namespace}});
            match Objects::<ServiceAccount>::namespaced(&self.context.client, namespace).create(&body).await {
                Err(error) if errors::is_already_exists(&error) || errors::is_namespace_terminating(&error) => {}
                Err(error) if errors::is_not_found(&error) => {}
                done => drop(done?),
            }
        }
        Ok(Next::Event)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_is_made_unless_the_namespace_is_going() {
        let namespace = |phase: &str| -> Namespace {
            serde_json::from_value(json!({"metadata": {"name": "n"}, "status": {"phase": phase}})).expect("a namespace")
        };
        let account = ServiceAccount::default();
        assert!(is_missing(Some(&namespace("Active")), None));
        assert!(!is_missing(Some(&namespace("Terminating")), None));
        assert!(!is_missing(Some(&namespace("Active")), Some(&account)));
        assert!(!is_missing(None, None));
    }
}
