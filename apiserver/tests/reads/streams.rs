//! How watches last and end, and what does not become an event.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::history::{Engine, History, MAPS, map, version};
use crate::on_both_engines;

/// Lines of a watch that ends by itself, as type and object.
fn until_the_end(history: &History, query: &str) -> (Vec<(String, Value)>, Duration) {
    let begun = Instant::now();
    let answer = history.wait(history.api.get(&format!("{MAPS}?watch=true&{}", history.query(query)))).expect(200);
    let events = answer.text.lines().map(|line| {
        let event: Value = serde_json::from_str(line).expect("an event");
        (event["type"].as_str().expect("a type").to_owned(), event["object"].clone())
    });
    (events.collect(), begun.elapsed())
}

fn a_watch_ends_when_its_time_is_over(engine: Engine) {
    let history = History::shared(engine);
    let (events, took) = until_the_end(&history, "timeoutSeconds=1&resourceVersion={page}");
    assert_eq!(events.iter().map(|(kind, _)| kind.as_str()).collect::<Vec<_>>(), ["DELETED", "ADDED"]);
    assert!(took >= Duration::from_secs(1), "{took:?}");
}

fn the_last_word_is_how_far_it_came(engine: Engine) {
    let history = History::shared(engine);
    let (events, _) = until_the_end(&history, "timeoutSeconds=1&allowWatchBookmarks=true&resourceVersion={page}");
    let (kind, object) = events.last().expect("an event");
    assert_eq!(
        (kind.as_str(), &object["kind"], &object["apiVersion"]),
        ("BOOKMARK", &json!("ConfigMap"), &json!("v1"))
    );
    assert!(version(object) >= history.revision("{now}"));
    assert_eq!(object["metadata"]["annotations"], Value::Null);
}

fn a_version_of_the_future_is_waited_for_and_then_refused(engine: Engine) {
    let history = History::shared(engine);
    let begun = Instant::now();
    history.list("resourceVersion={future}").expect(504);
    let took = begun.elapsed();
    assert!(took >= Duration::from_secs(3) && took < Duration::from_secs(10), "{took:?}");
}

fn a_version_that_comes_in_time_is_answered(engine: Engine) {
    let history = History::make(engine);
    let next = history.revision("{now}") + 1;
    history.wait(async {
        let path = format!("{MAPS}?resourceVersion={next}");
        let read = history.api.get(&path);
        let write = async {
            tokio::time::sleep(Duration::from_millis(200)).await;
            history.api.post(MAPS, map("late", "1")).await.expect(201)
        };
        let (list, _) = futures::future::join(read, write).await;
        assert!(list.expect(200).text.contains("\"late\""));
    });
}

/// Each way to write what is there already.
fn writes_without_a_change_are_no_events(engine: Engine) {
    let history = History::make(engine);
    let one = format!("{MAPS}/a");
    history.wait(async {
        let apply = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": {"v": "1"}});
        let applied = format!("{one}?fieldManager=m&force=true");
        history.api.patch(&applied, "apply-patch+yaml", apply.clone()).await.expect(200);
        let before = history.api.get(&one).await.expect(200).json();
        let mut watch = history.api.watch(&format!("{MAPS}?watch=true&resourceVersion={}", version(&before))).await;
        let same = [
            history.api.put(&one, before.clone()).await,
            history.api.patch(&one, "merge-patch+json", json!({"data": {"v": "1"}})).await,
            history.api.patch(&one, "strategic-merge-patch+json", json!({"data": {"v": "1"}})).await,
            history
                .api
                .patch(&one, "json-patch+json", json!([{"op": "replace", "path": "/data/v", "value": "1"}]))
                .await,
            history.api.patch(&applied, "apply-patch+yaml", apply).await,
            history.api.put(&format!("{one}?dryRun=All"), map("a", "other")).await,
        ];
        for answer in same {
            assert_eq!(version(&answer.expect(200).json()), version(&before));
        }
        history.api.post(MAPS, map("after", "1")).await.expect(201);
        let (kind, object) = watch.next().await.expect("an event");
        assert_eq!((kind.as_str(), &object["metadata"]["name"]), ("ADDED", &json!("after")));
    });
}

on_both_engines! {
    a_watch_ends_when_its_time_is_over
    the_last_word_is_how_far_it_came
    a_version_of_the_future_is_waited_for_and_then_refused
    a_version_that_comes_in_time_is_answered
    writes_without_a_change_are_no_events
}
