//! Job and CronJob.

use std::collections::HashSet;

use jiff::tz::TimeZone;
use skiff_apimachinery::cron::Schedule;
use skiff_apimachinery::field::{Error, ErrorList};
use skiff_apimachinery::value::{Object, Value};
use skiff_apimachinery::{meta, names};

use crate::cacher::FieldSpec;
use crate::registry::at::At;
use crate::registry::core::pod_defaults;
use crate::registry::core::validation::{label_selector, pod_spec};
use crate::registry::defaults::{absent, each, spec, text};
use crate::registry::strategy::{GarbageCollection, Strategy, WriteScope};

const CONTROLLER_UID: &str = "batch.kubernetes.io/controller-uid";
const JOB_NAME: &str = "batch.kubernetes.io/job-name";
const LEGACY_CONTROLLER_UID: &str = "controller-uid";
const LEGACY_JOB_NAME: &str = "job-name";
/// Pods of an indexed Job at the same time.
const MAX_INDEXED_PARALLELISM: i64 = 100_000;
/// Longest name of a CronJob: eleven characters of its Jobs' names are theirs.
const MAX_CRON_JOB_NAME: usize = 52;
/// Scheduling of a pod, which may change until a suspended Job starts.
const SCHEDULING: &[&str] = &["nodeSelector", "tolerations", "affinity", "schedulingGates"];

/// Job.
pub struct JobStrategy;

impl Strategy for JobStrategy {
    fn set_defaults(&self, object: &mut Value) {
        labels_from_template(object);
        spec(object, job_spec_defaults);
    }

    fn prepare_for_create(&self, _scope: WriteScope<'_>, object: &mut Value) {
        if object.bool_at(&["spec", "manualSelector"]) != Some(true) {
            generate_selector(object);
        }
        // Upstream fills in defaults again when it reads what it stored.
        labels_from_template(object);
    }

    fn validate(&self, object: &Value) -> ErrorList {
        let mut errors = ErrorList::default();
        let root = At::root(object);
        let spec = root.child("spec");
        generated_selector(&root, &spec, &mut errors);
        job_spec(&spec, &mut errors);
        let selector = spec.child("selector");
        if selector.is_set() {
            label_selector::validate(&selector, &mut errors);
            let template = spec.child("template");
            let metadata = template.child("metadata");
            let labels = metadata.child("labels");
            if !label_selector::matches(selector.value(), labels.value().unwrap_or(&Value::Null)) {
                labels.or_null().invalid(&mut errors, "`selector` does not match template `labels`");
            }
        } else {
            selector.required(&mut errors, "");
            let template = spec.child("template");
            let metadata = template.child("metadata");
            let message = "`selector` does not match template `labels`";
            metadata.child("labels").or_null().invalid(&mut errors, message);
        }
        indexed_name(&root, &mut errors);
        errors
    }

    fn validate_update(&self, _scope: WriteScope<'_>, new: &Value, old: &Value) -> ErrorList {
        let mut errors = self.validate(new);
        let (new_root, old_root) = (At::root(new), At::root(old));
        let (spec, before) = (new_root.child("spec"), old_root.child("spec"));
        let completions = spec.child("completions");
        if spec.child("completionMode").text() == "Indexed" {
            if completions.value() != before.child("completions").value()
                && completions.int() != spec.child("parallelism").int()
            {
                completions.invalid(&mut errors, "can only be modified in tandem with spec.parallelism");
            }
        } else {
            completions.immutable(&mut errors, &before.child("completions"));
        }
        spec.child("selector").immutable(&mut errors, &before.child("selector"));
        template_update(new, old, &mut errors);
        for field in ["completionMode", "podFailurePolicy", "backoffLimitPerIndex", "managedBy", "successPolicy"] {
            spec.child(field).immutable(&mut errors, &before.child(field));
        }
        errors
    }

    fn warnings(&self, new: &Value, old: Option<&Value>) -> Vec<String> {
        let messages = names::dns1123_label(meta::name(new));
        if old.is_some() || messages.is_empty() {
            return Vec::new();
        }
        vec![format!(
            "metadata.name: this is used in Pod names and hostnames, which can result in surprising behavior; a DNS label is recommended: [{}]",
            messages.join(" ")
        )]
    }

