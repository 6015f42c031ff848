//! Calls with bounded time, bounded answers and connections that are kept.
//!
//! Follows `ClientManager` in `k8s.io/apiserver/pkg/util/webhook/client.go` and client-go's requests.

use std::io::ErrorKind;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, StatusCode, Uri, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::client::legacy;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use quick_cache::sync::Cache;
use rustls::crypto::CryptoProvider;
use skiff_apimachinery::json;
use skiff_apimachinery::value::Value;

use super::connector::{ConnectError, Connector, Route};
use super::resolver::ServiceResolver;
use super::trust::Bundle;
use super::{ClientConfig, Endpoint, go_errors};
use crate::proxy::transport::Address;

/// Webhooks whose connections are kept (upstream's cache of clients).
const CLIENTS: usize = 200;
/// Connections to one webhook that wait for the next call.
const IDLE_CONNECTIONS: usize = 25;
/// How long a connection waits for the next call. Shorter than Go's: the pod behind a Service may be another by then.
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);
/// Bytes of an answer. A batch of converted objects is larger than any one object.
const MAX_ANSWER: usize = 64 << 20;

type Http = legacy::Client<Connector, Full<Bytes>>;

/// Why a call failed, as client-go says it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct CallError(pub String);

/// Calls webhooks.
pub struct Client {
    resolver: Arc<dyn ServiceResolver>,
    provider: Arc<CryptoProvider>,
    clients: Cache<ClientConfig, Arc<Target>>,
}

/// One webhook and the connections to it.
struct Target {
    http: Http,
    url: String,
}

impl Client {
    /// Calls Services where this resolver finds them.
    pub fn new(resolver: Arc<dyn ServiceResolver>) -> Self {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        Self { resolver, provider, clients: Cache::new(CLIENTS) }
    }

