//! Reads what a plan needs, and does what it says.

use anyhow::bail;
use serde_json::{Map, Value, json};
use skiff_client::objects::DeleteOptions;
use skiff_client::types::{ClaimReference, PersistentVolume, PersistentVolumeClaim, StringMap};
use skiff_client::{EventType, Kind, ObjectKey, ObjectReference, Objects};

use super::claim_plan::{self, Note, World};
use super::volume_plan::{self, Reclaim};
use super::{BIND_COMPLETED, BOUND_BY_CONTROLLER, BY_CLAIM, Controller, Key, PROVISIONER, matching, reclaim};
use crate::control_loop::unless_gone;

/// Annotation of a volume that is being enlarged: its size before.
const SIZE_BEFORE: &str = "volume.alpha.kubernetes.io/pre-resize-capacity";

impl Controller {
    pub(super) async fn sync_claim(&self, key: &ObjectKey) -> anyhow::Result<()> {
        let Some(claim) = self.claims.get(key) else { return Ok(()) };
        let (volumes, classes) = (self.volumes.list(), self.classes.list());
        let pods = self.pods.by_index(BY_CLAIM, &key.to_string());
        let step = claim_plan::plan(&claim, &World { volumes: &volumes, classes: &classes, pods: &pods });
        match step {
            claim_plan::Step::Bind(volume) => self.bind(&volume, &claim).await,
            claim_plan::Step::Wait(note) => {
                self.note(&*claim, note);
                self.reset_claim(&claim, "Pending").await
            }
            claim_plan::Step::Lose(note) if claim.status.phase != "Lost" => {
                self.reset_claim(&claim, "Lost").await?;
                self.note(&*claim, Some(note));
                Ok(())
            }
            claim_plan::Step::Lose(_) => Ok(()),
            claim_plan::Step::AssignClass(class) => {
                self.change_claim(&claim, &json!({"spec": {"storageClassName": class}})).await.map(drop)
            }
            claim_plan::Step::Provision(driver) => self.ask_for_volume(&claim, &driver).await,
            claim_plan::Step::Fail(note, error) => {
                self.note(&*claim, Some(note));
                bail!(error)
            }
        }
    }

    pub(super) async fn sync_volume(&self, name: &str) -> anyhow::Result<()> {
        let Some(volume) = self.volumes.get_by_name("", name) else { return Ok(()) };
        let claim = self.claim_of(&volume).await?;
        match volume_plan::plan(&volume, claim.as_ref()) {
            volume_plan::Step::Phase(phase) => self.set_phase(&volume, phase, "").await.map(drop),
            volume_plan::Step::Release(what) => self.release(&volume, what).await,
            volume_plan::Step::Unbind(ours) => self.unbind(&volume, ours).await,
            volume_plan::Step::LookAtClaim => {
                if let Some(claim) = claim {
                    self.queue.add(Key::Claim(claim.metadata.key()));
                }
                Ok(())
            }
            volume_plan::Step::Mismatch { volume: of_volume, claim: of_claim } => {
                self.note(&*volume, Some(of_volume));
                if let Some(claim) = claim {
                    self.note(&claim, Some(of_claim));
                }
                Ok(())
            }
        }
    }

    /// The claim that a volume names. Before a volume is released, the server is asked: the cache may be behind.
    async fn claim_of(&self, volume: &PersistentVolume) -> anyhow::Result<Option<PersistentVolumeClaim>> {
        let Some(reference) = &volume.spec.claim_ref else { return Ok(None) };
        let cached = self.claims.get_by_name(&reference.namespace, &reference.name);
        if let Some(claim) = cached.filter(|claim| claim.metadata.uid == reference.uid) {
            return Ok(Some((*claim).clone()));
        }
        if matches!(volume.status.phase.as_str(), "Released" | "Failed") || reference.uid.is_empty() {
            return Ok(None);
        }
        let api = Objects::<PersistentVolumeClaim>::namespaced(&self.context.client, &reference.namespace);
        Ok(api.get_opt(&reference.name).await?)
    }

