//! However many pods come at once, no node is given more than it has.

use std::collections::BTreeMap;

use futures::future::join_all;

use crate::cluster::{Cluster, eventually};

/// Pods by node; those without one under the empty name.
async fn by_node(cluster: &Cluster) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for pod in cluster.all_pods().await {
        *counts.entry(pod.spec.node_name).or_insert(0) += 1;
    }
    counts
}

#[tokio::test(flavor = "multi_thread")]
async fn many_pods_at_once_fill_nodes_exactly() {
    let cluster = Cluster::start().await;
    for name in ["a", "b", "c"] {
        cluster.add_node(name, "2").await;
    }
    // 12 of them fit, four on each node.
    let names: Vec<String> = (0..40).map(|at| format!("pod-{at}")).collect();
    join_all(names.iter().map(|name| cluster.add_pod(name, "500m"))).await;
    let full = |left: usize| BTreeMap::from([("", left), ("a", 4), ("b", 4), ("c", 4)].map(|(n, c)| (n.to_owned(), c)));
    eventually("every node is full", || async { by_node(&cluster).await == full(28) }).await;
    // Everyone else was tried and told, and still nobody is too many.
    eventually("everyone else is told", || async {
        let pods = cluster.all_pods().await;
        let mut waiting = pods.iter().filter(|pod| pod.spec.node_name.is_empty());
        waiting.all(|pod| pod.status.conditions.iter().any(|one| one.reason == "Unschedulable"))
    })
    .await;
    assert_eq!(by_node(&cluster).await, full(28));
    // What leaves makes room for as many.
    let placed = cluster.all_pods().await.into_iter().filter(|pod| !pod.spec.node_name.is_empty());
    let leaving: Vec<String> = placed.take(5).map(|pod| pod.metadata.name).collect();
    join_all(leaving.iter().map(|name| cluster.delete_pod(name))).await;
    eventually("the room is used again", || async { by_node(&cluster).await == full(23) }).await;
}
