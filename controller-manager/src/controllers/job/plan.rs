//! From what is observed to what is done. Pure.
//!
//! The order in which the plan is carried out keeps the counts right over any crash: first finished pods are noted as
//! uncounted in the status, then they lose their finalizer, and only then (in a later round) they become numbers.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use skiff_client::types::{Job, JobStatus, Pod, UncountedPods, condition, condition_is_true};

use super::failure_policy::Action;
use super::observe::{FAILURES, IGNORED_FAILURES, Observed, annotation, finished_at};
use super::{backoff, indexes, success_policy};
use crate::conditions;
use crate::pods::sort_for_deletion;

/// Most pods that may be created or deleted in one round (upstream `MaxPodCreateDeletePerSync`).
const BURST: usize = 500;
/// Most pods noted as uncounted at a time (upstream `MaxUncountedPods`).
const MAX_UNCOUNTED: usize = 500;

/// A pod to create.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct NewPod {
    pub(super) index: Option<i32>,
    /// Failures of the index so far, where they are counted: those that count, and those that do not.
    pub(super) failures: Option<(i32, i32)>,
}

/// What is to be done.
#[derive(Default)]
pub(super) struct Plan {
    /// The status as it should be; `None` if it is.
    pub(super) status: Option<JobStatus>,
    /// Pods to release: they are noted.
    pub(super) release: Vec<Arc<Pod>>,
    /// Pods to release and delete: they are too many, and that is no failure.
    pub(super) surplus: Vec<Arc<Pod>>,
    /// Pods to delete: the job is over.
    pub(super) delete: Vec<Arc<Pod>>,
    /// Pods to create.
    pub(super) create: Vec<NewPod>,
    /// When to look again.
    pub(super) after: Option<Duration>,
    /// Events: type, reason, message.
    pub(super) events: Vec<(bool, String, String)>,
}

