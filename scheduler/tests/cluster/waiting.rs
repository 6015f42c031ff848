//! Pods that fit nowhere say why, and run as soon as something changes.

use std::time::{Duration, Instant};

use serde_json::json;
use skiff_client::objects::PatchKind;

use crate::cluster::Cluster;

#[tokio::test(flavor = "multi_thread")]
async fn a_new_node_schedules_a_waiting_pod_at_once() {
    let cluster = Cluster::start().await;
    cluster.add_pod("web", "2").await;
    assert_eq!(cluster.refusal("web").await, "no nodes available to schedule pods");
    cluster.add_node("small", "1").await;
    let expected = "0/1 nodes are available: 1 Insufficient cpu. preemption: 0/1 nodes are available: 1 Preemption is not \
                    helpful for scheduling.";
    let told = |pod: &skiff_client::types::Pod| pod.status.conditions.iter().any(|one| one.message == expected);
    let pod = cluster.wait_for_pod("web", "told of the small node", told).await;
    assert_eq!(pod.status.conditions.iter().filter(|one| one.type_ == "PodScheduled").count(), 1);
    let since = Instant::now();
    cluster.add_node("large", "4").await;
    assert_eq!(cluster.node_of("web").await, "large");
    // Its pause after the attempt on the small node would be 1 s and more.
    assert!(since.elapsed() < Duration::from_millis(700), "{:?}", since.elapsed());
    let event = cluster.event("web", "FailedScheduling").await;
    assert_eq!(event["type"], "Warning");
}

#[tokio::test(flavor = "multi_thread")]
async fn failures_are_events_with_upstreams_words() {
    let cluster = Cluster::start().await;
    let tainted = json!({"metadata": {"name": "tainted"},
        "spec": {"taints": [{"key": "k", "value": "v", "effect": "NoSchedule"}]}});
    cluster.add_node_with(tainted, "64").await;
    cluster.add_node("a", "1").await;
    cluster.add_node("b", "1").await;
    // A pod that fits shows that the scheduler knows the nodes.
    cluster.add_pod("fits", "100m").await;
    cluster.node_of("fits").await;
    cluster.add_pod("web", "2").await;
    let expected = "0/3 nodes are available: 1 node(s) had untolerated taint(s), 2 Insufficient cpu. preemption: 0/3 nodes \
                    are available: 3 Preemption is not helpful for scheduling.";
    assert_eq!(cluster.event("web", "FailedScheduling").await["message"], expected);
    assert_eq!(cluster.refusal("web").await, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_of_nodes_and_pods_wake_those_they_help() {
    let cluster = Cluster::start().await;
    cluster.add_node_with(json!({"metadata": {"name": "only"}, "spec": {"unschedulable": true}}), "1").await;
    cluster.add_pod("first", "1").await;
    let refused = cluster.refusal("first").await;
    assert!(refused.starts_with("0/1 nodes are available: 1 node(s) were unschedulable."), "{refused}");
    cluster.patch_node("only", json!({"spec": {"unschedulable": null}})).await;
    assert_eq!(cluster.node_of("first").await, "only");

    cluster.add_pod("second", "1").await;
    let refused = cluster.refusal("second").await;
    assert!(refused.contains("1 Insufficient cpu"), "{refused}");
    cluster.delete_pod("first").await;
    assert_eq!(cluster.node_of("second").await, "only");

    cluster.add_pod_with("third", "0", json!({"nodeSelector": {"zone": "z"}})).await;
    let refused = cluster.refusal("third").await;
    assert!(refused.contains("1 node(s) didn't match Pod's node affinity/selector"), "{refused}");
    cluster.patch_node("only", json!({"metadata": {"labels": {"zone": "z"}}})).await;
    assert_eq!(cluster.node_of("third").await, "only");
}

#[tokio::test(flavor = "multi_thread")]
async fn gates_hold_a_pod_back() {
    let cluster = Cluster::start().await;
    cluster.add_node("only", "4").await;
    cluster.add_pod_with("gated", "1", json!({"schedulingGates": [{"name": "example.com/wait"}]})).await;
    cluster.add_pod("free", "1").await;
    cluster.node_of("free").await;
    assert_eq!(cluster.pod("gated").await.spec.node_name, "");
    let open = json!([{"op": "remove", "path": "/spec/schedulingGates"}]);
    cluster.pods().patch("gated", "", PatchKind::Json, &open).await.expect("patched");
    assert_eq!(cluster.node_of("gated").await, "only");
}
