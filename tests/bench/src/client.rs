//! The cheapest client that speaks TLS and HTTP/2: no pool, no retries, no copies, so that the server is what is measured.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::{Context, bail};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http2::{self, SendRequest};
use hyper::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::ClientConfig;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::kubeconfig::Access;

/// Flow control windows of one stream and of one connection, in bytes: client-go's, so that neither is the limit.
const STREAM_WINDOW_BYTES: u32 = 4 << 20;
const CONNECTION_WINDOW_BYTES: u32 = 1 << 30;

/// JSON, the encoding of nearly every request here.
pub const JSON: &str = "application/json";

/// The encoding that client-go asks for.
pub const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";

/// An API server that connections can be opened to.
#[derive(Clone)]
pub struct Endpoint {
    authority: Arc<str>,
    address: SocketAddr,
    name: ServerName<'static>,
    tls: Arc<ClientConfig>,
    authorization: Option<HeaderValue>,
}

impl Endpoint {
    /// The server of a kubeconfig, as its user.
    pub async fn new(access: &Access) -> anyhow::Result<Endpoint> {
        let authorization = access.token.as_ref().map(|token| HeaderValue::from_str(&format!("Bearer {token}")));
        Endpoint::build(access, access.client.as_ref(), authorization.transpose()?).await
    }

    /// The same server as nobody in particular.
    pub async fn anonymous(access: &Access) -> anyhow::Result<Endpoint> {
        Endpoint::build(access, None, None).await
    }

    async fn build(
        access: &Access,
        client: Option<&(Vec<u8>, Vec<u8>)>,
        authorization: Option<HeaderValue>,
    ) -> anyhow::Result<Endpoint> {
        let Some(authority) = access.server.strip_prefix("https://") else {
            bail!("the server {:?} is not an https URL", access.server);
        };
        let with_port = if authority.contains(':') { authority.to_owned() } else { format!("{authority}:443") };
        let address =
            tokio::net::lookup_host(&with_port).await.with_context(|| format!("cannot find {authority}"))?.next();
        let host = with_port.rsplit_once(':').map_or(authority, |(host, _)| host).to_owned();
        Ok(Endpoint {
            authority: authority.into(),
            address: address.with_context(|| format!("{authority} has no address"))?,
            name: ServerName::try_from(host).context("the server's name is not valid")?,
            tls: Arc::new(tls(&access.ca_pem, client)?),
            authorization,
        })
    }

    /// A new TCP, TLS and HTTP/2 connection.
    pub async fn connect(&self) -> anyhow::Result<Connection> {
        let tcp = TcpStream::connect(self.address).await?;
        tcp.set_nodelay(true)?;
        let tls = TlsConnector::from(self.tls.clone()).connect(self.name.clone(), tcp).await?;
        let (sender, connection) = http2::Builder::new(TokioExecutor::new())
            .initial_stream_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
            .handshake(TokioIo::new(tls))
            .await?;
        // Ends with the connection, whose errors every request on it reports.
        tokio::spawn(connection);
        Ok(Connection { sender, endpoint: self.clone() })
    }

    /// Several connections.
    pub async fn connect_many(&self, count: usize) -> anyhow::Result<Vec<Connection>> {
        let mut connections = Vec::with_capacity(count);
        for _ in 0..count {
            connections.push(self.connect().await?);
        }
        Ok(connections)
    }
}

fn tls(ca_pem: &[u8], client: Option<&(Vec<u8>, Vec<u8>)>) -> anyhow::Result<ClientConfig> {
    let mut roots = rustls::RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(ca_pem) {
        roots.add(certificate.context("the certificate authority is not PEM")?)?;
    }
    let builder = ClientConfig::builder().with_root_certificates(roots);
    let mut config = match client {
        Some((chain, key)) => {
            let chain = CertificateDer::pem_slice_iter(chain).collect::<Result<Vec<_>, _>>();
            let key = PrivateKeyDer::from_pem_slice(key).context("the client key is not PEM")?;
            builder.with_client_auth_cert(chain.context("the client certificate is not PEM")?, key)?
        }
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(config)
}

/// One connection; clones share it.
#[derive(Clone)]
pub struct Connection {
    sender: SendRequest<Full<Bytes>>,
    endpoint: Endpoint,
}

/// One request. The path begins with a slash and may have a query.
pub struct Call<'a> {
    /// The method.
    pub method: Method,
    /// Path and query.
    pub path: &'a str,
    /// Encoding that the answer shall have.
    pub accept: &'static str,
    /// Encoding of the body.
    pub content_type: &'static str,
    /// The body.
    pub body: Bytes,
}

impl<'a> Call<'a> {
    /// A request without a body.
    pub fn new(method: Method, path: &'a str) -> Call<'a> {
        Call { method, path, accept: JSON, content_type: JSON, body: Bytes::new() }
    }

    /// With a body in JSON.
    pub fn json(self, body: impl Into<Bytes>) -> Call<'a> {
        Call { body: body.into(), ..self }
    }
}

impl Connection {
    /// Sends a request and returns once the head of its answer is there.
    pub async fn open(&mut self, call: Call<'_>) -> anyhow::Result<Response<Incoming>> {
        let uri = format!("https://{}{}", self.endpoint.authority, call.path);
        let mut request = Request::builder().method(call.method).uri(uri).header(ACCEPT, call.accept);
        if !call.body.is_empty() {
            request = request.header(CONTENT_TYPE, call.content_type);
        }
        if let Some(authorization) = &self.endpoint.authorization {
            request = request.header(AUTHORIZATION, authorization);
        }
        self.sender.ready().await?;
        Ok(self.sender.send_request(request.body(Full::new(call.body))?).await?)
    }

    /// Sends a request and reads the whole answer.
    pub async fn send(&mut self, call: Call<'_>) -> anyhow::Result<(StatusCode, Bytes)> {
        let answer = self.open(call).await?;
        let status = answer.status();
        Ok((status, answer.into_body().collect().await?.to_bytes()))
    }

    /// Sends a request that must be answered with 200, drops the answer's body as it comes and returns its length.
    pub async fn drain(&mut self, call: Call<'_>) -> anyhow::Result<usize> {
        let what = format!("{} {}", call.method, call.path);
        let answer = self.open(call).await?;
        if answer.status() != StatusCode::OK {
            let (status, body) = (answer.status(), answer.into_body().collect().await?.to_bytes());
            bail!("{what} was answered with {status}: {}", shown(&body));
        }
        let (mut body, mut length) = (answer.into_body(), 0);
        while let Some(frame) = body.frame().await {
            length += frame?.data_ref().map_or(0, Bytes::len);
        }
        Ok(length)
    }

    /// Sends a request that must be answered with `expected`.
    pub async fn expect(&mut self, expected: StatusCode, call: Call<'_>) -> anyhow::Result<Bytes> {
        let what = format!("{} {}", call.method, call.path);
        let (status, body) = self.send(call).await.with_context(|| what.clone())?;
        if status != expected {
            bail!("{what} was answered with {status} and not {expected}: {}", shown(&body));
        }
        Ok(body)
    }
}

/// The beginning of a body, for messages.
fn shown(body: &Bytes) -> String {
    String::from_utf8_lossy(&body[..body.len().min(500)]).into_owned()
}
