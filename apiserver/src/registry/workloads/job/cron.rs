//! CronJob.
//!
//! Follows `pkg/registry/batch/cronjob` and `validateCronJobSpec`.

use jiff::tz::TimeZone;
use skiff_apimachinery::cron::Schedule;
use skiff_apimachinery::field::{Error, ErrorList};
use skiff_apimachinery::value::Value;

use super::{failure_policy_defaults, spec_warnings, validation};
use crate::registry::at::At;
use crate::registry::core::pod_defaults;
use crate::registry::core::workload::name_warning;
use crate::registry::defaults::{absent, spec, text};
use crate::registry::strategy::{Strategy, WriteScope};

/// Longest name of a CronJob: eleven characters of its Jobs' names are theirs.
const MAX_NAME: usize = 52;
/// Longest part of a time zone's name.
const MAX_ZONE_PART: usize = 14;

/// CronJob.
pub struct CronJobStrategy;

impl Strategy for CronJobStrategy {
    fn set_defaults(&self, object: &mut Value) {
        spec(object, |spec| {
            text(spec, "concurrencyPolicy", "Allow");
            absent(spec, "suspend", false);
            absent(spec, "successfulJobsHistoryLimit", 3);
            absent(spec, "failedJobsHistoryLimit", 1);
            let job = spec.object_mut("jobTemplate").object_mut("spec");
            failure_policy_defaults(job);
            pod_defaults::template(job);
        });
    }

    fn validate(&self, object: &Value) -> ErrorList {
        let mut errors = ErrorList::default();
        let root = At::root(object);
        cron_spec(&root.child("spec"), None, &mut errors);
        let metadata = root.child("metadata");
        let name = metadata.child("name");
        if name.text().len() > MAX_NAME {
            name.invalid(&mut errors, format!("must be no more than {MAX_NAME} characters"));
        }
        errors
    }

    fn validate_update(&self, _scope: WriteScope<'_>, new: &Value, old: &Value) -> ErrorList {
        let mut errors = ErrorList::default();
        let (new, old) = (At::root(new), At::root(old));
        cron_spec(&new.child("spec"), Some(&old.child("spec")), &mut errors);
        errors
    }

    fn warnings(&self, new: &Value, old: Option<&Value>) -> Vec<String> {
        let mut warnings = Vec::from_iter(name_warning(new, old));
        warnings.extend(spec_warnings(new, old, &["spec", "jobTemplate", "spec"]));
        if old.is_some() && new.str_at(&["spec", "schedule"]).is_some_and(|schedule| schedule.contains("TZ")) {
            let text = "cannot use TZ or CRON_TZ in spec.spec.schedule, use timeZone instead, see https://kubernetes.io/docs/concepts/workloads/controllers/cron-jobs/ for more details";
            warnings.push(text.to_owned());
        }
        warnings
    }

    fn counts_generation(&self) -> bool {
        true
    }
}

fn cron_spec(spec: &At<'_>, before: Option<&At<'_>>, errors: &mut ErrorList) {
    schedule(spec, before, errors);
    spec.child("startingDeadlineSeconds").not_negative(errors);
    let zone = spec.child("timeZone");
    if zone.is_set() && before.is_none_or(|before| before.child("timeZone").value() != zone.value()) {
        time_zone(&zone, errors);
    }
    spec.child("concurrencyPolicy").one_of(errors, &["Allow", "Forbid", "Replace"]);
    let template = spec.child("jobTemplate");
    let job = template.child("spec");
    validation::job_spec(&job, errors);
    let selector = job.child("selector");
    if selector.is_set() {
        selector.invalid_as("LabelSelector", errors, "`selector` will be auto-generated");
    }
    let manual = job.child("manualSelector");
    if manual.flag() {
        errors.push(Error::not_supported(&manual.path(), true, &["nil", "false"]));
    }
    spec.child("successfulJobsHistoryLimit").not_negative(errors);
    spec.child("failedJobsHistoryLimit").not_negative(errors);
}

fn schedule(spec: &At<'_>, before: Option<&At<'_>>, errors: &mut ErrorList) {
    let schedule = spec.child("schedule");
    if !schedule.require(errors) {
        return;
    }
    if let Err(message) = Schedule::parse(schedule.text(), TimeZone::UTC) {
        schedule.invalid(errors, message);
    }
    // Those that had a zone there keep it.
    let allowed = before.is_some_and(|before| before.child("schedule").text().contains("TZ"));
    match schedule.text().contains("TZ") {
        true if allowed && spec.child("timeZone").is_set() => {
            schedule.invalid(errors, "cannot use both timeZone field and TZ or CRON_TZ in schedule");
        }
        true if !allowed => {
            schedule.invalid(errors, "cannot use TZ or CRON_TZ in schedule, use timeZone field instead");
        }
        _ => {}
    }
}

fn time_zone(zone: &At<'_>, errors: &mut ErrorList) {
    if zone.is_empty() {
        return zone.invalid(errors, "timeZone must be nil or non-empty string");
    }
    let unknown = format!("unknown time zone {}", zone.text());
    let fits = |part: &str| {
        let letter = |c: char| c.is_ascii_alphanumeric() || "-_.+".contains(c);
        !matches!(part, "" | "." | "..")
            && !part.starts_with('-')
            && part.len() <= MAX_ZONE_PART
            && part.chars().all(letter)
    };
    if !zone.text().split('/').all(fits) {
        return zone.invalid(errors, unknown);
    }
    if zone.text().eq_ignore_ascii_case("local") {
        zone.invalid(errors, "timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones");
    }
    // Names have one spelling.
    let known = TimeZone::get(zone.text()).is_ok_and(|known| known.iana_name() == Some(zone.text()));
    if !known && zone.text() != "Local" {
        zone.invalid(errors, unknown);
    }
}
