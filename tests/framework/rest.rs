//! Plain requests in JSON, for scenarios about what typed clients hide: codes, headers, bodies as they are.

use std::time::Duration;

use futures::io::Lines;
use futures::{AsyncBufRead, AsyncBufReadExt, StreamExt};
use http::{HeaderMap, Method, Request, header};
use http_body_util::BodyExt;
use kube::Client;
use serde_json::{Value, json};

/// How long the next event of a watch may take.
const EVENT_WITHIN: Duration = Duration::from_secs(30);

/// The content type of a merge patch.
pub const MERGE: &str = "application/merge-patch+json";
/// That of a strategic merge patch.
pub const STRATEGIC: &str = "application/strategic-merge-patch+json";
/// That of a list of operations.
pub const JSON_PATCH: &str = "application/json-patch+json";
/// That of server-side apply.
pub const APPLY: &str = "application/apply-patch+yaml";
/// That of everything else.
pub const JSON: &str = "application/json";

/// What the server answered.
#[derive(Debug)]
pub struct Answer {
    /// Code.
    pub code: u16,
    /// Headers.
    pub headers: HeaderMap,
    /// The body, null unless it is JSON.
    pub body: Value,
    /// The body as it came.
    pub text: String,
}

impl Answer {
    /// The body, if the code is the expected one.
    #[track_caller]
    pub fn expect(self, code: u16) -> Value {
        assert_eq!(self.code, code, "{}", self.text);
        self.body
    }

    /// The body, if the request succeeded.
    #[track_caller]
    pub fn ok(self) -> Value {
        assert!((200..300).contains(&self.code), "{}: {}", self.code, self.text);
        self.body
    }

    /// All warnings.
    pub fn warnings(&self) -> Vec<String> {
        let all = self.headers.get_all(header::WARNING).iter();
        all.filter_map(|value| value.to_str().ok().map(str::to_owned)).collect()
    }
}

/// Sends requests with somebody's rights.
#[derive(Clone)]
pub struct Rest {
    client: Client,
}

impl Rest {
    /// With the rights of this client.
    pub fn new(client: Client) -> Rest {
        Rest { client }
    }

    /// Any request.
    pub async fn ask(&self, method: Method, path: &str, headers: &[(&str, &str)], body: Option<&Value>) -> Answer {
        let text = body.map(|body| serde_json::to_string(body).expect("JSON")).unwrap_or_default();
        self.ask_text(method, path, headers, &text).await
    }

    /// Any request, with a body as it is.
    pub async fn ask_text(&self, method: Method, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
        let mut request = Request::builder().method(method.clone()).uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(body.as_bytes().to_vec().into()).expect("a request");
        let answer = self.client.send(request).await.unwrap_or_else(|error| panic!("{method} {path}: {error}"));
        let (head, body) = answer.into_parts();
        let bytes = body.collect().await.unwrap_or_else(|error| panic!("{method} {path}: {error}")).to_bytes();
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let body = serde_json::from_str(&text).unwrap_or(Value::Null);
        Answer { code: head.status.as_u16(), headers: head.headers, body, text }
    }

    /// Reads; whatever the answer.
    pub async fn try_get(&self, path: &str) -> Answer {
        self.ask(Method::GET, path, &[], None).await
    }

    /// Reads.
    pub async fn get(&self, path: &str) -> Value {
        let answer = self.try_get(path).await;
        assert_eq!(answer.code, 200, "GET {path}: {}", answer.text);
        answer.body
    }

    /// Reads with an `Accept` header.
    pub async fn get_as(&self, path: &str, accept: &str) -> Answer {
        self.ask(Method::GET, path, &[("accept", accept)], None).await
    }

    /// Creates; whatever the answer.
    pub async fn try_create(&self, path: &str, object: &Value) -> Answer {
        self.ask(Method::POST, path, &[("content-type", JSON)], Some(object)).await
    }

