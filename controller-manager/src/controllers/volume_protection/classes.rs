//! Classes of volume attributes: in use while a volume or a claim names them.

use skiff_client::types::{PersistentVolume, PersistentVolumeClaim, VolumeAttributesClass};
use skiff_client::{Event, Informer, ObjectKey, Workqueue};

use super::Use;
use crate::context::Context;

/// Index of volumes and claims by the classes that they name.
const BY_CLASS: &str = "volume-attributes-class";

struct Names {
    claims: Informer<PersistentVolumeClaim>,
    volumes: Informer<PersistentVolume>,
}

/// Runs the controller of classes.
pub async fn run(context: Context) -> anyhow::Result<()> {
    let usage = Names { claims: context.informer(), volumes: context.informer() };
    usage.claims.add_index(BY_CLASS, of_claim);
    usage.volumes.add_index(BY_CLASS, of_volume);
    let queue = Workqueue::new();
    let to = queue.clone();
    usage.claims.add_handler(move |event| released(&event, of_claim, &to));
    let to = queue.clone();
    usage.volumes.add_handler(move |event| released(&event, of_volume, &to));
    if !(context.synced(&usage.claims).await && context.synced(&usage.volumes).await) {
        return Ok(());
    }
    super::run("volumeattributesclass-protection-controller", context, queue, usage).await
}

/// Enqueues the classes that an object no longer names.
fn released<K>(event: &Event<'_, K>, names: fn(&K) -> Vec<String>, queue: &Workqueue<ObjectKey>) {
    let gone = match event {
        Event::Added(_) => return,
        Event::Updated(old, new) => {
            let still = names(new);
            names(old).into_iter().filter(|name| !still.contains(name)).collect()
        }
        Event::Deleted(object) => names(object),
    };
    gone.into_iter().for_each(|name| queue.add(ObjectKey::new("", name)));
}

fn of_claim(claim: &PersistentVolumeClaim) -> Vec<String> {
    let target = claim.status.modify_volume_status.as_ref();
    let target = target.map_or("", |status| status.target_volume_attributes_class_name.as_str());
    let named = [&claim.spec.volume_attributes_class_name, &claim.status.current_volume_attributes_class_name, target];
    let mut named: Vec<String> = named.into_iter().filter(|name| !name.is_empty()).map(str::to_owned).collect();
    named.sort();
    named.dedup();
    named
}

fn of_volume(volume: &PersistentVolume) -> Vec<String> {
    let name = &volume.spec.volume_attributes_class_name;
    if name.is_empty() { Vec::new() } else { vec![name.clone()] }
}

#[async_trait::async_trait]
impl Use for Names {
    type Guarded = VolumeAttributesClass;
    const FINALIZER: &'static str = "kubernetes.io/vac-protection";

    async fn is_used(&self, class: &VolumeAttributesClass) -> anyhow::Result<bool> {
        let name = &class.metadata.name;
        Ok(!self.volumes.by_index(BY_CLASS, name).is_empty() || !self.claims.by_index(BY_CLASS, name).is_empty())
    }
}
