//! Does what the plan says.

use anyhow::bail;
use skiff_client::objects::DeleteOptions;
use skiff_client::types::{ActiveJob, CronJob, CronJobStatus, Job};
use skiff_client::{EventType, Kind, ObjectReference, Objects, errors};

use super::Controller;
use super::observe::Observed;
use super::plan::{self, Plan, Start};
use crate::control_loop::{Next, unless_gone};
use crate::pod_control::{describe, refusal};

impl Controller {
    pub(super) async fn carry_out(&self, observed: &Observed, plan: Plan) -> anyhow::Result<Next> {
        let about = ObjectReference::to(&*observed.cron_job);
        let mut status = plan.status;
        for job in &plan.cleanup {
            // One that cannot be deleted now is tried again with the next change, and holds up nothing.
            if self.delete(observed, &job.metadata.name, &job.metadata.uid).await {
                status.active.retain(|active| active.uid != job.metadata.uid);
            }
        }
        for note in plan.notes {
            self.recorder.event(&about, note.type_, note.reason, note.message);
        }
        let started = match &plan.start {
            Some(start) => self.start(observed, start, &mut status).await,
            None => Ok(()),
        };
        // Also after a failure: what was seen and deleted is so anyway.
        self.write_status(observed, &status).await?;
        started?;
        Ok(if plan.goes_on { plan::next(observed, &status) } else { Next::Event })
    }

    /// Makes the Job, once those it replaces are deleted, and notes it in the status.
    async fn start(&self, observed: &Observed, start: &Start, status: &mut CronJobStatus) -> anyhow::Result<()> {
        let cron_job = &observed.cron_job;
        for job in &start.replaced {
            if !self.delete(observed, &job.name, &job.uid).await {
                bail!("could not replace job {}/{}", job.namespace, job.name);
            }
            status.active.retain(|active| active.uid != job.uid);
        }
        let about = ObjectReference::to(&**cron_job);
        let api = self.jobs_api(cron_job);
        let job = match api.create(&start.body).await {
            Ok(job) => {
                let message = format!("Created job {}", job.metadata.name);
                self.recorder.event(&about, EventType::Normal, "SuccessfulCreate", message);
                job
            }
            Err(error) if errors::is_already_exists(&error) => {
                // Ours, if we failed to note it; somebody else's is none of our business.
                let job = api.get(start.body["metadata"]["name"].as_str().unwrap_or_default()).await?;
                let noted = status.active.iter().any(|active| active.uid == job.metadata.uid);
                if noted || !job.metadata.is_controlled_by(&cron_job.metadata.uid) {
                    return Ok(());
                }
                job
            }
            Err(error) if errors::is_namespace_terminating(&error) => return Err(refusal(error)),
            Err(error) => {
                let message = format!("Error creating job: {}", describe(&error));
                self.recorder.event(&about, EventType::Warning, "FailedCreate", message);
                return Err(refusal(error));
            }
        };
        status.active.push(ActiveJob {
            kind: Job::RESOURCE.kind.to_string(),
            namespace: job.metadata.namespace,
            name: job.metadata.name,
            uid: job.metadata.uid,
            api_version: Job::RESOURCE.api_version(),
            resource_version: job.metadata.resource_version,
        });
        status.last_schedule_time = Some(start.at);
        Ok(())
    }

    /// Deletes a Job and its pods; whether it is going or gone.
    async fn delete(&self, observed: &Observed, name: &str, uid: &str) -> bool {
        let options = DeleteOptions::with_uid(uid).propagation("Background");
        let about = ObjectReference::to(&*observed.cron_job);
        match unless_gone(self.jobs_api(&observed.cron_job).delete(name, &options).await) {
            Ok(_) => {
                self.recorder.event(&about, EventType::Normal, "SuccessfulDelete", format!("Deleted job {name}"));
                true
            }
            Err(error) => {
                let message = format!("Deleted job: {}", describe(&error));
                self.recorder.event(&about, EventType::Warning, "FailedDelete", message);
                false
            }
        }
    }

    async fn write_status(&self, observed: &Observed, status: &CronJobStatus) -> anyhow::Result<()> {
        let cron_job = &observed.cron_job;
        if *status == cron_job.status {
            return Ok(());
        }
        let api = Objects::<CronJob>::namespaced(&self.context.client, &cron_job.metadata.namespace);
        let version = Some(cron_job.metadata.resource_version.as_str());
        unless_gone(api.update_status(&cron_job.metadata.name, version, &plan::status_json(status)).await)?;
        Ok(())
    }

    fn jobs_api(&self, cron_job: &CronJob) -> Objects<Job> {
        Objects::namespaced(&self.context.client, &cron_job.metadata.namespace)
    }
}
