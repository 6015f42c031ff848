//! Endpoints that are kept by hand are mirrored to slices.

use serde_json::{Value, json};
use skiff_client::Kind;
use skiff_client::objects::DeleteOptions;
use skiff_client::types::{EndpointSlice, Endpoints, Service};

use crate::cluster::{Cluster, NAMESPACE, eventually};

static SERVICES: skiff_client::ResourceType = Service::RESOURCE;
static ENDPOINTS: skiff_client::ResourceType = Endpoints::RESOURCE;

/// The addresses and ports of the Service's slices.
async fn mirrored(cluster: &Cluster) -> Vec<(String, Option<i32>)> {
    let slices: Vec<EndpointSlice> = cluster.list().await;
    let ours = slices.iter().filter(|slice| slice.service_name() == Some("db"));
    let mut found: Vec<_> = ours
        .flat_map(|slice| slice.endpoints.iter().map(|one| (one.addresses[0].clone(), slice.ports[0].port)))
        .collect();
    found.sort();
    found
}

fn subsets(address: &str, port: i32) -> Value {
    json!([{"addresses": [{"ip": address}], "ports": [{"port": port}]}])
}

#[tokio::test]
async fn slices_follow_endpoints() {
    let cluster = Cluster::start().await;
    let service = json!({"metadata": {"name": "db"}, "spec": {"ports": [{"port": 5432}]}});
    cluster.create(&SERVICES, service).await;
    cluster.create(&ENDPOINTS, json!({"metadata": {"name": "db"}, "subsets": subsets("192.0.2.1", 5432)})).await;
    eventually("a slice", || async { mirrored(&cluster).await == [("192.0.2.1".to_owned(), Some(5432))] }).await;
    cluster.patch(&ENDPOINTS, "db", json!({"subsets": subsets("192.0.2.2", 80)})).await;
    eventually("the change", || async { mirrored(&cluster).await == [("192.0.2.2".to_owned(), Some(80))] }).await;
    assert_eq!(cluster.list::<EndpointSlice>().await.iter().filter(|s| s.service_name() == Some("db")).count(), 1);
    cluster.json(&ENDPOINTS, NAMESPACE).delete("db", &DeleteOptions::default()).await.expect("deleted");
    eventually("no slice", || async { mirrored(&cluster).await.is_empty() }).await;
    let kubernetes: Vec<EndpointSlice> = cluster.list().await;
    let mirrors = kubernetes.iter().filter(|slice| slice.service_name() == Some("kubernetes")).count();
    assert!(mirrors <= 1, "the server keeps the slice of its own Endpoints itself");
}