    /// Binds both to each other, volume first.
    async fn bind(&self, volume: &PersistentVolume, claim: &PersistentVolumeClaim) -> anyhow::Result<()> {
        let volume = match reference_change(volume, claim) {
            Some(changes) => self.change_volume(volume, &changes).await?,
            None => volume.clone(),
        };
        self.set_phase(&volume, "Bound", "").await?;
        let claim = match binding_change(claim, &volume) {
            Some(changes) => self.change_claim(claim, &changes).await?,
            None => claim.clone(),
        };
        let Some(status) = bound_status(&claim, &volume) else { return Ok(()) };
        self.set_claim_status(&claim, &status).await
    }

    async fn ask_for_volume(&self, claim: &PersistentVolumeClaim, driver: &str) -> anyhow::Result<()> {
        let asked = PROVISIONER.iter().all(|name| claim.metadata.annotations.get(name) == Some(driver));
        if !asked {
            let annotations: Map<String, Value> =
                PROVISIONER.iter().map(|name| ((*name).to_owned(), json!(driver))).collect();
            self.change_claim(claim, &json!({"metadata": {"annotations": annotations}})).await?;
        }
        let message = format!(
            "Waiting for a volume to be created either by the external provisioner '{driver}' or manually by the system administrator. If volume creation is delayed, please verify that the provisioner is running and correctly registered."
        );
        self.note(claim, Some(Note::new(EventType::Normal, "ExternalProvisioning", message)));
        Ok(())
    }

    async fn release(&self, volume: &PersistentVolume, what: Reclaim) -> anyhow::Result<()> {
        // A failure stays visible while it is tried again.
        let volume = match volume.status.phase.as_str() {
            "Released" | "Failed" => volume.clone(),
            _ => self.set_phase(volume, "Released", "").await?,
        };
        match what {
            Reclaim::Keep => Ok(()),
            Reclaim::Fail(reason, message) => self.fail(&volume, reason, message).await,
            Reclaim::DeleteHostPath(path) => {
                if let Err(error) = reclaim::delete_folder(&path).await {
                    return self.fail(&volume, "VolumeFailedDelete", error.to_string()).await;
                }
                let api = Objects::<PersistentVolume>::cluster(&self.context.client);
                let options = DeleteOptions::with_uid(&volume.metadata.uid);
                unless_gone(api.delete(&volume.metadata.name, &options).await)?;
                Ok(())
            }
        }
    }

    async fn fail(&self, volume: &PersistentVolume, reason: &'static str, message: String) -> anyhow::Result<()> {
        if volume.status.phase == "Failed" {
            return Ok(());
        }
        self.set_phase(volume, "Failed", &message).await?;
        self.note(volume, Some(Note::new(EventType::Warning, reason, message)));
        Ok(())
    }

    async fn unbind(&self, volume: &PersistentVolume, ours: bool) -> anyhow::Result<()> {
        let changes = match ours {
            true => json!({"spec": {"claimRef": null}, "metadata": {"annotations": {BOUND_BY_CONTROLLER: null}}}),
            false => json!({"spec": {"claimRef": {"uid": null}}}),
        };
        let volume = self.change_volume(volume, &changes).await?;
        self.set_phase(&volume, "Available", "").await?;
        Ok(())
    }

    async fn set_phase(
        &self,
        volume: &PersistentVolume,
        phase: &str,
        message: &str,
    ) -> anyhow::Result<PersistentVolume> {
        if volume.status.phase == phase {
            return Ok(volume.clone());
        }
        let message = if message.is_empty() { Value::Null } else { json!(message) };
        let api = Objects::<PersistentVolume>::cluster(&self.context.client);
        let version = Some(volume.metadata.resource_version.as_str());
        let status = json!({"phase": phase, "message": message});
        Ok(api.update_status(&volume.metadata.name, version, &status).await?)
    }

    /// The status of a claim without a volume.
    async fn reset_claim(&self, claim: &PersistentVolumeClaim, phase: &str) -> anyhow::Result<()> {
        let status = &claim.status;
        let is_so = status.phase == phase
            && status.access_modes.is_empty()
            && status.capacity.is_empty()
            && status.current_volume_attributes_class_name.is_empty();
        if is_so {
            return Ok(());
        }
        let status =
            json!({"phase": phase, "accessModes": null, "capacity": null, "currentVolumeAttributesClassName": null});
        self.set_claim_status(claim, &status).await
    }

