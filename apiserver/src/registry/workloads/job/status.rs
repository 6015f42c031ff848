//! What the status of a Job may say: whoever runs Jobs is held to what clients rely on.
//!
//! Follows `ValidateJobStatusUpdate` of `pkg/apis/batch/validation/validation.go` and `getStatusValidationOptions` of
//! `pkg/registry/batch/job/strategy.go`: what was wrong before is only complained of when it changes.

use std::collections::HashSet;

use skiff_apimachinery::field::ErrorList;
use skiff_apimachinery::value::Value;

use super::indexes;
use crate::registry::at::At;

const COMPLETE: &str = "Complete";
const FAILED: &str = "Failed";
const FAILURE_TARGET: &str = "FailureTarget";
const SUCCESS_CRITERIA_MET: &str = "SuccessCriteriaMet";
const SUSPENDED: &str = "Suspended";

/// Whether a condition of a Job is true.
pub(super) fn is_true(job: &Value, kind: &str) -> bool {
    has_condition(job, kind, "True")
}

fn has_condition(job: &Value, kind: &str, status: &str) -> bool {
    let mut conditions = job.array_at(&["status", "conditions"]).iter();
    conditions.any(|one| one.str_at(&["type"]) == Some(kind) && one.str_at(&["status"]) == Some(status))
}

fn is_finished(job: &Value) -> bool {
    is_true(job, COMPLETE) || is_true(job, FAILED)
}

/// A change of a status.
struct Change<'a> {
    new: &'a Value,
    old: &'a Value,
}

impl Change<'_> {
    /// Whether one of these conditions became true or ceased to be.
    fn turned(&self, kinds: &[&str]) -> bool {
        kinds.iter().any(|kind| is_true(self.new, kind) != is_true(self.old, kind))
    }

    fn finished(&self) -> bool {
        is_finished(self.new) != is_finished(self.old)
    }

    /// Whether one of these fields changed.
    fn changed(&self, fields: &[&str]) -> bool {
        fields.iter().any(|field| self.new.at(&["status", field]) != self.old.at(&["status", field]))
    }

    fn number(job: &Value, field: &str) -> i64 {
        job.i64_at(&["status", field]).unwrap_or(0)
    }
}

/// Validates a write to `status`.
pub(super) fn validate(new: &Value, old: &Value, errors: &mut ErrorList) {
    let change = Change { new, old };
    let root = At::root(new);
    let (spec, status) = (root.child("spec"), root.child("status"));
    for field in ["active", "succeeded", "failed", "ready", "terminating"] {
        status.child(field).not_negative(errors);
    }
    uncounted(&status.child("uncountedTerminatedPods"), errors);
    times(&change, &status, errors);
    finished(&change, &root, errors);
    index_sets(&change, &spec, &status, errors);
    if change.finished() || change.changed(&["terminating"]) {
        let terminating = status.child("terminating");
        if is_finished(new) && terminating.int().is_some_and(|number| number > 0) {
            terminating.invalid(errors, "terminating>0 is invalid for finished job");
        }
    }
    let ready = status.child("ready");
    if change.changed(&["ready", "active"]) && ready.int().is_some_and(|ready| ready > Change::number(new, "active")) {
        ready.invalid(errors, "cannot set more ready pods than active");
    }
    let conditions = status.child("conditions");
    let met = is_true(new, SUCCESS_CRITERIA_MET);
    for (kind, shown) in [(FAILED, "Failed"), (FAILURE_TARGET, "FailureTarget")] {
        if met && is_true(new, kind) {
            conditions
                .invalid_omitted(errors, format!("cannot set SuccessCriteriaMet=True and {shown}=true conditions"));
        }
    }
    if spec.child("successPolicy").is_set() && !met && is_true(new, COMPLETE) {
        let text = "cannot set Complete=True for Job with SuccessPolicy unless SuccessCriteriaMet=True";
        conditions.invalid_omitted(errors, text);
    }
    transitions(&change, &spec, &status, errors);
}

fn uncounted(pods: &At<'_>, errors: &mut ErrorList) {
    let mut seen = HashSet::new();
    for list in ["succeeded", "failed"] {
        for uid in pods.child(list).items() {
            if uid.is_empty() {
                uid.invalid(errors, "must not be empty");
            } else if !seen.insert(uid.text().to_owned()) {
                uid.duplicate(errors);
            }
        }
    }
}

/// Conditions against each other and the time of completion.
fn times(change: &Change<'_>, status: &At<'_>, errors: &mut ErrorList) {
    let new = change.new;
    let (conditions, start, end) =
        (status.child("conditions"), status.child("startTime"), status.child("completionTime"));
    let complete = is_true(new, COMPLETE);
    if change.turned(&[COMPLETE, FAILED]) && complete && is_true(new, FAILED) {
        conditions.invalid_omitted(errors, "cannot set Complete=True and Failed=true conditions");
    }
    if change.turned(&[COMPLETE, FAILURE_TARGET]) && complete && is_true(new, FAILURE_TARGET) {
        conditions.invalid_omitted(errors, "cannot set Complete=True and FailureTarget=true conditions");
    }
    if change.turned(&[COMPLETE]) || change.changed(&["completionTime"]) {
        if end.is_set() && !complete {
            end.invalid(errors, "cannot set completionTime when there is no Complete=True condition");
        }
        if !end.is_set() && complete {
            end.required(errors, "completionTime is required for Complete jobs");
        }
    }
    // Both are in UTC and whole seconds.
    let reversed = start.is_set() && end.is_set() && end.text() < start.text();
    if change.changed(&["startTime", "completionTime"]) && reversed {
        end.invalid(errors, "must be equal to or after `startTime`");
    }
    if (change.turned(&[FAILED]) || change.changed(&["failedIndexes"]))
        && is_true(new, FAILED)
        && !is_true(new, FAILURE_TARGET)
    {
        let text = "cannot set Failed=True condition without the FailureTarget=true condition";
        conditions.invalid_omitted(errors, text);
    }
    if change.turned(&[COMPLETE, SUCCESS_CRITERIA_MET]) && complete && !is_true(new, SUCCESS_CRITERIA_MET) {
        let text = "cannot set Complete=True condition without the SuccessCriteriaMet=true condition";
        conditions.invalid_omitted(errors, text);
    }
}

