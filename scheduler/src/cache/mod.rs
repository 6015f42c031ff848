//! What the scheduler knows of nodes and of the pods on them, those included that it has just decided to put there.
//!
//! Writers are informer handlers and the scheduling task; the cycle itself works on a [`Snapshot`]. Nodes are shared
//! between cache and snapshot and copied when they change, so bringing a snapshot up to date costs the nodes that
//! changed.

mod node_info;
mod pod_info;
mod snapshot;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use parking_lot::Mutex;
use skiff_client::types::Node;

pub use node_info::NodeInfo;
pub use pod_info::{HostPort, PodInfo};
pub use snapshot::{Nominated, Snapshot};

/// The cache. All methods are short and safe to call from handlers.
#[derive(Default)]
pub struct Cache(Mutex<Inner>);

#[derive(Default)]
struct Inner {
    nodes: HashMap<String, Arc<NodeInfo>>,
    pods: HashMap<String, Placed>,
    nominated: Arc<Nominated>,
    /// Nodes that changed since the last snapshot.
    dirty: HashSet<String>,
    /// Whether nodes came or went since the last snapshot.
    membership_changed: bool,
}

/// A pod on a node.
struct Placed {
    info: Arc<PodInfo>,
    node: String,
    /// We decided so; the API does not show it yet.
    assumed: bool,
}

impl Cache {
    /// Adds a node, or brings it up to date.
    pub fn set_node(&self, node: Arc<Node>) {
        let mut inner = self.0.lock();
        let name = node.metadata.name.clone();
        if inner.nodes.get(&name).is_none_or(|info| info.node.is_none()) {
            inner.membership_changed = true;
        }
        inner.node_mut(&name).set_node(Some(node));
    }

    /// Removes a node. Its pods stay known until they go themselves.
    pub fn remove_node(&self, name: &str) {
        let mut inner = self.0.lock();
        inner.membership_changed = true;
        inner.node_mut(name).set_node(None);
        inner.drop_if_unused(name);
    }

    /// Adds a pod that the API shows on a node, or brings it up to date. Confirms an assumed one.
    pub fn set_pod(&self, info: Arc<PodInfo>) {
        let mut inner = self.0.lock();
        let node = info.pod.spec.node_name.clone();
        inner.remove(info.uid());
        inner.place(info, &node, false);
    }

    /// Removes a pod that is gone or finished.
    pub fn remove_pod(&self, uid: &str) {
        self.0.lock().remove(uid);
    }

    /// Puts a pod on a node before the API shows it, and ends its nomination, or it would count twice. `false` if it is
    /// on a node already.
    pub fn assume(&self, info: Arc<PodInfo>, node: &str) -> bool {
        let mut inner = self.0.lock();
        if inner.pods.contains_key(info.uid()) {
            return false;
        }
        inner.clear_nomination(info.uid());
        inner.place(info, node, true);
        true
    }

    /// Takes an assumed pod back: its binding failed. A confirmed one stays.
    pub fn forget(&self, uid: &str) {
        let mut inner = self.0.lock();
        if inner.pods.get(uid).is_some_and(|placed| placed.assumed) {
            inner.remove(uid);
        }
    }

    /// Whether a pod is on a node, by the API or by assumption.
    pub fn is_placed(&self, uid: &str) -> bool {
        self.0.lock().pods.contains_key(uid)
    }

    /// Notes that room is being made for a pod on a node.
    pub fn nominate(&self, info: Arc<PodInfo>, node: &str) {
        Arc::make_mut(&mut self.0.lock().nominated).add(info, node);
    }

    /// Ends a pod's nomination; whether it had one, so that there may be room for others now.
    pub fn clear_nomination(&self, uid: &str) -> bool {
        self.0.lock().clear_nomination(uid)
    }

    /// The node on which room is being made for a pod.
    pub fn nominated_node(&self, uid: &str) -> Option<String> {
        self.0.lock().nominated.node_of(uid).map(str::to_owned)
    }

    /// Brings a snapshot up to date.
    pub fn update(&self, snapshot: &mut Snapshot) {
        let mut inner = self.0.lock();
        let dirty = std::mem::take(&mut inner.dirty);
        if std::mem::take(&mut inner.membership_changed) {
            snapshot.replace(inner.nodes.values().filter(|info| info.node.is_some()).cloned().collect());
        } else {
            for name in dirty {
                if let Some(info) = inner.nodes.get(&name).filter(|info| info.node.is_some()) {
                    snapshot.set(info.clone());
                }
            }
        }
        snapshot.nominated = inner.nominated.clone();
    }
}

