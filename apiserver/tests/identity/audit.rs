//! The audit log has the events that kube-apiserver's has.

use std::path::PathBuf;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use http_body_util::BodyExt;
use regex::Regex;
use serde_json::{Value, json};
use skiff_apiserver::audit::Audit;
use skiff_apiserver::audit::log::{Log, LogConfig, Mode};
use skiff_apiserver::audit::policy::Policy;
use skiff_apiserver::authentication::{InProcessIdentity, UserInfo};
use skiff_fixture::Api;

const POLICY: &str = include_str!("facts/audit-policy.yaml");
const REQUESTS: &str = include_str!("facts/audit-requests.txt");
/// What kube-apiserver v1.36.2 wrote under that policy for these requests, in order; without what no two servers share,
/// the times, and the address of the one client.
const EVENTS: &str = include_str!("facts/audit.jsonl");

/// Requests and, in the line behind each, its code and annotations.
const ANNOTATIONS: &str = include_str!("facts/audit-annotations.txt");

/// What servers make up, and what stands for it.
static MADE_BY_SERVERS: LazyLock<[(Regex, &str); 3]> = LazyLock::new(|| {
    [
        ("[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", "<uid>"),
        (r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", "<time>"),
        ("^g-[a-z0-9]{5}$", "g-<generated>"),
    ]
    .map(|(pattern, with)| (Regex::new(pattern).expect("an expression"), with))
});

/// A server with that policy, and its log.
async fn audited() -> (Api, Written) {
    audited_by(POLICY).await
}

async fn audited_by(policy: &str) -> (Api, Written) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("audit.log");
    let config = LogConfig { path: path.clone(), max_bytes: 0, max_backups: 0, max_age: Duration::ZERO };
    let audit =
        Audit::new(Policy::parse(policy).expect("a policy"), Log::open(config, Mode::default()).expect("a log"));
    (Api::audited(audit).await, Written { path, _folder: folder })
}

struct Written {
    path: PathBuf,
    _folder: tempfile::TempDir,
}

impl Written {
    /// The events that are in the file now, of the clients of these tests.
    fn now(&self) -> Vec<Value> {
        let log = std::fs::read_to_string(&self.path).expect("a log");
        // The last line may not be whole yet.
        let events = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        events.filter(|event| event["userAgent"] == "audit/1").collect()
    }

    /// All events so far, also those that nobody waited for, such as the end of a watch.
    async fn all(&self, api: &Api) -> Vec<Value> {
        api.server().audit.as_ref().expect("a log").flush().await;
        self.now()
    }
}

#[tokio::test]
async fn events_are_those_of_kube_apiserver() {
    let (api, log) = audited().await;
    for line in REQUESTS.lines().filter(|line| !line.starts_with('#')) {
        ask(&api, line).await;
    }
    let ours = log.all(&api).await.into_iter().map(normal).collect::<Vec<_>>();
    let theirs = EVENTS.lines().map(|line| serde_json::from_str(line).expect("an event")).collect::<Vec<Value>>();
    let mut differences = Vec::new();
    for (index, (theirs, ours)) in theirs.iter().zip(&ours).enumerate() {
        compare(&format!("[{index}] {} {}", theirs["verb"], theirs["requestURI"]), theirs, ours, &mut differences);
    }
    assert!(differences.is_empty(), "{}", differences.join("\n"));
    assert_eq!(theirs.len(), ours.len());
}

#[tokio::test]
async fn a_client_that_goes_away_leaves_a_last_event() {
    let (api, log) = audited().await;
    // Its body never ends.
    let endless = futures::stream::pending::<Result<bytes::Bytes, std::io::Error>>();
    let mut request = http::Request::post("/api/v1/namespaces/default/configmaps")
        .header("user-agent", "audit/1")
        .header("content-type", "application/json")
        .body(axum::body::Body::from_stream(endless))
        .expect("a request");
    let user = UserInfo { name: "admin".into(), groups: vec!["system:masters".into()], ..UserInfo::default() };
    request.extensions_mut().insert(InProcessIdentity(Arc::new(user)));
    let begun = async {
        while log.now().is_empty() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::select! {
        _ = api.server().handle(request) => panic!("it cannot be answered"),
        () = begun => {}
    }
    let events = log.all(&api).await;
    assert_eq!(events.iter().map(|event| &event["stage"]).collect::<Vec<_>>(), ["RequestReceived", "ResponseComplete"]);
    let status = json!({"metadata": {}, "status": "Success", "message": "Connection closed early", "code": 200});
    assert_eq!(events[1]["responseStatus"], status);
}

#[tokio::test]
async fn answers_are_kept_in_whatever_encoding_they_are_sent() {
    let (api, log) = audited().await;
    let path = "/api/v1/namespaces/default/configmaps";
    // Enough for it to be compressed.
    let large = json!({"metadata": {"name": "large"}, "data": {"k": "v".repeat(200 << 10)}});
    api.post(path, large.clone()).await.expect(201);
    for headers in [
        vec![("accept", "application/json")],
        vec![("accept", "application/json"), ("accept-encoding", "gzip")],
        vec![("accept", "application/vnd.kubernetes.protobuf")],
        vec![("accept", "application/vnd.kubernetes.protobuf"), ("accept-encoding", "gzip")],
        vec![("accept", "application/yaml")],
    ] {
        let headers = headers.into_iter().chain([("user-agent", "audit/1")]).collect::<Vec<_>>();
        for path in [path.to_owned(), format!("{path}/large")] {
            let answer = api.raw("GET", &path, &headers, Vec::new()).await;
            let compressed = answer.headers().contains_key("content-encoding");
            assert_eq!(compressed, headers.contains(&("accept-encoding", "gzip")), "{headers:?}");
            answer.into_body().collect().await.expect("a body");
            let events = log.all(&api).await;
            let object = &events.last().expect("an event")["responseObject"];
            let kept = if object["kind"] == "ConfigMapList" { &object["items"][0] } else { object };
            assert_eq!(kept["data"], large["data"], "{path} {headers:?}");
        }
    }
}

#[tokio::test]
async fn annotations_are_those_of_kube_apiserver() {
    const ALL: &str = "apiVersion: audit.k8s.io/v1\nkind: Policy\nrules: [{level: Request}]";
    let (api, log) = audited_by(ALL).await;
    let lines = ANNOTATIONS.lines().filter(|line| !line.starts_with('#')).collect::<Vec<_>>();
    for (request, expected) in lines.chunks(2).map(|pair| (pair[0], pair[1])) {
        ask(&api, request).await;
        // Policies that were just written count from here.
        api.caught_up().await;
        let mut last = log.all(&api).await.pop().expect("an event");
        let annotations = last["annotations"].as_object_mut().expect("annotations");
        annotations.retain(|key, _| !key.starts_with("authorization."));
        let (code, expected) = expected.split_once(' ').expect("a code");
        let expected = serde_json::from_str::<Value>(expected).expect("annotations");
        let found = (last["responseStatus"]["code"].to_string(), &last["annotations"]);
        assert_eq!(found, (code.to_owned(), &expected), "{request}");
    }
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
