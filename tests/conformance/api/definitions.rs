//! CustomResourceDefinitions.

use serde_json::{Value, json};
use skiff_tests::eventually;
use skiff_tests::rest::{JSON_PATCH, MERGE};

use crate::scene::Scene;

/// Where definitions are.
pub(crate) const DEFINITIONS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";

/// What a definition is called.
#[derive(Clone, Debug)]
pub(crate) struct Names {
    pub(crate) group: String,
    pub(crate) plural: String,
    pub(crate) kind: String,
}

impl Names {
    /// Names that no other scene has.
    pub(crate) fn of(scene: &Scene, word: &str) -> Names {
        let group = format!("{word}.{}.example.com", scene.namespace);
        let mut kind = word.to_owned();
        kind[..1].make_ascii_uppercase();
        Names { group, plural: format!("{word}s"), kind }
    }

    /// The name of the definition.
    pub(crate) fn definition_name(&self) -> String {
        format!("{}.{}", self.plural, self.group)
    }

    /// One version, `v1`, that takes everything.
    pub(crate) fn definition(&self) -> Value {
        let (plural, kind) = (&self.plural, &self.kind);
        json!({
            "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
            "metadata": {"name": self.definition_name(), "labels": {"group": self.group}},
            "spec": {"group": self.group, "scope": "Namespaced",
                "names": {"plural": plural, "singular": plural.trim_end_matches('s'), "kind": kind,
                    "listKind": format!("{kind}List")},
                "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": {
                    "type": "object", "x-kubernetes-preserve-unknown-fields": true}}}]}})
    }

    /// Where its objects are.
    pub(crate) fn path(&self, scene: &Scene) -> String {
        scene.of(&format!("{}/v1", self.group), &self.plural)
    }

    /// An object.
    pub(crate) fn object(&self, name: &str) -> Value {
        json!({"apiVersion": format!("{}/v1", self.group), "kind": self.kind, "metadata": {"name": name}})
    }
}

/// Creates a definition and waits until it is served.
pub(crate) async fn create(scene: &Scene, definition: &Value) {
    scene.rest.create(DEFINITIONS, definition).await;
    let path = format!("{DEFINITIONS}/{}", definition["metadata"]["name"].as_str().expect("a name"));
    eventually("an established definition", async || {
        let definition = scene.rest.get(&path).await;
        let conditions = definition["status"]["conditions"].as_array().cloned().unwrap_or_default();
        let established = conditions.iter().any(|one| one["type"] == "Established" && one["status"] == "True");
        if established { Ok(()) } else { Err(definition) }
    })
    .await;
    let (group, version) = (&definition["spec"]["group"], &definition["spec"]["versions"][0]["name"]);
    let path = format!("/apis/{}/{}", group.as_str().expect("a group"), version.as_str().expect("a version"));
    eventually("served resources", async || {
        let answer = scene.rest.try_get(&path).await;
        if answer.code == 200 { Ok(()) } else { Err(answer) }
    })
    .await;
}

/// Deletes a definition and waits until it is gone.
pub(crate) async fn delete(scene: &Scene, names: &Names) {
    let path = format!("{DEFINITIONS}/{}", names.definition_name());
    scene.rest.delete(&path).await;
    eventually("the definition gone", async || {
        let answer = scene.rest.try_get(&path).await;
        if answer.code == 404 { Ok(()) } else { Err(answer.body) }
    })
    .await;
}

pub(crate) async fn create_and_delete(scene: Scene) {
    let names = Names::of(&scene, "simple");
    create(&scene, &names.definition()).await;
    scene.rest.create(&names.path(&scene), &names.object("one")).await;
    scene.stage.done("created");
    delete(&scene, &names).await;
    eventually("the resource gone", async || {
        let answer = scene.rest.try_get(&names.path(&scene)).await;
        if answer.code == 404 { Ok(()) } else { Err(answer) }
    })
    .await;
    scene.stage.done("deleted");
}

pub(crate) async fn listed_and_deleted_together(scene: Scene) {
    let all = ["ones", "twos", "threes"].map(|word| Names::of(&scene, word));
    let mut definitions = Vec::new();
    for names in &all {
        let mut definition = names.definition();
        definition["metadata"]["labels"]["scene"] = scene.namespace.clone().into();
        create(&scene, &definition).await;
        definitions.push(definition);
    }
    let selected = format!("{DEFINITIONS}?labelSelector=scene%3D{}", scene.namespace);
    assert_eq!(scene.rest.items(&selected).await.len(), definitions.len());
    scene.stage.done("listed");
    scene.rest.delete(&selected).await;
    eventually("no definition left", async || {
        let left = scene.rest.items(&selected).await;
        if left.is_empty() { Ok(()) } else { Err(left.len()) }
    })
    .await;
    scene.stage.done("deleted together");
}

