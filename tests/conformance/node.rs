//! What sig-node, sig-scheduling, sig-storage and sig-architecture ask of the API server.

use serde_json::{Value, json};
use skiff_tests::rest::MERGE;

use crate::kinds::RUNTIME_CLASS;
use crate::scene::Scene;

pub(crate) async fn two_nodes(scene: Scene) {
    let nodes = scene.rest.items("/api/v1/nodes").await;
    let usable = nodes.iter().filter(|node| {
        let conditions = node["status"]["conditions"].as_array().cloned().unwrap_or_default();
        let ready = conditions.iter().any(|one| one["type"] == "Ready" && one["status"] == "True");
        ready && node["spec"]["taints"].as_array().is_none_or(Vec::is_empty)
    });
    assert!(usable.count() >= 2, "{nodes:?}");
    scene.stage.done("counted");
}

pub(crate) async fn node_life(scene: Scene) {
    let path = "/api/v1/nodes";
    let name = format!("{}-node", scene.namespace);
    scene.rest.create(path, &json!({"metadata": {"name": name, "labels": {"scene": scene.namespace}}})).await;
    let one = format!("{path}/{name}");
    scene.rest.patch(&one, MERGE, &json!({"metadata": {"labels": {"patched": "true"}}})).await;
    assert_eq!(scene.rest.get(&one).await["metadata"]["labels"]["patched"], "true");
    scene.stage.done("patched");
    let status = json!({"status": {"addresses": [{"type": "InternalIP", "address": "192.0.2.9"}], "phase": "Running"}});
    let written = scene.rest.patch(&format!("{one}/status"), MERGE, &status).await;
    assert_eq!(written["status"]["addresses"][0]["address"], "192.0.2.9");
    scene.stage.done("status written");
    let selected = format!("{path}?labelSelector=scene%3D{}", scene.namespace);
    assert_eq!(scene.rest.items(&selected).await.len(), 1);
    scene.rest.delete(&selected).await;
    assert_eq!(scene.rest.try_get(&one).await.code, 404);
    scene.stage.done("deleted");
}

async fn empty_key(scene: &Scene, resource: &str, data: Value, message: &str) {
    let answer =
        scene.rest.try_create(&scene.core(resource), &json!({"metadata": {"name": "empty"}, "data": data})).await;
    let body = answer.expect(422);
    assert!(body["message"].as_str().is_some_and(|text| text.contains(message)), "{body}");
    scene.stage.done("refused");
}

pub(crate) async fn config_map_empty_key(scene: Scene) {
    empty_key(&scene, "configmaps", json!({"": "value-1"}), "data[]: Invalid value").await;
}

pub(crate) async fn secret_empty_key(scene: Scene) {
    empty_key(&scene, "secrets", json!({"": "dmFsdWUtMQ=="}), "data[]: Invalid value").await;
}

fn pod(name: &str, spec: Value) -> Value {
    let mut all = json!({"containers": [{"name": "c", "image": "example/image"}]});
    for (key, value) in spec.as_object().expect("an object") {
        all[key] = value.clone();
    }
    json!({"metadata": {"name": name}, "spec": all})
}

pub(crate) async fn quality_of_service(scene: Scene) {
    let resources = |limits: Value, requests: Value| {
        json!({"containers": [{"name": "c", "image": "example/image",
            "resources": {"limits": limits, "requests": requests}}]})
    };
    let (some, more) = (json!({"cpu": "100m", "memory": "100Mi"}), json!({"cpu": "200m", "memory": "200Mi"}));
    let classes = [
        ("guaranteed", resources(some.clone(), some.clone()), "Guaranteed"),
        ("burstable", resources(more, some), "Burstable"),
        ("best-effort", json!({}), "BestEffort"),
    ];
    for (name, spec, class) in classes {
        let made = scene.rest.create(&scene.core("pods"), &pod(name, spec)).await;
        assert_eq!(made["status"]["qosClass"], class);
        scene.stage.done("a class");
    }
}

pub(crate) async fn bad_sysctls(scene: Scene) {
    let names = ["foo-", "kernel.shmmax", "safe-and-unsafe", "bar.."];
    let sysctls = names.map(|name| json!({"name": name, "value": "100000000"}));
    let answer = scene
        .rest
        .try_create(&scene.core("pods"), &pod("sysctls", json!({"securityContext": {"sysctls": sysctls}})))
        .await;
    let message = answer.expect(422)["message"].as_str().expect("a message").to_owned();
    for bad in ["foo-", "bar.."] {
        assert!(message.contains(&format!("Invalid value: \"{bad}\"")), "{message}");
        scene.stage.done("refused");
    }
    assert!(!message.contains("\"kernel.shmmax\""), "{message}");
}

pub(crate) async fn no_runtime_class(scene: Scene) {
    let spec = json!({"runtimeClassName": format!("{}-none", scene.namespace)});
    let answer = scene.rest.try_create(&scene.core("pods"), &pod("classless", spec)).await;
    assert!(answer.text.contains("not found"), "{}", answer.text);
    answer.expect(403);
    scene.stage.done("refused");
}

