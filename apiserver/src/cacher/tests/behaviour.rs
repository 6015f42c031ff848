//! What watchers see: transitions, initial events, bookmarks, sharing, bounds.

use skiff_storage::{HistoryLimits, memory};

use super::super::queue::QUEUE_EVENTS;
use super::*;

#[tokio::test]
async fn transitions_follow_from_the_old_and_the_new_object() {
    let fixture = fixture().await;
    let mut web = fixture.watch(WatchStart::Now, app("web")).await;
    let mut all = fixture.watch(WatchStart::Now, Predicate::default()).await;

    let a1 = fixture.create("x/a", "db", "").await;
    let a2 = fixture.update(&a1, "web", "").await;
    let a3 = fixture.update(&a2, "web", "n1").await;
    let a4 = fixture.update(&a3, "db", "n1").await;
    let a5 = fixture.update(&a4, "web", "n1").await;
    let gone = fixture.delete(&a5).await;
    let b1 = fixture.create("x/b", "db", "").await;
    let b_gone = fixture.delete(&b1).await;

    let expected = [
        format!("ADDED x/a@{}", a2.revision),
        format!("MODIFIED x/a@{}", a3.revision),
        // The last matching state, with the revision of the change that ended the match.
        format!("DELETED x/a@{}", a4.revision),
        format!("ADDED x/a@{}", a5.revision),
        format!("DELETED x/a@{gone}"),
    ];
    let mut seen = Vec::new();
    for _ in 0..2 {
        seen.push(describe(&next(&mut web).await));
    }
    let left = next(&mut web).await;
    assert!(left.json().expect("JSON").windows(5).any(|text| text == b"\"web\""), "the state that matched");
    seen.push(describe(&left));
    seen.extend(next_texts(&mut web, 2).await);
    assert_eq!(seen, expected);

    let all = next_texts(&mut all, 8).await;
    assert_eq!(all[0], format!("ADDED x/a@{}", a1.revision));
    assert_eq!(all[1], format!("MODIFIED x/a@{}", a2.revision));
    assert_eq!(all[5], format!("DELETED x/a@{gone}"));
    assert_eq!(all[6..], [format!("ADDED x/b@{}", b1.revision), format!("DELETED x/b@{b_gone}")]);
    assert!(web.try_next().is_none());
}

#[tokio::test]
async fn every_kind_of_predicate_sees_exactly_its_objects() {
    let fixture = fixture().await;
    let named = |namespace: &str, name: &str| Predicate {
        namespace: namespace.into(),
        name: name.into(),
        ..Predicate::default()
    };
    let not = |text: &str, value: &str| {
        let requirement = FieldRequirement { field: text.into(), equal: false, value: value.into() };
        Predicate { fields: vec![requirement], ..Predicate::default() }
    };
    let cases = [
        (Predicate::default(), vec!["x/a", "x/b", "y/a"]),
        (in_namespace("x"), vec!["x/a", "x/b"]),
        (named("x", "a"), vec!["x/a"]),
        (named("", "a"), vec!["x/a", "y/a"]),
        (field("metadata.namespace", "y"), vec!["y/a"]),
        (field("metadata.name", "b"), vec!["x/b"]),
        (field("spec.nodeName", "n1"), vec!["x/a", "y/a"]),
        (Predicate { namespace: "y".into(), ..field("spec.nodeName", "n1") }, vec!["y/a"]),
        (not("spec.nodeName", "n1"), vec!["x/b"]),
        (field("status.phase", "Running"), vec![]),
        (app("web"), vec!["x/a"]),
        (Predicate { labels: app("web").labels, ..field("spec.nodeName", "n2") }, vec![]),
    ];
    let mut watches = Vec::new();
    for (predicate, _) in &cases {
        watches.push(fixture.watch(WatchStart::Now, predicate.clone()).await);
    }
    fixture.create("x/a", "web", "n1").await;
    fixture.create("x/b", "db", "n2").await;
    let last = fixture.create("y/a", "db", "n1").await;
    fixture.pods.wait_for(last.revision).await.unwrap();
    for ((predicate, expected), watch) in cases.iter().zip(&mut watches) {
        let mut seen = Vec::new();
        while let Some(item) = watch.try_next() {
            let (_, object) = item.event().expect("an event");
            seen.push(format!("{}/{}", object.namespace(), object.name()));
        }
        assert_eq!(&seen, expected, "{predicate:?}");
    }
}