    /// Posts JSON and returns the body of a successful answer. The webhook is told how long it has.
    pub async fn post(&self, config: &ClientConfig, body: Bytes, timeout: Duration) -> Result<Bytes, CallError> {
        let target = self.target(config)?;
        let separator = if target.url.contains('?') { '&' } else { '?' };
        let url = format!("{}{separator}timeout={}", target.url, go_errors::duration(timeout));
        let failed = |why: String| CallError(format!("Post {url:?}: {why}"));
        let request = Request::builder()
            .method(Method::POST)
            .uri(url.parse::<Uri>().map_err(|error| failed(error.to_string()))?)
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::ACCEPT, "application/json, */*")
            .header(header::USER_AGENT, "kube-apiserver-admission")
            .body(Full::new(body))
            .map_err(|error| failed(error.to_string()))?;
        let exchange = async {
            let answer = target.http.request(request).await.map_err(|error| failed(problem(&error)))?;
            let code = answer.status();
            let body = Limited::new(answer.into_body(), MAX_ANSWER).collect().await;
            let body = body.map_err(|error| CallError(error.to_string()))?.to_bytes();
            Ok((code, body))
        };
        let (code, body) = match tokio::time::timeout(timeout, exchange).await {
            Ok(exchanged) => exchanged?,
            Err(_) => return Err(failed("context deadline exceeded".to_owned())),
        };
        if code < StatusCode::OK || code > StatusCode::PARTIAL_CONTENT {
            let text = String::from_utf8_lossy(&body);
            return Err(CallError(go_errors::server_response(code.as_u16(), text.trim())));
        }
        if body.is_empty() {
            let media = "application/json";
            return Err(CallError(format!(
                "0-length response with status code: {} and content type: {media}",
                code.as_u16()
            )));
        }
        Ok(body)
    }

    /// The same, with the answer as an object of this kind, or of none that it says.
    pub async fn ask(
        &self,
        config: &ClientConfig,
        body: Bytes,
        timeout: Duration,
        kind: &str,
    ) -> Result<Value, CallError> {
        let body = self.post(config, body, timeout).await?;
        let unreadable = |why: String| CallError(format!("couldn't get version/kind; json parse error: {why}"));
        let answer = json::parse(&body).map_err(|error| unreadable(error.to_string()))?;
        if answer.as_object().is_none() {
            return Err(unreadable("json: cannot unmarshal into Go value of type struct".to_owned()));
        }
        let text = |field: &str| answer.str_at(&[field]).unwrap_or("");
        let (found, version) = (text("kind"), text("apiVersion"));
        if !found.is_empty() && found != kind {
            return Err(CallError(format!(
                "no kind {found:?} is registered for version {version:?} in scheme \"k8s.io/apiserver/pkg/util/webhook/client.go:71\""
            )));
        }
        Ok(answer)
    }

    fn target(&self, config: &ClientConfig) -> Result<Arc<Target>, CallError> {
        if let Some(target) = self.clients.get(config) {
            return Ok(target);
        }
        let target = Arc::new(self.make(config).map_err(CallError)?);
        self.clients.insert(config.clone(), target.clone());
        Ok(target)
    }

    fn make(&self, config: &ClientConfig) -> Result<Target, String> {
        let (route, server_name, url, h2) = match &config.endpoint {
            Endpoint::Url(url) => {
                let uri = url.parse::<Uri>().map_err(|error| format!("Unparsable URL: {error}"))?;
                let host = uri.host().unwrap_or("").trim_matches(['[', ']']).to_owned();
                let address = Address { host: host.clone(), port: uri.port_u16().unwrap_or(super::DEFAULT_PORT) };
                let local = is_local(&host);
                (Route::Direct(address), host, url.trim_end_matches('/').to_owned(), local)
            }
            Endpoint::Service { namespace, name, path, port } => {
                let host = format!("{name}.{namespace}.svc");
                let url = format!("https://{host}:{port}/{}", path.trim_start_matches('/'));
                let resolver = self.resolver.clone();
                let (namespace, name, port) = (namespace.clone(), name.clone(), *port);
                (Route::Service { namespace, name, port, resolver }, host, url, false)
            }
        };
        let connector = Connector { route, server_name, tls: self.tls(&config.ca_bundle, h2)? };
        let http = legacy::Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_max_idle_per_host(IDLE_CONNECTIONS)
            .pool_idle_timeout(IDLE_TIMEOUT)
            .build(connector);
        Ok(Target { http, url })
    }

    /// One connection of HTTP/2 would send everything to one of several endpoints, so that, as upstream, only webhooks
    /// on this machine are offered it.
    fn tls(&self, ca_bundle: &[u8], h2: bool) -> Result<Arc<rustls::ClientConfig>, String> {
        let trust = Bundle::new(ca_bundle, self.provider.clone())?;
        let mut tls = rustls::ClientConfig::builder_with_provider(self.provider.clone())
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(trust))
            .with_no_client_auth();
        tls.alpn_protocols = if h2 { vec![b"h2".to_vec(), b"http/1.1".to_vec()] } else { vec![b"http/1.1".to_vec()] };
        Ok(Arc::new(tls))
    }
}

fn is_local(host: &str) -> bool {
    host.eq_ignore_ascii_case("localhost") || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

/// The innermost reason of a failed request.
pub fn problem(error: &legacy::Error) -> String {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    let mut last = error.to_string();
    while let Some(error) = cause {
        if let Some(connect) = error.downcast_ref::<ConnectError>() {
            return connect.0.clone();
        }
        if let Some(hyper) = error.downcast_ref::<hyper::Error>()
            && (hyper.is_incomplete_message() || hyper.is_closed())
        {
            return "EOF".to_owned();
        }
        if let Some(io) = error.downcast_ref::<std::io::Error>() {
            match io.kind() {
                ErrorKind::UnexpectedEof => return "EOF".to_owned(),
                ErrorKind::ConnectionReset => return "read: connection reset by peer".to_owned(),
                _ => {}
            }
        }
        last = error.to_string();
        cause = error.source();
    }
    last
}
