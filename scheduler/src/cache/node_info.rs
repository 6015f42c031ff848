//! A node with the sums over its pods.

use std::collections::HashMap;
use std::sync::Arc;

use skiff_client::types::Node;

use super::{HostPort, PodInfo};
use crate::resources::Resource;

/// A node, its pods, and sums over them. Cheap enough to copy that preemption may try things on a copy.
#[derive(Clone, Debug)]
pub struct NodeInfo {
    /// Name.
    pub name: String,
    /// The node; none while only pods on it are known.
    pub node: Option<Arc<Node>>,
    /// What its pods may use in all.
    pub allocatable: Resource,
    /// What its pods ask for in all.
    pub requested: Resource,
    /// CPU and memory in use as far as scores are concerned.
    pub nonzero_requested: (i64, i64),
    /// Its pods.
    pub pods: Vec<Arc<PodInfo>>,
    /// How many of them have rules about other pods.
    pub pods_with_affinity: usize,
    /// How many of them keep others away.
    pub pods_with_required_anti_affinity: usize,
    /// Ports taken.
    pub used_ports: Vec<HostPort>,
    /// Sizes of its images by name.
    pub images: Arc<HashMap<String, i64>>,
}

impl NodeInfo {
    /// A node of which nothing is known but its name.
    pub fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            node: None,
            allocatable: Resource::default(),
            requested: Resource::default(),
            nonzero_requested: (0, 0),
            pods: Vec::new(),
            pods_with_affinity: 0,
            pods_with_required_anti_affinity: 0,
            used_ports: Vec::new(),
            images: Arc::default(),
        }
    }

    /// Notes what the node is, or that it is gone.
    pub fn set_node(&mut self, node: Option<Arc<Node>>) {
        if let Some(node) = &node {
            self.allocatable = Resource::of(&node.status.allocatable);
            let images = node.status.images.iter();
            let sizes = images.flat_map(|image| image.names.iter().map(|name| (name.clone(), image.size_bytes)));
            self.images = Arc::new(sizes.collect());
        }
        self.node = node;
    }

    /// Adds a pod to the sums.
    pub fn add_pod(&mut self, info: Arc<PodInfo>) {
        self.requested.add(&info.request);
        self.nonzero_requested.0 += info.nonzero.0;
        self.nonzero_requested.1 += info.nonzero.1;
        self.used_ports.extend(info.host_ports.iter().cloned());
        self.pods_with_affinity += usize::from(has_pod_affinity(&info));
        self.pods_with_required_anti_affinity += usize::from(keeps_others_away(&info));
        self.pods.push(info);
    }

    /// Takes a pod out of the sums. Nothing happens if it is not here.
    pub fn remove_pod(&mut self, info: &PodInfo) {
        let Some(at) = self.pods.iter().position(|have| have.uid() == info.uid()) else { return };
        let info = self.pods.swap_remove(at);
        self.requested.subtract(&info.request);
        self.nonzero_requested.0 -= info.nonzero.0;
        self.nonzero_requested.1 -= info.nonzero.1;
        for port in &info.host_ports {
            if let Some(at) = self.used_ports.iter().position(|have| have == port) {
                self.used_ports.swap_remove(at);
            }
        }
        self.pods_with_affinity -= usize::from(has_pod_affinity(&info));
        self.pods_with_required_anti_affinity -= usize::from(keeps_others_away(&info));
    }

    /// A label of the node.
    pub fn label(&self, key: &str) -> Option<&str> {
        self.node.as_ref()?.metadata.labels.get(key)
    }
}

fn has_pod_affinity(info: &PodInfo) -> bool {
    info.affinity().is_some_and(|affinity| affinity.pod_affinity.is_some() || affinity.pod_anti_affinity.is_some())
}

fn keeps_others_away(info: &PodInfo) -> bool {
    let anti = info.affinity().and_then(|affinity| affinity.pod_anti_affinity.as_ref());
    anti.is_some_and(|anti| !anti.required.is_empty())
}
