//! The plan, from objects to what is done.

use std::collections::HashSet;
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Value, json};
use skiff_client::types::{Job, Pod};

use super::observe::{FINALIZER, INDEX, Observed};
use super::plan::{Plan, plan};

fn now() -> Timestamp {
    "2026-01-02T03:04:05Z".parse().expect("a time")
}

fn job(spec: Value, status: Value) -> Arc<Job> {
    let mut spec = spec;
    spec["template"] = json!({"spec": {"restartPolicy": "Never"}});
    let object = json!({"metadata": {"name": "j", "namespace": "n", "uid": "j"}, "spec": spec, "status": status});
    Arc::new(serde_json::from_value(object).expect("a job"))
}

fn pod_with(name: &str, phase: &str, extra: Value) -> Arc<Pod> {
    let mut metadata = json!({"name": name, "namespace": "n", "uid": name, "finalizers": [FINALIZER]});
    for (key, value) in extra.as_object().into_iter().flatten() {
        metadata[key] = value.clone();
    }
    // Ended long ago, so that no pause is left.
    let ended = json!([{"name": "c", "state": {"terminated": {"exitCode": 1, "finishedAt": "2026-01-01T00:00:00Z"}}}]);
    let statuses = if matches!(phase, "Failed" | "Succeeded") { ended } else { json!([]) };
    let object = json!({"metadata": metadata, "status": {"phase": phase, "containerStatuses": statuses}});
    Arc::new(serde_json::from_value(object).expect("a pod"))
}

fn pod(name: &str, phase: &str) -> Arc<Pod> {
    pod_with(name, phase, json!({}))
}

fn of_index(name: &str, phase: &str, index: i32) -> Arc<Pod> {
    pod_with(name, phase, json!({"annotations": {INDEX: index.to_string()}}))
}

fn decide(job: &Arc<Job>, pods: &[Arc<Pod>]) -> Plan {
    plan(&Observed {
        job: job.clone(),
        pods: pods.to_vec(),
        released: HashSet::new(),
        expectations_met: true,
        now: now(),
    })
}

fn names(pods: &[Arc<Pod>]) -> Vec<&str> {
    pods.iter().map(|pod| pod.metadata.name.as_str()).collect()
}

fn conditions(plan: &Plan) -> Vec<String> {
    let status = plan.status.as_ref().expect("a status");
    status.conditions.iter().map(|one| format!("{}={} {}", one.type_, one.status, one.reason)).collect()
}

#[test]
fn a_new_job_starts_and_creates() {
    let plan = decide(&job(json!({"parallelism": 2, "completions": 5}), json!({})), &[]);
    let status = plan.status.expect("a status");
    assert_eq!((plan.create.len(), status.start_time, status.active), (2, Some(now()), 2));
}

#[test]
fn a_success_is_noted_then_released_then_counted_then_the_end() {
    let spec = json!({"parallelism": 1, "completions": 1});
    let started = json!({"startTime": "2026-01-01T00:00:00Z", "active": 1, "ready": 0, "terminating": 0});
    // Noted before it is released.
    let first = decide(&job(spec.clone(), started), &[pod("p", "Succeeded")]);
    let status = first.status.as_ref().expect("a status");
    assert_eq!(status.uncounted_terminated_pods.as_ref().expect("noted").succeeded, ["p"]);
    assert_eq!((status.succeeded, names(&first.release)), (0, vec!["p"]));
    assert_eq!(conditions(&first), ["SuccessCriteriaMet=True CompletionsReached"]);
    // Released: counted, and over.
    let noted = json!({"startTime": "2026-01-01T00:00:00Z", "ready": 0, "terminating": 0,
        "uncountedTerminatedPods": {"succeeded": ["p"]}, "conditions": [{"type": "SuccessCriteriaMet",
        "status": "True", "reason": "CompletionsReached", "message": "Reached expected number of succeeded pods"}]});
    let released = pod_with("p", "Succeeded", json!({"finalizers": []}));
    let second = decide(&job(spec, noted), &[released]);
    let status = second.status.as_ref().expect("a status");
    assert_eq!((status.succeeded, status.completion_time), (1, Some(now())));
    let expected = ["SuccessCriteriaMet=True CompletionsReached", "Complete=True CompletionsReached"];
    assert_eq!(conditions(&second), expected);
    assert_eq!(second.events[0].1, "Completed");
}

#[test]
fn a_pod_is_counted_once_even_if_the_cache_is_old() {
    let noted = json!({"startTime": "2026-01-01T00:00:00Z", "succeeded": 1, "active": 0});
    let plan = plan(&Observed {
        job: job(json!({"completions": 3, "parallelism": 1}), noted),
        pods: vec![pod("p", "Succeeded")],
        released: HashSet::from(["p".to_owned()]),
        expectations_met: true,
        now: now(),
    });
    assert_eq!(plan.status.map(|status| status.succeeded), Some(1));
    assert!(plan.release.is_empty());
    assert_eq!(plan.create.len(), 1);
}

