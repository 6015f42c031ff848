//! The plugins, and the profile made of them.
//!
//! One file per plugin, 50 to 300 lines: what it checks, which events could change its mind, and its tests.

mod balanced_allocation;
mod image_locality;
mod inter_pod_affinity;
mod node_affinity;
mod node_name;
mod node_ports;
mod node_resources_fit;
mod node_unschedulable;
mod pod_topology_spread;
mod preemption;
mod scheduling_gates;
mod taint_toleration;
mod volume_binding;

use std::sync::Arc;

use skiff_client::types::{Namespace, PersistentVolume, PersistentVolumeClaim, PodDisruptionBudget, StorageClass};
use skiff_client::{Informer, SharedInformers};

use crate::framework::Profile;

/// What plugins read beside nodes and pods.
#[derive(Clone)]
pub struct Sources {
    /// For namespace selectors of pod affinity.
    pub namespaces: Informer<Namespace>,
    /// For the choice of preemption victims.
    pub budgets: Informer<PodDisruptionBudget>,
    /// For pods with claims.
    pub claims: Informer<PersistentVolumeClaim>,
    /// For pods with bound claims.
    pub volumes: Informer<PersistentVolume>,
    /// For pods with claims that are not bound.
    pub classes: Informer<StorageClass>,
}

impl Sources {
    /// The process's informers.
    pub fn of(informers: &SharedInformers) -> Self {
        Self {
            namespaces: informers.get(),
            budgets: informers.get(),
            claims: informers.get(),
            volumes: informers.get(),
            classes: informers.get(),
        }
    }

    /// Waits until every one of them has seen its whole collection once.
    pub async fn wait_synced(&self) {
        tokio::join!(
            self.namespaces.wait_synced(),
            self.budgets.wait_synced(),
            self.claims.wait_synced(),
            self.volumes.wait_synced(),
            self.classes.wait_synced(),
        );
    }

    /// Informers that only a test feeds.
    #[cfg(test)]
    pub(crate) fn detached() -> Self {
        Self {
            namespaces: Informer::detached(),
            budgets: Informer::detached(),
            claims: Informer::detached(),
            volumes: Informer::detached(),
            classes: Informer::detached(),
        }
    }
}

/// The default profile: upstream's plugins and weights (`apis/config/v1/default_plugins.go`), as far as they are here.
/// Filters run in this order, cheap and selective ones first.
pub fn default_profile(sources: &Sources) -> Profile {
    let fit = Arc::new(node_resources_fit::NodeResourcesFit);
    let node_affinity = Arc::new(node_affinity::NodeAffinity);
    let node_ports = Arc::new(node_ports::NodePorts);
    let taint_toleration = Arc::new(taint_toleration::TaintToleration);
    let volumes = Arc::new(volume_binding::VolumeBinding::new(sources));
    let spread = Arc::new(pod_topology_spread::PodTopologySpread);
    let pod_affinity = Arc::new(inter_pod_affinity::InterPodAffinity::new(sources.namespaces.clone()));
    Profile {
        pre_enqueue: vec![Arc::new(scheduling_gates::SchedulingGates)],
        pre_filter: vec![
            node_affinity.clone(),
            node_ports.clone(),
            fit.clone(),
            volumes.clone(),
            spread.clone(),
            pod_affinity.clone(),
        ],
        filter: vec![
            Arc::new(node_unschedulable::NodeUnschedulable),
            Arc::new(node_name::NodeName),
            taint_toleration.clone(),
            node_affinity.clone(),
            node_ports,
            fit.clone(),
            volumes.clone(),
            spread.clone(),
            pod_affinity.clone(),
        ],
        post_filter: Some(Arc::new(preemption::DefaultPreemption::new(sources.budgets.clone()))),
        score: vec![
            (taint_toleration, 3),
            (node_affinity, 2),
            (fit, 1),
            (spread, 2),
            (pod_affinity, 2),
            (Arc::new(balanced_allocation::BalancedAllocation), 1),
            (Arc::new(image_locality::ImageLocality), 1),
        ],
        reserve: Vec::new(),
    }
}
