//! The revisions of a set's template: which one is the current, and which can go.

use std::collections::HashSet;
use std::sync::Arc;

use serde_json::{Value, json};
use skiff_client::objects::{DeleteOptions, PatchKind};
use skiff_client::types::{ControllerRevision, DaemonSet, Pod, StringMap};
use skiff_client::{Kind, Objects};

use super::Controller;
use super::observe::Observed;
use crate::control_loop::unless_gone;
use crate::ownership;
use crate::revisions::{self, Hashed, NewRevision};

/// The history of a set.
#[derive(Clone, Debug, Default)]
pub(super) struct History {
    /// Hash of the current revision: what its pods are labelled with.
    pub(super) hash: String,
    /// The other revisions, oldest first.
    pub(super) old: Vec<Arc<ControllerRevision>>,
}

/// A pod's hash, and a revision's.
fn hash_of(labels: &StringMap) -> &str {
    labels.get(revisions::POD_LABEL).unwrap_or_default()
}

impl Controller {
    /// Finds the current revision, or makes it; it has the highest number, and is the only one with its data.
    pub(super) async fn history(&self, set: &Arc<DaemonSet>) -> anyhow::Result<History> {
        let client = &self.context.client;
        let candidates = ownership::candidates(&self.revisions, &set.metadata);
        let claim = ownership::claim(&set.metadata, &set.spec.selector, candidates);
        ownership::write_claim(client, &DaemonSet::RESOURCE, &set.metadata, &claim, None).await?;
        let mut all = claim.claimed;
        for revision in &mut all {
            self.label(revision).await?;
        }
        revisions::sort(&mut all);
        let data = revisions::data(&set.spec.template);
        let (mut current, old): (Vec<_>, Vec<_>) =
            all.into_iter().partition(|revision| revisions::holds(revision, &data));
        let number = old.last().map_or(0, |newest| newest.revision) + 1;
        let hash = match current.pop() {
            Some(kept) => {
                self.merge_duplicates(set, &kept, &current).await?;
                if kept.revision < number {
                    revisions::renumber(client, &kept, number).await?;
                }
                hash_of(&kept.metadata.labels).to_owned()
            }
            None => hash_of(&self.create_revision(set, &data, number).await?.metadata.labels).to_owned(),
        };
        Ok(History { hash, old })
    }

    /// A revision of before revisions had hashes is known by its name.
    async fn label(&self, revision: &mut Arc<ControllerRevision>) -> anyhow::Result<()> {
        let meta = &revision.metadata;
        if meta.labels.contains_key(revisions::POD_LABEL) {
            return Ok(());
        }
        let api = Objects::<ControllerRevision>::namespaced(&self.context.client, &meta.namespace);
        let patch = json!({"metadata": {"uid": meta.uid, "labels": {revisions::POD_LABEL: meta.name}}});
        *revision = Arc::new(api.patch(&meta.name, "", PatchKind::Merge, &patch).await?);
        Ok(())
    }

    async fn create_revision(&self, set: &DaemonSet, data: &Value, number: i64) -> anyhow::Result<ControllerRevision> {
        let client = &self.context.client;
        let before = set.status.collision_count.unwrap_or(0);
        let mut collisions = before;
        let new = NewRevision {
            owner: &set.metadata,
            reference: ownership::controller_reference(&DaemonSet::RESOURCE, &set.metadata),
            labels: revisions::template_labels(&set.spec.template),
            data,
            number,
            hashed: Hashed::Template(&set.spec.template),
        };
        let created = new.create(client, &mut collisions).await?;
        if collisions != before {
            let api = Objects::<DaemonSet>::namespaced(client, &set.metadata.namespace);
            api.update_status(&set.metadata.name, None, &json!({ "collisionCount": collisions })).await?;
        }
        Ok(created)
    }

    /// Several revisions with the same data become one: pods of the others are relabelled, then these go.
    async fn merge_duplicates(
        &self,
        set: &DaemonSet,
        kept: &ControllerRevision,
        duplicates: &[Arc<ControllerRevision>],
    ) -> anyhow::Result<()> {
        if duplicates.is_empty() {
            return Ok(());
        }
        let client = &self.context.client;
        let hash = hash_of(&kept.metadata.labels);
        let pods = Objects::<Pod>::namespaced(client, &set.metadata.namespace);
        let of_duplicates: HashSet<&str> =
            duplicates.iter().map(|revision| hash_of(&revision.metadata.labels)).collect();
        for pod in ownership::controlled_by(&self.pods, &set.metadata) {
            if of_duplicates.contains(hash_of(&pod.metadata.labels)) {
                let patch = json!({"metadata": {"uid": pod.metadata.uid, "labels": {revisions::POD_LABEL: hash}}});
                unless_gone(pods.patch(&pod.metadata.name, "", PatchKind::Merge, &patch).await)?;
            }
        }
        let api = Objects::<ControllerRevision>::namespaced(client, &set.metadata.namespace);
        for duplicate in duplicates {
            let options = DeleteOptions::with_uid(&duplicate.metadata.uid);
            unless_gone(api.delete(&duplicate.metadata.name, &options).await)?;
        }
        Ok(())
    }

    /// Deletes the oldest revisions that no pod has, beyond those that are to be kept.
    pub(super) async fn truncate_history(&self, observed: &Observed) -> anyhow::Result<()> {
        let api = Objects::<ControllerRevision>::namespaced(&self.context.client, &observed.set.metadata.namespace);
        for revision in superfluous(observed) {
            let options = DeleteOptions::with_uid(&revision.metadata.uid);
            unless_gone(api.delete(&revision.metadata.name, &options).await)?;
        }
        Ok(())
    }
}

/// The revisions that can go.
pub(super) fn superfluous(observed: &Observed) -> Vec<&Arc<ControllerRevision>> {
    let limit = usize::try_from(observed.set.spec.revision_history_limit.unwrap_or(10)).unwrap_or(0);
    let too_many = observed.history.old.len().saturating_sub(limit);
    let live: HashSet<&str> = observed.pods.claimed.iter().map(|pod| hash_of(&pod.metadata.labels)).collect();
    let unused = observed.history.old.iter().filter(|revision| !live.contains(hash_of(&revision.metadata.labels)));
    unused.take(too_many).collect()
}

/// What the template is, for golden tests.
#[cfg(test)]
pub(super) fn of_objects(set: &DaemonSet, mut all: Vec<Arc<ControllerRevision>>) -> History {
    revisions::sort(&mut all);
    let data = revisions::data(&set.spec.template);
    let (mut current, old): (Vec<_>, Vec<_>) = all.into_iter().partition(|revision| revisions::holds(revision, &data));
    let hash = current.pop().map_or_else(|| "new".to_owned(), |one| hash_of(&one.metadata.labels).to_owned());
    History { hash, old }
}
