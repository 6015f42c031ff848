//! Applying manifests and waiting for what they make: for a first application on a machine without kubectl.
//!
//! Objects are applied server-side. They also carry the annotation by which `kubectl apply` knows what was applied
//! before, so that people can go on with kubectl.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use kube::api::{DynamicObject, Patch, PatchParams};
use kube::discovery::{self, Scope};
use kube::{Api, Client};
use serde_json::{Map, Value, json};

/// Field manager of what is applied here.
const MANAGER: &str = "skiff";
/// kubectl's annotation (`k8s.io/api/core/v1`, LastAppliedConfigAnnotation).
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";
/// How often objects are looked at while they are waited for.
const POLL: Duration = Duration::from_millis(50);
/// How long the first ServiceAccount of a new namespace may take, without which no pod can be made.
const NOT_FOUND_PATIENCE: Duration = Duration::from_secs(10);

/// An object that was applied.
pub(crate) struct Applied {
    api: Api<DynamicObject>,
    kind: String,
    name: String,
    /// Whether the server's object is another one than before.
    pub(crate) changed: bool,
}

impl Applied {
    /// `Kind name`, for people.
    pub(crate) fn title(&self) -> String {
        format!("{} {}", self.kind, self.name)
    }

    /// Waits until the object does what it is for.
    pub(crate) async fn until_ready(&self, deadline: Instant) -> anyhow::Result<()> {
        loop {
            let object = self.api.get(&self.name).await.with_context(|| format!("cannot read {}", self.title()))?;
            match readiness(&self.kind, &serde_json::to_value(&object)?) {
                Readiness::Ready => return Ok(()),
                Readiness::Failed(why) => bail!("{} failed: {why}", self.title()),
                Readiness::Not(why) if Instant::now() > deadline => {
                    bail!("{} was not ready in time: {why}", self.title());
                }
                Readiness::Not(_) => tokio::time::sleep(POLL).await,
            }
        }
    }
}

/// Applies every object of a file, in its order.
pub(crate) async fn apply_file(client: &Client, path: &Path) -> anyhow::Result<Vec<Applied>> {
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let objects: Vec<Option<Value>> = serde_saphyr::from_multiple_with_options(&text, yaml_options())
        .with_context(|| format!("{} is not YAML", path.display()))?;
    let mut applied = Vec::new();
    for object in objects.into_iter().flatten() {
        applied
            .push(Box::pin(apply(client, object)).await.with_context(|| format!("cannot apply {}", path.display()))?);
    }
    ensure!(!applied.is_empty(), "{} has no objects", path.display());
    Ok(applied)
}

/// As kubectl reads YAML: `0444` is an octal number.
fn yaml_options() -> serde_saphyr::Options {
    serde_saphyr::options! { legacy_octal_numbers: true }
}

async fn apply(client: &Client, mut manifest: Value) -> anyhow::Result<Applied> {
    let text = |pointer: &str| manifest.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
    let version = text("/apiVersion").context("an object has no apiVersion")?;
    let kind = text("/kind").context("an object has no kind")?;
    let name = text("/metadata/name").with_context(|| format!("a {kind} has no name"))?;
    let namespace = text("/metadata/namespace").unwrap_or_else(|| "default".to_owned());
    let (group, version) = version.rsplit_once('/').unwrap_or(("", &version));
    let (resource, capabilities) =
        discovery::pinned_kind(client, &kube::core::GroupVersionKind::gvk(group, version, &kind))
            .await
            .with_context(|| format!("{kind} of {group:?} {version} is not served here"))?;
    let api: Api<DynamicObject> = match capabilities.scope {
        Scope::Cluster => Api::all_with(client.clone(), &resource),
        Scope::Namespaced => Api::namespaced_with(client.clone(), &namespace, &resource),
    };
    let before = api.get_opt(&name).await.with_context(|| format!("cannot read {kind} {name}"))?;
    annotate(&mut manifest)?;
    let deadline = Instant::now() + NOT_FOUND_PATIENCE;
    let params = PatchParams::apply(MANAGER).force();
    let after = loop {
        match api.patch(&name, &params, &Patch::Apply(&manifest)).await {
            Err(kube::Error::Api(status)) if status.code == 404 && Instant::now() < deadline => {
                tokio::time::sleep(POLL).await;
            }
            done => break done.with_context(|| format!("cannot apply {kind} {name}"))?,
        }
    };
    let changed = before.is_none_or(|before| before.metadata.resource_version != after.metadata.resource_version);
    Ok(Applied { api, kind, name, changed })
}

