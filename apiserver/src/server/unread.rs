//! Request bodies that are answered before they have been read to their end.
//!
//! A body that is too large, or whose request is refused for another reason, is still on its way when its answer is
//! sent. A socket that is closed with bytes unread is reset, and a reset takes the answer away from a client that is
//! still writing. So what is left is read and thrown away for a moment, in which the client finds its answer. Go's
//! server waits for the same reason (`rstAvoidanceDelay` in `net/http/server.go`).

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use hyper::body::Incoming;

/// How long the rest of a body is read after its request was answered: enough for a client on a busy machine.
const LINGER: Duration = Duration::from_secs(2);

/// A request's body, of which nothing is left when it is dropped, or not much.
pub(super) struct Lingering {
    /// Until it has ended.
    body: Option<Incoming>,
}

impl Lingering {
    pub(super) fn new(body: Incoming) -> Self {
        Self { body: (!body.is_end_stream()).then_some(body) }
    }
}

impl Body for Lingering {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<hyper::Result<Frame<Bytes>>>> {
        let Some(body) = &mut self.body else { return Poll::Ready(None) };
        let frame = ready!(Pin::new(body).poll_frame(cx));
        if !matches!(frame, Some(Ok(_))) {
            self.body = None;
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or_else(|| SizeHint::with_exact(0), Body::size_hint)
    }
}

impl Drop for Lingering {
    fn drop(&mut self) {
        let left = self.body.take().filter(|body| !body.is_end_stream());
        // Without a runtime the connection is gone as well.
        if let Some(mut body) = left
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            runtime.spawn(tokio::time::timeout(LINGER, async move { while let Some(Ok(_)) = body.frame().await {} }));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::{Request, Response, StatusCode};
    use http_body_util::Empty;
    use hyper::service::service_fn;
    use hyper_util::rt::TokioIo;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};

    /// More than the sockets' buffers hold.
    const LARGE: usize = 8 << 20;

    async fn refuse(request: Request<Incoming>) -> Result<Response<Empty<Bytes>>, std::convert::Infallible> {
        drop(Lingering::new(request.into_body()));
        let mut answer = Response::new(Empty::new());
        *answer.status_mut() = StatusCode::PAYLOAD_TOO_LARGE;
        Ok(answer)
    }

    #[tokio::test]
    async fn who_sends_a_body_that_nobody_reads_gets_the_answer() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("its address");
        let server = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.expect("a connection");
                let http = hyper::server::conn::http1::Builder::new();
                tokio::spawn(http.serve_connection(TokioIo::new(stream), service_fn(refuse)));
            }
        });
        for _ in 0..10 {
            let mut stream = TcpStream::connect(address).await.expect("connected");
            let head = format!("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: {LARGE}\r\n\r\n");
            stream.write_all(head.as_bytes()).await.expect("a head");
            // Only then is the answer looked at.
            stream.write_all(&vec![b' '; LARGE]).await.expect("a body");
            let mut answer = [0; 12];
            stream.read_exact(&mut answer).await.expect("an answer");
            assert_eq!(answer.as_slice(), b"HTTP/1.1 413");
        }
        server.abort();
    }
}
