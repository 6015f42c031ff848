//! What the watch cache costs, without HTTP: `cargo run --release -p skiff-apiserver --example watch_cache`.
#![allow(clippy::print_stdout, reason = "the example's output")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use skiff_apiserver::cacher::{
    Cacher, FieldRequirement, FieldSpec, Freshness, ListRequest, ListRevision, Predicate, ResourceConfig,
    SelectableFields, WatchCache, WatchRequest, WatchStart,
};
use skiff_storage::{Draft, HistoryLimits, Storage, memory};
use tokio_util::sync::CancellationToken;

const PODS: usize = 50_000;

/// About 2 KB, with the shape of a pod.
fn pod(name: &str, node: &str) -> Draft {
    let head = format!(
        r#"{{"apiVersion":"v1","kind":"Pod","metadata":{{"creationTimestamp":"2026-01-01T00:00:00Z","labels":{{"app":"web","pod-template-hash":"5d4f8c7b9","tier":"front"}},"name":"{name}","namespace":"default","resourceVersion":""#
    );
    let rv_at = head.len() as u32;
    let container = r#"{"image":"registry.example/web:1","name":"web","resources":{"limits":{"cpu":"1","memory":"1Gi"}},"env":[{"name":"A","value":"b"}]}"#;
    let containers = [container; 10].join(",");
    let tail = format!(
        r#""}},"spec":{{"containers":[{containers}],"hostNetwork":false,"nodeName":"{node}","restartPolicy":"Always","schedulerName":"default-scheduler","serviceAccountName":"default"}},"status":{{"phase":"Running","podIP":"10.1.2.3"}}}}"#
    );
    Draft { json: format!("{head}{tail}").into_bytes(), rv_at }
}

fn fields() -> SelectableFields {
    let names =
        ["spec.nodeName", "spec.restartPolicy", "spec.schedulerName", "spec.serviceAccountName", "status.phase"];
    SelectableFields::new(names.iter().map(|name| FieldSpec::new(name)).collect())
}

/// CPU seconds and resident bytes of this process.
fn usage() -> (f64, f64) {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let columns: Vec<&str> = stat.rsplit(')').next().unwrap_or("").split_whitespace().collect();
    let number = |at: usize| columns.get(at).and_then(|text| text.parse::<f64>().ok()).unwrap_or(0.0);
    ((number(11) + number(12)) / 100.0, number(21) * 4096.0)
}

async fn setup() -> (Arc<dyn Storage>, Arc<Cacher>, Arc<WatchCache>) {
    let storage: Arc<dyn Storage> = Arc::new(memory::open(HistoryLimits::default()).expect("a store"));
    let cacher = Cacher::new(storage.clone(), HistoryLimits::default(), CancellationToken::new());
    let pods = cacher.add(ResourceConfig::new("", "pods", true, fields()));
    pods.ready().await;
    (storage, cacher, pods)
}

async fn write(storage: &Arc<dyn Storage>, from: usize, to: usize) {
    for chunk in (from..to).collect::<Vec<_>>().chunks(512) {
        let writes = chunk.iter().map(|i| async move {
            let name = format!("pod-{i:07}");
            let draft = pod(&name, &format!("node-{}", i % 1000));
            storage.create(&format!("/registry/pods/default/{name}"), draft, None).await.expect("create").revision
        });
        futures::future::join_all(writes).await;
    }
}

fn on_node(node: usize) -> Predicate {
    let requirement = FieldRequirement { field: "spec.nodeName".into(), equal: true, value: format!("node-{node}") };
    Predicate { fields: vec![requirement], ..Predicate::default() }
}

async fn watch(pods: &Arc<WatchCache>, predicate: Predicate) -> skiff_apiserver::cacher::Watch {
    let request = WatchRequest { start: WatchStart::Now, predicate, bookmarks: true };
    pods.watch(&request).await.expect("a watch")
}