#[tokio::test]
async fn a_moving_field_value_is_an_end_and_a_beginning() {
    let fixture = fixture().await;
    let mut unscheduled = fixture.watch(WatchStart::Now, field("spec.nodeName", "")).await;
    let mut n1 = fixture.watch(WatchStart::Now, field("spec.nodeName", "n1")).await;
    let first = fixture.create("x/a", "web", "").await;
    let bound = fixture.update(&first, "web", "n1").await;
    let relabelled = fixture.update(&bound, "db", "n1").await;
    let expected = [format!("ADDED x/a@{}", first.revision), format!("DELETED x/a@{}", bound.revision)];
    assert_eq!(next_texts(&mut unscheduled, 2).await, expected);
    let expected = [format!("ADDED x/a@{}", bound.revision), format!("MODIFIED x/a@{}", relabelled.revision)];
    assert_eq!(next_texts(&mut n1, 2).await, expected);
}

#[tokio::test]
async fn an_unknown_field_is_refused() {
    let fixture = fixture().await;
    let request = WatchRequest { start: WatchStart::Now, predicate: field("spec.nodename", "n1"), bookmarks: false };
    let error = fixture.pods.watch(&request).await.err().expect("an error");
    assert_eq!(error.to_string(), "field label not supported: spec.nodename");
    assert_eq!(skiff_apimachinery::status::Status::from(error).code, 400);
}

#[tokio::test]
async fn initial_events_then_the_mark_then_changes() {
    let fixture = fixture().await;
    let a = fixture.create("x/a", "web", "").await;
    let b = fixture.create("x/b", "db", "").await;
    let start = WatchStart::State { freshness: Freshness::Latest, mark_end: true };
    let mut watch = fixture.watch(start, app("web")).await;
    let c = fixture.create("x/c", "web", "").await;
    let expected = [
        format!("ADDED x/a@{}", a.revision),
        format!("BOOKMARK {} end", b.revision),
        format!("ADDED x/c@{}", c.revision),
    ];
    assert_eq!(next_texts(&mut watch, 3).await, expected);

    let start = WatchStart::State { freshness: Freshness::NotOlderThan(c.revision), mark_end: false };
    let mut watch = fixture.watch(start, app("web")).await;
    assert_eq!(next_texts(&mut watch, 2).await, [expected[0].clone(), expected[2].clone()]);
    assert!(watch.try_next().is_none());
}

#[tokio::test]
async fn a_watch_from_the_future_begins_there() {
    let fixture = fixture().await;
    let a = fixture.create("x/a", "web", "").await;
    let mut watch = fixture.watch(WatchStart::After(a.revision + 1), Predicate::default()).await;
    fixture.create("x/b", "web", "").await;
    let c = fixture.create("x/c", "web", "").await;
    assert_eq!(next_texts(&mut watch, 1).await, [format!("ADDED x/c@{}", c.revision)]);
}

#[tokio::test]
async fn bookmarks_never_run_ahead_of_events() {
    let fixture = fixture().await;
    let mut watch = fixture.watch(WatchStart::Now, app("web")).await;
    let a = fixture.create("x/a", "web", "").await;
    let b = fixture.create("x/b", "db", "").await;
    fixture.pods.wait_for(b.revision).await.unwrap();
    assert_eq!(watch.bookmark(), None, "an event waits");
    assert_eq!(next_texts(&mut watch, 1).await, [format!("ADDED x/a@{}", a.revision)]);
    assert_eq!(watch.bookmark(), Some(b.revision), "what did not match has been passed too");
    // Other resources move it on as well.
    let node = fixture.storage.create("/registry/nodes/n", pod("n", "", ""), None).await.unwrap();
    fixture.pods.wait_until(Freshness::Latest).await.unwrap();
    assert_eq!(watch.bookmark(), Some(node.revision));
}

