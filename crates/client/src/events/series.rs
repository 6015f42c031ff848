//! Events of the newer group, `events.k8s.io/v1`: something that goes on happening is one event with a series. The rules
//! are those of client-go's `tools/events`: the first is written, the second makes a series of it, further ones are only
//! counted, and the count is written when the series has ended, or every [`REFRESH_SECONDS`] while it goes on.

use std::collections::HashMap;
use std::time::Duration;

use jiff::Timestamp;
use kube::Client;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tracing::{debug, warn};

use super::{EventType, Note, ObjectReference, RETRY_DELAY, TRIES};
use crate::clock::{Clock, SystemClock, format_micro_time};
use crate::errors;
use crate::objects::{Objects, PatchKind};
use crate::resource::ResourceType;

/// After this time without another, a series has ended (upstream `finishTime`).
const FINISH_SECONDS: i64 = 360;
/// How often the count of one that goes on is written (upstream `refreshTime`).
const REFRESH_SECONDS: i64 = 1800;
/// How often ended series are looked for.
const SWEEP: Duration = Duration::from_secs(60);
/// Events remembered; those beyond are written as if they were first ones.
const REMEMBERED: usize = 4096;

const EVENTS: ResourceType = ResourceType::new("events.k8s.io", "v1", "events", "Event", true);

/// What makes two notes the same event; what they say is not part of it.
type Key = (ObjectReference, EventType, String, String);

/// An event that was written.
#[derive(Clone, Debug, PartialEq)]
struct Seen {
    namespace: String,
    name: String,
    body: Value,
    count: u32,
    last: Timestamp,
    written: Timestamp,
}

/// What to send.
#[derive(Debug, PartialEq)]
enum Send {
    Create(Seen),
    /// The series as it is now; the event is made again if it has expired.
    Update(Seen),
}

/// The events of one component, without I/O.
struct Series {
    controller: String,
    instance: String,
    seen: HashMap<Key, Seen>,
}

impl Series {
    fn note(&mut self, note: &Note) -> Option<Send> {
        let key = (note.object.clone(), note.type_, note.reason.clone(), note.action.clone());
        if let Some(seen) = self.seen.get_mut(&key) {
            seen.count += 1;
            seen.last = note.at;
            if seen.count > 2 {
                return None;
            }
            seen.written = note.at;
            return Some(Send::Update(seen.clone()));
        }
        let namespace = if note.object.namespace.is_empty() { "default" } else { &note.object.namespace };
        let name = format!("{}.{:x}", note.object.name, note.at.as_nanosecond());
        let body = json!({
            "metadata": {"name": name, "namespace": namespace},
            "eventTime": format_micro_time(note.at),
            "reportingController": self.controller,
            "reportingInstance": self.instance,
            "action": note.action,
            "reason": note.reason,
            "regarding": note.object,
            "note": note.message,
            "type": note.type_.as_str(),
        });
        let seen = Seen { namespace: namespace.into(), name, body, count: 1, last: note.at, written: note.at };
        if self.seen.len() < REMEMBERED {
            self.seen.insert(key, seen.clone());
        }
        Some(Send::Create(seen))
    }

    /// Forgets what has ended. Returns series whose count is to be written.
    fn sweep(&mut self, now: Timestamp) -> Vec<Send> {
        let mut sends = Vec::new();
        self.seen.retain(|_, seen| {
            let ended = now.as_second() - seen.last.as_second() >= FINISH_SECONDS;
            let due = ended || now.as_second() - seen.written.as_second() >= REFRESH_SECONDS;
            if seen.count > 2 && due && seen.last > seen.written {
                seen.written = now;
                sends.push(Send::Update(seen.clone()));
            }
            !ended
        });
        sends
    }
}

/// Writes the events of one component.
pub(super) struct Writer {
    client: Client,
    series: Series,
}

impl Writer {
    /// `controller` is who says it, `instance` which of several.
    pub(super) fn new(client: Client, controller: &str, instance: &str) -> Self {
        let series = Series { controller: controller.into(), instance: instance.into(), seen: HashMap::new() };
        Self { client, series }
    }

