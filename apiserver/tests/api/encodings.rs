//! Answers in protobuf say what answers in JSON say: objects, lists and their pages, events.

use http_body_util::BodyExt;
use serde_json::{Value, json};
use skiff_apimachinery::protobuf;

use skiff_fixture::Api;

const PODS: &str = "/api/v1/namespaces/demo/pods";
const ACCEPT: (&str, &str) = ("accept", "application/vnd.kubernetes.protobuf");

/// JSON of a document.
fn decoded(document: &[u8], kind: &str) -> Value {
    let schema = skiff_api::builtin().schema_of("", "v1", kind).expect(kind);
    let value = protobuf::decode(document, schema).expect("protobuf");
    let mut text = Vec::new();
    skiff_apimachinery::json::write(&value, &mut text);
    serde_json::from_slice(&text).expect("JSON")
}

/// Takes away what JSON shows and protobuf cannot: structs and lists without content, and the items' own types.
fn without_emptiness(value: &mut Value) {
    match value {
        Value::Object(members) => {
            members.values_mut().for_each(without_emptiness);
            members.retain(|_, value| *value != json!({}) && *value != json!([]));
        }
        Value::Array(items) => items.iter_mut().for_each(without_emptiness),
        _ => {}
    }
}

async fn same_both_ways(api: &Api, path: &str, kind: &str) {
    let mut json = api.get(path).await.expect(200).json();
    let (head, body) = api.raw("GET", path, &[ACCEPT], Vec::new()).await.into_parts();
    assert_eq!((head.status.as_u16(), &head.headers["content-type"]), (200, &ACCEPT.1.parse().expect("a value")));
    let mut protobuf = decoded(&body.collect().await.expect("a body").to_bytes(), kind);
    if let Some(items) = json.get_mut("items").and_then(Value::as_array_mut) {
        for item in items {
            item.as_object_mut().map(|item| (item.remove("kind"), item.remove("apiVersion")));
        }
    }
    without_emptiness(&mut json);
    without_emptiness(&mut protobuf);
    assert_eq!(protobuf, json, "{path}");
}

fn pod(name: &str) -> Value {
    let quoted = "a \"quoted\"\n\\ text é";
    json!({
        "metadata": {"name": name, "labels": {"app": "web"}, "annotations": {"note": quoted}},
        "spec": {"containers": [{
            "name": "c", "image": "i", "env": [{"name": "E", "value": quoted}],
            "resources": {"requests": {"cpu": "0.5", "memory": "1024Mi"}},
            "readinessProbe": {"httpGet": {"port": "http"}, "periodSeconds": 3},
        }]},
    })
}

#[tokio::test]
async fn objects_and_lists_are_the_same_in_protobuf() {
    let api = Api::open().await;
    same_both_ways(&api, PODS, "PodList").await;
    for name in ["a", "b", "c"] {
        api.post(PODS, pod(name)).await.expect(201);
    }
    let page = api.get(&format!("{PODS}?limit=2")).await.expect(200).json();
    let next = format!("{PODS}?limit=2&continue={}", page["metadata"]["continue"].as_str().expect("a token"));
    for path in [PODS, &format!("{PODS}?limit=2"), &next, &format!("{PODS}?labelSelector=app%3Dnone")] {
        // Twice: once encoded, once kept.
        same_both_ways(&api, path, "PodList").await;
        same_both_ways(&api, path, "PodList").await;
    }
    same_both_ways(&api, &format!("{PODS}/a"), "Pod").await;
    let (head, body) = api.raw("GET", &format!("{PODS}/none"), &[ACCEPT], Vec::new()).await.into_parts();
    assert_eq!((head.status.as_u16(), &head.headers["content-type"]), (404, &ACCEPT.1.parse().expect("a value")));
    let missing = decoded(&body.collect().await.expect("a body").to_bytes(), "Status");
    assert_eq!((&missing["reason"], &missing["details"]["name"]), (&json!("NotFound"), &json!("none")));
}

#[tokio::test]
async fn long_lists_come_whole() {
    let api = Api::open().await;
    let text = "x".repeat(20_000);
    for number in 0..20 {
        let map = json!({"metadata": {"name": format!("m{number}")}, "data": {"text": text}});
        api.post("/api/v1/namespaces/demo/configmaps", map).await.expect(201);
    }
    same_both_ways(&api, "/api/v1/configmaps", "ConfigMapList").await;
}

#[tokio::test]
async fn events_are_the_same_in_protobuf() {
    let api = Api::open().await;
    api.post(PODS, pod("a")).await.expect(201);
    let path = format!("{PODS}?watch=true&timeoutSeconds=20");
    let (head, mut body) = api.raw("GET", &path, &[ACCEPT], Vec::new()).await.into_parts();
    assert_eq!(head.headers["content-type"], "application/vnd.kubernetes.protobuf;stream=watch");
    api.patch(&format!("{PODS}/a"), "merge-patch+json", json!({"metadata": {"labels": {"app": "other"}}}))
        .await
        .expect(200);
    let mut shown = api.get(&format!("{PODS}/a")).await.expect(200).json();
    without_emptiness(&mut shown);
    api.delete(&format!("{PODS}/a?gracePeriodSeconds=0"), None).await.expect(200);
    let (mut bytes, mut kinds) = (Vec::new(), Vec::new());
    while kinds.last().is_none_or(|(kind, _)| kind != "DELETED") {
        let frame = body.frame().await.expect("a frame").expect("a frame");
        bytes.extend_from_slice(frame.data_ref().expect("data"));
        while let Some(length) = bytes.first_chunk::<4>().map(|length| u32::from_be_bytes(*length) as usize)
            && bytes.len() >= 4 + length
        {
            let event: Vec<u8> = bytes.drain(..4 + length).skip(4).collect();
            kinds.push(event_of(&event));
        }
    }
    assert_eq!((kinds[0].0.as_str(), kinds[1].0.as_str()), ("ADDED", "MODIFIED"));
    assert_eq!(kinds[1].1, shown);
    let deleted = &kinds.last().expect("events").1["metadata"];
    assert_eq!(deleted["labels"]["app"], "other");
    assert_ne!(deleted["resourceVersion"], shown["metadata"]["resourceVersion"]);
}

/// A `WatchEvent`: its type, and the object in `object.raw`.
fn event_of(event: &[u8]) -> (String, Value) {
    let schema = skiff_api::builtin().schema_of("", "v1", "WatchEvent").expect("WatchEvent");
    // The object is a document, which is no JSON; only its place matters here.
    assert!(schema.field_def("object").is_some());
    let length = usize::from(event[1]);
    let kind = String::from_utf8(event[2..2 + length].to_vec()).expect("a type");
    let start = event.windows(4).position(|window| window == b"k8s\0").expect("a document");
    let mut object = decoded(&event[start..], "Pod");
    without_emptiness(&mut object);
    (kind, object)
}
