//! An HTTPS server on loopback with an authority of its own, which remembers what it was sent.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use base64::Engine;
use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::{CancellationToken, DropGuard};

/// Answers a path and a body; `None` never answers.
pub(crate) type Handler = Arc<dyn Fn(&str, &Value) -> Option<(u16, Value)> + Send + Sync>;

/// Paths with queries, and headers, of what came.
type Heads = Arc<Mutex<Vec<(String, HeaderMap)>>>;

/// A running server; ends when dropped.
pub(crate) struct Server {
    address: SocketAddr,
    authority_pem: String,
    seen: Arc<Mutex<Vec<Value>>>,
    heads: Heads,
    _stop: DropGuard,
}

impl Server {
    /// Starts one.
    pub(crate) async fn start(handler: impl Fn(&str, &Value) -> Option<(u16, Value)> + Send + Sync + 'static) -> Self {
        let (tls, authority_pem) = certificates();
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("bound");
        let stop = CancellationToken::new();
        let (seen, heads) = (Arc::new(Mutex::new(Vec::new())), Heads::default());
        let kept = (seen.clone(), heads.clone());
        tokio::spawn(serve(listener, TlsAcceptor::from(tls), Arc::new(handler), kept, stop.clone()));
        Self { address, authority_pem, seen, heads, _stop: stop.drop_guard() }
    }

    /// `clientConfig` for a path.
    pub(crate) fn client_config(&self, path: &str) -> Value {
        let bundle = base64::engine::general_purpose::STANDARD.encode(&self.authority_pem);
        json!({"url": format!("https://{}{path}", self.address), "caBundle": bundle})
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its authority, as objects carry it.
    pub(crate) fn bundle(&self) -> Value {
        self.client_config("/")["caBundle"].clone()
    }

    /// Headers of the last request for a path.
    pub(crate) fn last_headers(&self, path_and_query: &str) -> HeaderMap {
        let heads = self.heads.lock().expect("lock");
        let last = heads.iter().rev().find(|(path, _)| path == path_and_query);
        last.unwrap_or_else(|| panic!("nobody asked for {path_and_query}")).1.clone()
    }

    /// The bodies that came, oldest first; forgotten thereafter.
    pub(crate) fn take_seen(&self) -> Vec<Value> {
        std::mem::take(&mut self.seen.lock().expect("lock"))
    }
}

fn certificates() -> (Arc<rustls::ServerConfig>, String) {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().expect("key")).expect("authority");
    let key = KeyPair::generate().expect("key");
    let leaf = CertificateParams::new(vec!["127.0.0.1".to_owned(), "backend.demo.svc".to_owned()]).expect("name");
    let leaf = leaf.signed_by(&key, &authority).expect("certificate");
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![leaf.der().clone()], key)
        .expect("certificate");
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    (Arc::new(config), authority.pem())
}

async fn serve(
    listener: TcpListener,
    tls: TlsAcceptor,
    handler: Handler,
    kept: (Arc<Mutex<Vec<Value>>>, Heads),
    stop: CancellationToken,
) {
    loop {
        let stream = tokio::select! {
            accepted = listener.accept() => accepted.expect("a connection").0,
            () = stop.cancelled() => return,
        };
        let (tls, handler, kept, stop) = (tls.clone(), handler.clone(), kept.clone(), stop.clone());
        tokio::spawn(async move {
            let Ok(stream) = tls.accept(stream).await else { return };
            let service = service_fn(move |request| answer(request, handler.clone(), kept.clone()));
            let builder = auto::Builder::new(TokioExecutor::new());
            let connection = builder.serve_connection(TokioIo::new(stream), service);
            tokio::select! {
                _ = connection => {}
                () = stop.cancelled() => {}
            }
        });
    }
}

async fn answer(
    request: Request<Incoming>,
    handler: Handler,
    (seen, heads): (Arc<Mutex<Vec<Value>>>, Heads),
) -> Result<Response<Full<Bytes>>, Infallible> {
    let path = request.uri().path().to_owned();
    let head = (request.uri().path_and_query().map_or("/", |p| p.as_str()).to_owned(), request.headers().clone());
    heads.lock().expect("lock").push(head);
    let body = request.into_body().collect().await.map(|body| body.to_bytes()).unwrap_or_default();
    let body = serde_json::from_slice::<Value>(&body).unwrap_or_default();
    let answered = handler(&path, &body);
    seen.lock().expect("lock").push(body);
    let Some((code, answer)) = answered else { return std::future::pending().await };
    let body = match answer {
        Value::String(text) => text,
        other => other.to_string(),
    };
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = StatusCode::from_u16(code).expect("a code");
    Ok(response)
}
