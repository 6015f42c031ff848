//! What the node does for pods that run on and on: other resources, logs within bounds, an end when it is asked
//! for, and no more pods than it bears.

use k8s_openapi::api::core::v1::{Event, Node, Pod};
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};
use skiff_tests::application::is_ready;
use skiff_tests::cluster::text;
use skiff_tests::{Cluster, eventually, kubectl, with_cluster, with_cluster_of, with_network};

/// Where a container finds its own limit: on cgroup v2, else on v1.
const MEMORY_LIMIT: &str =
    "cat /sys/fs/cgroup/memory.max 2>/dev/null || cat /sys/fs/cgroup/memory/memory.limit_in_bytes";

#[test]
fn a_running_container_gets_other_resources() {
    with_cluster("resize", async |cluster| {
        let pods: Api<Pod> = Api::default_namespaced(cluster.client());
        let resources =
            |memory: &str| json!({"requests": {"cpu": "50m", "memory": memory}, "limits": {"memory": memory}});
        run(&pods, "sized", json!({"resources": resources("32Mi"), "command": ["sleep", "3600"]})).await;
        let limit = |expected: &str| {
            let output = kubectl::newest().output(cluster, &["exec", "sized", "--", "sh", "-c", MEMORY_LIMIT]);
            let found = text(&output);
            if found.trim() == expected { Ok(()) } else { Err(found) }
        };
        limit("33554432").expect("the first limit");
        resize(&pods, resources("48Mi")).await;
        let pod = eventually("the resize is reported", async || {
            let pod = pods.get("sized").await.map_err(|error| error.to_string())?;
            let status = json!(pod.status)["containerStatuses"][0].clone();
            let done = status["resources"] == resources("48Mi") && status["allocatedResources"]["memory"] == "48Mi";
            if done && !has_condition(&pod, "PodResizeInProgress") { Ok(pod) } else { Err(status.to_string()) }
        })
        .await;
        limit("50331648").expect("the new limit");
        assert_eq!(json!(pod.status)["containerStatuses"][0]["restartCount"], 0);

        resize(&pods, json!({"requests": {"cpu": "50m", "memory": "1Ei"}, "limits": {"memory": "1Ei"}})).await;
        eventually("a resize that does not fit is put off", async || {
            let pod = pods.get("sized").await.map_err(|error| error.to_string())?;
            if has_condition(&pod, "PodResizePending") { Ok(()) } else { Err(format!("{:?}", pod.status)) }
        })
        .await;
        limit("50331648").expect("what it was given stays");
    });
}

#[test]
fn a_pod_that_is_deleted_does_not_wait_for_a_restart() {
    with_cluster("hasty", async |cluster| {
        let pods: Api<Pod> = Api::default_namespaced(cluster.client());
        let stubborn = container(json!({
            "command": ["sh", "-c", "trap '' TERM; while true; do sleep 1; done"],
            "livenessProbe": {"exec": {"command": ["false"]}, "periodSeconds": 1, "failureThreshold": 1}
        }));
        let spec = json!({"terminationGracePeriodSeconds": 600, "containers": [stubborn]});
        create(&pods, json!({"metadata": {"name": "stubborn"}, "spec": spec})).await;
        let events: Api<Event> = Api::default_namespaced(cluster.client());
        eventually("the container is being stopped", async || {
            let found = events.list(&Default::default()).await.map_err(|error| error.to_string())?.items;
            let killing = found.iter().any(|event| event.reason.as_deref() == Some("Killing"));
            if killing { Ok(()) } else { Err(format!("{found:?}")) }
        })
        .await;
        let soon = DeleteParams { grace_period_seconds: Some(1), ..DeleteParams::default() };
        pods.delete("stubborn", &soon).await.expect("deleted");
        eventually("the pod is gone", async || match pods.get_opt("stubborn").await {
            Ok(None) => Ok(()),
            other => Err(format!("{other:?}")),
        })
        .await;
    });
}

