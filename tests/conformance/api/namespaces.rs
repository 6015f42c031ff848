//! Namespaces: finalizers, updates and status.

use serde_json::json;
use skiff_tests::eventually;
use skiff_tests::rest::MERGE;

use crate::life::write_status;
use crate::scene::Scene;

async fn make(scene: &Scene) -> String {
    let name = format!("{}-other", scene.namespace);
    scene.rest.create("/api/v1/namespaces", &json!({"metadata": {"name": name}})).await;
    format!("/api/v1/namespaces/{name}")
}

async fn is_gone(scene: &Scene, path: &str) {
    eventually("the namespace gone", async || {
        let answer = scene.rest.try_get(path).await;
        if answer.code == 404 { Ok(()) } else { Err(answer.body) }
    })
    .await;
    scene.stage.done("gone");
}

/// A finalizer of ours goes to `finalize` only, and holds the namespace until it is removed.
pub(crate) async fn finalizer(scene: Scene) {
    let path = make(&scene).await;
    let ours = format!("e2e.example.com/{}", scene.namespace);
    eventually("the finalizer set", async || {
        let mut namespace = scene.rest.get(&path).await;
        namespace["spec"]["finalizers"] = json!(["kubernetes", ours]);
        let answer = scene.rest.try_replace(&format!("{path}/finalize"), &namespace).await;
        if answer.code == 200 { Ok(()) } else { Err(answer) }
    })
    .await;
    scene.rest.delete(&path).await;
    eventually("only our finalizer left", async || {
        let namespace = scene.rest.get(&path).await;
        let finalizers = namespace["spec"]["finalizers"].clone();
        if finalizers == json!([ours]) && namespace["status"]["phase"] == "Terminating" {
            Ok(())
        } else {
            Err(namespace)
        }
    })
    .await;
    scene.stage.done("held");
    eventually("the finalizer removed", async || {
        let mut namespace = scene.rest.get(&path).await;
        namespace["spec"]["finalizers"] = json!([]);
        let answer = scene.rest.try_replace(&format!("{path}/finalize"), &namespace).await;
        if answer.code == 200 { Ok(()) } else { Err(answer) }
    })
    .await;
    is_gone(&scene, &path).await;
}

pub(crate) async fn update(scene: Scene) {
    let path = make(&scene).await;
    eventually("a label set", async || {
        let mut namespace = scene.rest.get(&path).await;
        namespace["metadata"]["labels"]["updated"] = "yes".into();
        let answer = scene.rest.try_replace(&path, &namespace).await;
        if answer.code == 200 { Ok(()) } else { Err(answer) }
    })
    .await;
    let labels = scene.rest.get(&path).await["metadata"]["labels"].clone();
    assert_eq!(labels["updated"], "yes");
    assert!(labels["kubernetes.io/metadata.name"].is_string(), "the server's own label stays");
    scene.stage.done("updated");
    scene.rest.delete(&path).await;
    is_gone(&scene, &path).await;
}

pub(crate) async fn patch(scene: Scene) {
    let path = make(&scene).await;
    let patch = json!({"metadata": {"labels": {"testLabel": "testValue"}}});
    scene.rest.patch(&path, MERGE, &patch).await;
    assert_eq!(scene.rest.get(&path).await["metadata"]["labels"]["testLabel"], "testValue");
    scene.stage.done("patched");
    scene.rest.delete(&path).await;
    is_gone(&scene, &path).await;
}

pub(crate) async fn status(scene: Scene) {
    let path = make(&scene).await;
    let status = json!({"status": {"conditions": [{"type": "StatusPatch", "status": "True", "reason": "E2E",
        "message": "patched by a test", "lastTransitionTime": "2026-01-02T03:04:05Z"}]}});
    write_status(&scene, &path, &status).await;
    scene.rest.delete(&path).await;
    is_gone(&scene, &path).await;
}
