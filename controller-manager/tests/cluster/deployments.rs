//! Deployments from creation to deletion.

use serde_json::{Value, json};
use skiff_client::objects::DeleteOptions;
use skiff_client::types::ReplicaSet;

use crate::cluster::{Cluster, DEPLOYMENTS, NAMESPACE, eventually};

fn web(replicas: i32) -> Value {
    json!({
        "metadata": {"name": "web"},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": "web"}},
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}},
            "template": template("v1"),
        },
    })
}

fn template(image: &str) -> Value {
    json!({"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "c", "image": image}]}})
}

fn image(image: &str) -> Value {
    json!({"spec": {"template": template(image)}})
}

/// Whether the roll-out is complete, with this many pods and this revision.
async fn rolled_out(cluster: &Cluster, replicas: i64, revision: &str) -> bool {
    let web = cluster.get(&DEPLOYMENTS, "web").await;
    let status = &web["status"];
    let all = ["replicas", "updatedReplicas", "readyReplicas", "availableReplicas"];
    status["observedGeneration"] == web["metadata"]["generation"]
        && all.iter().all(|field| status[*field] == replicas)
        && web["metadata"]["annotations"]["deployment.kubernetes.io/revision"] == revision
}

#[tokio::test]
async fn a_deployment_rolls_forth_and_back_and_scales() {
    let cluster = Cluster::start().await;
    cluster.create(&DEPLOYMENTS, web(3)).await;
    cluster.run_until("3 pods of v1", || rolled_out(&cluster, 3, "1")).await;
    let first: Vec<ReplicaSet> = cluster.list().await;
    assert_eq!(first.len(), 1);

    // Without a kubelet the surge pod never becomes ready, so no ready pod goes.
    cluster.patch(&DEPLOYMENTS, "web", image("v2")).await;
    eventually("one pod of v2 more", || async { cluster.wanted().await == [1, 3] && cluster.pods().await.len() == 4 })
        .await;
    let ready = cluster.pods().await.iter().filter(|pod| pod.is_ready()).count();
    assert_eq!(ready, 3);
    cluster.run_until("3 pods of v2", || rolled_out(&cluster, 3, "2")).await;
    assert_eq!(cluster.wanted().await, [3]);

    // The old template finds its old ReplicaSet, under a new revision.
    cluster.patch(&DEPLOYMENTS, "web", image("v1")).await;
    cluster.run_until("3 pods of v1 again", || rolled_out(&cluster, 3, "3")).await;
    let sets: Vec<ReplicaSet> = cluster.list().await;
    assert_eq!(sets.len(), 2);
    let again = sets.iter().find(|set| set.spec.replicas == Some(3)).expect("a full set");
    assert_eq!(again.metadata.uid, first[0].metadata.uid);

    cluster.patch(&DEPLOYMENTS, "web", json!({"spec": {"replicas": 5}})).await;
    cluster.run_until("5 pods", || rolled_out(&cluster, 5, "3")).await;
    cluster.patch(&DEPLOYMENTS, "web", json!({"spec": {"replicas": 1}})).await;
    cluster.run_until("1 pod", || rolled_out(&cluster, 1, "3")).await;
    assert_eq!(cluster.pods().await.len(), 1);
}

#[tokio::test]
async fn a_paused_deployment_scales_but_rolls_nothing_out() {
    let cluster = Cluster::start().await;
    cluster.create(&DEPLOYMENTS, web(2)).await;
    cluster.run_until("2 pods", || rolled_out(&cluster, 2, "1")).await;
    let mut change = image("v2");
    change["spec"]["paused"] = json!(true);
    change["spec"]["replicas"] = json!(3);
    cluster.patch(&DEPLOYMENTS, "web", change).await;
    cluster
        .run_until("3 pods of v1", || async { cluster.wanted().await == [3] && cluster.pods().await.len() == 3 })
        .await;
    let sets: Vec<ReplicaSet> = cluster.list().await;
    assert_eq!(sets.len(), 1, "a paused Deployment makes no ReplicaSet");
    cluster.patch(&DEPLOYMENTS, "web", json!({"spec": {"paused": false}})).await;
    cluster.run_until("3 pods of v2", || rolled_out(&cluster, 3, "2")).await;
}

#[tokio::test]
async fn what_a_deployment_owns_goes_with_it() {
    let cluster = Cluster::start().await;
    cluster.create(&DEPLOYMENTS, web(2)).await;
    cluster.run_until("2 pods", || rolled_out(&cluster, 2, "1")).await;
    let options = DeleteOptions::default().propagation("Foreground");
    cluster.json(&DEPLOYMENTS, NAMESPACE).delete("web", &options).await.expect("deleted");
    cluster
        .run_until("nothing is left", || async {
            let sets: Vec<ReplicaSet> = cluster.list().await;
            cluster.get(&DEPLOYMENTS, "web").await.is_null() && sets.is_empty() && cluster.pods().await.is_empty()
        })
        .await;
}
