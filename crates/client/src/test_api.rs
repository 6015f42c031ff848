//! A scripted server for this crate's own tests: answers are queued by the test, requests are recorded.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;

use bytes::Bytes;
use futures::channel::mpsc;
use http::{Request, Response};
use http_body_util::{BodyExt, StreamBody};
use kube::Client;
use kube::client::Body;
use parking_lot::Mutex;

/// One scripted answer.
pub(crate) struct Answer {
    pub(crate) code: u16,
    pub(crate) body: mpsc::UnboundedReceiver<Bytes>,
}

/// What the test holds: the requests that came, and the answers to come.
#[derive(Clone, Default)]
pub(crate) struct Script {
    pub(crate) requests: Arc<Mutex<Vec<String>>>,
    answers: Arc<Mutex<VecDeque<Answer>>>,
}

impl Script {
    /// Queues an answer with a whole body.
    pub(crate) fn answer(&self, code: u16, body: &str) {
        self.stream(code).unbounded_send(Bytes::copy_from_slice(body.as_bytes())).expect("an open stream");
    }

    /// Queues an answer whose body is sent piece by piece and ends when the sender is dropped.
    pub(crate) fn stream(&self, code: u16) -> mpsc::UnboundedSender<Bytes> {
        let (sender, body) = mpsc::unbounded();
        self.answers.lock().push_back(Answer { code, body });
        sender
    }

    /// A client of the scripted server. A request without an answer waits for ever.
    pub(crate) fn client(&self) -> Client {
        let script = self.clone();
        Client::new(
            tower::service_fn(move |request: Request<Body>| {
                let script = script.clone();
                async move {
                    let line = format!("{} {}", request.method(), request.uri());
                    let body = request.into_body().collect_bytes().await?;
                    script.requests.lock().push(format!("{line} {}", String::from_utf8_lossy(&body)).trim().into());
                    let answer = script.answers.lock().pop_front();
                    let Some(answer) = answer else { return std::future::pending().await };
                    let frames = futures::StreamExt::map(answer.body, |bytes| {
                        Ok::<_, Infallible>(http_body::Frame::data(bytes))
                    });
                    let response = Response::builder().status(answer.code).body(StreamBody::new(frames).boxed_unsync());
                    Ok::<_, tower::BoxError>(response?)
                }
            }),
            "default",
        )
    }
}
