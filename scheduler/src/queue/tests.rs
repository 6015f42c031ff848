//! The queue under a paused clock.

use super::*;
use crate::framework::{Filter, Plugin, PreEnqueue, Status};
use crate::testing::{pod, pod_with};
use serde_json::json;

struct Gate;

impl Plugin for Gate {
    fn name(&self) -> &'static str {
        "Gate"
    }
}

impl PreEnqueue for Gate {
    fn pre_enqueue(&self, pod: &skiff_client::types::Pod) -> Status {
        if pod.spec.scheduling_gates.is_empty() { Status::SUCCESS } else { Status::unresolvable("gated") }
    }
}

struct Fit;

impl Plugin for Fit {
    fn name(&self) -> &'static str {
        "Fit"
    }
    fn events(&self) -> ClusterEvents {
        ClusterEvents::NODE_ADD | ClusterEvents::ASSIGNED_POD_DELETE
    }
}

impl Filter for Fit {
    fn filter(&self, _: &crate::framework::CycleState, _: &PodInfo, _: &crate::cache::NodeInfo) -> Status {
        Status::SUCCESS
    }
}

fn queue() -> SchedulingQueue {
    let profile = Profile { pre_enqueue: vec![Arc::new(Gate)], filter: vec![Arc::new(Fit)], ..Profile::default() };
    let times = Times {
        initial_backoff: Duration::from_secs(1),
        max_backoff: Duration::from_secs(10),
        max_unschedulable: Duration::from_secs(300),
    };
    SchedulingQueue::new(times, Arc::new(profile))
}

async fn pop(queue: &SchedulingQueue) -> String {
    queue.pop().await.expect("open").info.pod.metadata.name.clone()
}

async fn nothing_for(queue: &SchedulingQueue, time: Duration) -> bool {
    tokio::time::timeout(time, queue.pop()).await.is_err()
}

#[tokio::test(start_paused = true)]
async fn important_pods_go_first_then_older_ones() {
    let queue = queue();
    queue.add_or_update(pod("low", json!({"priority": 1})), false);
    queue.add_or_update(pod("first", json!({"priority": 5})), false);
    queue.add_or_update(pod("second", json!({"priority": 5})), false);
    assert_eq!(
        (pop(&queue).await, pop(&queue).await, pop(&queue).await),
        ("first".into(), "second".into(), "low".into())
    );
}

#[tokio::test(start_paused = true)]
async fn an_unschedulable_pod_sleeps_until_an_event_that_helps() {
    let queue = queue();
    queue.add_or_update(pod("a", json!({})), false);
    pop(&queue).await;
    queue.put_back_unschedulable("a", &["Fit"]);
    tokio::time::advance(Duration::from_secs(60)).await;
    queue.on_event(ClusterEvents::NODE_LABEL, |_| true);
    queue.on_event(ClusterEvents::NODE_ADD, |_| false);
    assert!(nothing_for(&queue, Duration::from_secs(1)).await);
    queue.on_event(ClusterEvents::NODE_ADD, |_| true);
    assert_eq!(pop(&queue).await, "a", "its pause is long over");
}

#[tokio::test(start_paused = true)]
async fn pauses_double_with_attempts() {
    let queue = queue();
    queue.add_or_update(pod("a", json!({})), false);
    let mut pauses = Vec::new();
    for _ in 0..6 {
        let popped = Instant::now();
        pop(&queue).await;
        queue.put_back_after_error("a");
        pauses.push(popped.elapsed().as_secs());
    }
    assert_eq!(pauses, [0, 1, 2, 4, 8, 10]);
}

#[tokio::test(start_paused = true)]
async fn an_event_during_the_cycle_is_not_lost() {
    let queue = queue();
    queue.add_or_update(pod("a", json!({})), false);
    pop(&queue).await;
    queue.on_event(ClusterEvents::ASSIGNED_POD_DELETE, |_| true);
    queue.put_back_unschedulable("a", &["Fit"]);
    assert_eq!(queue.counts().backoff, 1);
    assert_eq!(pop(&queue).await, "a");
    // This time the event came before the pod was taken.
    queue.put_back_unschedulable("a", &["Fit"]);
    assert_eq!(queue.counts(), Counts { unschedulable: 1, ..Counts::default() });
    assert!(queue.inner.lock().events.is_empty(), "events are forgotten with the last pod in flight");
}

