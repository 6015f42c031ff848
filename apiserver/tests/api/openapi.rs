//! OpenAPI documents: what clients look for in them, and how they are kept.

use serde_json::{Value, json};

use skiff_fixture::Api;

/// The document of a group version, by the address that the index gives.
async fn document(api: &Api, name: &str) -> (String, Value) {
    let index = api.get("/openapi/v3").await.expect(200).json();
    let url = index["paths"][name]["serverRelativeURL"].as_str().expect("an address").to_owned();
    let answer = api.get(&url).await.expect(200);
    assert_eq!(answer.headers["cache-control"], "public, immutable");
    assert!(answer.headers.contains_key("expires"));
    (url, answer.json())
}

#[tokio::test]
async fn kubectl_finds_what_it_asks_for() {
    let api = Api::open().await;
    let (_, apps) = document(&api, "apis/apps/v1").await;
    let patch = &apps["paths"]["/apis/apps/v1/namespaces/{namespace}/deployments/{name}"]["patch"];
    let kind = json!({"group": "apps", "version": "v1", "kind": "Deployment"});
    assert_eq!((&patch["x-kubernetes-group-version-kind"], &patch["x-kubernetes-action"]), (&kind, &json!("patch")));
    let names = patch["parameters"].as_array().expect("parameters").iter().map(|p| p["name"].clone());
    assert_eq!(names.collect::<Vec<_>>(), ["dryRun", "fieldManager", "fieldValidation", "force"]);
    assert!(patch["requestBody"]["content"]["application/strategic-merge-patch+json"].is_object());
    assert_eq!(patch["operationId"], "patchAppsV1NamespacedDeployment");
    let schemas = &apps["components"]["schemas"];
    assert_eq!(schemas["io.k8s.api.apps.v1.Deployment"]["x-kubernetes-group-version-kind"], json!([kind]));
    let described = |name: &str| schemas[name]["description"].as_str().expect("a description").to_owned();
    assert!(described("io.k8s.api.apps.v1.Deployment").contains("declarative updates"));
    assert_eq!(described("io.k8s.api.apps.v1.DeploymentList"), "DeploymentList is a list of Deployment objects.");
    let ports = &schemas["io.k8s.api.core.v1.Container"]["properties"]["ports"];
    let wanted = json!({
        "type": "array", "items": {"$ref": "#/components/schemas/io.k8s.api.core.v1.ContainerPort"},
        "x-kubernetes-list-map-keys": ["containerPort", "protocol"], "x-kubernetes-list-type": "map",
        "x-kubernetes-patch-merge-key": "containerPort", "x-kubernetes-patch-strategy": "merge"
    });
    for (key, value) in wanted.as_object().expect("an object") {
        assert_eq!(ports[key], *value, "{key}");
    }
}

#[tokio::test]
async fn every_reference_leads_somewhere() {
    fn references(value: &Value, found: &mut Vec<String>) {
        match value {
            Value::Object(object) => {
                found.extend(object.get("$ref").and_then(Value::as_str).map(str::to_owned));
                object.values().for_each(|value| references(value, found));
            }
            Value::Array(items) => items.iter().for_each(|value| references(value, found)),
            _ => {}
        }
    }
    let api = Api::open().await;
    let index = api.get("/openapi/v3").await.expect(200).json();
    let addresses = index["paths"].as_object().expect("paths").values();
    let mut documents = vec![(String::from("/openapi/v2"), "/definitions/")];
    let v3 = addresses.map(|path| path["serverRelativeURL"].as_str().expect("an address").to_owned());
    documents.extend(v3.map(|url| (url, "/components/schemas/")));
    assert!(documents.len() > 30);
    for (url, place) in documents {
        let document = api.get(&url).await.expect(200).json();
        let mut found = Vec::new();
        references(&document, &mut found);
        assert!(!found.is_empty(), "{url}");
        for reference in found {
            let pointer = reference.strip_prefix('#').expect("a reference into the document");
            assert!(pointer.starts_with(place) && document.pointer(pointer).is_some(), "{url}: {reference}");
        }
    }
}

#[tokio::test]
async fn documents_are_kept_by_their_hash() {
    let api = Api::open().await;
    let (url, _) = document(&api, "api/v1").await;
    let moved = api.get("/openapi/v3/api/v1?hash=OLD").await.expect(301);
    assert_eq!(moved.headers["location"], url);
    let plain = api.get("/openapi/v3/api/v1").await.expect(200);
    assert_eq!(plain.headers["cache-control"], "no-cache, private");
    let etag = plain.headers["etag"].to_str().expect("text");
    api.send("GET", "/openapi/v3/api/v1", &[("if-none-match", etag)], Vec::new()).await.expect(304);
    let zipped = api.send("GET", "/openapi/v2", &[("accept-encoding", "gzip")], Vec::new()).await.expect(200);
    assert_eq!(zipped.headers["content-encoding"], "gzip");
    api.get("/openapi/v3/apis/nobody/v1").await.expect(404);
}

#[tokio::test]
async fn version_2_is_there_in_both_encodings() {
    let api = Api::open().await;
    let swagger = api.get("/openapi/v2").await.expect(200).json();
    assert_eq!(swagger["swagger"], "2.0");
    let post = &swagger["paths"]["/api/v1/namespaces/{namespace}/pods"]["post"];
    assert_eq!(post["parameters"][0]["in"], "body");
    assert_eq!(post["parameters"][0]["schema"]["$ref"], "#/definitions/io.k8s.api.core.v1.Pod");
    let legacy = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf";
    let proto = api.send("GET", "/openapi/v2", &[("accept", legacy)], Vec::new()).await.expect(200);
    assert_eq!(proto.headers["content-type"], "application/com.github.proto-openapi.spec.v2.v1.0+protobuf");
    assert!(proto.text.contains("io.k8s.api.core.v1.Pod") && proto.text.starts_with("\n\u{3}2.0"));
    api.send("GET", "/openapi/v2", &[("accept", "text/html")], Vec::new()).await.expect(406);
}
