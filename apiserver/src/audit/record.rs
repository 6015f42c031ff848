//! What is kept of one request, and its events.

use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::body::Body;
use bytes::Bytes;
use http::{HeaderMap, header};
use http_body::{Body as HttpBody, Frame, SizeHint};
use http_body_util::BodyExt;
use jiff::Timestamp;
use parking_lot::Mutex;
use skiff_apimachinery::status::Status;
use skiff_apimachinery::value::{Object, Value};
use skiff_apimachinery::{json, time, value};

use super::log::Log;
use super::policy::{Level, Stage, Wanted};
use crate::authentication::UserInfo;
use crate::request_info::RequestInfo;
use crate::response::Response;

/// Longest answer that is kept, in bytes; of longer ones an event says only how they ended.
const LONGEST: u64 = 32 << 20;

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
    event: Mutex<Value>,
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
        Self { log, wanted, event: Mutex::new(event) }
    }

    /// Writes the event of a stage.
    pub fn emit(&self, stage: Stage) {
        if self.wanted.omit_stages.contains(&stage) {
            return;
        }
        let mut event = self.event.lock();
        event.set_at(&["stage"], format!("{stage:?}"));
        event.set_at(&["stageTimestamp"], time::format_micro(Timestamp::now()));
        let mut line = Vec::with_capacity(1024);
        json::write(&event, &mut line);
        line.push(b'\n');
        self.log.write(&line);
    }

    /// Adds an annotation; the first of a name stays.
    pub fn annotate(&self, name: &str, text: &str) {
        let mut event = self.event.lock();
        if event.at(&["annotations", name]).is_none() {
            event.set_at(&["annotations", name], text);
        }
    }

    /// Says as whom the user acted, and by which constrained right.
    pub fn impersonated(&self, user: &UserInfo, constraint: &str) {
        let mut event = self.event.lock();
        event.set_at(&["impersonatedUser"], user.to_value());
        if !constraint.is_empty() {
            event.set_at(&["authenticationMetadata", "impersonationConstraint"], constraint);
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
            let known = event.str_at(&["objectRef", field]).is_some_and(|text| !text.is_empty());
            if let Some(text) = object.str_at(&path).filter(|text| !text.is_empty() && !known) {
                event.set_at(&["objectRef", field], text);
            }
        }
        if self.wanted.level >= Level::Request {
            event.set_at(&["requestObject"], self.kept(object));
        }
    }

    /// Keeps a patch that was sent, which is no object.
    pub fn request_patch(&self, patch: &Value) {
        if self.wanted.level >= Level::Request {
            self.event.lock().set_at(&["requestObject"], patch.clone());
        }
    }

    /// Keeps the object that was answered.
    pub fn response_object(&self, object: &Value) {
        let mut event = self.event.lock();
        if object.str_at(&["kind"]) == Some("Status") && object.str_at(&["apiVersion"]) == Some("v1") {
            let mut status = object.clone();
            status.remove_at(&["kind"]);
            status.remove_at(&["apiVersion"]);
            event.set_at(&["responseStatus"], status);
        }
        if self.wanted.level >= Level::RequestResponse {
            event.set_at(&["responseObject"], self.kept(object));
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
    pub fn refused(&self, response: &Response) {
        self.event.lock().set_at(&["responseStatus", "code"], i64::from(response.status().as_u16()));
        self.emit(Stage::ResponseStarted);
    }

    /// Writes what is still to be written of an answer: at once, or when its body is over.
    pub async fn finish(self: Arc<Self>, response: Response, lasts: bool) -> Response {
        let code = i64::from(response.status().as_u16());
        {
            let mut event = self.event.lock();
            if event.get("responseStatus").is_none() {
                event.set_at(&["responseStatus", "metadata"], Value::Object(Object::new()));
            }
            event.set_at(&["responseStatus", "code"], code);
        }
        if lasts {
            self.emit(Stage::ResponseStarted);
            let (parts, body) = response.into_parts();
            return Response::from_parts(parts, Body::new(Watched { body, _end: End(self) }));
        }
        let response = self.with_body(response).await;
        self.emit(Stage::ResponseComplete);
        response
    }

    /// Keeps what was not kept on its way because it was put together piece by piece, like lists.
    async fn with_body(&self, response: Response) -> Response {
        let known = self.event.lock().get("responseObject").is_some();
        let json = response
            .headers()
            .get(header::CONTENT_TYPE)
            .is_some_and(|media| media.as_bytes().starts_with(b"application/json"));
        let plain = !response.headers().contains_key(header::CONTENT_ENCODING);
        let short = response.body().size_hint().exact().is_some_and(|size| size <= LONGEST);
        if known || self.wanted.level < Level::RequestResponse || !(json && plain && short) {
            return response;
        }
        let (parts, body) = response.into_parts();
        let Ok(collected) = body.collect().await else { return Response::from_parts(parts, Body::empty()) };
        let bytes = collected.to_bytes();
        if let Ok(object) = json::parse(&bytes) {
            self.response_object(&object);
            let code = i64::from(parts.status.as_u16());
            self.event.lock().set_at(&["responseStatus", "code"], code);
        }
        Response::from_parts(parts, Body::from(bytes))
    }
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

/// A body whose end is an event.
struct Watched {
    body: Body,
    _end: End,
}

struct End(Arc<Record>);

impl Drop for End {
    fn drop(&mut self) {
        self.0.emit(Stage::ResponseComplete);
    }
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
