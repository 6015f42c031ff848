//! Pods that fit nowhere say why, and run as soon as something changes.

use std::time::{Duration, Instant};

use serde_json::json;
use skiff_client::objects::{Objects, PatchKind};
use skiff_client::types::{PersistentVolume, PersistentVolumeClaim};

use crate::cluster::Cluster;

#[tokio::test(flavor = "multi_thread")]
async fn a_new_node_schedules_a_waiting_pod_at_once() {
    let cluster = Cluster::start().await;
    cluster.add_pod("web", "2").await;
    cluster.refused("web", "no nodes available to schedule pods").await;
    cluster.add_node("small", "1").await;
    let expected = "0/1 nodes are available: 1 Insufficient cpu. no new claims to deallocate, preemption: 0/1 nodes are \
                    available: 1 Preemption is not helpful for scheduling.";
    cluster.refused("web", expected).await;
    let conditions = cluster.pod("web").await.status.conditions;
    assert_eq!(conditions.iter().filter(|one| one.type_ == "PodScheduled").count(), 1);
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
    for node in ["tainted", "a", "b"] {
        cluster.knows_node(node).await;
    }
    cluster.add_pod("web", "2").await;
    let expected = "0/3 nodes are available: 1 node(s) had untolerated taint(s), 2 Insufficient cpu. no new claims to \
                    deallocate, preemption: 0/3 nodes are available: 3 Preemption is not helpful for scheduling.";
    assert_eq!(cluster.event("web", "FailedScheduling").await["message"], expected);
    cluster.refused("web", expected).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_of_nodes_and_pods_wake_those_they_help() {
    let cluster = Cluster::start().await;
    cluster.add_node_with(json!({"metadata": {"name": "only"}, "spec": {"unschedulable": true}}), "1").await;
    cluster.add_pod("first", "1").await;
    cluster.refused("first", "0/1 nodes are available: 1 node(s) were unschedulable.").await;
    cluster.patch_node("only", json!({"spec": {"unschedulable": null}})).await;
    assert_eq!(cluster.node_of("first").await, "only");

    cluster.add_pod("second", "1").await;
    cluster.refused("second", "1 Insufficient cpu").await;
    cluster.delete_pod("first").await;
    assert_eq!(cluster.node_of("second").await, "only");

    cluster.add_pod_with("third", "0", json!({"nodeSelector": {"zone": "z"}})).await;
    cluster.refused("third", "1 node(s) didn't match Pod's node affinity/selector").await;
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

#[tokio::test(flavor = "multi_thread")]
async fn claims_must_be_bound_first() {
    let cluster = Cluster::start().await;
    cluster.add_node("only", "4").await;
    let volumes = json!([{"name": "data", "persistentVolumeClaim": {"claimName": "data"}}]);
    cluster.add_pod_with("web", "1", json!({ "volumes": volumes })).await;
    let expected = "0/1 nodes are available: persistentvolumeclaim \"data\" not found. not found";
    cluster.refused("web", expected).await;

    let spec = json!({"accessModes": ["ReadWriteOnce"], "storageClassName": "", "volumeName": "disk",
        "resources": {"requests": {"storage": "1Gi"}}});
    cluster.create::<PersistentVolumeClaim>("default", json!({"metadata": {"name": "data"}, "spec": spec})).await;
    cluster.refused("web", "0/1 nodes are available: pod has unbound immediate PersistentVolumeClaims.").await;

    let spec = json!({"accessModes": ["ReadWriteOnce"], "capacity": {"storage": "1Gi"}, "hostPath": {"path": "/disk"}});
    cluster.create::<PersistentVolume>("", json!({"metadata": {"name": "disk"}, "spec": spec})).await;
    let claims = Objects::<PersistentVolumeClaim>::namespaced(&cluster.client, "default");
    let bound = json!({"metadata": {"annotations": {"pv.kubernetes.io/bind-completed": "yes"}}});
    claims.patch("data", "", PatchKind::Merge, &bound).await.expect("patched");
    assert_eq!(cluster.node_of("web").await, "only");
}
