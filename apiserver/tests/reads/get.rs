//! GET of one object × resourceVersion.

use crate::cells;
use crate::history::{Engine, History, MAPS, name};

fn check(history: &History, query: &str, code: u16, expected: &str) {
    let answer = history.wait(history.api.get(&history.query(&format!("{MAPS}/b?{query}")))).expect(code).json();
    if code == 200 {
        assert_eq!(name(&answer), expected);
    } else {
        let message = answer["message"].as_str().expect("a message");
        assert!(message.starts_with(&history.query(expected)), "{answer}");
    }
    if code == 504 {
        assert_eq!(answer["reason"], "Timeout");
        assert_eq!(answer["details"]["causes"][0]["reason"], "ResourceVersionTooLarge");
        assert_eq!(answer["details"]["retryAfterSeconds"], 1);
    }
}

cells! { check:
    unset: "", 200, "b=2";
    zero: "resourceVersion=0", 200, "b=2";
    past: "resourceVersion={past}", 200, "b=2";
    present: "resourceVersion={now}", 200, "b=2";
    future: "resourceVersion={future}", 504, "Timeout: Too large resource version: {future}, current: ";
    not_a_number: "resourceVersion=abc", 500,
        "resourceVersion: Invalid value: \"abc\": strconv.ParseUint: parsing \"abc\": invalid syntax";
    too_large_a_number: "resourceVersion=99999999999999999999", 500,
        "resourceVersion: Invalid value: \"99999999999999999999\": strconv.ParseUint: parsing \"99999999999999999999\": value out of range";
}
