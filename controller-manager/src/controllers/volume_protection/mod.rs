//! Protection of what is in use: claims that pods use, volumes that claims use, classes that either names, are not
//! deleted before that ends, because a finalizer holds them.
//!
//! Upstream: `pkg/controller/volume/pvcprotection`, `pvprotection` and `vacprotection`. Each kind says what counts as use
//! ([`claims`], [`volumes`], [`classes`]); the rest is here: an object that is deleted and not in use loses the
//! finalizer, one that is not deleted has it.

mod claims;
mod classes;
mod volumes;

use std::sync::Arc;

use serde_json::json;
use skiff_client::types::HasMeta;
use skiff_client::{Informer, Kind, ObjectKey, Objects, Workqueue};

use crate::context::Context;
use crate::control_loop::{self, Next, Reconciler, unless_gone};

pub use claims::run as run_claims;
pub use classes::run as run_classes;
pub use volumes::run as run_volumes;

/// What keeps objects of a kind from going.
#[async_trait::async_trait]
trait Use: Send + Sync + 'static {
    type Guarded: Kind + HasMeta;
    /// The finalizer that holds them.
    const FINALIZER: &'static str;

    /// Whether an object that is deleted is in use.
    async fn is_used(&self, object: &Self::Guarded) -> anyhow::Result<bool>;
}

struct Guard<U: Use> {
    context: Context,
    objects: Informer<U::Guarded>,
    usage: U,
}

/// Which of the two writes an object needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Need {
    Nothing,
    /// Not deleted, and without the finalizer: made before it was asked for, or robbed of it.
    Finalizer,
    /// Deleted, and held by the finalizer.
    Release,
}

fn need(object: &impl HasMeta, finalizer: &str) -> Need {
    match (object.meta().is_deleting(), object.meta().has_finalizer(finalizer)) {
        (false, false) => Need::Finalizer,
        (true, true) => Need::Release,
        _ => Need::Nothing,
    }
}

#[async_trait::async_trait]
impl<U: Use> Reconciler for Guard<U> {
    type Key = ObjectKey;

    async fn reconcile(&self, key: &ObjectKey) -> anyhow::Result<Next> {
        let Some(object) = self.objects.get(key) else { return Ok(Next::Event) };
        let mut finalizers = object.meta().finalizers.clone();
        match need(&*object, U::FINALIZER) {
            Need::Finalizer => finalizers.push(U::FINALIZER.to_owned()),
            Need::Release if !self.usage.is_used(&object).await? => finalizers.retain(|have| have != U::FINALIZER),
            _ => return Ok(Next::Event),
        }
        let meta = object.meta();
        let api = Objects::<U::Guarded>::of(&self.context.client, U::Guarded::RESOURCE, &meta.namespace);
        let changes = json!({"metadata": {"finalizers": finalizers}});
        unless_gone(api.update(&meta.name, "", Some(&meta.resource_version), &changes).await)?;
        Ok(Next::Event)
    }
}

/// Watches the guarded kind, and runs.
async fn run<U: Use>(
    name: &'static str,
    context: Context,
    queue: Workqueue<ObjectKey>,
    usage: U,
) -> anyhow::Result<()> {
    let objects: Informer<U::Guarded> = context.informer();
    let to = queue.clone();
    objects.add_handler(move |event| {
        if need(&**event.object(), U::FINALIZER) != Need::Nothing {
            to.add(event.object().meta().key());
        }
    });
    if !context.synced(&objects).await {
        return Ok(());
    }
    let guard = Arc::new(Guard { context: context.clone(), objects, usage });
    control_loop::run(name, &context, queue, guard).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use skiff_client::types::PersistentVolume;

    #[test]
    fn objects_have_the_finalizer_until_they_go() {
        let check = |metadata: serde_json::Value, expected: Need| {
            let volume: PersistentVolume = serde_json::from_value(json!({ "metadata": metadata })).expect("a volume");
            assert_eq!(need(&volume, "f"), expected);
        };
        check(json!({}), Need::Finalizer);
        check(json!({"finalizers": ["f"]}), Need::Nothing);
        check(json!({"deletionTimestamp": "2026-01-02T03:04:05Z", "finalizers": ["f", "g"]}), Need::Release);
        check(json!({"deletionTimestamp": "2026-01-02T03:04:05Z", "finalizers": ["g"]}), Need::Nothing);
    }
}
