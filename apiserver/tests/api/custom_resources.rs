//! CustomResourceDefinitions and what they define, from the first request to the last object's end.

use std::time::Duration;

use serde_json::{Value, json};
use skiff_fixture::Api;

const DEFINITIONS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
const TABS: &str = "/apis/stable.example.com/v1/namespaces/demo/crontabs";
/// How long a definition may take to be served, or to go.
const DEADLINE: Duration = Duration::from_secs(10);

fn definition() -> Value {
    json!({
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": "crontabs.stable.example.com"},
        "spec": {
            "group": "stable.example.com",
            "scope": "Namespaced",
            "names": {"plural": "crontabs", "kind": "CronTab", "shortNames": ["ct"], "categories": ["all"]},
            "versions": [{
                "name": "v1", "served": true, "storage": true,
                "subresources": {
                    "status": {},
                    "scale": {
                        "specReplicasPath": ".spec.replicas", "statusReplicasPath": ".status.replicas",
                        "labelSelectorPath": ".status.selector"
                    }
                },
                "additionalPrinterColumns": [{"name": "Spec", "type": "string", "jsonPath": ".spec.cronSpec"}],
                "selectableFields": [{"jsonPath": ".spec.color"}],
                "schema": {"openAPIV3Schema": {"type": "object", "properties": {
                    "spec": {"type": "object", "required": ["cronSpec"], "properties": {
                        "cronSpec": {"type": "string", "pattern": "^[a-z* ]+$"},
                        "replicas": {"type": "integer", "default": 2, "minimum": 0},
                        "color": {"type": "string"},
                        "ports": {"type": "array", "x-kubernetes-list-type": "map",
                            "x-kubernetes-list-map-keys": ["name"],
                            "items": {"type": "object", "required": ["name"], "properties": {
                                "name": {"type": "string"}, "port": {"x-kubernetes-int-or-string": true}}}},
                        "open": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}
                    }},
                    "status": {"type": "object", "properties": {
                        "replicas": {"type": "integer"}, "selector": {"type": "string"}}}
                }}}
            }]
        }
    })
}

