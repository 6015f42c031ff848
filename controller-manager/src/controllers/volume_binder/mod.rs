//! The binder of volumes: a claim gets the smallest volume that does, each names the other, and a volume whose claim is
//! gone is released and reclaimed.
//!
//! Upstream: `pkg/controller/volume/persistentvolume`. In reading order: [`matching`] (which volume a claim gets),
//! [`claim_plan`] and [`volume_plan`] (pure: what one object needs), [`apply`], [`reclaim`] (deleting what a volume held).
//!
//! Binding takes four writes: the volume's reference to the claim, its phase, the claim's reference to the volume, its
//! status. Each is made only if it is missing, so that a binding that was interrupted is completed by looking again;
//! resource versions keep two claims from taking one volume. Volumes are made by drivers outside of the cluster's own
//! programs: the binder names the driver on the claim and waits.

mod apply;
mod claim_plan;
mod matching;
mod reclaim;
mod volume_plan;

use std::fmt;
use std::sync::Arc;

use skiff_client::types::{PersistentVolume, PersistentVolumeClaim, Pod, StorageClass};
use skiff_client::{Event, EventRecorder, Informer, ObjectKey, Workqueue};

use crate::context::Context;
use crate::control_loop::{self, Next, Reconciler};

const NAME: &str = "persistentvolume-controller";
/// Annotation of a claim that is bound from both sides.
const BIND_COMPLETED: &str = "pv.kubernetes.io/bind-completed";
/// Annotation of a claim or volume whose reference is ours, not a user's.
const BOUND_BY_CONTROLLER: &str = "pv.kubernetes.io/bound-by-controller";
/// Annotation of a volume with the driver that made it.
const PROVISIONED_BY: &str = "pv.kubernetes.io/provisioned-by";
/// Annotation of a claim or volume that another driver looks after.
const MIGRATED_TO: &str = "pv.kubernetes.io/migrated-to";
/// Annotation of a claim with the node that the scheduler chose for its first pod.
const SELECTED_NODE: &str = "volume.kubernetes.io/selected-node";
/// Annotations of a claim with the driver that is to make its volume; the second is the older one.
const PROVISIONER: [&str; 2] =
    ["volume.kubernetes.io/storage-provisioner", "volume.beta.kubernetes.io/storage-provisioner"];
/// Index of pods by the claims that they use.
const BY_CLAIM: &str = "claim";

/// What is looked at.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Key {
    Claim(ObjectKey),
    Volume(String),
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Key::Claim(key) => write!(f, "claim {key}"),
            Key::Volume(name) => write!(f, "volume {name}"),
        }
    }
}

struct Controller {
    context: Context,
    claims: Informer<PersistentVolumeClaim>,
    volumes: Informer<PersistentVolume>,
    classes: Informer<StorageClass>,
    pods: Informer<Pod>,
    queue: Workqueue<Key>,
    recorder: EventRecorder,
}

/// Runs the controller.
pub async fn run(context: Context) -> anyhow::Result<()> {
    let controller = Arc::new(Controller {
        claims: context.informer(),
        volumes: context.informer(),
        classes: context.informer(),
        pods: context.informer(),
        queue: Workqueue::new(),
        recorder: context.recorder(NAME),
        context: context.clone(),
    });
    let of_pod = |pod: &Pod| -> Vec<String> {
        pod.claim_names().map(|name| format!("{}/{name}", pod.metadata.namespace)).collect()
    };
    controller.pods.add_index(BY_CLAIM, of_pod);
    watch(&controller);
    let synced = context.synced(&controller.volumes).await
        && context.synced(&controller.claims).await
        && context.synced(&controller.classes).await
        && context.synced(&controller.pods).await;
    if !synced {
        return Ok(());
    }
    let queue = controller.queue.clone();
    control_loop::run(NAME, &context, queue, controller).await
}

fn watch(controller: &Controller) {
    let (to, volumes) = (controller.queue.clone(), controller.volumes.clone());
    controller.claims.add_handler(move |event| {
        let claim = event.object();
        if !matches!(event, Event::Deleted(_)) {
            return to.add(Key::Claim(claim.metadata.key()));
        }
        // Its volume is to be released, also if it names the claim and the claim does not name it (yet).
        if !claim.spec.volume_name.is_empty() {
            to.add(Key::Volume(claim.spec.volume_name.clone()));
        }
        let names_it = |volume: &PersistentVolume| {
            volume.spec.claim_ref.as_ref().is_some_and(|reference| reference.uid == claim.metadata.uid)
        };
        for volume in volumes.list().iter().filter(|volume| names_it(volume)) {
            to.add(Key::Volume(volume.metadata.name.clone()));
        }
    });

    // A volume that came or became free may be what a claim waits for.
    let (to, claims) = (controller.queue.clone(), controller.claims.clone());
    controller.volumes.add_handler(move |event| {
        let volume = event.object();
        to.add(Key::Volume(volume.metadata.name.clone()));
        let change = match event {
            Event::Updated(old, new) => old.status.phase != new.status.phase || old.spec != new.spec,
            _ => true,
        };
        match &volume.spec.claim_ref {
            Some(claim) => to.add(Key::Claim(ObjectKey::new(claim.namespace.as_str(), claim.name.as_str()))),
            None if change => enqueue_waiting(&claims, &to),
            None => {}
        }
    });

    let (to, claims) = (controller.queue.clone(), controller.claims.clone());
    controller.classes.add_handler(move |_| enqueue_waiting(&claims, &to));
}

/// Enqueues the claims that are not bound.
fn enqueue_waiting(claims: &Informer<PersistentVolumeClaim>, queue: &Workqueue<Key>) {
    let all = claims.list();
    let waiting = all.iter().filter(|claim| !claim.metadata.annotations.contains_key(BIND_COMPLETED));
    waiting.for_each(|claim| queue.add(Key::Claim(claim.metadata.key())));
}

#[async_trait::async_trait]
impl Reconciler for Controller {
    type Key = Key;

    async fn reconcile(&self, key: &Key) -> anyhow::Result<Next> {
        match key {
            Key::Claim(key) => self.sync_claim(key).await?,
            Key::Volume(name) => self.sync_volume(name).await?,
        }
        Ok(Next::Event)
    }
}

#[cfg(test)]
mod tests;
