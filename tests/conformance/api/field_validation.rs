//! Unknown and duplicate fields, of built-in and of custom objects.

use http::Method;
use serde_json::{Value, json};
use skiff_tests::rest::{APPLY, Answer};

use crate::api::definitions::{self, Names};
use crate::scene::Scene;

/// Sends text that no JSON value can be: members come twice.
async fn send(scene: &Scene, method: Method, path: &str, content_type: &str, text: &str) -> Answer {
    scene.rest.ask_text(method, path, &[("content-type", content_type)], text).await
}

fn message(answer: &Answer) -> String {
    answer.body["message"].as_str().unwrap_or_default().to_owned()
}

#[track_caller]
fn refused(answer: &Answer, parts: &[&str]) {
    assert_eq!(answer.code, 400, "{}", answer.text);
    for part in parts {
        assert!(message(answer).contains(part), "not {part:?}: {}", answer.text);
    }
}

const DEPLOYMENT: &str = r#"{"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "my-dep"},
    "spec": {"unknown1": "val1", "unknownDupe": "valDupe", "unknownDupe": "valDupe2", "paused": true, "paused": false,
    "selector": {"matchLabels": {"app": "nginx"}}, "template": {"metadata": {"labels": {"app": "nginx"}},
    "spec": {"containers": [{"name": "nginx", "image": "nginx:latest", "unknownNested": "val1",
    "unknownNested": "val2", "imagePullPolicy": "Always", "imagePullPolicy": "Never"}]}}}}"#;

