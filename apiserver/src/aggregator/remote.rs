//! Another API server: connections to it, and how it is told whom a request is from.
//!
//! Requests carry the user in headers and this server's front-proxy certificate, which makes them believed. Follows
//! `k8s.io/client-go/transport` (`SetAuthProxyHeaders`).

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, Uri, header};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use hyper_util::client::legacy;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::ClientConfig;
use rustls::client::danger::ServerCertVerifier;

use super::service::Backend;
use crate::authentication::UserInfo;
use crate::proxy::FrontProxyIdentity;
use crate::proxy::transport::Anybody;
use crate::webhook::ServiceResolver;
use crate::webhook::client::problem;
use crate::webhook::connector::{Connector, Route};
use crate::webhook::trust::Bundle;

/// Connections that wait for the next request.
const IDLE_CONNECTIONS: usize = 25;
/// How long they wait.
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);
/// Bytes of a document that this server itself asks for.
const MAX_DOCUMENT: usize = 32 << 20;

const USER: HeaderName = HeaderName::from_static("x-remote-user");
const UID: HeaderName = HeaderName::from_static("x-remote-uid");
const GROUP: HeaderName = HeaderName::from_static("x-remote-group");
const EXTRA: &str = "x-remote-extra-";

type Http = legacy::Client<Connector, Body>;

/// See the module.
pub struct Remote {
    /// Over HTTP/2 or 1.1.
    http: Http,
    /// Over HTTP/1.1, whose connections can become something else.
    upgrading: Http,
    backend: Backend,
    resolver: Arc<dyn ServiceResolver>,
}

/// An answer to this server itself.
pub struct Document {
    /// Code.
    pub code: u16,
    /// `Content-Type`.
    pub media: String,
    /// Body.
    pub body: bytes::Bytes,
}

impl Remote {
    /// Connections to a Service, on which this server shows its front-proxy certificate.
    pub fn new(
        backend: &Backend,
        identity: Option<&FrontProxyIdentity>,
        resolver: Arc<dyn ServiceResolver>,
    ) -> Result<Self, String> {
        let client = |alpn: &[&[u8]]| {
            let mut tls = tls(backend, identity)?;
            tls.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
            let Backend { namespace, name, port, .. } = backend.clone();
            let server_name = format!("{name}.{namespace}.svc");
            let route = Route::Service { namespace, name, port, resolver: resolver.clone() };
            let http = legacy::Client::builder(TokioExecutor::new())
                .pool_timer(TokioTimer::new())
                .pool_max_idle_per_host(IDLE_CONNECTIONS)
                .pool_idle_timeout(IDLE_TIMEOUT)
                .build(Connector { route, server_name, tls: Arc::new(tls) });
            Ok::<_, String>(http)
        };
        let (http, upgrading) = (client(&[b"h2", b"http/1.1"])?, client(&[b"http/1.1"])?);
        Ok(Self { http, upgrading, backend: backend.clone(), resolver })
    }

    /// Where it is now, as `host:port`.
    pub fn address(&self) -> Result<String, String> {
        let Backend { namespace, name, port, .. } = &self.backend;
        let address = self.resolver.resolve(namespace, name, *port)?;
        Ok(format!("{}:{}", address.host, address.port))
    }

    /// Sends a request for a user. Headers by which a client might claim to be somebody are replaced.
    pub async fn send(
        &self,
        mut request: Request<Body>,
        path_and_query: &str,
        user: &UserInfo,
        upgrade: bool,
    ) -> Result<Response<Incoming>, String> {
        let Backend { namespace, name, port, .. } = &self.backend;
        let uri = format!("https://{name}.{namespace}.svc:{port}{path_and_query}");
        *request.uri_mut() = uri.parse::<Uri>().map_err(|error| error.to_string())?;
        *request.version_mut() = http::Version::HTTP_11;
        request.headers_mut().remove(header::HOST);
        identify(request.headers_mut(), user)?;
        let client = if upgrade { &self.upgrading } else { &self.http };
        client.request(request).await.map_err(|error| problem(&error))
    }

