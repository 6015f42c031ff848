//! Does what the plan says.

use std::collections::HashSet;

use futures::future::join_all;
use serde_json::json;
use skiff_client::types::{Pod, ReplicaSetStatus};
use skiff_client::{ObjectReference, Objects};

use super::observe::Observed;
use super::plan::{Scale, status_json};
use super::{Controller, Replicas};
use crate::ownership::{self, controller_reference};
use crate::pod_control::{Deletion, PodControl, refusal};
use crate::pods;

impl<O: Replicas> Controller<O> {
    pub(super) async fn claim(&self, observed: &Observed) -> anyhow::Result<()> {
        let owner = &observed.owner;
        ownership::write_claim(&self.context.client, &owner.resource, &owner.meta, &observed.claim, None).await
    }

    pub(super) async fn scale(&self, observed: &Observed, scale: &Scale) -> anyhow::Result<()> {
        match scale {
            Scale::Nothing => Ok(()),
            Scale::Create(count) => self.create(observed, *count).await,
            Scale::Delete(pods) => {
                let uids: HashSet<String> = pods.iter().map(|pod| pod.metadata.uid.clone()).collect();
                self.expectations.expect_deletions(&observed.owner.meta.uid, uids);
                let deletions = pods.iter().map(|pod| self.delete(observed, pod));
                join_all(deletions).await.into_iter().collect()
            }
        }
    }

    async fn create(&self, observed: &Observed, count: usize) -> anyhow::Result<()> {
        let owner = &observed.owner;
        let reference = controller_reference(&owner.resource, &owner.meta);
        let mut pod = pods::from_template(&owner.template, &owner.meta.namespace, &reference);
        pod["metadata"]["generateName"] = json!(pods::generate_name(&owner.meta.name));
        self.expectations.expect_creations(&owner.meta.uid, count);
        let control = self.pod_control(observed);
        let started = pods::slow_start(count, |_| control.create(&pod)).await;
        for _ in 0..started.missing {
            self.expectations.creation_observed(&owner.meta.uid);
        }
        match started.error.flatten() {
            None => Ok(()),
            Some(error) => Err(refusal(error)),
        }
    }

    async fn delete(&self, observed: &Observed, pod: &Pod) -> anyhow::Result<()> {
        let deleted = self.pod_control(observed).delete(pod).await;
        if !matches!(deleted, Ok(Deletion::Asked)) {
            self.expectations.deletion_observed(&observed.owner.meta.uid, &pod.metadata.uid);
        }
        deleted.map(drop).map_err(refusal)
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
        let written = client.update_status(&meta.name, version, &status_json(status)).await;
        crate::control_loop::unless_gone(written)?;
        Ok(())
    }

    fn pod_control(&self, observed: &Observed) -> PodControl<'_> {
        let (resource, meta) = (&observed.owner.resource, &observed.owner.meta);
        let about = ObjectReference {
            api_version: resource.api_version(),
            kind: resource.kind.to_string(),
            namespace: meta.namespace.clone(),
            name: meta.name.clone(),
            uid: meta.uid.clone(),
            resource_version: meta.resource_version.clone(),
            field_path: String::new(),
        };
        PodControl::new(&self.context.client, &self.recorder, about)
    }
}
