//! TTL after finished: deletes Jobs some time after they have finished.
//!
//! Upstream: `pkg/controller/ttlafterfinished`.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use skiff_client::objects::DeleteOptions;
use skiff_client::types::Job;
use skiff_client::{Informer, ObjectKey, Objects, Workqueue};

use crate::context::Context;
use crate::control_loop::{self, Next, Reconciler, unless_gone};

const NAME: &str = "ttl-after-finished-controller";

struct Controller {
    context: Context,
    jobs: Informer<Job>,
}

/// Runs the controller.
pub async fn run(context: Context) -> anyhow::Result<()> {
    let controller = Arc::new(Controller { jobs: context.informer(), context: context.clone() });
    let queue = Workqueue::new();
    let to = queue.clone();
    controller.jobs.add_handler(move |event| {
        if event.object().spec.ttl_seconds_after_finished.is_some() && event.object().is_finished() {
            to.add(event.object().metadata.key());
        }
    });
    if !context.synced(&controller.jobs).await {
        return Ok(());
    }
    control_loop::run(NAME, &context, queue, controller).await
}

/// Seconds until a job is to be deleted, zero or less if it is time; `None` if it is not to be deleted.
fn seconds_left(job: &Job, now: Timestamp) -> Option<i64> {
    let ttl = i64::from(job.spec.ttl_seconds_after_finished?);
    if job.metadata.is_deleting() {
        return None;
    }
    let mut conditions = job.status.conditions.iter();
    let finished =
        conditions.find(|one| matches!(one.type_.as_str(), "Complete" | "Failed") && one.status == "True")?;
    Some(finished.last_transition_time?.as_second() + ttl - now.as_second())
}

#[async_trait::async_trait]
impl Reconciler for Controller {
    type Key = ObjectKey;

    async fn reconcile(&self, key: &ObjectKey) -> anyhow::Result<Next> {
        let cached = self.jobs.get(key);
        let Some(left) = cached.and_then(|job| seconds_left(&job, self.context.now())) else {
            return Ok(Next::Event);
        };
        if left > 0 {
            return Ok(Next::After(Duration::from_secs(left.unsigned_abs())));
        }
        // The cache may be behind a change of the TTL: what is deleted must be looked at first.
        let api = Objects::<Job>::namespaced(&self.context.client, &key.namespace);
        let Some(job) = api.get_opt(&key.name).await? else { return Ok(Next::Event) };
        match seconds_left(&job, self.context.now()) {
            None => Ok(Next::Event),
            Some(left) if left > 0 => Ok(Next::After(Duration::from_secs(left.unsigned_abs()))),
            Some(_) => {
                let mut options = DeleteOptions::with_uid(&job.metadata.uid).propagation("Foreground");
                if let Some(preconditions) = &mut options.preconditions {
                    preconditions.resource_version = Some(job.metadata.resource_version.clone());
                }
                unless_gone(api.delete(&key.name, &options).await)?;
                Ok(Next::Event)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn only_finished_jobs_with_a_ttl_are_deleted() {
        let now: Timestamp = "2026-01-02T03:04:05Z".parse().expect("a time");
        let check = |spec: serde_json::Value, type_: &str, expected: Option<i64>| {
            let status = json!({"conditions": [{"type": type_, "status": "True",
                "lastTransitionTime": "2026-01-02T03:04:00Z"}]});
            let job = serde_json::from_value(json!({"spec": spec, "status": status})).expect("a job");
            assert_eq!(seconds_left(&job, now), expected);
        };
        check(json!({"ttlSecondsAfterFinished": 0}), "Complete", Some(-5));
        check(json!({"ttlSecondsAfterFinished": 60}), "Failed", Some(55));
        check(json!({"ttlSecondsAfterFinished": 0}), "Suspended", None);
        check(json!({}), "Complete", None);
    }
}
