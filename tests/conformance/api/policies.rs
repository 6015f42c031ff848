//! Admission policies in CEL, on Deployments of the scene's namespace.

use serde_json::{Value, json};
use skiff_tests::eventually;

use crate::scene::Scene;

const VALIDATING: &str = "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies";
const VALIDATING_BINDINGS: &str = "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicybindings";
const MUTATING: &str = "/apis/admissionregistration.k8s.io/v1/mutatingadmissionpolicies";
const MUTATING_BINDINGS: &str = "/apis/admissionregistration.k8s.io/v1/mutatingadmissionpolicybindings";

fn deployment(name: &str, replicas: u32) -> Value {
    json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name},
        "spec": {"replicas": replicas, "selector": {"matchLabels": {"app": name}},
            "template": {"metadata": {"labels": {"app": name}},
                "spec": {"containers": [{"name": "c", "image": "example/image"}]}}}})
}

/// Deployments of this scene.
fn constraints(scene: &Scene) -> Value {
    json!({"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": scene.namespace}},
        "resourceRules": [{"apiGroups": ["apps"], "apiVersions": ["v1"], "operations": ["CREATE", "UPDATE"],
            "resources": ["deployments"]}]})
}

async fn bind(scene: &Scene, policies: &str, bindings: &str, policy: Value, binding: Value) {
    let name = format!("{}.example.com", scene.namespace);
    let (mut policy, mut binding) = (policy, binding);
    policy["matchConstraints"] = constraints(scene);
    binding["policyName"] = name.clone().into();
    scene.rest.create(policies, &json!({"metadata": {"name": name}, "spec": policy})).await;
    scene.rest.create(bindings, &json!({"metadata": {"name": name}, "spec": binding})).await;
}

async fn unbind(scene: &Scene, policies: &str, bindings: &str) {
    let name = format!("{}.example.com", scene.namespace);
    scene.rest.delete(&format!("{bindings}/{name}")).await;
    scene.rest.delete(&format!("{policies}/{name}")).await;
}

/// Waits until more than two replicas are refused, which a policy does once it is known.
async fn refuses(scene: &Scene) -> Value {
    let path = scene.of("apps/v1", "deployments?dryRun=All");
    let refused = eventually("a refusal", async || {
        let answer = scene.rest.try_create(&path, &deployment("three", 3)).await;
        if answer.code == 422 || answer.code == 403 { Ok(answer.body) } else { Err(answer) }
    })
    .await;
    let answer = scene.rest.try_create(&path, &deployment("two", 2)).await;
    assert_eq!(answer.code, 201, "{}", answer.text);
    scene.stage.done("validated");
    refused
}

pub(crate) async fn validates(scene: Scene) {
    let policy = json!({"validations": [
        {"expression": "object.spec.replicas > 1", "messageExpression":
            "'wants replicas > 1, got ' + string(object.spec.replicas)"},
        {"expression": "namespaceObject.metadata.name == request.namespace", "message": "Internal error!"},
        {"expression": "object.spec.replicas < 3"}]});
    bind(&scene, VALIDATING, VALIDATING_BINDINGS, policy, json!({"validationActions": ["Deny"]})).await;
    let refused = refuses(&scene).await;
    let message = refused["message"].as_str().expect("a message");
    assert!(message.contains("failed expression: object.spec.replicas < 3"), "{message}");
    let one = scene.rest.try_create(&scene.of("apps/v1", "deployments"), &deployment("one", 1)).await;
    assert!(one.text.contains("wants replicas > 1, got 1"), "{}", one.text);
    scene.stage.done("with its message");
    unbind(&scene, VALIDATING, VALIDATING_BINDINGS).await;
}

pub(crate) async fn variables(scene: Scene) {
    let policy = json!({
        "variables": [
            {"name": "replicas", "expression": "object.spec.replicas"},
            {"name": "oddReplicas", "expression": "variables.replicas % 2 == 1"}],
        "validations": [{"expression": "variables.replicas > 1"}, {"expression": "!variables.oddReplicas"}]});
    bind(&scene, VALIDATING, VALIDATING_BINDINGS, policy, json!({"validationActions": ["Deny"]})).await;
    refuses(&scene).await;
    unbind(&scene, VALIDATING, VALIDATING_BINDINGS).await;
}

/// Waits until a Deployment is changed on its way in.
async fn mutates(scene: &Scene, changed: impl Fn(&Value) -> bool) {
    let path = scene.of("apps/v1", "deployments?dryRun=All");
    eventually("a change", async || {
        let made = scene.rest.create(&path, &deployment("two", 2)).await;
        if changed(&made) { Ok(()) } else { Err(made) }
    })
    .await;
    scene.stage.done("mutated");
    unbind(scene, MUTATING, MUTATING_BINDINGS).await;
}

pub(crate) async fn mutates_replicas(scene: Scene) {
    let policy = json!({"reinvocationPolicy": "Never", "failurePolicy": "Fail", "mutations": [
        {"patchType": "ApplyConfiguration", "applyConfiguration": {
            "expression": "Object{spec: Object.spec{replicas: object.spec.replicas + 98}}"}}]});
    bind(&scene, MUTATING, MUTATING_BINDINGS, policy, json!({})).await;
    mutates(&scene, |made| made["spec"]["replicas"] == 100).await;
}

pub(crate) async fn mutates_annotations(scene: Scene) {
    let policy = json!({"reinvocationPolicy": "Never", "failurePolicy": "Fail", "mutations": [
        {"patchType": "ApplyConfiguration", "applyConfiguration": {
            "expression": "Object{metadata: Object.metadata{annotations: {\"my-foo-annotation\": \"myfoo\"}}}"}}]});
    bind(&scene, MUTATING, MUTATING_BINDINGS, policy, json!({})).await;
    mutates(&scene, |made| made["metadata"]["annotations"]["my-foo-annotation"] == "myfoo").await;
}
