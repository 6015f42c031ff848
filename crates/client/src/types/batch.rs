//! Jobs and CronJobs.

use jiff::Timestamp;
use serde::Deserialize;

use super::{Condition, Meta, RawJson, kind, nullable};
use crate::selector::LabelSelector;

/// `batch/v1 Job`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Job {
    /// Metadata.
    pub metadata: Meta,
    /// What it should be.
    pub spec: JobSpec,
    /// What it is.
    pub status: JobStatus,
}
kind!(Job, "batch", "v1", "jobs", "Job", true);

impl Job {
    /// Whether it reached Complete or Failed.
    pub fn is_finished(&self) -> bool {
        super::condition_is_true(&self.status.conditions, "Complete")
            || super::condition_is_true(&self.status.conditions, "Failed")
    }
}

/// `batch/v1 JobSpec`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct JobSpec {
    /// Pods at a time.
    pub parallelism: Option<i32>,
    /// Successes wanted; absent: any one success ends it.
    pub completions: Option<i32>,
    /// How long it may run, in seconds.
    pub active_deadline_seconds: Option<i64>,
    /// Rules on failed pods.
    pub pod_failure_policy: Option<PodFailurePolicy>,
    /// Rules on early success.
    pub success_policy: Option<SuccessPolicy>,
    /// Failures before it fails; 6 if absent.
    pub backoff_limit: Option<i32>,
    /// Failures before an index fails.
    pub backoff_limit_per_index: Option<i32>,
    /// Failed indexes before it fails.
    pub max_failed_indexes: Option<i32>,
    /// Which pods are its own.
    pub selector: Option<LabelSelector>,
    /// Whether the selector is the user's own.
    #[serde(deserialize_with = "nullable")]
    pub manual_selector: bool,
    /// Template of the pods.
    pub template: RawJson,
    /// How long it stays once finished, in seconds.
    pub ttl_seconds_after_finished: Option<i32>,
    /// `NonIndexed` (also when empty) or `Indexed`.
    #[serde(deserialize_with = "nullable")]
    pub completion_mode: String,
    /// Whether it should not run now.
    #[serde(deserialize_with = "nullable")]
    pub suspend: bool,
    /// When to replace pods: `TerminatingOrFailed` (also when empty) or `Failed`.
    #[serde(deserialize_with = "nullable")]
    pub pod_replacement_policy: String,
    /// Another controller that manages it.
    #[serde(deserialize_with = "nullable")]
    pub managed_by: String,
}

/// `batch/v1 PodFailurePolicy`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct PodFailurePolicy {
    /// Rules; the first that matches counts.
    #[serde(deserialize_with = "nullable")]
    pub rules: Vec<PodFailureRule>,
}

/// `batch/v1 PodFailurePolicyRule`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct PodFailureRule {
    /// `FailJob`, `FailIndex`, `Ignore` or `Count`.
    pub action: String,
    /// On exit codes.
    pub on_exit_codes: Option<OnExitCodes>,
    /// On conditions of the pod.
    #[serde(deserialize_with = "nullable")]
    pub on_pod_conditions: Vec<OnPodCondition>,
}

/// `batch/v1 PodFailurePolicyOnExitCodesRequirement`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct OnExitCodes {
    /// Container; absent for all.
    pub container_name: Option<String>,
    /// `In` or `NotIn`.
    pub operator: String,
    /// Codes.
    #[serde(deserialize_with = "nullable")]
    pub values: Vec<i32>,
}

/// `batch/v1 PodFailurePolicyOnPodConditionsPattern`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct OnPodCondition {
    /// Condition type.
    #[serde(rename = "type")]
    pub type_: String,
    /// Its status; empty means `True`.
    pub status: String,
}

/// `batch/v1 SuccessPolicy`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct SuccessPolicy {
    /// Rules; the first that is met ends the job.
    #[serde(deserialize_with = "nullable")]
    pub rules: Vec<SuccessRule>,
}

/// `batch/v1 SuccessPolicyRule`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct SuccessRule {
    /// Indexes that count, as `0-2,5`; absent for all.
    pub succeeded_indexes: Option<String>,
    /// How many of them must succeed; absent for all.
    pub succeeded_count: Option<i32>,
}

/// `batch/v1 JobStatus`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct JobStatus {
    /// Conditions.
    #[serde(deserialize_with = "nullable")]
    pub conditions: Vec<Condition>,
    /// When it started.
    pub start_time: Option<Timestamp>,
    /// When it completed.
    pub completion_time: Option<Timestamp>,
    /// Pods that are pending or running.
    pub active: i32,
    /// Pods that succeeded.
    pub succeeded: i32,
    /// Pods that failed.
    pub failed: i32,
    /// Pods being deleted.
    pub terminating: Option<i32>,
    /// Ready pods.
    pub ready: Option<i32>,
    /// Indexes that succeeded, as `0-2,5`.
    pub completed_indexes: String,
    /// Indexes that failed, as `0-2,5`.
    pub failed_indexes: Option<String>,
    /// Pods seen finished but not yet counted.
    pub uncounted_terminated_pods: Option<UncountedPods>,
}

/// `batch/v1 UncountedTerminatedPods`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, serde::Serialize)]
#[serde(default, rename_all = "camelCase")]
pub struct UncountedPods {
    /// UIDs of pods that succeeded.
    #[serde(deserialize_with = "nullable", skip_serializing_if = "Vec::is_empty")]
    pub succeeded: Vec<String>,
    /// UIDs of pods that failed.
    #[serde(deserialize_with = "nullable", skip_serializing_if = "Vec::is_empty")]
    pub failed: Vec<String>,
}

/// `batch/v1 CronJob`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct CronJob {
    /// Metadata.
    pub metadata: Meta,
    /// What it should be.
    pub spec: CronJobSpec,
    /// What it is.
    pub status: CronJobStatus,
}
kind!(CronJob, "batch", "v1", "cronjobs", "CronJob", true);

/// `batch/v1 CronJobSpec`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct CronJobSpec {
    /// When, in cron's form.
    pub schedule: String,
    /// Time zone of the schedule; the controller's if absent.
    pub time_zone: Option<String>,
    /// How late a start may be, in seconds.
    pub starting_deadline_seconds: Option<i64>,
    /// `Allow`, `Forbid` or `Replace`.
    pub concurrency_policy: String,
    /// Whether it should not run now.
    #[serde(deserialize_with = "nullable")]
    pub suspend: bool,
    /// Template of the jobs.
    pub job_template: RawJson,
    /// How many complete jobs to keep; 3 if absent.
    pub successful_jobs_history_limit: Option<i32>,
    /// How many failed jobs to keep; 1 if absent.
    pub failed_jobs_history_limit: Option<i32>,
}

/// `batch/v1 CronJobStatus`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct CronJobStatus {
    /// Jobs that run now.
    #[serde(deserialize_with = "nullable")]
    pub active: Vec<ActiveJob>,
    /// When a job was last started.
    pub last_schedule_time: Option<Timestamp>,
    /// When a job last completed.
    pub last_successful_time: Option<Timestamp>,
}

/// `v1.ObjectReference` to a Job.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, serde::Serialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ActiveJob {
    /// `Job`.
    pub kind: String,
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// UID.
    pub uid: String,
    /// `batch/v1`.
    pub api_version: String,
    /// Version at creation.
    pub resource_version: String,
}
