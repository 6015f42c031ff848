//! StatefulSets: pods with a number each, which keep their name, their claims and, unless told otherwise, their order.
//!
//! Upstream: `pkg/controller/statefulset`. In reading order: [`identity`] (names and labels of a numbered pod),
//! [`claims`] (the claims that belong to it and who owns them), [`observe`], [`plan`] (pure: which pods to make, delete
//! and repair, in which order), [`status`], [`apply`]. Revisions are kept by [`crate::revisions`].
//!
//! What has been written and is not seen yet holds a set back by expectations, as with ReplicaSets.

mod apply;
mod claims;
mod identity;
mod observe;
mod plan;
mod status;

use std::sync::Arc;

use skiff_client::types::{ControllerRevision, HasMeta, PersistentVolumeClaim, Pod, StatefulSet};
use skiff_client::{Event, EventRecorder, Expectations, Informer, ObjectKey, Workqueue};

use crate::context::Context;
use crate::control_loop::{self, Next, Reconciler};
use crate::ownership::{self, CONTROLLER_INDEX, controller_index};
use crate::pods;

const NAME: &str = "statefulset-controller";

struct Controller {
    context: Context,
    sets: Informer<StatefulSet>,
    pods: Informer<Pod>,
    claims: Informer<PersistentVolumeClaim>,
    revisions: Informer<ControllerRevision>,
    /// By the set's UID.
    expectations: Arc<Expectations<String>>,
    recorder: EventRecorder,
}

/// Runs the controller.
pub async fn run(context: Context) -> anyhow::Result<()> {
    let controller = Arc::new(Controller {
        sets: context.informer(),
        pods: context.informer(),
        claims: context.informer(),
        revisions: context.informer(),
        expectations: Arc::default(),
        recorder: context.recorder(NAME),
        context: context.clone(),
    });
    controller.pods.add_index(CONTROLLER_INDEX, controller_index);
    controller.revisions.add_index(CONTROLLER_INDEX, controller_index);
    let queue = Workqueue::new();
    watch(&controller, &queue);
    let synced = context.synced(&controller.sets).await
        && context.synced(&controller.pods).await
        && context.synced(&controller.claims).await
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
    let selector = |set: &StatefulSet| set.spec.selector.clone();
    controller.pods.add_handler(move |event| {
        pods::strike_off(&event, &expectations);
        let mut keys = ownership::interested(&sets, event.object().meta(), selector);
        if let Event::Updated(old, _) = event {
            keys.extend(ownership::interested(&sets, old.meta(), selector));
        }
        keys.into_iter().for_each(|key| to.add(key));
    });

    // A pod may wait for its claim of before to be gone; nothing else says when it is.
    let (to, sets) = (queue.clone(), controller.sets.clone());
    controller.claims.add_handler(move |event| {
        let Event::Deleted(claim) = event else { return };
        for set in sets.list_namespace(&claim.metadata.namespace) {
            if claims::is_of(&set, &claim.metadata.name) {
                to.add(set.metadata.key());
            }
        }
    });
}

#[async_trait::async_trait]
impl Reconciler for Controller {
    type Key = ObjectKey;

    async fn reconcile(&self, key: &ObjectKey) -> anyhow::Result<Next> {
        let Some(set) = self.sets.get(key) else { return Ok(Next::Event) };
        let uid = &set.metadata.uid;
        if !self.expectations.satisfied(uid) {
            // What is missing comes as an event.
            return Ok(Next::Event.or_given_up(&self.expectations, uid));
        }
        let history = self.history(&set).await?;
        let observed = self.observe(set, history);
        self.claim_pods(&observed).await?;
        let plan = plan::plan(&observed);
        let outcome = self.carry_out(&observed, &plan).await;
        let truncated = self.truncate_history(&observed).await;
        outcome.and(truncated)?;
        Ok(plan.next.or_given_up(&self.expectations, &observed.set.metadata.uid))
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn goldens() {
        crate::golden::check("statefulset", super::plan::golden);
    }
}
