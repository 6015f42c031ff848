//! Does what the plan says.

use std::collections::HashSet;

use anyhow::bail;
use parking_lot::Mutex;
use serde_json::{Value, json};
use skiff_client::objects::{DeleteOptions, PatchKind};
use skiff_client::types::{ControllerRevision, PersistentVolumeClaim, Pod, StatefulSet};
use skiff_client::{EventType, Kind, ObjectReference, Objects, errors};

use super::claims::NewOwners;
use super::observe::{Observed, Revision};
use super::plan::{Plan, Step};
use super::{Controller, claims, identity, status};
use crate::control_loop::unless_gone;
use crate::pod_control::{describe, refusal};
use crate::{ownership, pods};

impl Controller {
    pub(super) async fn claim_pods(&self, observed: &Observed) -> anyhow::Result<()> {
        let set = &observed.set.metadata;
        ownership::write_claim(&self.context.client, &StatefulSet::RESOURCE, set, &observed.pods, None).await
    }

    /// Takes the steps as far as they succeed, and writes the status in any case.
    pub(super) async fn carry_out(&self, observed: &Observed, plan: &Plan) -> anyhow::Result<()> {
        let uid = &observed.set.metadata.uid;
        self.expect(uid, plan);
        let mut outcome = Ok(());
        for phase in [&plan.replicas, &plan.condemned] {
            if outcome.is_ok() {
                outcome = self.take(observed, plan, phase).await.1;
            } else {
                self.strike_off_all(uid, phase);
            }
        }
        let mut status = plan.status.clone();
        if outcome.is_ok() {
            let (deleted, result) = self.take(observed, plan, &plan.update).await;
            // They were of the current revision, and the roll-out is not complete without them.
            status.current_replicas -= i32::try_from(deleted).unwrap_or(0);
            outcome = result;
        } else {
            self.strike_off_all(uid, &plan.update);
        }
        let written = self.write_status(observed, status).await;
        outcome.and(written)
    }

    fn expect(&self, uid: &String, plan: &Plan) {
        let steps = || plan.replicas.iter().chain(&plan.condemned).chain(&plan.update);
        let creations = steps().filter(|step| matches!(step, Step::Create { .. })).count();
        let deletions: HashSet<String> = steps()
            .filter_map(|step| match step {
                Step::Delete(pod) => Some(pod.metadata.uid.clone()),
                _ => None,
            })
            .collect();
        self.expectations.expect(uid, creations, deletions);
    }

    fn strike_off_all(&self, uid: &String, steps: &[Step]) {
        steps.iter().for_each(|step| self.strike_off_step(uid, step));
    }

    fn strike_off_step(&self, uid: &String, step: &Step) {
        match step {
            Step::Create { .. } => self.expectations.creation_observed(uid),
            Step::Delete(pod) => self.expectations.deletion_observed(uid, &pod.metadata.uid),
            _ => {}
        }
    }

    /// Takes the steps of a phase, in order or in growing batches; how many were taken, and the first failure.
    async fn take(&self, observed: &Observed, plan: &Plan, steps: &[Step]) -> (usize, anyhow::Result<()>) {
        let uid = &observed.set.metadata.uid;
        let begun = Mutex::new(vec![false; steps.len()]);
        let step = |at: usize| {
            if let Some(begun) = begun.lock().get_mut(at) {
                *begun = true;
            }
            let step = &steps[at];
            async move {
                let taken = self.step(observed, step).await;
                if taken.is_err() {
                    self.strike_off_step(uid, step);
                }
                taken
            }
        };
        let (taken, outcome) = if plan.in_order {
            let mut taken = 0;
            let mut outcome = Ok(());
            for at in 0..steps.len() {
                outcome = step(at).await;
                if outcome.is_err() {
                    break;
                }
                taken += 1;
            }
            (taken, outcome)
        } else {
            let started = pods::slow_start(steps.len(), step).await;
            (started.succeeded, started.error.map_or(Ok(()), Err))
        };
        for (step, begun) in steps.iter().zip(begun.into_inner()) {
            if !begun {
                self.strike_off_step(uid, step);
            }
        }
        (taken, outcome)
    }

