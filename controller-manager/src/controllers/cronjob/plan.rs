//! Pure: from a CronJob, its Jobs and the time to what should be done.

use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Value, json};
use skiff_apimachinery::cron;
use skiff_client::clock::format_time;
use skiff_client::types::{ActiveJob, CronJob, CronJobStatus, Job, condition_is_true};
use skiff_client::{EventType, Kind};

use super::due;
use super::observe::Observed;
use crate::control_loop::Next;
use crate::ownership::controller_reference;

/// Annotation with the time at which a Job was due.
const SCHEDULED: &str = "batch.kubernetes.io/cronjob-scheduled-timestamp";

/// What a user is told.
#[derive(Debug)]
pub(super) struct Note {
    pub(super) type_: EventType,
    pub(super) reason: &'static str,
    pub(super) message: String,
}

/// A Job to start.
#[derive(Debug)]
pub(super) struct Start {
    pub(super) at: Timestamp,
    /// Jobs that must go first.
    pub(super) replaced: Vec<ActiveJob>,
    pub(super) body: Value,
}

/// What to do.
#[derive(Debug, Default)]
pub(super) struct Plan {
    /// Finished Jobs of long ago.
    pub(super) cleanup: Vec<Arc<Job>>,
    pub(super) notes: Vec<Note>,
    pub(super) start: Option<Start>,
    /// The status without what a start changes.
    pub(super) status: CronJobStatus,
    /// The schedule goes on: how long until its next start is known when the start has been made.
    pub(super) goes_on: bool,
}

impl Plan {
    fn note(&mut self, type_: EventType, reason: &'static str, message: impl Into<String>) {
        self.notes.push(Note { type_, reason, message: message.into() });
    }
}

pub(super) fn plan(observed: &Observed) -> Plan {
    let cron_job = &*observed.cron_job;
    let mut plan = Plan { status: cron_job.status.clone(), ..Plan::default() };
    cleanup(observed, &mut plan);
    take_stock(observed, &mut plan);
    if !cron_job.metadata.is_deleting() {
        schedule(observed, &mut plan);
    }
    plan
}

/// Finished Jobs beyond the limits, the oldest first.
fn cleanup(observed: &Observed, plan: &mut Plan) {
    let spec = &observed.cron_job.spec;
    let limits = [("Complete", spec.successful_jobs_history_limit), ("Failed", spec.failed_jobs_history_limit)];
    for (outcome, limit) in limits {
        let Some(limit) = limit else { continue };
        let mut jobs: Vec<&Arc<Job>> = observed.jobs.iter().filter(|job| outcome_of(job) == Some(outcome)).collect();
        // A Job that never started comes last.
        jobs.sort_by_key(|job| (job.status.start_time.is_none(), job.status.start_time, job.metadata.name.clone()));
        jobs.truncate(jobs.len().saturating_sub(usize::try_from(limit).unwrap_or(0)));
        plan.cleanup.extend(jobs.into_iter().cloned());
    }
}

fn outcome_of(job: &Job) -> Option<&'static str> {
    ["Complete", "Failed"].into_iter().find(|outcome| condition_is_true(&job.status.conditions, outcome))
}

/// Brings the list of active Jobs and the time of the last success up to date.
fn take_stock(observed: &Observed, plan: &mut Plan) {
    for job in &observed.jobs {
        let name = &job.metadata.name;
        let Some(outcome) = outcome_of(job) else {
            if !observed.is_active(job) {
                let message = format!("Saw a job that the controller did not create or forgot: {name}");
                plan.note(EventType::Warning, "UnexpectedJob", message);
            }
            continue;
        };
        if observed.is_active(job) {
            plan.status.active.retain(|active| active.uid != job.metadata.uid);
            let message = format!("Saw completed job: {name}, condition: {outcome}");
            plan.note(EventType::Normal, "SawCompletedJob", message);
        }
        if outcome == "Complete" {
            plan.status.last_successful_time = plan.status.last_successful_time.max(job.status.completion_time);
        }
    }
    let gone: Vec<ActiveJob> = plan.status.active.extract_if(.., |job| observed.missing.contains(&job.uid)).collect();
    for job in gone {
        plan.note(EventType::Normal, "MissingJob", format!("Active job went missing: {}", job.name));
    }
}

fn schedule(observed: &Observed, plan: &mut Plan) {
    let (cron_job, now) = (&*observed.cron_job, observed.now);
    let spec = &cron_job.spec;
    if let Some(zone) = &spec.time_zone
        && let Err(error) = cron::zone_named(zone)
    {
        return plan.note(EventType::Warning, "UnknownTimeZone", format!("invalid timeZone: {zone:?}: {error}"));
    }
    if spec.suspend {
        return;
    }
    if spec.schedule.contains("TZ") {
        let message = format!(
            "CRON_TZ or TZ used in schedule {:?} is not officially supported, see https://kubernetes.io/docs/concepts/workloads/controllers/cron-jobs/ for more details",
            spec.schedule
        );
        plan.note(EventType::Warning, "UnsupportedSchedule", message);
    }
    let schedule = match due::schedule(cron_job, observed.local.clone()) {
        Ok(schedule) => schedule,
        Err(error) => {
            let message = format!("unparseable schedule: {:?} : {error}", spec.schedule);
            return plan.note(EventType::Warning, "UnparseableSchedule", message);
        }
    };
    let missed = match due::missed(cron_job, &schedule, now, true) {
        Ok(missed) => missed,
        Err(error) => {
            let message = format!("invalid schedule: {} : {error}", spec.schedule);
            return plan.note(EventType::Warning, "InvalidSchedule", message);
        }
    };
    plan.goes_on = true;
    let Some(at) = missed.newest else { return };
    if missed.are_many() {
        let message = "too many missed start times. Set or decrease .spec.startingDeadlineSeconds or check clock skew";
        plan.note(EventType::Warning, "TooManyMissedTimes", message);
    }
    start(observed, at, plan);
}

