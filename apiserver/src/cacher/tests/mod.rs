//! Tests of the cache as a whole, in front of the memory engine.
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

mod behaviour;
mod history;
mod lists;
mod suite;

use std::sync::Arc;
use std::time::Duration;

use skiff_storage::{Draft, Entry, HistoryLimits, Storage, memory};
use tokio_util::sync::CancellationToken;

use super::*;

/// How long a test waits for something that has to happen.
const DEADLINE: Duration = Duration::from_secs(10);

struct Fixture {
    storage: Arc<dyn Storage>,
    cacher: Arc<Cacher>,
    pods: Arc<WatchCache>,
}

fn pod_fields() -> SelectableFields {
    SelectableFields::new(vec![FieldSpec::new("spec.nodeName"), FieldSpec::new("status.phase")])
}

fn pods_config() -> ResourceConfig {
    ResourceConfig::new("", "pods", true, pod_fields())
}

fn fixture_on(storage: Arc<dyn Storage>, limits: HistoryLimits) -> Fixture {
    let cacher = Cacher::new(storage.clone(), limits, CancellationToken::new());
    let pods = cacher.add(pods_config());
    Fixture { storage, cacher, pods }
}

async fn fixture() -> Fixture {
    let storage = Arc::new(memory::open(HistoryLimits::default()).expect("a store"));
    let fixture = fixture_on(storage, HistoryLimits::default());
    fixture.cacher.ready().await;
    fixture
}

/// A pod with a label `app` and a node.
fn pod(name: &str, app: &str, node: &str) -> Draft {
    let head = format!(r#"{{"kind":"Pod","metadata":{{"labels":{{"app":"{app}"}},"name":"{name}","resourceVersion":""#);
    let rv_at = head.len() as u32;
    Draft { json: format!(r#"{head}"}},"spec":{{"nodeName":"{node}"}}}}"#).into_bytes(), rv_at }
}

impl Fixture {
    async fn create(&self, key: &str, app: &str, node: &str) -> Entry {
        let name = key.rsplit('/').next().expect("a name");
        self.storage.create(&format!("/registry/pods/{key}"), pod(name, app, node), None).await.expect("create")
    }

    async fn update(&self, entry: &Entry, app: &str, node: &str) -> Entry {
        let name = entry.key.rsplit('/').next().expect("a name");
        self.storage.update(&entry.key, entry.revision, pod(name, app, node), None).await.expect("update")
    }

    async fn delete(&self, entry: &Entry) -> u64 {
        self.storage.delete(&entry.key, entry.revision).await.expect("delete").1
    }

    async fn watch(&self, start: WatchStart, predicate: Predicate) -> Watch {
        self.pods.watch(&WatchRequest { start, predicate, bookmarks: false }).await.expect("a watch")
    }
}

fn app(value: &'static str) -> Predicate {
    Predicate { labels: Some(Arc::new(move |labels| labels.get("app") == Some(value))), ..Predicate::default() }
}

fn field(field: &str, value: &str) -> Predicate {
    let requirement = FieldRequirement { field: field.into(), equal: true, value: value.into() };
    Predicate { fields: vec![requirement], ..Predicate::default() }
}

fn in_namespace(namespace: &str) -> Predicate {
    Predicate { namespace: namespace.into(), ..Predicate::default() }
}

async fn next(watch: &mut Watch) -> WatchItem {
    let item = tokio::time::timeout(DEADLINE, watch.next()).await;
    item.expect("no event before the deadline").expect("the watch ended")
}

/// `ADDED ns/name@REV`, with the resourceVersion that the JSON shows; `BOOKMARK REV [end]`.
fn describe(item: &WatchItem) -> String {
    if let WatchItem::Bookmark { revision, initial_events_end } = item {
        return format!("BOOKMARK {revision}{}", if *initial_events_end { " end" } else { "" });
    }
    let (kind, object) = item.event().expect("an event");
    let json: serde_json::Value = serde_json::from_slice(item.json().expect("JSON")).expect("valid JSON");
    let version = json["metadata"]["resourceVersion"].as_str().expect("a resourceVersion");
    assert_eq!(json["metadata"]["name"], object.name());
    format!("{} {}/{}@{version}", kind.as_str(), object.namespace(), object.name())
}

async fn next_texts(watch: &mut Watch, count: usize) -> Vec<String> {
    let mut texts = Vec::new();
    for _ in 0..count {
        texts.push(describe(&next(watch).await));
    }
    texts
}