    /// Creates.
    pub async fn create(&self, path: &str, object: &Value) -> Value {
        let answer = self.try_create(path, object).await;
        assert!(matches!(answer.code, 200..=202), "POST {path}: {}", answer.text);
        answer.body
    }

    /// Replaces; whatever the answer.
    pub async fn try_replace(&self, path: &str, object: &Value) -> Answer {
        self.ask(Method::PUT, path, &[("content-type", JSON)], Some(object)).await
    }

    /// Replaces.
    pub async fn replace(&self, path: &str, object: &Value) -> Value {
        let answer = self.try_replace(path, object).await;
        assert_eq!(answer.code, 200, "PUT {path}: {}", answer.text);
        answer.body
    }

    /// Patches; whatever the answer.
    pub async fn try_patch(&self, path: &str, content_type: &str, patch: &Value) -> Answer {
        self.ask(Method::PATCH, path, &[("content-type", content_type)], Some(patch)).await
    }

    /// Patches.
    pub async fn patch(&self, path: &str, content_type: &str, patch: &Value) -> Value {
        let answer = self.try_patch(path, content_type, patch).await;
        assert!(matches!(answer.code, 200 | 201), "PATCH {path}: {}", answer.text);
        answer.body
    }

    /// Deletes; whatever the answer.
    pub async fn try_delete(&self, path: &str) -> Answer {
        self.ask(Method::DELETE, path, &[("content-type", JSON)], Some(&json!({"gracePeriodSeconds": 0}))).await
    }

    /// Deletes.
    pub async fn delete(&self, path: &str) {
        let answer = self.try_delete(path).await;
        assert!(matches!(answer.code, 200 | 202), "DELETE {path}: {}", answer.text);
    }

    /// The items of a list.
    pub async fn items(&self, path: &str) -> Vec<Value> {
        let list = self.get(path).await;
        list["items"].as_array().unwrap_or_else(|| panic!("{path} is no list: {list}")).clone()
    }

    /// Starts a watch. `path` has its query, but for `watch=true`.
    pub async fn watch(&self, path: &str) -> Watch {
        let separator = if path.contains('?') { '&' } else { '?' };
        let path = format!("{path}{separator}watch=true");
        let request = Request::get(&path).body(Vec::new()).expect("a request");
        let stream = self.client.request_stream(request).await.unwrap_or_else(|error| panic!("{path}: {error}"));
        let stream: Box<dyn AsyncBufRead + Unpin> = Box::new(Box::pin(stream));
        Watch { lines: stream.lines(), path }
    }
}

/// Events as they come.
pub struct Watch {
    lines: Lines<Box<dyn AsyncBufRead + Unpin>>,
    path: String,
}

impl Watch {
    /// The next event: its type and its object.
    pub async fn next(&mut self) -> (String, Value) {
        let line = tokio::time::timeout(EVENT_WITHIN, self.lines.next()).await;
        let line = line.unwrap_or_else(|_| panic!("{}: no event within {EVENT_WITHIN:?}", self.path));
        let line = line.unwrap_or_else(|| panic!("{} ended", self.path));
        let line = line.unwrap_or_else(|error| panic!("{}: {error}", self.path));
        let event: Value = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"));
        (event["type"].as_str().unwrap_or_default().to_owned(), event["object"].clone())
    }

    /// The next event of a type whose object is as it should be; others before it are let pass.
    pub async fn until(&mut self, kind: &str, accept: impl Fn(&Value) -> bool) -> Value {
        loop {
            let (next, object) = self.next().await;
            assert_ne!(next, "ERROR", "{}: {object}", self.path);
            if next == kind && accept(&object) {
                return object;
            }
        }
    }

    /// Nothing more comes for this long.
    pub async fn is_quiet_for(&mut self, silence: Duration) {
        if let Ok(line) = tokio::time::timeout(silence, self.lines.next()).await {
            panic!("{}: an event too much: {line:?}", self.path);
        }
    }
}
