//! Watchers: how each asks, what it saw, and what it should have seen.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::StreamExt;
use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::Value;
use skiff_fixture::Api;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::proto;
use crate::selector::{SELECTORS, Selector};
use crate::truth::Truth;

const WATCHERS: usize = 64;
/// Watchers that fall asleep and come back too late: each eighth.
pub(crate) const SLEEPERS: usize = WATCHERS / 8;

/// An event as a watcher saw it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    kind: String,
    /// `NAMESPACE/NAME`.
    key: String,
    revision: u64,
    tier: String,
}

impl Seen {
    pub(crate) fn new(kind: &str, key: &str, revision: u64, tier: &str) -> Self {
        Self { kind: kind.into(), key: key.into(), revision, tier: tier.into() }
    }
}

#[derive(Clone, Copy, Debug)]
enum Encoding {
    Json,
    Protobuf,
    Table,
    Metadata,
    MetadataProtobuf,
}

const ENCODINGS: [Encoding; 5] =
    [Encoding::Json, Encoding::Protobuf, Encoding::Table, Encoding::Metadata, Encoding::MetadataProtobuf];

impl Encoding {
    fn accept(self) -> &'static str {
        match self {
            Encoding::Json => "application/json",
            Encoding::Protobuf => "application/vnd.kubernetes.protobuf",
            Encoding::Table => "application/json;as=Table;v=v1;g=meta.k8s.io",
            Encoding::Metadata => "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io",
            Encoding::MetadataProtobuf => {
                "application/vnd.kubernetes.protobuf;as=PartialObjectMetadata;v=v1;g=meta.k8s.io"
            }
        }
    }
}

/// How a watcher begins when it knows nothing.
#[derive(Clone, Copy, Debug)]
enum Beginning {
    /// With a list, then a watch from its version.
    List,
    /// With the state as events and a bookmark at its end.
    WatchList,
    /// The same as it was asked for before WatchList.
    State,
    /// The same from whatever the cache has.
    Cached,
}

const BEGINNINGS: [Beginning; 4] = [Beginning::List, Beginning::WatchList, Beginning::State, Beginning::Cached];

/// How a watcher asks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Spec {
    selector: Selector,
    encoding: Encoding,
    beginning: Beginning,
    /// events.k8s.io instead of the core group.
    newer_group: bool,
    sleeps: bool,
}

impl Spec {
    fn path(&self, query: &str) -> String {
        let group = if self.newer_group { "/apis/events.k8s.io/v1" } else { "/api/v1" };
        let (namespace, selector) = self.selector.request();
        let namespace = namespace.map_or(String::new(), |namespace| format!("/namespaces/{namespace}"));
        format!("{group}{namespace}/events?{selector}&{query}")
    }

    /// What a list shows now: version by key, and the list's version.
    pub(crate) async fn list(&self, api: &Api) -> (BTreeMap<String, u64>, u64) {
        let list = api.get(&self.path("")).await.expect(200).json();
        let item = |item: &Value| (key(&item["metadata"]), version(&item["metadata"]));
        (list["items"].as_array().expect("items").iter().map(item).collect(), version(&list["metadata"]))
    }
}

/// A watcher across all its watches.
pub(crate) struct Watcher {
    pub(crate) spec: Spec,
    /// Each watch in turn: where it began, and what it saw.
    watches: Vec<Watched>,
    /// Whether it once was told that what it missed is forgotten.
    pub(crate) expired: bool,
}

/// What one watch saw.
#[derive(Clone, Debug, Default)]
pub(crate) struct Watched {
    /// The state that it began with, if it did, and that state's version.
    state: Option<BTreeMap<String, u64>>,
    from: u64,
    seen: Vec<Seen>,
    /// Version of the last bookmark.
    bookmark: u64,
}

impl Watched {
    fn new(state: Option<BTreeMap<String, u64>>, from: u64) -> Self {
        Self { state, from, ..Self::default() }
    }

