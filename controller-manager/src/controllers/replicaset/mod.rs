//! ReplicaSets and ReplicationControllers: keep a number of pods of one template.
//!
//! Upstream: `pkg/controller/replicaset`. One code serves both kinds: a [`Replicas`] is read as a [`ReplicaOwner`].
//!
//! Pods are created in batches of growing size, at most [`BURST`] at a time, and deleted in the order of
//! [`crate::pods::sort_for_deletion`]. Between a write and its arrival in the cache, expectations hold the key back.

mod apply;
mod observe;
mod plan;
mod view;

use std::sync::Arc;

use skiff_client::types::{HasMeta, Pod, ReplicaSet, ReplicationController};
use skiff_client::{Event, EventRecorder, Expectations, Informer, ObjectKey, Workqueue};

use crate::context::Context;
use crate::control_loop::{self, Next, Reconciler};
use crate::ownership::{self, CONTROLLER_INDEX, controller_index};

pub use view::{ReplicaOwner, Replicas};

/// Most pods that are created or deleted in one go.
pub const BURST: usize = 500;

/// Runs the ReplicaSet controller.
pub async fn run_replica_sets(context: Context) -> anyhow::Result<()> {
    run::<ReplicaSet>(context, "replicaset-controller").await
}

/// Runs the ReplicationController controller.
pub async fn run_replication_controllers(context: Context) -> anyhow::Result<()> {
    run::<ReplicationController>(context, "replication-controller").await
}

struct Controller<O> {
    context: Context,
    owners: Informer<O>,
    pods: Informer<Pod>,
    expectations: Arc<Expectations<ObjectKey>>,
    recorder: EventRecorder,
}

async fn run<O: Replicas>(context: Context, name: &'static str) -> anyhow::Result<()> {
    let controller = Arc::new(Controller::<O> {
        owners: context.informer(),
        pods: context.informer(),
        expectations: Arc::default(),
        recorder: context.recorder(name),
        context: context.clone(),
    });
    controller.pods.add_index(CONTROLLER_INDEX, controller_index);
    controller.owners.add_index(CONTROLLER_INDEX, controller_index);
    let queue = Workqueue::new();
    watch(&controller, &queue);
    if !(context.synced(&controller.owners).await && context.synced(&controller.pods).await) {
        return Ok(());
    }
    control_loop::run(name, &context, queue, controller).await
}

/// Owners enqueue themselves, pods their owner or, as orphans, those who may adopt them.
fn watch<O: Replicas>(controller: &Controller<O>, queue: &Workqueue<ObjectKey>) {
    let to = queue.clone();
    controller.owners.add_handler(move |event| to.add(event.object().meta().key()));

    let (to, owners) = (queue.clone(), controller.owners.clone());
    let expectations = controller.expectations.clone();
    controller.pods.add_handler(move |event| {
        strike_off(&event, &owners, &expectations);
        let mut keys = ownership::interested(&owners, event.object().meta(), O::selector);
        if let Event::Updated(old, _) = event {
            keys.extend(ownership::interested(&owners, old.meta(), O::selector));
        }
        keys.into_iter().for_each(|key| to.add(key));
    });
}

/// Strikes off what was expected to be seen.
fn strike_off<O: Replicas>(event: &Event<'_, Pod>, owners: &Informer<O>, expectations: &Expectations<ObjectKey>) {
    let pod = event.object();
    let Some(owner) = ownership::owner_of(owners, pod.meta()) else { return };
    let key = owner.meta().key();
    match event {
        Event::Added(pod) if !pod.metadata.is_deleting() => expectations.creation_observed(&key),
        Event::Updated(_, pod) if !pod.metadata.is_deleting() => {}
        _ => expectations.deletion_observed(&key, &pod.metadata.uid),
    }
}

#[async_trait::async_trait]
impl<O: Replicas> Reconciler for Controller<O> {
    type Key = ObjectKey;

    async fn reconcile(&self, key: &ObjectKey) -> anyhow::Result<Next> {
        let Some(owner) = self.owners.get(key) else {
            self.expectations.forget(key);
            return Ok(Next::Event);
        };
        let observed = observe::observe(self, key, &owner);
        let scale = plan::scale(&observed);
        self.claim(&observed).await?;
        let outcome = self.scale(key, &observed, &scale).await;
        let failure = outcome.as_ref().err().map(ToString::to_string);
        let status = plan::status(&observed, failure.as_deref());
        self.write_status(&observed, status.as_ref()).await?;
        outcome?;
        Ok(plan::next(&observed))
    }
}

#[cfg(test)]
mod tests {
    use crate::golden;

    #[test]
    fn goldens() {
        golden::check("replicaset", super::plan::golden);
    }
}
