//! Published schemas of custom resources, as `kubectl` uses them.

use serde_json::{Value, json};
use skiff_tests::eventually;
use skiff_tests::rest::JSON_PATCH;

use crate::api::definitions::{self, DEFINITIONS, Names};
use crate::scene::Scene;

fn foo() -> Value {
    json!({"type": "object", "description": "Foo CRD for Testing", "properties": {
        "spec": {"type": "object", "description": "Specification of Foo", "properties": {
            "bars": {"description": "List of Bars and their specs.", "type": "array", "items": {
                "type": "object", "required": ["name"], "properties": {
                    "name": {"description": "Name of Bar.", "type": "string"},
                    "age": {"description": "Age of Bar.", "type": "string"},
                    "bazs": {"description": "List of Bazs.", "type": "array", "items": {"type": "string"}}}}}}},
        "status": {"type": "object", "description": "Status of Foo", "properties": {
            "state": {"type": "string", "description": "State of Foo."}}}}})
}

async fn publish(scene: &Scene, word: &str, versions: &[&str], schema: Value) -> Names {
    let names = Names::of(scene, word);
    let mut definition = names.definition();
    let all = versions.iter().enumerate().map(|(index, version)| {
        json!({"name": version, "served": true, "storage": index == 0, "schema": {"openAPIV3Schema": schema}})
    });
    definition["spec"]["versions"] = all.collect();
    definitions::create(scene, &definition).await;
    for version in versions {
        is_published(scene, &names, version).await;
    }
    names
}

async fn document(scene: &Scene, names: &Names, version: &str) -> Option<Value> {
    let answer = scene.rest.try_get(&format!("/openapi/v3/apis/{}/{version}", names.group)).await;
    let mut schemas = (answer.code == 200).then_some(answer.body)?;
    let schemas = schemas["components"]["schemas"].as_object_mut()?;
    let schema = schemas
        .iter_mut()
        .find(|(_, schema)| schema["x-kubernetes-group-version-kind"][0]["kind"] == names.kind.as_str())?;
    Some(schema.1.take())
}

/// In both documents.
async fn is_published(scene: &Scene, names: &Names, version: &str) -> Value {
    let schema =
        eventually("a schema in version 3", async || document(scene, names, version).await.ok_or(version.to_owned()))
            .await;
    eventually("a definition in version 2", async || {
        in_v2(scene, names, version).await.map(|_| ()).ok_or(version.to_owned())
    })
    .await;
    schema
}

async fn in_v2(scene: &Scene, names: &Names, version: &str) -> Option<Value> {
    let whole = scene.rest.get("/openapi/v2").await;
    let definitions = whole["definitions"].as_object()?;
    let found = definitions.values().find(|one| {
        let tag = &one["x-kubernetes-group-version-kind"][0];
        tag["kind"] == names.kind.as_str() && tag["group"] == names.group.as_str() && tag["version"] == version
    });
    found.cloned()
}

