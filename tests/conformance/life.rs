//! The life that the suite leads every kind through as "API operations": found in discovery, created, read, listed,
//! watched, patched, replaced, its status written, deleted alone and with others.

use serde_json::{Value, json};
use skiff_tests::eventually;
use skiff_tests::rest::MERGE;

use crate::scene::Scene;

/// How many objects there are.
const OBJECTS: usize = 3;

/// A kind and how to make one.
#[derive(Clone, Copy)]
pub(crate) struct Kind {
    /// Group, empty for the first one.
    pub(crate) group: &'static str,
    /// Version.
    pub(crate) version: &'static str,
    /// Name of the resource in paths.
    pub(crate) plural: &'static str,
    /// Name of the kind.
    pub(crate) kind: &'static str,
    /// Whether its objects lie in namespaces.
    pub(crate) namespaced: bool,
    /// The object with this number, of a namespace; it gets a name unless it has one.
    pub(crate) object: fn(&str, usize) -> Value,
    /// A status to write, as a merge patch; null where there is no such subresource.
    pub(crate) status: fn() -> Value,
}

/// No status can be written.
pub(crate) fn no_status() -> Value {
    Value::Null
}

impl Kind {
    fn group_version(&self) -> String {
        if self.group.is_empty() { self.version.to_owned() } else { format!("{}/{}", self.group, self.version) }
    }

    fn root(&self) -> String {
        let prefix = if self.group.is_empty() { "api" } else { "apis" };
        format!("/{prefix}/{}", self.group_version())
    }

    /// Where its objects are, in the scene's namespace if in one.
    pub(crate) fn path(&self, scene: &Scene) -> String {
        if self.namespaced {
            format!("{}/namespaces/{}/{}", self.root(), scene.namespace, self.plural)
        } else {
            format!("{}/{}", self.root(), self.plural)
        }
    }

    /// An object as it is sent.
    pub(crate) fn make(&self, scene: &Scene, number: usize) -> Value {
        let mut object = (self.object)(&scene.namespace, number);
        object["apiVersion"] = self.group_version().into();
        object["kind"] = self.kind.into();
        if object["metadata"]["name"].is_null() {
            object["metadata"]["name"] = format!("{}-{number}", scene.namespace).into();
        }
        object["metadata"]["labels"]["scene"] = scene.namespace.clone().into();
        object
    }
}

/// Leads a kind through its life.
pub(crate) async fn lead(scene: Scene, kind: Kind) {
    is_discovered(&scene, &kind).await;
    let path = kind.path(&scene);
    let selector = format!("labelSelector=scene%3D{}", scene.namespace);

    let mut names = Vec::new();
    for number in 0..OBJECTS {
        let sent = kind.make(&scene, number);
        let made = scene.rest.create(&path, &sent).await;
        assert!(made["metadata"]["uid"].is_string(), "{made}");
        let name = made["metadata"]["name"].as_str().expect("a name").to_owned();
        let read = scene.rest.get(&format!("{path}/{name}")).await;
        assert_eq!(read["metadata"]["uid"], made["metadata"]["uid"]);
        assert_eq!(read["kind"], kind.kind);
        names.push(name);
        scene.stage.done("created");
    }
    let list = scene.rest.get(&format!("{path}?{selector}")).await;
    assert_eq!(list["items"].as_array().map(Vec::len), Some(OBJECTS), "{list}");
    if kind.namespaced {
        let everywhere = scene.rest.items(&format!("{}/{}?{selector}", kind.root(), kind.plural)).await;
        assert_eq!(everywhere.len(), OBJECTS, "in all namespaces");
    }
    scene.stage.done("listed");

    let version = list["metadata"]["resourceVersion"].as_str().expect("a version");
    let mut watch = scene.rest.watch(&format!("{path}?{selector}&resourceVersion={version}")).await;
    let first = format!("{path}/{}", names[0]);
    let patched = scene.rest.patch(&first, MERGE, &json!({"metadata": {"annotations": {"patched": "true"}}})).await;
    assert_eq!(patched["metadata"]["annotations"]["patched"], "true");
    watch.until("MODIFIED", |object| object["metadata"]["annotations"]["patched"] == "true").await;
    scene.stage.done("patched");
    replace(&scene, &first).await;
    watch.until("MODIFIED", |object| object["metadata"]["annotations"]["updated"] == "true").await;
    scene.stage.done("updated");
    if !(kind.status)().is_null() {
        write_status(&scene, &first, &(kind.status)()).await;
    }

    scene.rest.delete(&first).await;
    watch.until("DELETED", |object| object["metadata"]["name"] == names[0].as_str()).await;
    assert_eq!(scene.rest.try_get(&first).await.code, 404);
    scene.stage.done("deleted");
    scene.rest.delete(&format!("{path}?{selector}")).await;
    eventually("nothing left", async || {
        let left = scene.rest.items(&format!("{path}?{selector}")).await;
        if left.is_empty() { Ok(()) } else { Err(left) }
    })
    .await;
    scene.stage.done("deleted together");
}

