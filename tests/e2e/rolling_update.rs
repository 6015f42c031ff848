//! A new version goes out, and back, and no client notices.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use futures::{StreamExt, TryStreamExt};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::{ListParams, WatchEvent, WatchParams};
use skiff_tests::{Cluster, application, http1, kubectl, with_cluster};
use tokio::task::JoinSet;

/// Clients that ask all the time, and how often each does at most.
const CLIENTS: usize = 20;
const EVERY: Duration = Duration::from_millis(70);

/// Requests per second that must have been made.
const LEAST_RATE: f64 = 200.0;

/// Replicas that are ready all the time.
const LEAST_READY: i32 = 3;

/// What clients saw.
#[derive(Default)]
struct Seen {
    answers: usize,
    versions: BTreeSet<String>,
    failures: Vec<String>,
}

#[test]
fn no_request_fails_while_versions_change() {
    with_cluster("rolling", async |cluster| {
        let kubectl = kubectl::newest();
        application::apply(cluster, &kubectl).await;
        skiff_tests::eventually("the NodePort answers", async || http1::get(application::NODE_PORT, "/").await).await;

        let stop = Arc::new(AtomicBool::new(false));
        let watcher = tokio::spawn(least_ready(deployments(cluster), stop.clone()));
        let begun = Instant::now();
        let mut clients = JoinSet::new();
        for _ in 0..CLIENTS {
            clients.spawn(ask(stop.clone()));
        }
        let image = "web=skiff.local/echo:v2";
        kubectl.ok(cluster, &["--namespace=demo", "set", "image", "deployment/web", image]);
        kubectl.ok(cluster, &["--namespace=demo", "rollout", "status", "deployment/web", "--timeout=60s"]);
        until_old_pods_are_gone(cluster).await;
        kubectl.ok(cluster, &["--namespace=demo", "rollout", "undo", "deployment/web"]);
        kubectl.ok(cluster, &["--namespace=demo", "rollout", "status", "deployment/web", "--timeout=60s"]);
        until_old_pods_are_gone(cluster).await;
        stop.store(true, Ordering::Release);

        let mut all = Seen::default();
        while let Some(seen) = clients.join_next().await {
            let seen = seen.expect("a client");
            all.answers += seen.answers;
            all.versions.extend(seen.versions);
            all.failures.extend(seen.failures);
        }
        let rate = all.answers as f64 / begun.elapsed().as_secs_f64();
        eprintln!("{} answers, {rate:.0}/s, from {:?}", all.answers, all.versions);
        assert!(all.failures.is_empty(), "{} failed, first: {}", all.failures.len(), all.failures[0]);
        assert!(rate >= LEAST_RATE, "only {rate:.0} requests per second");
        assert_eq!(all.versions, BTreeSet::from(["v1".to_owned(), "v2".to_owned()]));
        // Wakes the watch, which then sees that it is over.
        kubectl.ok(cluster, &["--namespace=demo", "annotate", "deployment/web", "over=true"]);
        let least = watcher.await.expect("the watch");
        assert!(least >= LEAST_READY, "only {least} replicas were ready at one time");
    });
}

fn deployments(cluster: &Cluster) -> Api<Deployment> {
    Api::namespaced(cluster.client(), application::NAMESPACE)
}

/// The last requests to a pod come while it ends.
async fn until_old_pods_are_gone(cluster: &Cluster) {
    let pods: Api<Pod> = Api::namespaced(cluster.client(), application::NAMESPACE);
    skiff_tests::eventually("only three pods are left", async || {
        let pods = pods.list(&ListParams::default().labels("app=web")).await.map_err(|error| error.to_string())?;
        if pods.items.len() == 3 { Ok(()) } else { Err(format!("{} pods", pods.items.len())) }
    })
    .await;
}

/// Asks on a new connection each time until told to stop.
async fn ask(stop: Arc<AtomicBool>) -> Seen {
    let mut seen = Seen::default();
    while !stop.load(Ordering::Acquire) {
        let begun = Instant::now();
        match http1::get(application::NODE_PORT, "/").await {
            Ok(body) => {
                seen.answers += 1;
                seen.versions.extend(body.split_whitespace().nth(1).map(str::to_owned));
            }
            Err(error) => seen.failures.push(format!("{error:#}")),
        }
        tokio::time::sleep_until((begun + EVERY).into()).await;
    }
    seen
}

/// The fewest ready replicas that a watch shows.
async fn least_ready(deployments: Api<Deployment>, stop: Arc<AtomicBool>) -> i32 {
    let mut least = i32::MAX;
    let mut version = deployments.get("web").await.expect("web").metadata.resource_version.expect("a version");
    while !stop.load(Ordering::Acquire) {
        let parameters = WatchParams::default().fields("metadata.name=web");
        let mut watch = deployments.watch(&parameters, &version).await.expect("a watch").boxed();
        while let Some(event) = watch.try_next().await.expect("the watch goes on") {
            let WatchEvent::Modified(web) = event else { continue };
            least = least.min(web.status.and_then(|status| status.ready_replicas).unwrap_or(0));
            version = web.metadata.resource_version.expect("a version");
            if stop.load(Ordering::Acquire) {
                break;
            }
        }
    }
    least
}
