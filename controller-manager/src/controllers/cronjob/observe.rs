//! What the plan is made from, some of it read live: the caches of CronJobs and of Jobs are not in step.

use std::collections::HashSet;
use std::sync::Arc;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use skiff_client::types::{CronJob, Job};
use skiff_client::{Kind, Objects};

use super::Controller;
use crate::control_loop::unless_gone;
use crate::ownership;

/// A CronJob and its Jobs.
pub(super) struct Observed {
    pub(super) cron_job: Arc<CronJob>,
    /// The Jobs that it controls.
    pub(super) jobs: Vec<Arc<Job>>,
    /// UIDs of Jobs that the status names and that are gone.
    pub(super) missing: HashSet<String>,
    /// Zone of a schedule that names none.
    pub(super) local: TimeZone,
    pub(super) now: Timestamp,
}

impl Observed {
    pub(super) fn is_active(&self, job: &Job) -> bool {
        self.cron_job.status.active.iter().any(|active| active.uid == job.metadata.uid)
    }
}

impl Controller {
    pub(super) async fn observe(&self, cron_job: Arc<CronJob>) -> anyhow::Result<Observed> {
        let client = &self.context.client;
        let namespace = &cron_job.metadata.namespace;
        let jobs = ownership::controlled_by(&self.jobs, &cron_job.metadata);
        let (local, now) = (TimeZone::system(), self.context.now());
        let mut observed = Observed { cron_job: cron_job.clone(), jobs, missing: HashSet::new(), local, now };
        // Our own last write may not be in the cache yet.
        let unknown = observed.jobs.iter().any(|job| !job.is_finished() && !observed.is_active(job));
        if unknown {
            let live = Objects::<CronJob>::namespaced(client, namespace).get(&cron_job.metadata.name).await?;
            if live.metadata.uid == cron_job.metadata.uid {
                observed.cron_job = Arc::new(live);
            }
        }
        let known: HashSet<&str> = observed.jobs.iter().map(|job| job.metadata.uid.as_str()).collect();
        let status = &observed.cron_job.status;
        for active in status.active.iter().filter(|active| !known.contains(active.uid.as_str())) {
            let api = Objects::<Job>::of(client, Job::RESOURCE, &active.namespace);
            if unless_gone(api.get(&active.name).await)?.is_none() {
                observed.missing.insert(active.uid.clone());
            }
        }
        Ok(observed)
    }
}
