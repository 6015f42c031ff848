//! Pure: what a volume needs.

use skiff_client::EventType;
use skiff_client::types::{PersistentVolume, PersistentVolumeClaim};

use super::claim_plan::Note;
use super::matching;
use super::{BOUND_BY_CONTROLLER, MIGRATED_TO, PROVISIONED_BY};

/// What to do about a volume.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Step {
    /// It is in this phase.
    Phase(&'static str),
    /// Its claim is gone: say so, and reclaim it.
    Release(Reclaim),
    /// Its claim is bound elsewhere: take back the reference (`true`), or only its UID if a user made it.
    Unbind(bool),
    /// Its claim is to be looked at.
    LookAtClaim,
    /// It and its claim cannot go together; each gets its note.
    Mismatch { volume: Note, claim: Note },
}

/// What becomes of a volume that nobody claims any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Reclaim {
    /// It stays, or somebody else deletes it.
    Keep,
    /// What it holds is deleted, and then it.
    DeleteHostPath(String),
    /// It cannot be reclaimed: reason and message.
    Fail(&'static str, String),
}

/// The plan, if the claim that the volume names is this one, or gone.
pub(super) fn plan(volume: &PersistentVolume, claim: Option<&PersistentVolumeClaim>) -> Step {
    let annotations = &volume.metadata.annotations;
    let Some(reference) = &volume.spec.claim_ref else { return Step::Phase("Available") };
    if reference.uid.is_empty() {
        // Kept for a claim that is not bound yet.
        return Step::Phase("Available");
    }
    let Some(claim) = claim.filter(|claim| claim.metadata.uid == reference.uid) else {
        return Step::Release(reclaim(volume));
    };
    let (claim_name, name) = (&claim.metadata.name, &volume.metadata.name);
    if claim.spec.volume_name.is_empty() {
        if !matching::modes_differ(claim, volume) {
            return Step::LookAtClaim;
        }
        let note = |message: String| Note::new(EventType::Warning, "VolumeMismatch", message);
        return Step::Mismatch {
            volume: note(format!(
                "Cannot bind PersistentVolume to requested PersistentVolumeClaim {claim_name:?} due to incompatible volumeMode."
            )),
            claim: note(format!(
                "Cannot bind PersistentVolume {name:?} to requested PersistentVolumeClaim due to incompatible volumeMode."
            )),
        };
    }
    if claim.spec.volume_name == *name {
        return Step::Phase("Bound");
    }
    let was_made_for_it =
        annotations.contains_key(PROVISIONED_BY) && volume.spec.persistent_volume_reclaim_policy == "Delete";
    if was_made_for_it {
        return Step::Release(reclaim(volume));
    }
    Step::Unbind(annotations.contains_key(BOUND_BY_CONTROLLER))
}

fn reclaim(volume: &PersistentVolume) -> Reclaim {
    let annotations = &volume.metadata.annotations;
    if annotations.get(MIGRATED_TO).is_some_and(|driver| !driver.is_empty()) {
        return Reclaim::Keep;
    }
    match volume.spec.persistent_volume_reclaim_policy.as_str() {
        "Retain" => Reclaim::Keep,
        "Recycle" => Reclaim::Fail("VolumeFailedRecycle", "No recycler plugin found for the volume!".to_owned()),
        "Delete" => delete(volume),
        _ => Reclaim::Fail(
            "VolumeUnknownReclaimPolicy",
            "Volume has unrecognized PersistentVolumeReclaimPolicy".to_owned(),
        ),
    }
}

/// Drivers delete what they made; only folders of a node are ours.
fn delete(volume: &PersistentVolume) -> Reclaim {
    let driver = volume.metadata.annotations.get(PROVISIONED_BY).unwrap_or_default();
    let is_external = !driver.is_empty() && !driver.starts_with("kubernetes.io/");
    match &volume.spec.host_path {
        _ if is_external || volume.spec.csi.is_some() => Reclaim::Keep,
        Some(folder) => match super::reclaim::may_be_deleted(&folder.path) {
            true => Reclaim::DeleteHostPath(folder.path.clone()),
            false => {
                let message = format!("host_path deleter only supports /tmp/.+ but received provided {}", folder.path);
                Reclaim::Fail("VolumeFailedDelete", message)
            }
        },
        None => {
            let name = &volume.metadata.name;
            let message =
                format!("error getting deleter volume plugin for volume {name:?}: no deletable volume plugin matched");
            Reclaim::Fail("VolumeFailedDelete", message)
        }
    }
}
