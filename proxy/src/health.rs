//! Whether the proxy does its work, and what it tells load balancers (upstream `pkg/proxy/healthcheck`).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::jiff::Timestamp;
use parking_lot::Mutex;
use serde_json::{Value, json};
use skiff_client::informer::Informer;
use skiff_client::types::Node;
use tokio::time::Instant;

use crate::endpoints::{Here, is_local};
use crate::model::{Key, State};

/// A change that is not written for this long makes the proxy unhealthy (upstream: twice the sync period of 30 s).
pub const UNHEALTHY_AFTER: Duration = Duration::from_secs(60);
/// Taint of a node that the cluster autoscaler is about to remove.
const TO_BE_DELETED: &str = "ToBeDeletedByClusterAutoscaler";

/// The proxy's state of health. Cloning gives another handle on the same one.
#[derive(Clone)]
pub struct Health {
    node: Informer<Node>,
    written: Arc<Mutex<Written>>,
}

#[derive(Default)]
struct Written {
    /// When the oldest change arrived that is not written yet.
    queued: Option<Instant>,
    updated: Option<Timestamp>,
}

impl Health {
    /// Healthy until a change waits for too long.
    pub fn new(node: Informer<Node>) -> Self {
        Self { node, written: Arc::default() }
    }

    /// There is something to write.
    pub fn queued(&self) {
        self.written.lock().queued.get_or_insert_with(Instant::now);
    }

    /// Everything is written.
    pub fn updated(&self) {
        *self.written.lock() = Written { queued: None, updated: Some(Timestamp::now()) };
    }

    /// Whether changes reach the kernel.
    pub fn is_healthy(&self) -> bool {
        self.written.lock().queued.is_none_or(|since| since.elapsed() < UNHEALTHY_AFTER)
    }

    /// Whether load balancers should send traffic to this node.
    fn is_node_eligible(&self) -> bool {
        let nodes = self.node.list();
        let leaving = |node: &Node| node.spec.taints.iter().any(|taint| taint.key == TO_BE_DELETED);
        nodes.first().is_some_and(|node| !node.metadata.is_deleting() && !leaving(node))
    }

    /// Answer to `/livez`: good or not, and the document.
    pub fn livez(&self) -> (bool, Value) {
        let healthy = self.is_healthy();
        let now = Timestamp::now();
        // A healthy proxy counts as up to date now, even if nothing had to be written for long.
        let updated = if healthy { Some(now) } else { self.written.lock().updated };
        let mut body = json!({"currentTime": now.to_string(), "healthy": healthy});
        body["lastUpdated"] = updated.unwrap_or(Timestamp::UNIX_EPOCH).to_string().into();
        if let Some(written) = self.written.lock().updated {
            body["status"] = json!({"IPv4": {"lastUpdated": written.to_string(), "healthy": healthy}});
        }
        (healthy, body)
    }

    /// Answer to `/healthz`: as `/livez`, and whether the node is to get traffic.
    pub fn healthz(&self) -> (bool, Value) {
        let (healthy, mut body) = self.livez();
        let eligible = self.is_node_eligible();
        body["nodeEligible"] = eligible.into();
        (healthy && eligible, body)
    }

    /// Answer on a Service's health check port.
    pub fn service(&self, service: &Key, local_endpoints: usize) -> (bool, Value) {
        let healthy = self.is_healthy();
        let body = json!({
            "service": {"namespace": service.namespace, "name": service.name},
            "localEndpoints": local_endpoints,
            "serviceProxyHealthy": healthy,
        });
        (healthy && local_endpoints > 0, body)
    }
}

/// The health check ports that Services ask for, with their Service and its ready endpoints on this node.
pub fn node_ports(state: &State, node_name: &str) -> BTreeMap<u16, (Key, usize)> {
    let here = Here { node: node_name, zone: &state.zone };
    let with_port = state.services.values().filter(|service| service.external_local);
    let counted = with_port.filter_map(|service| {
        let slices = state.slices.get(&service.key).into_iter().flat_map(BTreeMap::values);
        let ready =
            slices.flat_map(|slice| &slice.endpoints).filter(|endpoint| endpoint.ready && is_local(endpoint, here));
        let addresses: std::collections::BTreeSet<_> = ready.map(|endpoint| endpoint.address).collect();
        Some((service.health_check_node_port?, (service.key.clone(), addresses.len())))
    });
    counted.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(value: Value) -> Informer<Node> {
        let informer = Informer::detached();
        informer.apply(serde_json::from_value(value).expect("a node"));
        informer
    }

    #[tokio::test(start_paused = true)]
    async fn a_write_that_does_not_happen_is_unhealthy() {
        let health = Health::new(node(json!({"metadata": {"name": "n1"}})));
        assert!(health.healthz().0);
        health.queued();
        tokio::time::advance(UNHEALTHY_AFTER / 2).await;
        health.queued();
        assert!(health.is_healthy(), "not late yet");
        tokio::time::advance(UNHEALTHY_AFTER / 2).await;
        assert!(!health.livez().0 && !health.service(&Key { namespace: "a".into(), name: "b".into() }, 1).0);
        health.updated();
        assert!(health.livez().0);
    }

    #[test]
    fn a_node_that_goes_gets_no_traffic() {
        let tainted =
            json!({"metadata": {"name": "n1"}, "spec": {"taints": [{"key": TO_BE_DELETED, "effect": "NoSchedule"}]}});
        let health = Health::new(node(tainted));
        assert!(health.livez().0);
        let (good, body) = health.healthz();
        assert_eq!((good, &body["nodeEligible"]), (false, &json!(false)));
        assert!(!Health::new(Informer::detached()).healthz().0, "an unknown node");
    }

    #[test]
    fn load_balancers_hear_of_local_endpoints() {
        let health = Health::new(Informer::detached());
        let key = Key { namespace: "demo".into(), name: "web".into() };
        assert!(!health.service(&key, 0).0);
        let (good, body) = health.service(&key, 2);
        assert_eq!((good, &body["localEndpoints"], &body["service"]["name"]), (true, &json!(2), &json!("web")));
    }
}
