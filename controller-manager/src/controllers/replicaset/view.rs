//! ReplicaSet and ReplicationController as one.

use skiff_client::selector::LabelSelector;
use skiff_client::types::{HasMeta, Meta, RawJson, ReplicaSet, ReplicaSetStatus, ReplicationController};
use skiff_client::{Kind, ResourceType};

/// What the controller reads of an owner of replicas.
#[derive(Clone, Debug)]
pub struct ReplicaOwner {
    /// Its resource.
    pub resource: ResourceType,
    /// Its metadata.
    pub meta: Meta,
    /// Wanted pods.
    pub replicas: i32,
    /// How long a pod must be ready to count as available, in seconds.
    pub min_ready_seconds: i32,
    /// Which pods are its own.
    pub selector: LabelSelector,
    /// Template of the pods.
    pub template: RawJson,
    /// Its status.
    pub status: ReplicaSetStatus,
}

/// A kind that keeps replicas.
pub trait Replicas: Kind + HasMeta {
    /// Which pods are its own.
    fn selector(&self) -> LabelSelector;
    /// All that the controller reads.
    fn view(&self) -> ReplicaOwner;
}

impl Replicas for ReplicaSet {
    fn selector(&self) -> LabelSelector {
        self.spec.selector.clone()
    }

    fn view(&self) -> ReplicaOwner {
        ReplicaOwner {
            resource: Self::RESOURCE,
            meta: self.metadata.clone(),
            replicas: self.spec.replicas.unwrap_or(1),
            min_ready_seconds: self.spec.min_ready_seconds,
            selector: self.selector(),
            template: self.spec.template.clone(),
            status: self.status.clone(),
        }
    }
}

impl Replicas for ReplicationController {
    fn selector(&self) -> LabelSelector {
        LabelSelector { match_labels: self.spec.selector.clone(), ..LabelSelector::default() }
    }

    fn view(&self) -> ReplicaOwner {
        ReplicaOwner {
            resource: Self::RESOURCE,
            meta: self.metadata.clone(),
            replicas: self.spec.replicas.unwrap_or(1),
            min_ready_seconds: self.spec.min_ready_seconds,
            selector: self.selector(),
            template: self.spec.template.clone(),
            status: self.status.clone(),
        }
    }
}