impl Inner {
    /// A node's info to change, made if it is not there: pods may be seen before their node.
    fn node_mut(&mut self, name: &str) -> &mut NodeInfo {
        self.dirty.insert(name.to_owned());
        let info = self.nodes.entry(name.to_owned()).or_insert_with(|| Arc::new(NodeInfo::new(name)));
        Arc::make_mut(info)
    }

    fn clear_nomination(&mut self, uid: &str) -> bool {
        let nominated = self.nominated.node_of(uid).is_some();
        if nominated {
            Arc::make_mut(&mut self.nominated).remove(uid);
        }
        nominated
    }

    fn place(&mut self, info: Arc<PodInfo>, node: &str, assumed: bool) {
        self.node_mut(node).add_pod(info.clone());
        self.pods.insert(info.uid().to_owned(), Placed { info, node: node.to_owned(), assumed });
    }

    fn remove(&mut self, uid: &str) {
        let Some(placed) = self.pods.remove(uid) else { return };
        self.node_mut(&placed.node).remove_pod(&placed.info);
        self.drop_if_unused(&placed.node);
    }

    /// A node that is gone is forgotten with its last pod.
    fn drop_if_unused(&mut self, name: &str) {
        if self.nodes.get(name).is_some_and(|info| info.node.is_none() && info.pods.is_empty()) {
            self.nodes.remove(name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{node, pod};
    use serde_json::json;

    fn requested(cache: &Cache, name: &str) -> i64 {
        let mut snapshot = Snapshot::default();
        cache.0.lock().membership_changed = true;
        cache.update(&mut snapshot);
        snapshot.get(name).map_or(-1, |info| info.requested.milli_cpu)
    }

    #[test]
    fn assumed_pods_count_until_confirmed_or_forgotten() {
        let cache = Cache::default();
        cache.set_node(node("n", json!({"cpu": "4"})));
        let waiting = pod("a", json!({"containers": [{"name": "c", "resources": {"requests": {"cpu": "1"}}}]}));
        assert!(cache.assume(waiting.clone(), "n"));
        assert!(!cache.assume(waiting.clone(), "n"), "assumed once");
        assert_eq!(requested(&cache, "n"), 1000);
        cache.forget(waiting.uid());
        assert_eq!(requested(&cache, "n"), 0);

        assert!(cache.assume(waiting.clone(), "n"));
        let bound =
            pod("a", json!({"nodeName": "n", "containers": [{"name": "c", "resources": {"requests": {"cpu": "1"}}}]}));
        cache.set_pod(bound.clone());
        cache.forget(bound.uid());
        assert_eq!(requested(&cache, "n"), 1000, "a confirmed pod is not forgotten");
        cache.remove_pod(bound.uid());
        assert_eq!(requested(&cache, "n"), 0);
    }

    #[test]
    fn an_assumed_pod_is_not_expected_as_well() {
        let cache = Cache::default();
        cache.set_node(node("n", json!({"cpu": "4"})));
        let waiting = pod("a", json!({"containers": []}));
        cache.nominate(waiting.clone(), "n");
        let expected = || {
            let mut snapshot = Snapshot::default();
            cache.update(&mut snapshot);
            snapshot.nominated.on("n").count()
        };
        assert_eq!(expected(), 1);
        assert!(cache.assume(waiting, "n"));
        assert_eq!(expected(), 0);
    }

    #[test]
    fn pods_may_come_before_their_node_and_stay_after_it() {
        let cache = Cache::default();
        let bound = pod("a", json!({"nodeName": "n", "containers": []}));
        cache.set_pod(bound.clone());
        assert_eq!(requested(&cache, "n"), -1, "no node yet");
        cache.set_node(node("n", json!({"cpu": "4"})));
        assert_eq!(requested(&cache, "n"), 0);
        cache.remove_node("n");
        assert_eq!(requested(&cache, "n"), -1);
        assert!(cache.is_placed(bound.uid()));
        cache.remove_pod(bound.uid());
        assert!(cache.0.lock().nodes.is_empty(), "nothing leaks");
    }

    #[test]
    fn a_snapshot_is_not_changed_by_what_comes_after_it() {
        let cache = Cache::default();
        cache.set_node(node("n", json!({"cpu": "4"})));
        let mut snapshot = Snapshot::default();
        cache.update(&mut snapshot);
        cache.set_pod(pod("a", json!({"nodeName": "n", "containers": []})));
        assert_eq!(snapshot.get("n").map(|info| info.pods.len()), Some(0));
        cache.update(&mut snapshot);
        assert_eq!(snapshot.get("n").map(|info| info.pods.len()), Some(1));
    }
}
