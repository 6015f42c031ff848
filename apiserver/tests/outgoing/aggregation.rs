//! Group versions that another API server serves.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use skiff_apiserver::proxy::transport::Address;
use skiff_apiserver::webhook::ServiceResolver;
use skiff_fixture::Api;

use crate::server::Server;

const SERVICES: &str = "/apis/apiregistration.k8s.io/v1/apiservices";
const NAME: &str = "v1alpha1.wardle.example.com";
/// How long a change may take to be noticed.
const DEADLINE: Duration = Duration::from_secs(20);

/// Every Service is at one place.
struct At(std::net::SocketAddr);

impl ServiceResolver for At {
    fn resolve(&self, _namespace: &str, _name: &str, _port: u16) -> Result<Address, String> {
        Ok(Address { host: self.0.ip().to_string(), port: self.0.port() })
    }
}

/// A server of `flunders`, which knows no aggregated discovery.
fn wardle(path: &str, _body: &Value) -> Option<(u16, Value)> {
    Some(match path {
        "/apis/wardle.example.com/v1alpha1" => (
            200,
            json!({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": "wardle.example.com/v1alpha1", "resources": [
                {"name": "flunders", "singularName": "flunder", "namespaced": true, "kind": "Flunder", "verbs": ["get", "list"]}
            ]}),
        ),
        "/apis/wardle.example.com/v1alpha1/namespaces/demo/flunders" => {
            (200, json!({"kind": "FlunderList", "items": []}))
        }
        "/openapi/v3" => (
            200,
            json!({"paths": {
                "apis/wardle.example.com/v1alpha1": {"serverRelativeURL": "/openapi/v3/apis/wardle.example.com/v1alpha1?hash=H"},
                "version": {"serverRelativeURL": "/openapi/v3/version?hash=V"}
            }}),
        ),
        "/openapi/v3/apis/wardle.example.com/v1alpha1" => (200, json!({"openapi": "3.0.0"})),
        "/openapi/v2" => (
            200,
            json!({
                "paths": {"/apis/wardle.example.com/v1alpha1/flunders": {"get": {"schema": {"$ref": "#/definitions/Flunder"}}}, "/version/": {}},
                "definitions": {"Flunder": {"type": "object"}, "Other": {"type": "object"}}
            }),
        ),
        _ => (404, json!({"kind": "Status", "code": 404})),
    })
}

async fn until(api: &Api, path: &str, good: impl Fn(&Value) -> bool) -> Value {
    let asking = async {
        loop {
            let answer = api.get(path).await;
            let found = serde_json::from_str(&answer.text).unwrap_or_default();
            if good(&found) {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(DEADLINE, asking)
        .await
        .unwrap_or_else(|_| panic!("{path} did not become what it should in time"))
}

fn available(object: &Value) -> (&str, &str, &str) {
    let condition = &object["status"]["conditions"][0];
    ["status", "reason", "message"].map(|field| condition[field].as_str().unwrap_or("")).into()
}

async fn register(api: &Api, server: &Server) {
    let service = json!({
        "apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService", "metadata": {"name": NAME},
        "spec": {
            "group": "wardle.example.com", "version": "v1alpha1", "groupPriorityMinimum": 2000, "versionPriority": 200,
            "caBundle": server.bundle(), "service": {"namespace": "demo", "name": "backend"}
        }
    });
    api.post(SERVICES, service).await.expect(201);
}

/// A Service with an endpoint.
async fn backend(api: &Api) {
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "demo"}});
    api.post("/api/v1/namespaces", namespace).await.expect(201);
    let service = json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": "backend"},
        "spec": {"ports": [{"port": 443, "targetPort": 443}], "selector": {"a": "b"}}
    });
    api.post("/api/v1/namespaces/demo/services", service).await.expect(201);
    let slice = json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
        "metadata": {"name": "backend-1", "labels": {"kubernetes.io/service-name": "backend"}},
        "endpoints": [{"addresses": ["10.0.0.1"], "conditions": {"ready": true}}],
        "ports": [{"name": "", "port": 443, "protocol": "TCP"}]
    });
    api.post("/apis/discovery.k8s.io/v1/namespaces/demo/endpointslices", slice).await.expect(201);
}

