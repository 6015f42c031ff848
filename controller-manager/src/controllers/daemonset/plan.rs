//! Pure: which pods to make and delete so that every node has what it should.

use std::sync::Arc;
use std::time::Duration;

use skiff_client::types::Pod;

use super::observe::{Candidate, Observed};
use super::rollout;
use crate::control_loop::Next;

/// Most pods that are made, and most that are deleted, in one go.
pub(super) const BURST: usize = 250;

/// What to do.
#[derive(Debug)]
pub(super) struct Plan {
    /// Nodes that get a pod.
    pub(super) create: Vec<String>,
    /// Pods that go.
    pub(super) delete: Vec<Arc<Pod>>,
    /// Pods that ended, and their nodes: they go, too, and the user is told.
    pub(super) ended: Vec<(String, Arc<Pod>)>,
    /// Whether old revisions are looked after.
    pub(super) truncate: bool,
    pub(super) next: Next,
}

pub(super) fn plan(observed: &Observed) -> Plan {
    let mut plan = Plan {
        create: Vec::new(),
        delete: Vec::new(),
        ended: Vec::new(),
        truncate: observed.expectations_met,
        next: next_availability(observed),
    };
    if !observed.expectations_met {
        return plan;
    }
    for node in &observed.nodes {
        manage(observed, node, &mut plan);
    }
    plan.delete.extend(without_node(observed));
    if plan.create.is_empty() && plan.delete.is_empty() && observed.set.spec.update_strategy.type_ == "RollingUpdate" {
        rollout::plan(observed, &mut plan);
    }
    plan.create.truncate(BURST);
    plan.delete.truncate(BURST);
    plan
}

/// What one node needs.
fn manage(observed: &Observed, node: &Candidate, plan: &mut Plan) {
    let pods = observed.pods_on(&node.name);
    if node.fit.should_run && pods.is_empty() {
        plan.create.push(node.name.clone());
        return;
    }
    let staying = pods.iter().filter(|pod| !pod.metadata.is_deleting());
    if !node.fit.may_stay {
        plan.delete.extend(staying.cloned());
        return;
    }
    let mut running: Vec<&Arc<Pod>> = Vec::new();
    for pod in staying {
        match (pod.status.phase.as_str(), node.waits) {
            ("Failed", Some(delay)) => plan.next = plan.next.or_earlier(Next::After(delay)),
            ("Failed" | "Succeeded", _) => {
                plan.ended.push((node.name.clone(), pod.clone()));
                plan.delete.push(pod.clone());
            }
            _ => running.push(pod),
        }
    }
    if !rollout::allows_surge(&observed.set) {
        plan.delete.extend(running.into_iter().skip(1).cloned());
        return;
    }
    match running.as_slice() {
        [] if node.fit.should_run => plan.create.push(node.name.clone()),
        [] | [_] => {}
        several => prune_surge(observed, several, plan),
    }
}

/// While surging, a node may have an old and a new pod: as long as the old one is ready and the new one is not
/// available.
fn prune_surge(observed: &Observed, running: &[&Arc<Pod>], plan: &mut Plan) {
    let is_new = |pod: &Pod| pod.metadata.labels.get(crate::revisions::POD_LABEL) == Some(&observed.history.hash);
    let (mut new, mut old) = (None, None);
    for pod in running {
        let kept = if is_new(pod) { &mut new } else { &mut old };
        match kept {
            None => *kept = Some(*pod),
            Some(_) => plan.delete.push((*pod).clone()),
        }
    }
    if let (Some(new), Some(old)) = (new, old)
        && (!old.is_ready() || observed.is_available(new))
    {
        plan.delete.push(old.clone());
    }
}

/// Pods that wait for a node which is gone: nobody else deletes them.
fn without_node(observed: &Observed) -> impl Iterator<Item = Arc<Pod>> + '_ {
    let gone = observed.on_node.iter().filter(|(name, _)| !observed.nodes.iter().any(|node| node.name == **name));
    gone.flat_map(|(_, pods)| pods).filter(|pod| pod.spec.node_name.is_empty()).cloned()
}

/// Readiness turns into availability without an event.
fn next_availability(observed: &Observed) -> Next {
    let min_ready = observed.set.spec.min_ready_seconds;
    let all: Vec<Arc<Pod>> = observed.on_node.values().flatten().cloned().collect();
    match crate::pods::next_availability(&all, min_ready.max(0), observed.now) {
        Some(seconds) => Next::After(Duration::from_secs(seconds)),
        None => Next::Event,
    }
}

/// The whole plan as text, for golden tests.
#[cfg(test)]
pub(super) fn golden(objects: &crate::golden::Objects) -> String {
    use super::{history, status};
    use skiff_client::types::{DaemonSet, Node};

    let set: Arc<DaemonSet> = Arc::new(objects.one("DaemonSet"));
    let history = history::of_objects(&set, objects.all("ControllerRevision").into_iter().map(Arc::new).collect());
    let pods = objects.all::<Pod>("Pod").into_iter().map(Arc::new).collect();
    let nodes: Vec<Arc<Node>> = objects.all("Node").into_iter().map(Arc::new).collect();
    let extra = objects.extra();
    let met = extra["expectationsMet"].as_bool().unwrap_or(true);
    let waits = |place: &super::backoff::Place| extra["waits"][&place.2].as_u64().map(Duration::from_secs);
    let observed = Observed::new(set, history, pods, &nodes, waits, met, crate::golden::now());
    let plan = plan(&observed);
    let mut lines = Vec::new();
    for (verb, pods) in [("adopt", &observed.pods.adopt), ("release", &observed.pods.release)] {
        lines.extend(pods.iter().map(|pod| format!("{verb} {}", pod.metadata.name)));
    }
    lines.extend(plan.create.iter().map(|node| format!("create on {node}")));
    lines.extend(plan.ended.iter().map(|(node, pod)| format!("{} ended on {node}", pod.metadata.name)));
    lines.extend(plan.delete.iter().map(|pod| format!("delete {}", pod.metadata.name)));
    if plan.truncate {
        let superfluous = history::superfluous(&observed).into_iter();
        lines.extend(superfluous.map(|revision| format!("delete revision {}", revision.metadata.name)));
    }
    lines.push(match status::changed(&observed) {
        Some(status) => format!("status {}", status::to_json(&status)),
        None => "status unchanged".to_owned(),
    });
    if let Next::After(delay) = plan.next {
        lines.push(format!("look again after {delay:?}"));
    }
    lines.join("\n")
}
