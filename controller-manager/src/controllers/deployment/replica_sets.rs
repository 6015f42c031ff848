//! The ReplicaSets of a Deployment as the plan sees them: which one is new, their revisions and annotations.

use std::cmp::Ordering;
use std::sync::Arc;

use serde_json::{Value, json};
use skiff_client::types::{Deployment, ReplicaSet, StringMap};
use skiff_client::{Kind, ResourceType};

use super::template;
use crate::ownership::controller_reference;
use crate::percent;
use crate::template_hash;

pub(super) const REVISION: &str = "deployment.kubernetes.io/revision";
pub(super) const REVISION_HISTORY: &str = "deployment.kubernetes.io/revision-history";
pub(super) const DESIRED_REPLICAS: &str = "deployment.kubernetes.io/desired-replicas";
pub(super) const MAX_REPLICAS: &str = "deployment.kubernetes.io/max-replicas";
/// Annotations of the Deployment that say nothing about its ReplicaSets.
const NOT_COPIED: [&str; 6] = [
    "kubectl.kubernetes.io/last-applied-configuration",
    REVISION,
    REVISION_HISTORY,
    DESIRED_REPLICAS,
    MAX_REPLICAS,
    "deprecated.deployment.rollback.to",
];
/// Longest revision history, in characters.
const MAX_HISTORY: usize = 2000;
/// Longest name of a ReplicaSet.
const MAX_NAME: usize = 253;

/// A ReplicaSet as it will be once the plan is applied.
#[derive(Clone, Debug)]
pub(super) struct Replica {
    /// The object, or an empty one if it is to be created.
    pub(super) source: Arc<ReplicaSet>,
    pub(super) name: String,
    pub(super) replicas: i32,
    pub(super) annotations: StringMap,
    pub(super) min_ready_seconds: i32,
    /// The body to create, if it does not exist yet.
    pub(super) creation: Option<Value>,
}

impl Replica {
    fn of(source: &Arc<ReplicaSet>) -> Self {
        Self {
            name: source.metadata.name.clone(),
            replicas: source.spec.replicas.unwrap_or(1),
            annotations: source.metadata.annotations.clone(),
            min_ready_seconds: source.spec.min_ready_seconds,
            creation: None,
            source: source.clone(),
        }
    }

    pub(super) fn revision(&self) -> i64 {
        self.annotations.get(REVISION).and_then(|revision| revision.parse().ok()).unwrap_or(0)
    }

    pub(super) fn annotated_count(&self, annotation: &str) -> Option<i32> {
        self.annotations.get(annotation)?.parse().ok().filter(|count| *count >= 0)
    }

    pub(super) fn available(&self) -> i32 {
        self.source.status.available_replicas
    }

    /// Older first (upstream `ReplicaSetsByCreationTimestamp`). One that is yet to be created is the newest.
    pub(super) fn by_age(a: &Replica, b: &Replica) -> Ordering {
        let born = |replica: &Replica| replica.source.metadata.creation_timestamp;
        match (born(a), born(b)) {
            (None, Some(_)) => Ordering::Greater,
            (Some(_), None) => Ordering::Less,
            (a_born, b_born) => a_born.cmp(&b_born).then_with(|| a.name.cmp(&b.name)),
        }
    }

    /// Sets the size, and notes the Deployment's size of which it is a part.
    pub(super) fn resize(&mut self, limits: &Limits, replicas: i32) {
        self.replicas = replicas;
        self.note_size(limits);
    }

    fn note_size(&mut self, limits: &Limits) {
        self.annotations.insert(DESIRED_REPLICAS, limits.replicas.to_string());
        self.annotations.insert(MAX_REPLICAS, (limits.replicas + limits.max_surge).to_string());
    }
}

/// Bounds of a roll-out in pods.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Limits {
    pub(super) replicas: i32,
    pub(super) max_surge: i32,
    pub(super) max_unavailable: i32,
    pub(super) rolling: bool,
}

impl Limits {
    /// Surge rounds up, unavailability down; if both come to nothing, one pod may be unavailable.
    pub(super) fn of(deployment: &Deployment) -> Self {
        let replicas = deployment.spec.replicas.unwrap_or(1);
        let strategy = &deployment.spec.strategy;
        if strategy.type_ != "RollingUpdate" {
            return Self { replicas, max_surge: 0, max_unavailable: 0, rolling: false };
        }
        let bounds = strategy.rolling_update.clone().unwrap_or_default();
        let count = |value: &Option<_>, up| value.as_ref().and_then(|v| percent::scaled(v, replicas, up)).unwrap_or(0);
        let max_surge = count(&bounds.max_surge, true);
        let mut max_unavailable = count(&bounds.max_unavailable, false);
        if max_surge == 0 && max_unavailable == 0 {
            max_unavailable = 1;
        }
        Self { replicas, max_surge, max_unavailable: max_unavailable.min(replicas), rolling: true }
    }

    pub(super) fn min_available(&self) -> i32 {
        self.replicas - self.max_unavailable
    }
}

/// The ReplicaSets: the one of the current template, if there is one, and the others, oldest first.
#[derive(Debug)]
pub(super) struct ReplicaSets {
    pub(super) new: Option<Replica>,
    pub(super) old: Vec<Replica>,
}

