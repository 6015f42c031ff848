//! Pure: from a Deployment and its ReplicaSets to writes and a status.

use std::sync::Arc;

use serde_json::Value;
use skiff_client::types::{DeploymentStatus, ReplicaSet, condition};

use super::observe::Observed;
use super::replica_sets::{Limits, REVISION, Replica, ReplicaSets};
use super::{rollout, scaling, status};
use crate::conditions;
use crate::control_loop::Next;

/// What to write, in this order: creation, updates, deletions, status.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) create: Option<Creation>,
    pub(super) update: Vec<Update>,
    pub(super) delete: Vec<Arc<ReplicaSet>>,
    /// The new status, if it differs.
    pub(super) status: Option<DeploymentStatus>,
    /// The Deployment's new revision, if it differs.
    pub(super) revision: Option<String>,
    pub(super) next: Next,
}

/// The ReplicaSet of a new template.
#[derive(Debug)]
pub(super) struct Creation {
    pub(super) name: String,
    pub(super) replicas: i32,
    pub(super) body: Value,
}

/// A change of a ReplicaSet.
#[derive(Debug)]
pub(super) struct Update {
    pub(super) from: Arc<ReplicaSet>,
    pub(super) to: Replica,
}

impl Update {
    /// Size before and after, if it changes.
    pub(super) fn resized(&self) -> Option<(i32, i32)> {
        let before = self.from.spec.replicas.unwrap_or(1);
        (before != self.to.replicas).then_some((before, self.to.replicas))
    }
}

pub(super) fn plan(observed: &Observed) -> Plan {
    let deployment = &*observed.deployment;
    let limits = Limits::of(deployment);
    let mut sets = ReplicaSets::of(deployment, &observed.claim.claimed);
    sets.sync_new(deployment);
    let mut current = deployment.status.conditions.clone();
    let mut delete = Vec::new();
    let mut rolls_out = false;

    if deployment.metadata.is_deleting() {
        // The garbage collector does the rest.
    } else {
        status::note_pause(deployment, &mut current, observed.now);
        note_found(observed, &sets, &mut current);
        if deployment.spec.paused || scaling::is_scaling_event(&sets, &limits) {
            scaling::scale(&mut sets, &limits, deployment.status.replicas);
            if deployment.spec.paused {
                delete = surplus_history(observed, &sets);
            }
        } else {
            rolls_out = true;
            roll_out(observed, &mut sets, &limits, &mut current);
            if status::is_complete(deployment, &limits, &deployment.status) {
                delete = surplus_history(observed, &sets);
            }
        }
    }

    let mut new_status = status::calculate(deployment, &sets, &limits, current, observed.now);
    if rolls_out {
        status::judge_progress(deployment, &sets, &limits, &mut new_status, observed.now);
    }
    let next = if rolls_out { status::next_check(deployment, &limits, &new_status, observed.now) } else { Next::Event };
    let revision = sets.new.as_ref().and_then(|new| new.annotations.get(REVISION)).map(str::to_owned);
    let revision = revision.filter(|revision| deployment.metadata.annotations.get(REVISION) != Some(revision));
    Plan {
        create: sets.new.as_ref().and_then(creation),
        update: sets.all().filter_map(update).collect(),
        delete,
        status: (new_status != deployment.status).then_some(new_status),
        revision,
        next,
    }
}

fn roll_out(
    observed: &Observed,
    sets: &mut ReplicaSets,
    limits: &Limits,
    current: &mut Vec<skiff_client::types::Condition>,
) {
    if !limits.rolling && rollout::recreate_must_wait(sets, limits, observed) {
        return;
    }
    if sets.new.is_none() {
        sets.create_new(&observed.deployment, limits);
        note_created(observed, sets, current);
    }
    if limits.rolling { rollout::rolling(sets, limits) } else { rollout::grow_fully(sets, limits) }
}

fn note_created(observed: &Observed, sets: &ReplicaSets, current: &mut Vec<skiff_client::types::Condition>) {
    if let Some(new) = &sets.new
        && status::progress_deadline(&observed.deployment).is_some()
    {
        let message = format!("Created new replica set {:?}", new.name);
        let created = conditions::new(status::PROGRESSING, "True", "NewReplicaSetCreated", message, observed.now);
        conditions::set(current, created);
    }
}

