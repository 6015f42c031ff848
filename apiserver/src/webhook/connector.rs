//! Connections to webhooks: TCP to where the host or Service is, TLS under the name that the certificate must have.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::Uri;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::TokioIo;
use rustls_pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::go_errors;
use super::resolver::ServiceResolver;
use super::trust::certificate_problem;
use crate::proxy::transport::Address;

/// Time to connect (Go's dialer for client-go).
const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);
/// Time to shake hands (Go's transport).
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// Where one client connects to.
#[derive(Clone)]
pub enum Route {
    /// To this host.
    Direct(Address),
    /// To wherever the Service is at the time.
    Service {
        /// Namespace of the Service.
        namespace: String,
        /// Its name.
        name: String,
        /// Its port.
        port: u16,
        /// Who knows where it is.
        resolver: Arc<dyn ServiceResolver>,
    },
}

/// Opens connections for one client.
#[derive(Clone)]
pub struct Connector {
    /// Where to.
    pub route: Route,
    /// Name that the server's certificate must have.
    pub server_name: String,
    /// Whom to trust, what to offer.
    pub tls: Arc<rustls::ClientConfig>,
}

/// Why there is no connection, in Go's words.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct ConnectError(pub String);

impl Connector {
    async fn connect(self) -> Result<Stream, ConnectError> {
        let address = match &self.route {
            Route::Direct(address) => address.clone(),
            Route::Service { namespace, name, port, resolver } => {
                resolver.resolve(namespace, name, *port).map_err(ConnectError)?
            }
        };
        let shown = shown(&address);
        let connecting = TcpStream::connect((address.host.as_str(), address.port));
        let tcp = match tokio::time::timeout(CONNECT_TIMEOUT, connecting).await {
            Ok(connected) => connected.map_err(|error| ConnectError(go_errors::dial(&shown, &error)))?,
            Err(_) => return Err(ConnectError(format!("dial tcp {shown}: i/o timeout"))),
        };
        let _ = tcp.set_nodelay(true);
        let name = ServerName::try_from(self.server_name.clone()).map_err(|error| ConnectError(error.to_string()))?;
        let handshake = TlsConnector::from(self.tls).connect(name, tcp);
        match tokio::time::timeout(HANDSHAKE_TIMEOUT, handshake).await {
            Ok(Ok(stream)) => Ok(Stream(TokioIo::new(stream))),
            Ok(Err(error)) => Err(ConnectError(handshake_problem(&error, &self.server_name))),
            Err(_) => Err(ConnectError("net/http: TLS handshake timeout".to_owned())),
        }
    }
}

fn shown(address: &Address) -> String {
    let Address { host, port } = address;
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

fn handshake_problem(error: &io::Error, host: &str) -> String {
    let tls = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    match tls {
        Some(rustls::Error::InvalidCertificate(problem)) => certificate_problem(problem, host),
        Some(rustls::Error::InvalidMessage(_)) => "tls: first record does not look like a TLS handshake".to_owned(),
        Some(other) => format!("remote error: tls: {other}"),
        None if error.kind() == io::ErrorKind::UnexpectedEof => "EOF".to_owned(),
        None if error.kind() == io::ErrorKind::ConnectionReset => "read: connection reset by peer".to_owned(),
        None => error.to_string(),
    }
}

impl tower::Service<Uri> for Connector {
    type Response = Stream;
    type Error = ConnectError;
    type Future = Pin<Box<dyn Future<Output = Result<Stream, ConnectError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), ConnectError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        Box::pin(self.clone().connect())
    }
}

/// A connection to a webhook.
pub struct Stream(TokioIo<TlsStream<TcpStream>>);

impl Connection for Stream {
    fn connected(&self) -> Connected {
        let (_, session) = self.0.inner().get_ref();
        let connected = Connected::new();
        if session.alpn_protocol() == Some(b"h2") { connected.negotiated_h2() } else { connected }
    }
}

impl Read for Stream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl Write for Stream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}
