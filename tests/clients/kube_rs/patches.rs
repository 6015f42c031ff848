//! The four types of patches, and what applying means for others' fields.

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, ResourceExt};
use serde_json::json;

use super::errors::code;
use super::typed::{config_map, deployment};
use skiff_tests::stage::Stage;

pub(super) async fn types(stage: Stage) {
    let maps: Api<ConfigMap> = stage.api();
    let plain = PatchParams::default();
    maps.create(&PostParams::default(), &config_map("one", "blue")).await.expect("created");
    let merged = maps.patch("one", &plain, &Patch::Merge(json!({"data": {"color": null, "size": "3"}}))).await;
    assert_eq!(
        merged.expect("merged").data.expect("data").into_iter().collect::<Vec<_>>(),
        [("size".into(), "3".into())]
    );
    stage.done("merge");

    let operations = serde_json::from_value(json!([
        {"op": "test", "path": "/data/size", "value": "3"},
        {"op": "replace", "path": "/data/size", "value": "4"},
    ]));
    let patched = maps.patch("one", &plain, &Patch::Json::<()>(operations.expect("a patch"))).await.expect("patched");
    assert_eq!(patched.data.expect("data")["size"], "4");
    let operations = serde_json::from_value(json!([{"op": "test", "path": "/data/size", "value": "3"}]));
    assert_eq!(code(maps.patch("one", &plain, &Patch::Json::<()>(operations.expect("a patch"))).await), 422);
    stage.done("operations");

    let deployments: Api<Deployment> = stage.api();
    deployments.create(&PostParams::default(), &deployment("web", 0)).await.expect("created");
    let more =
        json!({"spec": {"template": {"spec": {"containers": [{"name": "more", "image": "skiff.local/tools:v1"}]}}}});
    let patched = deployments.patch("web", &plain, &Patch::Strategic(more)).await.expect("patched");
    let containers = patched.spec.expect("spec").template.spec.expect("spec").containers;
    assert_eq!(containers.iter().map(|one| one.name.as_str()).collect::<Vec<_>>(), ["more", "web"]);
    let metadata =
        deployments.patch_metadata("web", &plain, &Patch::Merge(json!({"metadata": {"labels": {"a": "b"}}}))).await;
    assert_eq!(metadata.expect("patched").labels()["a"], "b");
    stage.done("strategic merge, metadata");

    let dry = PatchParams { dry_run: true, ..PatchParams::default() };
    maps.patch("one", &dry, &Patch::Merge(json!({"data": {"size": "9"}}))).await.expect("patched in a dry run");
    assert_eq!(maps.get("one").await.expect("read").data.expect("data")["size"], "4");
    let strict = PatchParams::default().validation_strict();
    assert_eq!(code(maps.patch("one", &strict, &Patch::Merge(json!({"datta": {}}))).await), 422);
    maps.patch("one", &plain, &Patch::Merge(json!({"datta": {}}))).await.expect("only warned of");
    stage.done("dry run, strictness");

    let restarted = deployments.restart("web").await.expect("restarted");
    let template = restarted.spec.expect("spec").template.metadata.expect("metadata");
    assert!(template.annotations.expect("annotations").contains_key("kube.kubernetes.io/restartedAt"));
    stage.done("restart");
}

pub(super) async fn apply(stage: Stage) {
    let maps: Api<ConfigMap> = stage.api();
    let (ann, bob) = (PatchParams::apply("ann"), PatchParams::apply("bob"));
    let map = |data: serde_json::Value| {
        Patch::Apply(json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "one"}, "data": data}))
    };
    let made = maps.patch("one", &ann, &map(json!({"a": "1", "b": "1"}))).await.expect("applied");
    assert_eq!(made.managed_fields()[0].operation.as_deref(), Some("Apply"));
    let same = maps.patch("one", &ann, &map(json!({"a": "1", "b": "1"}))).await.expect("applied again");
    assert_eq!(same.resource_version(), made.resource_version(), "nothing changed");
    stage.done("create by applying");

    let conflict = maps.patch("one", &bob, &map(json!({"a": "2"}))).await;
    let Err(kube::Error::Api(conflict)) = conflict else { panic!("no conflict: {conflict:?}") };
    assert_eq!((conflict.code, conflict.reason.as_str()), (409, "Conflict"));
    let causes = conflict.details.expect("details").causes;
    assert_eq!((causes[0].reason.as_str(), causes[0].field.as_str()), ("FieldManagerConflict", ".data.a"));
    stage.done("conflict");

    maps.patch("one", &bob.clone().force(), &map(json!({"a": "2", "c": "2"}))).await.expect("forced");
    let left = maps.patch("one", &ann, &map(json!({"b": "3"}))).await.expect("applied");
    let data: Vec<_> = left.data.expect("data").into_iter().collect();
    assert_eq!(data, [("a".into(), "2".into()), ("b".into(), "3".into()), ("c".into(), "2".into())]);
    let left = maps.patch("one", &ann, &map(json!({}))).await.expect("applied");
    assert_eq!(left.data.expect("data").len(), 2, "what nobody wants any more is gone");
    stage.done("ownership");

    let deployments: Api<Deployment> = stage.api();
    let mut web = deployment("web", 1);
    web.metadata.managed_fields = None;
    let mut web = serde_json::to_value(web).expect("JSON");
    (web["apiVersion"], web["kind"]) = (json!("apps/v1"), json!("Deployment"));
    deployments.patch("web", &ann, &Patch::Apply(&web)).await.expect("applied");
    let scale = json!({"spec": {"replicas": 3}});
    deployments
        .patch_scale(
            "web",
            &PatchParams { field_manager: Some("scaler".into()), ..PatchParams::default() },
            &Patch::Merge(scale),
        )
        .await
        .expect("scaled");
    let conflict = deployments.patch("web", &ann, &Patch::Apply(&web)).await;
    assert_eq!(code(conflict), 409, "replicas are the scaler's");
    web["spec"].as_object_mut().expect("spec").remove("replicas");
    let kept = deployments.patch("web", &ann, &Patch::Apply(&web)).await.expect("applied");
    assert_eq!(kept.spec.and_then(|spec| spec.replicas), Some(3));
    stage.done("scale");

    let status = json!({"apiVersion": "apps/v1", "kind": "Deployment", "status": {"conditions": [{"type": "Mine", "status": "True"}]}});
    let shown =
        deployments.patch_status("web", &PatchParams::apply("teller"), &Patch::Apply(status)).await.expect("applied");
    let teller =
        shown.managed_fields().iter().find(|entry| entry.manager.as_deref() == Some("teller")).expect("an entry");
    assert_eq!(teller.subresource.as_deref(), Some("status"));
    stage.done("status");
}
