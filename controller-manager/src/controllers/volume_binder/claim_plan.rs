//! Pure: what a claim needs.

use std::sync::Arc;

use skiff_client::EventType;
use skiff_client::types::{PersistentVolume, PersistentVolumeClaim, Pod, StorageClass};

use super::matching;
use super::{BIND_COMPLETED, BOUND_BY_CONTROLLER, SELECTED_NODE};

/// Annotation of the class that claims without one get.
const DEFAULT_CLASS: &str = "storageclass.kubernetes.io/is-default-class";

/// What a user is told.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Note {
    pub(super) type_: EventType,
    pub(super) reason: &'static str,
    pub(super) message: String,
}

impl Note {
    pub(super) fn new(type_: EventType, reason: &'static str, message: impl Into<String>) -> Self {
        Self { type_, reason, message: message.into() }
    }
}

/// What to do about a claim.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Step {
    /// Bind it to this volume, as far as it is not.
    Bind(Arc<PersistentVolume>),
    /// It waits: make its status say so.
    Wait(Option<Note>),
    /// It was bound, and its volume is gone. The note is for the change of the status.
    Lose(Note),
    /// Give it the default class.
    AssignClass(String),
    /// Ask a driver for a volume.
    Provision(String),
    /// Something is wrong that only somebody else can put right.
    Fail(Note, String),
}

/// What a claim is looked at with.
pub(super) struct World<'a> {
    pub(super) volumes: &'a [Arc<PersistentVolume>],
    pub(super) classes: &'a [Arc<StorageClass>],
    /// Pods that use the claim.
    pub(super) pods: &'a [Arc<Pod>],
}

impl World<'_> {
    fn volume(&self, name: &str) -> Option<&Arc<PersistentVolume>> {
        self.volumes.iter().find(|volume| volume.metadata.name == name)
    }

    fn class(&self, name: &str) -> Option<&Arc<StorageClass>> {
        self.classes.iter().find(|class| class.metadata.name == name)
    }

    /// The class that is annotated as the default; of several the newest, then the first by name.
    fn default_class(&self) -> Option<&str> {
        let annotations = [DEFAULT_CLASS, "storageclass.beta.kubernetes.io/is-default-class"];
        let is_default = |class: &&Arc<StorageClass>| {
            annotations.iter().any(|name| class.metadata.annotations.get(name) == Some("true"))
        };
        let newest =
            self.classes.iter().filter(is_default).min_by_key(|class| {
                (std::cmp::Reverse(class.metadata.creation_timestamp), class.metadata.name.clone())
            });
        newest.map(|class| class.metadata.name.as_str())
    }
}

pub(super) fn plan(claim: &PersistentVolumeClaim, world: &World<'_>) -> Step {
    if claim.metadata.annotations.contains_key(BIND_COMPLETED) {
        return bound(claim, world);
    }
    if claim.spec.volume_name.is_empty() { any_volume(claim, world) } else { wanted_volume(claim, world) }
}

/// A claim that was bound before.
fn bound(claim: &PersistentVolumeClaim, world: &World<'_>) -> Step {
    let lose = |reason: &'static str, message: &str| Step::Lose(Note::new(EventType::Warning, reason, message));
    if claim.spec.volume_name.is_empty() {
        let message = "Bound claim has lost reference to PersistentVolume. Data on the volume is lost!";
        return lose("ClaimLost", message);
    }
    let Some(volume) = world.volume(&claim.spec.volume_name) else {
        return lose("ClaimLost", "Bound claim has lost its PersistentVolume. Data on the volume is lost!");
    };
    match &volume.spec.claim_ref {
        Some(reference) if reference.uid != claim.metadata.uid => {
            lose("ClaimMisbound", "Two claims are bound to the same volume, this one is bound incorrectly")
        }
        _ => Step::Bind(volume.clone()),
    }
}

/// A claim that asks for a volume by name.
fn wanted_volume(claim: &PersistentVolumeClaim, world: &World<'_>) -> Step {
    let Some(volume) = world.volume(&claim.spec.volume_name) else { return Step::Wait(None) };
    let name = &volume.metadata.name;
    match &volume.spec.claim_ref {
        None => match matching::mismatch(volume, claim) {
            None => Step::Bind(volume.clone()),
            Some(reason) => {
                let message = format!("Cannot bind to requested volume {name:?}: {reason}");
                Step::Wait(Some(Note::new(EventType::Warning, "VolumeMismatch", message)))
            }
        },
        Some(reference) if matching::means(reference, claim) => Step::Bind(volume.clone()),
        Some(other) => {
            let message = format!("volume {name:?} already bound to a different claim.");
            let note = Note::new(EventType::Warning, "FailedBinding", message);
            if !claim.metadata.annotations.contains_key(BOUND_BY_CONTROLLER) {
                return Step::Wait(Some(note));
            }
            let error = format!(
                "invalid binding of claim \"{}\" to volume {name:?}: volume already claimed by \"{}/{}\"",
                claim.metadata.key(),
                other.namespace,
                other.name
            );
            Step::Fail(note, error)
        }
    }
}

/// A claim that takes any volume that does.
fn any_volume(claim: &PersistentVolumeClaim, world: &World<'_>) -> Step {
    let class = world.class(claim.class());
    let waits = class.is_some_and(|class| class.volume_binding_mode == "WaitForFirstConsumer");
    if let Some(volume) = matching::best(claim, world.volumes, waits) {
        return Step::Bind(volume);
    }
    if !claim.has_class()
        && let Some(default) = world.default_class()
    {
        return Step::AssignClass(default.to_owned());
    }
    if waits && !claim.metadata.annotations.contains_key(SELECTED_NODE) {
        return Step::Wait(Some(first_consumer(world.pods)));
    }
    if claim.class().is_empty() {
        let message = "no persistent volumes available for this claim and no storage class is set";
        return Step::Wait(Some(Note::new(EventType::Normal, "FailedBinding", message)));
    }
    let warning = |message: String| Step::Wait(Some(Note::new(EventType::Warning, "ProvisioningFailed", message)));
    match class {
        None => warning(format!("storageclass.storage.k8s.io {:?} not found", claim.class())),
        // By upstream's name for "nobody makes volumes of this class".
        Some(class) if class.provisioner == "kubernetes.io/no-provisioner" => {
            let message = "no volume plugin matched name: kubernetes.io/no-provisioner";
            warning(message.to_owned())
        }
        Some(class) => Step::Provision(class.provisioner.clone()),
    }
}

fn first_consumer(pods: &[Arc<Pod>]) -> Note {
    let waiting: Vec<&str> = pods
        .iter()
        .filter(|pod| pod.spec.node_name.is_empty() && !pod.is_terminal())
        .map(|pod| pod.metadata.name.as_str())
        .collect();
    let (reason, message) = match waiting.as_slice() {
        [] => ("WaitForFirstConsumer", "waiting for first consumer to be created before binding".to_owned()),
        [one] => ("WaitForPodScheduled", format!("waiting for pod {one} to be scheduled")),
        many => ("WaitForPodScheduled", format!("waiting for pods {} to be scheduled", many.join(","))),
    };
    Note::new(EventType::Normal, reason, message)
}
