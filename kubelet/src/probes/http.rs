//! HTTP requests to containers, for probes and lifecycle hooks (upstream: `pkg/probe/http`). Certificates are not
//! checked: the container is reached by its address, and nothing secret is sent.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Uri, header};
use http_body_util::{BodyExt, Empty, Limited};
use hyper_util::rt::TokioIo;
use k8s_openapi::api::core::v1::{Container, HTTPGetAction};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use rustls::ClientConfig;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// Most bytes of an answer that are read.
const BODY_MAX: usize = 10 * 1024;
/// Redirects that are followed.
const REDIRECTS_MAX: usize = 10;

/// What a container answered.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: String,
}

/// A request to a container.
#[derive(Clone, Debug)]
pub(crate) struct Get {
    pub(crate) uri: Uri,
    pub(crate) headers: HeaderMap,
}

/// The number of a port, which may be given by a name of the container's ports.
pub(crate) fn resolve_port(port: &IntOrString, container: &Container) -> Result<u16, String> {
    let number = match port {
        IntOrString::Int(number) => i64::from(*number),
        IntOrString::String(name) => {
            let named = container.ports.iter().flatten().find(|p| p.name.as_deref() == Some(name.as_str()));
            match named {
                Some(port) => port.container_port.into(),
                None => name
                    .parse()
                    .map_err(|_| format!("couldn't find port: {name:?} in container {:?}", container.name))?,
            }
        }
    };
    match u16::try_from(number) {
        Ok(number) if number > 0 => Ok(number),
        _ => Err(format!("invalid port number: {number}")),
    }
}

impl Get {
    /// The request of an `httpGet` action. `agent` is the first part of the User-Agent.
    pub(crate) fn new(
        action: &HTTPGetAction,
        container: &Container,
        pod_ip: &str,
        agent: &str,
    ) -> Result<Self, String> {
        let scheme = action.scheme.as_deref().unwrap_or("HTTP").to_lowercase();
        let host = action.host.as_deref().filter(|host| !host.is_empty()).unwrap_or(pod_ip);
        let host = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
        let port = resolve_port(&action.port, container)?;
        let path = action.path.as_deref().unwrap_or_default();
        let slash = if path.starts_with('/') { "" } else { "/" };
        let text = format!("{scheme}://{host}:{port}{slash}{path}");
        let uri: Uri = text.parse().map_err(|error| format!("invalid URL {text:?}: {error}"))?;
        let mut headers = HeaderMap::new();
        for header in action.http_headers.iter().flatten() {
            let name = HeaderName::from_bytes(header.name.as_bytes());
            let value = HeaderValue::from_str(&header.value);
            let (Ok(name), Ok(value)) = (name, value) else {
                return Err(format!("invalid header {:?}", header.name));
            };
            headers.append(name, value);
        }
        if let Ok(version) = HeaderValue::from_str(&format!("kube-{agent}/1.36")) {
            headers.entry(header::USER_AGENT).or_insert(version);
        }
        headers.entry(header::ACCEPT).or_insert(HeaderValue::from_static("*/*"));
        Ok(Self { uri, headers })
    }

    /// Sends the request on a connection of its own.
    pub(crate) async fn send(&self, limit: Duration) -> Result<Answer, String> {
        let text = format!("Get \"{}\"", self.uri);
        match tokio::time::timeout(limit, self.send_now()).await {
            Ok(answer) => answer.map_err(|error| format!("{text}: {error}")),
            Err(_) => {
                Err(format!("{text}: context deadline exceeded (Client.Timeout exceeded while awaiting headers)"))
            }
        }
    }

    /// Sends it, and follows redirects as long as they stay on the same host.
    pub(crate) async fn send_following(&self, limit: Duration) -> Result<Answer, String> {
        let deadline = tokio::time::Instant::now() + limit;
        let mut request = self.clone();
        for _ in 0..=REDIRECTS_MAX {
            let left = deadline.saturating_duration_since(tokio::time::Instant::now());
            let answer = request.send(left).await?;
            let Some(next) = request.redirected(&answer) else {
                return Ok(answer);
            };
            request.uri = next;
        }
        Err(format!("Get \"{}\": stopped after {REDIRECTS_MAX} redirects", self.uri))
    }

