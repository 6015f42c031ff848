//! Watches: events as they happen, as JSON lines, protobuf frames or websocket messages.
//!
//! Follows `k8s.io/apiserver/pkg/endpoints/handlers/watch.go`. Headers leave at once; what is queued leaves in one frame.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use bytes::{Bytes, BytesMut};
use http::{Request, StatusCode};
use rand::RngExt;
use skiff_apimachinery::status::Status;
use skiff_apimachinery::value::{Object, Value};
use skiff_apimachinery::{json, protobuf, value};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::params::{ListOptions, revision};
use super::{Call, partial_type, selection, table};
use crate::cacher::{
    CacheError, CachedObject, EventKind, Format, Freshness, Watch, WatchItem, WatchRequest, WatchStart,
};
use crate::metrics::WatchGuard;
use crate::negotiation::{self, Encoding, Output, Shape};
use crate::printers::partial;
use crate::registry::Resource;
use crate::response::{self, ObjectType, Response};

/// Bytes of events that leave in one frame at most; a larger event leaves alone.
const MAX_FRAME: usize = 12 * 1024;
/// How long a watch lasts when the client does not say; up to twice as long, so that watches do not end in step.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(1800);

const PROTOBUF_STREAM: &str = "application/vnd.kubernetes.protobuf;stream=watch";

/// Watches what the request selects.
pub async fn watch(call: &Call<'_>, request: Request<Body>) -> Result<Response, Status> {
    let output = negotiation::negotiate_watch(&call.cx.accept, call.has_protobuf())?;
    let options = ListOptions::from_query(&call.cx.query, true)?;
    let watch_request = WatchRequest {
        start: start(&options)?,
        predicate: selection::predicate(call, &options)?,
        bookmarks: options.allow_bookmarks,
    };
    let watch = match call.cache()?.watch(&watch_request).await {
        Ok(watch) => watch,
        // Once the request itself is in order, a watch fails by an event, as upstream.
        Err(error @ (CacheError::Expired { .. } | CacheError::TooLarge { .. } | CacheError::Storage(_)))
            if !super::websocket::is_upgrade(&request) =>
        {
            let frame = error_frame(output, &error.into())?;
            return Ok(response::plain(StatusCode::OK, content_type(output), frame));
        }
        Err(error) => return Err(error.into()),
    };
    let events = Events {
        watch,
        encoder: Encoder::new(call, output)?,
        deadline: Instant::now() + lifetime(&options),
        bookmarks: options.allow_bookmarks,
        shutdown: call.server.shutdown.clone(),
        ended: false,
        _guard: call.server.metrics.watch(&call.cx.info),
    };
    if super::websocket::is_upgrade(&request) {
        return super::websocket::serve_watch(request, events);
    }
    let frames = futures::stream::unfold(events, |mut events| async move {
        let frame = events.next_frame().await?;
        Some((Ok::<_, std::convert::Infallible>(frame), events))
    });
    Ok(response::plain(StatusCode::OK, content_type(output), Body::from_stream(frames)))
}

fn content_type(output: Output) -> &'static str {
    match output.encoding {
        Encoding::Protobuf => PROTOBUF_STREAM,
        _ => negotiation::JSON,
    }
}

/// An ERROR event.
fn error_frame(output: Output, error: &Status) -> Result<Bytes, Status> {
    let object = error.to_value();
    if output.encoding == Encoding::Protobuf {
        let schema = skiff_api::builtin().schema_of("", "v1", "Status").ok_or_else(|| error.clone())?;
        let ty = ObjectType { api_version: "v1", kind: "Status", schema };
        return Ok(protobuf::watch_frame("ERROR", &response::encode(output, ty, &object)?));
    }
    Ok(json_line("ERROR", &object))
}

fn json_line(kind: &str, object: &Value) -> Bytes {
    let mut json = Vec::new();
    json::write(object, &mut json);
    line(kind, &json)
}

/// An event with an object whose JSON is at hand.
fn line(kind: &str, object: &[u8]) -> Bytes {
    let mut out = Vec::with_capacity(object.len() + 40);
    for part in [br#"{"type":""#.as_slice(), kind.as_bytes(), br#"","object":"#, object, b"}\n"] {
        out.extend_from_slice(part);
    }
    out.into()
}

