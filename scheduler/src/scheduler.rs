//! Putting the parts together: build, then run.

use std::sync::Arc;
use std::time::Duration;

use kube::Client;
use skiff_client::types::{Node, Pod};
use skiff_client::{EventRecorder, EventType, ObjectReference, SharedInformers, leader_election};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::binding::{self, Bound};
use crate::cache::{Cache, PodInfo, Snapshot};
use crate::config::Config;
use crate::event_handlers::Handlers;
use crate::failure::{self, Preemption, SCHEDULER_ERROR, UNSCHEDULABLE, Verdict};
use crate::framework::{CycleState, FitError, PostFilterResult, Profile};
use crate::plugins::{Sources, default_profile};
use crate::queue::{ClusterEvents, QueuedPod, SchedulingQueue, Times};
use crate::schedule_one::{Outcome, Search, schedule};

/// How often pods that have been unschedulable for long are looked for.
const FLUSH_PERIOD: Duration = Duration::from_secs(30);
/// Failed pods that are told of at a time; the next cycle waits when all are taken.
const PARALLEL_REPORTS: usize = 64;
/// How long one binding, or one report with its preemptions, may take.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
/// How long bindings and reports in progress may take at the end.
const STOP_TIMEOUT: Duration = Duration::from_secs(5);

/// Runs the scheduler until shutdown; with leader election, while this process leads.
pub async fn run(config: Config, client: Client, shutdown: CancellationToken) -> anyhow::Result<()> {
    config.validate()?;
    match config.leader_election.clone() {
        None => run_leading(config, client, shutdown).await,
        Some(election) => {
            leader_election::run(election, client.clone(), shutdown, |leading| {
                let (config, client) = (config.clone(), client.clone());
                async move {
                    if let Err(error) = Box::pin(run_leading(config, client, leading)).await {
                        tracing::error!("the scheduler failed: {error:#}");
                    }
                }
            })
            .await;
            Ok(())
        }
    }
}

async fn run_leading(config: Config, client: Client, shutdown: CancellationToken) -> anyhow::Result<()> {
    // Ends what this run started when it ends, whatever ends it.
    let shutdown = shutdown.child_token();
    let _ended = shutdown.clone().drop_guard();
    let informers = config.informers.clone().unwrap_or_else(|| SharedInformers::new(client.clone(), shutdown.clone()));
    let (pods, nodes) = (informers.get::<Pod>(), informers.get::<Node>());
    let sources = Sources::of(&informers);
    let profile = Arc::new(default_profile(&sources));
    let times = Times {
        initial_backoff: config.pod_initial_backoff,
        max_backoff: config.pod_max_backoff,
        max_unschedulable: config.pod_max_unschedulable,
    };
    let scheduler = Arc::new(Scheduler {
        events: EventRecorder::spawn_series(
            client.clone(),
            &config.scheduler_name,
            &instance(&config),
            shutdown.clone(),
        ),
        cache: Arc::default(),
        queue: Arc::new(SchedulingQueue::new(times, profile.clone())),
        bindings: Arc::new(Semaphore::new(config.parallel_bindings)),
        reports: Arc::new(Semaphore::new(PARALLEL_REPORTS)),
        tasks: TaskTracker::new(),
        client,
        profile,
        config,
    });
    let handlers = Handlers {
        cache: scheduler.cache.clone(),
        queue: scheduler.queue.clone(),
        scheduler_name: scheduler.config.scheduler_name.as_str().into(),
    };
    handlers.attach(&pods, &nodes, &sources);
    // Deciding on half of the nodes would be deciding wrongly.
    let synced = async { tokio::join!(pods.wait_synced(), nodes.wait_synced(), sources.wait_synced()) };
    if shutdown.run_until_cancelled(synced).await.is_none() {
        return Ok(());
    }
    tracing::info!(scheduler = scheduler.config.scheduler_name, "the scheduler is running");
    tokio::select! {
        () = scheduler.cycles() => {}
        () = scheduler.flush() => {}
        () = shutdown.cancelled() => {}
    }
    scheduler.queue.close();
    scheduler.tasks.close();
    if tokio::time::timeout(STOP_TIMEOUT, scheduler.tasks.wait()).await.is_err() {
        tracing::warn!("the scheduler stops with requests in progress");
    }
    Ok(())
}

struct Scheduler {
    config: Config,
    client: Client,
    events: EventRecorder,
    profile: Arc<Profile>,
    cache: Arc<Cache>,
    queue: Arc<SchedulingQueue>,
    bindings: Arc<Semaphore>,
    reports: Arc<Semaphore>,
    tasks: TaskTracker,
}