/// Starts what was due at a time, unless it is too late, or started already, or another Job is in the way.
fn start(observed: &Observed, at: Timestamp, plan: &mut Plan) {
    let (cron_job, now) = (&*observed.cron_job, observed.now);
    let late = now.duration_since(at);
    if cron_job.spec.starting_deadline_seconds.is_some_and(|deadline| late > jiff::SignedDuration::from_secs(deadline))
    {
        let when = at.strftime("%a, %d %b %Y %H:%M:%S +0000");
        let message = format!("Missed scheduled time to start a job: {when}");
        return plan.note(EventType::Warning, "MissSchedule", message);
    }
    let name = job_name(cron_job, at);
    let namespace = &cron_job.metadata.namespace;
    let started = plan.status.active.iter().any(|job| job.name == name && job.namespace == *namespace);
    if started || plan.status.last_schedule_time == Some(at) {
        return;
    }
    let mut replaced = Vec::new();
    match cron_job.spec.concurrency_policy.as_str() {
        "Forbid" if !plan.status.active.is_empty() => {
            let message = "Not starting job because prior execution is running and concurrency policy is Forbid";
            return plan.note(EventType::Normal, "JobAlreadyActive", message);
        }
        "Replace" => replaced.clone_from(&plan.status.active),
        _ => {}
    }
    plan.start = Some(Start { at, replaced, body: body(cron_job, name, at) });
}

fn job_name(cron_job: &CronJob, at: Timestamp) -> String {
    format!("{}-{}", cron_job.metadata.name, at.as_second() / 60)
}

/// The Job that was due at a time.
fn body(cron_job: &CronJob, name: String, at: Timestamp) -> Value {
    let mut template = cron_job.spec.job_template.value();
    let mut metadata = json!({
        "name": name,
        "namespace": cron_job.metadata.namespace,
        "ownerReferences": [controller_reference(&CronJob::RESOURCE, &cron_job.metadata)],
    });
    for field in ["labels", "annotations"] {
        let value = template["metadata"][field].take();
        if value.is_object() {
            metadata[field] = value;
        }
    }
    let zone = cron_job.spec.time_zone.as_deref().unwrap_or_default();
    let due = match cron::zone_named(zone) {
        Ok(zone) if zone != jiff::tz::TimeZone::UTC => {
            let due = at.to_zoned(zone);
            // Go writes no offset as Z.
            if due.offset().is_zero() { format_time(at) } else { due.strftime("%Y-%m-%dT%H:%M:%S%:z").to_string() }
        }
        _ => format_time(at),
    };
    metadata["annotations"][SCHEDULED] = json!(due);
    json!({"metadata": metadata, "spec": template["spec"].take()})
}

/// When to look again, with the status as it is by then.
pub(super) fn next(observed: &Observed, status: &CronJobStatus) -> Next {
    let mut cron_job = (*observed.cron_job).clone();
    cron_job.status = status.clone();
    let schedule = due::schedule(&cron_job, observed.local.clone()).ok();
    let delay = schedule.and_then(|schedule| due::until_next(&cron_job, &schedule, observed.now));
    delay.map_or(Next::Event, Next::After)
}

/// The status as a merge patch: what is not there is taken away.
pub(super) fn status_json(status: &CronJobStatus) -> Value {
    let time = |time: Option<Timestamp>| time.map_or(Value::Null, |time| json!(format_time(time)));
    json!({
        "active": if status.active.is_empty() { Value::Null } else { json!(status.active) },
        "lastScheduleTime": time(status.last_schedule_time),
        "lastSuccessfulTime": time(status.last_successful_time),
    })
}

/// The whole plan as text, for golden tests.
#[cfg(test)]
pub(super) fn golden(objects: &crate::golden::Objects) -> String {
    let extra = objects.extra();
    let missing = extra["missing"].as_array().into_iter().flatten().filter_map(|uid| uid.as_str().map(str::to_owned));
    let observed = Observed {
        cron_job: Arc::new(objects.one("CronJob")),
        jobs: objects.all("Job").into_iter().map(Arc::new).collect(),
        missing: missing.collect(),
        local: jiff::tz::TimeZone::UTC,
        now: crate::golden::now(),
    };
    let plan = plan(&observed);
    let mut lines: Vec<String> = plan.cleanup.iter().map(|job| format!("delete {}", job.metadata.name)).collect();
    lines.extend(plan.notes.iter().map(|note| format!("{:?} {}: {}", note.type_, note.reason, note.message)));
    if let Some(start) = &plan.start {
        lines.extend(start.replaced.iter().map(|job| format!("replace {}", job.name)));
        lines.push(format!("start {}", start.body));
    }
    match plan.status == observed.cron_job.status {
        true => lines.push("status unchanged".into()),
        false => lines.push(format!("status {}", status_json(&plan.status))),
    }
    if plan.goes_on {
        let mut status = plan.status.clone();
        status.last_schedule_time = plan.start.as_ref().map(|start| start.at).or(status.last_schedule_time);
        lines.push(format!("next: {:?}", next(&observed, &status)));
    }
    lines.join("\n")
}
