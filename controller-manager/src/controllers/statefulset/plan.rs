//! Pure: from a set and its pods to what should be done, in which order, and a status.
//!
//! Scaling comes before updating: only when every wanted pod is there (in order: and available) are pods that are one
//! too many deleted, and only then is a pod of an old revision deleted, so that the next look makes it anew.

use std::sync::Arc;
use std::time::Duration;

use skiff_client::types::{Pod, StatefulSet, StatefulSetStatus};

use super::claims::{self, NewOwners};
use super::identity;
use super::observe::{Observed, Revision};
use super::status::{self, is_available, is_created, is_running_and_ready, revision_of};
use crate::control_loop::Next;
use crate::{percent, pods};

/// One thing to do.
#[derive(Debug)]
pub(super) enum Step {
    /// Make the claims of a number that are missing, then its pod.
    Create { ordinal: i32, revision: Revision },
    /// Make the claims that are missing of a pod which waits for them.
    MakeClaims { pod: Arc<Pod>, ordinal: i32 },
    /// Change who owns a claim.
    Own { pod: Arc<Pod>, owners: NewOwners },
    /// Give a pod the labels, and if they differ the volumes, of its number.
    Repair { pod: Arc<Pod>, ordinal: i32, volumes: bool },
    /// Delete a pod.
    Delete(Arc<Pod>),
}

/// What to do. A phase begins when all steps of the one before have succeeded.
#[derive(Debug)]
pub(super) struct Plan {
    /// One step after the other; otherwise the steps of a phase are taken together.
    pub(super) in_order: bool,
    /// Steps for pods that are wanted.
    pub(super) replicas: Vec<Step>,
    /// Steps for claims of pods that are one too many, and for these.
    pub(super) condemned: Vec<Step>,
    /// Deletions of pods of an old revision.
    pub(super) update: Vec<Step>,
    /// The status as it is before these deletions.
    pub(super) status: StatefulSetStatus,
    pub(super) next: Next,
}

/// Whether to go on to the next pod.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Go {
    On,
    /// In order, nothing else is done before this pod is.
    NoFurther,
}

pub(super) fn plan(observed: &Observed) -> Plan {
    let set = &*observed.set;
    let in_order = set.spec.pod_management_policy != "Parallel";
    let mut plan = Plan {
        in_order,
        replicas: Vec::new(),
        condemned: Vec::new(),
        update: Vec::new(),
        status: status::count(observed, observed.pods.claimed.iter()),
        next: Next::Event,
    };
    plan.next = next(observed, &plan.status);
    if set.metadata.is_deleting() {
        return plan;
    }
    plan.status = status::count(observed, observed.by_ordinal.values());
    for ordinal in &observed.wanted {
        if replica(observed, *ordinal, in_order, &mut plan.replicas) == Go::NoFurther && in_order {
            return plan;
        }
    }
    // Highest numbers first.
    let too_many: Vec<&Arc<Pod>> = observed
        .by_ordinal
        .iter()
        .rev()
        .filter(|(ordinal, _)| !identity::is_wanted(set, **ordinal))
        .map(|(_, pod)| pod)
        .collect();
    for pod in &too_many {
        plan.condemned.extend(own(observed, pod));
    }
    let first_unavailable = first_unavailable(observed, &too_many);
    for pod in too_many {
        if condemned(observed, pod, first_unavailable, in_order, &mut plan.condemned) == Go::NoFurther && in_order {
            return plan;
        }
    }
    if set.spec.update_strategy.type_ != "OnDelete" && observed.complete {
        plan.update = update(observed);
    }
    plan
}