pub(crate) async fn typed(scene: Scene) {
    let path = scene.of("apps/v1", "deployments");
    let strict =
        send(&scene, Method::POST, &format!("{path}?fieldValidation=Strict"), "application/json", DEPLOYMENT).await;
    let expected = [
        "strict decoding error",
        "unknown field \"spec.template.spec.containers[0].unknownNested\"",
        "unknown field \"spec.unknown1\"",
        "unknown field \"spec.unknownDupe\"",
        "duplicate field \"spec.paused\"",
        "duplicate field \"spec.template.spec.containers[0].imagePullPolicy\"",
    ];
    refused(&strict, &expected);
    scene.stage.done("refused");
    let warn =
        send(&scene, Method::POST, &format!("{path}?fieldValidation=Warn"), "application/json", DEPLOYMENT).await;
    assert_eq!(warn.code, 201, "{}", warn.text);
    let warnings = warn.warnings().join("\n");
    assert!(
        warnings.contains(r#"unknown field \"spec.unknown1\""#)
            && warnings.contains(r#"duplicate field \"spec.paused\""#),
        "{warnings}"
    );
    scene.stage.done("warned");
    let applied = send(
        &scene,
        Method::PATCH,
        &format!("{path}/my-dep?fieldValidation=Strict&fieldManager=mgr&force=true"),
        APPLY,
        DEPLOYMENT,
    )
    .await;
    assert_ne!(applied.code, 200, "{}", applied.text);
    scene.stage.done("apply refused");
}

pub(crate) async fn typed_metadata(scene: Scene) {
    let path = scene.of("apps/v1", "deployments");
    let text = DEPLOYMENT
        .replace(r#""unknown1": "val1", "unknownDupe": "valDupe", "unknownDupe": "valDupe2", "paused": true,"#, "")
        .replace(r#""unknownNested": "val1","#, "")
        .replace(r#""unknownNested": "val2", "imagePullPolicy": "Always","#, "")
        .replace(r#"{"name": "my-dep"}"#, r#"{"name": "my-dep", "unknownMeta": "x"}"#)
        .replace(r#"{"labels": {"app": "nginx"}}"#, r#"{"labels": {"app": "nginx"}, "unknownNested": 1}"#);
    let answer = send(&scene, Method::POST, &format!("{path}?fieldValidation=Strict"), "application/json", &text).await;
    refused(
        &answer,
        &["unknown field \"metadata.unknownMeta\"", "unknown field \"spec.template.metadata.unknownNested\""],
    );
    scene.stage.done("refused");
}

/// A schema with every kind of strictness.
fn schema() -> Value {
    json!({"type": "object", "properties": {
        "spec": {"type": "object", "x-kubernetes-preserve-unknown-fields": true, "properties": {
            "cronSpec": {"type": "string", "pattern": "^(\\d+|\\*)(/\\d+)?(\\s+(\\d+|\\*)(/\\d+)?){4}$"},
            "ports": {"type": "array", "x-kubernetes-list-map-keys": ["containerPort", "protocol"],
                "x-kubernetes-list-type": "map", "items": {"type": "object",
                    "required": ["containerPort", "protocol"], "properties": {
                    "containerPort": {"type": "integer", "format": "int32"}, "hostIP": {"type": "string"},
                    "hostPort": {"type": "integer", "format": "int32"}, "name": {"type": "string"},
                    "protocol": {"type": "string"}}}},
            "embedded": {"type": "object", "x-kubernetes-embedded-resource": true,
                "x-kubernetes-preserve-unknown-fields": true}}}}})
}

async fn custom(scene: &Scene, schema: Value) -> (Names, String) {
    let names = Names::of(scene, "validated");
    let mut definition = names.definition();
    definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"] = schema;
    definitions::create(scene, &definition).await;
    let path = names.path(scene);
    (names, path)
}

fn object(names: &Names, metadata: &str, spec: &str) -> String {
    let (group, kind) = (&names.group, &names.kind);
    format!(
        r#"{{"apiVersion": "{group}/v1", "kind": "{kind}", "metadata": {{"name": "mytest"{metadata}}}, "spec": {{{spec}}}}}"#
    )
}

async fn apply(scene: &Scene, path: &str, text: &str) -> Answer {
    let path = format!("{path}/mytest?fieldValidation=Strict&fieldManager=suite");
    send(scene, Method::PATCH, &path, APPLY, text).await
}

pub(crate) async fn custom_valid(scene: Scene) {
    let (names, path) = custom(&scene, schema()).await;
    let spec = r#""cronSpec": "* * * * */5", "ports": [{"name": "x", "containerPort": 80, "protocol": "TCP"}]"#;
    let answer = apply(&scene, &path, &object(&names, r#", "finalizers": ["test/finalizer"]"#, spec)).await;
    assert_eq!(answer.code, 201, "{}", answer.text);
    assert_eq!(answer.body["spec"]["ports"][0]["containerPort"], 80);
    let broken = apply(&scene, &path, &object(&names, "", r#""cronSpec": "every day""#)).await;
    assert_eq!(broken.code, 422, "{}", broken.text);
    scene
        .rest
        .patch(&format!("{path}/mytest"), skiff_tests::rest::MERGE, &json!({"metadata": {"finalizers": null}}))
        .await;
    scene.stage.done("applied");
    definitions::delete(&scene, &names).await;
}

pub(crate) async fn custom_without_schema(scene: Scene) {
    let everything = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
    let (names, path) = custom(&scene, everything).await;
    let answer = apply(&scene, &path, &object(&names, "", r#""whatever": {"a": 1}, "unknown": 2"#)).await;
    assert_eq!(answer.code, 201, "{}", answer.text);
    assert_eq!(answer.body["spec"]["whatever"]["a"], 1);
    scene.stage.done("applied");
    definitions::delete(&scene, &names).await;
}

pub(crate) async fn custom_extra(scene: Scene) {
    let mut schema = schema();
    schema["properties"]["spec"]["x-kubernetes-preserve-unknown-fields"] = Value::Null;
    let spec = schema["properties"]["spec"].as_object_mut().expect("an object");
    spec.remove("x-kubernetes-preserve-unknown-fields");
    let (names, path) = custom(&scene, schema).await;
    let answer =
        apply(&scene, &path, &object(&names, "", r#""cronSpec": "* * * * */5", "extraProperty": "arbitrary""#)).await;
    assert!(
        answer.code >= 400 && message(&answer).contains(".spec.extraProperty: field not declared in schema"),
        "{}",
        answer.text
    );
    let created = send(
        &scene,
        Method::POST,
        &format!("{path}?fieldValidation=Strict"),
        "application/json",
        &object(&names, "", r#""extraProperty": "arbitrary""#),
    )
    .await;
    refused(&created, &["unknown field \"spec.extraProperty\""]);
    scene.stage.done("refused");
    definitions::delete(&scene, &names).await;
}

pub(crate) async fn custom_metadata(scene: Scene) {
    let (names, path) = custom(&scene, schema()).await;
    let text = object(
        &names,
        r#", "unknownMeta": "unknown""#,
        r#""embedded": {"apiVersion": "v1", "kind": "Sub", "metadata": {"name": "x", "unknownSubMeta": 1}, "spec": {}}"#,
    );
    let answer = send(&scene, Method::POST, &format!("{path}?fieldValidation=Strict"), "application/json", &text).await;
    refused(
        &answer,
        &["unknown field \"metadata.unknownMeta\"", "unknown field \"spec.embedded.metadata.unknownSubMeta\""],
    );
    scene.stage.done("refused");
    definitions::delete(&scene, &names).await;
}

pub(crate) async fn custom_duplicates(scene: Scene) {
    let (names, path) = custom(&scene, schema()).await;
    let text = object(&names, "", r#""unknown": "uk1", "cronSpec": "* * * * */5", "cronSpec": "* * * * */10""#);
    let answer = send(&scene, Method::POST, &format!("{path}?fieldValidation=Strict"), "application/json", &text).await;
    refused(&answer, &["duplicate field \"spec.cronSpec\""]);
    let warned = send(&scene, Method::POST, &format!("{path}?fieldValidation=Warn"), "application/json", &text).await;
    assert_eq!((warned.code, &warned.body["spec"]["unknown"]), (201, &json!("uk1")), "{}", warned.text);
    scene.stage.done("refused");
    definitions::delete(&scene, &names).await;
}