/// An end that is coming: condition type, reason, message.
struct End(&'static str, String, String);

/// Plans a round.
pub(super) fn plan(observed: &Observed) -> Plan {
    let job = &observed.job;
    let mut plan = Plan::default();
    if job.is_finished() || job.metadata.is_deleting() {
        // Nothing is counted any more: pods only must not be held back.
        plan.release = observed.pods.iter().filter(|pod| observed.is_tracked(pod)).cloned().collect();
        return plan;
    }
    let mut status = job.status.clone();
    let counts = Counts::of(observed);
    suspend_or_start(observed, &mut status, &mut plan);
    let end = ending(observed, &counts, &status);
    let active = observed.active();
    match &end {
        Some(_) => plan.delete = active.iter().map(|pod| (*pod).clone()).collect(),
        None if observed.expectations_met => manage(observed, &counts, &mut plan),
        None => {}
    }
    track(observed, end.as_ref(), &mut status, &mut plan);
    if observed.is_indexed() {
        status.completed_indexes = indexes::format(&observed.succeeded_indexes());
        status.succeeded = i32::try_from(observed.succeeded_indexes().len()).unwrap_or(i32::MAX);
        status.failed_indexes = observed.failed_indexes().map(|failed| indexes::format(&failed));
    }
    let removed = plan.surplus.len() + plan.delete.len();
    let number = |count: usize| i32::try_from(count).unwrap_or(i32::MAX);
    status.active = number((active.len() + plan.create.len()).saturating_sub(removed));
    status.ready = Some(number(observed.ready()));
    status.terminating = Some(number(observed.terminating() + removed));
    if let Some(end) = &end {
        finish(observed, end, &mut status, &mut plan);
    }
    plan.status = (status != job.status).then_some(status);
    plan
}

/// Successes and failures, those included that are not written anywhere yet.
struct Counts {
    succeeded: i32,
    failed: i32,
}

impl Counts {
    fn of(observed: &Observed) -> Self {
        let status = &observed.job.status;
        let noted = status.uncounted_terminated_pods.clone().unwrap_or_default();
        let fresh = |pod: &&Arc<Pod>| {
            let uid = &pod.metadata.uid;
            observed.is_tracked(pod) && !noted.succeeded.contains(uid) && !noted.failed.contains(uid)
        };
        let new = || observed.pods.iter().filter(fresh);
        let succeeded = new().filter(|pod| pod.status.phase == "Succeeded").count() + noted.succeeded.len();
        let failed = new().filter(|pod| observed.failed(pod) && observed.failure(pod).action != Action::Ignore).count();
        let number = |count: usize| i32::try_from(count).unwrap_or(i32::MAX);
        let succeeded = if observed.is_indexed() {
            number(observed.succeeded_indexes().len())
        } else {
            status.succeeded.saturating_add(number(succeeded))
        };
        Self { succeeded, failed: status.failed.saturating_add(number(failed + noted.failed.len())) }
    }
}

fn suspend_or_start(observed: &Observed, status: &mut JobStatus, plan: &mut Plan) {
    let (job, now) = (&observed.job, observed.now);
    let was_suspended = condition_is_true(&status.conditions, "Suspended");
    if job.spec.suspend && !was_suspended {
        let suspended = conditions::new("Suspended", "True", "JobSuspended", "Job suspended", now);
        conditions::set(&mut status.conditions, suspended);
        plan.events.push((true, "Suspended".into(), "Job suspended".into()));
        status.start_time = None;
    } else if !job.spec.suspend && was_suspended {
        conditions::set(
            &mut status.conditions,
            conditions::new("Suspended", "False", "JobResumed", "Job resumed", now),
        );
        plan.events.push((true, "Resumed".into(), "Job resumed".into()));
        status.start_time = Some(now);
    }
    if !job.spec.suspend && status.start_time.is_none() {
        status.start_time = Some(now);
    }
}

/// Whether the job is to end, and how. What was decided once stays decided.
fn ending(observed: &Observed, counts: &Counts, status: &JobStatus) -> Option<End> {
    for (decided, terminal) in [("FailureTarget", "Failed"), ("SuccessCriteriaMet", "Complete")] {
        if let Some(found) = condition(&status.conditions, decided).filter(|found| found.status == "True") {
            return Some(End(terminal, found.reason.clone(), found.message.clone()));
        }
    }
    let job = &observed.job;
    let failed = |reason: &str, message: &str| Some(End("Failed", reason.into(), message.into()));
    let matched = observed.pods.iter().filter(|pod| observed.failed(pod) && observed.is_tracked(pod));
    for pod in matched {
        if let Action::FailJob(message) = observed.failure(pod).action {
            return failed("PodFailurePolicy", &message);
        }
    }
    if counts.failed > job.spec.backoff_limit.unwrap_or(6) || restarted_too_often(observed) {
        return failed("BackoffLimitExceeded", "Job has reached the specified backoff limit");
    }
    if let (Some(deadline), Some(start)) = (job.spec.active_deadline_seconds, status.start_time)
        && !job.spec.suspend
        && observed.now.as_second() - start.as_second() >= deadline
    {
        return failed("DeadlineExceeded", "Job was active longer than specified deadline");
    }
    let succeeded = observed.succeeded_indexes();
    if let Some(failed_indexes) = observed.failed_indexes() {
        let limit = job.spec.max_failed_indexes;
        if limit.is_some_and(|limit| failed_indexes.len() > usize::try_from(limit).unwrap_or(0)) {
            let message = "Job has exceeded the specified maximal number of failed indexes";
            return failed("MaxFailedIndexesExceeded", message);
        }
        let over = failed_indexes.len() + succeeded.len() >= usize::try_from(observed.completions()).unwrap_or(0);
        if !failed_indexes.is_empty() && over {
            return failed("FailedIndexes", "Job has failed indexes");
        }
    }
    let policy = job.spec.success_policy.as_ref().filter(|_| observed.is_indexed());
    if let Some(message) = policy.and_then(|policy| success_policy::met(policy, &succeeded, observed.completions())) {
        return Some(End("Complete", "SuccessPolicy".into(), message));
    }
    let complete = match job.spec.completions {
        // Any success ends it, when the others are done.
        None => counts.succeeded > 0 && observed.active().is_empty(),
        Some(completions) => counts.succeeded >= completions && observed.active().is_empty(),
    };
    let message = "Reached expected number of succeeded pods";
    (complete && !job.spec.suspend).then(|| End("Complete", "CompletionsReached".into(), message.into()))
}

/// Containers that are restarted in their pods count, too (upstream `pastBackoffLimitOnFailure`).
fn restarted_too_often(observed: &Observed) -> bool {
    #[derive(serde::Deserialize)]
    struct Template {
        spec: Spec,
    }
    #[derive(serde::Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Spec {
        restart_policy: Option<String>,
    }
    let template = observed.job.spec.template.parse::<Template>();
    if !template.is_ok_and(|template| template.spec.restart_policy.as_deref() == Some("OnFailure")) {
        return false;
    }
    let running = observed.pods.iter().filter(|pod| matches!(pod.status.phase.as_str(), "Running" | "Pending"));
    let statuses =
        running.flat_map(|pod| pod.status.init_container_statuses.iter().chain(&pod.status.container_statuses));
    let restarts: i32 = statuses.map(|status| status.restart_count).sum();
    let limit = observed.job.spec.backoff_limit.unwrap_or(6);
    if limit == 0 { restarts > 0 } else { restarts >= limit }
}

