//! DaemonSets: one pod on every node that fits.
//!
//! Upstream: `pkg/controller/daemon`. In reading order: [`template`] (the pod for a node), [`fit`] (which nodes should
//! run it), [`history`] (revisions of the template), [`observe`], [`plan`] (pure: pods to make and delete so that each
//! node has what it should), [`rollout`] (pure: replacing old pods), [`status`], [`backoff`] (of pods that fail again and
//! again), [`apply`]. Pods are pinned to their node by affinity and bound by the scheduler.

mod apply;
mod backoff;
mod fit;
mod history;
mod observe;
mod plan;
mod rollout;
mod status;
mod template;

use std::sync::Arc;

use skiff_client::types::{ControllerRevision, DaemonSet, HasMeta, Node, Pod};
use skiff_client::{Event, EventRecorder, EventType, Expectations, Informer, ObjectKey, ObjectReference, Workqueue};

use crate::context::Context;
use crate::control_loop::{self, Next, Reconciler};
use crate::ownership::{self, CONTROLLER_INDEX, controller_index};
use crate::pods;
use backoff::FailedPods;

const NAME: &str = "daemonset-controller";

struct Controller {
    context: Context,
    sets: Informer<DaemonSet>,
    pods: Informer<Pod>,
    nodes: Informer<Node>,
    revisions: Informer<ControllerRevision>,
    /// By the set's UID.
    expectations: Arc<Expectations<String>>,
    failed_pods: FailedPods,
    recorder: EventRecorder,
}

/// Runs the controller.
pub async fn run(context: Context) -> anyhow::Result<()> {
    let controller = Arc::new(Controller {
        sets: context.informer(),
        pods: context.informer(),
        nodes: context.informer(),
        revisions: context.informer(),
        expectations: Arc::default(),
        failed_pods: FailedPods::default(),
        recorder: context.recorder(NAME),
        context: context.clone(),
    });
    controller.pods.add_index(CONTROLLER_INDEX, controller_index);
    controller.revisions.add_index(CONTROLLER_INDEX, controller_index);
    let queue = Workqueue::new();
    watch(&controller, &queue);
    let synced = context.synced(&controller.sets).await
        && context.synced(&controller.pods).await
        && context.synced(&controller.nodes).await
        && context.synced(&controller.revisions).await;
    if !synced {
        return Ok(());
    }
    control_loop::run(NAME, &context, queue, controller).await
}

fn watch(controller: &Controller, queue: &Workqueue<ObjectKey>) {
    let (to, expectations) = (queue.clone(), controller.expectations.clone());
    controller.sets.add_handler(move |event| {
        if let Event::Deleted(set) = &event {
            expectations.forget(&set.metadata.uid);
        }
        to.add(event.object().metadata.key());
    });

    let (to, sets, expectations) = (queue.clone(), controller.sets.clone(), controller.expectations.clone());
    let selector = |set: &DaemonSet| set.spec.selector.clone();
    controller.pods.add_handler(move |event| {
        pods::strike_off(&event, &expectations);
        let mut keys = ownership::interested(&sets, event.object().meta(), selector);
        if let Event::Updated(old, _) = event {
            keys.extend(ownership::interested(&sets, old.meta(), selector));
        }
        keys.into_iter().for_each(|key| to.add(key));
    });

    let (to, sets) = (queue.clone(), controller.sets.clone());
    controller.revisions.add_handler(move |event| {
        if !is_news(&event) {
            return;
        }
        let mut keys = ownership::interested(&sets, event.object().meta(), selector);
        if let Event::Updated(old, _) = event {
            keys.extend(ownership::interested(&sets, old.meta(), selector));
        }
        keys.into_iter().for_each(|key| to.add(key));
    });

    // Nodes report every few seconds; only what decides where pods fit matters.
    let (to, sets) = (queue.clone(), controller.sets.clone());
    controller.nodes.add_handler(move |event| {
        if let Event::Updated(old, new) = event
            && old.metadata.labels == new.metadata.labels
            && old.spec.taints == new.spec.taints
        {
            return;
        }
        sets.list().iter().for_each(|set| to.add(set.metadata.key()));
    });
}

/// Whether a set is looked at because of a revision: one that is deleted or changed by others is put right, and an orphan
/// may be adopted. One that is made with an owner asks for nothing, and whoever made it may not be done with the one that
/// it is to replace.
fn is_news(event: &Event<'_, ControllerRevision>) -> bool {
    !matches!(event, Event::Added(revision) if revision.metadata.controller_of().is_some())
}

#[async_trait::async_trait]
impl Reconciler for Controller {
    type Key = ObjectKey;

    async fn reconcile(&self, key: &ObjectKey) -> anyhow::Result<Next> {
        let Some(set) = self.sets.get(key) else { return Ok(Next::Event) };
        if set.spec.selector.is_empty() {
            let message = "This daemon set is selecting all pods. A non-empty selector is required.";
            self.recorder.event(&ObjectReference::to(&*set), EventType::Warning, "SelectingAll", message);
            return Ok(Next::Event);
        }
        if set.metadata.is_deleting() {
            // Its revisions may be gone before its pods, so that nothing true can be said about these.
            return Ok(Next::Event);
        }
        let history = self.history(&set).await?;
        let observed = self.observe(set, history);
        self.claim_pods(&observed).await?;
        let plan = plan::plan(&observed);
        let outcome = self.carry_out(&observed, &plan).await;
        let written = self.write_status(&observed).await;
        outcome.and(written)?;
        Ok(plan.next.or_given_up(&self.expectations, &observed.set.metadata.uid))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_revision_that_is_made_with_an_owner_asks_for_nothing() {
        let revision = |owners: serde_json::Value| -> Arc<ControllerRevision> {
            let object = serde_json::json!({"metadata": {"name": "r", "ownerReferences": owners}, "revision": 1});
            Arc::new(serde_json::from_value(object).expect("a revision"))
        };
        let owned = revision(serde_json::json!([
            {"apiVersion": "apps/v1", "kind": "DaemonSet", "name": "d", "uid": "u", "controller": true}
        ]));
        let orphan = revision(serde_json::json!([]));
        let news =
            [Event::Added(&owned), Event::Added(&orphan), Event::Updated(&orphan, &owned), Event::Deleted(&owned)];
        assert_eq!(news.each_ref().map(is_news), [false, true, true, true]);
    }

    #[test]
    fn goldens() {
        crate::golden::check("daemonset", super::plan::golden);
    }
}
