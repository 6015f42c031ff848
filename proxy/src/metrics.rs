//! What Prometheus sees of the proxy, under upstream's names (`pkg/proxy/metrics`).

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use prometheus_client::encoding::text;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

/// Upper bounds in seconds: from one millisecond, doubling.
const BUCKETS: [f64; 15] =
    [0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.128, 0.256, 0.512, 1.024, 2.048, 4.096, 8.192, 16.384];

/// The proxy's metrics. Cloning gives another handle on the same ones.
#[derive(Clone)]
pub struct Metrics {
    shared: Arc<Shared>,
}

struct Shared {
    registry: Registry,
    sync_seconds: Histogram,
    programming_seconds: Histogram,
    last_sync: Gauge<f64, AtomicU64>,
    failures: Counter,
    services: Gauge,
    services_with_endpoints: Gauge,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("kubeproxy");
        let shared = Shared {
            sync_seconds: Histogram::new(BUCKETS),
            programming_seconds: Histogram::new(BUCKETS),
            last_sync: Gauge::default(),
            failures: Counter::default(),
            services: Gauge::default(),
            services_with_endpoints: Gauge::default(),
            registry: Registry::default(),
        };
        let seconds = "sync_proxy_rules_duration_seconds";
        registry.register(seconds, "Time to write the rules", shared.sync_seconds.clone());
        let programming = "network_programming_duration_seconds";
        registry.register(
            programming,
            "Time from a change seen to its rules written",
            shared.programming_seconds.clone(),
        );
        let last = "sync_proxy_rules_last_timestamp_seconds";
        registry.register(last, "When rules were last written", shared.last_sync.clone());
        let failures = "sync_proxy_rules_nftables_sync_failures";
        registry.register(failures, "Writes that failed", shared.failures.clone());
        registry.register("services", "Services with a cluster IP", shared.services.clone());
        let with_endpoints = "services_with_endpoints";
        registry.register(with_endpoints, "Services with EndpointSlices", shared.services_with_endpoints.clone());
        Self { shared: Arc::new(Shared { registry, ..shared }) }
    }
}

impl Metrics {
    /// Rules were written in `took`; the oldest change in them is `waited` old.
    pub fn written(&self, took: Duration, waited: Option<Duration>) {
        self.shared.sync_seconds.observe(took.as_secs_f64());
        if let Some(waited) = waited {
            self.shared.programming_seconds.observe(waited.as_secs_f64());
        }
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        self.shared.last_sync.set(now.as_secs_f64());
    }

    /// A write failed.
    pub fn failed(&self) {
        self.shared.failures.inc();
    }

    /// How much is known.
    pub fn known(&self, services: usize, services_with_endpoints: usize) {
        // Counts fit: each is an object in memory.
        self.shared.services.set(services as i64);
        self.shared.services_with_endpoints.set(services_with_endpoints as i64);
    }

    /// The text that Prometheus reads.
    pub fn text(&self) -> String {
        let mut body = String::new();
        // Writing to a String cannot fail.
        let _ = text::encode(&mut body, &self.shared.registry);
        body
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_upstreams() {
        let metrics = Metrics::default();
        metrics.written(Duration::from_millis(3), Some(Duration::from_millis(9)));
        metrics.failed();
        let text = metrics.text();
        for line in [
            "kubeproxy_sync_proxy_rules_duration_seconds_bucket{le=\"0.004\"} 1",
            "kubeproxy_network_programming_duration_seconds_bucket{le=\"0.016\"} 1",
            "kubeproxy_sync_proxy_rules_nftables_sync_failures_total 1",
        ] {
            assert!(text.contains(line), "{line} in {text}");
        }
    }
}
