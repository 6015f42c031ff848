//! What is kept of one request, and its events.

use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::body::Body;
use bytes::Bytes;
use http::{HeaderMap, StatusCode, header};
use http_body::{Body as HttpBody, Frame, SizeHint};
use jiff::Timestamp;
use parking_lot::Mutex;
use serde::Serialize;
use skiff_apimachinery::status::{self, Status};
use skiff_apimachinery::value::{Object, Value};
use skiff_apimachinery::{json, time, value};

use super::answer;
use super::log::Log;
use super::policy::{Level, Stage, Wanted};
use crate::authentication::UserInfo;
use crate::request_info::RequestInfo;
use crate::response::Response;

/// What a record begins with.
pub(super) struct Request<'a> {
    pub(super) id: &'a str,
    pub(super) uri: &'a http::Uri,
    pub(super) headers: &'a HeaderMap,
    pub(super) peer: Option<IpAddr>,
    pub(super) info: &'a RequestInfo,
    pub(super) user: &'a UserInfo,
}

/// The record of one request.
#[derive(Debug)]
pub struct Record {
    log: Arc<Log>,
    wanted: Wanted,
    /// Whether its answer takes as long as the client wants.
    lasts: bool,
    event: Mutex<Event>,
}

#[derive(Debug)]
struct Event {
    value: Value,
    /// Whether its last event is written.
    over: bool,
    /// Whether another server answers, which keeps its own log of what.
    passed_on: bool,
}

impl Record {
    pub(super) fn new(log: Arc<Log>, wanted: Wanted, request: &Request<'_>) -> Self {
        let mut event = value!({
            "kind": "Event",
            "apiVersion": "audit.k8s.io/v1",
            "level": (format!("{:?}", wanted.level)),
            "auditID": (request.id),
            "stage": "",
            "requestURI": (request.uri.path_and_query().map_or("", |path| path.as_str())),
            "verb": (request.info.verb.as_str()),
            "user": (request.user.to_value())
        });
        let addresses = addresses(request.headers, request.peer);
        if !addresses.is_empty() {
            event.set_at(&["sourceIPs"], addresses);
        }
        if let Some(agent) = request.headers.get(header::USER_AGENT).and_then(|agent| agent.to_str().ok()) {
            event.set_at(&["userAgent"], agent);
        }
        if request.info.is_resource_request {
            event.set_at(&["objectRef"], reference(request.info));
        }
        event.set_at(&["requestReceivedTimestamp"], time::format_micro(Timestamp::now()));
        let lasts = request.info.is_long_running();
        Self { log, wanted, lasts, event: Mutex::new(Event { value: event, over: false, passed_on: false }) }
    }

    /// Writes the first event, once there is room in the log; returns whether the request may go on.
    pub async fn received(&self) -> bool {
        self.log.room().await;
        let goes_on = self.emit(Stage::RequestReceived).await;
        if !goes_on {
            self.event.lock().over = true;
        }
        goes_on
    }

    /// Writes the event of a stage; returns whether the request may go on.
    async fn emit(&self, stage: Stage) -> bool {
        let line = self.line(stage);
        match line {
            Some(line) => self.log.write(line).await,
            None => true,
        }
    }

    /// The event of a stage as a line; `None` if there is none.
    fn line(&self, stage: Stage) -> Option<Vec<u8>> {
        let mut event = self.event.lock();
        event.over |= matches!(stage, Stage::ResponseComplete | Stage::Panic);
        if self.wanted.omit_stages.contains(&stage) {
            return None;
        }
        let now = match stage {
            Stage::RequestReceived => event.value.str_at(&["requestReceivedTimestamp"]).unwrap_or("").to_owned(),
            _ => time::format_micro(Timestamp::now()),
        };
        event.value.set_at(&["stage"], format!("{stage:?}"));
        event.value.set_at(&["stageTimestamp"], now);
        let mut line = Vec::with_capacity(1024);
        json::write(&event.value, &mut line);
        line.push(b'\n');
        Some(line)
    }