    pub(super) async fn run(mut self, mut queue: mpsc::Receiver<Note>) {
        let mut sweep = tokio::time::interval(SWEEP);
        loop {
            tokio::select! {
                note = queue.recv() => {
                    let Some(note) = note else { return };
                    if let Some(send) = self.series.note(&note) {
                        self.send(&send).await;
                    }
                }
                _ = sweep.tick() => {
                    for send in self.series.sweep(SystemClock.now()) {
                        self.send(&send).await;
                    }
                }
            }
        }
    }

    /// Sends one. A server that cannot be reached is tried again; a refusal is final.
    async fn send(&self, send: &Send) {
        for tries in 1..=TRIES {
            match self.try_send(send).await {
                Ok(()) => return,
                Err(error @ kube::Error::Api(_)) => return debug!(%error, "event refused"),
                Err(error) if tries == TRIES => warn!(%error, "event given up"),
                Err(_) => tokio::time::sleep(RETRY_DELAY.mul_f64(rand::random::<f64>())).await,
            }
        }
    }

    async fn try_send(&self, send: &Send) -> kube::Result<()> {
        let (Send::Create(seen) | Send::Update(seen)) = send;
        let events = Objects::<serde::de::IgnoredAny>::of(&self.client, EVENTS, &seen.namespace);
        let mut body = seen.body.clone();
        if matches!(send, Send::Update(_)) {
            let series = json!({"count": seen.count, "lastObservedTime": format_micro_time(seen.last)});
            let patch = json!({"series": series});
            match events.patch(&seen.name, "", PatchKind::Strategic, &patch).await {
                Err(error) if errors::is_not_found(&error) => body["series"] = series,
                done => return done.map(drop),
            }
        }
        match events.create(&body).await {
            Err(error) if errors::is_already_exists(&error) => Ok(()),
            done => done.map(drop),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn note(message: &str, second: i64) -> Note {
        Note {
            object: ObjectReference {
                kind: "Pod".into(),
                namespace: "n".into(),
                name: "p".into(),
                ..Default::default()
            },
            type_: EventType::Warning,
            reason: "FailedScheduling".into(),
            message: message.into(),
            action: "Scheduling".into(),
            at: Timestamp::from_second(second).expect("a time"),
        }
    }

    /// How often it has happened, if it is sent.
    fn count(send: Option<Send>) -> Option<(bool, u32)> {
        send.map(|send| match send {
            Send::Create(seen) => (true, seen.count),
            Send::Update(seen) => (false, seen.count),
        })
    }

    #[test]
    fn what_goes_on_is_written_twice_and_at_its_end() {
        let mut series = Series { controller: "c".into(), instance: "i".into(), seen: HashMap::new() };
        assert_eq!(count(series.note(&note("first", 1000))), Some((true, 1)));
        assert_eq!(count(series.note(&note("second", 1001))), Some((false, 2)));
        for second in 2..100 {
            assert_eq!(count(series.note(&note("again", 1000 + second))), None);
        }
        let at = |second| Timestamp::from_second(second).expect("a time");
        assert_eq!(series.sweep(at(1200)), []);
        let ended = series.sweep(at(1099 + FINISH_SECONDS));
        assert_eq!(count(ended.into_iter().next()), Some((false, 100)));
        assert_eq!(count(series.note(&note("later", 3000))), Some((true, 1)));
    }

    #[test]
    fn an_event_has_the_fields_of_the_newer_group() {
        let mut series = Series { controller: "c".into(), instance: "i".into(), seen: HashMap::new() };
        let Some(Send::Create(seen)) = series.note(&note("why", 1)) else { panic!("it is new") };
        assert_eq!(seen.body["eventTime"], "1970-01-01T00:00:01.000000Z");
        assert_eq!((&seen.body["note"], &seen.body["regarding"]["name"]), (&json!("why"), &json!("p")));
        assert_eq!(seen.body["metadata"], json!({"name": "p.3b9aca00", "namespace": "n"}));
    }
}