/// As many pods as should run.
fn manage(observed: &Observed, counts: &Counts, plan: &mut Plan) {
    let (job, active) = (&observed.job, observed.active());
    if job.spec.suspend {
        plan.surplus = active.iter().map(|pod| (*pod).clone()).take(BURST).collect();
        return;
    }
    let wanted = match job.spec.completions {
        // After the first success no further pod is needed; those that run may go on.
        None if counts.succeeded > 0 => active.len().min(observed.parallelism()),
        None => observed.parallelism(),
        Some(completions) => {
            let left = usize::try_from(completions.saturating_sub(counts.succeeded)).unwrap_or(0);
            let failed = observed.failed_indexes().map_or(0, |failed| failed.len());
            left.saturating_sub(failed).min(observed.parallelism())
        }
    };
    if observed.is_indexed() {
        plan.surplus = doubled(observed, &active);
    }
    let kept = active.len() - plan.surplus.len();
    if kept > wanted {
        let gone: BTreeSet<&str> = plan.surplus.iter().map(|pod| pod.metadata.uid.as_str()).collect();
        let mut candidates: Vec<Arc<Pod>> =
            active.iter().filter(|pod| !gone.contains(pod.metadata.uid.as_str())).map(|pod| (*pod).clone()).collect();
        sort_for_deletion(&mut candidates, &std::collections::HashMap::new(), observed.now);
        candidates.truncate(kept - wanted);
        plan.surplus.extend(candidates);
        plan.surplus.truncate(BURST);
        return;
    }
    let missing = wanted.saturating_sub(kept + observed.blocking()).min(BURST);
    if missing == 0 {
        return;
    }
    if observed.is_indexed() {
        create_indexes(observed, missing, plan);
    } else if let Some(pause) = backoff::remaining(observed.pods.iter(), observed) {
        plan.after = Some(pause);
    } else {
        plan.create = vec![NewPod::default(); missing];
    }
}

/// Of active pods with the same index all but the first, and all without one of ours.
fn doubled(observed: &Observed, active: &[&Arc<Pod>]) -> Vec<Arc<Pod>> {
    let mut seen = BTreeSet::new();
    let mut sorted: Vec<&Arc<Pod>> = active.to_vec();
    // Those that have got furthest stay.
    sorted.sort_by_key(|pod| (!pod.is_ready(), pod.spec.node_name.is_empty(), pod.metadata.creation_timestamp));
    let surplus = sorted.into_iter().filter(|pod| observed.index(pod).is_none_or(|index| !seen.insert(index)));
    surplus.cloned().collect()
}

fn create_indexes(observed: &Observed, missing: usize, plan: &mut Plan) {
    let mut taken = observed.succeeded_indexes();
    taken.extend(observed.failed_indexes().unwrap_or_default());
    taken.extend(observed.active().iter().filter_map(|pod| observed.index(pod)));
    if observed.blocking() > 0 {
        let going = observed.pods.iter().filter(|pod| pod.metadata.is_deleting() && !pod.is_terminal());
        taken.extend(going.filter_map(|pod| observed.index(pod)));
    }
    let last_failures = observed.last_failures();
    let per_index = observed.job.spec.backoff_limit_per_index.is_some();
    if !per_index && let Some(pause) = backoff::remaining(observed.pods.iter(), observed) {
        plan.after = Some(pause);
        return;
    }
    for index in (0..observed.completions()).filter(|index| !taken.contains(index)) {
        if plan.create.len() >= missing {
            break;
        }
        let last = last_failures.get(&index);
        if let Some(pause) = last.and_then(|pod| backoff::remaining(std::iter::once(*pod), observed)) {
            plan.after = Some(plan.after.map_or(pause, |known| known.min(pause)));
            continue;
        }
        let failures = per_index.then(|| {
            last.map_or((0, 0), |pod| {
                let ignored = observed.failure(pod).action == Action::Ignore;
                let count = |name| annotation(pod, name);
                (count(FAILURES) + i32::from(!ignored), count(IGNORED_FAILURES) + i32::from(ignored))
            })
        });
        plan.create.push(NewPod { index: Some(index), failures });
    }
}

