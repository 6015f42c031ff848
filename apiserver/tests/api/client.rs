//! A server of its own for each test, and a client that talks to it in memory.

use std::sync::Arc;

use axum::body::Body;
use http::{Method, Request, StatusCode, header};
use http_body_util::BodyExt;
use serde_json::Value;
use skiff_apimachinery::status::Status;
use skiff_apiserver::authentication::{Authenticator, InProcessIdentity, UserInfo};
use skiff_apiserver::authorization::{Attributes, Authorizer, Decision, RulesReview};
use skiff_apiserver::{ApiServer, Config, Security};
use skiff_storage::HistoryLimits;
use tokio_util::sync::{CancellationToken, DropGuard};
use tower::ServiceExt;

struct Nobody;

#[async_trait::async_trait]
impl Authenticator for Nobody {
    async fn authenticate(&self, _request: &http::request::Parts) -> Result<Option<UserInfo>, Status> {
        Ok(None)
    }
}

struct Everything;

impl Authorizer for Everything {
    fn authorize(&self, _attributes: &Attributes) -> Decision {
        Decision::Allow(String::new())
    }

    fn rules_for(&self, _user: &UserInfo, _namespace: &str) -> RulesReview {
        RulesReview::default()
    }
}

/// A server and its in-memory client.
pub(crate) struct Api {
    server: Arc<ApiServer>,
    _shutdown: DropGuard,
}

/// An answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: http::HeaderMap,
    pub(crate) text: String,
}

impl Answer {
    /// The body as JSON.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {}", self.text))
    }

    /// Fails unless the code is this one.
    #[track_caller]
    pub(crate) fn expect(self, code: u16) -> Self {
        assert_eq!(self.status.as_u16(), code, "{}", self.text);
        self
    }
}

impl Api {
    /// Starts an empty server on which everything is allowed.
    pub(crate) async fn start() -> Self {
        let shutdown = CancellationToken::new();
        let config = Config {
            advertise_address: [127, 0, 0, 1].into(),
            advertise_port: 6443,
            service_cidr: "10.96.0.0/16".parse().expect("cidr"),
            node_ports: 30000..=32767,
            runtime_config: Vec::new(),
            history: HistoryLimits::default(),
            security: Box::new(|_reader| {
                Ok(Security {
                    authenticator: Arc::new(Nobody),
                    authorizer: Arc::new(Everything),
                    admission: Vec::new(),
                    token_review: None,
                    token_issuer: None,
                    oidc: None,
                    proxy_tls: None,
                    published: None,
                })
            }),
            shutdown: shutdown.clone(),
        };
        let storage = Arc::new(skiff_storage::memory::open(HistoryLimits::default()).expect("memory store"));
        let server = ApiServer::build(config, storage).await.expect("server");
        server.ready().await;
        Self { server, _shutdown: shutdown.drop_guard() }
    }

    /// Sends a request and returns the response with its body still to be read.
    pub(crate) async fn raw(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: Vec<u8>,
    ) -> http::Response<Body> {
        let mut request = Request::builder().method(method.parse::<Method>().expect("method")).uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let mut request = request.body(Body::from(body)).expect("request");
        let user = UserInfo {
            name: "admin".into(),
            groups: vec!["system:masters".into(), "system:authenticated".into()],
            ..UserInfo::default()
        };
        request.extensions_mut().insert(InProcessIdentity(Arc::new(user)));
        request.headers_mut().entry(header::USER_AGENT).or_insert("test/1".parse().expect("value"));
        self.server.service().oneshot(request).await.expect("infallible")
    }

    /// Sends a request and reads the whole answer.
    pub(crate) async fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: Vec<u8>) -> Answer {
        let (parts, body) = self.raw(method, path, headers, body).await.into_parts();
        let bytes = body.collect().await.expect("body").to_bytes();
        Answer { status: parts.status, headers: parts.headers, text: String::from_utf8_lossy(&bytes).into_owned() }
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.send("GET", path, &[], Vec::new()).await
    }

    pub(crate) async fn post(&self, path: &str, body: Value) -> Answer {
        self.send("POST", path, &[("content-type", "application/json")], body.to_string().into_bytes()).await
    }

    pub(crate) async fn put(&self, path: &str, body: Value) -> Answer {
        self.send("PUT", path, &[("content-type", "application/json")], body.to_string().into_bytes()).await
    }

    pub(crate) async fn patch(&self, path: &str, kind: &str, body: Value) -> Answer {
        let media = format!("application/{kind}");
        self.send("PATCH", path, &[("content-type", &media)], body.to_string().into_bytes()).await
    }

    pub(crate) async fn delete(&self, path: &str, body: Option<Value>) -> Answer {
        let body = body.map(|b| b.to_string().into_bytes()).unwrap_or_default();
        self.send("DELETE", path, &[("content-type", "application/json")], body).await
    }

    /// Opens a watch.
    pub(crate) async fn watch(&self, path: &str) -> Events {
        let response = self.raw("GET", path, &[], Vec::new()).await;
        assert_eq!(response.status(), StatusCode::OK);
        Events { body: response.into_body(), buffer: Vec::new() }
    }
}

/// The events of a watch.
pub(crate) struct Events {
    body: Body,
    buffer: Vec<u8>,
}

impl Events {
    /// The next event, as type and object; `None` at the end.
    pub(crate) async fn next(&mut self) -> Option<(String, Value)> {
        loop {
            if let Some(end) = self.buffer.iter().position(|b| *b == b'\n') {
                let line = self.buffer.drain(..=end).collect::<Vec<_>>();
                let event = serde_json::from_slice::<Value>(&line).expect("event");
                return Some((event["type"].as_str().expect("type").to_owned(), event["object"].clone()));
            }
            let wait = std::time::Duration::from_secs(10);
            let frame = tokio::time::timeout(wait, self.body.frame()).await.expect("an event within the deadline")?;
            let data = frame.expect("frame").into_data().expect("data");
            self.buffer.extend_from_slice(&data);
        }
    }
}
