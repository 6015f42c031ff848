//! The audit log has the events that kube-apiserver's has.

use std::sync::LazyLock;
use std::time::Duration;

use http_body_util::BodyExt;
use regex::Regex;
use serde_json::Value;
use skiff_apiserver::audit::Audit;
use skiff_apiserver::audit::log::{Log, LogConfig};
use skiff_apiserver::audit::policy::Policy;
use skiff_fixture::Api;

const POLICY: &str = include_str!("facts/audit-policy.yaml");
const REQUESTS: &str = include_str!("facts/audit-requests.txt");
/// What kube-apiserver v1.36.2 wrote under that policy for these requests, in order; without what no two servers share,
/// the times, and the address of the one client.
const EVENTS: &str = include_str!("facts/audit.jsonl");

/// What servers make up, and what stands for it.
static MADE_BY_SERVERS: LazyLock<[(Regex, &str); 3]> = LazyLock::new(|| {
    [
        ("[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", "<uid>"),
        (r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", "<time>"),
        ("^g-[a-z0-9]{5}$", "g-<generated>"),
    ]
    .map(|(pattern, with)| (Regex::new(pattern).expect("an expression"), with))
});

#[tokio::test]
async fn events_are_those_of_kube_apiserver() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("audit.log");
    let config = LogConfig { path: path.clone(), max_bytes: 0, max_backups: 0, max_age: Duration::ZERO };
    let audit = Audit::new(Policy::parse(POLICY).expect("a policy"), Log::open(config).expect("a log"));
    let api = Api::audited(audit).await;
    for line in REQUESTS.lines().filter(|line| !line.starts_with('#')) {
        ask(&api, line).await;
    }
    let log = std::fs::read_to_string(&path).expect("a log");
    let ours = log.lines().map(|line| serde_json::from_str::<Value>(line).expect("an event"));
    let ours = ours.filter(|event| event["userAgent"] == "audit/1").map(normal).collect::<Vec<_>>();
    let theirs = EVENTS.lines().map(|line| serde_json::from_str(line).expect("an event")).collect::<Vec<Value>>();
    let mut differences = Vec::new();
    for (index, (theirs, ours)) in theirs.iter().zip(&ours).enumerate() {
        compare(&format!("[{index}] {} {}", theirs["verb"], theirs["requestURI"]), theirs, ours, &mut differences);
    }
    assert!(differences.is_empty(), "{}", differences.join("\n"));
    assert_eq!(theirs.len(), ours.len());
}

async fn ask(api: &Api, line: &str) {
    let mut parts = line.split(" | ");
    let (method, path) = parts.next().and_then(|first| first.split_once(' ')).expect("a method and a path");
    let (mut headers, mut body) = (vec![("user-agent", "audit/1")], "");
    for part in parts {
        match part.split_once(':') {
            Some((name, value)) if !part.starts_with(['{', '[']) => headers.push((name, value.trim())),
            _ => body = part,
        }
    }
    if !body.is_empty() && headers.iter().all(|(name, _)| *name != "content-type") {
        headers.push(("content-type", "application/json"));
    }
    let stranger = headers.iter().any(|(name, _)| *name == "authorization");
    headers.retain(|(name, value)| *name != "authorization" || !value.is_empty());
    let body = body.as_bytes().to_vec();
    let answer = match stranger {
        true => api.stranger(method, path, &headers, body).await,
        false => api.raw(method, path, &headers, body).await,
    };
    // A watch is over when its body is.
    answer.into_body().collect().await.expect("a body");
}

/// Takes out what no two servers share.
fn normal(mut event: Value) -> Value {
    let object = event.as_object_mut().expect("an object");
    for time in ["requestReceivedTimestamp", "stageTimestamp"] {
        let text = object.remove(time).expect("a time");
        assert_eq!(text.as_str().map(str::len), Some("2026-01-01T00:00:00.000000Z".len()), "{text}");
    }
    replace(&mut event, "");
    event
}

fn replace(value: &mut Value, key: &str) {
    match value {
        Value::Object(object) if object.get("kind") == Some(&Value::from("Table")) => {
            object.retain(|key, _| key == "kind")
        }
        Value::Object(object) if key == "items" => {
            // Our lists say of each item what it is.
            object.retain(|key, _| key != "kind" && key != "apiVersion");
            object.iter_mut().for_each(|(key, value)| replace(value, key));
        }
        Value::Object(object) => object.iter_mut().for_each(|(key, value)| replace(value, key)),
        Value::Array(items) => items.iter_mut().for_each(|item| replace(item, key)),
        Value::String(text) if key == "resourceVersion" => *text = "<rv>".into(),
        Value::String(text) => {
            for (pattern, with) in &*MADE_BY_SERVERS {
                *text = pattern.replace_all(text, *with).into_owned();
            }
        }
        _ => {}
    }
}

fn compare(path: &str, theirs: &Value, ours: &Value, differences: &mut Vec<String>) {
    match (theirs, ours) {
        (Value::Object(a), Value::Object(b)) => {
            for key in a.keys().chain(b.keys().filter(|key| !a.contains_key(*key))) {
                let of = |object: &serde_json::Map<String, Value>| object.get(key).cloned().unwrap_or_default();
                compare(&format!("{path} .{key}"), &of(a), &of(b), differences);
            }
        }
        (a, b) if a == b => {}
        (a, b) => differences.push(format!("{path}\n  kube-apiserver {a}\n  skiff          {b}")),
    }
}