/// What a Job that is over has no more.
fn finished(change: &Change<'_>, root: &At<'_>, errors: &mut ErrorList) {
    let (spec, status) = (root.child("spec"), root.child("status"));
    if !is_finished(change.new) {
        return;
    }
    let active = status.child("active");
    if (change.finished() || change.changed(&["active"])) && active.int().is_some_and(|number| number > 0) {
        active.invalid(errors, "active>0 is invalid for finished job");
    }
    let never_ran = spec.child("suspend").flag() && spec.child("completions").int() == Some(0);
    let start = status.child("startTime");
    if (change.finished() || change.changed(&["startTime"])) && !never_ran && !start.is_set() {
        start.required(errors, "startTime is required for finished job");
    }
    let pods = status.child("uncountedTerminatedPods");
    let some = ["failed", "succeeded"].iter().any(|list| !pods.child(list).is_empty());
    if (change.finished() || change.changed(&["uncountedTerminatedPods"])) && some {
        pods.invalid_as("UncountedTerminatedPods", errors, "must be empty for finished job");
    }
}

fn index_sets(change: &Change<'_>, spec: &At<'_>, status: &At<'_>, errors: &mut ErrorList) {
    let (completed, failed) = (status.child("completedIndexes"), status.child("failedIndexes"));
    let (new_completed, new_failed) = (change.changed(&["completedIndexes"]), change.changed(&["failedIndexes"]));
    let (completions, per_index) = (spec.child("completions").int(), spec.child("backoffLimitPerIndex").is_set());
    for (name, at, applies) in
        [("completedIndexes", &completed, new_completed), ("failedIndexes", &failed, new_failed && per_index)]
    {
        if applies
            && let Some(completions) = completions
            && let Err(error) = indexes::count(at.text(), completions)
        {
            at.invalid(errors, format!("error parsing {name}: {error}"));
        }
    }
    if new_completed && !completed.is_empty() && spec.child("completionMode").text() != "Indexed" {
        completed.invalid(errors, "cannot set non-empty completedIndexes when non-indexed completion mode");
    }
    if new_failed && failed.is_set() && !per_index {
        failed.invalid(errors, "cannot set non-null failedIndexes when backoffLimitPerIndex is null");
    }
    if (new_completed || new_failed)
        && failed.is_set()
        && let Some(index) = completions.and_then(|all| indexes::overlap(completed.text(), failed.text(), all))
    {
        failed.invalid(errors, format!("failedIndexes and completedIndexes overlap at index: {index}"));
    }
}

/// What was said once and stays so.
fn transitions(change: &Change<'_>, spec: &At<'_>, status: &At<'_>, errors: &mut ErrorList) {
    let Change { new, old } = change;
    let conditions = status.child("conditions");
    for kind in [FAILED, COMPLETE, FAILURE_TARGET] {
        if is_true(old, kind) && !is_true(new, kind) {
            conditions.invalid_omitted(errors, format!("cannot disable the terminal {kind}=True condition"));
        }
    }
    // A Job whose completions follow its parallelism can be made smaller.
    let elastic = spec.child("completionMode").text() == "Indexed"
        && spec.child("completions").value() == spec.child("parallelism").value();
    for (field, applies) in [("failed", true), ("succeeded", !elastic)] {
        if applies && Change::number(new, field) < Change::number(old, field) {
            status.child(field).or_zero().invalid(errors, format!("cannot decrease the {field} counter"));
        }
    }
    let (start, end) = (status.child("startTime"), status.child("completionTime"));
    let before = |field: &str| old.at(&["status", field]).filter(|time| !time.is_null());
    if end.is_set() && before("completionTime").is_some_and(|before| Some(before) != end.value()) {
        end.invalid(errors, "field is immutable");
    }
    let resumes = is_true(old, SUSPENDED) && has_condition(new, SUSPENDED, "False");
    let moved = before("startTime").is_some_and(|before| Some(before) != start.value());
    if moved && !resumes && !spec.child("suspend").flag() {
        start.or_null().invalid(errors, "field is immutable for unsuspended job once set");
    }
    let (is_met, was_met) = (is_true(new, SUCCESS_CRITERIA_MET), is_true(old, SUCCESS_CRITERIA_MET));
    if was_met && !is_met {
        conditions.invalid_omitted(errors, "cannot disable the SuccessCriteriaMet=True condition");
    }
    if is_true(old, COMPLETE) && !was_met && is_met {
        let text = "cannot set SuccessCriteriaMet=True for Job already has Complete=true conditions";
        conditions.invalid_omitted(errors, text);
    }
}
