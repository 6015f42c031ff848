//! Two nodes on which nothing runs, which is what the suite wants to see before it begins.

use std::time::Duration;

use serde_json::json;
use skiff_tests::rest::{MERGE, Rest};

const NAMES: [&str; 2] = ["node-a", "node-b"];
/// How often they say that they are well: a node that is silent for 50 s is tainted.
const HEARTBEAT: Duration = Duration::from_secs(10);

/// Makes them.
pub(crate) async fn register(rest: &Rest) {
    for name in NAMES {
        rest.create("/api/v1/nodes", &json!({"metadata": {"name": name}})).await;
        beat(rest, name).await;
    }
    skiff_tests::eventually("nodes without taints", async || {
        let nodes = rest.items("/api/v1/nodes").await;
        let tainted = nodes.iter().any(|node| node["spec"]["taints"].is_array());
        if tainted { Err(nodes) } else { Ok(()) }
    })
    .await;
}

/// Keeps them ready; never ends.
pub(crate) async fn keep_ready(rest: &Rest) {
    loop {
        tokio::time::sleep(HEARTBEAT).await;
        for name in NAMES {
            beat(rest, name).await;
        }
    }
}

async fn beat(rest: &Rest, name: &str) {
    let time = k8s_openapi::jiff::Timestamp::now().to_string();
    let status = json!({"status": {
        "allocatable": {"cpu": "4", "memory": "8Gi", "pods": "110"}, "capacity": {"cpu": "4", "memory": "8Gi", "pods": "110"},
        "conditions": [{"type": "Ready", "status": "True", "reason": "Test", "message": "nothing runs here",
            "lastHeartbeatTime": time, "lastTransitionTime": "2026-01-02T03:04:05Z"}]}});
    rest.patch(&format!("/api/v1/nodes/{name}/status"), MERGE, &status).await;
}