impl Scheduler {
    async fn flush(&self) {
        loop {
            tokio::time::sleep(FLUSH_PERIOD).await;
            self.queue.flush_unschedulable();
        }
    }

    async fn cycles(self: &Arc<Self>) {
        let mut snapshot = Snapshot::default();
        let mut search = Search::new(self.config.percentage_of_nodes_to_score);
        while let Some(queued) = self.queue.pop().await {
            let pod = &queued.info;
            if pod.pod.metadata.is_deleting() || self.cache.is_placed(pod.uid()) {
                self.queue.remove(pod.uid());
                continue;
            }
            self.cache.update(&mut snapshot);
            match schedule(&self.profile, &mut search, pod, &snapshot) {
                Outcome::Node { name, state } => self.place(queued, name, state).await,
                Outcome::Unschedulable { error, post_filter } => self.fail(&queued, error, post_filter).await,
            }
            // Cycles do not wait for anything while pods do: others must get their turn.
            tokio::task::yield_now().await;
        }
    }

    /// Counts the pod on its node from now on, and tells the API beside the next cycles.
    async fn place(self: &Arc<Self>, queued: QueuedPod, node: String, mut state: CycleState) {
        let pod = queued.info.clone();
        let expected_at = self.cache.nominated_node(pod.uid());
        if !self.cache.assume(pod.clone(), &node) {
            self.queue.remove(pod.uid());
            return;
        }
        if expected_at.is_some_and(|expected_at| expected_at != node) {
            // The room that was made elsewhere is free.
            self.queue.on_event(ClusterEvents::ASSIGNED_POD_DELETE, |_| true);
        }
        for (at, plugin) in self.profile.reserve.iter().enumerate() {
            let status = plugin.reserve(&mut state, &pod, &node);
            if !status.is_success() {
                self.profile.reserve[..=at].iter().rev().for_each(|plugin| plugin.unreserve(&mut state, &pod, &node));
                return self.take_back(&pod, status.reasons.join(", ")).await;
            }
        }
        let Ok(permit) = self.bindings.clone().acquire_owned().await else { return };
        let this = self.clone();
        self.tasks.spawn(async move {
            let bound = tokio::time::timeout(REQUEST_TIMEOUT, binding::bind(&this.client, &pod.pod, &node)).await;
            let bound = bound.unwrap_or_else(|_| Bound::Failed("no answer in time".into()));
            this.bound(&pod, &node, state, bound).await;
            drop(permit);
        });
    }

    async fn bound(self: &Arc<Self>, pod: &Arc<PodInfo>, node: &str, mut state: CycleState, bound: Bound) {
        match bound {
            Bound::Done => {
                self.queue.remove(pod.uid());
                let meta = &pod.pod.metadata;
                let message = format!("Successfully assigned {}/{} to {node}", meta.namespace, meta.name);
                let object = ObjectReference::to(pod.pod.as_ref());
                self.events.event_with_action(&object, EventType::Normal, "Scheduled", "Binding", message);
            }
            Bound::Gone => {
                self.queue.remove(pod.uid());
                self.cache.forget(pod.uid());
                self.queue.on_event(ClusterEvents::ASSIGNED_POD_DELETE, |_| true);
            }
            Bound::Failed(error) => {
                self.profile.reserve.iter().rev().for_each(|plugin| plugin.unreserve(&mut state, pod, node));
                self.take_back(pod, format!("binding rejected: {error}")).await;
            }
        }
    }

    /// The pod does not come to its node after all.
    async fn take_back(self: &Arc<Self>, pod: &Arc<PodInfo>, message: String) {
        self.cache.forget(pod.uid());
        if self.cache.is_placed(pod.uid()) {
            // It has a node by now: the answer was lost, or another scheduler was faster.
            return self.queue.remove(pod.uid());
        }
        // The room that was made for it is still its own.
        let nominated = &pod.pod.status.nominated_node_name;
        if !nominated.is_empty() {
            self.cache.nominate(pod.clone(), nominated);
        }
        tracing::warn!(pod = %pod.key(), message, "a pod could not be bound; it is tried again");
        self.queue.on_event(ClusterEvents::ASSIGNED_POD_DELETE, |_| true);
        self.queue.put_back_after_error(pod.uid());
        self.report(pod, Verdict { reason: SCHEDULER_ERROR, message, nominated_node: None }, None).await;
    }

