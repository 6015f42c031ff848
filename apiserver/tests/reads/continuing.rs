//! `continue` tokens: bad ones, pages of one state while others write, and what happens when that state is compacted.

use std::collections::BTreeSet;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use crate::cells;
use crate::history::{Engine, History, MAPS, NOW, PAGE, map, names, version};
use crate::on_both_engines;

/// A token that no list gave out.
fn made(history: &History, revision: &str, start: &str) -> String {
    let rv: Value = serde_json::from_str(&history.query(revision)).expect("JSON");
    BASE64_URL_SAFE_NO_PAD.encode(json!({"v": "meta.k8s.io/v1", "rv": rv, "start": start}).to_string())
}

fn refused(history: &History, token: &str, detail: &str) {
    let answer = history.list(&format!("limit=2&continue={token}")).expect(400).json();
    assert_eq!(answer["reason"], "BadRequest");
    assert_eq!(answer["message"], format!("invalid continue token: continue key is not valid: {detail}"));
}

fn refused_made(history: &History, revision: &str, start: &str, detail: &str) {
    refused(history, &made(history, revision, start), detail);
}

/// Any negative revision goes on at the latest state.
fn goes_on_at_latest(history: &History, revision: &str) {
    let token = made(history, revision, "matrix/b");
    let list = history.list(&format!("limit=2&continue={token}")).expect(200).json();
    assert_eq!((names(&list).as_str(), &list["metadata"]["remainingItemCount"]), ("b=2 d=1", &json!(2)));
    assert!(version(&list) >= history.revision("{now}"));
}

fn from_the_future(history: &History, query: &str) {
    let token = made(history, "{future}", "matrix/b");
    let answer = history.list(&format!("{query}&continue={token}")).expect(504).json();
    assert_eq!(answer["details"]["causes"][0]["reason"], "ResourceVersionTooLarge");
}

mod text {
    use super::*;
    cells! { refused:
        no_base64: "%25%25", "illegal base64 data at input byte 0";
        no_json: "AAAA", "invalid character '\\x00' looking for beginning of value";
        empty_object: "e30", "server does not recognize this encoded version ";
    }
}

mod content {
    use super::*;
    cells! { refused_made:
        revision_zero: "0", "a", "incorrect encoded start resourceVersion (version meta.k8s.io/v1)";
        no_start: "{now}", "", "encoded start key empty (version meta.k8s.io/v1)";
        start_outside: "{now}", "../x", "../x";
        start_that_leaves: "{now}", "x/../../y", "x/../../y";
    }
}

mod negative {
    use super::*;
    cells! { goes_on_at_latest: minus_one: "-1"; other: "-5"; }
}

mod future {
    use super::*;
    cells! { from_the_future: limit: "limit=2"; no_limit: ""; }
}

/// Every page shows the first one's state and revision, counts what remains, and together they are the list.
fn pages(history: &History, limit: usize) {
    let mut token = history.query("{token}");
    let mut seen = vec!["a=1 b=2".to_owned()];
    let mut left = 3;
    loop {
        let page = history.list(&format!("limit={limit}&continue={token}")).expect(200).json();
        assert_eq!(version(&page), history.revision("{page}"));
        left -= page["items"].as_array().expect("items").len() as u64;
        assert_eq!(page["metadata"]["remainingItemCount"].as_u64(), Some(left).filter(|left| *left > 0));
        seen.push(names(&page));
        match page["metadata"]["continue"].as_str() {
            Some(next) => token = next.to_owned(),
            None => break,
        }
    }
    assert_eq!((left, seen.join(" ").as_str()), (0, PAGE));
}

/// With a selector nothing is counted, and pages are filled as far as they go.
fn selected_pages(history: &History, selector: &str, expected: &[&str]) {
    let mut pages = Vec::new();
    let mut query = format!("limit=2&resourceVersion={{past}}&{selector}");
    loop {
        let page = history.list(&query).expect(200).json();
        assert_eq!(
            (version(&page), page["metadata"]["remainingItemCount"].as_u64()),
            (history.revision("{past}"), None)
        );
        pages.push(names(&page));
        match page["metadata"]["continue"].as_str() {
            Some(next) => query = format!("limit=2&{selector}&continue={next}"),
            None => break,
        }
    }
    assert_eq!(pages, expected);
}

mod consistent {
    use super::*;
    cells! { pages: one_by_one: 1; two_by_two: 2; all: 100; }
}

mod selected {
    use super::*;
    cells! { selected_pages:
        by_field: "fieldSelector=metadata.name!=b", &["a=1 c=1", "d=1 e=1", "z=1"];
        by_labels: "labelSelector=!none", &["a=1 b=1", "c=1 d=1", "e=1 z=1"];
    }
}

