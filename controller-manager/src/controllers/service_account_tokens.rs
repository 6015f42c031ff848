//! Secrets of the type `kubernetes.io/service-account-token`: they get a token of their ServiceAccount that has no end,
//! and go with it.
//!
//! Upstream: `pkg/controller/serviceaccount/tokens_controller.go`.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use skiff_client::objects::DeleteOptions;
use skiff_client::types::{Secret, ServiceAccount};
use skiff_client::{Event, Informer, ObjectKey, Objects, Scope, Workqueue};

use crate::context::Context;
use crate::control_loop::{self, Next, Reconciler, unless_gone};

const NAME: &str = "serviceaccount-token-controller";
const TYPE: &str = "kubernetes.io/service-account-token";
const ACCOUNT: &str = "kubernetes.io/service-account.name";
const UID: &str = "kubernetes.io/service-account.uid";

/// What a token says: whose it is, and in which Secret it stands.
#[derive(Clone, Copy, Debug)]
pub struct TokenOf<'a> {
    /// Namespace of both.
    pub namespace: &'a str,
    /// Name of the ServiceAccount.
    pub account: &'a str,
    /// Its UID.
    pub uid: &'a str,
    /// Name of the Secret.
    pub secret: &'a str,
}

/// Signs a token.
pub type TokenSigner = Arc<dyn Fn(&TokenOf<'_>) -> anyhow::Result<String> + Send + Sync>;

struct Controller {
    context: Context,
    accounts: Informer<ServiceAccount>,
    secrets: Informer<Secret>,
    sign: TokenSigner,
}

/// Runs the controller.
pub async fn run(context: Context) -> anyhow::Result<()> {
    let Some(sign) = context.config.token_signer.clone() else {
        context.shutdown.cancelled().await;
        return Ok(());
    };
    let scope = Scope { field_selector: format!("type={TYPE}"), ..Scope::default() };
    let secrets: Informer<Secret> = context.informers.get_scoped(scope);
    let controller = Arc::new(Controller { accounts: context.informer(), secrets, sign, context: context.clone() });
    let queue = Workqueue::new();
    let to = queue.clone();
    controller.secrets.add_handler(move |event| {
        to.add(event.object().metadata.key());
    });
    let (to, secrets) = (queue.clone(), controller.secrets.clone());
    controller.accounts.add_handler(move |event| {
        if let Event::Deleted(account) = event {
            let meta = &account.metadata;
            let of = |secret: &&Arc<Secret>| {
                secret.metadata.namespace == meta.namespace
                    && secret.metadata.annotations.get(ACCOUNT) == Some(&meta.name)
            };
            secrets.list().iter().filter(of).for_each(|secret| to.add(secret.metadata.key()));
        }
    });
    if !(context.synced(&controller.secrets).await && context.synced(&controller.accounts).await) {
        return Ok(());
    }
    control_loop::run(NAME, &context, queue, controller).await
}

/// What the Secret lacks, as changes of it; nothing if it has all. `token` is called if it has no token.
fn missing(
    secret: &Secret,
    account: &ServiceAccount,
    root_ca: &str,
    token: impl FnOnce() -> anyhow::Result<String>,
) -> anyhow::Result<Option<Value>> {
    let mut data = json!({});
    let mut want = |key: &str, text: &str| {
        let text = STANDARD.encode(text);
        if secret.data.get(key) != Some(&text) {
            data[key] = json!(text);
        }
    };
    want("ca.crt", root_ca);
    want("namespace", &secret.metadata.namespace);
    if secret.data.get("token").is_none_or(str::is_empty) {
        want("token", &token()?);
    }
    let marked = secret.metadata.annotations.get(UID) == Some(&account.metadata.uid);
    if marked && data == json!({}) {
        return Ok(None);
    }
    Ok(Some(json!({
        "metadata": {"uid": secret.metadata.uid, "annotations": {UID: account.metadata.uid}},
        "data": data,
    })))
}

#[async_trait::async_trait]
impl Reconciler for Controller {
    type Key = ObjectKey;

    async fn reconcile(&self, key: &ObjectKey) -> anyhow::Result<Next> {
        let (namespace, name) = (&*key.namespace, &*key.name);
        let Some(secret) = self.secrets.get_by_name(namespace, name) else { return Ok(Next::Event) };
        if secret.metadata.is_deleting() {
            return Ok(Next::Event);
        }
        let Some(of) = secret.metadata.annotations.get(ACCOUNT) else { return Ok(Next::Event) };
        let api = Objects::<Secret>::namespaced(&self.context.client, namespace);
        let account = match self.accounts.get_by_name(namespace, of) {
            Some(account) => Some(account),
            // It may have been made a moment ago; whoever deletes a Secret has to know.
            None => {
                Objects::<ServiceAccount>::namespaced(&self.context.client, namespace).get_opt(of).await?.map(Arc::new)
            }
        };
        let same = |account: &Arc<ServiceAccount>| {
            secret.metadata.annotations.get(UID).is_none_or(|uid| uid.is_empty() || uid == account.metadata.uid)
        };
        let Some(account) = account.filter(same) else {
            unless_gone(api.delete(name, &DeleteOptions::with_uid(&secret.metadata.uid)).await)?;
            return Ok(Next::Event);
        };
        let token_of = TokenOf { namespace, account: of, uid: &account.metadata.uid, secret: name };
        let patch = missing(&secret, &account, &self.context.config.root_ca, || (self.sign)(&token_of))?;
        if let Some(patch) = patch {
            // The controller manager may update Secrets, but not patch them.
            unless_gone(api.update(name, "", Some(&secret.metadata.resource_version), &patch).await)?;
        }
        Ok(Next::Event)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_gets_what_it_lacks() {
        let account: ServiceAccount =
            serde_json::from_value(json!({"metadata": {"name": "a", "uid": "u"}})).expect("an account");
        let secret = |object: Value| serde_json::from_value::<Secret>(object).expect("a secret");
        let plan = |secret: &Secret| missing(secret, &account, "root", || Ok("signed".into())).expect("a plan");
        let new = secret(json!({"metadata": {"name": "s", "namespace": "n", "uid": "1"}}));
        let data = json!({"ca.crt": "cm9vdA==", "namespace": "bg==", "token": "c2lnbmVk"});
        let expected = json!({"metadata": {"uid": "1", "annotations": {UID: "u"}}, "data": data});
        assert_eq!(plan(&new), Some(expected));
        let metadata = json!({"name": "s", "namespace": "n", "annotations": {UID: "u"}});
        let mut whole = json!({"metadata": metadata, "data": data});
        assert_eq!(plan(&secret(whole.clone())), None);
        whole["data"]["token"] = json!("b2xk");
        assert_eq!(plan(&secret(whole)), None, "another token is kept");
    }
}