fn manifest(names: &Names, version: &str, rest: &str) -> String {
    let (group, kind) = (&names.group, &names.kind);
    format!(r#"{{"apiVersion": "{group}/{version}", "kind": "{kind}", "metadata": {{"name": "test-cr"}}{rest}}}"#)
}

pub(crate) async fn with_schema(scene: Scene) {
    let names = publish(&scene, "foo", &["v1"], foo()).await;
    let good = manifest(&names, "v1", r#", "spec": {"bars": [{"name": "test-bar"}]}"#);
    scene.kubectl_ok(&["create", "-f", "-"], &good).await;
    scene.kubectl_ok(&["delete", &names.plural, "test-cr"], "").await;
    scene.kubectl_ok(&["apply", "-f", "-"], &good).await;
    scene.kubectl_ok(&["delete", &names.plural, "test-cr"], "").await;
    scene.stage.done("created and applied");
    let unknown = manifest(&names, "v1", r#", "spec": {"foo": true}"#);
    let said = scene.kubectl_fails(&["create", "-f", "-"], &unknown).await;
    assert!(said.contains(r#"unknown field "spec.foo""#), "{said}");
    let lacking = manifest(&names, "v1", r#", "spec": {"bars": [{"age": "10"}]}"#);
    let said = scene.kubectl_fails(&["create", "-f", "-"], &lacking).await;
    assert!(said.contains("spec.bars[0].name: Required value"), "{said}");
    scene.stage.done("refused");
    explains(&scene, &names.plural, &["DESCRIPTION:", "Foo CRD for Testing", "FIELDS:", "apiVersion", "spec"]).await;
    explains(&scene, &format!("{}.metadata", names.plural), &["creationTimestamp", "ObjectMeta"]).await;
    explains(&scene, &format!("{}.spec", names.plural), &["Specification of Foo", "bars"]).await;
    explains(&scene, &format!("{}.spec.bars", names.plural), &["List of Bars", "age", "bazs", "name"]).await;
    let said = scene.kubectl_fails(&["explain", &format!("{}.spec.bars2", names.plural)], "").await;
    assert!(said.contains("field \"bars2\" does not exist"), "{said}");
    definitions::delete(&scene, &names).await;
}

async fn explains(scene: &Scene, what: &str, parts: &[&str]) {
    let said = scene.kubectl_ok(&["explain", what], "").await;
    for part in parts {
        assert!(said.contains(part), "no {part:?}: {said}");
    }
    scene.stage.done("explained");
}

/// A schema that takes everything at its root, or none worth the name.
pub(crate) async fn without_schema(scene: Scene) {
    let everything = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
    let names = publish(&scene, "empty", &["v1"], everything).await;
    let object = manifest(&names, "v1", r#", "a": {"b": [{"c": "d"}]}"#);
    scene.kubectl_ok(&["create", "-f", "-"], &object).await;
    scene.kubectl_ok(&["delete", &names.plural, "test-cr"], "").await;
    scene.kubectl_ok(&["apply", "-f", "-"], &object).await;
    scene.kubectl_ok(&["delete", &names.plural, "test-cr"], "").await;
    explains(&scene, &names.plural, &["DESCRIPTION:"]).await;
    definitions::delete(&scene, &names).await;
}

pub(crate) async fn open_at_the_root(scene: Scene) {
    let mut schema = foo();
    schema["x-kubernetes-preserve-unknown-fields"] = true.into();
    let names = publish(&scene, "rootopen", &["v1"], schema).await;
    let object = manifest(&names, "v1", r#", "a": {"b": [{"c": "d"}]}"#);
    scene.kubectl_ok(&["create", "-f", "-"], &object).await;
    scene.kubectl_ok(&["delete", &names.plural, "test-cr"], "").await;
    explains(&scene, &names.plural, &["Foo CRD for Testing"]).await;
    definitions::delete(&scene, &names).await;
}

pub(crate) async fn open_within(scene: Scene) {
    let schema = json!({"type": "object", "properties": {"spec": {"type": "object", "description": "Specification",
        "x-kubernetes-preserve-unknown-fields": true, "x-kubernetes-embedded-resource": true}}});
    let names = publish(&scene, "nested", &["v1"], schema).await;
    let spec = r#", "spec": {"apiVersion": "v1", "kind": "X", "metadata": {"name": "inner"}, "a": {"b": 1}}"#;
    scene.kubectl_ok(&["create", "-f", "-"], &manifest(&names, "v1", spec)).await;
    let kept = scene.rest.get(&format!("{}/test-cr", names.path(&scene))).await;
    assert_eq!(kept["spec"]["a"]["b"], 1);
    explains(&scene, &names.plural, &["spec"]).await;
    definitions::delete(&scene, &names).await;
}

pub(crate) async fn several_groups(scene: Scene) {
    let first = publish(&scene, "groupa", &["v1"], foo()).await;
    let second = publish(&scene, "groupb", &["v1"], foo()).await;
    is_published(&scene, &first, "v1").await;
    scene.stage.done("both");
    definitions::delete(&scene, &first).await;
    definitions::delete(&scene, &second).await;
}

pub(crate) async fn several_versions(scene: Scene) {
    let names = publish(&scene, "versions", &["v2", "v3"], foo()).await;
    scene.stage.done("both");
    definitions::delete(&scene, &names).await;
}

pub(crate) async fn several_kinds(scene: Scene) {
    let first = publish(&scene, "kinda", &["v1"], foo()).await;
    let mut second = Names::of(&scene, "kindb");
    second.group.clone_from(&first.group);
    let mut definition = second.definition();
    definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"] = foo();
    definitions::create(&scene, &definition).await;
    is_published(&scene, &second, "v1").await;
    is_published(&scene, &first, "v1").await;
    scene.stage.done("both");
    definitions::delete(&scene, &first).await;
    definitions::delete(&scene, &second).await;
}

pub(crate) async fn renamed_version(scene: Scene) {
    let names = publish(&scene, "renamed", &["v2", "v3"], foo()).await;
    let rename = json!([{"op": "replace", "path": "/spec/versions/1/name", "value": "v4"}]);
    scene.rest.patch(&format!("{DEFINITIONS}/{}", names.definition_name()), JSON_PATCH, &rename).await;
    let schema = is_published(&scene, &names, "v4").await;
    assert_eq!(schema["description"], "Foo CRD for Testing");
    is_unpublished(&scene, &names, "v3").await;
    is_published(&scene, &names, "v2").await;
    scene.stage.done("renamed");
    definitions::delete(&scene, &names).await;
}

pub(crate) async fn unserved_version(scene: Scene) {
    let names = publish(&scene, "unserved", &["v5", "v6alpha1"], foo()).await;
    let before = document(&scene, &names, "v5").await;
    let stop = json!([{"op": "replace", "path": "/spec/versions/1/served", "value": false}]);
    scene.rest.patch(&format!("{DEFINITIONS}/{}", names.definition_name()), JSON_PATCH, &stop).await;
    is_unpublished(&scene, &names, "v6alpha1").await;
    assert_eq!(document(&scene, &names, "v5").await, before, "the other version is as it was");
    scene.stage.done("removed");
    definitions::delete(&scene, &names).await;
}

async fn is_unpublished(scene: &Scene, names: &Names, version: &str) {
    eventually("no schema", async || document(scene, names, version).await.map_or(Ok(()), |_| Err("published"))).await;
    eventually("no definition", async || in_v2(scene, names, version).await.map_or(Ok(()), |_| Err("published"))).await;
}
