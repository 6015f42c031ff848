//! The state that one cycle decides on.

use std::collections::HashMap;
use std::sync::Arc;

use super::{NodeInfo, PodInfo};

/// Nodes as they were when the cycle began.
#[derive(Default)]
pub struct Snapshot {
    /// Nodes, ordered by name.
    pub nodes: Vec<Arc<NodeInfo>>,
    /// Pods for which room is being made.
    pub nominated: Arc<Nominated>,
    /// Where a node is.
    at: HashMap<String, usize>,
}

impl Snapshot {
    /// The node of a name.
    pub fn get(&self, name: &str) -> Option<&Arc<NodeInfo>> {
        self.at.get(name).map(|at| &self.nodes[*at])
    }

    pub(super) fn replace(&mut self, mut nodes: Vec<Arc<NodeInfo>>) {
        nodes.sort_by(|a, b| a.name.cmp(&b.name));
        self.at = nodes.iter().enumerate().map(|(at, node)| (node.name.clone(), at)).collect();
        self.nodes = nodes;
    }

    pub(super) fn set(&mut self, node: Arc<NodeInfo>) {
        if let Some(at) = self.at.get(&node.name) {
            self.nodes[*at] = node;
        }
    }
}

/// Pods for which room is being made, by node.
#[derive(Clone, Debug, Default)]
pub struct Nominated {
    by_node: HashMap<String, Vec<Arc<PodInfo>>>,
    node_of: HashMap<String, String>,
}

impl Nominated {
    /// Pods that are to come to a node.
    pub fn on(&self, node: &str) -> impl Iterator<Item = &Arc<PodInfo>> {
        self.by_node.get(node).into_iter().flatten()
    }

    /// The node that a pod is to come to.
    pub fn node_of(&self, uid: &str) -> Option<&str> {
        self.node_of.get(uid).map(String::as_str)
    }

    pub(super) fn add(&mut self, info: Arc<PodInfo>, node: &str) {
        self.remove(info.uid());
        self.node_of.insert(info.uid().to_owned(), node.to_owned());
        self.by_node.entry(node.to_owned()).or_default().push(info);
    }

    pub(super) fn remove(&mut self, uid: &str) {
        let Some(node) = self.node_of.remove(uid) else { return };
        if let Some(pods) = self.by_node.get_mut(&node) {
            pods.retain(|pod| pod.uid() != uid);
            if pods.is_empty() {
                self.by_node.remove(&node);
            }
        }
    }
}