async fn events_with(label: &str, watchers: usize) {
    let (storage, _cacher, pods) = setup().await;
    for node in 0..watchers {
        let mut watch = watch(&pods, on_node(node)).await;
        tokio::spawn(async move { while watch.next().await.is_some() {} });
    }
    let (start, (cpu, _)) = (Instant::now(), usage());
    write(&storage, 0, PODS).await;
    pods.wait_until(Freshness::Latest).await.expect("fresh");
    let per_event = (usage().0 - cpu) / PODS as f64 * 1e6;
    println!(
        "{label:<44} {:>8.0} events/s  {per_event:>6.1} us CPU each, the write included",
        PODS as f64 / start.elapsed().as_secs_f64()
    );
}

async fn lists() {
    let (storage, _cacher, pods) = setup().await;
    let before = usage().1;
    write(&storage, 0, 100_000).await;
    pods.wait_until(Freshness::Latest).await.expect("fresh");
    println!("{:<44} {:>8.0} bytes each, with store and history", "100 000 pods in memory", (usage().1 - before) / 1e5);
    for (label, predicate, limit) in [
        ("list of all", Predicate::default(), 0),
        ("list of a page of 500", Predicate::default(), 500),
        ("list of one node's pods", on_node(7), 0),
    ] {
        let request = ListRequest { revision: ListRevision::Fresh(Freshness::Latest), predicate, limit, start: None };
        let start = Instant::now();
        let result = pods.list(&request).await.expect("a list");
        println!(
            "100 000 pods, {label:<30} {:>8.3} ms for {} objects",
            start.elapsed().as_secs_f64() * 1e3,
            result.objects.len()
        );
    }
}

async fn fan_out() {
    const WATCHERS: usize = 10_000;
    const EVENTS: usize = 20;
    let (storage, _cacher, pods) = setup().await;
    let before = usage().1;
    let mut watches = Vec::new();
    for _ in 0..WATCHERS {
        watches.push(watch(&pods, Predicate { namespace: "default".into(), ..Predicate::default() }).await);
    }
    println!("{:<44} {:>8.0} bytes", "an idle watcher", (usage().1 - before) / WATCHERS as f64);
    let mut tasks = Vec::new();
    let first = Arc::new(std::sync::OnceLock::new());
    for mut watch in watches {
        tasks.push(tokio::spawn(async move {
            let mut bytes = 0;
            for _ in 0..EVENTS {
                bytes += watch.next().await.and_then(|item| item.json_frame()).map_or(0, |frame| frame.len());
            }
            bytes
        }));
    }
    tokio::time::sleep(Duration::from_millis(200)).await;
    let (start, (cpu, _)) = (*first.get_or_init(Instant::now), usage());
    write(&storage, 0, EVENTS).await;
    for task in tasks {
        assert!(task.await.expect("a watcher") > 0);
    }
    let deliveries = (WATCHERS * EVENTS) as f64;
    println!(
        "{:<44} {:>8.0} deliveries/s  {:>6.2} us CPU each",
        "10 000 watchers, 20 events at once",
        deliveries / start.elapsed().as_secs_f64(),
        (usage().0 - cpu) / deliveries * 1e6
    );
}

async fn latency() {
    let (storage, _cacher, pods) = setup().await;
    let (sender, mut seen) = tokio::sync::mpsc::channel(4096);
    for _ in 0..1000 {
        let mut watch = watch(&pods, Predicate::default()).await;
        let sender = sender.clone();
        tokio::spawn(async move { while watch.next().await.is_some() && sender.send(Instant::now()).await.is_ok() {} });
    }
    let mut latencies = Vec::new();
    for i in 0..500 {
        write(&storage, i, i + 1).await;
        let answered = Instant::now();
        let mut last = answered;
        for _ in 0..1000 {
            last = last.max(seen.recv().await.expect("an event"));
        }
        latencies.push(last - answered);
    }
    latencies.sort();
    println!("{:<44} p50 {:?}, p99 {:?}", "write answered to last of 1 000 watchers", latencies[250], latencies[495]);
}

#[tokio::main]
async fn main() {
    events_with("no watcher", 0).await;
    events_with("1 000 kubelets, each its node's pods", 1000).await;
    fan_out().await;
    latency().await;
    lists().await;
}