#[tokio::test]
async fn another_servers_group_is_as_if_it_were_our_own() {
    let server = Server::start(wardle).await;
    let api = Api::reaching(Arc::new(At(server.address()))).await;
    register(&api, &server).await;
    let path = format!("{SERVICES}/{NAME}");
    let missing = until(&api, &path, |object| !available(object).0.is_empty()).await;
    assert_eq!(available(&missing), ("False", "ServiceNotFound", "service/backend in \"demo\" is not present"));
    let refused = api.get("/apis/wardle.example.com/v1alpha1").await.expect(503);
    assert_eq!(refused.text, "service unavailable\n");
    backend(&api).await;
    let passed = until(&api, &path, |object| available(object).0 == "True").await;
    assert_eq!(available(&passed), ("True", "Passed", "all checks passed"));

    // Requests, with who asks.
    let list = "/apis/wardle.example.com/v1alpha1/namespaces/demo/flunders";
    // What the status says is acted upon a moment after it is stored.
    until(&api, list, |answer| answer["kind"] == "FlunderList").await;
    let asked = format!("{list}?limit=5");
    let answer = api.send("GET", &asked, &[("x-remote-user", "eve"), ("authorization", "Bearer t")], Vec::new()).await;
    assert_eq!(answer.expect(200).json()["kind"], "FlunderList");
    let headers = server.last_headers(&asked);
    assert_eq!(headers["x-remote-user"], "admin");
    let groups = headers.get_all("x-remote-group").iter().collect::<Vec<_>>();
    assert_eq!(groups, ["system:masters", "system:authenticated"]);
    assert!(!headers.contains_key("authorization"));
    api.get("/apis/wardle.example.com/v1alpha1/nonsense").await.expect(404);

    // Discovery, in both forms.
    let group = api.get("/apis/wardle.example.com").await.expect(200).json();
    assert_eq!(group["preferredVersion"]["groupVersion"], "wardle.example.com/v1alpha1");
    let all = api.get("/apis").await.expect(200).json();
    let names = all["groups"].as_array().expect("groups").iter().map(|group| group["name"].clone()).collect::<Vec<_>>();
    assert_eq!(
        (names.first(), names.last()),
        (Some(&json!("apiregistration.k8s.io")), Some(&json!("wardle.example.com")))
    );
    let accept = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
    let learned = async {
        loop {
            let document = api.send("GET", "/apis", &[("accept", accept)], Vec::new()).await.expect(200).json();
            let items = document["items"].as_array().expect("items").clone();
            let found =
                items.into_iter().find(|item| item["metadata"]["name"] == "wardle.example.com").expect("listed");
            if found["versions"][0]["freshness"] == "Current" {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let found = tokio::time::timeout(DEADLINE, learned).await.expect("learned in time");
    assert_eq!(found["versions"][0]["resources"][0]["resource"], "flunders");

    // OpenAPI.
    let index = until(&api, "/openapi/v3", |index| !index["paths"]["apis/wardle.example.com/v1alpha1"].is_null()).await;
    let url =
        index["paths"]["apis/wardle.example.com/v1alpha1"]["serverRelativeURL"].as_str().expect("a URL").to_owned();
    assert_eq!(api.get(&url).await.expect(200).json(), json!({"openapi": "3.0.0"}));
    let merged = api.get("/openapi/v2").await.expect(200).json();
    assert!(merged["paths"]["/apis/wardle.example.com/v1alpha1/flunders"].is_object());
    assert!(merged["definitions"]["Flunder"].is_object() && merged["definitions"]["Other"].is_null());

    // And when it goes, all of it goes.
    api.delete(&path, None).await.expect(200);
    until(&api, "/apis", |all| !all.to_string().contains("wardle")).await;
    api.get("/apis/wardle.example.com/v1alpha1").await.expect(404);
}

#[tokio::test]
async fn a_server_that_stops_is_unavailable_and_stale() {
    let server = Server::start(wardle).await;
    let api = Api::reaching(Arc::new(At(server.address()))).await;
    backend(&api).await;
    register(&api, &server).await;
    let path = format!("{SERVICES}/{NAME}");
    until(&api, &path, |object| available(object).0 == "True").await;
    drop(server);
    // A change of endpoints has it looked at again at once.
    api.delete("/apis/discovery.k8s.io/v1/namespaces/demo/endpointslices/backend-1", None).await.expect(200);
    // A look that was under way may have found the server gone before.
    let gone = until(&api, &path, |object| available(object).1 == "EndpointsNotFound").await;
    assert_eq!(available(&gone).0, "False");
    api.get("/apis/wardle.example.com/v1alpha1").await.expect(503);
}

#[tokio::test]
async fn our_own_group_versions_have_services_too() {
    let api = Api::secured().await;
    let apps = api.get(&format!("{SERVICES}/v1.apps")).await.expect(200).json();
    assert_eq!(available(&apps), ("True", "Local", "Local APIServices are always available"));
    let definition = json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "tabs.test.example.com"},
        "spec": {
            "group": "test.example.com", "scope": "Namespaced", "names": {"plural": "tabs", "kind": "Tab"},
            "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": {"type": "object"}}}]
        }
    });
    let definitions = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
    api.post(definitions, definition).await.expect(201);
    let path = format!("{SERVICES}/v1.test.example.com");
    let made = until(&api, &path, |object| available(object).0 == "True").await;
    assert_eq!(
        made["spec"],
        json!({"group": "test.example.com", "version": "v1", "groupPriorityMinimum": 1000, "versionPriority": 100})
    );
    assert_eq!(made["metadata"]["labels"], json!({"kube-aggregator.kubernetes.io/automanaged": "true"}));
    api.delete(&format!("{definitions}/tabs.test.example.com"), None).await.expect(200);
    until(&api, &path, |object| object["code"] == 404).await;
}
