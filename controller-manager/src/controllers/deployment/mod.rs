//! Deployments: replace the pods of an application step by step, by growing one ReplicaSet and shrinking others.
//!
//! Upstream: `pkg/controller/deployment`. [`plan`] works on copies of the ReplicaSets: each step changes the copy as
//! the write will change the object, so the status and the next steps are computed from what will be there. In
//! reading order: [`replica_sets`] (which is the new one, revisions, annotations), [`rollout`] (rolling update,
//! recreate), [`scaling`] (a change of size in the middle of a roll-out), [`status`] (counts, conditions, deadline).

mod apply;
mod observe;
mod plan;
mod replica_sets;
mod rollout;
mod scaling;
mod status;
mod template;

use std::sync::Arc;

use skiff_client::types::{Deployment, HasMeta, Pod, ReplicaSet};
use skiff_client::{Event, EventRecorder, EventType, Informer, ObjectKey, ObjectReference, Workqueue};

use crate::context::Context;
use crate::control_loop::{self, Next, Reconciler};
use crate::ownership::{self, CONTROLLER_INDEX, controller_index};

const NAME: &str = "deployment-controller";

struct Controller {
    context: Context,
    deployments: Informer<Deployment>,
    replica_sets: Informer<ReplicaSet>,
    pods: Informer<Pod>,
    recorder: EventRecorder,
}

/// Runs the Deployment controller.
pub async fn run(context: Context) -> anyhow::Result<()> {
    let controller = Arc::new(Controller {
        deployments: context.informer(),
        replica_sets: context.informer(),
        pods: context.informer(),
        recorder: context.recorder(NAME),
        context: context.clone(),
    });
    controller.replica_sets.add_index(CONTROLLER_INDEX, controller_index);
    controller.pods.add_index(CONTROLLER_INDEX, controller_index);
    let queue = Workqueue::new();
    watch(&controller, &queue);
    let synced = context.synced(&controller.deployments).await
        && context.synced(&controller.replica_sets).await
        && context.synced(&controller.pods).await;
    if !synced {
        return Ok(());
    }
    control_loop::run(NAME, &context, queue, controller).await
}

fn watch(controller: &Controller, queue: &Workqueue<ObjectKey>) {
    let to = queue.clone();
    controller.deployments.add_handler(move |event| to.add(event.object().metadata.key()));

    let (to, deployments) = (queue.clone(), controller.deployments.clone());
    let selector = |deployment: &Deployment| deployment.spec.selector.clone();
    controller.replica_sets.add_handler(move |event| {
        let mut keys = ownership::interested(&deployments, event.object().meta(), selector);
        if let Event::Updated(old, _) = event {
            keys.extend(ownership::interested(&deployments, old.meta(), selector));
        }
        keys.into_iter().for_each(|key| to.add(key));
    });

    // Recreate waits for the last old pod to be gone, and no ReplicaSet changes when a terminating pod goes.
    let (to, deployments) = (queue.clone(), controller.deployments.clone());
    let replica_sets = controller.replica_sets.clone();
    controller.pods.add_handler(move |event| {
        let Event::Deleted(pod) = event else { return };
        let Some(replica_set) = ownership::owner_of(&replica_sets, pod.meta()) else { return };
        let Some(deployment) = ownership::owner_of(&deployments, replica_set.meta()) else { return };
        if deployment.spec.strategy.type_ == "Recreate" {
            to.add(deployment.metadata.key());
        }
    });
}

#[async_trait::async_trait]
impl Reconciler for Controller {
    type Key = ObjectKey;

    async fn reconcile(&self, key: &ObjectKey) -> anyhow::Result<Next> {
        let Some(deployment) = self.deployments.get(key) else { return Ok(Next::Event) };
        if deployment.spec.selector.is_empty() {
            let message = "This deployment is selecting all pods. A non-empty selector is required.";
            self.recorder.event(&ObjectReference::to(&*deployment), EventType::Warning, "SelectingAll", message);
            return Ok(Next::Event);
        }
        let observed = observe::observe(self, deployment);
        let plan = plan::plan(&observed);
        self.apply(&observed, &plan).await?;
        Ok(plan.next)
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn goldens() {
        crate::golden::check("deployment", super::plan::golden);
    }
}
