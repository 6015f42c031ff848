//! What ValidatingAdmissionPolicies are told of the types in their expressions.
//!
//! `policies.json` has policies of ours and what kube-controller-manager v1.36 said of each; the numbers that it adds to
//! the names of types, which are those of a moment, are left out.

use serde_json::{Value, json};
use skiff_client::objects::send;
use skiff_client::types::ValidatingAdmissionPolicy;
use skiff_client::{Kind, ResourceType};

use crate::cluster::{Cluster, eventually};

const DEFINITIONS: ResourceType =
    ResourceType::new("apiextensions.k8s.io", "v1", "customresourcedefinitions", "CustomResourceDefinition", false);

#[tokio::test]
async fn policies_are_told_what_upstream_tells_them() {
    let recorded: Value = serde_json::from_str(include_str!("policies.json")).expect("policies");
    let cluster = Cluster::start().await;
    cluster.json(&DEFINITIONS, "").create(&recorded["definition"]).await.expect("created");
    eventually("the definition is described", || async {
        let described = "/openapi/v3/apis/example.com/v1";
        send(&cluster.client, http::Method::GET, described, "application/json", None).await.is_ok()
    })
    .await;
    let policies = cluster.json(&ValidatingAdmissionPolicy::RESOURCE, "");
    for policy in recorded["policies"].as_array().expect("a list") {
        let name = policy["name"].as_str().expect("a name");
        policies.create(&json!({"metadata": {"name": name}, "spec": policy["spec"]})).await.expect(name);
        let status = || async { policies.get(name).await.expect("the policy")["status"].clone() };
        eventually(name, || async { status().await["observedGeneration"] == 1 }).await;
        assert_eq!(status().await["typeChecking"], policy["typeChecking"], "{name}");
    }
    // Another generation is looked at again.
    let change = json!({"spec": {"validations": [{"expression": "true"}]}});
    policies.patch("typo", "", skiff_client::objects::PatchKind::Merge, &change).await.expect("patched");
    let status = json!({"observedGeneration": 2, "typeChecking": {}});
    eventually("the warnings go", || async { policies.get("typo").await.expect("the policy")["status"] == status })
        .await;
}
