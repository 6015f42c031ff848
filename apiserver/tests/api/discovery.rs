//! What the server says of itself.

use http_body_util::BodyExt;
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
async fn aggregated_in_protobuf_says_the_same() {
    let api = Api::open().await;
    let media = AGGREGATED.replace("json", "vnd.kubernetes.protobuf");
    for path in ["/api", "/apis"] {
        let answer = api.raw("GET", path, &[("accept", media.as_str())], Vec::new()).await;
        assert_eq!(answer.headers()["content-type"], media.as_str());
        let bytes = answer.into_body().collect().await.expect("body").to_bytes();
        let schema = skiff_api::builtin().schema_of("apidiscovery.k8s.io", "v2", "APIGroupDiscoveryList");
        let decoded = skiff_apimachinery::protobuf::decode(&bytes, schema.expect("schema")).expect("a document");
        let json = api.send("GET", path, &[("accept", AGGREGATED)], Vec::new()).await.expect(200).json();
        let names = |list: &[String]| list.join(",");
        let ours = decoded.array_at(&["items"]).iter().flat_map(|group| group.array_at(&["versions"]));
        let ours = ours.flat_map(|version| version.array_at(&["resources"])).map(|resource| {
            let verbs = resource.array_at(&["verbs"]).iter().filter_map(|verb| verb.as_str().map(str::to_owned));
            format!("{:?} {}", resource.str_at(&["resource"]), names(&verbs.collect::<Vec<_>>()))
        });
        let lists = |value: &serde_json::Value, field: &str| value[field].as_array().cloned().unwrap_or_default();
        let wanted = lists(&json, "items").into_iter().flat_map(|group| lists(&group, "versions"));
        let wanted = wanted.flat_map(|version| lists(&version, "resources")).map(|resource| {
            let verbs = lists(&resource, "verbs").into_iter().filter_map(|verb| verb.as_str().map(str::to_owned));
            format!("{:?} {}", resource["resource"].as_str(), names(&verbs.collect::<Vec<_>>()))
        });
        assert_eq!(ours.collect::<Vec<_>>(), wanted.collect::<Vec<_>>(), "{path}");
    }
}

#[tokio::test]
async fn pages_for_people() {
    let api = Api::open().await;
    let text = api.get("/statusz").await.expect(200).text;
    assert!(text.starts_with("\napiserver statusz\nWarning: ") && text.contains("Emulation version: 1.36\n"), "{text}");
    let text = api.get("/flagz").await.expect(200).text;
    assert!(text.contains("\nservice-cluster-ip-range 10.96.0.0/16\n"), "{text}");
    let accept = [("accept", "application/json;v=v1alpha1;g=config.k8s.io;as=Flagz")];
    let answer = api.send("GET", "/flagz", &accept, Vec::new()).await.expect(200);
    assert_eq!(answer.headers["content-type"], "application/json;g=config.k8s.io;v=v1alpha1;as=Flagz");
    assert!(answer.headers["warning"].to_str().expect("text").contains("deprecated"));
    assert_eq!(answer.json()["flags"]["secure-port"], "6443");
    assert!(api.get("/debug/pprof/heap").await.expect(404).text.contains("perf"));
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
