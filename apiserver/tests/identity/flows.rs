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

#[tokio::test]
async fn what_stands_comes_again() {
    let api = Api::secured().await;
    let system = format!("{GROUP}/prioritylevelconfigurations/system");
    let before = api.get(&system).await.expect(200).json();
    for path in ["flowschemas/catch-all", "flowschemas/probes", "prioritylevelconfigurations/global-default"] {
        api.delete(&format!("{GROUP}/{path}"), None).await.expect(200);
    }
    let mut left = before.clone();
    left["metadata"]["name"] = "left-behind".into();
    left["metadata"]["resourceVersion"] = "".into();
    api.post(&format!("{GROUP}/prioritylevelconfigurations"), left).await.expect(201);
    let mut changed = before.clone();
    changed["spec"]["limited"]["nominalConcurrencyShares"] = 31.into();
    api.put(&system, changed).await.expect(200);
    ensured(&api).await;
    for path in ["flowschemas/catch-all", "flowschemas/probes", "prioritylevelconfigurations/global-default"] {
        let object = api.get(&format!("{GROUP}/{path}")).await.expect(200).json();
        assert_eq!(object["metadata"]["annotations"]["apf.kubernetes.io/autoupdate-spec"], "true", "{path}");
    }
    api.get(&format!("{GROUP}/prioritylevelconfigurations/left-behind")).await.expect(404);
    let after = api.get(&system).await.expect(200).json();
    assert_eq!(after["spec"], before["spec"]);
    // Whoever says so has their own spec.
    let mut own = after.clone();
    own["spec"]["limited"]["nominalConcurrencyShares"] = 31.into();
    own["metadata"]["annotations"]["apf.kubernetes.io/autoupdate-spec"] = "false".into();
    let own = api.put(&system, own).await.expect(200).json();
    ensured(&api).await;
    assert_eq!(api.get(&system).await.expect(200).json(), own);
    // And nothing is written where nothing is to be done.
    let seen = stored(&api).await;
    ensured(&api).await;
    assert_eq!(stored(&api).await, seen);
}

async fn stored(api: &Api) -> [serde_json::Value; 2] {
    let schemas = api.get(&format!("{GROUP}/flowschemas")).await.expect(200).json();
    let levels = api.get(&format!("{GROUP}/prioritylevelconfigurations")).await.expect(200).json();
    [schemas["items"].clone(), levels["items"].clone()]
}

async fn ensured(api: &Api) {
    api.caught_up().await;
    api.server().ensure_flow_configuration().await.expect("ensured");
    api.caught_up().await;
}
