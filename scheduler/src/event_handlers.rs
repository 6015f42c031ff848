//! From informers to cache and queue.
//!
//! Follows `pkg/scheduler/eventhandlers.go`: a pod with a node belongs to the cache, one without to the queue, and
//! every change says which waiting pods it could help.

use std::sync::Arc;

use skiff_client::types::{Node, Pod};
use skiff_client::{Event, Informer, Object};

use crate::cache::{Cache, PodInfo};
use crate::plugins::Sources;
use crate::queue::{ClusterEvents, SchedulingQueue};
use crate::resources::pod_request;

/// Where changes go.
#[derive(Clone)]
pub struct Handlers {
    /// Nodes and the pods on them.
    pub cache: Arc<Cache>,
    /// Pods that wait.
    pub queue: Arc<SchedulingQueue>,
    /// Pods with another scheduler's name are not ours.
    pub scheduler_name: Arc<str>,
}

impl Handlers {
    /// Follows the informers.
    pub fn attach(&self, pods: &Informer<Pod>, nodes: &Informer<Node>, sources: &Sources) {
        let this = self.clone();
        nodes.add_handler(move |event| this.on_node(&event));
        let this = self.clone();
        pods.add_handler(move |event| this.on_pod(&event));
        let this = self.clone();
        sources.namespaces.add_handler(move |event| {
            let changed = match &event {
                Event::Added(_) => true,
                Event::Updated(old, new) => old.metadata.labels != new.metadata.labels,
                Event::Deleted(_) => false,
            };
            if changed {
                this.queue.on_event(ClusterEvents::NAMESPACE, |_| true);
            }
        });
        self.attach_storage(&sources.claims);
        self.attach_storage(&sources.volumes);
        self.attach_storage(&sources.classes);
    }

    /// A volume, claim or class that is new or changed could help pods with claims.
    fn attach_storage<K: Object>(&self, informer: &Informer<K>) {
        let queue = self.queue.clone();
        informer.add_handler(move |event| {
            if !matches!(event, Event::Deleted(_)) {
                queue.on_event(ClusterEvents::STORAGE, |_| true);
            }
        });
    }

    fn on_node(&self, event: &Event<'_, Node>) {
        let events = match event {
            Event::Added(node) => {
                self.cache.set_node((*node).clone());
                ClusterEvents::NODE_ADD
            }
            Event::Updated(old, new) => {
                self.cache.set_node((*new).clone());
                node_changes(old, new)
            }
            Event::Deleted(node) => {
                self.cache.remove_node(&node.metadata.name);
                ClusterEvents::NONE
            }
        };
        if events != ClusterEvents::NONE {
            self.queue.on_event(events, |_| true);
        }
    }

    fn on_pod(&self, event: &Event<'_, Pod>) {
        match event {
            Event::Added(pod) => self.pod_is(None, pod),
            Event::Updated(old, new) => self.pod_is(Some(old), new),
            Event::Deleted(pod) => self.pod_is_gone(pod),
        }
    }

    fn pod_is(&self, old: Option<&Arc<Pod>>, pod: &Arc<Pod>) {
        let uid = &pod.metadata.uid;
        if pod.is_terminal() {
            return self.pod_is_gone(pod);
        }
        if !pod.spec.node_name.is_empty() {
            let was_there = old.is_some_and(|old| !old.spec.node_name.is_empty());
            self.queue.remove(uid);
            self.cache.clear_nomination(uid);
            self.cache.set_pod(Arc::new(PodInfo::new(pod.clone())));
            let events = match old {
                Some(old) if was_there => assigned_pod_changes(old, pod),
                _ => ClusterEvents::ASSIGNED_POD_ADD,
            };
            if events != ClusterEvents::NONE {
                self.queue.on_event(events, |_| true);
            }
            return;
        }
        if *pod.spec.scheduler_name != *self.scheduler_name {
            return self.queue.remove(uid);
        }
        if pod.metadata.is_deleting() {
            // It may stay for long, held by a finalizer, but wants no node any more.
            return self.pod_is_gone(pod);
        }
        let info = Arc::new(PodInfo::new(pod.clone()));
        if self.cache.is_placed(uid) {
            // We have decided, and the API does not show it yet.
            return self.queue.refresh(info);
        }
        match pod.status.nominated_node_name.as_str() {
            "" => drop(self.cache.clear_nomination(uid)),
            node => self.cache.nominate(info.clone(), node),
        }
        // What only the status says cannot make it schedulable: our own writes would wake it for ever.
        let useful = old.is_none_or(|old| old.spec != pod.spec || old.metadata.labels != pod.metadata.labels);
        if let Some((plugin, reason)) = self.queue.add_or_update(info, useful) {
            tracing::debug!(pod = %pod.metadata.key(), plugin, reason, "a pod is kept out of the queue");
        }
    }

