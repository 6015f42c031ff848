//! Custom resources whose versions a webhook converts.

use std::time::Duration;

use serde_json::{Value, json};
use skiff_fixture::Api;

use crate::server::Server;

const DEFINITIONS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
const NAME: &str = "places.test.example.com";
const V1: &str = "/apis/test.example.com/v1/namespaces/demo/places";
const V2: &str = "/apis/test.example.com/v2/namespaces/demo/places";
/// How long a change of the definition may take to be served.
const DEADLINE: Duration = Duration::from_secs(10);

/// `v1` has `at: host:port`, `v2` has host and port apart.
fn definition(server: &Server, path: &str, storage: &str) -> Value {
    let version = |name: &str, fields: Value, selectable: Value| {
        json!({
            "name": name, "served": true, "storage": name == storage,
            "schema": {"openAPIV3Schema": {"type": "object", "properties": fields}},
            "selectableFields": selectable
        })
    };
    let text = json!({"type": "string"});
    json!({
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": NAME},
        "spec": {
            "group": "test.example.com", "scope": "Namespaced",
            "names": {"plural": "places", "singular": "place", "kind": "Place", "listKind": "PlaceList"},
            "conversion": {"strategy": "Webhook", "webhook": {
                "clientConfig": server.client_config(path), "conversionReviewVersions": ["v1"]
            }},
            "versions": [
                version("v1", json!({"at": text}), json!([{"jsonPath": ".at"}])),
                version("v2", json!({"host": text, "port": text, "zone": {"type": "string", "default": "here"}}), json!([{"jsonPath": ".host"}])),
            ]
        }
    })
}

fn converted(object: &Value, to: &str) -> Value {
    let mut object = object.clone();
    object["apiVersion"] = to.into();
    if to.ends_with("/v2") {
        let at = object.as_object_mut().expect("object").remove("at").unwrap_or_default();
        let (host, port) = at.as_str().and_then(|at| at.split_once(':')).unwrap_or_default();
        object["host"] = host.into();
        object["port"] = port.into();
        object["metadata"]["annotations"] = json!({"was": "v1"});
        object["metadata"]["finalizers"] = json!(["not.yours/to-change"]);
    } else {
        object["at"] =
            format!("{}:{}", object["host"].as_str().unwrap_or(""), object["port"].as_str().unwrap_or("")).into();
    }
    object
}

fn convert(path: &str, review: &Value) -> Option<(u16, Value)> {
    let request = &review["request"];
    let to = request["desiredAPIVersion"].as_str()?;
    let objects = request["objects"].as_array()?.iter().map(|object| match path {
        "/renaming" => {
            let mut object = converted(object, to);
            object["metadata"]["name"] = "other".into();
            object
        }
        _ => converted(object, to),
    });
    let mut response = json!({"uid": request["uid"], "result": {"status": "Success"}, "convertedObjects": objects.collect::<Vec<_>>()});
    if path == "/failing" {
        response = json!({"uid": request["uid"], "result": {"status": "Failure", "message": "no such place"}});
    }
    Some((200, json!({"apiVersion": review["apiVersion"], "kind": "ConversionReview", "response": response})))
}

