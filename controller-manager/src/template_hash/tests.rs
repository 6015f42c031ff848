//! Hashes that kube-controller-manager v1.36.2 gave to templates, as kube-apiserver stored them.

use serde_json::{Value, json};
use skiff_client::types::RawJson;

use super::{hash, print};
use crate::revisions;

/// One line for each template: its name, the template, and the hashes for the three kinds.
const RECORDED: &str = include_str!("recorded.jsonl");

#[test]
fn hashes_are_those_of_upstream() {
    let mut wrong = Vec::new();
    for line in RECORDED.lines() {
        let case: Value = serde_json::from_str(line).expect("a case");
        let template = RawJson::of(&case["template"]);
        let revision = revisions::hash(&revisions::data(&template), 0);
        let found =
            [("deployment", hash(&template, None)), ("daemonSet", hash(&template, None)), ("statefulSet", revision)];
        for (kind, found) in found {
            if case[kind] != json!(found) {
                let print = print::print(&case["template"]);
                wrong.push(format!("{} for a {kind}: {found}, not {}\n{print}", case["name"], case[kind]));
            }
        }
    }
    assert!(RECORDED.lines().count() >= 20, "templates are missing");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn collisions_lead_to_other_hashes() {
    let template = RawJson::of(&json!({"spec": {"containers": [{"name": "a"}]}}));
    let all = [hash(&template, None), hash(&template, Some(1)), hash(&template, Some(2))];
    assert!(all[0] != all[1] && all[1] != all[2] && all[0] != all[2], "{all:?}");
}
