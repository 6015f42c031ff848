//! Taint eviction: deletes pods from nodes whose NoExecute taints they do not tolerate, or no longer.
//!
//! Upstream: `pkg/controller/tainteviction`.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use parking_lot::Mutex;
use serde_json::json;
use skiff_client::clock::format_time;
use skiff_client::objects::{DeleteOptions, PatchKind};
use skiff_client::types::{Node, Pod, Taint};
use skiff_client::{Event, EventRecorder, EventType, Informer, ObjectKey, ObjectReference, Objects, Workqueue};

use super::node_lifecycle::{NODE_INDEX, node_index};
use crate::context::Context;
use crate::control_loop::{self, Next, Reconciler, unless_gone};

const NAME: &str = "taint-eviction-controller";

struct Controller {
    context: Context,
    nodes: Informer<Node>,
    pods: Informer<Pod>,
    /// Pods that have to go, by UID: since when the taints of their node are known to be there.
    since: Mutex<HashMap<String, Timestamp>>,
    recorder: EventRecorder,
}

/// Runs the controller.
pub async fn run(context: Context) -> anyhow::Result<()> {
    let controller = Arc::new(Controller {
        nodes: context.informer(),
        pods: context.informer(),
        since: Mutex::default(),
        recorder: context.recorder("taint-eviction-controller"),
        context: context.clone(),
    });
    controller.pods.add_index(NODE_INDEX, node_index);
    let queue = Workqueue::new();
    let (to, owner) = (queue.clone(), controller.clone());
    controller.pods.add_handler(move |event| {
        let pod = event.object();
        if matches!(event, Event::Deleted(_)) {
            owner.since.lock().remove(&pod.metadata.uid);
        } else if !pod.spec.node_name.is_empty() {
            to.add(pod.metadata.key());
        }
    });
    let (to, pods) = (queue.clone(), controller.pods.clone());
    controller.nodes.add_handler(move |event| {
        let changed = match &event {
            Event::Added(node) => !executing(node).is_empty(),
            Event::Updated(old, new) => executing(old) != executing(new),
            Event::Deleted(_) => false,
        };
        if changed {
            let there = pods.by_index(NODE_INDEX, &event.object().metadata.name);
            there.iter().for_each(|pod| to.add(pod.metadata.key()));
        }
    });
    if !(context.synced(&controller.nodes).await && context.synced(&controller.pods).await) {
        return Ok(());
    }
    control_loop::run(NAME, &context, queue, controller).await
}

fn executing(node: &Node) -> Vec<&Taint> {
    node.spec.taints.iter().filter(|taint| taint.effect == "NoExecute").collect()
}

/// What becomes of a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    /// It stays.
    Stays,
    /// It goes at this time.
    GoesAt(Timestamp),
}

/// Decides about a pod on a node. `since`: when the taints were first seen, for those that do not say it themselves.
fn verdict(pod: &Pod, taints: &[&Taint], since: Timestamp) -> Verdict {
    let mut earliest: Option<Timestamp> = None;
    for taint in taints {
        let tolerating: Vec<_> = pod.spec.tolerations.iter().filter(|toleration| toleration.tolerates(taint)).collect();
        if tolerating.is_empty() {
            return Verdict::GoesAt(since);
        }
        // Of several tolerations the shortest counts; one without an end counts only if all are without.
        let seconds = tolerating.iter().filter_map(|toleration| toleration.toleration_seconds).min();
        if let Some(seconds) = seconds {
            let until = taint.time_added.unwrap_or(since) + Duration::from_secs(seconds.max(0).unsigned_abs());
            earliest = Some(earliest.map_or(until, |known| known.min(until)));
        }
    }
    earliest.map_or(Verdict::Stays, Verdict::GoesAt)
}

#[async_trait::async_trait]
impl Reconciler for Controller {
    type Key = ObjectKey;