    fn selectable_fields(&self) -> Vec<FieldSpec> {
        vec![FieldSpec::at("status.successful", &["status.succeeded"], "0")]
    }

    fn counts_generation(&self) -> bool {
        true
    }

    fn garbage_collection(&self) -> GarbageCollection {
        GarbageCollection::OrphanDependents
    }
}

/// A Job without labels has those of its pods.
fn labels_from_template(object: &mut Value) {
    if let Some(labels) = object.at(&["spec", "template", "metadata", "labels"]).cloned()
        && object.at(&["metadata", "labels"]).and_then(Value::as_object).is_none_or(Object::is_empty)
    {
        object.set_at(&["metadata", "labels"], labels);
    }
}

fn job_spec_defaults(spec: &mut Object) {
    if spec.get("completions").is_none() && spec.get("parallelism").is_none() {
        spec.insert("completions", 1);
    }
    absent(spec, "parallelism", 1);
    let backoff = if spec.get("backoffLimitPerIndex").is_some() { i64::from(i32::MAX) } else { 6 };
    absent(spec, "backoffLimit", backoff);
    absent(spec, "completionMode", "NonIndexed");
    absent(spec, "suspend", false);
    let replacement = if spec.get("podFailurePolicy").is_some() { "Failed" } else { "TerminatingOrFailed" };
    absent(spec, "podReplacementPolicy", replacement);
    absent(spec, "manualSelector", false);
    if let Some(policy) = spec.get_mut("podFailurePolicy").and_then(Value::as_object_mut) {
        each(policy, "rules", |rule| each(rule, "onPodConditions", |pattern| text(pattern, "status", "True")));
    }
    pod_defaults::template(spec);
}

/// Pods of an indexed Job are called after it and their index.
fn indexed_name(root: &At<'_>, errors: &mut ErrorList) {
    let (metadata, spec) = (root.child("metadata"), root.child("spec"));
    let (name, completions) = (metadata.child("name"), spec.child("completions").int().unwrap_or(0));
    if spec.child("completionMode").text() != "Indexed" || completions <= 0 {
        return;
    }
    let longest = format!("{}-{}", name.text(), completions - 1);
    if !names::dns1123_label(&longest).is_empty() {
        name.invalid(errors, format!("will not able to create pod with invalid DNS label: {longest}"));
    }
}

/// Gives the pods labels that no other Job's pods have, and selects them.
fn generate_selector(object: &mut Value) {
    let (name, uid) = (meta::name(object).to_owned(), meta::uid(object).to_owned());
    let labels = object.object_at_mut(&["spec", "template", "metadata", "labels"]);
    for (label, value) in
        [(LEGACY_JOB_NAME, &name), (JOB_NAME, &name), (LEGACY_CONTROLLER_UID, &uid), (CONTROLLER_UID, &uid)]
    {
        absent(labels, label, value.as_str());
    }
    absent(object.object_at_mut(&["spec", "selector", "matchLabels"]), CONTROLLER_UID, uid.as_str());
}

/// What a generated selector must look like, so that no client fakes one (`ValidateGeneratedSelector` upstream).
fn generated_selector(root: &At<'_>, spec: &At<'_>, errors: &mut ErrorList) {
    if spec.child("manualSelector").flag() || !spec.child("selector").is_set() {
        return;
    }
    let metadata = root.child("metadata");
    let (uid, name) = (metadata.child("uid").text(), metadata.child("name").text());
    let (template, selector) = (spec.child("template"), spec.child("selector"));
    let template_metadata = template.child("metadata");
    let (labels, match_labels) = (template_metadata.child("labels"), selector.child("matchLabels"));
    for (label, wanted) in [(CONTROLLER_UID, uid), (JOB_NAME, name)] {
        let at = labels.key(label);
        if !at.is_set() {
            at.required(errors, &format!("must be '{wanted}'"));
        } else if at.text() != wanted {
            at.invalid(errors, format!("must be '{wanted}'"));
        }
    }
    let at = match_labels.key(CONTROLLER_UID);
    let legacy = match_labels.key(LEGACY_CONTROLLER_UID);
    if at.text() != uid && legacy.text() != uid {
        selector.invalid(errors, "`selector` not auto-generated");
    }
}

