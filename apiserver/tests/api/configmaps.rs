//! Every verb on the simplest kind.

use serde_json::json;

use skiff_fixture::Api;

const MAPS: &str = "/api/v1/namespaces/demo/configmaps";

#[tokio::test]
async fn create_get_and_conflict() {
    let api = Api::open().await;
    let created = api
        .post(MAPS, json!({"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"name": "a"}, "data": {"k": "v"}}))
        .await
        .expect(201)
        .json();
    assert_eq!(created["metadata"]["namespace"], "demo");
    assert_eq!(created["data"], json!({"k": "v"}));
    let metadata = created["metadata"].as_object().expect("metadata");
    for field in ["uid", "creationTimestamp", "resourceVersion", "managedFields"] {
        assert!(metadata.contains_key(field), "{field}");
    }
    assert_eq!(created["metadata"]["managedFields"][0]["manager"], "test");
    assert_eq!(api.get(&format!("{MAPS}/a")).await.expect(200).json(), created);
    let again = api.post(MAPS, json!({"metadata": {"name": "a"}})).await.expect(409).json();
    assert_eq!(again["reason"], "AlreadyExists");
    assert_eq!(again["message"], "configmaps \"a\" already exists");
    let missing = api.get(&format!("{MAPS}/b")).await.expect(404).json();
    assert_eq!(missing["details"], json!({"name": "b", "kind": "configmaps"}));
}

#[tokio::test]
async fn lists_pages_and_selectors() {
    let api = Api::open().await;
    let empty = api.get(MAPS).await.expect(200).json();
    assert_eq!((&empty["kind"], &empty["items"]), (&json!("ConfigMapList"), &json!([])));
    for (name, tier) in [("a", "front"), ("b", "back"), ("c", "front")] {
        let map = json!({"metadata": {"name": name, "labels": {"tier": tier}}});
        api.post(MAPS, map).await.expect(201);
    }
    let names = |list: &serde_json::Value| {
        let items = list["items"].as_array().expect("items");
        items.iter().map(|i| i["metadata"]["name"].as_str().expect("name").to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(names(&api.get(MAPS).await.expect(200).json()), ["a", "b", "c"]);
    let front = api.get(&format!("{MAPS}?labelSelector=tier%3Dfront")).await.expect(200).json();
    assert_eq!(names(&front), ["a", "c"]);
    let one = api.get(&format!("{MAPS}?fieldSelector=metadata.name%3Db")).await.expect(200).json();
    assert_eq!(names(&one), ["b"]);
    api.get(&format!("{MAPS}?fieldSelector=data.x%3Db")).await.expect(400);
    let page = api.get(&format!("{MAPS}?limit=2")).await.expect(200).json();
    assert_eq!((names(&page), &page["metadata"]["remainingItemCount"]), (vec!["a".into(), "b".into()], &json!(1)));
    let token = page["metadata"]["continue"].as_str().expect("token");
    let rest = api.get(&format!("{MAPS}?limit=2&continue={token}")).await.expect(200).json();
    assert_eq!(names(&rest), ["c"]);
    assert_eq!(rest["metadata"]["resourceVersion"], page["metadata"]["resourceVersion"]);
}

#[tokio::test]
async fn update_needs_the_version_it_read_and_no_op_changes_nothing() {
    let api = Api::open().await;
    let path = format!("{MAPS}/a");
    let first = api.post(MAPS, json!({"metadata": {"name": "a"}, "data": {"k": "1"}})).await.expect(201).json();
    let mut changed = first.clone();
    changed["data"]["k"] = json!("2");
    let second = api.put(&path, changed.clone()).await.expect(200).json();
    assert_eq!(second["data"]["k"], "2");
    let stale = api.put(&path, changed).await.expect(409).json();
    assert_eq!(
        stale["message"],
        "Operation cannot be fulfilled on configmaps \"a\": the object has been modified; please apply your changes to the latest version and try again"
    );
    let same = api.put(&path, second.clone()).await.expect(200).json();
    assert_eq!(same["metadata"]["resourceVersion"], second["metadata"]["resourceVersion"]);
    let other = api.put(&path, json!({"metadata": {"name": "b"}})).await.expect(400).json();
    assert_eq!(other["message"], "the name of the object (b) does not match the name on the URL (a)");
    api.put(&format!("{MAPS}/none"), json!({"metadata": {"name": "none"}})).await.expect(404);
}

#[tokio::test]
async fn all_patches() {
    let api = Api::open().await;
    let path = format!("{MAPS}/a");
    api.post(MAPS, json!({"metadata": {"name": "a"}, "data": {"k": "1", "x": "y"}})).await.expect(201);
    let merged = api.patch(&path, "merge-patch+json", json!({"data": {"k": "2", "x": null}})).await.expect(200).json();
    assert_eq!(merged["data"], json!({"k": "2"}));
    let operations = json!([{"op": "add", "path": "/data/j", "value": "3"}]);
    let patched = api.patch(&path, "json-patch+json", operations).await.expect(200).json();
    assert_eq!(patched["data"], json!({"j": "3", "k": "2"}));
    let strategic = json!({"metadata": {"labels": {"l": "m"}}});
    let patched = api.patch(&path, "strategic-merge-patch+json", strategic).await.expect(200).json();
    assert_eq!(patched["metadata"]["labels"], json!({"l": "m"}));
    api.patch(&path, "x", json!({})).await.expect(415);
    let apply = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": {"k": "4"}});
    let conflict = api.patch(&format!("{path}?fieldManager=me"), "apply-patch+yaml", apply.clone()).await.expect(409);
    assert!(conflict.json()["message"].as_str().expect("message").contains(".data.k"), "{}", conflict.text);
    let forced =
        api.patch(&format!("{path}?fieldManager=me&force=true"), "apply-patch+yaml", apply.clone()).await.expect(200);
    assert_eq!(forced.json()["data"]["k"], "4");
    let mut other = apply;
    other["metadata"]["name"] = json!("new");
    api.patch(&format!("{MAPS}/new?fieldManager=me"), "apply-patch+yaml", other).await.expect(201);
}

#[tokio::test]
async fn items_of_a_list_do_not_repeat_their_type() {
    let api = Api::open().await;
    for name in ["a", "b"] {
        api.post(MAPS, json!({"metadata": {"name": name}})).await.expect(201);
    }
    let json = api.get(MAPS).await.expect(200);
    assert_eq!(json.json()["items"].as_array().map(Vec::len), Some(2));
    assert!(json.text.contains(r#""items":[{"metadata":{"creation"#), "{}", json.text);
    assert!(json.text.contains(r#"},{"metadata":{"creation"#), "{}", json.text);
    let yaml = api.send("GET", MAPS, &[("accept", "application/yaml")], Vec::new()).await.expect(200);
    assert_eq!(yaml.text.matches("kind:").count(), 1, "{}", yaml.text);
    // Those of the older version of a group, too; parts of objects are of a type of their own.
    api.post(
        "/apis/autoscaling/v2/namespaces/demo/horizontalpodautoscalers",
        json!({"metadata": {"name": "a"},
        "spec": {"maxReplicas": 2, "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "a"}}}),
    )
    .await
    .expect(201);
    let older = api.get("/apis/autoscaling/v1/namespaces/demo/horizontalpodautoscalers").await.expect(200).json();
    assert_eq!((&older["items"][0]["kind"], &older["kind"]), (&json!(null), &json!("HorizontalPodAutoscalerList")));
    let parts = ("accept", "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1");
    let parts = api.send("GET", MAPS, &[parts], Vec::new()).await.expect(200).json();
    assert_eq!(parts["items"][0]["kind"], "PartialObjectMetadata");
}

#[tokio::test]
async fn watch_sees_everything_in_order() {
    let api = Api::open().await;
    let path = format!("{MAPS}/a");
    let mut events = api.watch(&format!("{MAPS}?watch=true")).await;
    api.post(MAPS, json!({"metadata": {"name": "a"}})).await.expect(201);
    api.patch(&path, "merge-patch+json", json!({"data": {"k": "1"}})).await.expect(200);
    api.delete(&path, None).await.expect(200);
    let mut versions = Vec::new();
    for want in ["ADDED", "MODIFIED", "DELETED"] {
        let (kind, object) = events.next().await.expect("event");
        assert_eq!((kind.as_str(), &object["metadata"]["name"]), (want, &json!("a")));
        versions.push(object["metadata"]["resourceVersion"].as_str().expect("version").parse::<u64>().expect("number"));
    }
    assert!(versions.is_sorted_by(|a, b| a < b), "{versions:?}");
}

#[tokio::test]
async fn watch_lists_first_when_asked() {
    let api = Api::open().await;
    api.post(MAPS, json!({"metadata": {"name": "a"}})).await.expect(201);
    let query = "watch=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true";
    let mut events = api.watch(&format!("{MAPS}?{query}")).await;
    assert_eq!(events.next().await.expect("event").0, "ADDED");
    let (kind, object) = events.next().await.expect("event");
    assert_eq!(kind, "BOOKMARK");
    assert_eq!(object["metadata"]["annotations"]["k8s.io/initial-events-end"], "true");
}

#[tokio::test]
async fn delete_by_name_collection_and_policy() {
    let api = Api::open().await;
    for name in ["a", "b", "c"] {
        api.post(MAPS, json!({"metadata": {"name": name}})).await.expect(201);
    }
    let done =
        api.delete(&format!("{MAPS}/a"), Some(json!({"propagationPolicy": "Background"}))).await.expect(200).json();
    assert_eq!(
        (&done["kind"], &done["status"], &done["details"]["name"]),
        (&json!("Status"), &json!("Success"), &json!("a"))
    );
    api.delete(&format!("{MAPS}/a"), None).await.expect(404);
    let orphan = json!({"kind": "DeleteOptions", "apiVersion": "apps/v1", "propagationPolicy": "Orphan"});
    let marked = api.delete(&format!("{MAPS}/b"), Some(orphan)).await.expect(200).json();
    assert_eq!(marked["metadata"]["finalizers"], json!(["orphan"]));
    let freed = api.patch(&format!("{MAPS}/b"), "merge-patch+json", json!({"metadata": {"finalizers": null}})).await;
    freed.expect(200);
    api.get(&format!("{MAPS}/b")).await.expect(404);
    let wrong = json!({"preconditions": {"uid": "x"}});
    api.delete(&format!("{MAPS}/c"), Some(wrong)).await.expect(409);
    let listed = api.delete(MAPS, None).await.expect(200).json();
    assert_eq!(listed["items"].as_array().map(Vec::len), Some(1));
    assert_eq!(api.get(MAPS).await.json()["items"], json!([]));
}

#[tokio::test]
async fn generated_names_dry_run_and_field_validation() {
    let api = Api::open().await;
    let named = api.post(MAPS, json!({"metadata": {"generateName": "web-"}})).await.expect(201).json();
    let name = named["metadata"]["name"].as_str().expect("name");
    assert!(name.starts_with("web-") && name.len() == 9, "{name}");
    let dry = api.post(&format!("{MAPS}?dryRun=All"), json!({"metadata": {"name": "dry"}})).await.expect(201).json();
    assert!(dry["metadata"]["uid"].is_string() && dry["metadata"]["resourceVersion"].is_null());
    api.get(&format!("{MAPS}/dry")).await.expect(404);
    api.post(&format!("{MAPS}?dryRun=x"), json!({})).await.expect(422);
    let odd = json!({"metadata": {"name": "odd"}, "spec": 1});
    let strict = api.post(&format!("{MAPS}?fieldValidation=Strict"), odd.clone()).await.expect(400).json();
    assert_eq!(
        strict["message"],
        "ConfigMap in version \"v1\" cannot be handled as a ConfigMap: strict decoding error: unknown field \"spec\""
    );
    let warned = api.post(MAPS, odd).await.expect(201);
    assert_eq!(warned.headers["warning"], "299 - \"unknown field \\\"spec\\\"\"");
}

#[tokio::test]
async fn bad_requests_get_clear_answers() {
    let api = Api::open().await;
    let json = [("content-type", "application/json")];
    let broken = api.send("POST", MAPS, &json, b"{".to_vec()).await.expect(400);
    assert!(broken.text.contains("unexpected end of JSON input"), "{}", broken.text);
    let deep = [b"[".repeat(10_000), b"]".repeat(10_000)].concat();
    api.send("POST", MAPS, &json, deep).await.expect(400);
    let large = vec![b' '; 4 * 1024 * 1024];
    let large = api.send("POST", MAPS, &json, large).await.expect(413);
    assert!(large.text.contains("limit is 3145728"), "{}", large.text);
    api.post(MAPS, json!({"apiVersion": "v2", "metadata": {"name": "a"}})).await.expect(400);
    api.post(MAPS, json!({"kind": "Secret", "metadata": {"name": "a"}})).await.expect(400);
    let name = api.post(MAPS, json!({"metadata": {"name": "A_b"}})).await.expect(422).json();
    assert_eq!(name["details"]["causes"][0]["field"], "metadata.name");
    api.send("GET", MAPS, &[("accept", "text/html")], Vec::new()).await.expect(406);
    api.get("/api/v1/nothing").await.expect(404);
    api.get("/apis/apps/v1/namespaces/demo/deployments/x").await.expect(404);
    api.get(MAPS).await.expect(200);
}

#[tokio::test]
async fn patches_at_the_same_time_all_count() {
    let api = Api::open().await;
    let path = format!("{MAPS}/a");
    api.post(MAPS, json!({"metadata": {"name": "a"}, "data": {}})).await.expect(201);
    let patches = (0..50).map(|number| {
        let patch = json!({"data": {number.to_string(): "here"}});
        let (api, path) = (&api, &path);
        async move { api.patch(path, "merge-patch+json", patch).await.expect(200) }
    });
    futures::future::join_all(patches).await;
    let all = api.get(&path).await.expect(200).json();
    assert_eq!(all["data"].as_object().map(|data| data.len()), Some(50));
}
