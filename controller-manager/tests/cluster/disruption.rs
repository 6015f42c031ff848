//! Budgets and what they let go.

use serde_json::{Value, json};
use skiff_client::errors;

use crate::cluster::{BUDGETS, Cluster, DEPLOYMENTS, NAMESPACE, eventually};

async fn allowed(cluster: &Cluster) -> Value {
    cluster.get(&BUDGETS, "web").await["status"]["disruptionsAllowed"].clone()
}

#[tokio::test]
async fn evictions_are_granted_as_far_as_the_budget_goes() {
    let cluster = Cluster::start().await;
    let labels = json!({"app": "web"});
    let budget = json!({"metadata": {"name": "web"},
        "spec": {"maxUnavailable": 1, "selector": {"matchLabels": labels}}});
    cluster.create(&BUDGETS, budget).await;
    eventually("a status without pods", || async { allowed(&cluster).await == 0 }).await;
    let deployment = json!({"metadata": {"name": "web"}, "spec": {"replicas": 3, "selector": {"matchLabels": labels},
        "template": {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "c", "image": "v1"}]}}}});
    cluster.create(&DEPLOYMENTS, deployment).await;
    cluster.run_until("one may go", || async { allowed(&cluster).await == 1 }).await;
    let status = cluster.get(&BUDGETS, "web").await["status"].clone();
    assert_eq!((&status["expectedPods"], &status["desiredHealthy"]), (&json!(3), &json!(2)));
    assert_eq!(
        (&status["conditions"][0]["reason"], &status["observedGeneration"]),
        (&json!("SufficientPods"), &json!(1))
    );

    let pods = cluster.json(&<skiff_client::types::Pod as skiff_client::Kind>::RESOURCE, NAMESPACE);
    let names: Vec<String> = cluster.pods().await.into_iter().map(|pod| pod.metadata.name).collect();
    let evict = |name: String| {
        let body = json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name}});
        let pods = pods.clone();
        async move { pods.create_subresource::<Value>(&name, "eviction", &body).await }
    };
    evict(names[0].clone()).await.expect("the first is granted");
    let refused = evict(names[1].clone()).await.expect_err("the second is not");
    assert_eq!(errors::status(&refused).map(|status| status.code), Some(429));
    // Once its successor is ready, the next may go.
    cluster.run_until("one may go again", || async { allowed(&cluster).await == 1 }).await;
    assert_eq!(cluster.pods().await.len(), 3);
    evict(names[1].clone()).await.expect("granted");
}