/// A ReplicaSet that was there before anyone asked for progress starts the clock when it is found.
fn note_found(observed: &Observed, sets: &ReplicaSets, current: &mut Vec<skiff_client::types::Condition>) {
    if let Some(new) = &sets.new
        && status::progress_deadline(&observed.deployment).is_some()
        && condition(current, status::PROGRESSING).is_none()
    {
        let message = format!("Found new replica set {:?}", new.name);
        let found = conditions::new(status::PROGRESSING, "True", "FoundNewReplicaSet", message, observed.now);
        conditions::set(current, found);
    }
}

/// Old ReplicaSets beyond the history limit, lowest revisions first, if they have no pods and know it.
fn surplus_history(observed: &Observed, sets: &ReplicaSets) -> Vec<Arc<ReplicaSet>> {
    let Some(limit) = observed.deployment.spec.revision_history_limit.filter(|limit| *limit != i32::MAX) else {
        return Vec::new();
    };
    let mut alive: Vec<&Replica> = sets.old.iter().filter(|old| !old.source.metadata.is_deleting()).collect();
    alive.sort_by(|a, b| a.revision().cmp(&b.revision()).then_with(|| Replica::by_age(a, b)));
    let surplus = alive.len().saturating_sub(usize::try_from(limit).unwrap_or(0));
    let candidates = alive.into_iter().take(surplus);
    let empty = candidates.filter(|old| {
        let source = &old.source;
        let seen = source.metadata.generation <= source.status.observed_generation;
        source.status.replicas == 0 && old.replicas == 0 && source.spec.replicas == Some(0) && seen
    });
    empty.map(|old| old.source.clone()).collect()
}

fn creation(new: &Replica) -> Option<Creation> {
    let mut body = new.creation.clone()?;
    // Roll-out steps after the creation may have changed what is to be created.
    body["spec"]["replicas"] = new.replicas.into();
    body["metadata"]["annotations"] = serde_json::json!(new.annotations);
    Some(Creation { name: new.name.clone(), replicas: new.replicas, body })
}

fn update(set: &Replica) -> Option<Update> {
    let source = &set.source;
    let unchanged = set.replicas == source.spec.replicas.unwrap_or(1)
        && set.annotations == source.metadata.annotations
        && set.min_ready_seconds == source.spec.min_ready_seconds;
    if set.creation.is_some() || unchanged {
        return None;
    }
    Some(Update { from: source.clone(), to: set.clone() })
}

/// The whole plan as text, for golden tests.
#[cfg(test)]
pub(super) fn golden(objects: &crate::golden::Objects) -> String {
    use skiff_client::types::{Deployment, HasMeta, Pod};
    use std::fmt::Write;

    let deployment: Arc<Deployment> = Arc::new(objects.one("Deployment"));
    let sets: Vec<Arc<ReplicaSet>> = objects.all("ReplicaSet").into_iter().map(Arc::new).collect();
    let pods: Vec<Arc<Pod>> = objects.all("Pod").into_iter().map(Arc::new).collect();
    let pods_of =
        |set: &ReplicaSet| pods.iter().filter(|pod| pod.meta().is_controlled_by(&set.metadata.uid)).cloned().collect();
    let observed = Observed::new(deployment, sets, pods_of, crate::golden::now());
    let plan = plan(&observed);
    let mut text = String::new();
    for set in &observed.claim.adopt {
        writeln!(text, "adopt {}", set.metadata.name).expect("a string");
    }
    for set in &observed.claim.release {
        writeln!(text, "release {}", set.metadata.name).expect("a string");
    }
    if let Some(create) = &plan.create {
        writeln!(text, "create {} with {} replicas: {}", create.name, create.replicas, create.body).expect("a string");
    }
    for update in &plan.update {
        write!(text, "update {}:", update.from.metadata.name).expect("a string");
        if let Some((from, to)) = update.resized() {
            write!(text, " replicas {from} to {to}").expect("a string");
        }
        for (key, value) in update.to.annotations.iter() {
            if update.from.metadata.annotations.get(key) != Some(value) {
                write!(text, " {key}={value}").expect("a string");
            }
        }
        if update.to.min_ready_seconds != update.from.spec.min_ready_seconds {
            write!(text, " minReadySeconds={}", update.to.min_ready_seconds).expect("a string");
        }
        text.push('\n');
    }
    for set in &plan.delete {
        writeln!(text, "delete {}", set.metadata.name).expect("a string");
    }
    if let Some(revision) = &plan.revision {
        writeln!(text, "revision {revision}").expect("a string");
    }
    match &plan.status {
        Some(status) => writeln!(text, "status {}", status::to_json(status)).expect("a string"),
        None => text.push_str("status unchanged\n"),
    }
    if let Next::After(delay) = plan.next {
        writeln!(text, "look again after {delay:?}").expect("a string");
    }
    text
}
