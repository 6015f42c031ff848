//! Pods get the nodes they should have, and at once.

use std::time::{Duration, Instant};

use serde_json::json;
use skiff_client::types::condition_is_true;

use crate::cluster::Cluster;

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_is_bound_and_told_of() {
    let cluster = Cluster::start().await;
    cluster.add_node("only", "4").await;
    cluster.add_pod("web", "1").await;
    assert_eq!(cluster.node_of("web").await, "only");
    assert!(condition_is_true(&cluster.pod("web").await.status.conditions, "PodScheduled"));
    let event = cluster.event("web", "Scheduled").await;
    assert_eq!(event["message"], "Successfully assigned default/web to only");
    assert_eq!((&event["type"], &event["reportingComponent"]), (&json!("Normal"), &json!("default-scheduler")));
}

#[tokio::test(flavor = "multi_thread")]
async fn binding_on_an_idle_cluster_takes_no_polling_interval() {
    let cluster = Cluster::start().await;
    cluster.add_node("only", "64").await;
    cluster.add_pod("first", "1").await;
    cluster.node_of("first").await;
    let mut fastest = Duration::MAX;
    for at in 0..10 {
        let name = format!("pod-{at}");
        let since = Instant::now();
        cluster.add_pod(&name, "1").await;
        cluster.node_of(&name).await;
        fastest = fastest.min(since.elapsed());
    }
    // Milliseconds as a rule; the bound leaves room for a machine that does other things as well.
    assert!(fastest < Duration::from_millis(100), "{fastest:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn selectors_taints_and_names_are_honoured() {
    let cluster = Cluster::start().await;
    cluster.add_node_with(json!({"metadata": {"name": "disk", "labels": {"disk": "ssd"}}}), "1").await;
    let tainted = json!({"metadata": {"name": "tainted"},
        "spec": {"taints": [{"key": "dedicated", "value": "x", "effect": "NoSchedule"}]}});
    cluster.add_node_with(tainted, "64").await;
    cluster.add_pod_with("picky", "100m", json!({"nodeSelector": {"disk": "ssd"}})).await;
    assert_eq!(cluster.node_of("picky").await, "disk");
    let tolerations = json!([{"key": "dedicated", "operator": "Exists"}]);
    cluster.add_pod_with("tolerant", "2", json!({ "tolerations": tolerations })).await;
    assert_eq!(cluster.node_of("tolerant").await, "tainted");
    cluster.add_pod_with("foreign", "100m", json!({"schedulerName": "another"})).await;
    cluster.add_pod("ours", "100m").await;
    assert_eq!(cluster.node_of("ours").await, "disk");
    assert_eq!(cluster.pod("foreign").await.spec.node_name, "", "another scheduler's pod");
}

#[tokio::test(flavor = "multi_thread")]
async fn replicas_spread_over_nodes() {
    let cluster = Cluster::start().await;
    for name in ["a", "b", "c"] {
        cluster
            .add_node_with(json!({"metadata": {"name": name, "labels": {"kubernetes.io/hostname": name}}}), "8")
            .await;
        cluster.knows_node(name).await;
    }
    let mut nodes = Vec::new();
    for at in 0..3 {
        let name = format!("replica-{at}");
        cluster.add_pod(&name, "100m").await;
        nodes.push(cluster.node_of(&name).await);
    }
    nodes.sort();
    assert_eq!(nodes, ["a", "b", "c"]);
}
