//! DaemonSets: a pod on every node that fits, roll-outs forth and back, pods that fail.

use serde_json::{Value, json};
use skiff_client::Kind;
use skiff_client::objects::{DeleteOptions, PatchKind};
use skiff_client::types::{ControllerRevision, Node, Pod};

use crate::cluster::{Cluster, DAEMON_SETS, NAMESPACE};

fn agent(image: &str) -> Value {
    json!({"metadata": {"name": "agent"}, "spec": {"selector": {"matchLabels": {"app": "agent"}},
        "template": {"metadata": {"labels": {"app": "agent"}}, "spec": {"nodeSelector": {"pool": "a"},
            "containers": [{"name": "c", "image": image}]}}}})
}

fn image(image: &str) -> Value {
    json!({"spec": {"template": {"spec": {"containers": [{"name": "c", "image": image}]}}}})
}

async fn add_node(cluster: &Cluster, name: &str, pool: &str) {
    let node = json!({"metadata": {"name": name, "labels": {"pool": pool}}});
    let nodes = cluster.json(&Node::RESOURCE, "");
    nodes.create(&node).await.expect("a node");
    // A node that never said that it is ready would be tainted.
    let now = skiff_client::clock::format_time(jiff::Timestamp::now());
    let ready = json!({"status": {"conditions": [{"type": "Ready", "status": "True", "lastHeartbeatTime": now,
        "lastTransitionTime": now}]}});
    nodes.patch(name, "status", PatchKind::Merge, &ready).await.expect("a ready node");
}

/// Where the pods are meant to run, and their images.
async fn pods(cluster: &Cluster) -> Vec<(String, String)> {
    let target = |pod: &Pod| {
        let affinity = pod.spec.affinity.as_ref().and_then(|affinity| affinity.node_affinity.as_ref());
        let required = affinity.and_then(|affinity| affinity.required.as_ref()).expect("a pinned pod");
        required.node_selector_terms[0].match_fields[0].values[0].clone()
    };
    let mut pods: Vec<_> =
        cluster.pods().await.iter().map(|pod| (target(pod), pod.spec.containers[0].image.clone())).collect();
    pods.sort();
    pods
}

async fn settled(cluster: &Cluster, nodes: i64, image: &str) -> bool {
    let set = cluster.get(&DAEMON_SETS, "agent").await;
    let status = &set["status"];
    let counts = [
        "desiredNumberScheduled",
        "currentNumberScheduled",
        "numberReady",
        "numberAvailable",
        "updatedNumberScheduled",
    ];
    let pods = pods(cluster).await;
    status["observedGeneration"] == set["metadata"]["generation"]
        && counts.iter().all(|count| status[*count] == nodes)
        && pods.len() as i64 == nodes
        && pods.iter().all(|(_, have)| have == image)
}

#[tokio::test]
async fn a_daemon_set_follows_nodes_and_templates() {
    let cluster = Cluster::start().await;
    add_node(&cluster, "n1", "a").await;
    add_node(&cluster, "n2", "a").await;
    add_node(&cluster, "n3", "b").await;
    cluster.create(&DAEMON_SETS, agent("v1")).await;
    cluster.run_until("2 pods", || settled(&cluster, 2, "v1")).await;
    assert_eq!(pods(&cluster).await.into_iter().map(|(node, _)| node).collect::<Vec<_>>(), ["n1", "n2"]);

    let label = json!({"metadata": {"labels": {"pool": "a"}}});
    cluster.json(&Node::RESOURCE, "").patch("n3", "", PatchKind::Merge, &label).await.expect("a label");
    cluster.run_until("3 pods", || settled(&cluster, 3, "v1")).await;

    cluster.patch(&DAEMON_SETS, "agent", image("v2")).await;
    cluster.run_until("3 pods of v2", || settled(&cluster, 3, "v2")).await;
    cluster.patch(&DAEMON_SETS, "agent", image("v1")).await;
    cluster.run_until("3 pods of v1", || settled(&cluster, 3, "v1")).await;
    let mut numbers: Vec<i64> = cluster.list::<ControllerRevision>().await.iter().map(|one| one.revision).collect();
    numbers.sort_unstable();
    assert_eq!(numbers, [2, 3]);

    let label = json!({"metadata": {"labels": {"pool": "b"}}});
    cluster.json(&Node::RESOURCE, "").patch("n1", "", PatchKind::Merge, &label).await.expect("a label");
    cluster.run_until("2 pods", || settled(&cluster, 2, "v1")).await;
}

#[tokio::test]
async fn a_failed_pod_is_replaced_and_a_deleted_revision_is_made_again() {
    let cluster = Cluster::start().await;
    add_node(&cluster, "n1", "a").await;
    cluster.create(&DAEMON_SETS, agent("v1")).await;
    cluster.run_until("1 pod", || settled(&cluster, 1, "v1")).await;
    let first = cluster.pods().await.remove(0).metadata;
    let failed = json!({"status": {"phase": "Failed"}});
    let api = cluster.json(&Pod::RESOURCE, NAMESPACE);
    api.patch(&first.name, "status", PatchKind::Merge, &failed).await.expect("a failure");
    cluster
        .run_until("another pod", || async {
            // Between the two looks the failed pod may have gone, before the status says so.
            let another = |pods: Vec<Pod>| pods.first().is_some_and(|pod| pod.metadata.uid != first.uid);
            settled(&cluster, 1, "v1").await && another(cluster.pods().await)
        })
        .await;
    let revision = cluster.list::<ControllerRevision>().await.remove(0).metadata;
    let api = cluster.json(&ControllerRevision::RESOURCE, NAMESPACE);
    api.delete(&revision.name, &DeleteOptions::default()).await.expect("deleted");
    cluster
        .run_until("the revision again", || async {
            let all: Vec<ControllerRevision> = cluster.list().await;
            all.iter().any(|one| one.metadata.name == revision.name && one.metadata.uid != revision.uid)
        })
        .await;
}
