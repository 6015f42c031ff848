//! Events: what a component wants users to read about an object.
//!
//! [`EventRecorder::event`] never blocks and never fails: it puts a note on a queue of [`QUEUE_LENGTH`] and drops it
//! (with a count in the log) when that is full. One task takes notes off, folds repetitions together
//! ([`correlate`]) and writes core/v1 Events: a new one, or a patch of the count of one that is there. The scheduler's are
//! events of a newer group, which has series instead of counts ([`series`]).

mod correlate;
mod series;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use kube::Client;
use serde::Serialize;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use crate::clock::{Clock, SystemClock, format_time};
use crate::errors;
use crate::objects::{Objects, PatchKind};
use crate::resource::{Kind, ResourceType};
use crate::types::{HasMeta, PartialObject};

use correlate::{Correlator, Write};

/// Notes that may wait to be written.
pub const QUEUE_LENGTH: usize = 1000;
/// Tries to write one event (upstream `maxTriesPerEvent`).
const TRIES: u32 = 12;
/// Pause between tries.
const RETRY_DELAY: Duration = Duration::from_secs(10);

const EVENTS: ResourceType = ResourceType::new("", "v1", "events", "Event", true);

/// `v1.ObjectReference`: the object an event is about.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ObjectReference {
    /// Group and version.
    pub api_version: String,
    /// Kind.
    pub kind: String,
    /// Namespace; empty for cluster-scoped objects.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub namespace: String,
    /// Name.
    pub name: String,
    /// UID.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub uid: String,
    /// Version the event speaks about.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub resource_version: String,
    /// Part of the object, such as `spec.containers{web}`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub field_path: String,
}

impl ObjectReference {
    /// A reference to an object of a known kind.
    pub fn to<K: Kind>(object: &K) -> Self {
        Self {
            api_version: K::RESOURCE.api_version(),
            kind: K::RESOURCE.kind.to_string(),
            namespace: object.namespace().into(),
            name: object.name().into(),
            uid: object.uid().into(),
            resource_version: object.resource_version().into(),
            field_path: String::new(),
        }
    }

    /// The same reference to a part of the object.
    pub fn with_field_path(mut self, path: impl Into<String>) -> Self {
        self.field_path = path.into();
        self
    }

    /// A reference to a partial object, which says its kind itself.
    pub fn to_partial(object: &PartialObject) -> Self {
        let meta = object.meta();
        Self {
            api_version: object.api_version.clone(),
            kind: object.kind.clone(),
            namespace: meta.namespace.clone(),
            name: meta.name.clone(),
            uid: meta.uid.clone(),
            resource_version: meta.resource_version.clone(),
            field_path: String::new(),
        }
    }
}

/// How much an event should worry its reader.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EventType {
    /// All is well.
    Normal,
    /// Something may need a person.
    Warning,
}

impl EventType {
    /// The word on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            EventType::Normal => "Normal",
            EventType::Warning => "Warning",
        }
    }
}

/// A note on its way to becoming an Event.
#[derive(Clone, Debug)]
struct Note {
    object: ObjectReference,
    type_: EventType,
    reason: String,
    message: String,
    action: String,
    at: jiff::Timestamp,
}

/// Records events under a component's name. Cheap to clone.
#[derive(Clone)]
pub struct EventRecorder {
    notes: mpsc::Sender<Note>,
    dropped: Arc<AtomicU64>,
    clock: Arc<dyn Clock>,
}

impl EventRecorder {
    /// Starts the writing task. `component` and `host` are the event's source: `deployment-controller` and, on nodes,
    /// the node's name.
    pub fn spawn(client: Client, component: &str, host: &str, shutdown: CancellationToken) -> Self {
        Self::spawn_with_clock(client, component, host, shutdown, Arc::new(SystemClock))
    }

    /// The same with another wall clock.
    pub fn spawn_with_clock(
        client: Client,
        component: &str,
        host: &str,
        shutdown: CancellationToken,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let (notes, queue) = mpsc::channel(QUEUE_LENGTH);
        let writer = Writer { client, component: component.into(), host: host.into() };
        tokio::spawn(async move {
            tokio::select! {
                () = shutdown.cancelled() => {}
                () = writer.run(queue) => {}
            }
        });
        Self { notes, dropped: Arc::default(), clock }
    }

