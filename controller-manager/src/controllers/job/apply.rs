//! Does what the plan says, in the order that keeps the counts right.

use std::collections::HashSet;
use std::sync::Arc;

use futures::future::join_all;
use serde_json::{Value, json};
use skiff_client::clock::format_time;
use skiff_client::objects::{DeleteOptions, PatchKind};
use skiff_client::types::{HasMeta, Job, JobStatus, Pod, UncountedPods};
use skiff_client::{EventType, Kind, ObjectKey, ObjectReference, Objects, errors};

use super::observe::{FINALIZER, Observed};
use super::plan::{NewPod, Plan};
use super::{Controller, TRACKED_INDEX, selector, template};
use crate::conditions::{self, Form};
use crate::control_loop::unless_gone;
use crate::ownership;
use crate::pods::slow_start;

impl Controller {
    /// Adopts orphans and lets go what does not match.
    pub(super) async fn claim(&self, job: &Arc<Job>) -> anyhow::Result<()> {
        let candidates = ownership::candidates(&self.pods, job.meta());
        let claim = ownership::claim(job.meta(), &selector(job), candidates);
        ownership::write_claim(&self.context.client, &Job::RESOURCE, job.meta(), &claim, Some(FINALIZER)).await
    }

    /// Pods that name a Job which is gone, or is another one by now, are counted by nobody.
    pub(super) async fn release_orphans(&self, key: &ObjectKey, job: Option<&Job>) -> anyhow::Result<()> {
        let tracked = self.pods.by_index(TRACKED_INDEX, &key.to_string());
        let orphans = tracked.iter().filter(|pod| {
            let owner = pod.metadata.controller_of();
            job.is_none_or(|job| owner.is_none_or(|owner| owner.uid != job.metadata.uid))
        });
        for pod in orphans {
            self.release(pod).await?;
        }
        Ok(())
    }

    pub(super) async fn carry_out(&self, key: &ObjectKey, observed: &Observed, plan: Plan) -> anyhow::Result<()> {
        let job = &observed.job;
        if let Some(status) = &plan.status {
            self.write_status(key, job, status).await?;
        }
        for (normal, reason, message) in &plan.events {
            let type_ = if *normal { EventType::Normal } else { EventType::Warning };
            self.recorder.event(&ObjectReference::to(job.as_ref()), type_, reason, message.as_str());
        }
        for pod in &plan.release {
            self.released.lock().entry(key.clone()).or_default().insert(pod.metadata.uid.clone());
            if let Err(error) = self.release(pod).await {
                self.forget_release(key, &pod.metadata.uid);
                return Err(error);
            }
        }
        let deletions: HashSet<String> =
            plan.surplus.iter().chain(&plan.delete).map(|pod| pod.metadata.uid.clone()).collect();
        if !deletions.is_empty() {
            self.expectations.expect_deletions(&job.metadata.uid, deletions);
            let surplus = plan.surplus.iter().map(|pod| self.delete(key, job, pod, true));
            let over = plan.delete.iter().map(|pod| self.delete(key, job, pod, false));
            join_all(surplus).await.into_iter().collect::<anyhow::Result<()>>()?;
            join_all(over).await.into_iter().collect::<anyhow::Result<()>>()?;
        }
        if !plan.create.is_empty() {
            self.create(job, &plan.create).await?;
        }
        Ok(())
    }

    async fn write_status(&self, key: &ObjectKey, job: &Job, status: &JobStatus) -> anyhow::Result<()> {
        let client = Objects::<Job>::namespaced(&self.context.client, &key.namespace);
        let version = Some(job.metadata.resource_version.as_str());
        let after = unless_gone(client.update_status(&key.name, version, &status_json(status)).await)?;
        if let Some(version) = after.and_then(|after| after.metadata.resource_version.parse().ok()) {
            self.written.lock().insert(key.clone(), version);
        }
        Ok(())
    }

    /// Removes our finalizer from a pod.
    async fn release(&self, pod: &Pod) -> anyhow::Result<()> {
        let patch = json!({"metadata": {"uid": pod.metadata.uid, "$deleteFromPrimitiveList/finalizers": [FINALIZER]}});
        let client = Objects::<Pod>::namespaced(&self.context.client, &pod.metadata.namespace);
        match client.patch(&pod.metadata.name, "", PatchKind::Strategic, &patch).await {
            // The pod is another one by now.
            Err(error) if errors::is_invalid(&error) || errors::is_conflict(&error) => Ok(()),
            done => Ok(drop(unless_gone(done)?)),
        }
    }