#[tokio::test(start_paused = true)]
async fn bookmarks_come_by_the_minute_to_those_who_asked() {
    let fixture = fixture().await;
    let request = |bookmarks| WatchRequest { start: WatchStart::Now, predicate: Predicate::default(), bookmarks };
    let mut with = fixture.pods.watch(&request(true)).await.unwrap();
    let mut without = fixture.pods.watch(&request(false)).await.unwrap();
    let start = tokio::time::Instant::now();
    let first = with.next().await.expect("a bookmark");
    assert!(matches!(first, WatchItem::Bookmark { initial_events_end: false, .. }), "{first:?}");
    let waited = start.elapsed();
    assert!(waited >= Duration::from_secs(60) && waited <= Duration::from_secs(75), "{waited:?}");
    assert!(tokio::time::timeout(Duration::from_secs(300), without.next()).await.is_err());
}

#[tokio::test]
async fn store_cache_and_watchers_share_bytes() {
    let fixture = fixture().await;
    let mut first = fixture.watch(WatchStart::Now, Predicate::default()).await;
    let mut second = fixture.watch(WatchStart::Now, in_namespace("x")).await;
    let entry = fixture.create("x/a", "web", "").await;
    let (one, two) = (next(&mut first).await, next(&mut second).await);
    let stored = entry.object.json.as_ptr();
    assert_eq!(one.json().unwrap().as_ptr(), stored);
    assert_eq!(fixture.pods.get("x", "a").unwrap().json().as_ptr(), stored);
    assert_eq!(one.json_frame().unwrap().as_ptr(), two.json_frame().unwrap().as_ptr(), "one frame for all");
    let frame = format!("{{\"type\":\"ADDED\",\"object\":{}}}\n", std::str::from_utf8(&entry.object.json).unwrap());
    assert_eq!(one.json_frame().unwrap(), frame);

    let gone = fixture.delete(&entry).await;
    let (one, two) = (next(&mut first).await, next(&mut second).await);
    assert_eq!(describe(&one), format!("DELETED x/a@{gone}"));
    assert_eq!(one.json().unwrap().as_ptr(), two.json().unwrap().as_ptr(), "made once");
}

#[tokio::test]
async fn encodings_are_made_once_while_fresh_and_then_forgotten() {
    let fixture = fixture().await;
    let mut watch = fixture.watch(WatchStart::Now, Predicate::default()).await;
    fixture.create("x/a", "web", "").await;
    let WatchItem::Change { kind, change } = next(&mut watch).await else { panic!("no change") };
    let encode = |text: &'static str| change.encoded(7, kind, move || bytes::Bytes::from_static(text.as_bytes()));
    assert_eq!(encode("first"), "first");
    assert_eq!(encode("second"), "first");
    change.cool();
    assert_eq!(encode("third"), "third");
    assert_eq!(encode("fourth"), "fourth");
}

#[tokio::test]
async fn a_slow_watcher_is_ended_and_others_are_not() {
    let fixture = fixture().await;
    let mut slow = fixture.watch(WatchStart::Now, Predicate::default()).await;
    let start = fixture.pods.revision();
    let mut entry = fixture.create("x/a", "web", "").await;
    for i in 0..QUEUE_EVENTS + 10 {
        entry = fixture.update(&entry, if i % 2 == 0 { "db" } else { "web" }, "").await;
    }
    fixture.pods.wait_for(entry.revision).await.unwrap();
    let mut last = start;
    while let Some(item) = slow.next().await {
        assert_eq!(item.revision(), last + 1, "no gap before the end");
        last = item.revision();
    }
    assert_eq!(slow.end(), Some(WatchEnd::Slow));
    assert_eq!(last, start + QUEUE_EVENTS as u64);
    assert_eq!(fixture.pods.watcher_count(), 0);
    let mut resumed = fixture.watch(WatchStart::After(last), Predicate::default()).await;
    assert_eq!(next(&mut resumed).await.revision(), last + 1);
}

