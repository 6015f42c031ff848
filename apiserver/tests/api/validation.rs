//! Objects that are refused, with the fields that are named and in which order.

use serde_json::{Value, json};

use skiff_fixture::Api;

/// Posts an object and compares the causes, each as `field: message`.
async fn causes(path: &str, object: Value, wanted: &[&str]) {
    let api = Api::open().await;
    let refused = api.post(path, object).await.expect(422).json();
    let list = refused["details"]["causes"].as_array().expect("causes");
    let text = |cause: &Value, key: &str| cause[key].as_str().unwrap_or("").to_owned();
    let found = list.iter().map(|c| format!("{}: {}", text(c, "field"), text(c, "message"))).collect::<Vec<_>>();
    assert_eq!(found, wanted);
}

fn template(labels: Value) -> Value {
    json!({"metadata": {"labels": labels}, "spec": {"containers": [{"name": "a", "image": "a:v1"}]}})
}

#[tokio::test]
async fn deployments() {
    let path = "/apis/apps/v1/namespaces/demo/deployments";
    causes(
        path,
        json!({"metadata": {"name": "a"}, "spec": {"template": template(json!({"a": "b"}))}}),
        &[
            "spec.selector: Required value",
            "spec.template.metadata.labels: Invalid value: {\"a\":\"b\"}: `selector` does not match template `labels`",
        ],
    )
    .await;
    let spec = json!({
        "replicas": -1, "minReadySeconds": -1, "revisionHistoryLimit": -1, "selector": {"matchLabels": {"a": "b"}},
        "strategy": {"type": "Sometimes"}, "template": template(json!({"a": "b"}))
    });
    causes(
        path,
        json!({"metadata": {"name": "a"}, "spec": spec}),
        &[
            "spec.replicas: Invalid value: -1: must be greater than or equal to 0",
            "spec.strategy: Unsupported value: {\"Type\":\"Sometimes\",\"RollingUpdate\":null}: supported values: \"Recreate\", \"RollingUpdate\"",
            "spec.minReadySeconds: Invalid value: -1: must be greater than or equal to 0",
            "spec.revisionHistoryLimit: Invalid value: -1: must be greater than or equal to 0",
        ],
    )
    .await;
}

#[tokio::test]
async fn namespaces_and_nodes() {
    let unknown =
        "spec.finalizers: Invalid value: \"x\": name is neither a standard finalizer name nor is it fully qualified";
    causes("/api/v1/namespaces", json!({"metadata": {"name": "a"}, "spec": {"finalizers": ["x"]}}), &[unknown]).await;
    let bad = "spec.podCIDRs[0]: Invalid value: \"x\": must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)";
    causes("/api/v1/nodes", json!({"metadata": {"name": "a"}, "spec": {"podCIDR": "x"}}), &[bad]).await;
    let api = Api::open().await;
    let node = json!({"metadata": {"name": "a"}, "spec": {"podCIDR": "10.244.0.0/24"}});
    let made = api.post("/api/v1/nodes", node).await.expect(201).json();
    assert_eq!(made["spec"]["podCIDRs"], json!(["10.244.0.0/24"]));
}

#[tokio::test]
async fn signing_requests() {
    let spec = json!({"request": "YQ==", "signerName": "x", "usages": ["any", "x", "any"], "expirationSeconds": 5});
    let api = Api::open().await;
    let path = "/apis/certificates.k8s.io/v1/certificatesigningrequests";
    let refused = api.post(path, json!({"metadata": {"name": "a"}, "spec": spec})).await.expect(422).json();
    let fields = refused["details"]["causes"].as_array().expect("causes").iter();
    let fields = fields.map(|cause| cause["field"].as_str().expect("field")).collect::<Vec<_>>();
    let wanted = ["spec.request", "spec.usages[1]", "spec.usages[2]", "spec.signerName", "spec.expirationSeconds"];
    assert_eq!(fields, wanted);
    assert!(refused["message"].as_str().expect("message").contains("PEM block type must be CERTIFICATE REQUEST"));
}

#[tokio::test]
async fn events() {
    let path = "/apis/events.k8s.io/v1/namespaces/demo/events";
    let event = json!({
        "metadata": {"name": "a"}, "eventTime": "2026-01-01T00:00:00.000000Z", "regarding": {"namespace": "demo"},
        "reportingController": "example.com/c", "action": "x".repeat(129)
    });
    causes(
        path,
        event,
        &[
            "reportingInstance: Required value",
            "action: Invalid value: \"\": can have at most 128 characters",
            "reason: Required value",
            "type: Invalid value: \"\": has invalid value: ",
        ],
    )
    .await;
    let stray = json!({"metadata": {"name": "a"}, "involvedObject": {"namespace": "other"}});
    let wanted = "involvedObject.namespace: Invalid value: \"other\": does not match event.namespace";
    causes("/api/v1/namespaces/demo/events", stray, &[wanted]).await;
}

#[tokio::test]
async fn quotas() {
    let path = "/api/v1/namespaces/demo/resourcequotas";
    let hard = json!({"pods": "-1", "foo": "1", "count/deployments.apps": "2", "requests.hugepages-2Mi": "0"});
    causes(
        path,
        json!({"metadata": {"name": "a"}, "spec": {"hard": hard}}),
        &[
            "spec.hard[foo]: Invalid value: \"foo\": must be a standard resource type or fully qualified",
            "spec.hard[foo]: Invalid value: \"foo\": must be a standard resource for quota",
            "spec.hard[pods]: Invalid value: \"-1\": must be greater than or equal to 0",
        ],
    )
    .await;
    let scopes = json!(["BestEffort", "NotBestEffort", "Sometimes"]);
    let shown = "spec.scopes: Invalid value: [\"BestEffort\",\"NotBestEffort\",\"Sometimes\"]";
    causes(
        path,
        json!({"metadata": {"name": "a"}, "spec": {"hard": {"cpu": "1"}, "scopes": scopes}}),
        &[
            &format!("{shown}: unsupported scope applied to resource"),
            &format!("{shown}: unsupported scope"),
            &format!("{shown}: conflicting scopes"),
        ],
    )
    .await;
}

#[tokio::test]
async fn reviews_need_a_subject_and_an_object() {
    causes(
        "/apis/authorization.k8s.io/v1/subjectaccessreviews",
        json!({"spec": {}}),
        &[
            "spec.resourceAttributes: Invalid value: null: exactly one of nonResourceAttributes or resourceAttributes must be specified",
            "spec.user: Invalid value: \"\": at least one of user or group must be specified",
        ],
    )
    .await;
}
