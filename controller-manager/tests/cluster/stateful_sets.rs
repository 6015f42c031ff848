//! StatefulSets: their pods in order, their claims, their roll-outs forth and back.

use std::collections::HashSet;

use parking_lot::Mutex;
use serde_json::{Value, json};
use skiff_client::Kind;
use skiff_client::types::{ControllerRevision, PersistentVolumeClaim, Pod};

use crate::cluster::{Cluster, STATEFUL_SETS, eventually};

fn web(replicas: i32, image: &str) -> Value {
    json!({
        "metadata": {"name": "web"},
        "spec": {
            "replicas": replicas,
            "serviceName": "nginx",
            "selector": {"matchLabels": {"app": "web"}},
            "template": template(image),
            "volumeClaimTemplates": [{"metadata": {"name": "data"}, "spec": {"accessModes": ["ReadWriteOnce"],
                "resources": {"requests": {"storage": "1Mi"}}}}],
        },
    })
}

fn template(image: &str) -> Value {
    json!({"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "c", "image": image}]}})
}

async fn names(cluster: &Cluster) -> Vec<String> {
    let mut names: Vec<String> = cluster.pods().await.into_iter().map(|pod| pod.metadata.name).collect();
    names.sort();
    names
}

async fn images(cluster: &Cluster) -> Vec<String> {
    let mut pods = cluster.pods().await;
    pods.sort_by(|a, b| a.metadata.name.cmp(&b.metadata.name));
    pods.iter().map(|pod| pod.spec.containers[0].image.clone()).collect()
}

/// Whether everything is ready, of one revision, and reported.
async fn settled(cluster: &Cluster, replicas: i64) -> bool {
    let set = cluster.get(&STATEFUL_SETS, "web").await;
    let status = &set["status"];
    let counts = ["replicas", "readyReplicas", "availableReplicas", "currentReplicas", "updatedReplicas"];
    status["observedGeneration"] == set["metadata"]["generation"]
        && counts.iter().all(|field| status[*field] == replicas)
        && status["currentRevision"] == status["updateRevision"]
        && cluster.pods().await.len() as i64 == replicas
}

#[tokio::test]
async fn a_stateful_set_grows_in_order_rolls_forth_and_back_and_keeps_its_claims() {
    let cluster = Cluster::start().await;
    cluster.create(&STATEFUL_SETS, web(3, "v1")).await;
    // Without a kubelet the first pod never becomes ready, so it stays alone.
    eventually("the first pod and its claim", || async {
        names(&cluster).await == ["web-0"] && cluster.list::<PersistentVolumeClaim>().await.len() == 1
    })
    .await;
    cluster.run_until("3 pods", || settled(&cluster, 3)).await;
    assert_eq!(names(&cluster).await, ["web-0", "web-1", "web-2"]);
    let pod = cluster.get(&Pod::RESOURCE, "web-1").await;
    assert_eq!(pod["metadata"]["labels"]["apps.kubernetes.io/pod-index"], "1");
    assert_eq!((&pod["spec"]["hostname"], &pod["spec"]["subdomain"]), (&json!("web-1"), &json!("nginx")));
    assert_eq!(pod["spec"]["volumes"][0]["persistentVolumeClaim"]["claimName"], "data-web-1");

    // Above the partition only.
    let partition = json!({"type": "RollingUpdate", "rollingUpdate": {"partition": 2}});
    cluster
        .patch(&STATEFUL_SETS, "web", json!({"spec": {"template": template("v2"), "updateStrategy": partition}}))
        .await;
    cluster.run_until("the last pod of v2", || async { images(&cluster).await == ["v1", "v1", "v2"] }).await;
    let partition = json!({"spec": {"updateStrategy": {"rollingUpdate": {"partition": 0}}}});
    cluster.patch(&STATEFUL_SETS, "web", partition).await;
    cluster.run_until("3 pods of v2", || settled(&cluster, 3)).await;
    assert_eq!(images(&cluster).await, ["v2", "v2", "v2"]);

    // The old template is the old revision, under a new number.
    cluster.patch(&STATEFUL_SETS, "web", json!({"spec": {"template": template("v1")}})).await;
    cluster
        .run_until("3 pods of v1", || async {
            images(&cluster).await == ["v1", "v1", "v1"] && settled(&cluster, 3).await
        })
        .await;
    let mut numbers: Vec<i64> =
        cluster.list::<ControllerRevision>().await.iter().map(|revision| revision.revision).collect();
    numbers.sort_unstable();
    assert_eq!(numbers, [2, 3]);

    cluster.patch(&STATEFUL_SETS, "web", json!({"spec": {"replicas": 1}})).await;
    cluster.run_until("1 pod", || settled(&cluster, 1)).await;
    assert_eq!(names(&cluster).await, ["web-0"]);
    assert_eq!(cluster.list::<PersistentVolumeClaim>().await.len(), 3, "claims are kept");
}

#[tokio::test]
async fn in_parallel_all_pods_come_at_once_and_claims_go_with_those_scaled_away() {
    let cluster = Cluster::start().await;
    let mut set = web(3, "v1");
    set["spec"]["podManagementPolicy"] = json!("Parallel");
    set["spec"]["persistentVolumeClaimRetentionPolicy"] = json!({"whenDeleted": "Delete", "whenScaled": "Delete"});
    set["spec"]["ordinals"] = json!({"start": 4});
    cluster.create(&STATEFUL_SETS, set).await;
    eventually("3 pods that are not ready", || async { names(&cluster).await == ["web-4", "web-5", "web-6"] }).await;
    let seen = Mutex::new(HashSet::new());
    cluster.run_until("3 pods", || settled(&cluster, 3)).await;
    for claim in cluster.list::<PersistentVolumeClaim>().await {
        seen.lock().insert(claim.metadata.name);
    }
    assert_eq!(seen.lock().len(), 3);
    cluster.patch(&STATEFUL_SETS, "web", json!({"spec": {"replicas": 1}})).await;
    cluster
        .run_until("1 pod and its claim", || async {
            let claims = cluster.list::<PersistentVolumeClaim>().await;
            let mine = claims.iter().filter(|claim| !claim.metadata.is_deleting()).count() == 1;
            settled(&cluster, 1).await && mine
        })
        .await;
}
