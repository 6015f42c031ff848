//! Quotas: counted by the controller, charged by the API server, exceeded by nobody.

use futures::future::join_all;
use serde_json::{Value, json};
use skiff_client::objects::DeleteOptions;
use skiff_client::types::ResourceQuota;
use skiff_client::{Kind, ResourceType, errors};

use crate::cluster::{Cluster, NAMESPACE, eventually};

const SECRETS: ResourceType = ResourceType::new("", "v1", "secrets", "Secret", true);
const PODS: ResourceType = ResourceType::new("", "v1", "pods", "Pod", true);
const JOBS: ResourceType = ResourceType::new("batch", "v1", "jobs", "Job", true);
const WRITERS: usize = 64;
const LIMIT: usize = 10;
/// Each is followed by the deletion of everything, which the controller counts while the next has begun.
const ROUNDS: usize = 5;

async fn used(cluster: &Cluster, quota: &str) -> Value {
    cluster.get(&ResourceQuota::RESOURCE, quota).await["status"]["used"].clone()
}

#[tokio::test]
async fn many_writers_leave_as_many_as_the_quota_allows() {
    let cluster = Cluster::start().await;
    let quota = json!({"metadata": {"name": "q"}, "spec": {"hard": {"secrets": LIMIT.to_string()}}});
    cluster.create(&ResourceQuota::RESOURCE, quota).await;
    eventually("usage is counted", || async { used(&cluster, "q").await == json!({"secrets": "0"}) }).await;
    let secrets = cluster.json(&SECRETS, NAMESPACE);
    for round in 0..ROUNDS {
        let writers = (0..WRITERS).map(|number| {
            let secrets = secrets.clone();
            async move { secrets.create(&json!({"metadata": {"name": format!("s{round}-{number}")}})).await }
        });
        let results = join_all(writers).await;
        let made = results.iter().filter(|result| result.is_ok()).count();
        for error in results.iter().filter_map(|result| result.as_ref().err()) {
            let status = errors::status(error).expect("an answer");
            assert!(status.code == 403 && status.message.contains("exceeded quota: q"), "{error}");
        }
        let list = secrets.get("").await.expect("a list");
        let items = list["items"].as_array().expect("items");
        assert_eq!((made, items.len()), (LIMIT, LIMIT), "round {round}");
        assert_eq!(used(&cluster, "q").await, json!({"secrets": "10"}));
        for secret in items {
            let name = secret["metadata"]["name"].as_str().expect("a name");
            secrets.delete(name, &DeleteOptions::default()).await.expect("deleted");
        }
        eventually("the room is given back", || async { used(&cluster, "q").await == json!({"secrets": "0"}) }).await;
    }
}

#[tokio::test]
async fn usage_is_counted_by_what_objects_use() {
    let cluster = Cluster::start().await;
    let pod = |name: &str, cpu: &str| {
        let container = json!({"name": "c", "image": "i", "resources": {"requests": {"cpu": cpu}}});
        json!({"metadata": {"name": name}, "spec": {"containers": [container]}})
    };
    cluster.create(&PODS, pod("before", "100m")).await;
    let hard = json!({"pods": "3", "requests.cpu": "1", "count/jobs.batch": "1", "count/widgets.example.com": "1"});
    cluster.create(&ResourceQuota::RESOURCE, json!({"metadata": {"name": "q"}, "spec": {"hard": hard}})).await;
    let best_effort = json!({"hard": {"pods": "5"}, "scopes": ["BestEffort"]});
    cluster.create(&ResourceQuota::RESOURCE, json!({"metadata": {"name": "b"}, "spec": best_effort})).await;
    let counted = |pods: &str, cpu: &str| json!({"pods": pods, "requests.cpu": cpu, "count/jobs.batch": "0"});
    eventually("what was there is counted", || async { used(&cluster, "q").await == counted("1", "100m") }).await;
    eventually("scopes are heeded", || async { used(&cluster, "b").await == json!({"pods": "0"}) }).await;

    cluster.create(&PODS, pod("second", "200m")).await;
    assert_eq!(used(&cluster, "q").await, counted("2", "300m"));
    let ended = json!({"status": {"phase": "Succeeded"}});
    let pods = cluster.json(&PODS, NAMESPACE);
    pods.patch_status("second", None, &ended["status"]).await.expect("a status");
    eventually("a pod that has ended uses nothing", || async { used(&cluster, "q").await == counted("1", "100m") })
        .await;

    let more = json!({"spec": {"hard": {"pods": "4"}}});
    cluster.patch(&ResourceQuota::RESOURCE, "q", more).await;
    let limit = || async { cluster.get(&ResourceQuota::RESOURCE, "q").await["status"]["hard"]["pods"].clone() };
    eventually("new limits are taken over", || async { limit().await == json!("4") }).await;

    let template = json!({"spec": {"restartPolicy": "Never", "containers": [
        {"name": "c", "image": "i", "resources": {"requests": {"cpu": "1m"}}}]}});
    let job = json!({"metadata": {"name": "j"}, "spec": {"suspend": true, "template": template}});
    cluster.create(&JOBS, job).await;
    assert_eq!(used(&cluster, "q").await["count/jobs.batch"], "1");
    let options = DeleteOptions::default().propagation("Background");
    cluster.json(&JOBS, NAMESPACE).delete("j", &options).await.expect("deleted");
    eventually("any kind gives its room back", || async { used(&cluster, "q").await == counted("1", "100m") }).await;
}
