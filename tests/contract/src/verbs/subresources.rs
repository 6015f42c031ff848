//! `status` and `scale`, and what else objects have below them that is neither a stream nor asked only.

use anyhow::{Context, ensure};
use serde_json::{Value, json};

use super::stored::Object;

/// What there was to do, and what came of it.
pub(super) async fn check(object: &Object<'_>) -> Vec<(&'static str, anyhow::Result<()>)> {
    let mut outcomes = Vec::new();
    let resource = &object.session.resource;
    if resource.subresource("status").is_some() {
        outcomes.push(("status get", object.status_get().await));
        outcomes.push(("dry run of status", object.status_put(true).await));
        outcomes.push(("status put", object.status_put(false).await));
        outcomes.push(("status patch", object.status_patch().await));
        outcomes.push(("status apply", object.status_apply().await));
    }
    if resource.subresource("scale").is_some() {
        outcomes.push(("scale get", object.scale_get(2).await.map(drop)));
        outcomes.push(("dry run of scale", object.scale_put(3, true).await));
        outcomes.push(("scale put", object.scale_put(4, false).await));
        outcomes.push(("scale patch", object.scale_patch("merge-patch+json", 5).await));
        outcomes.push(("scale apply", object.scale_patch("apply-patch+yaml", 6).await));
    }
    if resource.subresource("approval").is_some() {
        outcomes.push(("approval", object.approval().await));
    }
    if resource.subresource("ephemeralcontainers").is_some() {
        outcomes.push(("ephemeralcontainers", object.ephemeral_containers().await));
        outcomes.push(("resize", object.resize().await));
    }
    outcomes
}