impl ReplicaSets {
    /// Finds the new one: the oldest whose template is the Deployment's.
    pub(super) fn of(deployment: &Deployment, sets: &[Arc<ReplicaSet>]) -> Self {
        let wanted = template::canonical(&deployment.spec.template);
        let mut old: Vec<Replica> = sets.iter().map(Replica::of).collect();
        old.sort_by(Replica::by_age);
        let new = old.iter().position(|set| template::canonical(&set.source.spec.template) == wanted);
        Self { new: new.map(|at| old.remove(at)), old }
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &Replica> {
        self.old.iter().chain(&self.new)
    }

    pub(super) fn total(&self) -> i32 {
        self.all().map(|set| set.replicas).sum()
    }

    pub(super) fn old_total(&self) -> i32 {
        self.old.iter().map(|set| set.replicas).sum()
    }

    pub(super) fn available(&self) -> i32 {
        self.all().map(Replica::available).sum()
    }

    fn next_revision(&self) -> i64 {
        self.old.iter().map(Replica::revision).max().unwrap_or(0) + 1
    }

    /// Brings the new one's annotations and minReadySeconds up to date, if it exists.
    pub(super) fn sync_new(&mut self, deployment: &Deployment) {
        let revision = self.next_revision();
        let Some(new) = &mut self.new else { return };
        annotate(&mut new.annotations, deployment, revision);
        new.min_ready_seconds = deployment.spec.min_ready_seconds;
    }

    /// Adds the new one, of a size that the limits allow.
    pub(super) fn create_new(&mut self, deployment: &Deployment, limits: &Limits) {
        let hash = template_hash::hash(&deployment.spec.template, deployment.status.collision_count);
        let mut new = Replica {
            source: Arc::default(),
            name: replica_set_name(&deployment.metadata.name, &hash),
            replicas: 0,
            annotations: StringMap::default(),
            min_ready_seconds: deployment.spec.min_ready_seconds,
            creation: None,
        };
        annotate(&mut new.annotations, deployment, self.next_revision());
        new.note_size(limits);
        new.replicas = new_replicas(limits, self.total(), 0);
        new.creation = Some(creation(deployment, &new, &hash));
        self.new = Some(new);
    }
}

/// How large the new one may become (upstream `NewRSNewReplicas`).
pub(super) fn new_replicas(limits: &Limits, total: i32, current: i32) -> i32 {
    if !limits.rolling {
        return limits.replicas;
    }
    let room = limits.replicas + limits.max_surge - total;
    if room <= 0 { current } else { current + room.min(limits.replicas - current) }
}

/// Copies the Deployment's annotations and records the revision, with the earlier ones in the history.
fn annotate(annotations: &mut StringMap, deployment: &Deployment, revision: i64) {
    for (key, value) in deployment.metadata.annotations.iter().filter(|(key, _)| !NOT_COPIED.contains(key)) {
        annotations.insert(key, value);
    }
    let before = annotations.get(REVISION).map(str::to_owned);
    let Ok(number) = before.as_deref().unwrap_or("0").parse::<i64>() else { return };
    if number >= revision {
        return;
    }
    annotations.insert(REVISION, revision.to_string());
    let Some(before) = before else { return };
    let history = annotations.get(REVISION_HISTORY).unwrap_or_default();
    let mut history: Vec<&str> = history.split(',').filter(|entry| !entry.is_empty()).collect();
    history.push(&before);
    while history.iter().map(|entry| entry.len() + 1).sum::<usize>() > MAX_HISTORY + 1 {
        history.remove(0);
    }
    let history = history.join(",");
    annotations.insert(REVISION_HISTORY, history);
}

fn replica_set_name(deployment: &str, hash: &str) -> String {
    let room = MAX_NAME - 1 - hash.len();
    format!("{}-{hash}", &deployment[..deployment.len().min(room)])
}

fn creation(deployment: &Deployment, new: &Replica, hash: &str) -> Value {
    let resource: ResourceType = Deployment::RESOURCE;
    let mut template = deployment.spec.template.value();
    if !template["metadata"].is_object() {
        template["metadata"] = json!({});
    }
    if !template["metadata"]["labels"].is_object() {
        template["metadata"]["labels"] = json!({});
    }
    template["metadata"]["labels"][template::HASH_LABEL] = json!(hash);
    let mut selector = deployment.spec.selector.clone();
    selector.match_labels.insert(template::HASH_LABEL, hash);
    json!({
        "metadata": {
            "name": new.name,
            "namespace": deployment.metadata.namespace,
            "labels": template["metadata"]["labels"],
            "annotations": new.annotations,
            "ownerReferences": [controller_reference(&resource, &deployment.metadata)],
        },
        "spec": {
            "replicas": new.replicas,
            "minReadySeconds": new.min_ready_seconds,
            "selector": selector,
            "template": template,
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn history_stays_short() {
        let mut annotations = StringMap::default();
        let deployment = Deployment::default();
        for revision in 1..2000 {
            annotate(&mut annotations, &deployment, revision);
        }
        let history = annotations.get(REVISION_HISTORY).expect("a history");
        assert!(history.len() <= MAX_HISTORY && history.ends_with(",1998"), "{history}");
        assert_eq!(annotations.get(REVISION), Some("1999"));
    }

    #[test]
    fn long_names_are_cut() {
        assert_eq!(replica_set_name("web", "abc"), "web-abc");
        assert_eq!(replica_set_name(&"x".repeat(253), "abc").len(), 253);
    }
}
