//! Does what the plan says.

use std::collections::HashSet;

use futures::future::join_all;
use serde_json::json;
use skiff_client::objects::DeleteOptions;
use skiff_client::types::{Pod, ReplicaSetStatus};
use skiff_client::{EventType, ObjectKey, ObjectReference, Objects, errors};

use super::observe::Observed;
use super::plan::{Scale, status_json};
use super::{Controller, Replicas};
use crate::ownership::{self, controller_reference};
use crate::pods;

impl<O: Replicas> Controller<O> {
    pub(super) async fn claim(&self, observed: &Observed) -> anyhow::Result<()> {
        let owner = &observed.owner;
        ownership::write_claim(&self.context.client, &owner.resource, &owner.meta, &observed.claim, None).await
    }

    pub(super) async fn scale(&self, key: &ObjectKey, observed: &Observed, scale: &Scale) -> anyhow::Result<()> {
        match scale {
            Scale::Nothing => Ok(()),
            Scale::Create(count) => self.create(key, observed, *count).await,
            Scale::Delete(pods) => {
                let uids: HashSet<String> = pods.iter().map(|pod| pod.metadata.uid.clone()).collect();
                self.expectations.expect_deletions(key, uids);
                let deletions = pods.iter().map(|pod| self.delete(key, observed, pod));
                join_all(deletions).await.into_iter().collect()
            }
        }
    }

    async fn create(&self, key: &ObjectKey, observed: &Observed, count: usize) -> anyhow::Result<()> {
        let owner = &observed.owner;
        let reference = controller_reference(&owner.resource, &owner.meta);
        let mut pod = pods::from_template(&owner.template, &owner.meta.namespace, &reference);
        pod["metadata"]["generateName"] = json!(pods::generate_name(&owner.meta.name));
        self.expectations.expect_creations(key, count);
        let client = Objects::<Pod>::namespaced(&self.context.client, &owner.meta.namespace);
        let about = self.about(observed);
        let started = pods::slow_start(count, |_| async {
            match client.create(&pod).await {
                Ok(created) => {
                    let message = format!("Created pod: {}", created.metadata.name);
                    self.recorder.event(&about, EventType::Normal, "SuccessfulCreate", message);
                    Ok(())
                }
                // Everything in the namespace is going: no creation can succeed, and none is needed.
                Err(error) if errors::is_namespace_terminating(&error) => Err(None),
                Err(error) => {
                    let message = format!("Error creating: {}", describe(&error));
                    self.recorder.event(&about, EventType::Warning, "FailedCreate", message);
                    Err(Some(error))
                }
            }
        })
        .await;
        for _ in 0..started.missing {
            self.expectations.creation_observed(key);
        }
        match started.error.flatten() {
            None => Ok(()),
            Some(error) => Err(refusal(error)),
        }
    }

    async fn delete(&self, key: &ObjectKey, observed: &Observed, pod: &Pod) -> anyhow::Result<()> {
        let client = Objects::<Pod>::namespaced(&self.context.client, &pod.metadata.namespace);
        let deleted = client.delete(&pod.metadata.name, &DeleteOptions::with_uid(&pod.metadata.uid)).await;
        let about = self.about(observed);
        match deleted {
            Ok(()) => {
                let message = format!("Deleted pod: {}", pod.metadata.name);
                self.recorder.event(&about, EventType::Normal, "SuccessfulDelete", message);
                Ok(())
            }
            Err(error) => {
                self.expectations.deletion_observed(key, &pod.metadata.uid);
                // Gone, or made anew under the same name: either way this one needs no deletion.
                if errors::is_not_found(&error) || errors::is_conflict(&error) {
                    return Ok(());
                }
                let message = format!("Error deleting: {}", describe(&error));
                self.recorder.event(&about, EventType::Warning, "FailedDelete", message);
                Err(refusal(error))
            }
        }
    }

    pub(super) async fn write_status(
        &self,
        observed: &Observed,
        status: Option<&ReplicaSetStatus>,
    ) -> anyhow::Result<()> {
        let Some(status) = status else { return Ok(()) };
        let meta = &observed.owner.meta;
        let client = Objects::<O>::namespaced(&self.context.client, &meta.namespace);
        let version = Some(meta.resource_version.as_str());
        let written = client.patch_status(&meta.name, version, &status_json(status)).await;
        crate::control_loop::unless_gone(written)?;
        Ok(())
    }

    fn about(&self, observed: &Observed) -> ObjectReference {
        let (resource, meta) = (&observed.owner.resource, &observed.owner.meta);
        ObjectReference {
            api_version: resource.api_version(),
            kind: resource.kind.to_string(),
            namespace: meta.namespace.clone(),
            name: meta.name.clone(),
            uid: meta.uid.clone(),
            resource_version: meta.resource_version.clone(),
            field_path: String::new(),
        }
    }
}

/// The server's message alone, if it gave one: what a user should read.
fn describe(error: &kube::Error) -> String {
    errors::status(error).map_or_else(|| error.to_string(), |status| status.message.clone())
}

/// An error whose text is the server's message (it becomes a condition), and whose kind can still be asked for.
fn refusal(error: kube::Error) -> anyhow::Error {
    match error {
        kube::Error::Api(status) => {
            let message = status.message.clone();
            anyhow::Error::new(*status).context(message)
        }
        other => other.into(),
    }
}