    async fn step(&self, observed: &Observed, step: &Step) -> anyhow::Result<()> {
        match step {
            Step::Create { ordinal, revision } => self.create(observed, *ordinal, revision).await,
            Step::MakeClaims { pod, ordinal } => {
                let made = self.make_claims(observed, &pod.metadata.name, *ordinal).await;
                made.inspect_err(|error| self.note(observed, "Update", &pod.metadata.name, Some(error)))
            }
            Step::Own { pod, owners } => {
                let changed = self.change_owners(observed, owners).await;
                changed.inspect_err(|error| self.note(observed, "Update", &pod.metadata.name, Some(error)))
            }
            Step::Repair { pod, ordinal, volumes } => self.repair(observed, pod, *ordinal, *volumes).await,
            Step::Delete(pod) => self.delete(observed, pod).await,
        }
    }

    async fn create(&self, observed: &Observed, ordinal: i32, revision: &Revision) -> anyhow::Result<()> {
        let set = &observed.set;
        let name = identity::name(set, ordinal);
        if let Err(error) = self.make_claims(observed, &name, ordinal).await {
            self.note(observed, "Create", &name, Some(&error));
            return Err(error);
        }
        let pod = identity::pod(set, &revision.template, &revision.name, ordinal);
        match self.pods_api(set).create(&pod).await {
            Ok(_) => self.note(observed, "Create", &name, None),
            // Ours, and the cache does not show it yet, or somebody else's: either way nothing was made.
            Err(error) if errors::is_already_exists(&error) => return Err(error.into()),
            Err(error) => {
                let error = refusal(error);
                self.note(observed, "Create", &name, Some(&error));
                return Err(error);
            }
        }
        Ok(())
    }

    /// Makes the claims of a number that are not there.
    async fn make_claims(&self, observed: &Observed, pod: &str, ordinal: i32) -> anyhow::Result<()> {
        let set = &observed.set;
        let api = Objects::<PersistentVolumeClaim>::namespaced(&self.context.client, &set.metadata.namespace);
        let mut failures = Vec::new();
        for (name, body) in claims::claim_names(set, ordinal).into_iter().zip(claims::bodies(set, ordinal)) {
            match observed.claims.get(&name) {
                Some(claim) if claim.metadata.is_deleting() => failures.push(format!("pvc {name} is being deleted")),
                Some(_) => {}
                None => match api.create(&body).await {
                    Ok(_) => self.note_claim(observed, &name, pod, None),
                    // The cache does not show it yet.
                    Err(error) if errors::is_already_exists(&error) => {}
                    Err(error) => {
                        let error = refusal(error);
                        self.note_claim(observed, &name, pod, Some(&error));
                        failures.push(format!("failed to create PVC {name}: {error}"));
                    }
                },
            }
        }
        match failures.as_slice() {
            [] => Ok(()),
            [one] => bail!("{one}"),
            many => bail!("[{}]", many.join(", ")),
        }
    }

    async fn change_owners(&self, observed: &Observed, change: &NewOwners) -> anyhow::Result<()> {
        let claim = &change.claim.metadata;
        if change.conflict {
            let message = format!(
                "PersistentVolumeClaim {} has a conflicting OwnerReference that acts as a manging controller, the retention policy is ignored for this claim",
                claim.name
            );
            let about = ObjectReference::to(&*observed.set);
            self.recorder.event(&about, EventType::Warning, "ConflictingController", message);
        }
        let api = Objects::<PersistentVolumeClaim>::namespaced(&self.context.client, &claim.namespace);
        let owners = if change.owners.is_empty() { Value::Null } else { json!(change.owners) };
        let patch = json!({"metadata": {"resourceVersion": claim.resource_version, "ownerReferences": owners}});
        match unless_gone(api.update(&claim.name, "", None, &patch).await) {
            Ok(_) => Ok(()),
            Err(error) => {
                let text =
                    format!("could not update claim {} for delete policy ownerRefs: {}", claim.name, describe(&error));
                Err(anyhow::Error::new(error).context(text))
            }
        }
    }

    async fn repair(&self, observed: &Observed, pod: &Pod, ordinal: i32, volumes: bool) -> anyhow::Result<()> {
        let mut patch =
            json!({"metadata": {"uid": pod.metadata.uid, "labels": identity::labels(&observed.set, ordinal)}});
        if volumes {
            // The server refuses this on a pod that exists, and its reason is what the user should read.
            patch["spec"]["volumes"] = json!(claims::volumes(&observed.set, ordinal, Value::Null));
        }
        let name = &pod.metadata.name;
        let patched = self.pods_api(&observed.set).patch(name, "", PatchKind::Strategic, &patch).await;
        let outcome = patched.map(drop).map_err(refusal);
        self.note(observed, "Update", name, outcome.as_ref().err());
        outcome
    }