    /// Where it may go on: a bookmark says that nothing more is to come up to there.
    fn reached(&self) -> u64 {
        self.seen.last().map_or(self.from, |seen| seen.revision).max(self.bookmark)
    }
}

/// A watch as it goes on.
pub(crate) struct Running {
    spec: Spec,
    watched: Arc<Mutex<Watched>>,
    asleep: CancellationToken,
    task: JoinHandle<()>,
}

/// Sixty-four of them, none like the other.
pub(crate) fn watchers(seed: u64) -> Vec<Watcher> {
    let mut random = StdRng::seed_from_u64(seed ^ 0x57a7);
    let mut watchers = Vec::new();
    for number in 0..WATCHERS {
        let spec = Spec {
            selector: SELECTORS[number % SELECTORS.len()],
            encoding: ENCODINGS[number % ENCODINGS.len()],
            beginning: BEGINNINGS[random.random_range(0..BEGINNINGS.len())],
            newer_group: random.random_range(0..4) == 0,
            sleeps: number % (WATCHERS / SLEEPERS) == 0,
        };
        watchers.push(Watcher { spec, watches: Vec::new(), expired: false });
    }
    watchers
}

/// Those who sleep do so now.
pub(crate) fn doze(running: &[Running]) {
    for one in running.iter().filter(|one| one.spec.sleeps) {
        one.asleep.cancel();
    }
}

impl Watcher {
    /// Begins, or goes on where it was.
    pub(crate) async fn start(&mut self, api: &Api) -> Running {
        let spec = self.spec;
        if let Some(before) = self.watches.last() {
            let from = before.reached();
            let mut events =
                open(api, spec, &format!("watch=true&allowWatchBookmarks=true&resourceVersion={from}")).await;
            match events.first_error().await {
                None => return running(spec, Watched::new(None, from), events),
                Some(code) => {
                    assert_eq!((code, spec.sleeps), (410, true), "{spec:?}");
                    self.expired = true;
                }
            }
        }
        let query = match spec.beginning {
            Beginning::List => {
                let (state, from) = spec.list(api).await;
                let events =
                    open(api, spec, &format!("watch=true&allowWatchBookmarks=true&resourceVersion={from}")).await;
                return running(spec, Watched::new(Some(state), from), events);
            }
            Beginning::WatchList => "sendInitialEvents=true&resourceVersionMatch=NotOlderThan&",
            Beginning::State => "",
            Beginning::Cached => "resourceVersion=0&",
        };
        let mut events = open(api, spec, &format!("watch=true&{query}allowWatchBookmarks=true")).await;
        let (state, from) = events.state().await;
        running(spec, Watched::new(Some(state), from), events)
    }

    pub(crate) fn ended(&mut self, watched: Watched) {
        self.watches.push(watched);
    }

    /// Compares everything; returns the number of events.
    pub(crate) fn verify(&self, truth: &Truth, list: (BTreeMap<String, u64>, u64)) -> usize {
        let spec = self.spec;
        let mut state = BTreeMap::new();
        let mut from = 0;
        let mut events = 0;
        for watched in &self.watches {
            match &watched.state {
                Some(begun) => {
                    assert_eq!(
                        *begun,
                        truth.state(spec.selector, watched.from),
                        "the state at {}: {spec:?}",
                        watched.from
                    );
                    state = begun.clone();
                }
                None => assert_eq!(watched.from, from, "{spec:?}"),
            }
            let mut expected = truth.events(spec.selector, watched.from);
            // A sleeper's first watch, and every watch that a restart ended, covers a part.
            expected.truncate(watched.seen.len());
            for (index, (seen, expected)) in watched.seen.iter().zip(&expected).enumerate() {
                assert_eq!(seen, expected, "event {index} after {}: {spec:?}", watched.from);
            }
            assert_eq!(watched.seen.len(), expected.len(), "too many events: {spec:?}");
            for seen in &watched.seen {
                match seen.kind.as_str() {
                    "DELETED" => drop(state.remove(&seen.key)),
                    _ => drop(state.insert(seen.key.clone(), seen.revision)),
                }
            }
            from = watched.reached();
            let covered =
                truth.events(spec.selector, watched.from).iter().take_while(|seen| seen.revision <= from).count();
            assert_eq!(covered, watched.seen.len(), "the bookmark at {from} came too early: {spec:?}");
            events += watched.seen.len();
        }
        assert_eq!(state, list.0, "what a list shows at {}: {spec:?}", list.1);
        events
    }
}