#[tokio::test]
async fn dropped_watches_leave_nothing_behind() {
    let fixture = fixture().await;
    for round in 0..100 {
        let predicates = [
            Predicate::default(),
            in_namespace("x"),
            field("spec.nodeName", &format!("n{round}")),
            Predicate { name: "a".into(), ..in_namespace("x") },
        ];
        let mut watches = Vec::new();
        for predicate in predicates {
            watches.push(fixture.watch(WatchStart::Now, predicate).await);
        }
        assert_eq!(fixture.pods.watcher_count(), 4);
        drop(watches);
        assert_eq!(fixture.pods.watcher_count(), 0);
    }
}

#[tokio::test]
async fn an_idle_watcher_is_small() {
    let fixture = fixture().await;
    let watch = fixture.watch(WatchStart::Now, field("spec.nodeName", "n1")).await;
    let size = std::mem::size_of_val(&watch);
    // The rest of the 5 KiB that a watcher may cost is for its HTTP stream.
    assert!(size <= 256, "a watch is {size} bytes");
}

#[tokio::test]
async fn removing_a_resource_ends_its_watches() {
    let fixture = fixture().await;
    let mut watch = fixture.watch(WatchStart::Now, Predicate::default()).await;
    fixture.cacher.remove("", "pods");
    let end = tokio::time::timeout(DEADLINE, watch.next()).await.expect("the end");
    assert!(end.is_none());
    assert_eq!(watch.end(), Some(WatchEnd::Closed));
    assert!(fixture.cacher.cache("", "pods").is_none());
}

#[tokio::test]
async fn the_reader_for_authorizers_follows_changes() {
    let fixture = fixture().await;
    let reader: &dyn ObjectReader = &*fixture.cacher;
    let before = reader.generation("", "pods");
    let a = fixture.create("x/a", "web", "").await;
    fixture.create("y/b", "web", "").await;
    fixture.pods.wait_until(Freshness::Latest).await.unwrap();
    assert_eq!(reader.get("", "pods", "x", "a"), Some(a.object.json.clone()));
    assert_eq!(reader.list("", "pods", "x"), std::slice::from_ref(&a.object.json));
    assert_eq!(reader.list("", "pods", "").len(), 2);
    let after = reader.generation("", "pods");
    assert!(after > before);
    fixture.storage.create("/registry/nodes/n", pod("n", "", ""), None).await.unwrap();
    fixture.pods.wait_until(Freshness::Latest).await.unwrap();
    assert_eq!(reader.generation("", "pods"), after, "other resources are not its business");
    assert!(reader.get("", "nothing", "", "x").is_none());
}

#[tokio::test]
async fn a_cluster_scoped_resource_has_no_namespaces() {
    let storage = std::sync::Arc::new(memory::open(HistoryLimits::default()).unwrap());
    let fixture = fixture_on(storage, HistoryLimits::default());
    let nodes = fixture.cacher.add(ResourceConfig::new("", "nodes", false, SelectableFields::new(vec![])));
    let predicate = field("metadata.name", "n1");
    let request = WatchRequest { start: WatchStart::Now, predicate, bookmarks: false };
    let mut watch = nodes.watch(&request).await.unwrap();
    fixture.storage.create("/registry/nodes/n2", pod("n2", "", ""), None).await.unwrap();
    let n1 = fixture.storage.create("/registry/nodes/n1", pod("n1", "", ""), None).await.unwrap();
    assert_eq!(describe(&next(&mut watch).await), format!("ADDED /n1@{}", n1.revision));
    assert_eq!(nodes.get("", "n2").unwrap().name(), "n2");
}
