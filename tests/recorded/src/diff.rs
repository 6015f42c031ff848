//! Differences of two answers, a line for each place.

use std::collections::BTreeSet;

use serde_json::Value;

/// Lines `path: what kube-apiserver says != what we say`; none if both are equal.
pub fn lines(theirs: &Value, ours: &Value) -> Vec<String> {
    let mut lines = Vec::new();
    if theirs["code"] == ours["code"] {
        compare("", Some(theirs), Some(ours), &mut lines);
    } else {
        // An object and an error have nothing to compare.
        let short = |answer: &Value| Value::from(format!("{}: {}", answer["code"], message(&answer["body"])));
        compare("", Some(&short(theirs)), Some(&short(ours)), &mut lines);
        compare(".warnings", theirs.get("warnings"), ours.get("warnings"), &mut lines);
    }
    lines
}

fn message(body: &Value) -> String {
    body["message"].as_str().map_or_else(|| body.to_string(), str::to_owned)
}

fn compare(path: &str, theirs: Option<&Value>, ours: Option<&Value>, lines: &mut Vec<String>) {
    match (theirs, ours) {
        (a, b) if a == b => {}
        (Some(Value::Object(a)), Some(Value::Object(b))) => {
            for key in a.keys().chain(b.keys()).collect::<BTreeSet<_>>() {
                compare(&format!("{path}.{key}"), a.get(key), b.get(key), lines);
            }
        }
        (Some(Value::Array(a)), Some(Value::Array(b))) => {
            for index in 0..a.len().max(b.len()) {
                compare(&format!("{path}[{index}]"), a.get(index), b.get(index), lines);
            }
        }
        (a, b) => {
            lines.push(path.to_owned());
            lines.push(format!("      kube-apiserver  {}", shown(a)));
            lines.push(format!("      skiff           {}", shown(b)));
        }
    }
}

fn shown(value: Option<&Value>) -> String {
    const LONGEST: usize = 1500;
    let mut text = value.map_or_else(|| "(absent)".to_owned(), Value::to_string);
    if text.len() > LONGEST {
        let end = (0..=LONGEST).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
        text.truncate(end);
        text.push_str("...");
    }
    text
}