    async fn fail(self: &Arc<Self>, queued: &QueuedPod, error: FitError, post_filter: Option<PostFilterResult>) {
        let pod = &queued.info;
        let message = error.to_string();
        tracing::debug!(pod = %pod.key(), message, "no node fits");
        let mut nominated_node = None;
        let mut freed = false;
        if let Some(result) = &post_filter {
            match &result.nominated_node {
                Some(node) => self.cache.nominate(pod.clone(), node),
                None if !result.keep_nomination => freed = self.cache.clear_nomination(pod.uid()),
                None => {}
            }
            if !result.keep_nomination {
                nominated_node = Some(result.nominated_node.clone().unwrap_or_default());
            }
        }
        // Before the victims go: their going is the event that wakes the pod.
        self.queue.put_back_unschedulable(pod.uid(), &error.diagnosis.plugins);
        if freed {
            self.queue.on_event(ClusterEvents::ASSIGNED_POD_DELETE, |other| other.uid() != pod.uid());
        }
        self.report(pod, Verdict { reason: UNSCHEDULABLE, message, nominated_node }, post_filter).await;
    }

    /// Tells the user beside the next cycles, and makes the room that was found.
    async fn report(self: &Arc<Self>, pod: &Arc<PodInfo>, verdict: Verdict, post_filter: Option<PostFilterResult>) {
        let Ok(permit) = self.reports.clone().acquire_owned().await else { return };
        let (this, pod) = (self.clone(), pod.clone());
        self.tasks.spawn(async move {
            let told = this.tell(&pod.pod, &verdict, post_filter);
            let room_is_made = tokio::time::timeout(REQUEST_TIMEOUT, told).await.unwrap_or_else(|_| {
                tracing::warn!(pod = %pod.key(), "a pod could not be told in time why it waits");
                false
            });
            if !room_is_made {
                // A victim that stays is no event that would wake the pod.
                this.queue.on_event(ClusterEvents::ASSIGNED_POD_DELETE, |other| other.uid() == pod.uid());
            }
            drop(permit);
        });
    }

    /// Whether all the room that was to be made is being made.
    async fn tell(&self, pod: &Pod, verdict: &Verdict, post_filter: Option<PostFilterResult>) -> bool {
        let now = self.config.clock.now();
        failure::tell(&self.client, &self.events, pod, verdict, now).await;
        if let Some(PostFilterResult { nominated_node: Some(node), victims, .. }) = post_filter {
            let by = self.config.scheduler_name.as_str();
            let preemption = Preemption { preemptor: pod, node: &node, by, now };
            let mut all = true;
            for victim in victims {
                all &= failure::evict(&self.client, &self.events, &preemption, &victim).await;
            }
            return all;
        }
        true
    }
}

/// Which scheduler it is, in its events: its name and the machine's.
fn instance(config: &Config) -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    format!("{}-{}", config.scheduler_name, host.trim())
}

#[cfg(test)]
mod tests {
    use http::{Request, Response};
    use kube::client::Body;
    use serde_json::json;

    use super::*;
    use crate::testing::pod;

    /// A scheduler whose requests all fail.
    fn scheduler() -> Arc<Scheduler> {
        let broken =
            tower::service_fn(|_: Request<Body>| async { Response::builder().status(500).body(Body::empty()) });
        let (client, config) = (Client::new(broken, "default"), Config::default());
        let profile = Arc::new(default_profile(&Sources::detached()));
        let second = Duration::from_secs(1);
        let times = Times { initial_backoff: second, max_backoff: second, max_unschedulable: 300 * second };
        Arc::new(Scheduler {
            events: EventRecorder::spawn_series(client.clone(), "s", "s", CancellationToken::new()),
            cache: Arc::default(),
            queue: Arc::new(SchedulingQueue::new(times, profile.clone())),
            bindings: Arc::new(Semaphore::new(1)),
            reports: Arc::new(Semaphore::new(1)),
            tasks: TaskTracker::new(),
            client,
            profile,
            config,
        })
    }

    #[tokio::test]
    async fn a_pod_whose_victim_stays_is_tried_again() {
        let scheduler = scheduler();
        let (waiting, victim) = (pod("p", json!({})), pod("v", json!({"nodeName": "n"})));
        scheduler.queue.add_or_update(waiting.clone(), true);
        scheduler.queue.pop().await.expect("the pod");
        scheduler.queue.put_back_unschedulable(waiting.uid(), &["NodeResourcesFit"]);
        assert_eq!(scheduler.queue.counts().unschedulable, 1);
        let verdict = Verdict { reason: UNSCHEDULABLE, message: "no room".into(), nominated_node: Some("n".into()) };
        let made = PostFilterResult {
            nominated_node: Some("n".into()),
            keep_nomination: false,
            message: String::new(),
            victims: vec![victim],
        };
        scheduler.report(&waiting, verdict, Some(made)).await;
        scheduler.tasks.close();
        scheduler.tasks.wait().await;
        assert_eq!(scheduler.queue.counts().unschedulable, 0);
    }
}
