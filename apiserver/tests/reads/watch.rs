//! Watch × resourceVersion × resourceVersionMatch × sendInitialEvents × bookmarks.
//!
//! To know that nothing more comes, a test creates an object elsewhere, which the watch of all namespaces must see next.

use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::Value;

use crate::cells;
use crate::history::{Engine, History, NOW, map, name, version};

/// The current state as events.
const STATE: &str = "ADDED a=1, ADDED b=2, ADDED d=1, ADDED e=1, ADDED f=1";
/// The same, and the bookmark after it.
const MARKED: &str = "ADDED a=1, ADDED b=2, ADDED d=1, ADDED e=1, ADDED f=1, END";
/// What happened after `{page}`.
const SINCE: &str = "DELETED c=1, ADDED f=1";
/// What happened after `{past}`.
const SINCE_PAST: &str = "DELETED z=1, MODIFIED b=2, DELETED c=1, ADDED f=1";

const NEEDS_MATCH: &str =
    "resourceVersionMatch: Forbidden: sendInitialEvents requires setting resourceVersionMatch to NotOlderThan";
const NEEDS_INIT: &str =
    "resourceVersionMatch: Forbidden: resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided";
const EXACT: &str = "resourceVersionMatch: Unsupported value: \"Exact\": supported values: \"NotOlderThan\"";

static SENTINELS: AtomicU64 = AtomicU64::new(0);

/// The events up to the sentinel, which is created once the watch runs.
fn events(history: &History, query: &str) -> Vec<Value> {
    let query = history.query(query);
    history.wait(async {
        let sentinel = format!("sentinel-{}", SENTINELS.fetch_add(1, Ordering::Relaxed));
        let mut watch = history.api.watch(&format!("/api/v1/configmaps?watch=true&{query}")).await;
        history.api.post("/api/v1/namespaces/sentinels/configmaps", map(&sentinel, "")).await.expect(201);
        let mut events = Vec::new();
        while let Some((kind, object)) = watch.next().await {
            if object["metadata"]["name"] == *sentinel {
                return events;
            }
            if object["metadata"]["namespace"] != "sentinels" {
                events.push(serde_json::json!({"type": kind, "object": object}));
            }
        }
        panic!("the watch ended after {events:?}")
    })
}

fn describe(event: &Value) -> String {
    let (kind, object) = (event["type"].as_str().expect("a type"), &event["object"]);
    match kind {
        "BOOKMARK" if object["metadata"]["annotations"]["k8s.io/initial-events-end"] == "true" => "END".to_owned(),
        _ => format!("{kind} {}", name(object)),
    }
}

fn sends(history: &History, query: &str, expected: &str) {
    let events = events(history, query);
    let texts = events.iter().map(describe).collect::<Vec<_>>();
    assert_eq!(texts.join(", "), expected);
    let versions = events.iter().map(|event| version(&event["object"])).collect::<Vec<_>>();
    if expected == SINCE || expected == SINCE_PAST {
        // Deletions at their own revision: all grow.
        assert!(versions.is_sorted_by(|a, b| a < b), "{versions:?}");
        assert_eq!(versions.last(), Some(&history.revision("{now}")));
    }
    if expected == MARKED {
        assert!(versions.last() >= Some(&history.revision("{now}")), "{versions:?}");
    }
}

fn refuses(history: &History, query: &str, code: u16, messages: &[&str]) {
    let path = format!("/api/v1/configmaps?watch=true&{}", history.query(query));
    let answer = history.wait(history.api.get(&path)).expect(code).json();
    let message = match messages {
        [message] if code == 422 => format!("ListOptions.meta.k8s.io \"\" is invalid: {message}"),
        [message] => (*message).to_owned(),
        messages => format!("ListOptions.meta.k8s.io \"\" is invalid: [{}]", messages.join(", ")),
    };
    assert_eq!(answer["message"], message);
}

/// An ERROR event and the end.
fn fails(history: &History, query: &str, code: u16, reason: &str, message: &str) {
    let path = format!("/api/v1/configmaps?watch=true&{}", history.query(query));
    let answer = history.wait(history.api.get(&path)).expect(200).json();
    assert_eq!(answer["type"], "ERROR");
    let status = &answer["object"];
    assert_eq!((status["code"].as_u64(), status["reason"].as_str()), (Some(code.into()), Some(reason)), "{status}");
    assert!(status["message"].as_str().is_some_and(|text| text.starts_with(&history.query(message))), "{status}");
}

/// Nothing, until the time is over.
fn silent(history: &History, query: &str) {
    let path = format!("/api/v1/configmaps?watch=true&timeoutSeconds=1&{}", history.query(query));
    let answer = history.wait(history.api.get(&path)).expect(200).text;
    let events = answer.lines().filter(|line| !line.contains("BOOKMARK")).collect::<Vec<_>>();
    assert!(events.is_empty(), "{events:?}");
}

mod plain {
    use super::*;
    cells! { sends:
        unset: "", STATE;
        unset_bookmarks: "allowWatchBookmarks=true", MARKED;
        zero: "resourceVersion=0", STATE;
        zero_bookmarks: "resourceVersion=0&allowWatchBookmarks=true", MARKED;
        past: "resourceVersion={past}", SINCE_PAST;
        page: "resourceVersion={page}", SINCE;
        page_bookmarks: "resourceVersion={page}&allowWatchBookmarks=true", SINCE;
        page_limit_is_ignored: "resourceVersion={page}&limit=1", SINCE;
        page_continue_is_ignored: "resourceVersion={page}&continue={token}", SINCE;
    }
}

