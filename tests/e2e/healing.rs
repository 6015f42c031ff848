//! What breaks is put right.

use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::{ContainerStatus, Pod};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::Api;
use kube::api::{DeleteParams, ListParams};
use skiff_tests::application::{self, NAMESPACE};
use skiff_tests::{Cluster, eventually, eventually_within, http1, kubectl, with_cluster};

/// How long after its threshold a failing probe may stay without effect.
const AFTER_THRESHOLD: Duration = Duration::from_secs(2);

/// Readiness and liveness of the sample: period times failureThreshold.
const READINESS: Duration = Duration::from_secs(2);
const LIVENESS: Duration = Duration::from_secs(6);

/// The first delay of upstream's restart back-off.
const BACK_OFF: Duration = Duration::from_secs(10);

#[test]
fn an_ended_container_is_restarted_at_once_and_then_with_back_off() {
    with_cluster("restart", async |cluster| {
        application::apply(cluster, &kubectl::newest()).await;
        let name = first_pod(cluster).await.metadata.name.expect("a name");
        let begun = Instant::now();
        exit(cluster, &name).await;
        until_restarted(cluster, &name, 1, Duration::from_secs(5)).await;
        eprintln!("the first restart took {:?}", begun.elapsed());

        exit(cluster, &name).await;
        eventually("CrashLoopBackOff", async || {
            let status = status(cluster, &name).await;
            let waiting = status.state.as_ref().and_then(|state| state.waiting.as_ref()?.reason.clone());
            if waiting.as_deref() == Some("CrashLoopBackOff") { Ok(()) } else { Err(status) }
        })
        .await;
        let begun = Instant::now();
        let last = status(cluster, &name).await.last_state.and_then(|state| state.terminated).expect("a last state");
        assert_eq!((last.exit_code, last.reason.as_deref()), (7, Some("Error")));
        until_restarted(cluster, &name, 2, 2 * BACK_OFF).await;
        let waited = begun.elapsed();
        assert!(waited > BACK_OFF / 2, "the second restart came after {waited:?}, without back-off");
    });
}

#[test]
fn a_killed_container_process_is_restarted() {
    with_cluster("kill", async |cluster| {
        application::apply(cluster, &kubectl::newest()).await;
        let name = first_pod(cluster).await.metadata.name.expect("a name");
        let id = status(cluster, &name).await.container_id.expect("an id");
        let id = id.strip_prefix("skiff://").expect("our scheme");
        let shims = cluster.shims();
        let of_container = |shim: &&skiff_tests::processes::Process| shim.arguments.iter().any(|a| a.ends_with(id));
        let shim = shims.iter().find(of_container).unwrap_or_else(|| panic!("no shim of {id} in {shims:?}"));
        let process = skiff_tests::processes::children(shim.pid)[0];
        skiff_tests::processes::kill_now(process);
        until_restarted(cluster, &name, 1, Duration::from_secs(5)).await;
        let last = status(cluster, &name).await.last_state.and_then(|state| state.terminated).expect("a last state");
        assert_eq!(last.exit_code, 137);
    });
}

#[test]
fn a_deleted_pod_is_replaced() {
    with_cluster("replace", async |cluster| {
        application::apply(cluster, &kubectl::newest()).await;
        let before = application::pods(cluster).await;
        let name = before[0].metadata.name.clone().expect("a name");
        pods(cluster).delete(&name, &DeleteParams::default()).await.expect("deleted");
        eventually("three others are ready", async || {
            let pods = application::pods(cluster).await;
            let others = pods.iter().filter(|pod| pod.metadata.name.as_deref() != Some(&name));
            let ready = others.filter(|pod| application::is_ready(pod)).count();
            if ready == 3 && pods.len() == 3 { Ok(()) } else { Err(format!("{ready} of {}", pods.len())) }
        })
        .await;
        eventually("the deleted pod is gone", async || match pods(cluster).get_opt(&name).await {
            Ok(None) => Ok(()),
            other => Err(format!("{other:?}")),
        })
        .await;
    });
}

