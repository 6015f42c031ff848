//! What can be done with objects that are kept.

use anyhow::{Context, ensure};
use serde_json::{Value, json};

use super::samples::{Sample, Samples};
use super::session::Session;
use super::subresources;
use super::table::Cell;
use crate::target::Answer;

/// The patches, as media type after `application/` and as verb. `$` is the label that is set.
const PATCHES: [(&str, &str, &str); 3] = [
    ("json-patch+json", "json patch", "dry run of json patch"),
    ("merge-patch+json", "merge patch", "dry run of merge patch"),
    ("strategic-merge-patch+json", "strategic patch", "dry run of strategic patch"),
];

/// One object on its way through everything.
pub(super) struct Object<'a> {
    pub(super) session: &'a Session,
    pub(super) sample: &'a Sample,
    pub(super) name: String,
    /// What all objects of this session have as the label `run`.
    pub(super) label: String,
}

/// Does everything.
pub(super) async fn check(session: &Session, samples: &Samples, cells: &mut Vec<Cell>) {
    let entry = &session.resource.entry;
    let sample = match samples.of(&entry.api_version(), &entry.kind) {
        Ok(sample) => sample,
        Err(error) => return cells.push(Cell::new(session, "sample", Err(error))),
    };
    let name = sample.name(session.number);
    let object = Object { session, sample, name, label: session.namespace.clone() };
    let mut add = |verb, outcome| cells.push(Cell::new(session, verb, outcome));
    add("dry run of create", object.dry_create().await);
    add("create", object.create().await);
    add("duplicate", object.duplicate().await);
    add("get", object.get().await);
    add("list by label", object.list_by_label().await);
    add("list by field", object.list_by_field().await);
    add("table", object.tables().await);
    add("metadata", object.metadata().await);
    add("yaml", object.yaml().await);
    let watch = object.open_watch().await;
    for (media, verb, dry) in PATCHES {
        add(dry, object.patch(media, true).await);
        add(verb, object.patch(media, false).await);
    }
    add("dry run of apply", object.apply(true).await);
    add("apply", object.apply(false).await);
    add("dry run of update", object.update(true).await);
    add("update", object.update(false).await);
    add("stale update", object.stale_update().await);
    for (verb, outcome) in subresources::check(&object).await {
        add(verb, outcome);
    }
    add("dry run of delete", object.dry_delete().await);
    add("preconditions", object.preconditions().await);
    add("delete", object.delete().await);
    add("watch", object.watched(watch).await);
    add("apply to create", object.apply_to_create().await);
    if session.resource.has("deletecollection") {
        add("dry run of deletecollection", object.delete_collection(true).await);
        add("deletecollection", object.delete_collection(false).await);
    } else {
        add("deletecollection refused", object.no_delete_collection().await);
        drop(object.remove(&object.sample.name(session.number + 1)).await);
        drop(object.remove(&object.sample.name(session.number + 2)).await);
    }
}