/// After a compaction: 410 with a token that goes on, inconsistently; the past is gone for lists, the present is not.
fn after_compaction(engine: Engine) {
    let history = History::make(engine);
    // Another server over the same store, whose cache begins after that history.
    history.compact();
    let late = history.restarted();
    let list = |query: &str| late.list(query);

    let answer = list("limit=2&continue={token}").expect(410).json();
    assert_eq!(answer["reason"], "Expired");
    assert!(
        answer["message"].as_str().is_some_and(|text| text.starts_with("The provided continue parameter is too old"))
    );
    let token = answer["metadata"]["continue"].as_str().expect("a token").to_owned();
    let rest = list(&format!("limit=2&continue={token}")).expect(200).json();
    assert_eq!((names(&rest).as_str(), rest["metadata"]["remainingItemCount"].as_u64()), ("d=1 e=1", Some(1)));
    assert!(version(&rest) >= late.revision("{now}"));
    let next = rest["metadata"]["continue"].as_str().expect("a token");
    let last = list(&format!("limit=2&continue={next}")).expect(200).json();
    assert_eq!((names(&last).as_str(), version(&last)), ("f=1", version(&rest)));

    for query in [
        "resourceVersion={past}&resourceVersionMatch=Exact",
        "resourceVersion={past}&resourceVersionMatch=Exact&limit=2",
        "resourceVersion={past}&limit=2",
    ] {
        let answer = list(query).expect(410).json();
        assert_eq!(answer["reason"], "Expired", "{answer}");
    }
    for query in ["", "resourceVersion={past}", "resourceVersion={past}&resourceVersionMatch=NotOlderThan"] {
        assert_eq!(names(&list(query).expect(200).json()), NOW, "{query}");
    }
    let path = format!("{MAPS}?watch=true&{}", late.query("resourceVersion={past}"));
    let event = late.wait(late.api.get(&path)).expect(200).json();
    assert_eq!((event["type"].as_str(), event["object"]["code"].as_u64()), (Some("ERROR"), Some(410)), "{event}");
    assert_eq!(event["object"]["reason"], "Expired");
}

/// Sixteen readers page through while writers write: each sees one state without gap or repeat.
fn pages_while_others_write(engine: Engine) {
    let history = History::make(engine);
    let path = "/api/v1/namespaces/sentinels/configmaps";
    history.wait(async {
        for number in 0..60 {
            history.api.post(path, map(&format!("m-{number:02}"), "0")).await.expect(201);
        }
        let writers = (0..4).map(async |writer| {
            for round in 0..40 {
                let name = format!("m-{:02}", (round * 7 + writer * 13) % 60);
                let one = format!("{path}/{name}");
                match round % 3 {
                    0 => drop(api_ok(history.api.put(&one, map(&name, &round.to_string())).await)),
                    1 => drop(api_ok(history.api.delete(&one, None).await)),
                    _ => drop(api_ok(history.api.post(path, map(&name, "n")).await)),
                }
            }
        });
        let readers = (0..8).map(async |reader| {
            for _ in 0..4 {
                let whole = history.api.get(&format!("{path}?limit={}", 7 + reader)).await.expect(200).json();
                let revision = version(&whole);
                let mut seen = names(&whole);
                let mut next = whole["metadata"]["continue"].as_str().map(str::to_owned);
                while let Some(token) = next {
                    let page = history.api.get(&format!("{path}?limit={}&continue={token}", 7 + reader)).await;
                    let page = page.expect(200).json();
                    assert_eq!(version(&page), revision);
                    seen = format!("{seen} {}", names(&page));
                    next = page["metadata"]["continue"].as_str().map(str::to_owned);
                }
                let exact = format!("{path}?resourceVersion={revision}&resourceVersionMatch=Exact");
                assert_eq!(seen, names(&history.api.get(&exact).await.expect(200).json()));
                let keys = seen.split(' ').map(|item| item.split('=').next()).collect::<Vec<_>>();
                assert_eq!(keys.iter().collect::<BTreeSet<_>>().len(), keys.len(), "repeated: {seen}");
            }
        });
        futures::future::join(futures::future::join_all(writers), futures::future::join_all(readers)).await;
    });
}

/// Somebody else may have been quicker.
fn api_ok(answer: skiff_fixture::Answer) -> skiff_fixture::Answer {
    assert!([200, 201, 404, 409].contains(&answer.status.as_u16()), "{}", answer.text);
    answer
}

on_both_engines! { after_compaction pages_while_others_write }