fn job_spec(spec: &At<'_>, errors: &mut ErrorList) {
    for field in [
        "parallelism",
        "completions",
        "activeDeadlineSeconds",
        "backoffLimit",
        "ttlSecondsAfterFinished",
        "backoffLimitPerIndex",
        "maxFailedIndexes",
    ] {
        spec.child(field).not_negative(errors);
    }
    let (per_index, max_failed) = (spec.child("backoffLimitPerIndex"), spec.child("maxFailedIndexes"));
    if max_failed.is_set() && !per_index.is_set() {
        per_index.required(errors, "when maxFailedIndexes is specified");
    }
    let (mode, completions) = (spec.child("completionMode"), spec.child("completions"));
    mode.if_set_one_of(errors, &["NonIndexed", "Indexed"]);
    if mode.text() == "Indexed" {
        if !completions.is_set() {
            completions.required(errors, "when completion mode is Indexed");
        }
        let parallelism = spec.child("parallelism");
        if parallelism.int().is_some_and(|n| n > MAX_INDEXED_PARALLELISM) {
            let message =
                format!("must be less than or equal to {MAX_INDEXED_PARALLELISM} when completion mode is Indexed");
            parallelism.invalid(errors, message);
        }
        if max_failed.int().zip(completions.int()).is_some_and(|(failed, all)| failed > all) {
            max_failed.invalid(errors, "must be less than or equal to completions");
        }
    } else {
        for at in [&per_index, &max_failed, &spec.child("successPolicy")] {
            if at.is_set() {
                at.invalid(errors, "requires indexed completion mode");
            }
        }
    }
    failure_policy(spec, errors);
    let replacement = spec.child("podReplacementPolicy");
    if spec.child("podFailurePolicy").is_set() {
        replacement.if_set_one_of(errors, &["Failed"]);
    } else {
        replacement.if_set_one_of(errors, &["Failed", "TerminatingOrFailed"]);
    }
    let template = spec.child("template");
    pod_spec::template(&template, errors);
    let pod = template.child("spec");
    let policy = pod.child("restartPolicy");
    match policy.text() {
        "Always" | "" => policy.required(errors, "valid values: \"OnFailure\", \"Never\""),
        "Never" => {}
        "OnFailure" if spec.child("podFailurePolicy").is_set() => {
            policy.invalid(errors, "only \"Never\" is supported when podFailurePolicy is specified");
        }
        "OnFailure" => {}
        _ => policy.not_supported(errors, &["OnFailure", "Never"]),
    }
}

fn failure_policy(spec: &At<'_>, errors: &mut ErrorList) {
    const MAX_RULES: usize = 20;
    let policy = spec.child("podFailurePolicy");
    let rules = policy.child("rules");
    if rules.len() > MAX_RULES {
        errors.push(Error::too_many(&rules.path(), rules.len(), MAX_RULES));
    }
    for rule in rules.items() {
        let action = rule.child("action");
        action.one_of(errors, &["Count", "FailIndex", "FailJob", "Ignore"]);
        if action.text() == "FailIndex" && !spec.child("backoffLimitPerIndex").is_set() {
            action.invalid(errors, "requires the backoffLimitPerIndex to be set");
        }
        let (codes, conditions) = (rule.child("onExitCodes"), rule.child("onPodConditions"));
        match (codes.is_set(), !conditions.is_empty()) {
            (true, true) => rule.invalid_omitted(errors, "specifying both OnExitCodes and OnPodConditions is not supported"),
            (false, false) => rule.invalid_omitted(errors, "specifying one of OnExitCodes and OnPodConditions is required"),
            _ => {}
        }
        if codes.is_set() {
            exit_codes(&codes, errors);
        }
        for condition in conditions.items() {
            condition.child("status").one_of(errors, &["False", "True", "Unknown"]);
        }
    }
}