#[test]
fn a_long_log_is_rotated_without_a_gap() {
    let flags = ["--container-log-max-size=20Ki", "--container-log-max-files=3"];
    with_cluster_of("logs", &flags, async |cluster| {
        let pods: Api<Pod> = Api::default_namespaced(cluster.client());
        let talks =
            "i=0; while true; do i=$((i+1)); echo $i 0123456789012345678901234567890123456789; sleep 0.01; done";
        run(&pods, "chatty", json!({"command": ["sh", "-c", talks]})).await;
        let mut follow = kubectl::newest().command(cluster, &["logs", "--follow", "chatty"]);
        let file = tempfile::NamedTempFile::new().expect("a file");
        follow.stdout(file.reopen().expect("a file"));
        let mut following = follow.spawn().expect("kubectl");
        eventually("the log is rotated and what was rotated before is compressed", async || {
            let names = log_files(cluster);
            let compressed = names.iter().any(|name| name.ends_with(".gz"));
            if compressed && names.len() == 3 { Ok(()) } else { Err(format!("{names:?}")) }
        })
        .await;
        following.kill().expect("ended");
        following.wait().expect("ended");
        let read = std::fs::read_to_string(file.path()).expect("the log");
        let lines = read.lines().filter_map(|line| line.split(' ').next()?.parse::<u64>().ok());
        let numbers: Vec<u64> = lines.collect();
        let gap = numbers.windows(2).find(|pair| pair[1] != pair[0] + 1);
        assert!(gap.is_none() && numbers.len() > 500, "{} lines, a gap at {gap:?}", numbers.len());
    });
}

#[test]
fn a_node_that_is_short_of_something_takes_no_pods() {
    with_network(async |network| {
        // There is always less than everything.
        let flags = ["--eviction-hard=nodefs.available<99.99%"];
        let cluster = Cluster::start_with("short", network, &flags).await.expect("a cluster");
        let nodes: Api<Node> = Api::all(cluster.client());
        let name = eventually("the node says so", async || {
            let list = nodes.list(&Default::default()).await.map_err(|error| error.to_string())?;
            let node = list.items.into_iter().next().ok_or("no node")?;
            let conditions = node.status.iter().flat_map(|status| status.conditions.iter().flatten());
            let pressed = conditions.into_iter().any(|c| c.type_ == "DiskPressure" && c.status == "True");
            if pressed { Ok(node.metadata.name.unwrap_or_default()) } else { Err(format!("{:?}", node.status)) }
        })
        .await;
        let pods: Api<Pod> = Api::default_namespaced(cluster.client());
        create(
            &pods,
            json!({"metadata": {"name": "late"}, "spec": {"nodeName": name, "containers": [container(json!({}))]}}),
        )
        .await;
        eventually("the pod is refused", async || {
            let status = pods.get("late").await.map_err(|error| error.to_string())?.status.unwrap_or_default();
            let message = "Pod was rejected: The node had condition: [DiskPressure]. ";
            let refused = status.reason.as_deref() == Some("Evicted") && status.message.as_deref() == Some(message);
            if refused { Ok(()) } else { Err(format!("{status:?}")) }
        })
        .await;
    });
}

fn container(fields: Value) -> Value {
    let mut container = json!({"name": "main", "image": "skiff.local/tools:v1"});
    for (key, value) in fields.as_object().into_iter().flatten() {
        container[key] = value.clone();
    }
    container
}

async fn create(pods: &Api<Pod>, pod: Value) {
    let pod: Pod = serde_json::from_value(pod).expect("a pod");
    // Its ServiceAccount is made a moment after its namespace.
    eventually("the pod is created", async || {
        pods.create(&PostParams::default(), &pod).await.map_err(|e| e.to_string())
    })
    .await;
}

async fn run(pods: &Api<Pod>, name: &str, fields: Value) {
    create(pods, json!({"metadata": {"name": name}, "spec": {"terminationGracePeriodSeconds": 0, "containers": [container(fields)]}})).await;
    eventually("the pod is ready", async || match pods.get(name).await {
        Ok(pod) if is_ready(&pod) => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await;
}

async fn resize(pods: &Api<Pod>, resources: Value) {
    let patch = json!({"spec": {"containers": [{"name": "main", "resources": resources}]}});
    let patched = pods.patch_subresource("resize", "sized", &PatchParams::default(), &Patch::Strategic(patch)).await;
    patched.expect("resized");
}

fn has_condition(pod: &Pod, type_: &str) -> bool {
    let conditions = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
    conditions.into_iter().any(|condition| condition.type_ == type_ && condition.status == "True")
}

/// Names of the log files of the only pod.
fn log_files(cluster: &Cluster) -> Vec<String> {
    let mut found = Vec::new();
    let mut left = vec![cluster.folder.join("log")];
    while let Some(folder) = left.pop() {
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                left.push(entry.path());
            } else if name.starts_with("0.log") && !name.ends_with(".tmp") {
                found.push(name);
            }
        }
    }
    found
}
