//! Jobs: run pods until enough of them have succeeded, and count each exactly once.
//!
//! Upstream: `pkg/controller/job`. Pods carry a finalizer until they are counted, so that none is lost when it is
//! deleted. [`observe`] sorts the pods, [`plan`] decides (pure), [`apply`] writes.

mod apply;
mod backoff;
mod failure_policy;
mod indexes;
mod observe;
mod plan;
mod success_policy;
mod template;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use parking_lot::Mutex;
use skiff_client::types::{HasMeta, Job, Meta, Pod};
use skiff_client::{Event, EventRecorder, Expectations, Informer, ObjectKey, Workqueue};

use crate::context::Context;
use crate::control_loop::{self, Next, Reconciler};
use crate::ownership::{self, CONTROLLER_INDEX, controller_index};
use crate::pods;
use observe::{FINALIZER, Observed};

const NAME: &str = "job-controller";
/// Value of `spec.managedBy` that means us.
const MANAGED_BY: &str = "kubernetes.io/job-controller";
/// Pods that still carry the finalizer, by the Job that they name.
const TRACKED_INDEX: &str = "tracked-by-job";

struct Controller {
    context: Context,
    jobs: Informer<Job>,
    pods: Informer<Pod>,
    /// By the Job's UID.
    expectations: Arc<Expectations<String>>,
    /// Pods whose finalizer we have removed and the cache still shows.
    released: Mutex<HashMap<ObjectKey, HashSet<String>>>,
    /// Version of each Job that our last write made: an older one in the cache is not worked on.
    written: Mutex<HashMap<ObjectKey, u64>>,
    recorder: EventRecorder,
}

/// Runs the controller.
pub async fn run(context: Context) -> anyhow::Result<()> {
    let controller = Arc::new(Controller {
        jobs: context.informer(),
        pods: context.informer(),
        expectations: Arc::default(),
        released: Mutex::default(),
        written: Mutex::default(),
        recorder: context.recorder(NAME),
        context: context.clone(),
    });
    controller.pods.add_index(CONTROLLER_INDEX, controller_index);
    controller.pods.add_index(TRACKED_INDEX, tracked_index);
    let queue = Workqueue::new();
    watch(&controller, &queue);
    if !(context.synced(&controller.jobs).await && context.synced(&controller.pods).await) {
        return Ok(());
    }
    control_loop::run(NAME, &context, queue, controller).await
}

fn watch(controller: &Arc<Controller>, queue: &Workqueue<ObjectKey>) {
    let (to, expectations) = (queue.clone(), controller.expectations.clone());
    controller.jobs.add_handler(move |event| {
        if let Event::Deleted(job) = &event {
            expectations.forget(&job.metadata.uid);
        }
        to.add(event.object().metadata.key());
    });
    let (to, owner) = (queue.clone(), controller.clone());
    controller.pods.add_handler(move |event| {
        let pod = event.object();
        owner.strike_off(&event);
        // Also of Jobs that are gone: their pods must lose the finalizer.
        if let Some(key) = job_key(&pod.metadata) {
            to.add(key);
        }
        for key in ownership::interested(&owner.jobs, &pod.metadata, selector) {
            to.add(key);
        }
    });
}

fn selector(job: &Job) -> skiff_client::selector::LabelSelector {
    job.spec.selector.clone().unwrap_or_default()
}

/// The Job that an object names as its controller.
fn job_key(meta: &Meta) -> Option<ObjectKey> {
    let owner = meta.controller_of().filter(|owner| owner.kind == "Job" && owner.api_version.starts_with("batch/"))?;
    Some(ObjectKey::new(meta.namespace.as_str(), owner.name.as_str()))
}

fn tracked_index(pod: &Pod) -> Vec<String> {
    let tracked = pod.metadata.has_finalizer(FINALIZER);
    job_key(&pod.metadata).filter(|_| tracked).map(|key| key.to_string()).into_iter().collect()
}

impl Controller {
    /// Strikes off what was expected to be seen.
    fn strike_off(&self, event: &Event<'_, Pod>) {
        let pod = event.object();
        pods::strike_off(event, &self.expectations);
        let Some(key) = job_key(&pod.metadata) else { return };
        if matches!(event, Event::Deleted(_)) || !pod.metadata.has_finalizer(FINALIZER) {
            let mut released = self.released.lock();
            if let Some(uids) = released.get_mut(&key) {
                uids.remove(&pod.metadata.uid);
                if uids.is_empty() {
                    released.remove(&key);
                }
            }
        }
    }

    /// Whether the cache is older than our own last write.
    fn is_stale(&self, key: &ObjectKey, job: &Job) -> bool {
        let mut written = self.written.lock();
        let Some(at) = written.get(key).copied() else { return false };
        let stale = job.metadata.resource_version.parse::<u64>().is_ok_and(|cached| cached < at);
        if !stale {
            written.remove(key);
        }
        stale
    }

    fn observe(&self, key: &ObjectKey, job: &Arc<Job>) -> Observed {
        // Before the pods are read: what arrives in between may only make the picture newer.
        let expectations_met = self.expectations.satisfied(&job.metadata.uid);
        let released = self.released.lock().get(key).cloned().unwrap_or_default();
        let selector = selector(job);
        let candidates = ownership::candidates(&self.pods, job.meta());
        let claim = ownership::claim(job.meta(), &selector, candidates);
        Observed { job: job.clone(), pods: claim.claimed, released, expectations_met, now: self.context.now() }
    }
}

#[async_trait::async_trait]
impl Reconciler for Controller {
    type Key = ObjectKey;

    async fn reconcile(&self, key: &ObjectKey) -> anyhow::Result<Next> {
        let job = self.jobs.get(key);
        self.release_orphans(key, job.as_deref()).await?;
        let Some(job) = job else {
            self.written.lock().remove(key);
            return Ok(Next::Event);
        };
        let ours = job.spec.managed_by.is_empty() || job.spec.managed_by == MANAGED_BY;
        if !ours || self.is_stale(key, &job) {
            // The newer version comes as an event.
            return Ok(Next::Event);
        }
        self.claim(&job).await?;
        let observed = self.observe(key, &job);
        let plan = plan::plan(&observed);
        let next = plan::next(&job, &plan, observed.now);
        self.carry_out(key, &observed, plan).await?;
        Ok(next.map_or(Next::Event, Next::After).or_given_up(&self.expectations, &job.metadata.uid))
    }
}

#[cfg(test)]
mod tests;