    /// Where an answer sends us, if it does and that is on the same host.
    fn redirected(&self, answer: &Answer) -> Option<Uri> {
        if !matches!(answer.status, 301 | 302 | 303 | 307 | 308) {
            return None;
        }
        let location = answer.headers.get(header::LOCATION)?.to_str().ok()?;
        let next: Uri = location.parse().ok()?;
        if next.host().is_some_and(|host| Some(host) != self.uri.host()) {
            return None;
        }
        let mut parts = next.into_parts();
        if parts.authority.is_none() {
            parts.scheme = self.uri.scheme().cloned();
            parts.authority = self.uri.authority().cloned();
        }
        Uri::from_parts(parts).ok()
    }

    async fn send_now(&self) -> Result<Answer, String> {
        let secure = self.uri.scheme_str() == Some("https");
        let host = self.uri.host().unwrap_or_default().trim_matches(['[', ']']).to_owned();
        let port = self.uri.port_u16().unwrap_or(if secure { 443 } else { 80 });
        let stream = connect(&host, port).await?;
        if !secure {
            return self.exchange(stream).await;
        }
        let connector = TlsConnector::from(tls_config()?);
        let name = ServerName::try_from(host).map_err(|error| error.to_string())?;
        let stream = connector.connect(name, stream).await.map_err(|error| error.to_string())?;
        self.exchange(stream).await
    }

    async fn exchange<S>(&self, stream: S) -> Result<Answer, String>
    where
        S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
    {
        let text = |error: hyper::Error| error.to_string();
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(text)?;
        let connection = tokio::spawn(connection);
        let path = self.uri.path_and_query().map_or("/", |path| path.as_str());
        let mut request = Request::builder().method(Method::GET).uri(path);
        if let Some(headers) = request.headers_mut() {
            headers.clone_from(&self.headers);
            if let Some(Ok(host)) = self.uri.authority().map(|a| HeaderValue::from_str(a.as_str())) {
                headers.entry(header::HOST).or_insert(host);
            }
            headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        let request = request.body(Empty::<Bytes>::new()).map_err(|error| error.to_string())?;
        let answer = sender.send_request(request).await.map_err(text)?;
        let (head, body) = answer.into_parts();
        // What is beyond the limit is not needed.
        let body = Limited::new(body, BODY_MAX).collect().await.map(|body| body.to_bytes()).unwrap_or_default();
        connection.abort();
        Ok(Answer {
            status: head.status.as_u16(),
            headers: head.headers,
            body: String::from_utf8_lossy(&body).into_owned(),
        })
    }
}

/// Connects, with the error as Go writes it.
pub(crate) async fn connect(host: &str, port: u16) -> Result<TcpStream, String> {
    let address = if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
    let refused = |error: std::io::Error| {
        let what = match error.kind() {
            std::io::ErrorKind::ConnectionRefused => "connect: connection refused".to_owned(),
            std::io::ErrorKind::HostUnreachable => "connect: no route to host".to_owned(),
            std::io::ErrorKind::NetworkUnreachable => "connect: network is unreachable".to_owned(),
            _ => error.to_string(),
        };
        format!("dial tcp {address}: {what}")
    };
    TcpStream::connect((host, port)).await.map_err(refused)
}

fn tls_config() -> Result<Arc<ClientConfig>, String> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let algorithms = provider.signature_verification_algorithms;
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AnyCertificate { algorithms }))
        .with_no_client_auth();
    Ok(Arc::new(config))
}