fn exit_codes(codes: &At<'_>, errors: &mut ErrorList) {
    const MAX_VALUES: usize = 255;
    let (operator, values) = (codes.child("operator"), codes.child("values"));
    operator.one_of(errors, &["In", "NotIn"]);
    if values.is_empty() {
        values.invalid(errors, "at least one value is required");
    } else if values.len() > MAX_VALUES {
        errors.push(Error::too_many(&values.path(), values.len(), MAX_VALUES));
    }
    let mut seen = HashSet::new();
    for value in values.items() {
        if operator.text() == "In" && value.int() == Some(0) {
            value.invalid(errors, "must not be 0 for the In operator");
        }
        if !seen.insert(value.int()) {
            value.duplicate(errors);
        }
    }
}

/// The template is fixed, but for where the pods run while a suspended Job has not started.
fn template_update(new: &Value, old: &Value, errors: &mut ErrorList) {
    let template = ["spec", "template"];
    let (Some(now), Some(before)) = (new.at(&template), old.at(&template)) else {
        return;
    };
    let mut compared = now.clone();
    let suspended = old.bool_at(&["spec", "suspend"]) == Some(true);
    let not_started = old.at(&["status", "startTime"]).is_none();
    let conditions = old.array_at(&["status", "conditions"]);
    let is_suspended =
        conditions.iter().any(|c| c.str_at(&["type"]) == Some("Suspended") && c.str_at(&["status"]) == Some("True"));
    let idle = old.i64_at(&["status", "active"]).unwrap_or(0) == 0;
    if suspended && (not_started || is_suspended) && idle {
        let mut keep = |path: &[&str]| match before.at(path) {
            Some(value) => compared.set_at(path, value.clone()),
            None => drop(compared.remove_at(path)),
        };
        SCHEDULING.iter().for_each(|field| keep(&["spec", field]));
        keep(&["metadata", "annotations"]);
        keep(&["metadata", "labels"]);
    }
    if compared != *before {
        let root = At::root(new);
        let spec = root.child("spec");
        spec.child("template").invalid(errors, "field is immutable");
    }
}

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
            pod_defaults::template(job);
        });
    }

    fn validate(&self, object: &Value) -> ErrorList {
        let mut errors = ErrorList::default();
        let root = At::root(object);
        let metadata = root.child("metadata");
        let name = metadata.child("name");
        if name.text().len() > MAX_CRON_JOB_NAME {
            name.invalid(&mut errors, format!("must be no more than {MAX_CRON_JOB_NAME} characters"));
        }
        let spec = root.child("spec");
        schedule(&spec, &mut errors);
        spec.child("startingDeadlineSeconds").not_negative(&mut errors);
        spec.child("concurrencyPolicy").one_of(&mut errors, &["Allow", "Forbid", "Replace"]);
        let template = spec.child("jobTemplate");
        let job = template.child("spec");
        job_spec(&job, &mut errors);
        if job.child("manualSelector").flag() {
            job.child("manualSelector").not_supported(&mut errors, &["nil", "false"]);
        }
        spec.child("successfulJobsHistoryLimit").not_negative(&mut errors);
        spec.child("failedJobsHistoryLimit").not_negative(&mut errors);
        errors
    }

    fn counts_generation(&self) -> bool {
        true
    }
}

fn schedule(spec: &At<'_>, errors: &mut ErrorList) {
    let (schedule, zone) = (spec.child("schedule"), spec.child("timeZone"));
    if !schedule.require(errors) {
        return;
    }
    if schedule.text().contains("TZ") {
        schedule.invalid(errors, "cannot use TZ or CRON_TZ in schedule, use timeZone field instead");
    } else if let Err(message) = Schedule::parse(schedule.text(), TimeZone::UTC) {
        schedule.invalid(errors, message);
    }
    if zone.is_set() {
        if zone.is_empty() {
            zone.invalid(errors, "timeZone must be nil or non-empty string");
        } else if zone.text().eq_ignore_ascii_case("local") {
            zone.invalid(
                errors,
                "timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones",
            );
        } else if TimeZone::get(zone.text()).is_err() {
            zone.invalid(errors, format!("unknown time zone {}", zone.text()));
        }
    }
}
