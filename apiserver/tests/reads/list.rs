//! List × resourceVersion × resourceVersionMatch × limit × continue.

use serde_json::Value;

use crate::cells;
use crate::history::{Engine, History, NOW, PAGE, PAST, names, version};

/// The state and the revision that a list shows.
#[derive(Clone, Copy, Debug)]
struct Shows {
    items: &'static str,
    /// `{past}` or `{page}`: exactly. `{now}`: that or later.
    revision: &'static str,
    remaining: Option<u64>,
}

const fn whole(items: &'static str, revision: &'static str) -> Shows {
    Shows { items, revision, remaining: None }
}

const fn first(items: &'static str, revision: &'static str, remaining: u64) -> Shows {
    Shows { items, revision, remaining: Some(remaining) }
}

const CURRENT: Shows = whole(NOW, "{now}");
const CURRENT_PAGE: Shows = first("a=1 b=2", "{now}", 3);
/// What the token continues.
const REST: Shows = whole("c=1 d=1 e=1", "{page}");
const REST_PAGE: Shows = first("c=1 d=1", "{page}", 1);

fn shows(history: &History, query: &str, expected: Shows) {
    let list = history.list(query).expect(200).json();
    assert_eq!(names(&list), expected.items);
    let (revision, wanted) = (version(&list), history.revision(expected.revision));
    match expected.revision {
        "{now}" => assert!(revision >= wanted, "{revision} is before {wanted}"),
        _ => assert_eq!(revision, wanted),
    }
    let metadata = &list["metadata"];
    assert_eq!(metadata["remainingItemCount"].as_u64(), expected.remaining);
    assert_eq!(metadata["continue"].is_string(), expected.remaining.is_some(), "{metadata}");
}

fn refuses(history: &History, query: &str, details: &[&str]) {
    let answer = history.list(query).expect(422).json();
    let message = match details {
        [detail] => format!("ListOptions.meta.k8s.io \"\" is invalid: resourceVersionMatch: {detail}"),
        details => {
            let details = details.iter().map(|detail| format!("resourceVersionMatch: {detail}")).collect::<Vec<_>>();
            format!("ListOptions.meta.k8s.io \"\" is invalid: [{}]", details.join(", "))
        }
    };
    assert_eq!((answer["reason"].as_str(), answer["message"].as_str()), (Some("Invalid"), Some(message.as_str())));
    let causes = answer["details"]["causes"].as_array().map_or(&[][..], |causes| causes);
    assert_eq!(causes.iter().map(|cause| &cause["message"]).collect::<Vec<_>>(), details);
}

fn fails(history: &History, query: &str, code: u16, reason: &str, message: &str) {
    let answer: Value = history.list(query).expect(code).json();
    assert_eq!(answer["reason"], reason, "{answer}");
    assert!(answer["message"].as_str().is_some_and(|text| text.starts_with(&history.query(message))), "{answer}");
    if code == 504 {
        assert_eq!(answer["details"]["causes"][0]["reason"], "ResourceVersionTooLarge");
    }
}

/// Without a match.
mod unmatched {
    use super::*;
    cells! { shows:
        unset: "", CURRENT;
        unset_limit: "limit=2", CURRENT_PAGE;
        unset_negative_limit: "limit=-1", CURRENT;
        zero: "resourceVersion=0", CURRENT;
        zero_limit_is_ignored: "resourceVersion=0&limit=2", CURRENT;
        past: "resourceVersion={past}", CURRENT;
        past_limit_is_exact: "resourceVersion={past}&limit=2", first("a=1 b=1", "{past}", 4);
        page: "resourceVersion={page}", CURRENT;
        page_limit_is_exact: "resourceVersion={page}&limit=2", first("a=1 b=2", "{page}", 3);
    }
}

mod not_older_than {
    use super::*;
    fn matched(history: &History, query: &str, expected: Shows) {
        shows(history, &format!("resourceVersionMatch=NotOlderThan&{query}"), expected);
    }
    cells! { matched:
        zero: "resourceVersion=0", CURRENT;
        zero_limit_is_ignored: "resourceVersion=0&limit=2", CURRENT;
        past: "resourceVersion={past}", CURRENT;
        past_limit: "resourceVersion={past}&limit=2", CURRENT_PAGE;
        page: "resourceVersion={page}", CURRENT;
        page_limit: "resourceVersion={page}&limit=2", CURRENT_PAGE;
    }
}

mod exact {
    use super::*;
    fn matched(history: &History, query: &str, expected: Shows) {
        shows(history, &format!("resourceVersionMatch=Exact&{query}"), expected);
    }
    cells! { matched:
        past: "resourceVersion={past}", whole(PAST, "{past}");
        past_limit: "resourceVersion={past}&limit=2", first("a=1 b=1", "{past}", 4);
        page: "resourceVersion={page}", whole(PAGE, "{page}");
        page_limit: "resourceVersion={page}&limit=2", first("a=1 b=2", "{page}", 3);
    }
}

mod continued {
    use super::*;
    cells! { shows:
        unset: "continue={token}", REST;
        unset_limit: "continue={token}&limit=2", REST_PAGE;
        zero: "continue={token}&resourceVersion=0", REST;
        zero_limit_is_ignored: "continue={token}&resourceVersion=0&limit=2", REST;
    }
}