fn start(options: &ListOptions) -> Result<WatchStart, Status> {
    let asked = revision(&options.resource_version)?;
    let freshness = match options.resource_version.as_str() {
        "" => Freshness::Latest,
        "0" => Freshness::Any,
        _ => Freshness::NotOlderThan(asked),
    };
    Ok(match (options.send_initial_events, asked) {
        (Some(true), _) => WatchStart::State { freshness, mark_end: options.allow_bookmarks },
        (_, 0) => WatchStart::Now,
        _ => WatchStart::After(asked),
    })
}

fn lifetime(options: &ListOptions) -> Duration {
    match options.timeout_seconds {
        Some(seconds) => Duration::from_secs(seconds),
        None => DEFAULT_TIMEOUT.mul_f64(rand::rng().random_range(1.0..2.0)),
    }
}

/// A running watch, one frame at a time.
pub struct Events {
    watch: Watch,
    encoder: Encoder,
    deadline: Instant,
    bookmarks: bool,
    shutdown: CancellationToken,
    ended: bool,
    _guard: WatchGuard,
}

impl Events {
    /// The next frame of one or more events; `None` at the end.
    pub async fn next_frame(&mut self) -> Option<Bytes> {
        let first = self.next_event().await?;
        let Some(second) = self.next_ready(first.len()) else {
            return Some(first);
        };
        let mut frame = BytesMut::with_capacity(MAX_FRAME);
        frame.extend_from_slice(&first);
        frame.extend_from_slice(&second);
        while let Some(event) = self.next_ready(frame.len()) {
            frame.extend_from_slice(&event);
        }
        Some(frame.freeze())
    }

    /// The next event alone.
    pub async fn next_event(&mut self) -> Option<Bytes> {
        if self.ended {
            return None;
        }
        let item = tokio::select! {
            biased;
            item = self.watch.next() => item,
            () = tokio::time::sleep_until(self.deadline) => return self.last_bookmark(),
            () = self.shutdown.cancelled() => return self.last_bookmark(),
        };
        // Cut off for being slow, or the cache started over or stops: the stream ends and the client resumes.
        let Some(item) = item else { return self.last_bookmark() };
        let encoded = self.encoder.encode(&item);
        self.ended = encoded.is_none();
        encoded
    }

    /// One more event if it is there and the frame has room.
    fn next_ready(&mut self, used: usize) -> Option<Bytes> {
        if used >= MAX_FRAME {
            return None;
        }
        let item = self.watch.try_next()?;
        let encoded = self.encoder.encode(&item);
        self.ended = encoded.is_none();
        encoded
    }

    /// Where the client may resume, told just before the end.
    fn last_bookmark(&mut self) -> Option<Bytes> {
        self.ended = true;
        let revision = self.watch.bookmark().filter(|_| self.bookmarks)?;
        self.encoder.encode(&WatchItem::Bookmark { revision, initial_events_end: false })
    }
}

/// Writes events in the form that one watcher asked for.
struct Encoder {
    output: Output,
    resource: Arc<Resource>,
    table: Option<table::WatchTable>,
}

/// Forms of an event that are made once for all watchers, per served version.
#[derive(Clone, Copy)]
enum Shared {
    ConvertedJson = 1,
    Protobuf = 2,
    MetadataJson = 3,
    MetadataProtobuf = 4,
}

/// Numbers that each served version has for its shared forms.
pub const FORMATS_PER_RESOURCE: Format = 8;

impl Encoder {
    fn new(call: &Call<'_>, output: Output) -> Result<Self, Status> {
        let table = match output.shape {
            Shape::Table(version) => Some(table::WatchTable::new(call, version)?),
            _ => None,
        };
        Ok(Self { output, resource: call.resource.clone(), table })
    }