pub(crate) async fn status(scene: Scene) {
    let names = Names::of(&scene, "status");
    create(&scene, &names.definition()).await;
    let path = format!("{DEFINITIONS}/{}/status", names.definition_name());
    let condition = |kind: &str| {
        json!({"type": kind, "status": "True", "reason": "E2E", "message": "by a test",
            "lastTransitionTime": "2026-01-02T03:04:05Z"})
    };
    eventually("the status replaced", async || {
        let mut definition = scene.rest.get(&path).await;
        definition["status"]["conditions"].as_array_mut().expect("conditions").push(condition("StatusUpdate"));
        let answer = scene.rest.try_replace(&path, &definition).await;
        if answer.code == 200 { Ok(()) } else { Err(answer) }
    })
    .await;
    scene.stage.done("updated");
    let operations = json!([{"op": "add", "path": "/status/conditions/-", "value": condition("StatusPatched")}]);
    let patched = scene.rest.patch(&path, JSON_PATCH, &operations).await;
    let kinds = patched["status"]["conditions"].as_array().expect("conditions").iter();
    let kinds = kinds.filter_map(|one| one["type"].as_str()).collect::<Vec<_>>();
    assert!(kinds.contains(&"StatusUpdate") && kinds.contains(&"StatusPatched"), "{kinds:?}");
    scene.stage.done("patched");
    delete(&scene, &names).await;
}

/// Defaults are filled in where something is written, and where something older is read.
pub(crate) async fn defaults(scene: Scene) {
    let names = Names::of(&scene, "defaulted");
    let mut definition = names.definition();
    let schema = json!({"type": "object", "properties": {
        "a": {"type": "string", "default": "A"}, "b": {"type": "string"}}});
    definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"] = schema;
    create(&scene, &definition).await;
    let path = names.path(&scene);
    let made = scene.rest.create(&path, &names.object("one")).await;
    assert_eq!((made["a"].as_str(), made["b"].as_str()), (Some("A"), None));
    scene.stage.done("in a request");
    let add = json!([
        {"op": "add", "path": "/spec/versions/0/schema/openAPIV3Schema/properties/b/default", "value": "B"}]);
    scene.rest.patch(&format!("{DEFINITIONS}/{}", names.definition_name()), JSON_PATCH, &add).await;
    eventually("the default from the store", async || {
        let object = scene.rest.get(&format!("{path}/one")).await;
        if object["b"] == "B" && object["a"] == "A" { Ok(()) } else { Err(object) }
    })
    .await;
    scene.stage.done("from the store");
    let emptied = scene.rest.patch(&format!("{path}/one"), MERGE, &json!({"a": null})).await;
    assert_eq!(emptied["a"], "A");
    delete(&scene, &names).await;
}

pub(crate) async fn in_discovery(scene: Scene) {
    let find = async |path: &str, list: &str, name: &str| {
        let document = scene.rest.get(path).await;
        let all = document[list].as_array().expect("a list").iter();
        all.filter(|one| one["name"] == name).count()
    };
    assert_eq!(find("/apis", "groups", "apiextensions.k8s.io").await, 1);
    let group = scene.rest.get("/apis/apiextensions.k8s.io").await;
    assert_eq!(group["versions"][0]["groupVersion"], "apiextensions.k8s.io/v1");
    assert_eq!(find("/apis/apiextensions.k8s.io/v1", "resources", "customresourcedefinitions").await, 1);
    scene.stage.done("found");
}

/// Watches of custom objects see each change.
pub(crate) async fn watched(scene: Scene) {
    let names = Names::of(&scene, "watched");
    create(&scene, &names.definition()).await;
    let path = names.path(&scene);
    let mut watches = Vec::new();
    for name in ["a", "b"] {
        let selected = format!("{path}?fieldSelector=metadata.name%3D{name}");
        watches.push((name, scene.rest.watch(&selected).await));
    }
    for (name, watch) in &mut watches {
        scene.rest.create(&path, &names.object(name)).await;
        watch.until("ADDED", |object| object["metadata"]["name"] == *name).await;
        scene.rest.patch(&format!("{path}/{name}"), MERGE, &json!({"spec": {"dummy": "test"}})).await;
        watch.until("MODIFIED", |object| object["spec"]["dummy"] == "test").await;
        scene.rest.delete(&format!("{path}/{name}")).await;
        watch.until("DELETED", |object| object["metadata"]["name"] == *name).await;
        scene.stage.done("seen");
    }
    delete(&scene, &names).await;
}