/// What a pod that is wanted needs.
fn replica(observed: &Observed, ordinal: i32, in_order: bool, steps: &mut Vec<Step>) -> Go {
    let set = &*observed.set;
    let Some(pod) = observed.by_ordinal.get(&ordinal) else {
        if !claims::block_creation(set, ordinal, &observed.claims) {
            steps.push(Step::Create { ordinal, revision: revision_for(observed, ordinal) });
        }
        return Go::NoFurther;
    };
    // A pod that ended is made anew however it ended: the set wants it to run.
    if pod.is_terminal() {
        if !pod.metadata.is_deleting() {
            steps.push(Step::Delete(pod.clone()));
        }
        return Go::NoFurther;
    }
    if pod.status.phase == "Pending" {
        let missing = |name: &String| observed.claims.get(name).is_none_or(|claim| claim.metadata.is_deleting());
        if claims::claim_names(set, ordinal).iter().any(missing) {
            steps.push(Step::MakeClaims { pod: pod.clone(), ordinal });
        }
        steps.extend(own(observed, pod));
    }
    let settled = !pod.metadata.is_deleting() && is_running_and_ready(pod) && is_available(set, pod, observed.now);
    if in_order && !settled {
        return Go::NoFurther;
    }
    if pod.status.phase != "Pending" {
        steps.extend(own(observed, pod));
    }
    let volumes = !claims::are_mounted(set, pod);
    if volumes || !identity::matches(set, pod) {
        steps.push(Step::Repair { pod: pod.clone(), ordinal, volumes });
    }
    Go::On
}

fn own(observed: &Observed, pod: &Arc<Pod>) -> Vec<Step> {
    let changes = claims::new_owners(&observed.set, &pod.metadata, &observed.claims);
    changes.into_iter().map(|owners| Step::Own { pod: pod.clone(), owners }).collect()
}

/// The revision of a new pod: below the partition the current one, else the newest.
fn revision_for(observed: &Observed, ordinal: i32) -> Revision {
    let set = &observed.set;
    let strategy = &set.spec.update_strategy;
    let kept = match &strategy.rolling_update {
        Some(bounds) => bounds.partition.unwrap_or(0),
        None if strategy.type_ == "RollingUpdate" => set.status.current_replicas,
        None => 0,
    };
    let below = i64::from(ordinal) < i64::from(identity::start(set)) + i64::from(kept);
    if below { observed.history.current.clone() } else { observed.history.update.clone() }
}

fn is_unavailable(set: &StatefulSet, pod: &Pod, now: jiff::Timestamp) -> bool {
    pod.metadata.is_deleting() || !is_available(set, pod, now)
}

