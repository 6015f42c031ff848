//! Telling the API where a pod goes.

use kube::Client;
use serde_json::{Value, json};
use skiff_client::errors;
use skiff_client::objects::Objects;
use skiff_client::types::Pod;

/// What became of a binding.
#[derive(Debug)]
pub enum Bound {
    /// The pod has its node.
    Done,
    /// The pod is gone, or another one of its name took its place: nothing is left to do.
    Gone,
    /// Why not; it may be tried again.
    Failed(String),
}

/// Binds a pod (`pods/binding`); the UID keeps a successor of the same name from being bound instead.
pub async fn bind(client: &Client, pod: &Pod, node: &str) -> Bound {
    let meta = &pod.metadata;
    let body = json!({
        "apiVersion": "v1",
        "kind": "Binding",
        "metadata": {"name": meta.name, "namespace": meta.namespace, "uid": meta.uid},
        "target": {"kind": "Node", "name": node},
    });
    let pods = Objects::<Pod>::namespaced(client, &meta.namespace);
    match pods.create_subresource::<Value>(&meta.name, "binding", &body).await {
        Ok(_) => Bound::Done,
        Err(error) if errors::is_not_found(&error) => Bound::Gone,
        Err(error) => Bound::Failed(error.to_string()),
    }
}
