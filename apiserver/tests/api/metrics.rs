//! What Prometheus sees.

use serde_json::json;

use skiff_fixture::Api;

#[tokio::test]
async fn metrics_have_upstreams_names() {
    let api = Api::open().await;
    let maps = "/api/v1/namespaces/demo/configmaps";
    api.post(maps, json!({"metadata": {"name": "a"}})).await.expect(201);
    api.get(&format!("{maps}/a?resourceVersion=2")).await.expect(200);
    let answer = api.get("/metrics").await.expect(200);
    assert!(answer.headers["content-type"].to_str().expect("text").starts_with("text/plain; version=0.0.4"));
    let posted = "apiserver_request_total{code=\"201\",component=\"apiserver\",dry_run=\"\",group=\"\",\
                  resource=\"configmaps\",scope=\"resource\",subresource=\"\",system_client=\"\",verb=\"POST\",version=\"v1\"} 1";
    for line in [
        posted,
        "apiserver_request_duration_seconds_bucket{le=\"0.005\",",
        "apiserver_current_inflight_requests{request_kind=\"mutating\"} 0",
        "apiserver_storage_events_received_total{group=\"\",resource=\"configmaps\"} 1",
        "apiserver_storage_objects{resource=\"configmaps\"} 1",
        "apiserver_storage_objects{resource=\"deployments.apps\"} 0",
        "kubernetes_build_info{build_date=",
        "process_cpu_seconds_total ",
        "process_resident_memory_bytes ",
        "process_start_time_seconds ",
        "process_open_fds ",
    ] {
        assert!(answer.text.lines().any(|found| found.starts_with(line)), "{line}\n{}", answer.text);
    }
}
