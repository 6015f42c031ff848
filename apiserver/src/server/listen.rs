//! TCP, TLS and HTTP: accepting connections and serving them, within bounds.
//!
//! Window sizes, stream limits and timeouts follow upstream's `k8s.io/apiserver/pkg/server/secure_serving.go`.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use axum::body::Body;
use http::Request;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulShutdown;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::ApiServer;
use super::unread::Lingering;
use crate::authentication::PeerCertificates;

/// Connections at the same time; further ones wait in the listen queue.
const MAX_CONNECTIONS: usize = 16 * 1024;
/// Time for a TLS handshake.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// Time for the headers of a request.
const HEADER_TIMEOUT: Duration = Duration::from_secs(32);
/// Bytes of a request's headers.
const MAX_HEADER_BYTES: u32 = 1024 * 1024;
/// HTTP/2 streams of one connection: an informer-heavy client keeps one per watch.
const MAX_STREAMS: u32 = 1000;
/// HTTP/2 window of one stream.
const STREAM_WINDOW: u32 = 256 * 1024;
/// HTTP/2 window of one connection.
const CONNECTION_WINDOW: u32 = 25 * 1024 * 1024;
/// Pings on HTTP/2 connections, to notice peers that are gone.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(30);
/// Time for the answer to a ping.
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(15);
/// How long connections wait at the start for the first list of every resource. Health must be told even if a store
/// does not answer.
const KNOWN_WITHIN: Duration = Duration::from_secs(10);
/// Time that running requests get at shutdown.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(10);
/// Pause after accept failed, e.g. for want of file descriptors.
const ACCEPT_BACKOFF: Duration = Duration::from_millis(100);

/// A bound socket and the TLS configuration that new connections get. Swapping the configuration rotates certificates
/// live.
pub struct Listener {
    /// The socket.
    pub tcp: TcpListener,
    /// The certificates; client certificates are asked for and optional.
    pub tls: Arc<ArcSwap<rustls::ServerConfig>>,
}

impl ApiServer {
    /// Serves until shutdown, then lets running requests finish for a while.
    pub async fn run(self: Arc<Self>, listeners: Vec<Listener>) -> anyhow::Result<()> {
        // Webhooks, policies and quotas that are not known yet would not be asked.
        let known = tokio::time::timeout(KNOWN_WITHIN, self.ready());
        if let Some(Err(_)) = self.shutdown.run_until_cancelled(known).await {
            tracing::warn!("the store has not told all objects within {KNOWN_WITHIN:?}; serving what is known");
        }
        let connections = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        let graceful = Arc::new(GracefulShutdown::new());
        let mut accepting = tokio::task::JoinSet::new();
        for listener in listeners {
            accepting.spawn(self.clone().accept(listener, connections.clone(), graceful.clone()));
        }
        self.shutdown.cancelled().await;
        self.health.shutting_down.store(true, std::sync::atomic::Ordering::Relaxed);
        accepting.shutdown().await;
        // All accept loops are gone, and with them all other handles.
        if let Some(graceful) = Arc::into_inner(graceful)
            && tokio::time::timeout(SHUTDOWN_GRACE, graceful.shutdown()).await.is_err()
        {
            tracing::warn!("requests were still running {SHUTDOWN_GRACE:?} after shutdown began; they are cut off");
        }
        if let Some(audit) = &self.audit {
            audit.flush().await;
        }
        Ok(())
    }

    async fn accept(self: Arc<Self>, listener: Listener, connections: Arc<Semaphore>, graceful: Arc<GracefulShutdown>) {
        loop {
            let Ok(permit) = connections.clone().acquire_owned().await else {
                return;
            };
            match listener.tcp.accept().await {
                Ok((stream, peer)) => {
                    let acceptor = TlsAcceptor::from(listener.tls.load_full());
                    let watcher = graceful.watcher();
                    tokio::spawn(self.clone().connection(stream, peer, acceptor, watcher, permit));
                }
                Err(error) => {
                    tracing::warn!(%error, "accepting a connection failed");
                    tokio::time::sleep(ACCEPT_BACKOFF).await;
                }
            }
        }
    }

    async fn connection(
        self: Arc<Self>,
        stream: TcpStream,
        peer: SocketAddr,
        acceptor: TlsAcceptor,
        graceful: hyper_util::server::graceful::Watcher,
        _permit: OwnedSemaphorePermit,
    ) {
        let _ = stream.set_nodelay(true);
        let stream = match tokio::time::timeout(HANDSHAKE_TIMEOUT, acceptor.accept(stream)).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => return tracing::debug!(%peer, %error, "TLS handshake failed"),
            Err(_) => return tracing::debug!(%peer, "TLS handshake timed out"),
        };
        let certificates = peer_certificates(&stream);
        let server = self.clone();
        let service = service_fn(move |request: Request<Incoming>| {
            let server = server.clone();
            let certificates = certificates.clone();
            // Boxed, because a stream keeps the room of its handler as long as its body lasts: of ten thousand watches,
            // a few kilobytes each.
            Box::pin(async move {
                let mut request = request.map(|body| Body::new(Lingering::new(body)));
                request.extensions_mut().insert(certificates);
                request.extensions_mut().insert(peer);
                Ok::<_, std::convert::Infallible>(server.handle(request).await)
            })
        });
        let builder = builder();
        let connection = builder.serve_connection_with_upgrades(TokioIo::new(stream), service).into_owned();
        if let Err(error) = graceful.watch(connection).await {
            tracing::debug!(%peer, %error, "connection ended with an error");
        }
    }
}

fn builder() -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .max_buf_size(MAX_HEADER_BYTES as usize);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(MAX_STREAMS)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_header_list_size(MAX_HEADER_BYTES)
        .keep_alive_interval(KEEP_ALIVE_INTERVAL)
        .keep_alive_timeout(KEEP_ALIVE_TIMEOUT);
    builder
}

fn peer_certificates(stream: &TlsStream<TcpStream>) -> PeerCertificates {
    let (_, connection) = stream.get_ref();
    let chain = connection.peer_certificates().unwrap_or(&[]);
    PeerCertificates(Arc::new(chain.iter().map(|certificate| certificate.to_vec()).collect()))
}
