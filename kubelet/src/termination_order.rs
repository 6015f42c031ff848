//! In which order the containers of a pod are stopped: sidecars after all others, and among them the last one first
//! (upstream: `pkg/kubelet/kuberuntime/kuberuntime_termination_order.go`).

use std::collections::HashMap;
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use tokio::sync::watch;

use crate::actions::sidecars;
use crate::pod::PodExt;

/// Lets containers wait for those that go before them.
pub(crate) struct TerminationOrder {
    /// By container: true once it has stopped.
    stopped: HashMap<String, watch::Sender<bool>>,
    before: HashMap<String, Vec<String>>,
}

impl TerminationOrder {
    /// The order for the containers that run.
    pub(crate) fn new(pod: &Pod, running: &[&str]) -> Self {
        let stopped = running.iter().map(|name| ((*name).to_owned(), watch::Sender::new(false))).collect();
        let regular: Vec<String> = pod.regular_containers().iter().map(|c| c.name.clone()).collect();
        let mut before = HashMap::new();
        let mut later: Option<String> = None;
        let mut all: Vec<_> = sidecars(pod).collect();
        all.reverse();
        for sidecar in all {
            let mut names = regular.clone();
            names.extend(later.replace(sidecar.name.clone()));
            before.insert(sidecar.name.clone(), names);
        }
        Self { stopped, before }
    }

    /// Waits until everything that goes before `name` has stopped, or `limit` is over.
    pub(crate) async fn wait_for_turn(&self, name: &str, limit: Duration) {
        let turn = async {
            for other in self.before.get(name).into_iter().flatten() {
                if let Some(stopped) = self.stopped.get(other) {
                    // The sender lives as long as `self`.
                    let _ = stopped.subscribe().wait_for(|stopped| *stopped).await;
                }
            }
        };
        let _ = tokio::time::timeout(limit, turn).await;
    }

    /// Notes that a container has stopped.
    pub(crate) fn stopped(&self, name: &str) {
        if let Some(stopped) = self.stopped.get(name) {
            stopped.send_replace(true);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;
    use serde_json::json;

    #[tokio::test(start_paused = true)]
    async fn sidecars_go_last_and_in_reverse() {
        let pod: Pod =
            serde_json::from_value(json!({"spec": {"containers": [{"name": "a"}, {"name": "b"}], "initContainers": [
            {"name": "s1", "restartPolicy": "Always"}, {"name": "i"}, {"name": "s2", "restartPolicy": "Always"}]}}))
            .expect("a pod");
        let order = TerminationOrder::new(&pod, &["a", "s1", "s2"]);
        let hour = Duration::from_secs(3600);
        let free = |name: &'static str| order.wait_for_turn(name, hour).now_or_never().is_some();
        assert!(free("a"));
        assert!(!free("s2") && !free("s1"));
        order.stopped("a");
        assert!(free("s2") && !free("s1"));
        order.stopped("s2");
        assert!(free("s1"));
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_waits_longer_than_the_grace_period() {
        let pod: Pod = serde_json::from_value(json!({"spec": {"containers": [{"name": "a"}], "initContainers": [
            {"name": "s", "restartPolicy": "Always"}]}}))
        .expect("a pod");
        let order = TerminationOrder::new(&pod, &["a", "s"]);
        let start = tokio::time::Instant::now();
        order.wait_for_turn("s", Duration::from_secs(5)).await;
        assert_eq!(start.elapsed(), Duration::from_secs(5));
    }
}