/// Asks until the answer has this code.
async fn until(api: &Api, path: &str, code: u16) -> Value {
    let asking = async {
        loop {
            let answer = api.get(path).await;
            if answer.status.as_u16() == code {
                return serde_json::from_str(&answer.text).unwrap_or_default();
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(DEADLINE, asking)
        .await
        .unwrap_or_else(|_| panic!("{path} was not answered with {code} in time"))
}

/// A server that serves the definition.
async fn serving(definition: Value) -> Api {
    let api = Api::open().await;
    api.post(DEFINITIONS, definition).await.expect(201);
    until(&api, "/apis/stable.example.com/v1/crontabs", 200).await;
    api
}

fn tab(name: &str, spec: Value) -> Value {
    json!({"apiVersion": "stable.example.com/v1", "kind": "CronTab", "metadata": {"name": name}, "spec": spec})
}

#[tokio::test]
async fn a_definition_is_established_discovered_and_goes_with_its_objects() {
    let api = serving(definition()).await;
    let stored = api.get(&format!("{DEFINITIONS}/crontabs.stable.example.com")).await.expect(200).json();
    let conditions = stored["status"]["conditions"].as_array().expect("conditions");
    let conditions = conditions.iter().map(|c| format!("{}={}", c["type"], c["status"])).collect::<Vec<_>>();
    assert_eq!(conditions, [r#""NamesAccepted"="True""#, r#""Established"="True""#]);
    assert_eq!(stored["status"]["acceptedNames"]["listKind"], "CronTabList");
    assert_eq!(stored["status"]["storedVersions"], json!(["v1"]));

    let list = api.get("/apis/stable.example.com/v1").await.expect(200).json();
    let names = list["resources"].as_array().expect("resources").iter().map(|r| r["name"].clone()).collect::<Vec<_>>();
    assert_eq!(names, ["crontabs", "crontabs/status", "crontabs/scale"]);
    let groups = api.get("/apis").await.expect(200).json();
    assert!(groups["groups"].as_array().expect("groups").iter().any(|g| g["name"] == "stable.example.com"));

    api.post(TABS, tab("a", json!({"cronSpec": "* *"}))).await.expect(201);
    let path = format!("{DEFINITIONS}/crontabs.stable.example.com");
    let going = api.delete(&path, None).await.expect(200).json();
    assert_eq!(going["metadata"]["finalizers"], json!(["customresourcecleanup.apiextensions.k8s.io"]));
    until(&api, &path, 404).await;
    until(&api, "/apis/stable.example.com/v1", 404).await;
    // Nothing is left for a definition of the same name.
    api.post(DEFINITIONS, definition()).await.expect(201);
    let list = until(&api, "/apis/stable.example.com/v1/crontabs", 200).await;
    assert_eq!(list["items"], json!([]));
}

#[tokio::test]
async fn objects_are_pruned_completed_and_checked() {
    let api = serving(definition()).await;
    let spec = json!({"cronSpec": "* *", "odd": 1, "open": {"kept": 1}, "color": null});
    let created = api.post(&format!("{TABS}?fieldValidation=Warn"), tab("a", spec.clone())).await.expect(201);
    assert_eq!(created.headers.get("warning").expect("a warning"), r#"299 - "unknown field \"spec.odd\"""#);
    let created = created.json();
    assert_eq!(created["spec"], json!({"cronSpec": "* *", "open": {"kept": 1}, "replicas": 2}));
    assert_eq!(created["metadata"]["generation"], 1);

    let strict = api.post(&format!("{TABS}?fieldValidation=Strict"), tab("b", spec)).await.expect(400).json();
    assert!(strict["message"].as_str().expect("message").contains(r#"unknown field "spec.odd""#), "{strict}");

    let invalid = api.post(TABS, tab("b", json!({"cronSpec": "0", "replicas": -1}))).await.expect(422).json();
    assert_eq!(
        invalid["message"],
        "CronTab.stable.example.com \"b\" is invalid: [spec.cronSpec: Invalid value: \"0\": spec.cronSpec in body should match '^[a-z* ]+$', \
         spec.replicas: Invalid value: -1: spec.replicas in body should be greater than or equal to 0, \
         .spec.replicas: Invalid value: -1: should be a non-negative integer]"
    );
    let missing = api.post(TABS, tab("b", json!({}))).await.expect(422).json();
    assert_eq!(missing["details"]["causes"][0]["field"], "spec.cronSpec");
    assert_eq!(missing["details"]["causes"][0]["reason"], "FieldValueRequired");
}

#[tokio::test]
async fn status_and_scale_are_written_on_their_own() {
    let api = serving(definition()).await;
    let mut object = tab("a", json!({"cronSpec": "* *"}));
    object["status"] = json!({"replicas": 9});
    let created = api.post(TABS, object).await.expect(201).json();
    assert!(created.get("status").is_none());

    let mut changed = created.clone();
    changed["status"] = json!({"replicas": 1, "selector": "a=b"});
    changed["spec"]["cronSpec"] = "x".into();
    changed["metadata"]["labels"] = json!({"a": "b"});
    let written = api.put(&format!("{TABS}/a/status"), changed).await.expect(200).json();
    assert_eq!(written["status"], json!({"replicas": 1, "selector": "a=b"}));
    assert_eq!(written["spec"]["cronSpec"], "* *");
    assert_eq!(written["metadata"]["generation"], 1);
    assert!(written["metadata"].get("labels").is_none());

    let scale = api.get(&format!("{TABS}/a/scale")).await.expect(200).json();
    assert_eq!(scale["spec"], json!({"replicas": 2}));
    assert_eq!(scale["status"], json!({"replicas": 1, "selector": "a=b"}));
    let patch = json!({"spec": {"replicas": 5}}).to_string().into_bytes();
    let merge = [("content-type", "application/merge-patch+json")];
    api.send("PATCH", &format!("{TABS}/a/scale"), &merge, patch).await.expect(200);
    let scaled = api.get(&format!("{TABS}/a")).await.expect(200).json();
    assert_eq!((&scaled["spec"]["replicas"], &scaled["metadata"]["generation"]), (&json!(5), &json!(2)));
}

#[tokio::test]
async fn apply_merges_by_the_schema_and_strategic_patches_are_refused() {
    let api = serving(definition()).await;
    let apply = [("content-type", "application/apply-patch+yaml")];
    let applied = |manager: &str, port: &str| {
        let body = tab("a", json!({"cronSpec": "* *", "ports": [{"name": port, "port": 80}]}));
        (format!("{TABS}/a?fieldManager={manager}"), body.to_string().into_bytes())
    };
    let (path, body) = applied("one", "http");
    api.send("PATCH", &path, &apply, body).await.expect(201);
    let (path, body) = applied("two", "https");
    let both = api.send("PATCH", &path, &apply, body).await.expect(200).json();
    assert_eq!(both["spec"]["ports"], json!([{"name": "http", "port": 80}, {"name": "https", "port": 80}]));
    let strategic = [("content-type", "application/strategic-merge-patch+json")];
    api.send("PATCH", &format!("{TABS}/a"), &strategic, b"{}".to_vec()).await.expect(415);
    let protobuf = [("accept", "application/vnd.kubernetes.protobuf")];
    api.send("GET", TABS, &protobuf, Vec::new()).await.expect(406);
}

#[tokio::test]
async fn an_update_names_its_version() {
    let api = serving(definition()).await;
    api.post(TABS, tab("a", json!({"cronSpec": "* *"}))).await.expect(201);
    let blind = api.put(&format!("{TABS}/a"), tab("a", json!({"cronSpec": "x"}))).await.expect(422).json();
    assert_eq!(blind["details"]["causes"][0]["field"], "metadata.resourceVersion");
}

#[tokio::test]
async fn tables_and_selectors_are_the_definitions() {
    let api = serving(definition()).await;
    for (name, color) in [("a", "red"), ("b", "blue")] {
        api.post(TABS, tab(name, json!({"cronSpec": "* *", "color": color}))).await.expect(201);
    }
    let table = [("accept", "application/json;as=Table;v=v1;g=meta.k8s.io")];
    let red =
        api.send("GET", &format!("{TABS}?fieldSelector=spec.color%3Dred"), &table, Vec::new()).await.expect(200).json();
    assert_eq!(red["rows"].as_array().map(Vec::len), Some(1));
    assert_eq!(red["rows"][0]["cells"], json!(["a", "* *"]));
    assert_eq!(red["columnDefinitions"][1]["name"], "Spec");
    let refused = api.get(&format!("{TABS}?fieldSelector=spec.cronSpec%3Dx")).await.expect(400).json();
    assert_eq!(refused["message"], "field label not supported: spec.cronSpec");
}

#[tokio::test]
async fn versions_show_the_same_objects() {
    let mut two = definition();
    let mut second = two["spec"]["versions"][0].clone();
    second["name"] = "v2".into();
    second["storage"] = false.into();
    second["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]["size"] =
        json!({"type": "string", "default": "L"});
    two["spec"]["versions"].as_array_mut().expect("versions").push(second);
    let api = serving(two).await;
    api.post(TABS, tab("a", json!({"cronSpec": "* *"}))).await.expect(201);
    let newer = TABS.replace("/v1/", "/v2/");
    let shown = api.get(&format!("{newer}/a")).await.expect(200).json();
    assert_eq!((&shown["apiVersion"], &shown["spec"]["size"]), (&json!("stable.example.com/v2"), &json!("L")));
    let list = api.get(&newer).await.expect(200).json();
    assert_eq!(list["items"][0]["apiVersion"], "stable.example.com/v2");
    let older = api.get(&format!("{TABS}/a")).await.expect(200).json();
    assert!(older["spec"].get("size").is_none());
    assert_eq!(older["metadata"]["resourceVersion"], shown["metadata"]["resourceVersion"]);
}

#[tokio::test]
async fn names_that_others_have_are_not_accepted() {
    let api = serving(definition()).await;
    let mut other = definition();
    other["metadata"]["name"] = "others.stable.example.com".into();
    other["spec"]["names"] = json!({"plural": "others", "kind": "Other", "shortNames": ["ct"]});
    api.post(DEFINITIONS, other).await.expect(201);
    let path = format!("{DEFINITIONS}/others.stable.example.com");
    let judged = async {
        loop {
            let found = api.get(&path).await.expect(200).json();
            if let Some(condition) = found["status"]["conditions"].get(0) {
                return condition.clone();
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let condition = tokio::time::timeout(DEADLINE, judged).await.expect("a condition in time");
    assert_eq!((&condition["status"], &condition["reason"]), (&json!("False"), &json!("ShortNamesConflict")));
    api.get("/apis/stable.example.com/v1/others").await.expect(404);
}

#[tokio::test]
async fn rules_are_evaluated_on_create_and_on_change() {
    let mut ruled = definition();
    ruled["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["x-kubernetes-validations"] = json!([
        {"rule": "self.replicas <= 10", "message": "too many"},
        {"rule": "!has(oldSelf.color) || self.color == oldSelf.color", "messageExpression": "'color was ' + oldSelf.color"}
    ]);
    let api = serving(ruled).await;
    let many = api.post(TABS, tab("a", json!({"cronSpec": "x", "replicas": 11}))).await.expect(422).json();
    assert_eq!(many["details"]["causes"][0]["message"], "Invalid value: too many");
    assert_eq!(many["details"]["causes"][0]["field"], "spec");
    let mut created = api.post(TABS, tab("a", json!({"cronSpec": "x", "color": "red"}))).await.expect(201).json();
    created["spec"]["color"] = "blue".into();
    let changed = api.put(&format!("{TABS}/a"), created).await.expect(422).json();
    assert_eq!(changed["details"]["causes"][0]["message"], "Invalid value: color was red");
}

#[tokio::test]
async fn both_versions_of_openapi_describe_it() {
    let api = serving(definition()).await;
    let third = api.get("/openapi/v3/apis/stable.example.com/v1").await.expect(200).json();
    let schema = &third["components"]["schemas"]["com.example.stable.v1.CronTab"];
    assert_eq!(schema["properties"]["spec"]["properties"]["replicas"]["default"], 2);
    assert!(schema["properties"]["metadata"]["allOf"].is_array());
    assert_eq!(schema["x-kubernetes-group-version-kind"][0]["kind"], "CronTab");
    let patch = &third["paths"]["/apis/stable.example.com/v1/namespaces/{namespace}/crontabs/{name}"]["patch"];
    let media = patch["requestBody"]["content"].as_object().expect("content").keys().cloned().collect::<Vec<_>>();
    assert_eq!(media, ["application/apply-patch+yaml", "application/json-patch+json", "application/merge-patch+json"]);
    let second = api.get("/openapi/v2").await.expect(200).json();
    let schema = &second["definitions"]["com.example.stable.v1.CronTab"];
    assert_eq!(schema["properties"]["spec"]["required"], json!(["cronSpec"]));
    assert!(schema["properties"]["spec"]["properties"]["replicas"].get("default").is_none());
}

#[tokio::test]
async fn what_is_read_follows_the_schema_of_the_day() {
    let api = serving(definition()).await;
    api.post(TABS, tab("a", json!({"cronSpec": "* *", "color": "red"}))).await.expect(201);
    api.caught_up().await;
    let path = format!("{TABS}/a");
    let first = api.get(&path).await.expect(200);
    // Again, as it is known now to be shown as it is stored; and all forms of reading agree.
    assert_eq!(api.get(&path).await.expect(200).text, first.text);
    let lists = [api.get(TABS).await.expect(200).text, api.get(TABS).await.expect(200).text];
    assert_eq!(lists[0], lists[1]);
    let begin = format!(r#"{{"apiVersion":"stable.example.com/v1","items":[{}],"kind":"CronTabList","#, first.text);
    assert!(lists[0].starts_with(&begin), "{}", lists[0]);
    assert_eq!(api.get(TABS).await.json()["metadata"]["continue"], "");
    let mut events =
        api.watch(&format!("{TABS}?watch=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan")).await;
    assert_eq!(events.next().await.expect("an event"), ("ADDED".to_owned(), first.json()));

    // Another day: a field has a default, another is not known any more.
    let changed = json!([
        {"op": "add", "path": "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/day",
            "value": {"type": "string", "default": "Monday"}},
        {"op": "remove", "path": "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/color"},
        {"op": "remove", "path": "/spec/versions/0/selectableFields"},
    ]);
    let name = format!("{DEFINITIONS}/crontabs.stable.example.com");
    api.patch(&name, "json-patch+json", changed).await.expect(200);
    let want = json!({"cronSpec": "* *", "replicas": 2, "day": "Monday"});
    let asking = async {
        while api.get(&path).await.json()["spec"] != want {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(DEADLINE, asking).await.expect("the new schema is read by in time");
    for _ in 0..2 {
        assert_eq!(api.get(&path).await.expect(200).json()["spec"], want);
        assert_eq!(api.get(TABS).await.expect(200).json()["items"][0]["spec"], want);
        let query = "watch=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan";
        let mut events = api.watch(&format!("{TABS}?{query}")).await;
        assert_eq!(events.next().await.expect("an event").1["spec"], want);
    }
}
