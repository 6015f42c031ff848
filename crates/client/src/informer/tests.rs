//! Informers against a scripted server, and handlers against a store.

use std::time::Duration;

use super::*;
use crate::test_api::Script;
use crate::types::Pod;

fn pod(name: &str, version: &str, uid: &str) -> String {
    format!(
        r#"{{"metadata":{{"name":"{name}","namespace":"n","resourceVersion":"{version}","uid":"{uid}"}},"spec":{{"nodeName":"node-{uid}"}}}}"#
    )
}

fn list(version: &str, continue_: &str, items: &[String]) -> String {
    format!(
        r#"{{"metadata":{{"resourceVersion":"{version}","continue":"{continue_}"}},"items":[{}]}}"#,
        items.join(",")
    )
}

fn event(type_: &str, object: &str) -> String {
    format!("{{\"type\":\"{type_}\",\"object\":{object}}}\n")
}

/// Collects what handlers are told, one line an event.
fn recorder(informer: &Informer<Pod>) -> Arc<Mutex<Vec<String>>> {
    let log: Arc<Mutex<Vec<String>>> = Arc::default();
    let lines = log.clone();
    informer.add_handler(move |event| {
        let version = |pod: &Pod| format!("{}@{}", pod.metadata.name, pod.metadata.resource_version);
        lines.lock().push(match event {
            Event::Added(new) => format!("+{}", version(new)),
            Event::Updated(old, new) => format!("{}>{}", version(old), version(new)),
            Event::Deleted(old) => format!("-{}", version(old)),
        });
    });
    log
}

async fn until(what: impl Fn() -> bool) {
    for _ in 0..10_000 {
        if what() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("did not happen");
}

#[tokio::test(start_paused = true)]
async fn lists_in_pages_watches_resumes_and_lists_again_when_expired() {
    let script = Script::default();
    script.answer(200, &list("9", "more", &[pod("a", "3", "1")]));
    script.answer(200, &list("9", "", &[pod("b", "4", "2")]));
    let first = script.stream(200);
    let shutdown = CancellationToken::new();
    let informer = Informer::<Pod>::spawn(script.client(), Informer::<Pod>::source(), shutdown.clone());
    informer.wait_synced().await;
    let log = recorder(&informer);

    // An event that arrives in pieces, an end of the watch, and a resumption from the last version seen.
    let change = event("MODIFIED", &pod("a", "10", "1"));
    first.unbounded_send(bytes::Bytes::copy_from_slice(&change.as_bytes()[..20])).expect("open");
    first.unbounded_send(bytes::Bytes::copy_from_slice(&change.as_bytes()[20..])).expect("open");
    let bookmark = event("BOOKMARK", r#"{"metadata":{"resourceVersion":"12"}}"#);
    first.unbounded_send(bytes::Bytes::from(bookmark)).expect("open");
    drop(first);

    // The version has expired: everything is listed again. `b` is gone, `a` was made again.
    script.answer(200, &event("ERROR", r#"{"status":"Failure","code":410,"reason":"Expired"}"#));
    script.answer(200, &list("20", "", &[pod("a", "15", "3")]));
    let last = script.stream(200);
    last.unbounded_send(bytes::Bytes::from(event("DELETED", &pod("a", "21", "3")))).expect("open");

    until(|| log.lock().len() == 7).await;
    shutdown.cancel();
    assert_eq!(*log.lock(), ["+a@3", "+b@4", "a@3>a@10", "-b@4", "-a@10", "+a@15", "-a@21"]);
    assert!(informer.is_empty());
    let versions: Vec<String> = script
        .requests
        .lock()
        .iter()
        .map(|line| {
            let query = line.split_once('?').map_or("", |(_, query)| query);
            query.split('&').filter(|part| part.starts_with("resourceV") || part.starts_with("cont")).collect()
        })
        .collect();
    assert_eq!(versions, ["", "continue=more", "resourceVersion=9", "resourceVersion=12", "", "resourceVersion=20"]);
}

#[tokio::test(start_paused = true)]
async fn failures_are_retried_with_growing_pauses() {
    let script = Script::default();
    for _ in 0..5 {
        script.answer(503, "starting");
    }
    script.answer(200, &list("1", "", &[]));
    let informer = Informer::<Pod>::spawn(script.client(), Informer::<Pod>::source(), CancellationToken::new());
    let start = tokio::time::Instant::now();
    informer.wait_synced().await;
    let waited = start.elapsed();
    assert!(waited >= Duration::from_millis(3100) && waited < Duration::from_millis(6300), "waited {waited:?}");
}

#[test]
fn indexes_follow_the_store() {
    let informer = Informer::<Pod>::detached();
    let parse = |text: &str| serde_json::from_str::<Pod>(text).expect("a pod");
    informer.apply(parse(&pod("a", "1", "1")));
    informer.add_index("node", |pod| vec![pod.spec.node_name.clone()]);
    informer.apply(parse(&pod("b", "2", "1")));
    let names = |value: &str| -> Vec<String> {
        informer.by_index("node", value).iter().map(|pod| pod.metadata.name.clone()).collect()
    };
    assert_eq!(names("node-1"), ["a", "b"]);
    informer.apply(parse(&pod("a", "3", "2")));
    assert_eq!((names("node-1"), names("node-2")), (vec!["b".into()], vec!["a".into()]));
    informer.remove(parse(&pod("b", "4", "1")));
    assert!(names("node-1").is_empty());
    assert_eq!(informer.list_namespace("n").len(), 1);
    assert!(informer.list_namespace("m").is_empty());
}

#[test]
fn the_same_version_is_told_once() {
    let informer = Informer::<Pod>::detached();
    let log = recorder(&informer);
    for version in ["1", "1", "2"] {
        informer.apply(serde_json::from_str(&pod("a", version, "1")).expect("a pod"));
    }
    assert_eq!(*log.lock(), ["+a@1", "a@1>a@2"]);
}