    fn pod_is_gone(&self, pod: &Pod) {
        let uid = &pod.metadata.uid;
        self.queue.remove(uid);
        let was_expected = self.cache.clear_nomination(uid);
        let was_placed = self.cache.is_placed(uid);
        self.cache.remove_pod(uid);
        if was_placed || was_expected {
            self.queue.on_event(ClusterEvents::ASSIGNED_POD_DELETE, |_| true);
        }
    }
}

/// What a change of a node could help.
fn node_changes(old: &Node, new: &Node) -> ClusterEvents {
    let mut events = ClusterEvents::NONE;
    let mut note = |changed: bool, event| {
        if changed {
            events = events.union(event);
        }
    };
    note(old.status.allocatable != new.status.allocatable, ClusterEvents::NODE_ALLOCATABLE);
    note(old.metadata.labels != new.metadata.labels, ClusterEvents::NODE_LABEL);
    let taints = old.spec.taints != new.spec.taints || old.spec.unschedulable != new.spec.unschedulable;
    note(taints, ClusterEvents::NODE_TAINT);
    events
}

/// What a change of a pod on a node could help.
fn assigned_pod_changes(old: &Pod, new: &Pod) -> ClusterEvents {
    let labels = old.metadata.labels != new.metadata.labels;
    // Resized in place: it may ask for less.
    let resized = old.spec.containers != new.spec.containers && pod_request(old) != pod_request(new);
    if labels || resized { ClusterEvents::ASSIGNED_POD_UPDATE } else { ClusterEvents::NONE }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::framework::Profile;
    use crate::queue::{Counts, Times};
    use crate::testing::{node_with, pod_with};
    use std::time::Duration;

    fn handlers() -> Handlers {
        let second = Duration::from_secs(1);
        let times = Times { initial_backoff: second, max_backoff: second, max_unschedulable: second };
        Handlers {
            cache: Arc::default(),
            queue: Arc::new(SchedulingQueue::new(times, Arc::new(Profile::default()))),
            scheduler_name: "default-scheduler".into(),
        }
    }

    #[tokio::test]
    async fn a_pod_is_queued_until_it_has_a_node() {
        let handlers = handlers();
        let pod = |spec| pod_with(json!({"metadata": {"name": "p"}, "spec": spec})).pod.clone();
        let waiting = pod(json!({"schedulerName": "default-scheduler"}));
        handlers.on_pod(&Event::Added(&pod(json!({"schedulerName": "other"}))));
        assert_eq!(handlers.queue.counts(), Counts::default());
        handlers.on_pod(&Event::Added(&waiting));
        assert_eq!(handlers.queue.counts().active, 1);
        let bound = pod(json!({"schedulerName": "default-scheduler", "nodeName": "n"}));
        handlers.on_pod(&Event::Updated(&waiting, &bound));
        assert_eq!(handlers.queue.counts(), Counts::default());
        assert!(handlers.cache.is_placed("p"));
        let mut done = (*bound).clone();
        done.status.phase = "Succeeded".into();
        handlers.on_pod(&Event::Updated(&bound, &Arc::new(done)));
        assert!(!handlers.cache.is_placed("p"), "a finished pod takes nothing");
    }

    #[tokio::test]
    async fn room_kept_for_a_pod_is_given_to_others_when_it_goes() {
        let handlers = handlers();
        let pod = |metadata| {
            let spec = json!({"schedulerName": "default-scheduler"});
            pod_with(json!({"metadata": metadata, "spec": spec, "status": {"nominatedNodeName": "n"}})).pod.clone()
        };
        let expected = pod(json!({"name": "p"}));
        handlers.on_pod(&Event::Added(&expected));
        assert_eq!(handlers.cache.nominated_node("p").as_deref(), Some("n"));
        let other = pod_with(json!({"metadata": {"name": "q"}, "spec": {"schedulerName": "default-scheduler"}}));
        handlers.queue.remove("p");
        handlers.on_pod(&Event::Added(&other.pod));
        handlers.queue.pop().await.expect("the other one");
        handlers.queue.put_back_unschedulable("q", &[]);
        let going = pod(json!({"name": "p", "deletionTimestamp": "2026-01-01T00:00:00Z", "finalizers": ["x/y"]}));
        handlers.on_pod(&Event::Updated(&expected, &going));
        assert_eq!(handlers.cache.nominated_node("p"), None);
        assert_eq!(handlers.queue.counts().unschedulable, 0, "the other one is tried again");
    }

    #[test]
    fn heartbeats_help_nobody() {
        let node = |status, spec| node_with(json!({"metadata": {"name": "n"}, "status": status, "spec": spec}));
        let old = node(json!({"allocatable": {"cpu": "1"}}), json!({}));
        assert_eq!(node_changes(&old, &old), ClusterEvents::NONE);
        let more = node(json!({"allocatable": {"cpu": "2"}}), json!({}));
        assert_eq!(node_changes(&old, &more), ClusterEvents::NODE_ALLOCATABLE);
        let cordoned = node(json!({"allocatable": {"cpu": "1"}}), json!({"unschedulable": true}));
        assert_eq!(node_changes(&cordoned, &old), ClusterEvents::NODE_TAINT);
    }
}
