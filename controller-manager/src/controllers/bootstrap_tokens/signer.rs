//! Signs ConfigMap kube-public/cluster-info with every bootstrap token that may sign.
//!
//! Upstream: `pkg/controller/bootstrap/bootstrapsigner.go` and `k8s.io/cluster-bootstrap/token/jws`. A signature is a JWS
//! without its payload, which is the entry `kubeconfig` beside it.

use std::collections::BTreeMap;
use std::sync::Arc;

use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use serde_json::{Map, Value, json};
use skiff_client::types::{ConfigMap, Secret};
use skiff_client::{Informer, Objects, Scope, Workqueue};

use super::{NAME_PREFIX, entry, has_expired, tokens};
use crate::context::Context;
use crate::control_loop::{self, Next, Reconciler, unless_gone};

const NAME: &str = "bootstrap-signer-controller";
const NAMESPACE: &str = "kube-public";
const CONFIG_MAP: &str = "cluster-info";
const CONTENT: &str = "kubeconfig";
const SIGNATURE_PREFIX: &str = "jws-kubeconfig-";

struct Controller {
    context: Context,
    tokens: Informer<Secret>,
    config_maps: Informer<ConfigMap>,
}

/// Runs the signer.
pub async fn run(context: Context) -> anyhow::Result<()> {
    let scope = Scope {
        namespace: NAMESPACE.to_owned(),
        field_selector: format!("metadata.name={CONFIG_MAP}"),
        ..Scope::default()
    };
    let controller = Arc::new(Controller {
        tokens: tokens(&context),
        config_maps: context.informers.get_scoped(scope),
        context: context.clone(),
    });
    let queue = Workqueue::new();
    let to = queue.clone();
    controller.tokens.add_handler(move |_| to.add(CONFIG_MAP));
    let to = queue.clone();
    controller.config_maps.add_handler(move |_| to.add(CONFIG_MAP));
    if !(context.synced(&controller.tokens).await && context.synced(&controller.config_maps).await) {
        return Ok(());
    }
    control_loop::run(NAME, &context, queue, controller).await
}

/// The signature of a text by a token: header, no payload, HMAC.
fn signature(content: &str, id: &str, secret: &str) -> String {
    let encoded = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
    let header = encoded(format!("{{\"alg\":\"HS256\",\"kid\":{id:?}}}").as_bytes());
    let signed = format!("{header}.{}", encoded(content.as_bytes()));
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
    format!("{header}..{}", encoded(hmac::sign(&key, signed.as_bytes()).as_ref()))
}

/// Id and secret of a token that may sign now.
fn signing(token: &Secret, now: Timestamp) -> Option<(String, String)> {
    let (id, secret) = (entry(token, "token-id"), entry(token, "token-secret"));
    let named = token.metadata.name.strip_prefix(NAME_PREFIX) == Some(&id);
    let may = entry(token, "usage-bootstrap-signing") == "true" && !has_expired(token, now);
    (named && may && !id.is_empty() && !secret.is_empty()).then_some((id, secret))
}

/// What to change in the entries of the ConfigMap: signatures to write, and (null) those to remove.
fn plan(current: &ConfigMap, tokens: &[Arc<Secret>], now: Timestamp) -> Option<Map<String, Value>> {
    let content = current.data.get(CONTENT)?;
    let signing = tokens.iter().filter_map(|token| signing(token, now));
    let wanted = signing.map(|(id, secret)| (format!("{SIGNATURE_PREFIX}{id}"), signature(content, &id, &secret)));
    let wanted = wanted.collect::<BTreeMap<_, _>>();
    let left = current.data.iter().map(|(key, _)| key);
    let left = left.filter(|key| key.starts_with(SIGNATURE_PREFIX) && !wanted.contains_key(*key));
    let mut changes = left.map(|key| (key.to_owned(), Value::Null)).collect::<Map<_, _>>();
    for (key, signature) in wanted.iter().filter(|(key, text)| current.data.get(key) != Some(text)) {
        changes.insert(key.clone(), json!(signature));
    }
    (!changes.is_empty()).then_some(changes)
}

#[async_trait::async_trait]
impl Reconciler for Controller {
    type Key = &'static str;

    async fn reconcile(&self, name: &&'static str) -> anyhow::Result<Next> {
        let Some(current) = self.config_maps.get_by_name(NAMESPACE, name) else { return Ok(Next::Event) };
        let Some(changes) = plan(&current, &self.tokens.list(), self.context.now()) else { return Ok(Next::Event) };
        let api = Objects::<ConfigMap>::namespaced(&self.context.client, NAMESPACE);
        let version = Some(current.metadata.resource_version.as_str());
        unless_gone(api.update(name, "", version, &json!({ "data": changes })).await)?;
        Ok(Next::Event)
    }
}

#[cfg(test)]
mod tests {
    use super::super::token;
    use super::*;

    #[test]
    fn a_signature_is_that_of_the_bootstrap_tools() {
        // The vector of `k8s.io/cluster-bootstrap/token/jws`.
        let content = "Hello from the other side. I must have called a thousand times.";
        let made = signature(content, "joshua", "my voice is my passcode");
        assert_eq!(made, "eyJhbGciOiJIUzI1NiIsImtpZCI6Impvc2h1YSJ9..VShe2taLd-YTrmWuRkcL_8QTNDHYxQIEBsAYYiIj1_8");
    }

    #[test]
    fn every_token_that_may_sign_does() {
        let now: Timestamp = "2026-01-02T03:04:05Z".parse().expect("a time");
        let with = |id: &str, more: &[(&str, &str)]| {
            let entries =
                [&[("token-id", id), ("token-secret", "s"), ("usage-bootstrap-signing", "true")], more].concat();
            Arc::new(token(&entries))
        };
        let tokens = [
            with("aaaaaa", &[]),
            with("bbbbbb", &[("expiration", "2026-01-01T00:00:00Z")]),
            with("cccccc", &[("expiration", "2027-01-01T00:00:00Z")]),
            Arc::new(token(&[("token-id", "dddddd"), ("token-secret", "s")])),
        ];
        let map = |data: Value| -> ConfigMap { serde_json::from_value(json!({"data": data})).expect("a ConfigMap") };
        let [a, c] = ["aaaaaa", "cccccc"].map(|id| signature("x", id, "s"));
        let current = map(json!({"kubeconfig": "x", "jws-kubeconfig-aaaaaa": "old", "jws-kubeconfig-gone": "g"}));
        let wanted = json!({"jws-kubeconfig-aaaaaa": a, "jws-kubeconfig-cccccc": c, "jws-kubeconfig-gone": null});
        assert_eq!(plan(&current, &tokens, now).map(Value::Object), Some(wanted));
        let right = map(json!({"kubeconfig": "x", "jws-kubeconfig-aaaaaa": a, "jws-kubeconfig-cccccc": c}));
        assert_eq!(plan(&right, &tokens, now), None);
        assert_eq!(plan(&map(json!({})), &tokens, now), None);
    }
}
