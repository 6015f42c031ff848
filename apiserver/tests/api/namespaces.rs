//! Namespaces: their finalizer, their phase, their end.

use serde_json::json;

use skiff_fixture::Api;

const NAMESPACES: &str = "/api/v1/namespaces";

#[tokio::test]
async fn a_namespace_ends_in_two_steps() {
    let api = Api::open().await;
    let created = api.post(NAMESPACES, json!({"metadata": {"name": "demo"}})).await.expect(201).json();
    assert_eq!(created["status"]["phase"], "Active");
    assert_eq!(created["spec"]["finalizers"], json!(["kubernetes"]));
    assert_eq!(created["metadata"]["labels"]["kubernetes.io/metadata.name"], "demo");
    let path = format!("{NAMESPACES}/demo");
    let deleting = api.delete(&path, None).await.expect(200).json();
    assert_eq!(deleting["status"]["phase"], "Terminating");
    assert!(deleting["metadata"]["deletionTimestamp"].is_string());
    // A second delete changes nothing; the object itself cannot lose its finalizer by a plain update.
    let again = api.delete(&path, None).await.expect(200).json();
    assert_eq!(again["metadata"]["resourceVersion"], deleting["metadata"]["resourceVersion"]);
    let mut without = deleting.clone();
    without["spec"] = json!({});
    let kept = api.put(&path, without.clone()).await.expect(200).json();
    assert_eq!(kept["spec"]["finalizers"], json!(["kubernetes"]));
    without["metadata"]["resourceVersion"] = kept["metadata"]["resourceVersion"].clone();
    api.put(&format!("{path}/finalize"), without).await.expect(200);
    api.get(&path).await.expect(404);
}

#[tokio::test]
async fn status_and_metadata_have_their_own_endpoints() {
    let api = Api::open().await;
    api.post(NAMESPACES, json!({"metadata": {"name": "demo"}})).await.expect(201);
    let path = format!("{NAMESPACES}/demo");
    let patch = json!({"metadata": {"annotations": {"a": "b"}}, "status": {"conditions": [
        {"type": "X", "status": "True"}
    ]}});
    let patched = api.patch(&format!("{path}/status"), "merge-patch+json", patch).await.expect(200).json();
    assert_eq!(patched["metadata"]["annotations"]["a"], "b");
    assert_eq!(patched["status"]["conditions"][0]["type"], "X");
    let ignored =
        api.patch(&path, "merge-patch+json", json!({"status": {"phase": "Terminating"}})).await.expect(200).json();
    assert_eq!(ignored["status"]["phase"], "Active");
    let managers = ignored["metadata"]["managedFields"].as_array().expect("managers");
    assert!(managers.iter().any(|m| m["subresource"] == "status"), "{managers:?}");
    api.delete(NAMESPACES, None).await.expect(405);
    let wrong = api.post(NAMESPACES, json!({"metadata": {"name": "a.b"}})).await.expect(422).json();
    assert_eq!(wrong["details"]["causes"][0]["field"], "metadata.name");
}