impl Object<'_> {
    pub(super) fn path(&self) -> String {
        self.session.item(&self.name)
    }

    /// The object as it is sent, with a number after this run's.
    fn body(&self, offset: usize) -> Value {
        let Session { resource, namespace, number, .. } = self.session;
        let entry = &resource.entry;
        let mut body = self.sample.object(&entry.api_version(), &entry.kind, namespace, number + offset);
        body["metadata"]["labels"] = json!({"run": self.label});
        body
    }

    pub(super) async fn read(&self) -> anyhow::Result<Value> {
        self.session.get(&self.path()).await?.expect(200)
    }

    async fn dry_create(&self) -> anyhow::Result<()> {
        let path = format!("{}?dryRun=All", self.session.collection());
        let made = self.session.send("POST", &path, Some(&self.body(0))).await?.expect(201)?;
        ensure!(made["metadata"]["uid"].is_string(), "no uid in {made}");
        self.session.get(&self.path()).await?.refused(404, "NotFound")
    }

    async fn create(&self) -> anyhow::Result<()> {
        let body = self.body(0);
        let made = self.session.send("POST", &self.session.collection(), Some(&body)).await?.expect(201)?;
        for field in ["apiVersion", "kind"] {
            ensure!(made[field] == body[field], "{field} of {made}");
        }
        let metadata = &made["metadata"];
        for field in ["uid", "resourceVersion", "creationTimestamp"] {
            ensure!(metadata[field].is_string(), "no {field} in {made}");
        }
        ensure!(metadata["name"] == self.name.as_str() && metadata["labels"]["run"] == self.label.as_str(), "{made}");
        let manager = &metadata["managedFields"][0];
        ensure!(manager["manager"] == "contract" && manager["operation"] == "Update", "managed by {manager}");
        Ok(())
    }

    async fn duplicate(&self) -> anyhow::Result<()> {
        let reply = self.session.send("POST", &self.session.collection(), Some(&self.body(0))).await?;
        reply.refused(409, "AlreadyExists")
    }

    async fn get(&self) -> anyhow::Result<()> {
        let found = self.read().await?;
        ensure!(found["kind"] == self.session.resource.entry.kind.as_str(), "{found}");
        ensure!(found["metadata"]["name"] == self.name.as_str(), "{found}");
        self.session.get(&self.session.item("absent")).await?.refused(404, "NotFound")
    }

    async fn list(&self, query: &str) -> anyhow::Result<Vec<Value>> {
        let list = self.session.get(&format!("{}?{query}", self.session.collection())).await?.expect(200)?;
        let entry = &self.session.resource.entry;
        ensure!(list["kind"] == format!("{}List", entry.kind) && list["apiVersion"] == entry.api_version(), "{list}");
        ensure!(list["metadata"]["resourceVersion"].is_string(), "no version of {list}");
        Ok(list["items"].as_array().cloned().unwrap_or_default())
    }

    async fn list_by_label(&self) -> anyhow::Result<()> {
        let label = &self.label;
        for (query, count) in [
            (format!("labelSelector=run%3D{label}"), 1),
            (format!("labelSelector=run%20in%20(a,{label})"), 1),
            (format!("labelSelector=run%3D{label},other"), 0),
            (format!("labelSelector=run%3D{label}&limit=500"), 1),
        ] {
            let found = self.list(&query).await?;
            ensure!(found.len() == count, "{query}: {} instead of {count}", found.len());
        }
        let bad = format!("{}?labelSelector=a%20b", self.session.collection());
        self.session.get(&bad).await?.refused(400, "BadRequest")
    }

    async fn list_by_field(&self) -> anyhow::Result<()> {
        let name = &self.name;
        for (query, count) in [
            (format!("fieldSelector=metadata.name%3D{name}"), 1),
            (format!("fieldSelector=metadata.name%3D{name}&labelSelector=run%3D{}", self.label), 1),
            (format!("fieldSelector=metadata.name!%3D{name}&labelSelector=run%3D{}", self.label), 0),
        ] {
            let found = self.list(&query).await?;
            ensure!(found.len() == count, "{query}: {} instead of {count}", found.len());
        }
        if self.session.resource.namespaced {
            let query = format!("fieldSelector=metadata.namespace%3D{}", self.session.namespace);
            ensure!(self.list(&query).await?.iter().any(|o| o["metadata"]["name"] == name.as_str()), "{query}");
            let everywhere = format!("{}/{}", self.session.resource.base, self.session.resource.entry.name);
            let path = format!("{everywhere}?labelSelector=run%3D{}", self.label);
            let all = self.session.get(&path).await?.expect(200)?;
            ensure!(all["items"].as_array().is_some_and(|items| items.len() == 1), "everywhere: {all}");
        }
        let bad = format!("{}?fieldSelector=spec.nothing%3Da", self.session.collection());
        self.session.get(&bad).await?.refused(400, "BadRequest")
    }

    async fn asked(&self, path: &str, accept: &str) -> anyhow::Result<Answer> {
        let answer = self.session.target.send("GET", path, &[("accept", accept)], Vec::new()).await?;
        ensure!(answer.code == 200, "{path} as {accept}: {} {}", answer.code, answer.text());
        Ok(answer)
    }

    /// Tables of both versions, of the object and of a list. They are JSON in any case.
    async fn tables(&self) -> anyhow::Result<()> {
        for version in ["v1", "v1beta1"] {
            let accept = format!("application/json;as=Table;v={version};g=meta.k8s.io");
            let list = format!("{}?labelSelector=run%3D{}", self.session.collection(), self.label);
            for path in [self.path(), list] {
                let table = self.asked(&path, &accept).await?.json()?;
                ensure!(table["kind"] == "Table", "{table}");
                ensure!(table["apiVersion"] == format!("meta.k8s.io/{version}"), "{table}");
                let columns = table["columnDefinitions"].as_array().map_or(0, Vec::len);
                let rows = table["rows"].as_array().context("rows")?;
                ensure!(rows.len() == 1 && columns > 0, "{table}");
                ensure!(rows[0]["cells"].as_array().map_or(0, Vec::len) == columns, "{table}");
                ensure!(rows[0]["object"]["metadata"]["name"] == self.name.as_str(), "{table}");
            }
        }
        Ok(())
    }

    /// Metadata alone, in both versions.
    async fn metadata(&self) -> anyhow::Result<()> {
        let media = self.session.encoding.media();
        for version in ["v1", "v1beta1"] {
            let list = format!("{}?labelSelector=run%3D{}", self.session.collection(), self.label);
            for (path, kind) in [(self.path(), "PartialObjectMetadata"), (list, "PartialObjectMetadataList")] {
                let accept = format!("{media};as={kind};v={version};g=meta.k8s.io");
                let answer = self.asked(&path, &accept).await?;
                ensure!(answer.header("content-type") == media, "as {}", answer.header("content-type"));
                let found = self.session.encoding.decode(&answer.body)?;
                ensure!(found["kind"] == kind && found["apiVersion"] == format!("meta.k8s.io/{version}"), "{found}");
                let metadata = found.get("items").map_or(&found["metadata"], |items| &items[0]["metadata"]);
                ensure!(metadata["name"] == self.name.as_str(), "{found}");
                ensure!(found.get("spec").is_none() && found["items"][0].get("spec").is_none(), "{found}");
            }
        }
        Ok(())
    }

    /// Written and read as YAML.
    async fn yaml(&self) -> anyhow::Result<()> {
        let answer = self.asked(&self.path(), "application/yaml").await?;
        ensure!(answer.header("content-type") == "application/yaml", "as {}", answer.header("content-type"));
        let found = serde_saphyr::from_str::<Value>(&answer.text())?;
        let json = self.asked(&self.path(), "application/json").await?.json()?;
        ensure!(found == json, "not the same in YAML: {found}");
        let headers = [("content-type", "application/yaml"), ("accept", "application/yaml")];
        let answer = self.session.target.send("PUT", &self.path(), &headers, answer.body).await?;
        ensure!(answer.code == 200, "PUT of YAML: {}", answer.text());
        Ok(())
    }

    async fn open_watch(&self) -> anyhow::Result<super::events::Events> {
        let version = self.read().await?["metadata"]["resourceVersion"].as_str().context("a version")?.to_owned();
        let collection = self.session.collection();
        let query = format!("watch=true&resourceVersion={version}&labelSelector=run%3D{}", self.label);
        self.session.watch(&format!("{collection}?{query}")).await
    }

    /// The watch saw the object change, in order, and then go.
    async fn watched(&self, watch: anyhow::Result<super::events::Events>) -> anyhow::Result<()> {
        let mut watch = watch?;
        let (mut last, mut changes) = (0, 0);
        loop {
            let (ty, object) = watch.next().await?;
            let version =
                object["metadata"]["resourceVersion"].as_str().and_then(|version| version.parse::<u64>().ok());
            let version = version.with_context(|| format!("{ty} without a version: {object}"))?;
            ensure!(version > last, "{ty} at {version} after {last}");
            last = version;
            ensure!(object["metadata"]["name"] == self.name.as_str(), "{ty} {object}");
            match ty.as_str() {
                "MODIFIED" => changes += 1,
                "DELETED" => break,
                other => anyhow::bail!("{other} {object}"),
            }
        }
        // Three patches, an apply and an update at the least.
        ensure!(changes >= 5, "only {changes} changes");
        Ok(())
    }

    /// Sets a label by a patch.
    async fn patch(&self, media: &str, dry: bool) -> anyhow::Result<()> {
        let label = format!("{}-{}", media.split('-').next().unwrap_or_default(), if dry { "dry" } else { "done" });
        let body = if media.starts_with("json") {
            json!([{"op": "add", "path": format!("/metadata/labels/{label}"), "value": "yes"}])
        } else {
            json!({"metadata": {"labels": {&label: "yes"}}})
        };
        let path = format!("{}{}", self.path(), if dry { "?dryRun=All" } else { "" });
        let found = self.session.patch(&path, media, &body).await?.expect(200)?;
        ensure!(found["metadata"]["labels"][&label] == "yes", "{found}");
        self.has_label(&label, !dry).await
    }

    /// Whether the object really has the label.
    async fn has_label(&self, label: &str, wanted: bool) -> anyhow::Result<()> {
        let found = self.read().await?;
        let has = found["metadata"]["labels"].get(label).is_some();
        ensure!(has == wanted, "label {label} is there: {has}");
        Ok(())
    }

    async fn apply(&self, dry: bool) -> anyhow::Result<()> {
        let label = if dry { "apply-dry" } else { "apply-done" };
        let entry = &self.session.resource.entry;
        let body = json!({
            "apiVersion": entry.api_version(), "kind": entry.kind,
            "metadata": {"name": self.name, "labels": {label: "yes"}},
        });
        let dry_run = if dry { "&dryRun=All" } else { "" };
        let path = format!("{}?fieldManager=applier{dry_run}", self.path());
        let found = self.session.patch(&path, "apply-patch+yaml", &body).await?.expect(200)?;
        ensure!(found["metadata"]["labels"][label] == "yes", "{found}");
        let managers = found["metadata"]["managedFields"].as_array().context("managers")?;
        ensure!(managers.iter().any(|m| m["manager"] == "applier" && m["operation"] == "Apply"), "{managers:?}");
        self.has_label(label, !dry).await
    }

    async fn apply_to_create(&self) -> anyhow::Result<()> {
        let body = self.body(1);
        let path = self.session.item(&self.sample.name(self.session.number + 1));
        let path = format!("{path}?fieldManager=applier&force=true");
        let made = self.session.patch(&path, "apply-patch+yaml", &body).await?.expect(201)?;
        ensure!(made["metadata"]["managedFields"][0]["operation"] == "Apply", "{made}");
        Ok(())
    }

    async fn update(&self, dry: bool) -> anyhow::Result<()> {
        let label = if dry { "update-dry" } else { "update-done" };
        let mut body = self.read().await?;
        body["metadata"]["labels"][label] = "yes".into();
        let path = format!("{}{}", self.path(), if dry { "?dryRun=All" } else { "" });
        let found = self.session.send("PUT", &path, Some(&body)).await?.expect(200)?;
        ensure!(found["metadata"]["labels"][label] == "yes", "{found}");
        self.has_label(label, !dry).await
    }

    async fn stale_update(&self) -> anyhow::Result<()> {
        let mut body = self.read().await?;
        // What was made first has a lower version, and is no object of this kind now.
        body["metadata"]["resourceVersion"] = "1".into();
        body["metadata"]["labels"]["stale"] = "yes".into();
        self.session.send("PUT", &self.path(), Some(&body)).await?.refused(409, "Conflict")?;
        self.has_label("stale", false).await
    }

    async fn dry_delete(&self) -> anyhow::Result<()> {
        let reply = self.session.delete(&self.path(), json!({"dryRun": ["All"]})).await?;
        ensure!(reply.code == 200, "{} {}", reply.code, reply.value);
        let found = self.read().await?;
        ensure!(found["metadata"].get("deletionTimestamp").is_none(), "{found}");
        Ok(())
    }

    async fn preconditions(&self) -> anyhow::Result<()> {
        for wrong in [json!({"uid": "someone else"}), json!({"resourceVersion": "1"})] {
            let reply = self.session.delete(&self.path(), json!({"preconditions": wrong})).await?;
            reply.refused(409, "Conflict").with_context(|| wrong.to_string())?;
        }
        let found = self.read().await?;
        ensure!(found["metadata"].get("deletionTimestamp").is_none(), "{found}");
        Ok(())
    }

    async fn delete(&self) -> anyhow::Result<()> {
        let uid = self.read().await?["metadata"]["uid"].clone();
        let reply = self.session.delete(&self.path(), json!({"preconditions": {"uid": uid}})).await?;
        ensure!(reply.code == 200, "{} {}", reply.code, reply.value);
        let kind = &reply.value["kind"];
        ensure!(kind == "Status" || *kind == self.session.resource.entry.kind.as_str(), "{}", reply.value);
        self.remove(&self.name).await
    }

    /// Takes away what keeps a deleted object, and waits until it is gone.
    async fn remove(&self, name: &str) -> anyhow::Result<()> {
        let path = self.session.item(name);
        let reply = self.session.get(&path).await?;
        if reply.code == 200 && reply.value["metadata"].get("deletionTimestamp").is_none() {
            self.session.delete(&path, json!({})).await?;
        }
        let mut found = self.session.get(&path).await?;
        if found.code == 200 && self.session.resource.entry.name == "namespaces" {
            found.value["spec"] = json!({});
            self.session.send("PUT", &format!("{path}/finalize"), Some(&found.value)).await?.expect(200)?;
        } else if found.code == 200 && found.value["metadata"].get("finalizers").is_some() {
            let nothing = json!({"metadata": {"finalizers": null}});
            self.session.patch(&path, "merge-patch+json", &nothing).await?;
        }
        self.session.get(&path).await?.refused(404, "NotFound")
    }

    async fn delete_collection(&self, dry: bool) -> anyhow::Result<()> {
        let collection = self.session.collection();
        if dry {
            self.session.send("POST", &collection, Some(&self.body(2))).await?.expect(201)?;
        }
        let query = format!("labelSelector=run%3D{}", self.label);
        let options = if dry { json!({"dryRun": ["All"]}) } else { json!({}) };
        let reply = self.session.delete(&format!("{collection}?{query}"), options).await?;
        let list = reply.expect(200)?;
        ensure!(list["kind"] == format!("{}List", self.session.resource.entry.kind), "{list}");
        let left = self.list(&query).await?;
        if dry {
            let doomed = |object: &Value| object["metadata"].get("deletionTimestamp").is_some();
            ensure!(left.len() == 2 && !left.iter().any(doomed), "after a dry run: {left:?}");
            return Ok(());
        }
        for object in &left {
            self.remove(object["metadata"]["name"].as_str().context("a name")?).await?;
        }
        ensure!(self.list(&query).await?.is_empty(), "something is left");
        Ok(())
    }

    async fn no_delete_collection(&self) -> anyhow::Result<()> {
        let collection = self.session.collection();
        self.session.send("POST", &collection, Some(&self.body(2))).await?.expect(201)?;
        let path = format!("{collection}?labelSelector=run%3D{}", self.label);
        self.session.delete(&path, json!({})).await?.refused(405, "MethodNotAllowed")
    }
}
