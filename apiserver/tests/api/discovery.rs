//! What the server says of itself.

use serde_json::json;

use skiff_fixture::Api;

const AGGREGATED: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";

#[tokio::test]
async fn both_forms_of_discovery() {
    let api = Api::open().await;
    let accept = format!("{AGGREGATED},application/json");
    let answer = api.send("GET", "/apis", &[("accept", &accept)], Vec::new()).await.expect(200);
    assert_eq!(answer.headers["content-type"], AGGREGATED);
    let etag = answer.headers["etag"].to_str().expect("etag").to_owned();
    let groups = answer.json();
    let apps =
        groups["items"].as_array().expect("items").iter().find(|g| g["metadata"]["name"] == "apps").expect("apps");
    let deployments = apps["versions"][0]["resources"].as_array().expect("resources");
    let deployments = deployments.iter().find(|r| r["resource"] == "deployments").expect("deployments");
    assert_eq!(deployments["scope"], "Namespaced");
    assert!(deployments["subresources"].as_array().expect("subresources").iter().any(|s| s["subresource"] == "scale"));
    let again = [("accept", accept.as_str()), ("if-none-match", etag.as_str())];
    api.send("GET", "/apis", &again, Vec::new()).await.expect(304);
    let list = api.get("/apis").await.expect(200).json();
    assert_eq!(list["kind"], "APIGroupList");
    let core = api.get("/api/v1").await.expect(200).json();
    let pods = core["resources"].as_array().expect("resources").iter().find(|r| r["name"] == "pods").expect("pods");
    assert_eq!((&pods["singularName"], &pods["shortNames"]), (&json!("pod"), &json!(["po"])));
    api.get("/apis/none").await.expect(404);
    assert_eq!(api.get("/api/").await.expect(200).json()["versions"], json!(["v1"]));
}

#[tokio::test]
async fn version_health_metrics_and_headers() {
    let api = Api::open().await;
    let version = api.get("/version").await.expect(200).json();
    assert_eq!((&version["major"], &version["minor"]), (&json!("1"), &json!("36")));
    assert_eq!(api.get("/livez/ping").await.expect(200).text, "ok");
    let verbose = api.get("/readyz?verbose").await.expect(500).text;
    assert!(
        verbose.contains("[+]ping ok") && verbose.contains("[-]poststarthook/rbac/bootstrap-roles failed"),
        "{verbose}"
    );
    api.get("/api/v1/namespaces").await.expect(200);
    let metrics = api.get("/metrics").await.expect(200).text;
    assert!(metrics.contains("apiserver_request_total{"), "{metrics}");
    let answer = api.send("GET", "/version", &[("audit-id", "mine")], Vec::new()).await.expect(200);
    assert_eq!(answer.headers["audit-id"], "mine");
    assert_eq!(answer.headers["cache-control"], "no-cache, private");
    api.get("/nothing").await.expect(404);
}