#[test]
fn a_failing_readiness_probe_takes_the_pod_out_of_the_service() {
    with_cluster("readiness", async |cluster| {
        application::apply(cluster, &kubectl::newest()).await;
        let pod = first_pod(cluster).await;
        let (name, address) = (pod.metadata.name.clone().expect("a name"), application::address(&pod));
        assert_eq!(ready_endpoint(cluster, &name).await, Some(true));
        post(&address, "/fail/readyz").await;
        eventually_within(READINESS + AFTER_THRESHOLD, "the endpoint is not ready", async || {
            if ready_endpoint(cluster, &name).await == Some(false) { Ok(()) } else { Err("it is ready") }
        })
        .await;
        assert_eq!(status(cluster, &name).await.restart_count, 0, "readiness does not restart");
        post(&address, "/recover").await;
        eventually_within(READINESS + AFTER_THRESHOLD, "the endpoint is ready again", async || {
            if ready_endpoint(cluster, &name).await == Some(true) { Ok(()) } else { Err("it is not ready") }
        })
        .await;
    });
}

#[test]
fn a_failing_liveness_probe_restarts_the_container() {
    with_cluster("liveness", async |cluster| {
        application::apply(cluster, &kubectl::newest()).await;
        let pod = first_pod(cluster).await;
        let name = pod.metadata.name.clone().expect("a name");
        post(&application::address(&pod), "/fail/healthz").await;
        // The container has a preStop hook, which runs before the signal; what is timed is the decision.
        let hook = Duration::from_secs(3);
        until_restarted(cluster, &name, 1, LIVENESS + AFTER_THRESHOLD + hook).await;
    });
}

fn pods(cluster: &Cluster) -> Api<Pod> {
    Api::namespaced(cluster.client(), NAMESPACE)
}

async fn first_pod(cluster: &Cluster) -> Pod {
    application::pods(cluster).await.swap_remove(0)
}

async fn post(address: &str, path: &str) {
    let answer = http1::request("POST", address, path).await.expect("the pod answers");
    assert_eq!(answer.code, 200, "POST {path}: {}", answer.body);
}

/// Lets the server end with code 7. It does so before it answers.
async fn exit(cluster: &Cluster, name: &str) {
    let pod = pods(cluster).get(name).await.expect("the pod");
    let _ = http1::request("POST", &application::address(&pod), "/exit/7").await;
}

async fn status(cluster: &Cluster, name: &str) -> ContainerStatus {
    let pod = pods(cluster).get(name).await.expect("the pod");
    pod.status.and_then(|status| status.container_statuses).expect("statuses").swap_remove(0)
}

/// Waits until the container runs again and has been restarted this often.
async fn until_restarted(cluster: &Cluster, name: &str, count: i32, patience: Duration) {
    eventually_within(patience, "the container is restarted", async || {
        let status = status(cluster, name).await;
        let runs = status.state.as_ref().is_some_and(|state| state.running.is_some());
        if runs && status.restart_count == count { Ok(()) } else { Err(status) }
    })
    .await;
}

/// Whether the Service's endpoint of a pod is ready; `None` without an endpoint.
async fn ready_endpoint(cluster: &Cluster, name: &str) -> Option<bool> {
    let slices: Api<EndpointSlice> = Api::namespaced(cluster.client(), NAMESPACE);
    let labels = ListParams::default().labels("kubernetes.io/service-name=web");
    let slices = slices.list(&labels).await.expect("slices").items;
    let mut endpoints = slices.into_iter().flat_map(|slice| slice.endpoints.unwrap_or_default());
    let endpoint = endpoints
        .find(|endpoint| endpoint.target_ref.as_ref().is_some_and(|target| target.name.as_deref() == Some(name)))?;
    endpoint.conditions?.ready
}