fn running(spec: Spec, begun: Watched, mut events: Events) -> Running {
    let (watched, asleep) = (Arc::new(Mutex::new(begun)), CancellationToken::new());
    let (theirs, sleeps) = (watched.clone(), asleep.clone());
    let task = tokio::spawn(async move {
        while let Some(Some(event)) = sleeps.run_until_cancelled(events.next()).await {
            match event {
                Event::Change(seen) => theirs.lock().seen.push(seen),
                Event::Bookmark(revision, end) => {
                    assert!(!end, "{spec:?}: the state ends twice");
                    theirs.lock().bookmark = revision;
                }
                Event::Error(code) => panic!("{spec:?}: error {code}"),
            }
        }
    });
    Running { spec, watched, asleep, task }
}

impl Running {
    pub(crate) fn name(&self) -> String {
        format!("{:?}", self.spec)
    }

    /// Whether the watch has shown everything so far.
    pub(crate) fn has_all(&self, truth: &Truth) -> bool {
        let watched = self.watched.lock();
        self.asleep.is_cancelled() || watched.seen.len() >= truth.events(self.spec.selector, watched.from).len()
    }

    /// The first event that is not there, for people.
    pub(crate) fn missing(&self, truth: &Truth) -> String {
        let watched = self.watched.lock();
        let expected = truth.events(self.spec.selector, watched.from);
        let at = watched.seen.iter().zip(&expected).take_while(|(seen, expected)| seen == expected).count();
        format!("event {at} of {} is {:?}, not {:?}", expected.len(), watched.seen.get(at), expected.get(at))
    }

    /// Waits for the end of the watch.
    pub(crate) async fn rest(self) -> Watched {
        self.task.await.expect("the watcher ran");
        let watched = self.watched.lock();
        watched.clone()
    }
}

enum Event {
    Change(Seen),
    /// Its version, and whether it ends the state.
    Bookmark(u64, bool),
    Error(u64),
}

/// The events of one watch, whatever their encoding.
struct Events {
    encoding: Encoding,
    body: futures::stream::BoxStream<'static, bytes::Bytes>,
    buffer: Vec<u8>,
    /// Looked at, not taken.
    first: Option<Event>,
}

async fn open(api: &Api, spec: Spec, query: &str) -> Events {
    let response = api.raw("GET", &spec.path(query), &[("accept", spec.encoding.accept())], Vec::new()).await;
    assert_eq!(response.status(), 200, "{spec:?}");
    let body = response.into_body().into_data_stream().map(|data| data.expect("data")).boxed();
    Events { encoding: spec.encoding, body, buffer: Vec::new(), first: None }
}

impl Events {
    async fn next(&mut self) -> Option<Event> {
        if let Some(first) = self.first.take() {
            return Some(first);
        }
        loop {
            if let Some(event) = self.take() {
                return Some(event);
            }
            let data = self.body.next().await?;
            self.buffer.extend_from_slice(&data);
        }
    }

    /// The code of an error that the watch begins with. Only an error is there at once.
    async fn first_error(&mut self) -> Option<u64> {
        let short = std::time::Duration::from_millis(50);
        match tokio::time::timeout(short, self.next()).await.ok().flatten() {
            Some(Event::Error(code)) => Some(code),
            other => {
                self.first = other;
                None
            }
        }
    }