/// Takes every certificate; the handshake itself is still checked.
#[derive(Debug)]
struct AnyCertificate {
    algorithms: rustls::crypto::WebPkiSupportedAlgorithms,
}

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &rustls::DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(message, certificate, signed, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &rustls::DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(message, certificate, signed, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    const LIMIT: Duration = Duration::from_secs(5);

    /// Answers one request per connection with the texts in turn; gives what was asked.
    async fn server(answers: Vec<&'static str>) -> (u16, tokio::task::JoinHandle<Vec<String>>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let task = tokio::spawn(async move {
            let mut asked = Vec::new();
            for answer in answers {
                let (mut stream, _) = listener.accept().await.expect("a connection");
                let mut buffer = vec![0; 4096];
                let length = stream.read(&mut buffer).await.expect("a request");
                asked.push(String::from_utf8_lossy(&buffer[..length]).into_owned());
                stream.write_all(answer.as_bytes()).await.expect("an answer");
            }
            asked
        });
        (port, task)
    }

    fn get(action: serde_json::Value) -> Result<Get, String> {
        let container = serde_json::from_value(json!({"name": "c", "ports": [{"name": "web", "containerPort": 8080}]}))
            .expect("a container");
        Get::new(&serde_json::from_value(action).expect("an action"), &container, "10.0.0.5", "probe")
    }

    #[test]
    fn actions_become_requests() {
        let uri = |action| get(action).map(|get| get.uri.to_string());
        assert_eq!(uri(json!({"port": 80})).as_deref(), Ok("http://10.0.0.5:80/"));
        assert_eq!(
            uri(json!({"port": "web", "path": "/a?b=c", "scheme": "HTTPS"})).as_deref(),
            Ok("https://10.0.0.5:8080/a?b=c")
        );
        assert_eq!(uri(json!({"port": "99", "host": "::1", "path": "x"})).as_deref(), Ok("http://[::1]:99/x"));
        assert!(uri(json!({"port": "none"})).expect_err("unknown").contains("couldn't find port"));
        assert!(uri(json!({"port": 0})).is_err());
        let headers =
            get(json!({"port": 1, "httpHeaders": [{"name": "X-A", "value": "b"}]})).expect("a request").headers;
        assert_eq!((headers["x-a"].as_bytes(), headers["user-agent"].as_bytes()), (&b"b"[..], &b"kube-probe/1.36"[..]));
    }

    #[tokio::test]
    async fn redirects_are_followed_on_the_same_host_only() {
        let there = "HTTP/1.1 302 Found\r\nlocation: /next\r\ncontent-length: 0\r\n\r\n";
        let done = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
        let (port, task) = server(vec![there, done]).await;
        let request = get(json!({"port": port, "host": "127.0.0.1"})).expect("a request");
        let answer = request.send_following(LIMIT).await.expect("an answer");
        assert_eq!((answer.status, answer.body.as_str()), (200, "ok"));
        let asked = task.await.expect("requests");
        assert!(asked[0].starts_with("GET / HTTP/1.1\r\n") && asked[1].starts_with("GET /next "), "{asked:?}");
        assert!(asked[0].contains(&format!("host: 127.0.0.1:{port}\r\n")), "{asked:?}");
        let away = "HTTP/1.1 302 Found\r\nlocation: http://example.com/\r\ncontent-length: 0\r\n\r\n";
        let (port, _) = server(vec![away]).await;
        let request = get(json!({"port": port, "host": "127.0.0.1"})).expect("a request");
        assert_eq!(request.send_following(LIMIT).await.expect("an answer").status, 302);
    }

    #[tokio::test]
    async fn failures_read_as_upstreams() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let request = get(json!({"port": port, "host": "127.0.0.1"})).expect("a request");
        let error = request.send(Duration::from_millis(50)).await.expect_err("no answer");
        assert!(error.contains("context deadline exceeded"), "{error}");
        drop(listener);
        let error = request.send(LIMIT).await.expect_err("refused");
        assert_eq!(
            error,
            format!("Get \"http://127.0.0.1:{port}/\": dial tcp 127.0.0.1:{port}: connect: connection refused")
        );
    }
}
