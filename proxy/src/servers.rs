//! The proxy's listening sockets: its own health and metrics, and one per health check port of a Service.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use http::{Request, Response, StatusCode, header};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::config::Config;
use crate::health::Health;
use crate::metrics::Metrics;
use crate::model::Key;

/// Connections that one socket serves at a time; more wait in the kernel's queue.
const MAX_CONNECTIONS: usize = 64;
/// How long a client may take to send its request.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// How long to wait after a failed accept (no file descriptors, say).
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

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
                tokio::spawn(serve(listener, page, self.health.clone(), stop));
                true
            }
            Err(error) => {
                warn!(%address, %error, "cannot listen; the health of Services or of the proxy is not told there");
                false
            }
        }
    }
}

async fn serve(listener: TcpListener, page: Page, health: Health, stop: CancellationToken) {
    let slots = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        // The semaphore is never closed.
        let Ok(slot) = slots.clone().acquire_owned().await else { return };
        let stream = tokio::select! {
            () = stop.cancelled() => return,
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => stream,
                Err(error) => {
                    warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            },
        };
        let (page, health, stop) = (page.clone(), health.clone(), stop.clone());
        tokio::spawn(async move {
            let service = service_fn(|request: Request<Incoming>| {
                let answer = answer(&page, &health, request.uri().path());
                async move { Ok::<_, Infallible>(answer) }
            });
            let connection = hyper::server::conn::http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(REQUEST_TIMEOUT)
                .serve_connection(TokioIo::new(stream), service);
            tokio::select! {
                () = stop.cancelled() => {}
                // A client that goes away is its own affair.
                _ = connection => {}
            }
            drop(slot);
        });
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
        (Page::Metrics(_), "/healthz") => plain(StatusCode::OK, "text/plain; charset=utf-8", "ok".into()),
        (Page::Metrics(_), "/proxyMode") => plain(StatusCode::OK, "text/plain; charset=utf-8", "nftables".into()),
        (Page::Metrics(metrics), "/metrics") => {
            plain(StatusCode::OK, "application/openmetrics-text; version=1.0.0; charset=utf-8", metrics.text())
        }
        _ => plain(StatusCode::NOT_FOUND, "text/plain; charset=utf-8", "404 page not found\n".into()),
    }
}

fn document((good, body): (bool, Value)) -> Response<String> {
    let code = if good { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    plain(code, "application/json", body.to_string())
}

fn plain(code: StatusCode, content_type: &'static str, body: String) -> Response<String> {
    let mut answer = Response::new(body);
    *answer.status_mut() = code;
    let headers = answer.headers_mut();
    headers.insert(header::CONTENT_TYPE, header::HeaderValue::from_static(content_type));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, header::HeaderValue::from_static("nosniff"));
    answer
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
