//! Every request is counted and queued where kube-apiserver would, and the client is told so.

use std::collections::HashMap;

use skiff_fixture::Api;

/// What kube-apiserver v1.36.2 says: user, group, method, path, FlowSchema, level; the last two read from the headers of
/// its answer, `-` for none.
const FACTS: &str = include_str!("facts/flows.txt");
const GROUP: &str = "/apis/flowcontrol.apiserver.k8s.io/v1";

async fn uids(api: &Api, resource: &str) -> HashMap<String, String> {
    let list = api.get(&format!("{GROUP}/{resource}")).await.expect(200).json();
    let items = list["items"].as_array().expect("items").iter();
    let text = |value: &serde_json::Value| value.as_str().expect("text").to_owned();
    items.map(|item| (text(&item["metadata"]["uid"]), text(&item["metadata"]["name"]))).collect()
}

#[tokio::test]
async fn flows_are_those_of_kube_apiserver() {
    let api = Api::secured().await;
    api.caught_up().await;
    let (schemas, levels) = (uids(&api, "flowschemas").await, uids(&api, "prioritylevelconfigurations").await);
    let mut compared = 0;
    for line in FACTS.lines() {
        let [user, group, method, path, schema, level] = line.split(' ').collect::<Vec<_>>()[..] else {
            panic!("{line}: not six words")
        };
        let mut headers = vec![("impersonate-user", user)];
        headers.extend((group != "-").then_some(("impersonate-group", group)));
        let answer = api.raw(method, path, &headers, Vec::new()).await;
        let header = |name: &str| answer.headers().get(name).map(|value| value.to_str().expect("text"));
        let named = |uid: Option<&str>, names: &HashMap<String, String>| {
            uid.map_or_else(|| "-".to_owned(), |uid| names.get(uid).expect("an object of this uid").clone())
        };
        assert_eq!(named(header("x-kubernetes-pf-flowschema-uid"), &schemas), schema, "{line}");
        assert_eq!(named(header("x-kubernetes-pf-prioritylevel-uid"), &levels), level, "{line}");
        compared += 1;
    }
    assert!(compared > 150, "{compared}");
}

#[tokio::test]
async fn a_schema_is_told_whether_its_level_is_there() {
    let api = Api::secured().await;
    let spec = serde_json::json!({
        "matchingPrecedence": 50,
        "priorityLevelConfiguration": {"name": "later"},
        "rules": [{
            "subjects": [{"kind": "User", "user": {"name": "jane"}}],
            "resourceRules": [{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"], "namespaces": ["*"]}]
        }]
    });
    let of = |kind: &str, name: &str, spec: serde_json::Value| {
        serde_json::json!({
            "apiVersion": "flowcontrol.apiserver.k8s.io/v1", "kind": kind, "metadata": {"name": name}, "spec": spec
        })
    };
    api.post(&format!("{GROUP}/flowschemas"), of("FlowSchema", "mine", spec)).await.expect(201);
    assert_eq!(judged(&api).await, ("True".to_owned(), "NotFound".to_owned()));
    let level = serde_json::json!({"type": "Limited", "limited": {"limitResponse": {"type": "Reject"}}});
    let level = of("PriorityLevelConfiguration", "later", level);
    api.post(&format!("{GROUP}/prioritylevelconfigurations"), level).await.expect(201);
    assert_eq!(judged(&api).await, ("False".to_owned(), "Found".to_owned()));
}

/// The condition of the schema, once the server has looked at it.
async fn judged(api: &Api) -> (String, String) {
    api.caught_up().await;
    api.server().judge_flow_schemas().await.expect("judged");
    let schema = api.get(&format!("{GROUP}/flowschemas/mine")).await.expect(200).json();
    let condition = &schema["status"]["conditions"][0];
    let text = |field: &str| condition[field].as_str().unwrap_or("").to_owned();
    (text("status"), text("reason"))
}
