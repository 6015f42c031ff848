//! Namespaces: what they are given, and that they go with all that is in them.

use serde_json::json;
use skiff_client::Kind;
use skiff_client::objects::DeleteOptions;
use skiff_client::types::{ConfigMap, ServiceAccount};

use crate::cluster::{Cluster, NAMESPACES, eventually};

#[tokio::test]
async fn a_namespace_is_furnished_and_emptied() {
    let cluster = Cluster::start().await;
    let namespaces = cluster.json(&NAMESPACES, "");
    namespaces.create(&json!({"metadata": {"name": "demo"}})).await.expect("created");
    let accounts = cluster.json(&ServiceAccount::RESOURCE, "demo");
    let maps = cluster.json(&ConfigMap::RESOURCE, "demo");
    eventually("its account and CA", || async {
        let map = maps.get_opt("kube-root-ca.crt").await.expect("an answer");
        accounts.get_opt("default").await.expect("an answer").is_some()
            && map.is_some_and(|map| map["data"]["ca.crt"] == "a certificate")
    })
    .await;
    // Both come back when somebody deletes them.
    accounts.delete("default", &DeleteOptions::default()).await.expect("deleted");
    eventually("a new account", || async { accounts.get_opt("default").await.expect("an answer").is_some() }).await;

    namespaces.delete("demo", &DeleteOptions::default()).await.expect("deleted");
    eventually("it is gone", || async { namespaces.get_opt("demo").await.expect("an answer").is_none() }).await;
    let left = maps.get("").await.expect("a list");
    assert_eq!(left["items"], json!([]));
}