    /// Gets a document for this server itself.
    pub async fn get(&self, path: &str, accept: &str, user: &UserInfo, limit: Duration) -> Result<Document, String> {
        let mut request = Request::new(Body::empty());
        let accept = HeaderValue::from_str(accept).map_err(|error| error.to_string())?;
        request.headers_mut().insert(header::ACCEPT, accept);
        let exchange = async {
            let answer = self.send(request, path, user, false).await?;
            let (parts, body) = answer.into_parts();
            let body = Limited::new(body, MAX_DOCUMENT).collect().await.map_err(|error| error.to_string())?;
            let media = parts.headers.get(header::CONTENT_TYPE).and_then(|media| media.to_str().ok());
            let media = media.unwrap_or("").to_owned();
            Ok(Document { code: parts.status.as_u16(), media, body: body.to_bytes() })
        };
        match tokio::time::timeout(limit, exchange).await {
            Ok(answered) => answered,
            Err(_) => Err("context deadline exceeded (Client.Timeout exceeded while awaiting headers)".to_owned()),
        }
    }
}

fn tls(backend: &Backend, identity: Option<&FrontProxyIdentity>) -> Result<ClientConfig, String> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let trust: Arc<dyn ServerCertVerifier> = if backend.insecure {
        Arc::new(Anybody::new(provider.clone()))
    } else {
        Arc::new(Bundle::new(&backend.ca_bundle, provider.clone())?)
    };
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .dangerous()
        .with_custom_certificate_verifier(trust);
    match identity {
        Some(identity) => {
            let (chain, key) = identity.parts().map_err(|error| error.to_string())?;
            builder.with_client_auth_cert(chain, key).map_err(|error| error.to_string())
        }
        None => Ok(builder.with_no_client_auth()),
    }
}

/// Says whom a request is from. It fails where a header cannot carry that: half of it might be somebody else.
fn identify(headers: &mut HeaderMap, user: &UserInfo) -> Result<(), String> {
    let claims = headers.keys().filter(|name| [USER, UID, GROUP].contains(name) || name.as_str().starts_with(EXTRA));
    claims.cloned().collect::<Vec<_>>().into_iter().for_each(|name| drop(headers.remove(name)));
    let mut add = |name: HeaderName, text: &str| {
        // As Go says it.
        let invalid = format!("net/http: invalid header field value for {name:?}");
        headers.append(name, HeaderValue::from_bytes(text.as_bytes()).map_err(|_| invalid)?);
        Ok::<_, String>(())
    };
    add(USER, &user.name)?;
    if !user.uid.is_empty() {
        add(UID, &user.uid)?;
    }
    for group in &user.groups {
        add(GROUP, group)?;
    }
    for (key, values) in &user.extra {
        let name = HeaderName::try_from(format!("{EXTRA}{}", escaped(key))).map_err(|error| error.to_string())?;
        for value in values {
            add(name.clone(), value)?;
        }
    }
    Ok(())
}

/// A key as a header's name can carry it (`headerKeyEscape`): what a name may not have, and the percent sign, as `%XX`.
fn escaped(key: &str) -> String {
    let mut out = String::with_capacity(key.len());
    for byte in key.bytes() {
        match byte {
            b'!' | b'#' | b'$' | b'&' | b'\'' | b'*' | b'+' | b'-' | b'.' | b'^' | b'_' | b'`' | b'|' | b'~' => {
                out.push(char::from(byte));
            }
            byte if byte.is_ascii_alphanumeric() => out.push(char::from(byte)),
            byte => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_told_in_headers_and_cannot_be_claimed() {
        let mut headers = HeaderMap::new();
        headers.insert(USER, HeaderValue::from_static("root"));
        headers.insert("x-remote-extra-scopes", HeaderValue::from_static("all"));
        let user = UserInfo {
            name: "jane".into(),
            uid: "u1".into(),
            groups: vec!["a".into(), "b".into()],
            extra: [("example.com/key".to_owned(), vec!["v".to_owned()])].into(),
        };
        identify(&mut headers, &user).expect("a plain user");
        let all = |name: &str| headers.get_all(name).iter().filter_map(|v| v.to_str().ok()).collect::<Vec<_>>();
        assert_eq!(all("x-remote-user"), ["jane"]);
        assert_eq!(all("x-remote-uid"), ["u1"]);
        assert_eq!(all("x-remote-group"), ["a", "b"]);
        assert_eq!(all("x-remote-extra-example.com%2fkey"), ["v"]);
        assert!(all("x-remote-extra-scopes").is_empty());
    }

    #[test]
    fn half_a_user_is_nobody() {
        let split = UserInfo { name: "jane".into(), groups: vec!["a\nb".into()], ..UserInfo::default() };
        assert!(identify(&mut HeaderMap::new(), &split).is_err());
    }
}
