//! Important pods make room for themselves.

use serde_json::json;

use crate::cluster::Cluster;

#[tokio::test(flavor = "multi_thread")]
async fn the_least_important_pod_goes() {
    let cluster = Cluster::start().await;
    cluster.add_node("only", "2").await;
    for (name, priority) in [("low", 1), ("middle", 5)] {
        cluster.add_pod_with(name, "1", json!({ "priority": priority })).await;
        cluster.node_of(name).await;
    }
    cluster.add_pod_with("meek", "1", json!({"priority": 1000, "preemptionPolicy": "Never"})).await;
    cluster.refused("meek", " preemption: not eligible due to preemptionPolicy=Never.").await;
    cluster.add_pod_with("urgent", "1", json!({"priority": 2000})).await;
    assert_eq!(cluster.node_of("urgent").await, "only");
    let names: Vec<String> = cluster.all_pods().await.into_iter().map(|pod| pod.metadata.name).collect();
    assert_eq!(names, ["meek", "middle", "urgent"]);
    let uid = cluster.pod("urgent").await.metadata.uid;
    let event = cluster.event("low", "Preempted").await;
    assert_eq!(event["message"], format!("Preempted by pod {uid} on node only"));
}
