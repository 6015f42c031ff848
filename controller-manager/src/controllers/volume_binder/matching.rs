//! Which volume a claim gets.

use std::collections::BTreeMap;
use std::sync::Arc;

use skiff_apimachinery::quantity::Quantity;
use skiff_client::types::{ClaimReference, PersistentVolume, PersistentVolumeClaim, StringMap};

fn storage(amounts: &StringMap) -> Quantity {
    amounts.get("storage").and_then(|text| Quantity::parse(text).ok()).unwrap_or_else(|| Quantity::from_value(0))
}

fn mode(text: &str) -> &str {
    if text.is_empty() { "Filesystem" } else { text }
}

/// Whether one is for files and the other a raw device.
pub(super) fn modes_differ(claim: &PersistentVolumeClaim, volume: &PersistentVolume) -> bool {
    mode(&claim.spec.volume_mode) != mode(&volume.spec.volume_mode)
}

fn has_access_modes(claim: &PersistentVolumeClaim, volume: &PersistentVolume) -> bool {
    claim.spec.access_modes.iter().all(|mode| volume.spec.access_modes.contains(mode))
}

/// Whether a reference means this claim: by name, and by UID if it has one.
pub(super) fn means(reference: &ClaimReference, claim: &PersistentVolumeClaim) -> bool {
    let meta = &claim.metadata;
    reference.name == meta.name
        && reference.namespace == meta.namespace
        && (reference.uid.is_empty() || reference.uid == meta.uid)
}

fn is_kept_for(volume: &PersistentVolume, claim: &PersistentVolumeClaim) -> bool {
    volume.spec.claim_ref.as_ref().is_some_and(|reference| means(reference, claim))
}

/// Why a volume that a claim asks for by name does not do; in upstream's words.
pub(super) fn mismatch(volume: &PersistentVolume, claim: &PersistentVolumeClaim) -> Option<String> {
    let reason = if volume.metadata.is_deleting() {
        return Some(format!("the volume is marked for deletion {:?}", volume.metadata.name));
    } else if storage(&volume.spec.capacity).value() < storage(&claim.spec.resources.requests).value() {
        "requested PV is too small"
    } else if volume.class() != claim.class() {
        "storageClassName does not match"
    } else if volume.spec.volume_attributes_class_name != claim.spec.volume_attributes_class_name {
        "volumeAttributesClassName does not match"
    } else if modes_differ(claim, volume) {
        "incompatible volumeMode"
    } else if !has_access_modes(claim, volume) {
        "incompatible accessMode"
    } else {
        return None;
    };
    Some(reason.to_owned())
}

/// The volume for a claim that asks for none by name: one that is kept for it, else the smallest that does, of those
/// with the fewest access modes beyond the wanted. `waits`: only one that is kept for it, because the scheduler chooses
/// among the others.
pub(super) fn best(
    claim: &PersistentVolumeClaim,
    volumes: &[Arc<PersistentVolume>],
    waits: bool,
) -> Option<Arc<PersistentVolume>> {
    let mut by_modes: BTreeMap<(usize, Vec<String>), Vec<&Arc<PersistentVolume>>> = BTreeMap::new();
    for volume in volumes.iter().filter(|volume| has_access_modes(claim, volume)) {
        let mut modes = volume.spec.access_modes.clone();
        modes.sort();
        modes.dedup();
        by_modes.entry((modes.len(), modes)).or_default().push(volume);
    }
    by_modes.into_values().find_map(|group| best_of(claim, &group, waits)).cloned()
}

fn best_of<'a>(
    claim: &PersistentVolumeClaim,
    volumes: &[&'a Arc<PersistentVolume>],
    waits: bool,
) -> Option<&'a Arc<PersistentVolume>> {
    let wanted = storage(&claim.spec.resources.requests);
    let mut smallest: Option<(&Arc<PersistentVolume>, Quantity)> = None;
    for volume in volumes {
        let kept = is_kept_for(volume, claim);
        let size = storage(&volume.spec.capacity);
        let unfit = (volume.spec.claim_ref.is_some() && !kept)
            || size < wanted
            || modes_differ(claim, volume)
            || volume.spec.volume_attributes_class_name != claim.spec.volume_attributes_class_name
            || volume.metadata.is_deleting();
        if unfit {
            continue;
        }
        if kept {
            return Some(*volume);
        }
        let selected = claim.spec.selector.as_ref().is_none_or(|selector| selector.matches(&volume.metadata.labels));
        let does = !waits && volume.status.phase == "Available" && selected && volume.class() == claim.class();
        if does && smallest.as_ref().is_none_or(|(_, least)| *least > size) {
            smallest = Some((volume, size));
        }
    }
    smallest.map(|(volume, _)| volume)
}
