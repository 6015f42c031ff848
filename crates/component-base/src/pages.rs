//! Small HTTP pages for probes and Prometheus: health, metrics. Bounded in connections and time.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderValue, Request, Response, StatusCode, header};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tracing::warn;

/// Connections that one socket serves at a time; more wait in the kernel's queue.
const MAX_CONNECTIONS: usize = 64;
/// How long a client may take to send its request.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// How long to wait after a failed accept (no file descriptors, say).
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Content type of metrics.
const METRICS_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
/// Content type of words.
const TEXT_TYPE: &str = "text/plain; charset=utf-8";

/// Serves pages by path until `stop`; `answer` must not block.
pub async fn serve(
    listener: TcpListener,
    answer: impl Fn(&str) -> Response<String> + Clone + Send + Sync + 'static,
    stop: CancellationToken,
) {
    let slots = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        // The semaphore is never closed.
        let Ok(slot) = slots.clone().acquire_owned().await else { return };
        let stream = tokio::select! {
            () = stop.cancelled() => return,
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => stream,
                Err(error) => {
                    warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            },
        };
        let (answer, stop) = (answer.clone(), stop.clone());
        tokio::spawn(async move {
            let service = service_fn(|request: Request<Incoming>| {
                let page = answer(request.uri().path());
                async move { Ok::<_, Infallible>(page) }
            });
            let connection = hyper::server::conn::http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(REQUEST_TIMEOUT)
                .serve_connection(TokioIo::new(stream), service);
            tokio::select! {
                () = stop.cancelled() => {}
                // A client that goes away is its own affair.
                _ = connection => {}
            }
            drop(slot);
        });
    }
}

/// A page of words.
pub fn text(code: StatusCode, body: impl Into<String>) -> Response<String> {
    page(code, TEXT_TYPE, body.into())
}

/// A page in JSON.
pub fn json(code: StatusCode, body: impl Into<String>) -> Response<String> {
    page(code, "application/json", body.into())
}

/// A page of metrics.
pub fn metrics(body: impl Into<String>) -> Response<String> {
    page(StatusCode::OK, METRICS_TYPE, body.into())
}

/// The page for a path that is not there.
pub fn not_found() -> Response<String> {
    text(StatusCode::NOT_FOUND, "404 page not found\n")
}

fn page(code: StatusCode, content_type: &'static str, body: String) -> Response<String> {
    let mut page = Response::new(body);
    *page.status_mut() = code;
    let headers = page.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    page
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;

    use super::*;

    #[tokio::test]
    async fn pages_are_served_until_the_end() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("listen");
        let address = listener.local_addr().expect("address");
        let stop = CancellationToken::new();
        let pages = |path: &str| if path == "/healthz" { text(StatusCode::OK, "ok") } else { not_found() };
        let server = tokio::spawn(serve(listener, pages, stop.clone()));
        for (path, code, body) in [("/healthz", "200", "ok"), ("/other", "404", "404 page not found\n")] {
            let mut stream = TcpStream::connect(address).await.expect("connect");
            let request = format!("GET {path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
            stream.write_all(request.as_bytes()).await.expect("send");
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await.expect("an answer");
            assert!(answer.starts_with(&format!("HTTP/1.1 {code}")) && answer.ends_with(body), "{answer}");
        }
        stop.cancel();
        server.await.expect("ends");
        assert!(TcpStream::connect(address).await.is_err());
    }
}
