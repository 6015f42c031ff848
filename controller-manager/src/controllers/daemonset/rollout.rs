//! Pure: replacing the pods of old templates, as many at a time as the strategy allows.
//!
//! Without surge, old pods are deleted and the nodes get new ones at the next look. Old pods that are not available go
//! at once: they are missed by nobody. With surge, nodes get a new pod first, and the old one goes when the new one is
//! available.

use std::sync::Arc;

use skiff_client::types::{DaemonSet, IntOrString, Pod};

use super::observe::Observed;
use super::plan::Plan;
use crate::percent;

fn bound(
    set: &DaemonSet,
    which: impl Fn(&skiff_client::types::RollingUpdate) -> &Option<IntOrString>,
    of: usize,
) -> usize {
    let bounds = set.spec.update_strategy.rolling_update.as_ref();
    let bounds = bounds.filter(|_| set.spec.update_strategy.type_ == "RollingUpdate");
    let total = i32::try_from(of).unwrap_or(i32::MAX);
    let value = bounds.and_then(|bounds| which(bounds).as_ref());
    let count = value.and_then(|value| percent::scaled(value, total, true)).unwrap_or(0);
    usize::try_from(count).unwrap_or(0)
}

/// Whether a node may have two pods for a while.
pub(super) fn allows_surge(set: &DaemonSet) -> bool {
    bound(set, |bounds| &bounds.max_surge, 1) > 0
}

/// The new and the old pod of a node.
enum OnNode<'a> {
    Pods {
        new: Option<&'a Arc<Pod>>,
        old: Option<&'a Arc<Pod>>,
    },
    /// More than one of either: this is put right first.
    TooMany,
}

fn on_node<'a>(observed: &Observed, pods: &'a [Arc<Pod>]) -> OnNode<'a> {
    let (mut new, mut old) = (None, None);
    for pod in pods.iter().filter(|pod| !pod.metadata.is_deleting()) {
        let slot = if observed.is_updated(pod) { &mut new } else { &mut old };
        if slot.replace(pod).is_some() {
            return OnNode::TooMany;
        }
    }
    OnNode::Pods { new, old }
}

/// Adds to a plan what the roll-out needs next.
pub(super) fn plan(observed: &Observed, plan: &mut Plan) {
    let set = &observed.set;
    let should_run = |name: &str| observed.nodes.iter().any(|node| node.name == name && node.fit.should_run);
    let wanted = observed.nodes.iter().filter(|node| node.fit.should_run).count();
    let surge = bound(set, |bounds| &bounds.max_surge, wanted);
    let mut unavailable = bound(set, |bounds| &bounds.max_unavailable, wanted);
    if wanted > 0 && surge == 0 && unavailable == 0 {
        unavailable = 1;
    }
    // Every node that has a pod, and every node that should have one.
    let mut names: Vec<&str> = observed.on_node.keys().map(String::as_str).collect();
    names.extend(observed.nodes.iter().filter(|node| node.fit.should_run).map(|node| node.name.as_str()));
    names.sort_unstable();
    names.dedup();
    if surge == 0 {
        replace(observed, &names, unavailable, plan);
    } else {
        surge_over(observed, &names, surge, wanted, should_run, plan);
    }
}

/// Deletes old pods: those that are not available, and of the others as many as may be missing.
fn replace(observed: &Observed, names: &[&str], max_unavailable: usize, plan: &mut Plan) {
    let mut missing = 0;
    let mut candidates = Vec::new();
    for name in names {
        match on_node(observed, observed.pods_on(name)) {
            OnNode::TooMany | OnNode::Pods { new: None, old: None } | OnNode::Pods { new: Some(_), old: Some(_) } => {
                missing += 1
            }
            OnNode::Pods { new: Some(new), old: None } => missing += usize::from(!observed.is_available(new)),
            OnNode::Pods { new: None, old: Some(old) } if !observed.is_available(old) => {
                plan.delete.push(old.clone());
                missing += 1;
            }
            OnNode::Pods { new: None, old: Some(old) } => candidates.push(old.clone()),
        }
    }
    candidates.truncate(max_unavailable.saturating_sub(missing));
    plan.delete.extend(candidates);
}

/// Makes new pods beside the old ones, and deletes those whose successor is available.
fn surge_over(
    observed: &Observed,
    names: &[&str],
    max_surge: usize,
    wanted: usize,
    should_run: impl Fn(&str) -> bool,
    plan: &mut Plan,
) {
    let (mut surging, mut available) = (0, 0);
    let (mut candidates, mut misplaced) = (Vec::new(), Vec::new());
    for name in names {
        let OnNode::Pods { new, old } = on_node(observed, observed.pods_on(name)) else {
            surging += 1;
            continue;
        };
        available += usize::from(old.or(new).is_some_and(|pod| observed.is_available(pod)));
        let Some(old) = old else { continue };
        match new {
            Some(new) if observed.is_available(new) => plan.delete.push(old.clone()),
            Some(_) => surging += 1,
            None => match (observed.is_available(old), should_run(name)) {
                // Its successor may come at once: nobody misses this one.
                (false, true) => plan.create.push((*name).to_owned()),
                (false, false) => plan.delete.push(old.clone()),
                (true, true) => candidates.push((*name).to_owned()),
                (true, false) => misplaced.push(old.clone()),
            },
        }
    }
    // Pods of nodes that should have none go only as far as others have become available.
    misplaced.truncate(available.saturating_sub(wanted));
    plan.delete.extend(misplaced);
    candidates.truncate(max_surge.saturating_sub(surging));
    plan.create.extend(candidates);
}
