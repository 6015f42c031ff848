//! Answers of the kubelet's API.

use bytes::Bytes;
use futures::StreamExt;
use http::{HeaderValue, Response, StatusCode, header};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Empty, Full, StreamBody};
use hyper::body::Frame;
use serde::Serialize;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

/// Any body.
pub(crate) type Body = UnsyncBoxBody<Bytes, Box<dyn std::error::Error + Send + Sync>>;
/// Any answer.
pub(crate) type Reply = Response<Body>;

const PLAIN: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");

/// No body.
pub(crate) fn empty() -> Body {
    Empty::new().map_err(|never| match never {}).boxed_unsync()
}

fn with(status: StatusCode, content_type: HeaderValue, body: Body) -> Reply {
    let mut reply = Response::new(body);
    *reply.status_mut() = status;
    reply.headers_mut().insert(header::CONTENT_TYPE, content_type);
    reply
}

fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).map_err(|never| match never {}).boxed_unsync()
}

/// A short text.
pub(crate) fn text(status: StatusCode, text: impl Into<String>) -> Reply {
    with(status, PLAIN, full(text.into()))
}

/// An object.
pub(crate) fn json(value: &impl Serialize) -> Reply {
    match serde_json::to_vec(value) {
        Ok(bytes) => with(StatusCode::OK, HeaderValue::from_static("application/json"), full(bytes)),
        Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()),
    }
}

/// Metrics in Prometheus' text format.
pub(crate) fn metrics(metrics: String) -> Reply {
    with(StatusCode::OK, HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8"), full(metrics))
}

/// Bytes as they come.
pub(crate) fn stream(chunks: mpsc::Receiver<Bytes>) -> Reply {
    let frames = ReceiverStream::new(chunks).map(|chunk| Ok::<_, std::convert::Infallible>(Frame::data(chunk)));
    let body = StreamBody::new(frames).map_err(|never| match never {}).boxed_unsync();
    with(StatusCode::OK, HeaderValue::from_static("text/plain"), body)
}
