//! CronJobs: start a Job whenever it is due.
//!
//! Upstream: `pkg/controller/cronjob`. In reading order: [`due`] (which start is due, which come next), [`observe`] (what
//! must be read live), [`plan`] (pure), [`apply`]. A Job is named after the minute at which it was due, so that one
//! start never makes two Jobs.

mod apply;
mod due;
mod observe;
mod plan;

use std::sync::Arc;

use jiff::tz::TimeZone;
use skiff_client::types::{CronJob, HasMeta, Job};
use skiff_client::{Event, EventRecorder, EventType, Informer, ObjectKey, ObjectReference, Workqueue};

use crate::context::Context;
use crate::control_loop::{self, Next, Reconciler};
use crate::ownership::{self, CONTROLLER_INDEX, controller_index};

const NAME: &str = "cronjob-controller";

struct Controller {
    context: Context,
    cron_jobs: Informer<CronJob>,
    jobs: Informer<Job>,
    recorder: EventRecorder,
}

/// Runs the controller.
pub async fn run(context: Context) -> anyhow::Result<()> {
    let controller = Arc::new(Controller {
        cron_jobs: context.informer(),
        jobs: context.informer(),
        recorder: context.recorder(NAME),
        context: context.clone(),
    });
    controller.jobs.add_index(CONTROLLER_INDEX, controller_index);
    let queue = Workqueue::new();
    watch(&controller, &queue);
    if !(context.synced(&controller.cron_jobs).await && context.synced(&controller.jobs).await) {
        return Ok(());
    }
    control_loop::run(NAME, &context, queue, controller).await
}

fn watch(controller: &Controller, queue: &Workqueue<ObjectKey>) {
    let (to, clock) = (queue.clone(), controller.context.config.clock.clone());
    let recorder = controller.recorder.clone();
    controller.cron_jobs.add_handler(move |event| {
        let key = event.object().metadata.key();
        let Event::Updated(old, new) = event else { return to.add(key) };
        let rescheduled = old.spec.schedule != new.spec.schedule || old.spec.time_zone != new.spec.time_zone;
        if !rescheduled {
            return to.add(key);
        }
        // A new schedule begins with its next due time: what it would have missed so far is not made up for.
        match due::schedule(new, TimeZone::system()) {
            Ok(schedule) => {
                if let Some(delay) = due::until_next(new, &schedule, clock.now()) {
                    to.add_after(key, delay);
                }
            }
            Err(_) => {
                let message = format!("unparseable schedule for cronjob: {}", new.spec.schedule);
                let about = ObjectReference::to(&**new);
                recorder.event(&about, EventType::Warning, "UnParseableCronJobSchedule", message);
            }
        }
    });

    let (to, cron_jobs) = (queue.clone(), controller.cron_jobs.clone());
    controller.jobs.add_handler(move |event| {
        let mut owners = vec![ownership::owner_of(&cron_jobs, event.object().meta())];
        if let Event::Updated(old, _) = event {
            owners.push(ownership::owner_of(&cron_jobs, old.meta()));
        }
        owners.into_iter().flatten().for_each(|owner| to.add(owner.metadata.key()));
    });
}

#[async_trait::async_trait]
impl Reconciler for Controller {
    type Key = ObjectKey;

    async fn reconcile(&self, key: &ObjectKey) -> anyhow::Result<Next> {
        let Some(cron_job) = self.cron_jobs.get(key) else { return Ok(Next::Event) };
        let observed = self.observe(cron_job).await?;
        let plan = plan::plan(&observed);
        self.carry_out(&observed, plan).await
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn goldens() {
        crate::golden::check("cronjob", super::plan::golden);
    }
}
