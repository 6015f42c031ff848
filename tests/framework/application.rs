//! The sample application, as `make up` applies it.

use std::path::{Path, PathBuf};

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::ListParams;

use crate::kubectl::Kubectl;
use crate::{Cluster, eventually};

/// Its namespace.
pub const NAMESPACE: &str = "demo";

/// Where its NodePort answers.
pub const NODE_PORT: &str = "127.0.0.1:30080";

/// The manifest.
pub fn manifest() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../manifests/samples/app.yaml")
}

/// Applies it and waits until it is available.
pub async fn apply(cluster: &Cluster, kubectl: &Kubectl) {
    kubectl.ok(cluster, &["apply", "--validate=false", "--filename", &manifest().to_string_lossy()]);
    until_available(cluster, 3).await;
}

/// Waits until the Deployment has this many available replicas, all of its newest template.
pub async fn until_available(cluster: &Cluster, replicas: i32) {
    let deployments: Api<Deployment> = Api::namespaced(cluster.client(), NAMESPACE);
    eventually("web is available", async || {
        let web = deployments.get("web").await.map_err(|error| error.to_string())?;
        let status = web.status.clone().unwrap_or_default();
        let counts = [status.replicas, status.available_replicas, status.updated_replicas];
        let seen = status.observed_generation >= web.metadata.generation;
        if seen && counts == [Some(replicas); 3] { Ok(()) } else { Err(format!("{status:?}")) }
    })
    .await;
}

/// The pods of the Deployment that are not being deleted.
pub async fn pods(cluster: &Cluster) -> Vec<Pod> {
    let pods: Api<Pod> = Api::namespaced(cluster.client(), NAMESPACE);
    let mut pods = pods.list(&ListParams::default().labels("app=web")).await.expect("pods").items;
    pods.retain(|pod| pod.metadata.deletion_timestamp.is_none());
    pods
}

/// Whether a pod is ready.
pub fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
    conditions.into_iter().any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

/// The address of a pod's server.
pub fn address(pod: &Pod) -> String {
    let ip = pod.status.as_ref().and_then(|status| status.pod_ip.clone());
    format!("{}:8080", ip.expect("a pod that runs has an address"))
}
