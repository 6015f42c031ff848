//! The kubelet's own API (upstream: `pkg/kubelet/server`): logs and sessions for the API server, statistics and health
//! for monitoring. Every request is authenticated and authorized; nothing is served without TLS.

mod auth;
mod handlers;
mod path;
mod reply;
mod sessions;
mod stats;

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use http::{Request, StatusCode};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use rustls::ServerConfig;
use rustls::server::WebPkiClientVerifier;
use rustls_pki_types::CertificateDer;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use crate::config::ServingTls;
use crate::context::Context;
use crate::pod_workers::PodWorkers;
use auth::{Auth, Refused};
use reply::Reply;

/// Connections at a time.
const CONNECTIONS_MAX: usize = 1000;
/// How long a handshake may take.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// Exec, attach and port-forward sessions at a time. They outlive their connection's place in [`CONNECTIONS_MAX`].
const SESSIONS_MAX: usize = 500;
/// How long the head of a request may take, which is also how long a connection may be idle.
const HEAD_TIMEOUT: Duration = Duration::from_secs(90);
/// How often an HTTP/2 client is asked whether it is still there.
const PING_INTERVAL: Duration = Duration::from_secs(30);
/// Pause after a connection could not be accepted.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The server. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Server {
    ctx: Arc<Context>,
    workers: PodWorkers,
    auth: Arc<Auth>,
    tls: Arc<ServerConfig>,
    sessions: Arc<Semaphore>,
}

impl Server {
    pub(crate) fn new(ctx: Arc<Context>, workers: PodWorkers, tls: ServingTls) -> anyhow::Result<Self> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let verifier = WebPkiClientVerifier::builder_with_provider(tls.client_ca, provider.clone())
            .allow_unauthenticated()
            .build()?;
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_client_cert_verifier(verifier)
            .with_cert_resolver(tls.certificate);
        // Upgrades need HTTP/1.1; the API server asks for it. Others may use both.
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let auth = Arc::new(Auth::new(ctx.client.clone(), ctx.settings.node_name.clone()));
        Ok(Self { ctx, workers, auth, tls: Arc::new(config), sessions: Arc::new(Semaphore::new(SESSIONS_MAX)) })
    }

    /// Serves until `shutdown`.
    pub(crate) async fn run(self, listener: TcpListener, shutdown: CancellationToken) {
        let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        loop {
            let accepted = tokio::select! {
                () = shutdown.cancelled() => return,
                accepted = listener.accept() => accepted,
            };
            let stream = match accepted {
                Ok((stream, _)) => stream,
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            let Ok(place) = places.clone().acquire_owned().await else {
                return;
            };
            let (server, ended) = (self.clone(), shutdown.clone());
            tokio::spawn(async move {
                tokio::select! {
                    () = ended.cancelled() => {}
                    () = server.serve(stream) => {}
                }
                drop(place);
            });
        }
    }

    async fn serve(self, stream: TcpStream) {
        let handshake = TlsAcceptor::from(self.tls.clone()).accept(stream);
        let stream = match tokio::time::timeout(HANDSHAKE_TIMEOUT, handshake).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => return tracing::debug!(%error, "a TLS handshake failed"),
            Err(_) => return tracing::debug!("a TLS handshake took too long"),
        };
        let certificates = stream.get_ref().1.peer_certificates();
        let certificate = certificates.and_then(|list| list.first()).map(|first| first.clone().into_owned());
        let certificate: Arc<Option<CertificateDer<'static>>> = Arc::new(certificate);
        let service = service_fn(move |request: Request<Incoming>| {
            let (server, certificate) = (self.clone(), certificate.clone());
            async move { Ok::<_, Infallible>(server.answer(certificate.as_ref().as_ref(), request).await) }
        });
        let mut builder = auto::Builder::new(TokioExecutor::new());
        builder.http1().timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT);
        builder.http2().timer(TokioTimer::new()).keep_alive_interval(PING_INTERVAL);
        if let Err(error) = builder.serve_connection_with_upgrades(TokioIo::new(stream), service).await {
            tracing::debug!(%error, "a connection ended");
        }
    }

    async fn answer(&self, certificate: Option<&CertificateDer<'static>>, request: Request<Incoming>) -> Reply {
        let path = request.uri().path().to_owned();
        match self.auth.check(certificate, request.headers(), request.method(), &path).await {
            Ok(_) => {}
            Err(Refused::Unauthorized) => {
                return reply::text(StatusCode::UNAUTHORIZED, "Unauthorized");
            }
            Err(Refused::Forbidden(text)) => return reply::text(StatusCode::FORBIDDEN, text),
            Err(Refused::Unknown(error)) => {
                let text = format!("Authorization error: {error}");
                return reply::text(StatusCode::INTERNAL_SERVER_ERROR, text);
            }
        }
        match path::route(&path) {
            Some(route) if !route.takes(request.method()) => {
                reply::text(StatusCode::METHOD_NOT_ALLOWED, "405: Method Not Allowed")
            }
            Some(route) => self.handle(route, request).await,
            None => reply::text(StatusCode::NOT_FOUND, "404 page not found\n"),
        }
    }
}