    /// Whether what was sent is kept, too.
    pub fn keeps_requests(&self) -> bool {
        self.wanted.level >= Level::Request
    }

    /// Adds an annotation; the first of a name stays.
    pub fn annotate(&self, name: &str, text: &str) {
        let mut event = self.event.lock();
        if event.value.at(&["annotations", name]).is_none() {
            event.value.set_at(&["annotations", name], text);
        }
    }

    /// Another server answers it.
    pub fn passed_on(&self) {
        self.event.lock().passed_on = true;
    }

    /// Says as whom the user acted, and by which constrained right.
    pub fn impersonated(&self, user: &UserInfo, constraint: &str) {
        let mut event = self.event.lock();
        event.value.set_at(&["impersonatedUser"], user.to_value());
        if !constraint.is_empty() {
            event.value.set_at(&["authenticationMetadata", "impersonationConstraint"], constraint);
        }
    }

    /// Keeps the object that was sent.
    pub fn request_object(&self, object: &Value) {
        let mut event = self.event.lock();
        // What the URL does not say of it.
        for (field, path) in [
            ("name", ["metadata", "name"]),
            ("uid", ["metadata", "uid"]),
            ("resourceVersion", ["metadata", "resourceVersion"]),
        ] {
            let known = event.value.str_at(&["objectRef", field]).is_some_and(|text| !text.is_empty());
            if let Some(text) = object.str_at(&path).filter(|text| !text.is_empty() && !known) {
                event.value.set_at(&["objectRef", field], text);
            }
        }
        if self.wanted.level >= Level::Request {
            event.value.set_at(&["requestObject"], self.kept(object));
        }
    }

    /// Keeps a patch that was sent, which is no object.
    pub fn request_patch(&self, patch: &Value) {
        if self.wanted.level >= Level::Request {
            self.event.lock().value.set_at(&["requestObject"], patch.clone());
        }
    }

    /// Whether objects that are answered are kept; of a failure something is kept in any case.
    pub fn wants_response_object(&self) -> bool {
        self.wanted.level >= Level::RequestResponse
    }

    /// Keeps the object that was answered.
    pub fn response_object(&self, object: &Value) {
        let mut event = self.event.lock();
        if object.str_at(&["kind"]) == Some("Status") && object.str_at(&["apiVersion"]) == Some("v1") {
            let mut status = object.clone();
            status.remove_at(&["kind"]);
            status.remove_at(&["apiVersion"]);
            event.value.set_at(&["responseStatus"], status);
        }
        if self.wants_response_object() {
            event.value.set_at(&["responseObject"], self.kept(object));
        }
    }

    /// Keeps a failure.
    pub fn failed(&self, error: &Status) {
        self.response_object(&error.to_value());
    }

    fn kept(&self, object: &Value) -> Value {
        let mut object = object.clone();
        if self.wanted.omit_managed_fields {
            object.remove_at(&["metadata", "managedFields"]);
            let items = object.as_object_mut().and_then(|object| object.get_mut("items")).and_then(Value::as_array_mut);
            for item in items.into_iter().flatten() {
                item.remove_at(&["metadata", "managedFields"]);
            }
        }
        object
    }

    /// Writes the one event of a request whose sender is not known.
    pub async fn refused(&self, code: StatusCode) {
        {
            let mut event = self.event.lock();
            event.value.set_at(&["responseStatus", "code"], i64::from(code.as_u16()));
            event.over = true;
        }
        self.emit(Stage::ResponseStarted).await;
    }

    /// Writes that the server failed, and how.
    pub async fn panicked(&self, why: &str) {
        let status = status::internal_error("").reason;
        self.event.lock().value.set_at(
            &["responseStatus"],
            value!({
                "metadata": {},
                "status": "Failure",
                "message": (format!("APIServer panic'd: {why}")),
                "reason": status,
                "code": 500
            }),
        );
        self.emit(Stage::Panic).await;
    }

