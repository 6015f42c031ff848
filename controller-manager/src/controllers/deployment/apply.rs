//! Does what the plan says.

use anyhow::anyhow;
use serde_json::{Map, Value, json};
use skiff_client::objects::{DeleteOptions, PatchKind};
use skiff_client::types::{Deployment, ReplicaSet};
use skiff_client::{EventType, Kind, ObjectReference, Objects, errors};

use super::observe::Observed;
use super::plan::{Creation, Plan, Update};
use super::replica_sets::REVISION;
use super::{Controller, status, template};
use crate::conditions;
use crate::control_loop::unless_gone;
use crate::ownership;

impl Controller {
    pub(super) async fn apply(&self, observed: &Observed, plan: &Plan) -> anyhow::Result<()> {
        let deployment = &*observed.deployment;
        let client = &self.context.client;
        ownership::write_claim(client, &Deployment::RESOURCE, &deployment.metadata, &observed.claim, None).await?;
        if let Some(creation) = &plan.create {
            self.create(observed, creation).await?;
        }
        for update in &plan.update {
            self.update(observed, update).await?;
        }
        let sets = self.replica_sets_api(deployment);
        for set in &plan.delete {
            let options = DeleteOptions::with_uid(&set.metadata.uid);
            unless_gone(sets.delete(&set.metadata.name, &options).await)?;
        }
        self.write_status(observed, plan).await
    }

    fn replica_sets_api(&self, deployment: &Deployment) -> Objects<ReplicaSet> {
        Objects::namespaced(&self.context.client, &deployment.metadata.namespace)
    }

    async fn create(&self, observed: &Observed, creation: &Creation) -> anyhow::Result<()> {
        let deployment = &*observed.deployment;
        match self.replica_sets_api(deployment).create(&creation.body).await {
            Ok(_) => {
                if creation.replicas > 0 {
                    self.note_scaling(deployment, "up", &creation.name, 0, creation.replicas);
                }
                Ok(())
            }
            Err(error) if errors::is_already_exists(&error) => self.resolve_collision(deployment, creation).await,
            // Everything in the namespace is going.
            Err(error) if errors::is_namespace_terminating(&error) => Err(error.into()),
            Err(error) => {
                let reason = errors::status(&error).map_or_else(|| error.to_string(), |status| status.message.clone());
                let message = format!("Failed to create new replica set {:?}: {reason}", creation.name);
                self.report_failed_creation(observed, &message).await;
                let about = ObjectReference::to(deployment);
                self.recorder.event(&about, EventType::Warning, "ReplicaSetCreateError", message);
                Err(error.into())
            }
        }
    }

    /// The name is taken: by the very ReplicaSet that the cache does not show yet, or by another with the same hash.
    async fn resolve_collision(&self, deployment: &Deployment, creation: &Creation) -> anyhow::Result<()> {
        let there = self.replica_sets_api(deployment).get(&creation.name).await?;
        let ours = there.metadata.is_controlled_by(&deployment.metadata.uid)
            && template::canonical(&there.spec.template) == template::canonical(&deployment.spec.template);
        if ours {
            // Its arrival in the cache brings the Deployment here again.
            return Ok(());
        }
        let count = deployment.status.collision_count.unwrap_or(0) + 1;
        self.deployments_api(deployment)
            .update_status(
                &deployment.metadata.name,
                Some(&deployment.metadata.resource_version),
                &json!({ "collisionCount": count }),
            )
            .await?;
        Err(anyhow!("the hash of replica set {} is taken, another will be tried", creation.name))
    }

    async fn report_failed_creation(&self, observed: &Observed, message: &str) {
        let deployment = &*observed.deployment;
        if status::progress_deadline(deployment).is_none() {
            return;
        }
        let mut list = deployment.status.conditions.clone();
        let failed = conditions::new(status::PROGRESSING, "False", "ReplicaSetCreateError", message, observed.now);
        conditions::set(&mut list, failed);
        if list == deployment.status.conditions {
            return;
        }
        let patch = json!({"conditions": conditions::to_json(&list, conditions::Form::WithUpdate)});
        let (name, version) = (&deployment.metadata.name, &deployment.metadata.resource_version);
        // The failed creation is the error to report; it will be tried again, and this with it.
        if let Err(error) = self.deployments_api(deployment).update_status(name, Some(version), &patch).await {
            tracing::debug!(%error, deployment = %deployment.metadata.key(), "cannot report the failed creation");
        }
    }

    async fn update(&self, observed: &Observed, update: &Update) -> anyhow::Result<()> {
        let deployment = &*observed.deployment;
        let (from, to) = (&update.from, &update.to);
        let changed = to.annotations.iter().filter(|(key, value)| from.metadata.annotations.get(key) != Some(value));
        let annotations: Map<String, Value> = changed.map(|(key, value)| (key.into(), json!(value))).collect();
        let mut spec = Map::new();
        if let Some((_, replicas)) = update.resized() {
            spec.insert("replicas".into(), json!(replicas));
        }
        if to.min_ready_seconds != from.spec.min_ready_seconds {
            spec.insert("minReadySeconds".into(), json!(to.min_ready_seconds));
        }
        let patch = json!({
            "metadata": {"resourceVersion": from.metadata.resource_version, "annotations": annotations},
            "spec": spec,
        });
        self.replica_sets_api(deployment).patch(&to.name, "", PatchKind::Merge, &patch).await?;
        if let Some((before, after)) = update.resized() {
            let direction = if after > before { "up" } else { "down" };
            self.note_scaling(deployment, direction, &to.name, before, after);
        }
        Ok(())
    }

    fn note_scaling(&self, deployment: &Deployment, direction: &str, name: &str, before: i32, after: i32) {
        let message = format!("Scaled {direction} replica set {name} from {before} to {after}");
        let about = ObjectReference::to(deployment);
        self.recorder.event(&about, EventType::Normal, "ScalingReplicaSet", message);
    }

    fn deployments_api(&self, deployment: &Deployment) -> Objects<Deployment> {
        Objects::namespaced(&self.context.client, &deployment.metadata.namespace)
    }

    /// Status and revision in one write: `/status` persists annotations too, and upstream does the same.
    async fn write_status(&self, observed: &Observed, plan: &Plan) -> anyhow::Result<()> {
        if plan.status.is_none() && plan.revision.is_none() {
            return Ok(());
        }
        let meta = &observed.deployment.metadata;
        let mut patch = json!({"metadata": {"resourceVersion": meta.resource_version}});
        if let Some(revision) = &plan.revision {
            patch["metadata"]["annotations"] = json!({ REVISION: revision });
        }
        if let Some(new) = &plan.status {
            patch["status"] = status::to_json(new);
        }
        let written = self.deployments_api(&observed.deployment).update(&meta.name, "status", None, &patch).await;
        unless_gone(written)?;
        Ok(())
    }
}