/// Notes finished pods, releases those that are noted, and counts those that are released.
fn track(observed: &Observed, end: Option<&End>, status: &mut JobStatus, plan: &mut Plan) {
    let mut noted = status.uncounted_terminated_pods.clone().unwrap_or_default();
    let held: BTreeSet<&str> =
        observed.pods.iter().filter(|pod| observed.is_tracked(pod)).map(|pod| pod.metadata.uid.as_str()).collect();
    // Those without the finalizer, or gone, become numbers.
    let before = (noted.succeeded.len(), noted.failed.len());
    noted.succeeded.retain(|uid| held.contains(uid.as_str()));
    noted.failed.retain(|uid| held.contains(uid.as_str()));
    let number = |count: usize| i32::try_from(count).unwrap_or(i32::MAX);
    status.succeeded = status.succeeded.saturating_add(number(before.0 - noted.succeeded.len()));
    status.failed = status.failed.saturating_add(number(before.1 - noted.failed.len()));

    let waiting_for_successor: BTreeSet<&str> = match end {
        Some(_) => BTreeSet::new(),
        None => {
            let settled = observed.failed_indexes().unwrap_or_default();
            let last = observed.last_failures().into_iter().filter(|(index, _)| !settled.contains(index));
            last.map(|(_, pod)| pod.metadata.uid.as_str()).collect()
        }
    };
    let over = end.is_some_and(|End(terminal, ..)| *terminal == "Failed");
    for pod in observed.pods.iter().filter(|pod| observed.is_tracked(pod)) {
        let uid = &pod.metadata.uid;
        let failed = observed.failed(pod) || (over && pod.status.phase != "Succeeded");
        let succeeded = pod.status.phase == "Succeeded";
        if !(failed || succeeded) || waiting_for_successor.contains(uid.as_str()) {
            continue;
        }
        let foreign = observed.is_indexed() && observed.index(pod).is_none();
        let known = noted.succeeded.contains(uid) || noted.failed.contains(uid);
        if !known && !foreign {
            if noted.succeeded.len() + noted.failed.len() >= MAX_UNCOUNTED {
                continue;
            }
            // Successes of indexes are counted by their index.
            if succeeded && !observed.is_indexed() {
                noted.succeeded.push(uid.clone());
            } else if failed && observed.failure(pod).action != Action::Ignore {
                noted.failed.push(uid.clone());
            }
        }
        plan.release.push(pod.clone());
    }
    status.uncounted_terminated_pods = Some(noted);
}

/// Says that the end has come; first that it is coming, until the last pod is gone and counted.
fn finish(observed: &Observed, end: &End, status: &mut JobStatus, plan: &mut Plan) {
    let (End(terminal, reason, message), now) = (end, observed.now);
    let coming = if *terminal == "Failed" { "FailureTarget" } else { "SuccessCriteriaMet" };
    if !condition_is_true(&status.conditions, coming) {
        status.conditions.push(conditions::new(coming, "True", reason, message.as_str(), now));
    }
    let uncounted = status.uncounted_terminated_pods.as_ref().is_some_and(|noted| *noted != UncountedPods::default());
    let left = status.active > 0 || status.terminating.unwrap_or(0) > 0 || uncounted || !plan.release.is_empty();
    if left {
        return;
    }
    status.conditions.push(conditions::new(terminal, "True", reason, message.as_str(), now));
    if *terminal == "Complete" {
        status.completion_time = Some(now);
        plan.events.push((true, "Completed".into(), "Job completed".into()));
    } else {
        plan.events.push((false, reason.clone(), message.clone()));
    }
}

/// When time alone may change the plan: at the deadline.
pub(super) fn next(job: &Job, plan: &Plan, now: Timestamp) -> Option<Duration> {
    let start = plan.status.as_ref().unwrap_or(&job.status).start_time;
    let deadline = job.spec.active_deadline_seconds.zip(start).filter(|_| !job.is_finished() && !job.spec.suspend);
    let left = deadline.map(|(deadline, start)| start.as_second().saturating_add(deadline) - now.as_second());
    let left = left.map(|left| Duration::from_secs(left.max(1).unsigned_abs()));
    [left, plan.after].into_iter().flatten().min()
}

/// Whether a pod's end must be waited for before the job may look at it again.
pub(super) fn latest_end<'a>(pods: impl Iterator<Item = &'a Arc<Pod>>) -> Option<Timestamp> {
    pods.filter_map(|pod| finished_at(pod)).max()
}
