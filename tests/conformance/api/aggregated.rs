//! Discovery in one document.

use serde_json::Value;
use skiff_tests::eventually;
use skiff_tests::rest::Rest;

use crate::api::definitions::{self, Names};
use crate::scene::Scene;

/// The document that this asks for, and the content type it comes with.
const AGGREGATED: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";

/// Resources that are in it on every cluster: group, version, name, kind.
const EXPECTED: [(&str, &str, &str, &str); 8] = [
    ("", "v1", "namespaces", "Namespace"),
    ("", "v1", "pods", "Pod"),
    ("admissionregistration.k8s.io", "v1", "mutatingwebhookconfigurations", "MutatingWebhookConfiguration"),
    ("apiextensions.k8s.io", "v1", "customresourcedefinitions", "CustomResourceDefinition"),
    ("apiregistration.k8s.io", "v1", "apiservices", "APIService"),
    ("apps", "v1", "deployments", "Deployment"),
    ("batch", "v1", "cronjobs", "CronJob"),
    ("discovery.k8s.io", "v1", "endpointslices", "EndpointSlice"),
];

pub(crate) async fn accept_headers(scene: Scene) {
    for path in ["/api", "/apis"] {
        let answer = scene.rest.get_as(path, AGGREGATED).await;
        let content_type = answer.headers["content-type"].to_str().expect("text").to_owned();
        assert_eq!(content_type, AGGREGATED);
        let body = answer.expect(200);
        assert_eq!(
            (body["kind"].as_str(), body["apiVersion"].as_str()),
            (Some("APIGroupDiscoveryList"), Some("apidiscovery.k8s.io/v2"))
        );
        let plain = scene.rest.get_as(path, "application/json").await.expect(200);
        let kind = if path == "/api" { "APIVersions" } else { "APIGroupList" };
        assert_eq!(plain["kind"], kind);
        scene.stage.done("both documents");
    }
}

pub(crate) async fn everything_is_there(scene: Scene) {
    let (core, others) = (document(&scene.rest, "/api").await, document(&scene.rest, "/apis").await);
    for (group, version, resource, kind) in EXPECTED {
        let document = if group.is_empty() { &core } else { &others };
        let found = resource_of(document, group, version, resource);
        let found = found.unwrap_or_else(|| panic!("no {resource} of {group}/{version}"));
        assert_eq!(found["responseKind"]["kind"], kind);
        scene.stage.done("a resource");
    }
}

/// Custom resources appear, with their group and version.
pub(crate) async fn definitions_appear(scene: Scene) {
    let names = [Names::of(&scene, "first"), Names::of(&scene, "second")];
    for names in &names {
        definitions::create(&scene, &names.definition()).await;
    }
    for names in &names {
        eventually("the definition in the document", async || {
            let document = document(&scene.rest, "/apis").await;
            let found = resource_of(&document, &names.group, "v1", &names.plural).cloned();
            found.filter(|resource| resource["responseKind"]["kind"] == names.kind.as_str()).ok_or(names.group.clone())
        })
        .await;
        scene.stage.done("appeared");
    }
    for names in &names {
        definitions::delete(&scene, names).await;
        eventually("the definition gone from the document", async || {
            let document = document(&scene.rest, "/apis").await;
            resource_of(&document, &names.group, "v1", &names.plural).map_or(Ok(()), |_| Err("still there"))
        })
        .await;
    }
}

async fn document(rest: &Rest, path: &str) -> Value {
    rest.get_as(path, AGGREGATED).await.expect(200)
}

fn resource_of<'a>(document: &'a Value, group: &str, version: &str, resource: &str) -> Option<&'a Value> {
    let group = document["items"]
        .as_array()?
        .iter()
        .find(|item| item["metadata"]["name"].as_str().unwrap_or_default() == group)?;
    let version = group["versions"].as_array()?.iter().find(|one| one["version"] == version)?;
    version["resources"].as_array()?.iter().find(|one| one["resource"] == resource)
}