    /// Starts a task that writes events of the group `events.k8s.io` ([`series`]), as the scheduler's are. `controller`
    /// is who says it, `instance` which of several.
    pub fn spawn_series(client: Client, controller: &str, instance: &str, shutdown: CancellationToken) -> Self {
        let (notes, queue) = mpsc::channel(QUEUE_LENGTH);
        let writer = series::Writer::new(client, controller, instance);
        tokio::spawn(async move {
            tokio::select! {
                () = shutdown.cancelled() => {}
                () = writer.run(queue) => {}
            }
        });
        Self { notes, dropped: Arc::default(), clock: Arc::new(SystemClock) }
    }

    /// Records an event. Never blocks.
    pub fn event(&self, object: &ObjectReference, type_: EventType, reason: &str, message: impl Into<String>) {
        self.event_with_action(object, type_, reason, "", message);
    }

    /// Records an event that names what was done, as the scheduler's do (`Binding`, `Scheduling`).
    pub fn event_with_action(
        &self,
        object: &ObjectReference,
        type_: EventType,
        reason: &str,
        action: &str,
        message: impl Into<String>,
    ) {
        let note = Note {
            object: object.clone(),
            type_,
            reason: reason.into(),
            message: message.into(),
            action: action.into(),
            at: self.clock.now(),
        };
        if self.notes.try_send(note).is_err() {
            let dropped = self.dropped.fetch_add(1, Ordering::Relaxed) + 1;
            // Once per power of two: a full queue must not fill the log as well.
            if dropped.is_power_of_two() {
                warn!(dropped, "events are dropped: too many at once, or the API does not take them");
            }
        }
    }
}

struct Writer {
    client: Client,
    component: String,
    host: String,
}

impl Writer {
    async fn run(self, mut queue: mpsc::Receiver<Note>) {
        let mut correlator = Correlator::default();
        while let Some(note) = queue.recv().await {
            let Some(write) = correlator.correlate(&note) else {
                debug!(object = %note.object.name, reason = %note.reason, "event suppressed: too many about this object");
                continue;
            };
            self.write(&write, &note).await;
        }
    }

    /// Writes one event. A server that cannot be reached is tried again; a refusal is final, as upstream has it.
    async fn write(&self, write: &Write, note: &Note) {
        for tries in 1..=TRIES {
            match self.try_write(write, note).await {
                Ok(()) => return,
                Err(error @ kube::Error::Api(_)) => {
                    debug!(%error, object = %note.object.name, reason = %note.reason, "event refused");
                    return;
                }
                Err(error) if tries == TRIES => warn!(%error, reason = %note.reason, "event given up"),
                Err(_) => tokio::time::sleep(RETRY_DELAY.mul_f64(rand::random::<f64>())).await,
            }
        }
    }

    async fn try_write(&self, write: &Write, note: &Note) -> kube::Result<()> {
        let namespace = if note.object.namespace.is_empty() { "default" } else { &note.object.namespace };
        let events = Objects::<serde::de::IgnoredAny>::of(&self.client, EVENTS, namespace);
        if write.count > 1 {
            let patch = json!({"count": write.count, "lastTimestamp": format_time(note.at), "message": write.message});
            match events.patch(&write.name, "", PatchKind::Strategic, &patch).await {
                // It has expired meanwhile: make it again, with the count it had reached.
                Err(error) if errors::is_not_found(&error) => {}
                done => return done.map(drop),
            }
        }
        match events.create(&self.body(write, note, namespace)).await {
            Err(error) if errors::is_already_exists(&error) => Ok(()),
            done => done.map(drop),
        }
    }

    fn body(&self, write: &Write, note: &Note, namespace: &str) -> Value {
        let mut source = json!({"component": self.component});
        if !self.host.is_empty() {
            source["host"] = json!(self.host);
        }
        let mut event = json!({
            "metadata": {"name": write.name, "namespace": namespace},
            "involvedObject": note.object,
            "reason": note.reason,
            "message": write.message,
            "source": source,
            "firstTimestamp": format_time(write.first),
            "lastTimestamp": format_time(note.at),
            "count": write.count,
            "type": note.type_.as_str(),
            "reportingComponent": self.component,
            "reportingInstance": self.host,
        });
        if !note.action.is_empty() {
            event["action"] = json!(note.action);
        }
        event
    }
}
