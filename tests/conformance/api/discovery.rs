//! Discovery, the server's version, and tables where there are none.

use http::Method;
use serde_json::json;
use skiff_tests::rest::JSON;

use crate::scene::Scene;

/// Groups and a resource of each that every cluster has.
const KNOWN: [(&str, &str); 8] = [
    ("apiregistration.k8s.io/v1", "apiservices"),
    ("apps/v1", "deployments"),
    ("autoscaling/v2", "horizontalpodautoscalers"),
    ("batch/v1", "jobs"),
    ("networking.k8s.io/v1", "ingresses"),
    ("policy/v1", "poddisruptionbudgets"),
    ("rbac.authorization.k8s.io/v1", "clusterroles"),
    ("storage.k8s.io/v1", "storageclasses"),
];

pub(crate) async fn preferred_versions(scene: Scene) {
    let groups = scene.rest.get("/apis").await;
    for group in groups["groups"].as_array().expect("groups") {
        let name = group["name"].as_str().expect("a name");
        // Those of other scenarios' definitions come and go.
        if name.ends_with(".example.com") {
            continue;
        }
        let alone = scene.rest.get(&format!("/apis/{name}")).await;
        assert_eq!(alone["preferredVersion"], group["preferredVersion"], "{name}");
        let versions = alone["versions"].as_array().expect("versions");
        assert!(versions.contains(&alone["preferredVersion"]), "{name} prefers what it does not have");
        for version in versions {
            let both = format!("{name}/{}", version["version"].as_str().expect("a version"));
            assert_eq!(version["groupVersion"], both.as_str());
        }
        scene.stage.done("a group");
    }
}

pub(crate) async fn groups_and_resources(scene: Scene) {
    let groups = scene.rest.get("/apis").await;
    for (group_version, resource) in KNOWN {
        let (group, version) = group_version.split_once('/').expect("a group and a version");
        let all = groups["groups"].as_array().expect("groups");
        let found = all.iter().find(|one| one["name"] == group).unwrap_or_else(|| panic!("no {group}"));
        let versions = found["versions"].as_array().expect("versions");
        assert!(versions.iter().any(|one| one["version"] == version), "no {group_version}");
        let list = scene.rest.get(&format!("/apis/{group_version}")).await;
        assert_eq!((&list["kind"], &list["groupVersion"]), (&json!("APIResourceList"), &json!(group_version)));
        let resources = list["resources"].as_array().expect("resources");
        assert!(resources.iter().any(|one| one["name"] == resource), "no {resource} in {group_version}");
        scene.stage.done("a resource");
    }
}

pub(crate) async fn server_version(scene: Scene) {
    let version = scene.rest.get("/version").await;
    for part in ["major", "minor"] {
        let text = version[part].as_str().expect("a text");
        assert!(!text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()), "{part}: {text}");
        scene.stage.done("an integer");
    }
}

pub(crate) async fn no_table_of_reviews(scene: Scene) {
    let review = json!({"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview",
        "spec": {"nonResourceAttributes": {"path": "/healthz", "verb": "get"}}});
    let headers = [("content-type", JSON), ("accept", "application/json;as=Table;v=v1;g=meta.k8s.io")];
    let path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";
    let answer = scene.rest.ask(Method::POST, path, &headers, Some(&review)).await.expect(406);
    assert_eq!(answer["reason"], "NotAcceptable");
    scene.stage.done("refused");
}