pub(crate) async fn deleted_runtime_class(scene: Scene) {
    let class = RUNTIME_CLASS.make(&scene, 7);
    let path = RUNTIME_CLASS.path(&scene);
    let name = class["metadata"]["name"].as_str().expect("a name").to_owned();
    scene.rest.create(&path, &class).await;
    let pods = format!("{}?dryRun=All", scene.core("pods"));
    let spec = json!({"runtimeClassName": name});
    skiff_tests::eventually("the class admitted", async || {
        let answer = scene.rest.try_create(&pods, &pod("classy", spec.clone())).await;
        if answer.code == 201 { Ok(()) } else { Err(answer) }
    })
    .await;
    scene.rest.delete(&format!("{path}/{name}")).await;
    skiff_tests::eventually("the class refused", async || {
        let answer = scene.rest.try_create(&pods, &pod("classy", spec.clone())).await;
        if answer.code == 403 { Ok(()) } else { Err(answer) }
    })
    .await;
    scene.stage.done("refused");
}

pub(crate) async fn limit_range(scene: Scene) {
    let limits = json!({"metadata": {"name": "limits"}, "spec": {"limits": [{"type": "Container",
        "min": {"cpu": "50m", "memory": "100Mi"}, "max": {"cpu": "500m", "memory": "500Mi"},
        "default": {"cpu": "500m", "memory": "500Mi"}, "defaultRequest": {"cpu": "100m", "memory": "200Mi"}}]}});
    scene.rest.create(&scene.core("limitranges"), &limits).await;
    let pods = scene.core("pods");
    let made = skiff_tests::eventually("a pod with defaults", async || {
        let made = scene.rest.create(&format!("{pods}?dryRun=All"), &pod("defaults", json!({}))).await;
        if made["spec"]["containers"][0]["resources"].get("limits").is_some() { Ok(made) } else { Err(made) }
    })
    .await;
    let expected =
        json!({"limits": {"cpu": "500m", "memory": "500Mi"}, "requests": {"cpu": "100m", "memory": "200Mi"}});
    assert_eq!(made["spec"]["containers"][0]["resources"], expected);
    scene.stage.done("defaults");
    for (name, requests, limits) in [("small", "10m", "400m"), ("large", "100m", "600m")] {
        let spec = json!({"containers": [{"name": "c", "image": "example/image", "resources": {
            "requests": {"cpu": requests}, "limits": {"cpu": limits}}}]});
        let answer = scene.rest.try_create(&pods, &pod(name, spec)).await;
        answer.expect(403);
        scene.stage.done("refused");
    }
}

pub(crate) async fn priority_classes(scene: Scene) {
    let path = "/apis/scheduling.k8s.io/v1/priorityclasses";
    for (number, value) in [(1, 4), (2, 5)] {
        let name = format!("{}-p{number}", scene.namespace);
        let class = json!({"metadata": {"name": name, "labels": {"scene": scene.namespace}}, "value": value});
        scene.rest.create(path, &class).await;
        let changed = scene.rest.try_patch(&format!("{path}/{name}"), MERGE, &json!({"value": value * 10})).await;
        let body = changed.expect(422);
        assert!(
            body["message"].as_str().is_some_and(|text| text.contains("may not be changed in an update")),
            "{body}"
        );
        let described = scene.rest.patch(&format!("{path}/{name}"), MERGE, &json!({"description": "new"})).await;
        assert_eq!(described["description"], "new");
        scene.stage.done("value kept");
    }
    let selected = format!("{path}?labelSelector=scene%3D{}", scene.namespace);
    assert_eq!(scene.rest.items(&selected).await.len(), 2);
    scene.rest.delete(&selected).await;
    assert!(scene.rest.items(&selected).await.is_empty());
    scene.stage.done("deleted");
}

pub(crate) async fn inline_volume(scene: Scene) {
    let spec = json!({"volumes": [{"name": "v", "csi": {"driver": "e2e.example.com",
        "nodePublishSecretRef": {"name": "secret"}}}],
        "containers": [{"name": "c", "image": "example/image", "volumeMounts": [{"name": "v", "mountPath": "/v"}]}]});
    let made = scene.rest.create(&scene.core("pods"), &pod("inline", spec)).await;
    let volumes = made["spec"]["volumes"].as_array().expect("volumes");
    let csi = volumes.iter().find(|volume| volume["name"] == "v").expect("the volume");
    assert_eq!(csi["csi"], json!({"driver": "e2e.example.com", "nodePublishSecretRef": {"name": "secret"}}));
    scene.stage.done("kept");
}

/// What is immutable stays so until it is made anew.
async fn immutable(scene: &Scene, resource: &str, field: &str, values: [&str; 2]) {
    let path = scene.core(resource);
    let object = json!({"metadata": {"name": "fixed"}, field: {"key": values[0]}});
    scene.rest.create(&path, &object).await;
    let one = format!("{path}/fixed");
    scene.rest.patch(&one, MERGE, &json!({field: {"key": values[1]}})).await;
    scene.rest.patch(&one, MERGE, &json!({"immutable": true})).await;
    for change in [json!({field: {"key": values[0]}}), json!({"immutable": false})] {
        let body = scene.rest.try_patch(&one, MERGE, &change).await.expect(422);
        assert!(body["message"].as_str().is_some_and(|text| text.contains("immutable")), "{body}");
        scene.stage.done("refused");
    }
    scene.rest.patch(&one, MERGE, &json!({"metadata": {"labels": {"changed": "yes"}}})).await;
    scene.rest.delete(&one).await;
    scene.rest.create(&path, &object).await;
    scene.stage.done("made anew");
}

pub(crate) async fn immutable_config_map(scene: Scene) {
    immutable(&scene, "configmaps", "data", ["a", "b"]).await;
}

pub(crate) async fn immutable_secret(scene: Scene) {
    immutable(&scene, "secrets", "data", ["YQ==", "Yg=="]).await;
}