/// Notes the manifest on itself, in the very words of `kubectl apply`: it notes an empty list of annotations, too.
fn annotate(manifest: &mut Value) -> anyhow::Result<()> {
    let metadata = manifest.get_mut("metadata").and_then(Value::as_object_mut).context("metadata is not an object")?;
    let annotations = metadata.entry("annotations").or_insert_with(|| Value::Object(Map::new()));
    annotations.as_object_mut().context("metadata.annotations is not an object")?.remove(LAST_APPLIED);
    // Go escapes what could be markup.
    let noted = manifest.to_string().replace('<', r"\u003c").replace('>', r"\u003e").replace('&', r"\u0026");
    let noted = format!("{noted}\n");
    manifest["metadata"]["annotations"][LAST_APPLIED] = json!(noted);
    Ok(())
}

#[derive(Debug, PartialEq, Eq)]
enum Readiness {
    Ready,
    Not(String),
    Failed(String),
}

/// Whether an object does what it is for, as `kubectl rollout status` and `kubectl wait` would say.
fn readiness(kind: &str, object: &Value) -> Readiness {
    let number = |pointer: &str| object.pointer(pointer).and_then(Value::as_i64);
    let status = |field: &str| number(&format!("/status/{field}")).unwrap_or(0);
    if status("observedGeneration") < number("/metadata/generation").unwrap_or(0) && has_controller(kind) {
        return Readiness::Not("it has not been looked at yet".to_owned());
    }
    let of = |ready: i64, wanted: i64| match ready >= wanted {
        true => Readiness::Ready,
        false => Readiness::Not(format!("{ready} of {wanted} pods are ready")),
    };
    match kind {
        "Deployment" => {
            let wanted = number("/spec/replicas").unwrap_or(1);
            of(status("availableReplicas").min(status("updatedReplicas")), wanted)
        }
        "StatefulSet" => {
            of(status("readyReplicas").min(status("updatedReplicas")), number("/spec/replicas").unwrap_or(1))
        }
        "DaemonSet" => {
            of(status("numberAvailable").min(status("updatedNumberScheduled")), status("desiredNumberScheduled"))
        }
        "Job" if condition(object, "Failed").is_some() => {
            Readiness::Failed(condition(object, "Failed").unwrap_or_default())
        }
        "Job" if condition(object, "Complete").is_some() => Readiness::Ready,
        "Job" => Readiness::Not("it is not complete".to_owned()),
        "Pod" if condition(object, "Ready").is_some() => Readiness::Ready,
        "Pod" => Readiness::Not("it is not ready".to_owned()),
        _ => Readiness::Ready,
    }
}

fn has_controller(kind: &str) -> bool {
    ["Deployment", "StatefulSet", "DaemonSet"].contains(&kind)
}

/// The message of a condition that is true.
fn condition(object: &Value, kind: &str) -> Option<String> {
    let conditions = object.pointer("/status/conditions")?.as_array()?;
    let found = conditions.iter().find(|condition| condition["type"] == kind && condition["status"] == "True")?;
    Some(found["message"].as_str().unwrap_or_default().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deployment_is_ready_when_all_new_pods_are_available() {
        let deployment = |observed: i64, updated: i64, available: i64| {
            json!({"metadata": {"generation": 2}, "spec": {"replicas": 3}, "status": {"observedGeneration": observed,
                "updatedReplicas": updated, "availableReplicas": available}})
        };
        assert_eq!(readiness("Deployment", &deployment(2, 3, 3)), Readiness::Ready);
        for not in [deployment(1, 3, 3), deployment(2, 2, 3), deployment(2, 3, 2)] {
            assert!(matches!(readiness("Deployment", &not), Readiness::Not(_)), "{not}");
        }
    }

    #[test]
    fn a_failed_job_ends_the_wait() {
        let job = |kind: &str| json!({"status": {"conditions": [{"type": kind, "status": "True", "message": "why"}]}});
        assert_eq!(readiness("Job", &job("Complete")), Readiness::Ready);
        assert_eq!(readiness("Job", &job("Failed")), Readiness::Failed("why".to_owned()));
        assert!(matches!(readiness("Job", &json!({})), Readiness::Not(_)));
        assert_eq!(readiness("ConfigMap", &json!({"metadata": {"generation": 1}})), Readiness::Ready);
    }

    #[test]
    fn the_manifest_is_noted_as_it_was() {
        let mut manifest = json!({"kind": "X", "metadata": {"name": "a"}});
        let noted = "{\"kind\":\"X\",\"metadata\":{\"annotations\":{},\"name\":\"a\"}}\n";
        for _ in 0..2 {
            annotate(&mut manifest).expect("annotated");
            assert_eq!(manifest["metadata"]["annotations"][LAST_APPLIED], noted);
        }
    }
}
