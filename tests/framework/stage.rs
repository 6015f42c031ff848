//! Where a scenario plays: a namespace of its own, and somebody who counts its steps.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures::FutureExt;
use futures::future::LocalBoxFuture;
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, ServiceAccount};
use kube::api::{DeleteParams, PostParams};
use kube::{Api, Client, Config, Resource};
use serde_json::json;

use crate::eventually;
use crate::table::Outcome;

/// How long a scenario may take.
const PATIENCE: Duration = Duration::from_secs(180);

/// A scenario: its name and what it does.
pub type Scenario = (&'static str, fn(Stage) -> LocalBoxFuture<'static, ()>);

/// A client with a namespace of its own.
#[derive(Clone)]
pub struct Stage {
    /// The administrator's client.
    pub client: Client,
    /// The namespace.
    pub namespace: String,
    url: http::Uri,
    steps: Arc<AtomicUsize>,
}

impl Stage {
    /// Makes the namespace and waits for what every namespace gets.
    pub async fn set(client: Client, url: http::Uri, name: &str) -> Stage {
        let namespace = name.replace(['_', ' '], "-");
        let object = serde_json::from_value(json!({"metadata": {"name": namespace}})).expect("a namespace");
        let namespaces: Api<Namespace> = Api::all(client.clone());
        namespaces.create(&PostParams::default(), &object).await.expect("the namespace is made");
        let accounts: Api<ServiceAccount> = Api::namespaced(client.clone(), &namespace);
        eventually("the default account", async || accounts.get("default").await).await;
        let roots: Api<ConfigMap> = Api::namespaced(client.clone(), &namespace);
        eventually("the authority's certificate", async || roots.get("kube-root-ca.crt").await).await;
        Stage { client, namespace, url, steps: Arc::default() }
    }

    /// Objects of a kind in the namespace.
    pub fn api<K>(&self) -> Api<K>
    where
        K: Resource<Scope = NamespaceResourceScope>,
        K::DynamicType: Default,
    {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// Somebody with a token and nothing else.
    pub fn client_with_token(&self, token: &str) -> Client {
        let mut config = self.nobody();
        config.auth_info.token = Some(token.to_owned().into());
        Client::try_from(config).expect("a client")
    }

    /// How to get at the server as nobody.
    pub fn nobody(&self) -> Config {
        let mut config = Config::new(self.url.clone());
        config.accept_invalid_certs = true;
        config
    }

    /// Counts something that was shown to work.
    pub fn done(&self, _what: &str) {
        self.steps.fetch_add(1, Ordering::Relaxed);
    }

    /// Plays a scenario to its end, and clears the stage.
    pub async fn play(self, scenario: fn(Stage) -> LocalBoxFuture<'static, ()>) -> Outcome {
        let scene = scenario(self.clone());
        self.end_with(scene).await
    }

    /// Waits for the end of what is played here, and clears the stage.
    pub async fn end_with(self, scene: impl Future<Output = ()>) -> Outcome {
        let played = AssertUnwindSafe(scene).catch_unwind();
        let result = tokio::time::timeout(PATIENCE, played).await;
        let namespaces: Api<Namespace> = Api::all(self.client.clone());
        let _ = namespaces.delete(&self.namespace, &DeleteParams::default()).await;
        let steps = self.steps.load(Ordering::Relaxed);
        match result {
            Ok(Ok(())) => Outcome::Passed(steps),
            Ok(Err(panic)) => Outcome::Failed(format!("after {steps} steps: {}", words(&*panic))),
            Err(_) => Outcome::Failed(format!("not within {PATIENCE:?}, after {steps} steps")),
        }
    }
}

/// What a panic said.
fn words(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("a panic").to_owned()
}
