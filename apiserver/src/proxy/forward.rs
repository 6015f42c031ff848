//! Sends a request on and its answer back, upgraded connections included.

use std::sync::Arc;

use axum::body::Body;
use http::header::{self, HeaderName};
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use skiff_apimachinery::status::{self, Status};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};

use super::frames;
use super::transport::{self, Address};
use crate::authentication::bearer;

/// Bytes in flight each way on an upgraded connection.
const COPY_BUFFER: usize = 64 * 1024;
/// Bytes of a refusal's text that are passed on.
const MAX_ERROR_TEXT: usize = 50 * 1024;

/// Headers that belong to one connection and are not passed on.
const HOP_BY_HOP: [HeaderName; 5] = [
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    header::TE,
    header::TRAILER,
    HeaderName::from_static("keep-alive"),
];

/// Where a request goes and how.
pub struct Destination {
    /// Host and port.
    pub address: Address,
    /// TLS, if any.
    pub tls: Option<Arc<rustls::ClientConfig>>,
    /// Path and query.
    pub path_and_query: String,
}

/// Forwards. The client's credentials stay here.
pub async fn forward(request: Request<Body>, destination: Destination) -> Result<Response<Body>, Status> {
    let (mut outgoing, client) = Outgoing::of(request).into_parts();
    let uri = destination
        .path_and_query
        .parse::<Uri>()
        .map_err(|error| status::bad_request(format!("unable to forward to this path: {error}")))?;
    *outgoing.uri_mut() = uri;
    let host = match &destination.tls {
        _ if destination.address.host.contains(':') => {
            format!("[{}]:{}", destination.address.host, destination.address.port)
        }
        _ => format!("{}:{}", destination.address.host, destination.address.port),
    };
    if let Ok(host) = HeaderValue::from_str(&host) {
        outgoing.headers_mut().insert(header::HOST, host);
    }
    let received = transport::send(&destination.address, destination.tls, outgoing)
        .await
        .map_err(|error| unreachable_error(&error))?;
    Ok(answer(received, client))
}

/// A client's request as it is sent on, and what its connection becomes if the answer is an upgrade.
pub struct Outgoing {
    request: Request<Body>,
    client: Option<OnUpgrade>,
}

impl Outgoing {
    /// Of a client's request. The client's credentials stay here.
    pub fn of(mut request: Request<Body>) -> Self {
        let upgrading = is_upgrade(request.headers());
        let client = upgrading.then(|| hyper::upgrade::on(&mut request));
        let (parts, body) = request.into_parts();
        let mut outgoing = Request::new(body);
        *outgoing.method_mut() = parts.method;
        *outgoing.headers_mut() = passed_on(&parts.headers, upgrading);
        Self { request: outgoing, client }
    }

    /// Whether it asks for another protocol.
    pub fn is_upgrading(&self) -> bool {
        self.client.is_some()
    }

    /// The request, whose target is still to be set, and the client's end of an upgrade.
    pub fn into_parts(self) -> (Request<Body>, Option<OnUpgrade>) {
        (self.request, self.client)
    }
}

/// The answer for the client: what the other side sent, or what both sides say to each other from now on.
pub fn answer(mut answer: Response<Incoming>, client: Option<OnUpgrade>) -> Response<Body> {
    if answer.status() == StatusCode::SWITCHING_PROTOCOLS
        && let Some(client) = client
    {
        let server = hyper::upgrade::on(&mut answer);
        let framed = is_websocket(answer.headers());
        tokio::spawn(copy(client, server, framed));
        let (parts, _) = answer.into_parts();
        return Response::from_parts(parts, Body::empty());
    }
    let (mut parts, body) = answer.into_parts();
    parts.headers.remove(header::CONNECTION);
    parts.headers.remove(header::TRANSFER_ENCODING);
    HOP_BY_HOP.iter().for_each(|name| drop(parts.headers.remove(name)));
    Response::from_parts(parts, Body::new(body))
}

fn unreachable_error(error: &anyhow::Error) -> Status {
    status::service_unavailable(format!("error trying to reach service: {error:#}"))
}

fn is_upgrade(headers: &HeaderMap) -> bool {
    let connection = headers.get(header::CONNECTION).and_then(|v| v.to_str().ok()).unwrap_or("");
    connection.split(',').any(|part| part.trim().eq_ignore_ascii_case("upgrade"))
        && headers.contains_key(header::UPGRADE)
}

fn is_websocket(headers: &HeaderMap) -> bool {
    headers.get(header::UPGRADE).is_some_and(|to| to.as_bytes().eq_ignore_ascii_case(b"websocket"))
}

fn passed_on(headers: &HeaderMap, upgrading: bool) -> HeaderMap {
    let mut out = headers.clone();
    bearer::forget(&mut out);
    out.remove(header::TRANSFER_ENCODING);
    if !upgrading {
        out.remove(header::CONNECTION);
        out.remove(header::UPGRADE);
    }
    HOP_BY_HOP.iter().for_each(|name| drop(out.remove(name)));
    let impersonation = out.keys().filter(|k| k.as_str().starts_with("impersonate-")).cloned().collect::<Vec<_>>();
    impersonation.into_iter().for_each(|name| drop(out.remove(name)));
    out
}

/// Copies both ways until both sides have ended; a WebSocket's frames reach the client one by one.
async fn copy(client: OnUpgrade, server: OnUpgrade, framed: bool) {
    let (client, server) = match tokio::try_join!(client, server) {
        Ok(both) => both,
        Err(error) => return tracing::debug!(%error, "an upgrade did not happen"),
    };
    let (mut client, mut server) = (TokioIo::new(client), TokioIo::new(server));
    let copied = if framed {
        let ((from_client, to_client), (from_server, to_server)) =
            (tokio::io::split(&mut client), tokio::io::split(&mut server));
        tokio::try_join!(through(from_client, to_server), frames::copy(from_server, to_client)).map(drop)
    } else {
        tokio::io::copy_bidirectional_with_sizes(&mut client, &mut server, COPY_BUFFER, COPY_BUFFER).await.map(drop)
    };
    if let Err(error) = copied {
        tracing::debug!(%error, "an upgraded connection ended with an error");
    }
    // One side may have gone without a word; the other is still told properly.
    let _ = tokio::join!(client.shutdown(), server.shutdown());
}

/// Copies one way, and passes the end on.
async fn through<R, W>(mut from: R, mut to: W) -> std::io::Result<()>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    tokio::io::copy(&mut from, &mut to).await?;
    to.shutdown().await
}

/// A kubelet's refusal as a Status; a success as it is.
pub async fn checked(answer: Response<Body>, name: &str) -> Result<Response<Body>, Status> {
    let code = answer.status();
    if code.is_success() || code == StatusCode::SWITCHING_PROTOCOLS {
        return Ok(answer);
    }
    let text = match Limited::new(answer.into_body(), MAX_ERROR_TEXT).collect().await {
        Ok(body) => String::from_utf8_lossy(&body.to_bytes()).trim().to_owned(),
        Err(_) => String::new(),
    };
    Err(match code.as_u16() {
        400 => status::bad_request(text),
        404 => {
            let mut missing = status::not_found("", "pods/log", name);
            missing.message = format!("the server could not find the requested resource ( pods/log {name})");
            missing
        }
        500 => status::internal_error(text),
        code => Status::new(code, "", if text.is_empty() { "the server refused the request".to_owned() } else { text }),
    })
}