#[test]
fn failures_beyond_the_limit_end_the_job() {
    let spec = json!({"parallelism": 2, "completions": 4, "backoffLimit": 1});
    let status = json!({"startTime": "2026-01-01T00:00:00Z", "failed": 1});
    let plan = decide(&job(spec.clone(), status), &[pod("a", "Failed"), pod("b", "Running")]);
    assert_eq!(conditions(&plan), ["FailureTarget=True BackoffLimitExceeded"]);
    assert_eq!(names(&plan.delete), ["b"]);
    assert!(plan.create.is_empty());
    let within = decide(&job(spec, json!({"startTime": "2026-01-01T00:00:00Z"})), &[pod("a", "Failed")]);
    assert_eq!(within.create.len(), 2);
}

#[test]
fn a_failed_pod_is_replaced_after_a_pause() {
    let spec = json!({"parallelism": 1, "completions": 1, "backoffLimit": 6});
    let mut failed = (*pod("a", "Failed")).clone();
    let ended = failed.status.container_statuses[0].state.terminated.as_mut().expect("ended");
    ended.finished_at = Some("2026-01-02T03:04:01Z".parse().expect("a time"));
    let plan = decide(&job(spec, json!({"startTime": "2026-01-01T00:00:00Z"})), &[Arc::new(failed)]);
    assert_eq!(plan.after.map(|left| left.as_secs()), Some(6));
    assert!(plan.create.is_empty());
}

#[test]
fn indexes_are_filled_once_each() {
    let spec = json!({"parallelism": 3, "completions": 4, "completionMode": "Indexed"});
    let status = json!({"startTime": "2026-01-01T00:00:00Z", "completedIndexes": "0", "succeeded": 1});
    let pods = [of_index("b", "Running", 1), of_index("c", "Running", 1), of_index("d", "Succeeded", 2)];
    let plan = decide(&job(spec, status), &pods);
    let written = plan.status.as_ref().expect("a status");
    assert_eq!((written.completed_indexes.as_str(), written.succeeded), ("0,2", 2));
    assert_eq!(plan.surplus.len(), 1, "one of two pods of index 1 goes");
    let indexes: Vec<_> = plan.create.iter().map(|new| new.index).collect();
    assert_eq!(indexes, [Some(3)]);
}

#[test]
fn an_index_fails_on_its_own() {
    let spec = json!({"parallelism": 2, "completions": 2, "completionMode": "Indexed", "backoffLimitPerIndex": 1,
        "backoffLimit": 100});
    let started = json!({"startTime": "2026-01-01T00:00:00Z"});
    let failing =
        |count: &str| pod_with("a", "Failed", json!({"annotations": {INDEX: "0", super::observe::FAILURES: count}}));
    let again = decide(&job(spec.clone(), started.clone()), &[failing("0"), of_index("b", "Running", 1)]);
    assert_eq!(again.create[0].failures, Some((1, 0)));
    assert!(again.release.is_empty(), "it tells its successor how often the index has failed");
    let over = decide(&job(spec.clone(), started.clone()), &[failing("1"), of_index("b", "Running", 1)]);
    assert_eq!(over.status.as_ref().and_then(|status| status.failed_indexes.as_deref()), Some("0"));
    assert!(over.create.is_empty());
    let all = decide(&job(spec, started), &[failing("1"), of_index("b", "Succeeded", 1)]);
    assert_eq!(conditions(&all), ["FailureTarget=True FailedIndexes"]);
}

#[test]
fn suspension_takes_pods_away_without_failures() {
    let spec = json!({"parallelism": 2, "completions": 2, "suspend": true});
    let plan = decide(&job(spec, json!({"startTime": "2026-01-01T00:00:00Z", "active": 1})), &[pod("a", "Running")]);
    assert_eq!(conditions(&plan), ["Suspended=True JobSuspended"]);
    assert_eq!(names(&plan.surplus), ["a"]);
    assert_eq!(plan.status.as_ref().and_then(|status| status.start_time), None);
}

#[test]
fn the_deadline_ends_the_job() {
    let spec = json!({"parallelism": 1, "completions": 1, "activeDeadlineSeconds": 60});
    let plan = decide(&job(spec, json!({"startTime": "2026-01-02T03:03:05Z"})), &[pod("a", "Running")]);
    assert_eq!(conditions(&plan), ["FailureTarget=True DeadlineExceeded"]);
}

#[test]
fn without_completions_any_success_is_enough() {
    let spec = json!({"parallelism": 2});
    let started = json!({"startTime": "2026-01-01T00:00:00Z"});
    let running = decide(&job(spec.clone(), started.clone()), &[pod("a", "Succeeded"), pod("b", "Running")]);
    assert!(running.create.is_empty() && running.delete.is_empty());
    assert!(conditions(&running).is_empty(), "the other may finish");
    let over = decide(&job(spec, started), &[pod("a", "Succeeded"), pod("b", "Succeeded")]);
    assert_eq!(conditions(&over), ["SuccessCriteriaMet=True CompletionsReached"]);
}

#[test]
fn pods_of_a_finished_job_are_let_go() {
    let done = json!({"conditions": [{"type": "Complete", "status": "True"}]});
    let plan = decide(&job(json!({"completions": 1}), done), &[pod("late", "Running")]);
    assert_eq!(names(&plan.release), ["late"]);
    assert!(plan.status.is_none() && plan.create.is_empty());
}