/// Writes an object back with one more annotation, as often as somebody else was faster.
async fn replace(scene: &Scene, path: &str) {
    eventually("replaced", async || {
        let mut object = scene.rest.get(path).await;
        object["metadata"]["annotations"]["updated"] = "true".into();
        let answer = scene.rest.try_replace(path, &object).await;
        if answer.code == 200 { Ok(()) } else { Err(answer) }
    })
    .await;
}

async fn is_discovered(scene: &Scene, kind: &Kind) {
    if !kind.group.is_empty() {
        let groups = scene.rest.get("/apis").await;
        let group = groups["groups"].as_array().and_then(|all| all.iter().find(|group| group["name"] == kind.group));
        let versions = &group.unwrap_or_else(|| panic!("{} is no group", kind.group))["versions"];
        assert!(versions.as_array().is_some_and(|all| all.iter().any(|one| one["version"] == kind.version)));
        let group = scene.rest.get(&format!("/apis/{}", kind.group)).await;
        assert_eq!(group["kind"], "APIGroup");
    }
    let resources = scene.rest.get(&kind.root()).await;
    let found = |name: &str| {
        let all = resources["resources"].as_array().into_iter().flatten();
        all.into_iter().any(|one| one["name"] == name && one["namespaced"] == kind.namespaced)
    };
    assert!(found(kind.plural), "{} is not in {}", kind.plural, kind.root());
    if !(kind.status)().is_null() {
        assert!(found(&format!("{}/status", kind.plural)), "no status of {}", kind.plural);
    }
    scene.stage.done("discovered");
}

/// Reads, patches and replaces the status.
pub(crate) async fn write_status(scene: &Scene, path: &str, status: &Value) {
    let status_path = format!("{path}/status");
    let before = scene.rest.get(&status_path).await;
    let mut patch = status.clone();
    patch["metadata"] = json!({"annotations": {"patchedstatus": "true"}});
    let patched = scene.rest.patch(&status_path, MERGE, &patch).await;
    assert_eq!(patched["metadata"]["uid"], before["metadata"]["uid"]);
    contains(&patched["status"], &status["status"]);
    contains(&scene.rest.get(path).await["status"], &status["status"]);
    eventually("the status replaced", async || {
        let mut object = scene.rest.get(&status_path).await;
        object["metadata"]["annotations"]["updatedstatus"] = "true".into();
        let answer = scene.rest.try_replace(&status_path, &object).await;
        if answer.code == 200 { Ok(()) } else { Err(answer) }
    })
    .await;
    scene.stage.done("status written");
}

/// Whatever is in `part` is in `whole`.
#[track_caller]
pub(crate) fn contains(whole: &Value, part: &Value) {
    match part {
        Value::Object(members) => members.iter().for_each(|(name, member)| contains(&whole[name], member)),
        Value::Array(items) => {
            assert_eq!(whole.as_array().map(Vec::len), Some(items.len()), "{whole}");
            items.iter().enumerate().for_each(|(index, item)| contains(&whole[index], item));
        }
        part => assert_eq!(whole, part),
    }
}