    /// The state up to its bookmark.
    async fn state(&mut self) -> (BTreeMap<String, u64>, u64) {
        let mut state = BTreeMap::new();
        loop {
            match self.next().await.expect("an event") {
                Event::Change(seen) => {
                    assert_eq!(seen.kind, "ADDED");
                    assert!(state.insert(seen.key, seen.revision).is_none(), "twice in the state");
                }
                Event::Bookmark(revision, true) => return (state, revision),
                Event::Bookmark(_, false) => panic!("a bookmark within the state"),
                Event::Error(code) => panic!("error {code}"),
            }
        }
    }

    /// One event from the buffer.
    fn take(&mut self) -> Option<Event> {
        match self.encoding {
            Encoding::Protobuf | Encoding::MetadataProtobuf => {
                let length = u32::from_be_bytes(self.buffer.get(..4)?.try_into().expect("four bytes")) as usize;
                if self.buffer.len() < 4 + length {
                    return None;
                }
                let frame = self.buffer.drain(..4 + length).skip(4).collect::<Vec<_>>();
                Some(from_protobuf(&frame))
            }
            Encoding::Json | Encoding::Table | Encoding::Metadata => {
                let end = self.buffer.iter().position(|b| *b == b'\n')?;
                let line = self.buffer.drain(..=end).collect::<Vec<_>>();
                Some(from_json(&serde_json::from_slice(&line).expect("JSON")))
            }
        }
    }
}

fn key(metadata: &Value) -> String {
    format!("{}/{}", metadata["namespace"].as_str().unwrap_or(""), metadata["name"].as_str().unwrap_or(""))
}

fn version(metadata: &Value) -> u64 {
    metadata["resourceVersion"].as_str().and_then(|text| text.parse().ok()).expect("a version")
}

fn from_json(event: &Value) -> Event {
    const END: &str = "k8s.io/initial-events-end";
    let (kind, object) = (event["type"].as_str().expect("a type"), &event["object"]);
    if kind == "ERROR" {
        return Event::Error(object["code"].as_u64().expect("a code"));
    }
    // A Table shows its objects in its rows; a bookmark has one as well.
    let row = &object["rows"][0]["object"]["metadata"];
    let metadata = if row.is_object() { row } else { &object["metadata"] };
    if kind == "BOOKMARK" {
        return Event::Bookmark(version(metadata), metadata["annotations"][END] == "true");
    }
    let tier = metadata["labels"]["tier"].as_str().unwrap_or("");
    Event::Change(Seen::new(kind, &key(metadata), version(metadata), tier))
}

/// `WatchEvent{type = 1, object = 2 {raw = 1}}`, in which is `k8s\0` and `Unknown{typeMeta = 1, raw = 2}`, in which
/// is an object with its ObjectMeta as field 1; a Status has its code as field 6, which is a number and so not read.
fn from_protobuf(frame: &[u8]) -> Event {
    let kind = proto::text(frame, 1);
    let object = proto::field(proto::field(frame, 2), 1).strip_prefix(b"k8s\0").expect("the magic bytes");
    let raw = proto::field(object, 2);
    if kind == "ERROR" {
        let expired = proto::text(raw, 4) == "Expired";
        return Event::Error(if expired { 410 } else { 0 });
    }
    let metadata = proto::field(raw, 1);
    let revision = proto::text(metadata, 6).parse().expect("a version");
    if kind == "BOOKMARK" {
        let end = proto::map(metadata, 12).get("k8s.io/initial-events-end").is_some_and(|value| value == "true");
        return Event::Bookmark(revision, end);
    }
    let key = format!("{}/{}", proto::text(metadata, 3), proto::text(metadata, 1));
    let tier = proto::map(metadata, 11).remove("tier").unwrap_or_default();
    Event::Change(Seen::new(&kind, &key, revision, &tier))
}