mod initial_events {
    use super::*;
    const INIT: &str = "sendInitialEvents=true&resourceVersionMatch=NotOlderThan";

    fn with(history: &History, query: &str, expected: &str) {
        sends(history, &format!("{INIT}&{query}"), expected);
    }

    cells! { with:
        unset: "", STATE;
        unset_bookmarks: "allowWatchBookmarks=true", MARKED;
        zero: "resourceVersion=0", STATE;
        zero_bookmarks: "resourceVersion=0&allowWatchBookmarks=true", MARKED;
        past: "resourceVersion={past}", STATE;
        past_bookmarks: "resourceVersion={past}&allowWatchBookmarks=true", MARKED;
        present: "resourceVersion={now}", STATE;
        present_bookmarks: "resourceVersion={now}&allowWatchBookmarks=true", MARKED;
        empty_version: "resourceVersion=&allowWatchBookmarks=true", MARKED;
    }
}

mod no_initial_events {
    use super::*;

    fn with(history: &History, query: &str, expected: &str) {
        sends(history, &format!("sendInitialEvents=false&resourceVersionMatch=NotOlderThan&{query}"), expected);
    }

    cells! { with:
        unset: "", "";
        unset_bookmarks: "allowWatchBookmarks=true", "";
        zero: "resourceVersion=0", "";
        zero_bookmarks: "resourceVersion=0&allowWatchBookmarks=true", "";
        past: "resourceVersion={past}", SINCE_PAST;
        page: "resourceVersion={page}", SINCE;
        page_bookmarks: "resourceVersion={page}&allowWatchBookmarks=true", SINCE;
    }
}

mod future {
    use super::*;
    cells! { silent:
        plain: "resourceVersion={future}";
        plain_bookmarks: "resourceVersion={future}&allowWatchBookmarks=true";
        no_initial_events: "resourceVersion={future}&sendInitialEvents=false&resourceVersionMatch=NotOlderThan";
    }
}

mod future_with_initial_events {
    use super::*;
    cells! { fails:
        state: "resourceVersion={future}&sendInitialEvents=true&resourceVersionMatch=NotOlderThan", 504, "Timeout",
            "Timeout: Too large resource version: {future}, current: ";
        state_bookmarks: "resourceVersion={future}&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true",
            504, "Timeout", "Timeout: Too large resource version: {future}, current: ";
    }
}

mod refused {
    use super::*;
    const CONTINUE: &str =
        "resourceVersionMatch: Forbidden: resourceVersionMatch is forbidden when continue is provided";
    const NOT_A_NUMBER: &str =
        "resourceVersion: Invalid value: \"abc\": strconv.ParseUint: parsing \"abc\": invalid syntax";
    cells! { refuses:
        unset_init: "sendInitialEvents=true", 422, &[NEEDS_MATCH];
        unset_init_bookmarks: "sendInitialEvents=true&allowWatchBookmarks=true", 422, &[NEEDS_MATCH];
        unset_no_init: "sendInitialEvents=false", 422, &[NEEDS_MATCH];
        unset_match: "resourceVersionMatch=NotOlderThan", 422, &[NEEDS_INIT];
        unset_exact: "resourceVersionMatch=Exact", 422, &[NEEDS_INIT, EXACT];
        unset_init_exact: "resourceVersionMatch=Exact&sendInitialEvents=true", 422, &[NEEDS_MATCH, EXACT];
        zero_init: "resourceVersion=0&sendInitialEvents=true", 422, &[NEEDS_MATCH];
        zero_no_init: "resourceVersion=0&sendInitialEvents=false", 422, &[NEEDS_MATCH];
        zero_match: "resourceVersion=0&resourceVersionMatch=NotOlderThan", 422, &[NEEDS_INIT];
        zero_exact: "resourceVersion=0&resourceVersionMatch=Exact", 422, &[NEEDS_INIT, EXACT];
        page_init: "resourceVersion={page}&sendInitialEvents=true", 422, &[NEEDS_MATCH];
        page_no_init: "resourceVersion={page}&sendInitialEvents=false", 422, &[NEEDS_MATCH];
        page_match: "resourceVersion={page}&resourceVersionMatch=NotOlderThan", 422, &[NEEDS_INIT];
        page_exact: "resourceVersion={page}&resourceVersionMatch=Exact", 422, &[NEEDS_INIT, EXACT];
        future_init: "resourceVersion={future}&sendInitialEvents=true", 422, &[NEEDS_MATCH];
        future_match: "resourceVersion={future}&resourceVersionMatch=NotOlderThan", 422, &[NEEDS_INIT];
        unset_continue: "continue={token}", 422, &[CONTINUE];
        init_continue: "continue={token}&sendInitialEvents=true&resourceVersionMatch=NotOlderThan", 422, &[CONTINUE];
        not_a_number: "resourceVersion=abc", 500, &[NOT_A_NUMBER];
        not_a_number_init: "resourceVersion=abc&sendInitialEvents=true&resourceVersionMatch=NotOlderThan", 500,
            &[NOT_A_NUMBER];
        not_a_number_no_init: "resourceVersion=abc&sendInitialEvents=false&resourceVersionMatch=NotOlderThan", 500,
            &[NOT_A_NUMBER];
    }
}

#[test]
fn the_state_is_what_a_list_shows() {
    let state = NOW.split(' ').map(|name| format!("ADDED {name}")).collect::<Vec<_>>().join(", ");
    assert_eq!(state, STATE);
}
