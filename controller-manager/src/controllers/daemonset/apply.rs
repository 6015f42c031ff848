//! Does what the plan says.

use std::collections::HashSet;

use futures::future::join_all;
use skiff_client::types::{DaemonSet, Pod};
use skiff_client::{EventType, Kind, ObjectReference, Objects};

use super::observe::{Observed, place};
use super::plan::Plan;
use super::{Controller, status, template};
use crate::control_loop::unless_gone;
use crate::ownership;
use crate::pod_control::{Deletion, PodControl, refusal};
use crate::pods;

impl Controller {
    pub(super) async fn claim_pods(&self, observed: &Observed) -> anyhow::Result<()> {
        let set = &observed.set.metadata;
        ownership::write_claim(&self.context.client, &DaemonSet::RESOURCE, set, &observed.pods, None).await
    }

    pub(super) async fn carry_out(&self, observed: &Observed, plan: &Plan) -> anyhow::Result<()> {
        let about = ObjectReference::to(&*observed.set);
        for (node, pod) in &plan.ended {
            let (namespace, name) = (&pod.metadata.namespace, &pod.metadata.name);
            if pod.status.phase == "Failed" {
                self.failed_pods.replaced(&place(&observed.set, node), observed.now);
                let message = format!("Found failed daemon pod {namespace}/{name} on node {node}, will try to kill it");
                self.recorder.event(&about, EventType::Warning, "FailedDaemonPod", message);
            } else {
                let message =
                    format!("Found succeeded daemon pod {namespace}/{name} on node {node}, will try to delete it");
                self.recorder.event(&about, EventType::Normal, "SucceededDaemonPod", message);
            }
        }
        if !plan.create.is_empty() || !plan.delete.is_empty() {
            let going: HashSet<String> = plan.delete.iter().map(|pod| pod.metadata.uid.clone()).collect();
            self.expectations.expect(&observed.set.metadata.uid, plan.create.len(), going);
        }
        let control = PodControl::new(&self.context.client, &self.recorder, about);
        let created = self.create(observed, &control, &plan.create).await;
        let deletions = plan.delete.iter().map(|pod| self.delete(observed, &control, pod));
        let deleted: anyhow::Result<()> = join_all(deletions).await.into_iter().collect();
        created.and(deleted)?;
        if plan.truncate {
            self.truncate_history(observed).await?;
        }
        Ok(())
    }

    async fn create(&self, observed: &Observed, control: &PodControl<'_>, nodes: &[String]) -> anyhow::Result<()> {
        let started = pods::slow_start(nodes.len(), |at| async move {
            control.create(&template::pod(&observed.set, &observed.history.hash, &nodes[at])).await
        })
        .await;
        for _ in 0..started.missing {
            self.expectations.creation_observed(&observed.set.metadata.uid);
        }
        started.error.flatten().map_or(Ok(()), |error| Err(refusal(error)))
    }

    async fn delete(&self, observed: &Observed, control: &PodControl<'_>, pod: &Pod) -> anyhow::Result<()> {
        let deleted = control.delete(pod).await;
        if !matches!(deleted, Ok(Deletion::Asked)) {
            self.expectations.deletion_observed(&observed.set.metadata.uid, &pod.metadata.uid);
        }
        deleted.map(drop).map_err(refusal)
    }

    pub(super) async fn write_status(&self, observed: &Observed) -> anyhow::Result<()> {
        let Some(status) = status::changed(observed) else { return Ok(()) };
        let meta = &observed.set.metadata;
        let api = Objects::<DaemonSet>::namespaced(&self.context.client, &meta.namespace);
        let version = Some(meta.resource_version.as_str());
        unless_gone(api.update_status(&meta.name, version, &status::to_json(&status)).await)?;
        Ok(())
    }
}