#[tokio::test(start_paused = true)]
async fn remembered_events_are_bounded_and_then_all_may_have_helped() {
    let queue = queue();
    queue.add_or_update(pod("a", json!({})), false);
    pop(&queue).await;
    for _ in 0..MAX_EVENTS + 1 {
        queue.on_event(ClusterEvents::NODE_LABEL, |_| true);
    }
    assert_eq!(queue.inner.lock().events.len(), MAX_EVENTS);
    queue.put_back_unschedulable("a", &["Fit"]);
    assert_eq!(queue.counts().backoff, 1);
}

#[tokio::test(start_paused = true)]
async fn a_gated_pod_stays_out_until_its_gates_are_gone() {
    let queue = queue();
    let gated = pod_with(json!({"metadata": {"name": "a"}, "spec": {"schedulingGates": [{"name": "x"}]}}));
    assert_eq!(queue.add_or_update(gated, false), Some(("Gate", "gated".into())));
    assert_eq!(queue.counts().gated, 1);
    assert!(nothing_for(&queue, Duration::from_secs(600)).await);
    assert_eq!(queue.add_or_update(pod("a", json!({})), true), None);
    assert_eq!(pop(&queue).await, "a");
}

#[tokio::test(start_paused = true)]
async fn a_long_sleep_ends_without_an_event() {
    let queue = queue();
    queue.add_or_update(pod("a", json!({})), false);
    pop(&queue).await;
    queue.put_back_unschedulable("a", &["Fit"]);
    tokio::time::advance(Duration::from_secs(299)).await;
    queue.flush_unschedulable();
    assert_eq!(queue.counts().unschedulable, 1);
    tokio::time::advance(Duration::from_secs(1)).await;
    queue.flush_unschedulable();
    assert_eq!(pop(&queue).await, "a");
}

#[tokio::test(start_paused = true)]
async fn removed_pods_are_never_handed_out() {
    let queue = queue();
    queue.add_or_update(pod("a", json!({})), false);
    queue.add_or_update(pod("b", json!({})), false);
    queue.remove("a");
    assert_eq!(pop(&queue).await, "b");
    queue.put_back_after_error("b");
    queue.remove("b");
    assert!(nothing_for(&queue, Duration::from_secs(60)).await);
    queue.put_back_unschedulable("b", &["Fit"]);
    assert_eq!(queue.counts(), Counts::default());
    queue.close();
    assert!(queue.pop().await.is_none());
}

#[tokio::test(start_paused = true)]
async fn a_pause_ends_early_when_nothing_else_is_to_be_tried() {
    let queue = queue();
    for name in ["failing", "unlucky", "fresh"] {
        queue.add_or_update(pod(name, json!({})), false);
    }
    assert_eq!(pop(&queue).await, "failing");
    queue.put_back_after_error("failing");
    assert_eq!(pop(&queue).await, "unlucky");
    queue.put_back_unschedulable("unlucky", &["Fit"]);
    queue.on_event(ClusterEvents::NODE_ADD, |_| true);
    assert_eq!(queue.counts().backoff, 2);
    let since = Instant::now();
    assert_eq!((pop(&queue).await, pop(&queue).await), ("fresh".into(), "unlucky".into()));
    assert!(since.elapsed().is_zero());
    assert_eq!(pop(&queue).await, "failing");
    assert_eq!(since.elapsed().as_secs(), 1, "an error's pause is kept");
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_nobody_refused_waits_for_anything() {
    let queue = queue();
    queue.add_or_update(pod("a", json!({})), false);
    pop(&queue).await;
    queue.put_back_unschedulable("a", &[]);
    assert_eq!(queue.counts().unschedulable, 1);
    queue.on_event(ClusterEvents::NODE_ADD, |_| true);
    assert_eq!(pop(&queue).await, "a");
}