    fn forget_release(&self, key: &ObjectKey, uid: &str) {
        if let Some(uids) = self.released.lock().get_mut(key) {
            uids.remove(uid);
        }
    }

    async fn delete(&self, key: &ObjectKey, job: &Job, pod: &Pod, release: bool) -> anyhow::Result<()> {
        if release && pod.metadata.has_finalizer(FINALIZER) {
            // It did not fail: nobody is to count it.
            self.released.lock().entry(key.clone()).or_default().insert(pod.metadata.uid.clone());
            if let Err(error) = self.release(pod).await {
                self.forget_release(key, &pod.metadata.uid);
                self.expectations.deletion_observed(&job.metadata.uid, &pod.metadata.uid);
                return Err(error);
            }
        }
        let client = Objects::<Pod>::namespaced(&self.context.client, &pod.metadata.namespace);
        let about = ObjectReference::to(job);
        match client.delete(&pod.metadata.name, &DeleteOptions::with_uid(&pod.metadata.uid)).await {
            Ok(()) => {
                let message = format!("Deleted pod: {}", pod.metadata.name);
                self.recorder.event(&about, EventType::Normal, "SuccessfulDelete", message);
                Ok(())
            }
            Err(error) => {
                self.expectations.deletion_observed(&job.metadata.uid, &pod.metadata.uid);
                if errors::is_not_found(&error) || errors::is_conflict(&error) {
                    return Ok(());
                }
                let message = format!("Error deleting: {error}");
                self.recorder.event(&about, EventType::Warning, "FailedDelete", message);
                Err(error.into())
            }
        }
    }

    async fn create(&self, job: &Job, new: &[NewPod]) -> anyhow::Result<()> {
        let reference = template::reference(job);
        self.expectations.expect_creations(&job.metadata.uid, new.len());
        let client = Objects::<Pod>::namespaced(&self.context.client, &job.metadata.namespace);
        let about = ObjectReference::to(job);
        let (client, about, reference) = (&client, &about, &reference);
        let started = slow_start(new.len(), |at| async move {
            match client.create(&template::pod(job, reference, &new[at])).await {
                Ok(created) => {
                    let message = format!("Created pod: {}", created.metadata.name);
                    self.recorder.event(about, EventType::Normal, "SuccessfulCreate", message);
                    Ok(())
                }
                Err(error) if errors::is_namespace_terminating(&error) => Err(None),
                Err(error) => {
                    let text = errors::status(&error).map_or_else(|| error.to_string(), |s| s.message.clone());
                    let message = format!("Error creating: {text}");
                    self.recorder.event(about, EventType::Warning, "FailedCreate", message);
                    Err(Some(error))
                }
            }
        })
        .await;
        for _ in 0..started.missing {
            self.expectations.creation_observed(&job.metadata.uid);
        }
        started.error.flatten().map_or(Ok(()), |error| Err(error.into()))
    }
}

/// The status as a merge patch: what is not there is taken away.
fn status_json(status: &JobStatus) -> Value {
    let time = |time: Option<jiff::Timestamp>| time.map_or(Value::Null, |time| json!(format_time(time)));
    let number = |number: i32| if number == 0 { Value::Null } else { json!(number) };
    let text = |text: &str| if text.is_empty() { Value::Null } else { json!(text) };
    let noted = status.uncounted_terminated_pods.clone().unwrap_or_default();
    // Replaced as a whole, or a list that became empty would stay.
    let list = |uids: &[String]| if uids.is_empty() { Value::Null } else { json!(uids) };
    let noted = match noted == UncountedPods::default() && status.completion_time.is_some() {
        true => Value::Null,
        false => json!({"succeeded": list(&noted.succeeded), "failed": list(&noted.failed)}),
    };
    json!({
        "conditions": if status.conditions.is_empty() { Value::Null } else { conditions::to_json(&status.conditions, Form::WithProbe) },
        "startTime": time(status.start_time),
        "completionTime": time(status.completion_time),
        "active": number(status.active),
        "succeeded": number(status.succeeded),
        "failed": number(status.failed),
        "terminating": status.terminating,
        "ready": status.ready,
        "completedIndexes": text(&status.completed_indexes),
        "failedIndexes": status.failed_indexes,
        "uncountedTerminatedPods": noted,
    })
}