/// The first pod that is not available, wanted ones before those that are one too many; `None` also if it is missing.
fn first_unavailable<'a>(observed: &'a Observed, too_many: &[&'a Arc<Pod>]) -> Option<&'a str> {
    let unavailable = |pod: &Pod| is_unavailable(&observed.set, pod, observed.now);
    for ordinal in &observed.wanted {
        match observed.by_ordinal.get(ordinal) {
            None => return None,
            Some(pod) if unavailable(pod) => return Some(&pod.metadata.name),
            Some(_) => {}
        }
    }
    too_many.iter().rev().find(|pod| unavailable(pod)).map(|pod| pod.metadata.name.as_str())
}

/// What to do about a pod that is one too many.
fn condemned(
    observed: &Observed,
    pod: &Arc<Pod>,
    first_unavailable: Option<&str>,
    in_order: bool,
    steps: &mut Vec<Step>,
) -> Go {
    if pod.metadata.is_deleting() {
        return Go::NoFurther;
    }
    // A lower pod is not well: it may need this one, unless this is the very one that is not well.
    let well = is_running_and_ready(pod) && is_available(&observed.set, pod, observed.now);
    if in_order && !well && first_unavailable != Some(pod.metadata.name.as_str()) {
        return Go::NoFurther;
    }
    steps.push(Step::Delete(pod.clone()));
    Go::NoFurther
}

/// The pods of an old revision that may go now, highest number first.
fn update(observed: &Observed) -> Vec<Step> {
    let set = &*observed.set;
    let bounds = set.spec.update_strategy.rolling_update.clone().unwrap_or_default();
    let lowest = usize::try_from(bounds.partition.unwrap_or(0)).unwrap_or(0);
    let pod = |ordinal: &i32| observed.by_ordinal.get(ordinal);
    let unavailable = |pod: Option<&Arc<Pod>>| pod.is_none_or(|pod| is_unavailable(set, pod, observed.now));
    let outdated = |pod: &Arc<Pod>| {
        is_created(pod) && revision_of(pod) != observed.history.update.name && !pod.metadata.is_deleting()
    };
    let targets = observed.wanted.iter().skip(lowest).rev().map(pod);
    let Some(limit) = &bounds.max_unavailable else {
        for target in targets {
            match target {
                Some(pod) if outdated(pod) => return vec![Step::Delete(pod.clone())],
                other if unavailable(other) => break,
                _ => {}
            }
        }
        return Vec::new();
    };
    let limit = percent::scaled(limit, identity::replicas(set), false).unwrap_or(1).max(1);
    let missing = observed.wanted.iter().filter(|ordinal| unavailable(pod(ordinal))).count();
    let room = usize::try_from(limit).unwrap_or(1).saturating_sub(missing);
    let may_go = targets.flatten().filter(|pod| outdated(pod)).take(room);
    may_go.map(|pod| Step::Delete(pod.clone())).collect()
}

/// When to look again although nothing happened: when the next ready pod becomes available.
fn next(observed: &Observed, status: &StatefulSetStatus) -> Next {
    let min_ready = observed.set.spec.min_ready_seconds;
    if min_ready <= 0 || status.ready_replicas == status.available_replicas {
        return Next::Event;
    }
    let soonest = pods::next_availability(&observed.pods.claimed, min_ready, observed.now);
    Next::After(Duration::from_secs(soonest.unwrap_or(u64::from(min_ready.unsigned_abs()))))
}

/// The whole plan as text, for golden tests.
#[cfg(test)]
pub(super) fn golden(objects: &crate::golden::Objects) -> String {
    use skiff_client::types::{ControllerRevision, PersistentVolumeClaim};

    use super::observe::History;
    use crate::revisions::{self, Choice};

    let set: Arc<StatefulSet> = Arc::new(objects.one("StatefulSet"));
    let mut all: Vec<Arc<ControllerRevision>> = objects.all("ControllerRevision").into_iter().map(Arc::new).collect();
    revisions::sort(&mut all);
    let mut text = String::new();
    let update = match revisions::choose(&all, &revisions::data(&set.spec.template)) {
        Choice::Newest(newest) => Revision::from(&*newest),
        Choice::Again(older, number) => {
            text.push_str(&format!("revision {} again, as {number}\n", older.metadata.name));
            Revision::from(&*older)
        }
        Choice::New(number) => {
            text.push_str(&format!("new revision {number}\n"));
            Revision { name: "web-new".into(), template: set.spec.template.clone() }
        }
    };
    let current = all.iter().find(|revision| revision.metadata.name == set.status.current_revision);
    let current = current.map_or_else(|| update.clone(), |current| Revision::from(&**current));
    let history = History { all, current, update, collisions: 0 };
    let pods = objects.all::<Pod>("Pod").into_iter().map(Arc::new).collect();
    let claims: Vec<PersistentVolumeClaim> = objects.all("PersistentVolumeClaim");
    let claim = |name: &str| claims.iter().find(|claim| claim.metadata.name == name).cloned().map(Arc::new);
    let observed = Observed::new(set.clone(), history, pods, claim, crate::golden::now());
    for (verb, pods) in [("adopt", &observed.pods.adopt), ("release", &observed.pods.release)] {
        pods.iter().for_each(|pod| text.push_str(&format!("{verb} {}\n", pod.metadata.name)));
    }
    let plan = plan(&observed);
    for (phase, steps) in [("", &plan.replicas), ("condemned: ", &plan.condemned), ("update: ", &plan.update)] {
        for step in steps {
            let line = match step {
                Step::Create { ordinal, revision } => format!("create {ordinal} of {}", revision.name),
                Step::MakeClaims { pod, .. } => format!("make claims of {}", pod.metadata.name),
                Step::Own { owners, .. } => {
                    let names: Vec<&str> = owners.owners.iter().map(|owner| owner.name.as_str()).collect();
                    format!("own {} by {names:?}", owners.claim.metadata.name)
                }
                Step::Repair { pod, .. } => format!("repair {}", pod.metadata.name),
                Step::Delete(pod) => format!("delete {}", pod.metadata.name),
            };
            text.push_str(&format!("{phase}{line}\n"));
        }
    }
    let status = status::complete(&set, plan.status);
    match status::differs(&set, &status) {
        true => text.push_str(&format!("status {}\n", status::to_json(&status))),
        false => text.push_str("status unchanged\n"),
    }
    if let Next::After(delay) = plan.next {
        text.push_str(&format!("look again after {delay:?}\n"));
    }
    text
}