    /// Writes what is still to be written of an answer: at once, or when its body is over.
    pub async fn finish(self: Arc<Self>, response: Response) -> Response {
        self.answered(response.status());
        if self.lasts {
            self.emit(Stage::ResponseStarted).await;
            let (parts, body) = response.into_parts();
            return Response::from_parts(parts, Body::new(Watched { body, _record: self }));
        }
        let response = self.with_body(response).await;
        self.emit(Stage::ResponseComplete).await;
        response
    }

    fn answered(&self, code: StatusCode) {
        let mut event = self.event.lock();
        if event.value.get("responseStatus").is_none() {
            event.value.set_at(&["responseStatus", "metadata"], Value::Object(Object::new()));
        }
        event.value.set_at(&["responseStatus", "code"], i64::from(code.as_u16()));
    }

    /// Keeps what was not kept on its way because it was put together piece by piece.
    async fn with_body(&self, response: Response) -> Response {
        let known = {
            let event = self.event.lock();
            event.passed_on || event.value.get("responseObject").is_some()
        };
        if known || self.wanted.level < Level::RequestResponse {
            return response;
        }
        let (response, object) = answer::object(response).await;
        if let Some(object) = object {
            self.response_object(&object);
            self.answered(response.status());
        }
        response
    }
}

/// A request is over when nothing of it is left: the body of an answer that lasts, or, because the client went away, a
/// handler that had not answered yet.
impl Drop for Record {
    fn drop(&mut self) {
        let event = self.event.get_mut();
        if event.over {
            return;
        }
        let mut stages = vec![Stage::ResponseComplete];
        if event.value.get("responseStatus").is_none() {
            let status =
                value!({"metadata": {}, "status": "Success", "message": "Connection closed early", "code": 200});
            event.value.set_at(&["responseStatus"], status);
            if self.lasts {
                stages.insert(0, Stage::ResponseStarted);
            }
        }
        for line in stages.into_iter().filter_map(|stage| self.line(stage)) {
            self.log.push(line);
        }
    }
}

/// JSON for an annotation, as Go writes it: fit to stand in HTML.
pub fn go_json(value: &impl Serialize) -> String {
    let text = serde_json::to_string(value).unwrap_or_default();
    // Outside of strings there are none of these.
    [('<', "\\u003c"), ('>', "\\u003e"), ('&', "\\u0026"), ('\u{2028}', "\\u2028"), ('\u{2029}', "\\u2029")]
        .into_iter()
        .fold(text, |text, (character, escape)| text.replace(character, escape))
}

/// Those who passed the request on, as they say, and who sent it.
fn addresses(headers: &HeaderMap, peer: Option<IpAddr>) -> Vec<Value> {
    let mut found: Vec<IpAddr> = Vec::new();
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or("").to_owned();
    let forwarded = text("x-forwarded-for");
    for address in forwarded.split(',').filter_map(|part| part.trim().parse().ok()) {
        found.push(address);
    }
    let real = text("x-real-ip").trim().parse().ok().filter(|real| !found.contains(real));
    found.extend(real);
    found.extend(peer.filter(|peer| found.last() != Some(peer)));
    found.iter().map(|address| Value::from(address.to_string())).collect()
}

fn reference(info: &RequestInfo) -> Value {
    let mut reference = Object::new();
    let fields = [
        ("resource", &info.resource),
        ("namespace", &info.namespace),
        ("name", &info.name),
        ("apiGroup", &info.group),
        ("apiVersion", &info.version),
        ("subresource", &info.subresource),
    ];
    for (field, text) in fields.into_iter().filter(|(_, text)| !text.is_empty()) {
        reference.insert(field, text.as_str());
    }
    Value::Object(reference)
}

/// A body whose end is the end of the record.
struct Watched {
    body: Body,
    _record: Arc<Record>,
}

impl HttpBody for Watched {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