    async fn reconcile(&self, key: &ObjectKey) -> anyhow::Result<Next> {
        let Some(pod) = self.pods.get(key) else { return Ok(Next::Event) };
        let uid = &pod.metadata.uid;
        if pod.metadata.is_deleting() || pod.is_terminal() {
            self.since.lock().remove(uid);
            return Ok(Next::Event);
        }
        let Some(node) = self.nodes.get_by_name("", &pod.spec.node_name) else { return Ok(Next::Event) };
        let (taints, now) = (executing(&node), self.context.now());
        if taints.is_empty() {
            if self.since.lock().remove(uid).is_some() {
                let message = format!("Cancelling deletion of Pod {}/{}", key.namespace, key.name);
                self.recorder.event(&ObjectReference::to(&*pod), EventType::Normal, "TaintManagerEviction", message);
            }
            return Ok(Next::Event);
        }
        let since = *self.since.lock().entry(uid.clone()).or_insert(now);
        match verdict(&pod, &taints, since) {
            Verdict::Stays => {
                self.since.lock().remove(uid);
                Ok(Next::Event)
            }
            Verdict::GoesAt(at) if at > now => {
                Ok(Next::After(Duration::try_from(at.duration_since(now)).unwrap_or_default()))
            }
            Verdict::GoesAt(_) => {
                self.evict(&pod, now).await?;
                Ok(Next::Event)
            }
        }
    }
}

impl Controller {
    async fn evict(&self, pod: &Pod, now: Timestamp) -> anyhow::Result<()> {
        let meta = &pod.metadata;
        let message = format!("Marking for deletion Pod {}/{}", meta.namespace, meta.name);
        self.recorder.event(&ObjectReference::to(pod), EventType::Normal, "TaintManagerEviction", message);
        let api = Objects::<Pod>::namespaced(&self.context.client, &meta.namespace);
        let patch = json!({"metadata": {"uid": meta.uid}, "status": {"conditions": [{
            "type": "DisruptionTarget",
            "status": "True",
            "reason": "DeletionByTaintManager",
            "message": "Taint manager: deleting due to NoExecute taint",
            "lastTransitionTime": format_time(now),
        }]}});
        unless_gone(api.patch(&meta.name, "status", PatchKind::Strategic, &patch).await)?;
        unless_gone(api.delete(&meta.name, &DeleteOptions::with_uid(&meta.uid)).await)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn check(tolerations: Value, taints: Value, expected: Option<i64>) {
        let pod: Pod = serde_json::from_value(json!({"spec": {"tolerations": tolerations}})).expect("a pod");
        let taints: Vec<Taint> = serde_json::from_value(taints).expect("taints");
        let since = Timestamp::from_second(1000).expect("a time");
        let found = match verdict(&pod, &taints.iter().collect::<Vec<_>>(), since) {
            Verdict::Stays => None,
            Verdict::GoesAt(at) => Some(at.as_second()),
        };
        assert_eq!(found, expected);
    }

    #[test]
    fn every_taint_must_be_tolerated_and_the_shortest_time_counts() {
        let taint = |key: &str| json!({"key": key, "effect": "NoExecute"});
        let tolerates = |key: &str, seconds: Option<i64>| json!({"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": seconds});
        check(json!([]), json!([taint("a")]), Some(1000));
        check(json!([tolerates("a", None)]), json!([taint("a")]), None);
        check(json!([tolerates("a", Some(300))]), json!([taint("a")]), Some(1300));
        check(json!([tolerates("a", Some(300)), tolerates("a", Some(10))]), json!([taint("a")]), Some(1010));
        check(
            json!([tolerates("a", Some(300)), tolerates("b", Some(10))]),
            json!([taint("a"), taint("b")]),
            Some(1010),
        );
        check(json!([tolerates("a", None)]), json!([taint("a"), taint("b")]), Some(1000));
        let dated = json!({"key": "a", "effect": "NoExecute", "timeAdded": "1970-01-01T00:10:00Z"});
        check(json!([tolerates("a", Some(300))]), json!([dated]), Some(900));
    }
}