    async fn set_claim_status(&self, claim: &PersistentVolumeClaim, status: &Value) -> anyhow::Result<()> {
        let api = Objects::<PersistentVolumeClaim>::namespaced(&self.context.client, &claim.metadata.namespace);
        let version = Some(claim.metadata.resource_version.as_str());
        unless_gone(api.update_status(&claim.metadata.name, version, status).await)?;
        Ok(())
    }

    async fn change_claim(
        &self,
        claim: &PersistentVolumeClaim,
        changes: &Value,
    ) -> anyhow::Result<PersistentVolumeClaim> {
        let api = Objects::<PersistentVolumeClaim>::namespaced(&self.context.client, &claim.metadata.namespace);
        let version = Some(claim.metadata.resource_version.as_str());
        Ok(api.update(&claim.metadata.name, "", version, changes).await?)
    }

    async fn change_volume(&self, volume: &PersistentVolume, changes: &Value) -> anyhow::Result<PersistentVolume> {
        let api = Objects::<PersistentVolume>::cluster(&self.context.client);
        let version = Some(volume.metadata.resource_version.as_str());
        Ok(api.update(&volume.metadata.name, "", version, changes).await?)
    }

    fn note<K: Kind>(&self, object: &K, note: Option<Note>) {
        if let Some(note) = note {
            self.recorder.event(&ObjectReference::to(object), note.type_, note.reason, note.message);
        }
    }
}

/// What a volume lacks to name the claim.
pub(super) fn reference_change(volume: &PersistentVolume, claim: &PersistentVolumeClaim) -> Option<Value> {
    let meta = &claim.metadata;
    let there = volume.spec.claim_ref.as_ref();
    let complete = there
        .is_some_and(|there| there.uid == meta.uid && there.name == meta.name && there.namespace == meta.namespace);
    let theirs = there.is_some_and(|there| matching::means(there, claim));
    let marked = theirs || volume.metadata.annotations.contains_key(BOUND_BY_CONTROLLER);
    if complete && marked {
        return None;
    }
    let mut changes = json!({});
    if !complete {
        let reference = ClaimReference {
            kind: PersistentVolumeClaim::RESOURCE.kind.to_string(),
            api_version: PersistentVolumeClaim::RESOURCE.api_version(),
            namespace: meta.namespace.clone(),
            name: meta.name.clone(),
            uid: meta.uid.clone(),
            resource_version: meta.resource_version.clone(),
        };
        changes["spec"] = json!({ "claimRef": reference });
    }
    if !marked {
        changes["metadata"] = json!({"annotations": {BOUND_BY_CONTROLLER: "yes"}});
    }
    Some(changes)
}

/// What a claim lacks to name the volume.
pub(super) fn binding_change(claim: &PersistentVolumeClaim, volume: &PersistentVolume) -> Option<Value> {
    let annotations = &claim.metadata.annotations;
    let named = claim.spec.volume_name == volume.metadata.name;
    if named && annotations.contains_key(BIND_COMPLETED) {
        return None;
    }
    let mut changes = json!({"metadata": {"annotations": {BIND_COMPLETED: "yes"}}});
    if !named {
        changes["spec"] = json!({"volumeName": volume.metadata.name});
        if !annotations.contains_key(BOUND_BY_CONTROLLER) {
            changes["metadata"]["annotations"][BOUND_BY_CONTROLLER] = json!("yes");
        }
    }
    Some(changes)
}

/// What a claim's status lacks, once it is bound. The size is the volume's at the time of binding: later it is the
/// business of who enlarges volumes.
pub(super) fn bound_status(claim: &PersistentVolumeClaim, volume: &PersistentVolume) -> Option<Value> {
    let status = &claim.status;
    let mut changes = Map::new();
    if status.access_modes != volume.spec.access_modes {
        changes.insert("accessModes".into(), json!(volume.spec.access_modes));
    }
    if status.phase != "Bound" {
        changes.insert("phase".into(), json!("Bound"));
        let mut capacity: StringMap = volume.spec.capacity.clone();
        if let Some(before) = volume.metadata.annotations.get(SIZE_BEFORE) {
            capacity.insert("storage", before);
        }
        changes.insert("capacity".into(), json!(capacity));
        let class = &volume.spec.volume_attributes_class_name;
        if status.phase == "Pending" && !class.is_empty() {
            changes.insert("currentVolumeAttributesClassName".into(), json!(class));
        }
    }
    (!changes.is_empty()).then_some(Value::Object(changes))
}