    /// The event as bytes; `None` when it cannot be encoded, which ends the watch.
    fn encode(&mut self, item: &WatchItem) -> Option<Bytes> {
        if let WatchItem::Bookmark { revision, initial_events_end } = item {
            return self.bookmark(*revision, *initial_events_end);
        }
        let json = self.output.encoding == Encoding::Json;
        let form = match (self.output.shape, json) {
            (Shape::Full, true) if self.shows_as_stored(item) => return item.json_frame(),
            (Shape::Full, true) => Shared::ConvertedJson,
            (Shape::Full, false) => Shared::Protobuf,
            (Shape::PartialMetadata(_), true) => Shared::MetadataJson,
            (Shape::PartialMetadata(_), false) => Shared::MetadataProtobuf,
            // Rows show ages and the first one the columns: nothing to share.
            (Shape::Table(_), _) => return self.make(item),
        };
        match item {
            WatchItem::Change { kind, change } => {
                let format = self.resource.format_base + form as Format;
                let encoded = change.encoded(format, *kind, || self.make(item).unwrap_or_default());
                (!encoded.is_empty()).then_some(encoded)
            }
            _ => self.make(item),
        }
    }

    /// Whether the object of an event is known to be shown as it is stored. What its deletion says differs in its
    /// revision only.
    fn shows_as_stored(&self, item: &WatchItem) -> bool {
        let resource = &self.resource;
        resource.shows_stored_bytes()
            || item.event().is_some_and(|(_, object)| object.is_shown_by(resource.format_base))
    }

    fn make(&mut self, item: &WatchItem) -> Option<Bytes> {
        let (kind, object) = item.event()?;
        let full_protobuf = self.output.shape == Shape::Full && self.output.encoding == Encoding::Protobuf;
        if full_protobuf && self.resource.shows_stored_bytes() {
            return self.protobuf_frame(kind, object, item.json()?);
        }
        if self.output.shape == Shape::Full && self.output.encoding == Encoding::Json && kind != EventKind::Deleted {
            return Some(line(kind.as_str(), &self.resource.json_of(object).ok()?));
        }
        let object = self.resource.read(item.json()?).ok()?;
        self.shaped(kind.as_str(), object)
    }

    /// From stored bytes, or from the message that the object keeps.
    fn protobuf_frame(&self, kind: EventKind, object: &CachedObject, json: &Bytes) -> Option<Bytes> {
        let resource = &self.resource;
        let encode = |json: &Bytes| {
            let mut encoder = protobuf::Encoder::default();
            encoder.message(resource.schema(), json).map(Bytes::copy_from_slice)
        };
        let message = match kind {
            EventKind::Added | EventKind::Modified => object.message(encode),
            // Shows the revision of its deletion.
            EventKind::Deleted => encode(json),
        };
        let mut document = Vec::new();
        protobuf::document(&resource.info.api_version(), &resource.info.kind, &message.ok()?, &mut document);
        Some(protobuf::watch_frame(kind.as_str(), &document))
    }

    fn shaped(&mut self, kind: &str, object: Value) -> Option<Bytes> {
        let resource = self.resource.clone();
        let info = &resource.info;
        match self.output.shape {
            Shape::Full => {
                let api_version = info.api_version();
                let ty = ObjectType { api_version: &api_version, kind: &info.kind, schema: resource.schema() };
                self.frame(kind, ty, &object)
            }
            Shape::PartialMetadata(version) => {
                let ty = partial_type(version, "PartialObjectMetadata").ok()?;
                self.frame(kind, ty, &partial::object(&object, version))
            }
            Shape::Table(version) => {
                let ty = partial_type(version, "Table").ok()?;
                let table = self.table.as_mut()?.row(&object);
                self.frame(kind, ty, &table)
            }
        }
    }

    fn frame(&self, kind: &str, ty: ObjectType<'_>, object: &Value) -> Option<Bytes> {
        match self.output.encoding {
            Encoding::Protobuf => {
                let object = response::encode(self.output, ty, object).ok()?;
                Some(protobuf::watch_frame(kind, &object))
            }
            Encoding::Json | Encoding::Yaml => Some(json_line(kind, object)),
        }
    }

    fn bookmark(&mut self, revision: u64, initial_events_end: bool) -> Option<Bytes> {
        let info = &self.resource.info;
        let mut metadata = Object::new();
        metadata.insert("resourceVersion", revision.to_string());
        if initial_events_end {
            metadata.insert("annotations", value!({"k8s.io/initial-events-end": "true"}));
        }
        let object = value!({
            "kind": (info.kind.as_str()),
            "apiVersion": (info.api_version()),
            "metadata": metadata
        });
        self.shaped("BOOKMARK", object)
    }
}