/// Asks until the answer has this code.
async fn until(api: &Api, path: &str, code: u16) -> Value {
    let asking = async {
        loop {
            let answer = api.get(path).await;
            if answer.status.as_u16() == code {
                return answer.json();
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(DEADLINE, asking).await.unwrap_or_else(|_| panic!("{path} did not answer {code} in time"))
}

async fn serving(server: &Server, path: &str) -> Api {
    let api = Api::open().await;
    api.post(DEFINITIONS, definition(server, path, "v1")).await.expect(201);
    until(&api, "/apis/test.example.com/v1/places", 200).await;
    api
}

fn place(version: &str, name: &str, fields: Value) -> Value {
    let mut object =
        json!({"apiVersion": format!("test.example.com/{version}"), "kind": "Place", "metadata": {"name": name}});
    for (key, value) in fields.as_object().expect("fields") {
        object[key] = value.clone();
    }
    object
}

#[tokio::test]
async fn every_version_shows_every_object() {
    let server = Server::start(convert).await;
    let api = serving(&server, "/convert").await;
    let mut watch = api.watch(&format!("{V2}?watch=1&fieldSelector=host%3Done")).await;
    api.post(V1, place("v1", "a", json!({"at": "one:1"}))).await.expect(201);
    let b = api.post(V2, place("v2", "b", json!({"host": "two", "port": "2"}))).await.expect(201).json();
    assert_eq!((&b["apiVersion"], &b["host"]), (&json!("test.example.com/v2"), &json!("two")));
    // One object, with defaults of the version; of metadata only labels and annotations are the webhook's.
    let a = api.get(&format!("{V2}/a")).await.expect(200).json();
    assert_eq!((&a["host"], &a["port"], &a["zone"]), (&json!("one"), &json!("1"), &json!("here")));
    assert_eq!(a["metadata"]["annotations"], json!({"was": "v1"}));
    assert_eq!(a["metadata"]["finalizers"], Value::Null);
    let (kind, event) = watch.next().await.expect("an event");
    assert_eq!((kind.as_str(), &event["host"], &event["apiVersion"]), ("ADDED", &json!("one"), &a["apiVersion"]));
    // Lists, in both versions.
    let list = api.get(V2).await.expect(200).json();
    let hosts = list["items"].as_array().expect("items").iter().map(|item| item["host"].clone()).collect::<Vec<_>>();
    assert_eq!(hosts, ["one", "two"]);
    let list = api.get(&format!("{V1}?fieldSelector=at%3Dtwo%3A2")).await.expect(200).json();
    assert_eq!(list["items"][0]["at"], "two:2");
    assert_eq!(list["items"].as_array().expect("items").len(), 1);
    // Writes in the version that is not kept.
    let patched = api.patch(&format!("{V2}/a"), "merge-patch+json", json!({"port": "9"})).await.expect(200).json();
    assert_eq!(patched["port"], "9");
    assert_eq!(api.get(&format!("{V1}/a")).await.expect(200).json()["at"], "one:9");
    let (kind, event) = watch.next().await.expect("an event");
    assert_eq!((kind.as_str(), &event["port"]), ("MODIFIED", &json!("9")));
    api.delete(&format!("{V2}/a"), None).await.expect(200);
    assert_eq!(watch.next().await.expect("an event").0, "DELETED");
    let reviews = server.take_seen();
    assert!(reviews.iter().all(|review| review["request"]["objects"].as_array().is_some_and(|o| !o.is_empty())));
}

#[tokio::test]
async fn an_update_that_changes_nothing_moves_to_the_new_storage_version() {
    let server = Server::start(convert).await;
    let api = serving(&server, "/convert").await;
    let made = api.post(V1, place("v1", "a", json!({"at": "one:1"}))).await.expect(201).json();
    let mut changed = api.get(&format!("{DEFINITIONS}/{NAME}")).await.expect(200).json();
    changed["spec"] = definition(&server, "/convert", "v2")["spec"].clone();
    api.put(&format!("{DEFINITIONS}/{NAME}"), changed).await.expect(200);
    let stored = |api: &Api| {
        let storage = api.server().cacher.storage().clone();
        async move {
            let (entry, _) = storage.get("/registry/test.example.com/places/demo/a").await.expect("read");
            serde_json::from_slice::<Value>(&entry.expect("there").object.json).expect("json")["apiVersion"].clone()
        }
    };
    assert_eq!(stored(&api).await, "test.example.com/v1");
    let moved = async {
        loop {
            // The definition is followed, so that it takes a moment until the new one counts.
            let same = api.get(&format!("{V1}/a")).await.expect(200).json();
            api.put(&format!("{V1}/a"), same).await;
            if stored(&api).await == "test.example.com/v2" {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(DEADLINE, moved).await.expect("moved in time");
    let after = api.get(&format!("{V1}/a")).await.expect(200).json();
    assert_eq!(after["at"], "one:1");
    assert_ne!(after["metadata"]["resourceVersion"], made["metadata"]["resourceVersion"]);
}

#[tokio::test]
async fn what_a_webhook_cannot_convert_is_an_error_with_its_words() {
    let server = Server::start(convert).await;
    for (path, message) in [
        ("/failing", "conversion webhook for test.example.com/v1, Kind=Place failed: no such place"),
        (
            "/renaming",
            "conversion webhook for test.example.com/v1, Kind=Place returned invalid object: must have the same name: a != other",
        ),
    ] {
        let api = serving(&server, path).await;
        api.post(V1, place("v1", "a", json!({"at": "one:1"}))).await.expect(201);
        let failed = api.get(&format!("{V2}/a")).await.expect(500).json();
        assert_eq!(failed["message"], message);
        let failed = api.get(V2).await.expect(500).json();
        assert_eq!(failed["message"], message);
        // The other version is not concerned.
        api.get(&format!("{V1}/a")).await.expect(200);
        api.get(V1).await.expect(200);
    }
}