impl Object<'_> {
    fn status_path(&self) -> String {
        format!("{}/status", self.path())
    }

    async fn status_get(&self) -> anyhow::Result<()> {
        let found = self.session.get(&self.status_path()).await?.expect(200)?;
        ensure!(found["kind"] == self.session.resource.entry.kind.as_str(), "{found}");
        Ok(())
    }

    /// Whether the object has everything that the sample's change of status says.
    fn has_status(&self, object: &Value) -> anyhow::Result<()> {
        for (field, wanted) in self.sample.status.as_object().context("the sample has no status")? {
            let found = &object["status"][field];
            let fits = match (wanted.as_array(), found.as_array()) {
                (Some(wanted), Some(found)) => wanted.iter().all(|item| found.iter().any(|f| holds(f, item))),
                _ => holds(found, wanted),
            };
            ensure!(fits, "status.{field} is {found}, not {wanted}");
        }
        Ok(())
    }

    async fn status_put(&self, dry: bool) -> anyhow::Result<()> {
        let before = self.read().await?;
        let mut body = before.clone();
        merge(&mut body["status"], &self.sample.status);
        // What is not status does not change.
        if let Some(body) = body.as_object_mut() {
            body.remove("spec");
        }
        let path = format!("{}{}", self.status_path(), if dry { "?dryRun=All" } else { "" });
        let found = self.session.send("PUT", &path, Some(&body)).await?.expect(200)?;
        self.has_status(&found)?;
        let after = self.read().await?;
        if dry {
            ensure!(after["status"] == before["status"], "a dry run changed {}", after["status"]);
            return Ok(());
        }
        self.has_status(&after)?;
        ensure!(after["spec"] == before["spec"], "spec changed to {}", after["spec"]);
        Ok(())
    }

    async fn status_patch(&self) -> anyhow::Result<()> {
        for media in ["merge-patch+json", "strategic-merge-patch+json"] {
            let name = media.split('-').next().unwrap_or_default();
            let body = json!({"metadata": {"annotations": {name: "yes"}}, "status": self.sample.status});
            let found = self.session.patch(&self.status_path(), media, &body).await?.expect(200)?;
            self.has_status(&found)?;
        }
        self.has_status(&self.read().await?)
    }

    async fn status_apply(&self) -> anyhow::Result<()> {
        let entry = &self.session.resource.entry;
        let body = json!({
            "apiVersion": entry.api_version(), "kind": entry.kind,
            "metadata": {"name": self.name}, "status": self.sample.status,
        });
        let path = format!("{}?fieldManager=status-applier&force=true", self.status_path());
        let found = self.session.patch(&path, "apply-patch+yaml", &body).await?.expect(200)?;
        let managers = found["metadata"]["managedFields"].as_array().context("managers")?;
        let own = managers.iter().find(|manager| manager["manager"] == "status-applier");
        let owns = own.is_some_and(|own| own["subresource"] == "status" && own["operation"] == "Apply");
        ensure!(owns == self.sample.owns_status, "owns its status: {owns}");
        self.has_status(&found)
    }

    fn scale_path(&self) -> String {
        format!("{}/scale", self.path())
    }

    async fn scale_get(&self, replicas: i64) -> anyhow::Result<Value> {
        let scale = self.session.get(&self.scale_path()).await?.expect(200)?;
        ensure!(scale["kind"] == "Scale" && scale["apiVersion"] == "autoscaling/v1", "{scale}");
        ensure!(scale["spec"]["replicas"] == replicas, "{scale}");
        ensure!(scale["status"]["selector"] == "a=b", "{scale}");
        ensure!(scale["metadata"]["name"] == self.name.as_str() && scale["metadata"]["uid"].is_string(), "{scale}");
        Ok(scale)
    }

    async fn scale_put(&self, replicas: i64, dry: bool) -> anyhow::Result<()> {
        let mut scale = self.session.get(&self.scale_path()).await?.expect(200)?;
        let before = scale["spec"]["replicas"].as_i64().context("replicas")?;
        scale["spec"]["replicas"] = replicas.into();
        let path = format!("{}{}", self.scale_path(), if dry { "?dryRun=All" } else { "" });
        let found = self.session.send("PUT", &path, Some(&scale)).await?.expect(200)?;
        ensure!(found["spec"]["replicas"] == replicas, "{found}");
        let after = if dry { before } else { replicas };
        self.scale_get(after).await?;
        ensure!(self.read().await?["spec"]["replicas"] == after, "the object is otherwise");
        if !dry {
            scale["metadata"]["resourceVersion"] = "1".into();
            self.session.send("PUT", &self.scale_path(), Some(&scale)).await?.refused(409, "Conflict")?;
        }
        Ok(())
    }

    async fn scale_patch(&self, media: &str, replicas: i64) -> anyhow::Result<()> {
        let body = json!({
            "apiVersion": "autoscaling/v1", "kind": "Scale",
            "metadata": {"name": self.name}, "spec": {"replicas": replicas},
        });
        let path = format!("{}?fieldManager=scaler&force={}", self.scale_path(), media.starts_with("apply"));
        let path = if media.starts_with("apply") { path } else { self.scale_path() };
        let found = self.session.patch(&path, media, &body).await?.expect(200)?;
        ensure!(found["spec"]["replicas"] == replicas, "{found}");
        self.scale_get(replicas).await.map(drop)
    }

    async fn approval(&self) -> anyhow::Result<()> {
        let path = format!("{}/approval", self.path());
        let mut body = self.session.get(&path).await?.expect(200)?;
        let condition = json!({
            "type": "Approved", "status": "True", "reason": "Tried", "message": "",
            "lastUpdateTime": "2026-01-02T03:04:05Z", "lastTransitionTime": "2026-01-02T03:04:05Z",
        });
        body["status"]["conditions"].as_array_mut().context("conditions")?.push(condition);
        let found = self.session.send("PUT", &path, Some(&body)).await?.expect(200)?;
        let conditions = found["status"]["conditions"].as_array().context("conditions")?;
        ensure!(conditions.iter().any(|condition| condition["type"] == "Approved"), "{found}");
        let again = json!({"metadata": {"annotations": {"approval": "again"}}});
        self.session.patch(&path, "merge-patch+json", &again).await?.expect(200).map(drop)
    }

    async fn ephemeral_containers(&self) -> anyhow::Result<()> {
        let path = format!("{}/ephemeralcontainers", self.path());
        self.session.get(&path).await?.expect(200)?;
        let container = json!({"name": "debug", "image": "example.com/d:1", "terminationMessagePolicy": "File"});
        let body = json!({"spec": {"ephemeralContainers": [container]}});
        let found = self.session.patch(&path, "strategic-merge-patch+json", &body).await?.expect(200)?;
        ensure!(found["spec"]["ephemeralContainers"][0]["name"] == "debug", "{found}");
        let again = self.session.send("PUT", &path, Some(&found)).await?.expect(200)?;
        ensure!(again["spec"]["ephemeralContainers"][0]["name"] == "debug", "{again}");
        Ok(())
    }

    async fn resize(&self) -> anyhow::Result<()> {
        let path = format!("{}/resize", self.path());
        let found = self.session.get(&path).await?.expect(200)?;
        self.session.send("PUT", &path, Some(&found)).await?.expect(200)?;
        let body = json!({"metadata": {"annotations": {"resize": "none"}}});
        self.session.patch(&path, "merge-patch+json", &body).await?.expect(200).map(drop)
    }
}

/// Whether a value has all members of another.
fn holds(found: &Value, wanted: &Value) -> bool {
    match (found, wanted) {
        (Value::Object(found), Value::Object(wanted)) => {
            wanted.iter().all(|(key, value)| found.get(key).is_some_and(|found| holds(found, value)))
        }
        (found, wanted) => {
            found == wanted || (found.is_null() && *wanted == json!({})) || (found.is_null() && *wanted == 0)
        }
    }
}

fn merge(into: &mut Value, from: &Value) {
    for (key, value) in from.as_object().into_iter().flatten() {
        into[key] = value.clone();
    }
}
