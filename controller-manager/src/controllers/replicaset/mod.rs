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
use crate::pods;

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
    /// By the owner's UID.
    expectations: Arc<Expectations<String>>,
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
    let (to, expectations) = (queue.clone(), controller.expectations.clone());
    controller.owners.add_handler(move |event| {
        if let Event::Deleted(owner) = &event {
            expectations.forget(&owner.meta().uid);
        }
        to.add(event.object().meta().key());
    });

    let (to, owners) = (queue.clone(), controller.owners.clone());
    let expectations = controller.expectations.clone();
    controller.pods.add_handler(move |event| {
        pods::strike_off(&event, &expectations);
        let mut keys = ownership::interested(&owners, event.object().meta(), O::selector);
        if let Event::Updated(old, _) = event {
            keys.extend(ownership::interested(&owners, old.meta(), O::selector));
        }
        keys.into_iter().for_each(|key| to.add(key));
    });
}

#[async_trait::async_trait]
impl<O: Replicas> Reconciler for Controller<O> {
    type Key = ObjectKey;

    async fn reconcile(&self, key: &ObjectKey) -> anyhow::Result<Next> {
        let Some(owner) = self.owners.get(key) else { return Ok(Next::Event) };
        let observed = observe::observe(self, &owner);
        let scale = plan::scale(&observed);
        self.claim(&observed).await?;
        let outcome = self.scale(&observed, &scale).await;
        let failure = outcome.as_ref().err().map(ToString::to_string);
        let status = plan::status(&observed, failure.as_deref());
        self.write_status(&observed, status.as_ref()).await?;
        outcome?;
        Ok(plan::next(&observed).or_given_up(&self.expectations, &owner.meta().uid))
    }
}

#[cfg(test)]
mod tests {
    use kube::client::Body;
    use serde_json::json;
    use skiff_client::SharedInformers;
    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::golden;

    #[test]
    fn goldens() {
        golden::check("replicaset", super::plan::golden);
    }

    /// A controller that nothing but the test feeds, and whose requests are never answered.
    fn controller() -> Controller<ReplicaSet> {
        let silent = tower::service_fn(|_: http::Request<Body>| {
            std::future::pending::<Result<http::Response<Body>, std::convert::Infallible>>()
        });
        let (client, shutdown) = (kube::Client::new(silent, "default"), CancellationToken::new());
        let informers = SharedInformers::new(client.clone(), shutdown.clone());
        let context = Context::new(crate::Config::default(), client, informers, shutdown);
        let controller = Controller {
            owners: Informer::detached(),
            pods: Informer::detached(),
            expectations: Arc::default(),
            recorder: context.recorder("test"),
            context,
        };
        controller.pods.add_index(CONTROLLER_INDEX, controller_index);
        controller.owners.add_index(CONTROLLER_INDEX, controller_index);
        controller
    }

    fn set(uid: &str) -> ReplicaSet {
        let metadata = json!({"name": "web", "namespace": "n", "uid": uid, "resourceVersion": uid});
        serde_json::from_value(json!({ "metadata": metadata })).expect("a set")
    }

    #[tokio::test]
    async fn a_set_made_again_does_not_wait_for_the_pods_of_the_one_before() {
        let controller = controller();
        watch(&controller, &Workqueue::new());
        controller.owners.apply(set("1"));
        let first = controller.owners.get_by_name("n", "web").expect("the first");
        controller.expectations.expect_creations(&first.metadata.uid, 2);
        assert!(!observe::observe(&controller, &first).expectations_met);
        controller.owners.apply(set("2"));
        let second = controller.owners.get_by_name("n", "web").expect("the second");
        assert!(observe::observe(&controller, &second).expectations_met);
        // What the first one still made is not what the second one waits for.
        controller.expectations.expect_creations(&second.metadata.uid, 1);
        let owner =
            json!([{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web", "uid": "1", "controller": true}]);
        let pod = |name: &str, owner| {
            let metadata = json!({"name": name, "namespace": "n", "uid": name, "ownerReferences": owner});
            serde_json::from_value(json!({ "metadata": metadata })).expect("a pod")
        };
        controller.pods.apply(pod("late", owner));
        assert!(!observe::observe(&controller, &second).expectations_met);
        let owner =
            json!([{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web", "uid": "2", "controller": true}]);
        controller.pods.apply(pod("own", owner));
        assert!(observe::observe(&controller, &second).expectations_met);
    }
}