    async fn delete(&self, observed: &Observed, pod: &Pod) -> anyhow::Result<()> {
        let name = &pod.metadata.name;
        match self.pods_api(&observed.set).delete(name, &DeleteOptions::with_uid(&pod.metadata.uid)).await {
            Ok(()) => {}
            // Gone, or made anew under the same name: this one needs no deletion, and none will be seen.
            Err(error) if errors::is_not_found(&error) || errors::is_conflict(&error) => {
                self.expectations.deletion_observed(&observed.set.metadata.uid, &pod.metadata.uid);
            }
            Err(error) => {
                let error = refusal(error);
                self.note(observed, "Delete", name, Some(&error));
                return Err(error);
            }
        }
        self.note(observed, "Delete", name, None);
        Ok(())
    }

    /// Deletes the oldest revisions that no pod has, beyond those that are to be kept.
    pub(super) async fn truncate_history(&self, observed: &Observed) -> anyhow::Result<()> {
        let (set, history) = (&observed.set, &observed.history);
        let Ok(limit) = usize::try_from(set.spec.revision_history_limit.unwrap_or(10)) else { return Ok(()) };
        let in_use = |name: &str| {
            name == history.current.name
                || name == history.update.name
                || observed.pods.claimed.iter().any(|pod| status::revision_of(pod) == name)
        };
        let mut unused: Vec<_> = history.all.iter().filter(|revision| !in_use(&revision.metadata.name)).collect();
        unused.truncate(unused.len().saturating_sub(limit));
        let api = Objects::<ControllerRevision>::namespaced(&self.context.client, &set.metadata.namespace);
        for revision in unused {
            let options = DeleteOptions::with_uid(&revision.metadata.uid);
            unless_gone(api.delete(&revision.metadata.name, &options).await)?;
        }
        Ok(())
    }

    async fn write_status(
        &self,
        observed: &Observed,
        status: skiff_client::types::StatefulSetStatus,
    ) -> anyhow::Result<()> {
        let set = &observed.set;
        let status = status::complete(set, status);
        if !status::differs(set, &status) {
            return Ok(());
        }
        let api = Objects::<StatefulSet>::namespaced(&self.context.client, &set.metadata.namespace);
        let version = Some(set.metadata.resource_version.as_str());
        unless_gone(api.update_status(&set.metadata.name, version, &status::to_json(&status)).await)?;
        Ok(())
    }

    fn pods_api(&self, set: &StatefulSet) -> Objects<Pod> {
        Objects::namespaced(&self.context.client, &set.metadata.namespace)
    }

    /// Tells the user what was done to a pod, or why it failed. `verb` is capitalized.
    fn note(&self, observed: &Observed, verb: &str, pod: &str, failure: Option<&anyhow::Error>) {
        let set = &observed.set.metadata.name;
        let about = ObjectReference::to(&*observed.set);
        let (type_, reason, message) = match failure {
            None => (EventType::Normal, "Successful", format!("{verb} Pod {pod} in StatefulSet {set} successful")),
            Some(error) => {
                let message = format!("{verb} Pod {pod} in StatefulSet {set} failed error: {error}");
                (EventType::Warning, "Failed", message)
            }
        };
        self.recorder.event(&about, type_, &format!("{reason}{verb}"), message);
    }

    fn note_claim(&self, observed: &Observed, claim: &str, pod: &str, failure: Option<&anyhow::Error>) {
        let set = &observed.set.metadata.name;
        let about = ObjectReference::to(&*observed.set);
        let (type_, reason, message) = match failure {
            None => {
                let message = format!("Create Claim {claim} Pod {pod} in StatefulSet {set} success");
                (EventType::Normal, "SuccessfulCreate", message)
            }
            Some(error) => {
                let message = format!("Create Claim {claim} for Pod {pod} in StatefulSet {set} failed error: {error}");
                (EventType::Warning, "FailedCreate", message)
            }
        };
        self.recorder.event(&about, type_, reason, message);
    }
}
