//! What the plan is made from.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use skiff_client::Kind;
use skiff_client::types::{ControllerRevision, PersistentVolumeClaim, Pod, RawJson, StatefulSet};

use super::Controller;
use super::claims::{self, Claims};
use super::identity;
use crate::ownership::{self, Claim};
use crate::revisions::{self, Choice, Hashed, NewRevision};

/// The revisions of a set.
#[derive(Debug, Default)]
pub(super) struct History {
    /// All of them, the newest last, as they were before the set's template was looked up.
    pub(super) all: Vec<Arc<ControllerRevision>>,
    /// What pods below the partition have.
    pub(super) current: Revision,
    /// What the set's template is.
    pub(super) update: Revision,
    /// Collisions of revisions' names so far.
    pub(super) collisions: i32,
}

/// A revision as pods are made from it.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Revision {
    pub(super) name: String,
    pub(super) template: RawJson,
}

impl From<&ControllerRevision> for Revision {
    fn from(revision: &ControllerRevision) -> Self {
        Self { name: revision.metadata.name.clone(), template: revisions::template(revision) }
    }
}

/// A set, its history, its pods and their claims.
pub(super) struct Observed {
    pub(super) set: Arc<StatefulSet>,
    pub(super) history: History,
    pub(super) pods: Claim<Pod>,
    /// Its pods by number; of two with one number, the last by name.
    pub(super) by_ordinal: BTreeMap<i32, Arc<Pod>>,
    /// The numbers that are wanted, as far as they are looked at: see `complete`.
    pub(super) wanted: Vec<i32>,
    /// Whether all wanted numbers are looked at: not if more than [`BURST`] pods are missing.
    pub(super) complete: bool,
    pub(super) claims: Claims,
    pub(super) now: Timestamp,
}

/// Most pods that are made in one go: a set may ask for billions.
const BURST: usize = 500;

impl Observed {
    pub(super) fn new(
        set: Arc<StatefulSet>,
        history: History,
        candidates: Vec<Arc<Pod>>,
        claim: impl Fn(&str) -> Option<Arc<PersistentVolumeClaim>>,
        now: Timestamp,
    ) -> Self {
        let pods =
            ownership::claim_if(&set.metadata, &set.spec.selector, candidates, |pod| identity::is_member(&set, pod));
        let numbered = pods.claimed.iter().filter_map(|pod| Some((identity::ordinal(&pod.metadata)?, pod.clone())));
        let by_ordinal: BTreeMap<i32, Arc<Pod>> = numbered.collect();
        let mut missing = 0;
        let ordinals = (0..identity::replicas(&set)).map_while(|at| identity::start(&set).checked_add(at));
        let wanted: Vec<i32> = ordinals
            .take_while(|ordinal| {
                missing += usize::from(!by_ordinal.contains_key(ordinal));
                missing <= BURST
            })
            .collect();
        let complete = missing <= BURST;
        let names = wanted.iter().chain(by_ordinal.keys()).flat_map(|ordinal| claims::claim_names(&set, *ordinal));
        let claims = names.filter_map(|name| claim(&name).map(|found| (name, found))).collect();
        Self { set, history, pods, by_ordinal, wanted, complete, claims, now }
    }
}

impl Controller {
    /// Reads the history, and brings it up to date: the set's template becomes the newest revision.
    pub(super) async fn history(&self, set: &Arc<StatefulSet>) -> anyhow::Result<History> {
        let client = &self.context.client;
        let candidates = ownership::candidates(&self.revisions, &set.metadata);
        let mut claim = ownership::claim(&set.metadata, &set.spec.selector, candidates);
        // Revisions that no longer match are kept: their pods may still be there.
        claim.release.clear();
        ownership::write_claim(client, &StatefulSet::RESOURCE, &set.metadata, &claim, None).await?;
        let mut all = claim.claimed;
        revisions::sort(&mut all);
        let data = revisions::data(&set.spec.template);
        let mut collisions = set.status.collision_count.unwrap_or(0);
        let update = match revisions::choose(&all, &data) {
            Choice::Newest(newest) => Revision::from(&*newest),
            Choice::Again(older, number) => Revision::from(&revisions::renumber(client, &older, number).await?),
            Choice::New(number) => {
                let reference = ownership::controller_reference(&StatefulSet::RESOURCE, &set.metadata);
                let labels = revisions::template_labels(&set.spec.template);
                let hashed = Hashed::Data;
                let new = NewRevision { owner: &set.metadata, reference, labels, data: &data, number, hashed };
                Revision::from(&new.create(client, &mut collisions).await?)
            }
        };
        let current = all.iter().find(|revision| revision.metadata.name == set.status.current_revision);
        let current = current.map_or_else(|| update.clone(), |current| Revision::from(&**current));
        Ok(History { all, current, update, collisions })
    }

    pub(super) fn observe(&self, set: Arc<StatefulSet>, history: History) -> Observed {
        let candidates = ownership::candidates(&self.pods, &set.metadata);
        let namespace = set.metadata.namespace.clone();
        let claim = |name: &str| self.claims.get_by_name(&namespace, name);
        Observed::new(set, history, candidates, claim, self.context.now())
    }
}