const NEEDS_VERSION: &str = "Forbidden: resourceVersionMatch is forbidden unless resourceVersion is provided";
const CONTINUED: &str = "Forbidden: resourceVersionMatch is forbidden when continue is provided";
const EXACT_ZERO: &str = "Forbidden: resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\"";
const BOGUS: &str = "Unsupported value: \"Bogus\": supported values: \"Exact\", \"NotOlderThan\", \"\"";

mod refused {
    use super::*;
    cells! { refuses:
        unset_not_older: "resourceVersionMatch=NotOlderThan", &[NEEDS_VERSION];
        unset_not_older_limit: "resourceVersionMatch=NotOlderThan&limit=2", &[NEEDS_VERSION];
        unset_not_older_continue: "resourceVersionMatch=NotOlderThan&continue={token}", &[NEEDS_VERSION, CONTINUED];
        unset_exact: "resourceVersionMatch=Exact", &[NEEDS_VERSION];
        unset_exact_limit: "resourceVersionMatch=Exact&limit=2", &[NEEDS_VERSION];
        unset_exact_continue: "resourceVersionMatch=Exact&continue={token}", &[NEEDS_VERSION, CONTINUED];
        unset_bogus: "resourceVersionMatch=Bogus", &[NEEDS_VERSION, BOGUS];
        unset_bogus_continue: "resourceVersionMatch=Bogus&continue={token}", &[NEEDS_VERSION, CONTINUED, BOGUS];
        zero_exact: "resourceVersion=0&resourceVersionMatch=Exact", &[EXACT_ZERO];
        zero_exact_limit: "resourceVersion=0&resourceVersionMatch=Exact&limit=2", &[EXACT_ZERO];
        zero_exact_continue: "resourceVersion=0&resourceVersionMatch=Exact&continue={token}", &[CONTINUED, EXACT_ZERO];
        zero_not_older_continue: "resourceVersion=0&resourceVersionMatch=NotOlderThan&continue={token}", &[CONTINUED];
        zero_bogus: "resourceVersion=0&resourceVersionMatch=Bogus", &[BOGUS];
        past_not_older_continue: "resourceVersion={past}&resourceVersionMatch=NotOlderThan&continue={token}", &[CONTINUED];
        past_exact_continue: "resourceVersion={past}&resourceVersionMatch=Exact&continue={token}&limit=2", &[CONTINUED];
        past_bogus: "resourceVersion={past}&resourceVersionMatch=Bogus", &[BOGUS];
        bad_version_continue: "resourceVersion=abc&resourceVersionMatch=Exact&continue={token}", &[CONTINUED];
    }
}

const TOO_LARGE: &str = "Timeout: Too large resource version: {future}, current: ";
const NOT_A_NUMBER: &str = "invalid resource version: resourceVersion: Invalid value: \"abc\": strconv.ParseUint: parsing \"abc\": invalid syntax";
const WITH_CONTINUE: &str = "specifying resource version is not allowed when using continue";

mod failed {
    use super::*;
    cells! { fails:
        future: "resourceVersion={future}", 504, "Timeout", TOO_LARGE;
        future_limit: "resourceVersion={future}&limit=2", 504, "Timeout", TOO_LARGE;
        future_not_older: "resourceVersion={future}&resourceVersionMatch=NotOlderThan", 504, "Timeout", TOO_LARGE;
        future_not_older_limit: "resourceVersion={future}&resourceVersionMatch=NotOlderThan&limit=2", 504, "Timeout", TOO_LARGE;
        future_exact: "resourceVersion={future}&resourceVersionMatch=Exact", 504, "Timeout", TOO_LARGE;
        future_exact_limit: "resourceVersion={future}&resourceVersionMatch=Exact&limit=2", 504, "Timeout", TOO_LARGE;
        past_continue: "resourceVersion={past}&continue={token}", 400, "BadRequest", WITH_CONTINUE;
        past_limit_continue: "resourceVersion={past}&limit=2&continue={token}", 400, "BadRequest", WITH_CONTINUE;
        bad_version: "resourceVersion=abc", 400, "BadRequest", NOT_A_NUMBER;
        bad_version_limit: "resourceVersion=abc&limit=2", 400, "BadRequest", NOT_A_NUMBER;
        bad_version_not_older: "resourceVersion=abc&resourceVersionMatch=NotOlderThan", 400, "BadRequest", NOT_A_NUMBER;
        bad_version_exact: "resourceVersion=abc&resourceVersionMatch=Exact", 400, "BadRequest", NOT_A_NUMBER;
        bad_version_with_continue: "resourceVersion=abc&continue={token}", 400, "BadRequest", WITH_CONTINUE;
        bad_limit: "limit=x", 400, "BadRequest", "strconv.ParseInt: parsing \"x\": invalid syntax";
        initial_events: "sendInitialEvents=true", 422, "Invalid",
            "ListOptions.meta.k8s.io \"\" is invalid: sendInitialEvents: Forbidden: sendInitialEvents is forbidden for list";
    }
}
