//! Pure: from an owner and its pods to creations, deletions and a status.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use skiff_client::types::{Pod, ReplicaSetStatus, StringMap, condition};

use super::BURST;
use super::observe::Observed;
use crate::conditions::{self, Form};
use crate::control_loop::Next;
use crate::pods;

const REPLICA_FAILURE: &str = "ReplicaFailure";

/// What to do about the number of pods.
#[derive(Debug)]
pub(super) enum Scale {
    Nothing,
    /// Create this many pods.
    Create(usize),
    /// Delete these pods.
    Delete(Vec<Arc<Pod>>),
}

pub(super) fn scale(observed: &Observed) -> Scale {
    if !observed.expectations_met || observed.owner.meta.is_deleting() {
        return Scale::Nothing;
    }
    let wanted = usize::try_from(observed.owner.replicas).unwrap_or(0);
    let have = observed.claim.claimed.len();
    if have < wanted {
        return Scale::Create((wanted - have).min(BURST));
    }
    if have == wanted {
        return Scale::Nothing;
    }
    let mut candidates = observed.claim.claimed.clone();
    pods::sort_for_deletion(&mut candidates, &observed.related_on_node, observed.now);
    candidates.truncate((have - wanted).min(BURST));
    Scale::Delete(candidates)
}

/// The new status, if it differs. `failure` is what went wrong with scaling, if something did.
pub(super) fn status(observed: &Observed, failure: Option<&str>) -> Option<ReplicaSetStatus> {
    let owner = &observed.owner;
    let claimed = &observed.claim.claimed;
    let template_labels: StringMap =
        owner.template.parse::<TemplateLabels>().map(|template| template.metadata.labels).unwrap_or_default();
    let count = |which: &dyn Fn(&Pod) -> bool| claimed.iter().filter(|pod| which(pod)).count() as i32;
    let mut status = ReplicaSetStatus {
        replicas: claimed.len() as i32,
        fully_labeled_replicas: count(&|pod| template_labels.is_subset_of(&pod.metadata.labels)),
        ready_replicas: count(&Pod::is_ready),
        available_replicas: count(&|pod| pod.is_available(i64::from(owner.min_ready_seconds), observed.now)),
        // ReplicationControllers have no such field.
        terminating_replicas: (owner.resource.kind == "ReplicaSet").then_some(observed.terminating as i32),
        observed_generation: owner.meta.generation,
        conditions: owner.status.conditions.clone(),
    };
    match failure {
        None => conditions::remove(&mut status.conditions, REPLICA_FAILURE),
        Some(_) if condition(&status.conditions, REPLICA_FAILURE).is_some() => {}
        Some(message) => {
            let too_few = claimed.len() < usize::try_from(owner.replicas).unwrap_or(0);
            let reason = if too_few { "FailedCreate" } else { "FailedDelete" };
            let failed = conditions::new(REPLICA_FAILURE, "True", reason, message, observed.now);
            conditions::set(&mut status.conditions, failed);
        }
    }
    (status != owner.status).then_some(status)
}

/// When to look again although nothing happened: when the next ready pod becomes available.
pub(super) fn next(observed: &Observed) -> Next {
    let pods = &observed.claim.claimed;
    match pods::next_availability(pods, observed.owner.min_ready_seconds, observed.now) {
        Some(seconds) => Next::After(Duration::from_secs(seconds)),
        None => Next::Event,
    }
}

/// The status as a merge patch: what is zero is removed where upstream omits it.
pub(super) fn status_json(status: &ReplicaSetStatus) -> Value {
    let unless_zero = |count: i32| if count == 0 { Value::Null } else { json!(count) };
    let conditions = conditions::to_json(&status.conditions, Form::Plain);
    json!({
        "replicas": status.replicas,
        "fullyLabeledReplicas": unless_zero(status.fully_labeled_replicas),
        "readyReplicas": unless_zero(status.ready_replicas),
        "availableReplicas": unless_zero(status.available_replicas),
        "terminatingReplicas": status.terminating_replicas,
        "observedGeneration": status.observed_generation,
        "conditions": if status.conditions.is_empty() { Value::Null } else { conditions },
    })
}

#[derive(Default, serde::Deserialize)]
#[serde(default)]
struct TemplateLabels {
    metadata: TemplateMeta,
}

#[derive(Default, serde::Deserialize)]
#[serde(default)]
struct TemplateMeta {
    labels: StringMap,
}

/// The whole plan as text, for golden tests.
#[cfg(test)]
pub(super) fn golden(objects: &crate::golden::Objects) -> String {
    use super::Replicas;
    use skiff_client::types::{ReplicaSet, ReplicationController};

    let mut owners: Vec<_> = objects.all::<ReplicaSet>("ReplicaSet").iter().map(Replicas::view).collect();
    owners.extend(objects.all::<ReplicationController>("ReplicationController").iter().map(Replicas::view));
    let owner = owners.remove(0);
    let pods: Vec<Arc<Pod>> = objects.all::<Pod>("Pod").into_iter().map(Arc::new).collect();
    let extra = objects.extra();
    let met = extra["expectationsMet"].as_bool().unwrap_or(true);
    let observed = Observed::new(owner, pods.clone(), &pods, met, crate::golden::now());
    let mut text = String::new();
    let mut line = |verb: &str, pods: &[Arc<Pod>]| {
        for pod in pods {
            text.push_str(&format!("{verb} pod {}\n", pod.metadata.name));
        }
    };
    line("adopt", &observed.claim.adopt);
    line("release", &observed.claim.release);
    match scale(&observed) {
        Scale::Nothing => {}
        Scale::Create(count) => text.push_str(&format!("create {count} pods\n")),
        Scale::Delete(pods) => line("delete", &pods),
    }
    match status(&observed, extra["failure"].as_str()) {
        Some(status) => text.push_str(&format!("status {}\n", status_json(&status))),
        None => text.push_str("status unchanged\n"),
    }
    if let Next::After(delay) = next(&observed) {
        text.push_str(&format!("look again after {delay:?}\n"));
    }
    text
}
