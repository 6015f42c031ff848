//! The proxy's listening sockets: its own health and metrics, and one per health check port of a Service.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use http::{Response, StatusCode};
use serde_json::Value;
use skiff_component_base::pages;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::config::Config;
use crate::health::Health;
use crate::metrics::Metrics;
use crate::model::Key;

/// What a socket serves.
#[derive(Clone)]
enum Page {
    /// `/healthz` and `/livez`.
    Health,
    /// `/metrics`, `/healthz` and `/proxyMode`.
    Metrics(Metrics),
    /// Whether a Service has endpoints here, whatever the path.
    Service(Key, Arc<AtomicUsize>),
}

/// A Service's open health check port.
struct ServiceServer {
    service: Key,
    local_endpoints: Arc<AtomicUsize>,
    stop: CancellationToken,
}

/// All sockets of the proxy.
pub struct Servers {
    config: Config,
    health: Health,
    metrics: Metrics,
    shutdown: CancellationToken,
    services: BTreeMap<u16, ServiceServer>,
}

impl Servers {
    /// No socket is open yet.
    pub fn new(config: &Config, health: Health, metrics: Metrics, shutdown: CancellationToken) -> Self {
        Self { config: config.clone(), health, metrics, shutdown, services: BTreeMap::new() }
    }

    /// Opens the proxy's own sockets. One that cannot be opened is reported and left out: Services work without it.
    pub async fn start(&mut self) {
        if let Some(address) = self.config.healthz_address {
            self.open(address, Page::Health, self.shutdown.clone()).await;
        }
        if let Some(address) = self.config.metrics_address {
            self.open(address, Page::Metrics(self.metrics.clone()), self.shutdown.clone()).await;
        }
    }

    /// Opens and closes health check ports, so that exactly these are open, and sets what they report.
    pub async fn follow(&mut self, wanted: BTreeMap<u16, (Key, usize)>) {
        self.services.retain(|port, server| {
            let keep = wanted.get(port).is_some_and(|(service, _)| *service == server.service);
            if !keep {
                server.stop.cancel();
            }
            keep
        });
        for (port, (service, count)) in wanted {
            if let Some(server) = self.services.get(&port) {
                server.local_endpoints.store(count, Ordering::Relaxed);
                continue;
            }
            let local_endpoints = Arc::new(AtomicUsize::new(count));
            let stop = self.shutdown.child_token();
            let page = Page::Service(service.clone(), local_endpoints.clone());
            let address = SocketAddr::from((Ipv4Addr::UNSPECIFIED, port));
            if self.open(address, page, stop.clone()).await {
                self.services.insert(port, ServiceServer { service, local_endpoints, stop });
            }
        }
    }

    async fn open(&self, address: SocketAddr, page: Page, stop: CancellationToken) -> bool {
        match TcpListener::bind(address).await {
            Ok(listener) => {
                info!(%address, "listening");
                let health = self.health.clone();
                tokio::spawn(pages::serve(listener, move |path| answer(&page, &health, path), stop));
                true
            }
            Err(error) => {
                warn!(%address, %error, "cannot listen; the health of Services or of the proxy is not told there");
                false
            }
        }
    }
}

fn answer(page: &Page, health: &Health, path: &str) -> Response<String> {
    match (page, path) {
        (Page::Service(service, local_endpoints), _) => {
            let count = local_endpoints.load(Ordering::Relaxed);
            let mut answer = document(health.service(service, count));
            answer.headers_mut().insert("x-load-balancing-endpoint-weight", count.into());
            answer
        }
        (Page::Health, "/healthz") => document(health.healthz()),
        (Page::Health, "/livez") => document(health.livez()),
        (Page::Metrics(_), "/healthz") => pages::text(StatusCode::OK, "ok"),
        (Page::Metrics(_), "/proxyMode") => pages::text(StatusCode::OK, "nftables"),
        (Page::Metrics(metrics), "/metrics") => pages::metrics(metrics.text()),
        _ => pages::not_found(),
    }
}

fn document((good, body): (bool, Value)) -> Response<String> {
    let code = if good { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    pages::json(code, body.to_string())
}

#[cfg(test)]
mod tests {
    use skiff_client::informer::Informer;

    use super::*;

    #[test]
    fn pages_answer_as_upstreams() {
        let health = Health::new(Informer::detached());
        let service = Page::Service(Key { namespace: "demo".into(), name: "web".into() }, Arc::new(3.into()));
        let good = answer(&service, &health, "/any");
        assert_eq!((good.status(), &good.headers()["x-load-balancing-endpoint-weight"]), (StatusCode::OK, &3.into()));
        assert_eq!(answer(&Page::Health, &health, "/livez").status(), StatusCode::OK);
        assert_eq!(answer(&Page::Health, &health, "/").status(), StatusCode::NOT_FOUND);
        let metrics = Page::Metrics(Metrics::default());
        assert_eq!(answer(&metrics, &health, "/proxyMode").body(), "nftables");
        assert!(answer(&metrics, &health, "/metrics").body().contains("kubeproxy_"));
    }
}
