//! What Prometheus sees of the DNS server, under CoreDNS's names.

use std::sync::Arc;
use std::time::Duration;

use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use crate::answer::Transport;

/// Upper bounds in seconds: from a quarter of a millisecond, doubling (CoreDNS's).
const BUCKETS: [f64; 16] =
    [0.00025, 0.0005, 0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.128, 0.256, 0.512, 1.024, 2.048, 4.096, 8.192];

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct RequestLabels {
    proto: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ResponseLabels {
    proto: &'static str,
    rcode: &'static str,
}

/// The server's metrics. Cloning gives another handle on the same ones.
#[derive(Clone)]
pub struct Metrics {
    registry: Arc<Registry>,
    requests: Family<RequestLabels, Counter>,
    responses: Family<ResponseLabels, Counter>,
    seconds: Histogram,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("coredns_dns");
        let (requests, responses) = (Family::default(), Family::default());
        let seconds = Histogram::new(BUCKETS);
        registry.register("requests", "Queries", Family::clone(&requests));
        registry.register("responses", "Responses by code", Family::clone(&responses));
        registry.register("request_duration_seconds", "Time to answer a query", seconds.clone());
        Self { registry: Arc::new(registry), requests, responses, seconds }
    }
}

impl Metrics {
    /// A query was answered with these bytes; none if it was left without an answer.
    pub fn answered(&self, transport: Transport, response: Option<&[u8]>, took: Duration) {
        let proto = match transport {
            Transport::Udp => "udp",
            Transport::Tcp => "tcp",
        };
        self.requests.get_or_create(&RequestLabels { proto }).inc();
        if let Some(code) = response.and_then(|bytes| bytes.get(3)) {
            self.responses.get_or_create(&ResponseLabels { proto, rcode: code_name(code & 0x0f) }).inc();
        }
        self.seconds.observe(took.as_secs_f64());
    }

    /// The text that Prometheus reads.
    pub fn text(&self) -> String {
        let mut body = String::new();
        // Writing to a String cannot fail.
        let _ = text::encode(&mut body, &self.registry);
        body
    }
}

fn code_name(code: u8) -> &'static str {
    match code {
        0 => "NOERROR",
        1 => "FORMERR",
        2 => "SERVFAIL",
        3 => "NXDOMAIN",
        4 => "NOTIMP",
        5 => "REFUSED",
        _ => "OTHER",
    }
}
