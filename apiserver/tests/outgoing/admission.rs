//! Admission webhooks: who is asked about what, what the answers do, and what happens when there is none.

use base64::Engine;
use serde_json::{Value, json};
use skiff_apiserver::audit::Audit;
use skiff_apiserver::audit::log::{Log, LogConfig, Mode};
use skiff_apiserver::audit::policy::Policy;
use skiff_fixture::Api;

use crate::server::Server;

const MUTATING: &str = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations";
const VALIDATING: &str = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations";
const MAPS: &str = "/api/v1/namespaces/default/configmaps";

fn rules(operations: &[&str], groups: &[&str], versions: &[&str], resources: &[&str]) -> Value {
    json!([{"operations": operations, "apiGroups": groups, "apiVersions": versions, "resources": resources}])
}

fn map_rules() -> Value {
    rules(&["CREATE", "UPDATE", "DELETE"], &[""], &["v1"], &["configmaps"])
}

/// A webhook; `more` replaces fields.
fn webhook(server: &Server, path: &str, rules: Value, more: Value) -> Value {
    let mut webhook = json!({
        "name": format!("{}.example.com", path.trim_start_matches('/')),
        "clientConfig": server.client_config(path),
        "rules": rules,
        "sideEffects": "None",
        "admissionReviewVersions": ["v1"],
        "timeoutSeconds": 5,
    });
    for (key, value) in more.as_object().expect("fields") {
        webhook[key] = value.clone();
    }
    webhook
}

async fn configure(api: &Api, path: &str, name: &str, webhooks: Vec<Value>) {
    let kind = if path == MUTATING { "MutatingWebhookConfiguration" } else { "ValidatingWebhookConfiguration" };
    let object = json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": kind,
        "metadata": {"name": name}, "webhooks": webhooks
    });
    let made = api.post(path, object).await.expect(201).json();
    // Admission looks at the cache, which may be a moment behind.
    let version = made["metadata"]["resourceVersion"].as_str().expect("a version");
    api.get(&format!("{path}/{name}?resourceVersion={version}")).await.expect(200);
}

fn map(name: &str, data: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data})
}

/// An answer to a review.
fn response(review: &Value, fields: Value) -> Option<(u16, Value)> {
    let mut response = json!({"uid": review["request"]["uid"], "allowed": true});
    for (key, value) in fields.as_object().expect("fields") {
        response[key] = value.clone();
    }
    Some((200, json!({"apiVersion": review["apiVersion"], "kind": "AdmissionReview", "response": response})))
}

fn patch(operations: Value) -> Value {
    let patch = base64::engine::general_purpose::STANDARD.encode(operations.to_string());
    json!({"patch": patch, "patchType": "JSONPatch"})
}

/// Allows, refuses, changes, waits: by the path.
fn usual(path: &str, review: &Value) -> Option<(u16, Value)> {
    match path {
        "/deny" => response(
            review,
            json!({"allowed": false, "status": {"code": 403, "message": "not here", "reason": "Mine"}}),
        ),
        "/warn" => response(review, json!({"warnings": ["mind the gap"]})),
        "/mark-a" => response(review, patch(json!([{"op": "add", "path": "/data/a", "value": "1"}]))),
        "/mark-b" if review["request"]["object"]["data"]["a"] == "1" => {
            response(review, patch(json!([{"op": "add", "path": "/data/b", "value": "1"}])))
        }
        "/broken" => Some((500, json!("boom"))),
        "/silent" => None,
        "/wrong-uid" => Some((
            200,
            json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": {"uid": "x", "allowed": true}}),
        )),
        _ => response(review, json!({})),
    }
}

#[tokio::test]
async fn a_validating_webhook_sees_the_request_and_may_refuse_it() {
    let server = Server::start(usual).await;
    let api = Api::secured().await;
    configure(&api, VALIDATING, "deny", vec![webhook(&server, "/deny", map_rules(), json!({}))]).await;
    let refused = api.post(&format!("{MAPS}?fieldManager=me"), map("a", json!({"k": "v"}))).await.expect(403).json();
    assert_eq!(refused["message"], "admission webhook \"deny.example.com\" denied the request: not here");
    assert_eq!(refused["reason"], "Mine");
    let seen = server.take_seen();
    assert_eq!(seen.len(), 1, "{seen:?}");
    let request = &seen[0]["request"];
    assert_eq!(seen[0]["apiVersion"], "admission.k8s.io/v1");
    assert_eq!(request["kind"], json!({"group": "", "version": "v1", "kind": "ConfigMap"}));
    assert_eq!(request["resource"], json!({"group": "", "version": "v1", "resource": "configmaps"}));
    assert_eq!(request["requestKind"], request["kind"]);
    assert_eq!(request["requestResource"], request["resource"]);
    assert_eq!((&request["name"], &request["namespace"]), (&json!("a"), &json!("default")));
    assert_eq!((&request["operation"], &request["dryRun"]), (&json!("CREATE"), &json!(false)));
    assert_eq!(request["userInfo"]["username"], "admin");
    assert_eq!(request["object"]["data"], json!({"k": "v"}));
    assert_eq!(request["object"]["metadata"]["managedFields"][0]["manager"], "me");
    assert_eq!(request["oldObject"], Value::Null);
    let options = json!({"kind": "CreateOptions", "apiVersion": "meta.k8s.io/v1", "fieldManager": "me"});
    assert_eq!(request["options"], options);
    api.get(&format!("{MAPS}/a")).await.expect(404);
}

#[tokio::test]
async fn updates_and_deletes_show_the_old_object() {
    let server = Server::start(usual).await;
    let api = Api::secured().await;
    api.post(MAPS, map("a", json!({"k": "1"}))).await.expect(201);
    configure(&api, VALIDATING, "look", vec![webhook(&server, "/warn", map_rules(), json!({}))]).await;
    let changed = api.patch(&format!("{MAPS}/a"), "merge-patch+json", json!({"data": {"k": "2"}})).await.expect(200);
    assert_eq!(changed.headers["warning"], "299 - \"mind the gap\"");
    api.delete(&format!("{MAPS}/a"), Some(json!({"propagationPolicy": "Foreground"}))).await.expect(200);
    let seen = server.take_seen();
    let requests = seen.iter().map(|review| &review["request"]).collect::<Vec<_>>();
    assert_eq!(requests[0]["operation"], "UPDATE");
    assert_eq!(requests[0]["options"]["kind"], "UpdateOptions");
    assert_eq!(requests[0]["object"]["data"]["k"], "2");
    assert_eq!(requests[0]["oldObject"]["data"]["k"], "1");
    assert_eq!(requests[1]["operation"], "DELETE");
    assert_eq!(requests[1]["object"], Value::Null);
    assert_eq!(requests[1]["oldObject"]["data"]["k"], "2");
    let options = json!({"kind": "DeleteOptions", "apiVersion": "meta.k8s.io/v1", "propagationPolicy": "Foreground"});
    assert_eq!(requests[1]["options"], options);
}

#[tokio::test]
async fn mutating_webhooks_are_asked_by_name_and_again_if_they_want() {
    let server = Server::start(usual).await;
    let api = Api::secured().await;
    // "b" comes first by its name and sees what "a" made only when it is asked again.
    let again = json!({"reinvocationPolicy": "IfNeeded"});
    configure(&api, MUTATING, "1", vec![webhook(&server, "/mark-b", map_rules(), again)]).await;
    configure(&api, MUTATING, "2", vec![webhook(&server, "/mark-a", map_rules(), json!({}))]).await;
    let made = api.post(MAPS, map("a", json!({"k": "v"}))).await.expect(201).json();
    assert_eq!(made["data"], json!({"k": "v", "a": "1", "b": "1"}));
    let seen = server.take_seen().iter().map(|review| review["request"]["object"]["data"].clone()).collect::<Vec<_>>();
    assert_eq!(seen, [json!({"k": "v"}), json!({"k": "v"}), json!({"k": "v", "a": "1"})]);
    // Fields that webhooks set belong to nobody.
    assert_eq!(made["metadata"]["managedFields"][0]["fieldsV1"]["f:data"], json!({".": {}, "f:k": {}}));
}

#[tokio::test]
async fn what_a_webhook_makes_of_a_pod_gets_defaults_and_is_validated() {
    let server = Server::start(|path, review| match path {
        "/add" => response(
            review,
            patch(json!([{"op": "add", "path": "/spec/initContainers", "value": [{"name": "i", "image": "i", "nonsense": 1}]}])),
        ),
        _ => response(review, patch(json!([{"op": "replace", "path": "/spec/containers/0/name", "value": "NOT VALID"}]))),
    })
    .await;
    let api = Api::secured().await;
    let pods = rules(&["CREATE"], &[""], &["v1"], &["pods"]);
    let selects = |value: &str| json!({"objectSelector": {"matchLabels": {"ask": value}}});
    configure(
        &api,
        MUTATING,
        "pods",
        vec![
            webhook(&server, "/add", pods.clone(), selects("add")),
            webhook(&server, "/spoil", pods, selects("spoil")),
        ],
    )
    .await;
    // Pods need their ServiceAccount, which a controller makes elsewhere.
    let account = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}});
    api.post("/api/v1/namespaces/default/serviceaccounts", account).await.expect(201);
    let pod = |ask: &str| {
        json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": {"name": ask, "labels": {"ask": ask}},
            "spec": {"containers": [{"name": "c", "image": "c"}]}
        })
    };
    let made = api.post("/api/v1/namespaces/default/pods", pod("add")).await.expect(201).json();
    let init = &made["spec"]["initContainers"][0];
    assert_eq!(init["terminationMessagePath"], "/dev/termination-log");
    assert_eq!(init["nonsense"], Value::Null);
    // Admission in process ran again for the container that came late.
    assert_eq!(init["volumeMounts"][0]["mountPath"], "/var/run/secrets/kubernetes.io/serviceaccount");
    let spoilt = api.post("/api/v1/namespaces/default/pods", pod("spoil")).await.expect(422).json();
    assert_eq!(spoilt["details"]["causes"][0]["field"], "spec.containers[0].name");
    api.post("/api/v1/namespaces/default/pods", pod("other")).await.expect(201);
}

#[tokio::test]
async fn failures_follow_the_policy() {
    let server = Server::start(usual).await;
    let api = Api::secured().await;
    for (path, ignored, message) in [
        (
            "/broken",
            false,
            "failed to call webhook: an error on the server (\"boom\") has prevented the request from succeeding",
        ),
        ("/silent", false, "context deadline exceeded"),
        ("/wrong-uid", false, "received invalid webhook response: expected response.uid="),
        ("/broken", true, ""),
        ("/silent", true, ""),
    ] {
        let name = format!("{}-{ignored}", &path[1..]);
        let policy = if ignored { "Ignore" } else { "Fail" };
        let more = json!({"failurePolicy": policy, "timeoutSeconds": 1});
        configure(&api, VALIDATING, &name, vec![webhook(&server, path, map_rules(), more)]).await;
        let answer = api.post(MAPS, map(&name, json!({}))).await;
        if ignored {
            answer.expect(201);
        } else {
            let failed = answer.expect(500).json();
            let text = failed["message"].as_str().expect("message");
            let start = format!("Internal error occurred: failed calling webhook \"{}.example.com\": ", &path[1..]);
            assert!(text.starts_with(&start) && text.contains(message), "{text}");
        }
        api.delete(&format!("{VALIDATING}/{name}"), None).await.expect(200);
    }
}

#[tokio::test]
async fn who_cannot_be_reached_or_trusted_is_named_in_gos_words() {
    let (server, other) = (Server::start(usual).await, Server::start(usual).await);
    let api = Api::secured().await;
    let mut distrusted = server.client_config("/allow");
    distrusted["caBundle"] = other.client_config("/allow")["caBundle"].clone();
    let missing = json!({"service": {"namespace": "default", "name": "none", "path": "/p"}});
    for (name, config, message) in [
        ("distrusted", distrusted, "tls: failed to verify certificate: x509: certificate signed by unknown authority"),
        (
            "missing",
            missing,
            "failed to call webhook: Post \"https://none.default.svc:443/p?timeout=5s\": service \"none\" not found",
        ),
        ("nobody", json!({"url": "https://127.0.0.1:1/x"}), "dial tcp 127.0.0.1:1: connect: connection refused"),
    ] {
        let hook = webhook(&server, "/allow", map_rules(), json!({"clientConfig": config}));
        configure(&api, VALIDATING, name, vec![hook]).await;
        let failed = api.post(MAPS, map("a", json!({}))).await.expect(500).json();
        assert!(failed["message"].as_str().expect("message").contains(message), "{failed}");
        api.delete(&format!("{VALIDATING}/{name}"), None).await.expect(200);
    }
}

#[tokio::test]
async fn dry_runs_ask_only_those_without_side_effects() {
    let server = Server::start(usual).await;
    let api = Api::secured().await;
    let more = json!({"sideEffects": "NoneOnDryRun"});
    configure(&api, VALIDATING, "fine", vec![webhook(&server, "/allow", map_rules(), more)]).await;
    api.post(&format!("{MAPS}?dryRun=All"), map("a", json!({}))).await.expect(201);
    let seen = server.take_seen();
    assert_eq!(seen[0]["request"]["dryRun"], true);
    assert_eq!(seen[0]["request"]["options"]["dryRun"], json!(["All"]));
}

#[tokio::test]
async fn namespaces_are_selected_and_configurations_exempt() {
    let server = Server::start(usual).await;
    let api = Api::secured().await;
    let everything = rules(&["*"], &["*"], &["*"], &["*"]);
    let selector = json!({"namespaceSelector": {"matchLabels": {"guarded": "yes"}}});
    configure(&api, VALIDATING, "all", vec![webhook(&server, "/deny", everything, selector)]).await;
    for (name, labels) in [("free", json!({})), ("guarded", json!({"guarded": "yes"}))] {
        let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}});
        let code = if name == "free" { 201 } else { 403 };
        api.post("/api/v1/namespaces", namespace).await.expect(code);
    }
    api.post("/api/v1/namespaces/free/configmaps", map("a", json!({}))).await.expect(201);
    // What belongs to no namespace is asked about whatever the selector says.
    let class =
        json!({"apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "metadata": {"name": "p"}, "value": 1});
    api.post("/apis/scheduling.k8s.io/v1/priorityclasses", class).await.expect(403);
    // Except for the configurations themselves, or nobody could ever undo a mistake.
    api.delete(&format!("{VALIDATING}/all"), None).await.expect(200);
}

#[tokio::test]
async fn rules_for_another_version_match_what_is_the_same_object() {
    let server = Server::start(usual).await;
    let api = Api::secured().await;
    let v1 = rules(&["CREATE"], &["autoscaling"], &["v1"], &["horizontalpodautoscalers"]);
    let equivalent = webhook(&server, "/allow", v1.clone(), json!({"matchPolicy": "Equivalent"}));
    let mut exact = webhook(&server, "/deny", v1, json!({"matchPolicy": "Exact"}));
    exact["name"] = "exact.example.com".into();
    configure(&api, VALIDATING, "versions", vec![equivalent, exact]).await;
    let scaler = json!({
        "apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": {"name": "s"},
        "spec": {
            "maxReplicas": 3, "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "d"},
            "metrics": [{"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 50}}}]
        }
    });
    api.post("/apis/autoscaling/v2/namespaces/default/horizontalpodautoscalers", scaler).await.expect(201);
    let seen = server.take_seen();
    assert_eq!(seen.len(), 1);
    let request = &seen[0]["request"];
    assert_eq!((&request["kind"]["version"], &request["requestKind"]["version"]), (&json!("v1"), &json!("v2")));
    assert_eq!(request["object"]["apiVersion"], "autoscaling/v1");
    assert_eq!(request["object"]["spec"]["targetCPUUtilizationPercentage"], 50);
}

#[tokio::test]
async fn subresources_are_shown_in_their_own_kind() {
    let server = Server::start(|path, review| match path {
        "/scale" => response(review, patch(json!([{"op": "replace", "path": "/spec/replicas", "value": 4}]))),
        _ => response(review, json!({"allowed": false})),
    })
    .await;
    let api = Api::secured().await;
    let deployment = json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d"},
        "spec": {
            "replicas": 1, "selector": {"matchLabels": {"a": "b"}},
            "template": {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "c"}]}}
        }
    });
    let path = "/apis/apps/v1/namespaces/default/deployments";
    api.post(path, deployment).await.expect(201);
    let scale = rules(&["UPDATE"], &["apps"], &["v1"], &["deployments/scale"]);
    configure(&api, MUTATING, "scale", vec![webhook(&server, "/scale", scale, json!({}))]).await;
    let scaled =
        api.patch(&format!("{path}/d/scale"), "merge-patch+json", json!({"spec": {"replicas": 2}})).await.expect(200);
    assert_eq!(scaled.json()["spec"]["replicas"], 4);
    let request = server.take_seen()[0]["request"].clone();
    assert_eq!(request["kind"], json!({"group": "autoscaling", "version": "v1", "kind": "Scale"}));
    assert_eq!((&request["subResource"], &request["object"]["kind"]), (&json!("scale"), &json!("Scale")));
    assert_eq!(
        (&request["object"]["spec"]["replicas"], &request["oldObject"]["spec"]["replicas"]),
        (&json!(2), &json!(1))
    );
    // A connection's options are its object.
    let exec = rules(&["CONNECT"], &[""], &["v1"], &["pods/exec"]);
    configure(&api, VALIDATING, "exec", vec![webhook(&server, "/exec", exec, json!({}))]).await;
    let asked = "/api/v1/namespaces/default/pods/p/exec?container=c&stdin=true&command=sh&command=-c";
    let refused = api.post(asked, json!({})).await.expect(400).json();
    assert_eq!(refused["message"], "admission webhook \"exec.example.com\" denied the request without explanation");
    let request = server.take_seen()[0]["request"].clone();
    let options =
        json!({"kind": "PodExecOptions", "apiVersion": "v1", "container": "c", "stdin": true, "command": ["sh", "-c"]});
    assert_eq!((&request["operation"], &request["object"]), (&json!("CONNECT"), &options));
}

#[tokio::test]
async fn match_conditions_choose_requests() {
    let server = Server::start(usual).await;
    let api = Api::secured().await;
    let conditions = |expression: &str| json!({"matchConditions": [{"name": "c", "expression": expression}]});
    let mut skip = webhook(&server, "/deny", map_rules(), conditions("object.metadata.name != 'skip-me'"));
    skip["failurePolicy"] = "Fail".into();
    configure(&api, VALIDATING, "conditions", vec![skip]).await;
    api.post(MAPS, map("skip-me", json!({}))).await.expect(201);
    api.post(MAPS, map("other", json!({}))).await.expect(403);
    // The condition fails for want of data: what then happens is the failure policy's.
    for (policy, code) in [("Fail", 403), ("Ignore", 201)] {
        api.delete(&format!("{VALIDATING}/conditions"), None).await.expect(200);
        let mut failing = webhook(&server, "/deny", map_rules(), conditions("object.data.nothing == 'x'"));
        failing["failurePolicy"] = policy.into();
        configure(&api, VALIDATING, "conditions", vec![failing]).await;
        let answer = api.post(MAPS, map(&policy.to_lowercase(), json!({"k": "v"}))).await.expect(code);
        if code == 403 {
            let message = "configmaps \"fail\" is forbidden: expression 'object.data.nothing == 'x'' resulted in error: no such key: nothing";
            assert_eq!(answer.json()["message"], message);
        }
    }
}

#[tokio::test]
async fn a_webhook_cannot_move_an_object_or_make_another_kind_of_it() {
    let server = Server::start(|path, review| {
        let (path, value) = match path {
            "/move" => ("/metadata/namespace", "kube-system"),
            _ => ("/kind", "Secret"),
        };
        response(review, patch(json!([{"op": "replace", "path": path, "value": value}])))
    })
    .await;
    let api = Api::secured().await;
    for (path, code, message) in [
        ("/move", 400, "the namespace of the provided object does not match the namespace sent on the request"),
        ("/kind", 500, "Internal error occurred: the patched object is of v1, Kind=Secret, not of v1, Kind=ConfigMap"),
    ] {
        let name = &path[1..];
        configure(&api, MUTATING, name, vec![webhook(&server, path, map_rules(), json!({}))]).await;
        assert_eq!(api.post(MAPS, map("a", json!({}))).await.expect(code).json()["message"], message);
        api.delete(&format!("{MUTATING}/{name}"), None).await.expect(200);
    }
}

#[tokio::test]
async fn questions_that_are_not_stored_are_asked_about_too() {
    let server = Server::start(usual).await;
    let api = Api::secured().await;
    let reviews = rules(&["CREATE"], &["authorization.k8s.io"], &["v1"], &["*"]);
    configure(&api, VALIDATING, "reviews", vec![webhook(&server, "/deny", reviews, json!({}))]).await;
    let review = json!({
        "apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview",
        "spec": {"resourceAttributes": {"verb": "get", "resource": "pods"}}
    });
    api.post("/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", review).await.expect(403);
}

#[tokio::test]
async fn the_audit_log_says_what_webhooks_did() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("audit.log");
    let config = LogConfig { path: path.clone(), max_bytes: 0, max_backups: 0, max_age: std::time::Duration::ZERO };
    let policy = "apiVersion: audit.k8s.io/v1\nkind: Policy\nrules: [{level: Request}]";
    let api = Api::audited(Audit::new(
        Policy::parse(policy).expect("a policy"),
        Log::open(config, Mode::default()).expect("a log"),
    ))
    .await;
    let server = Server::start(|path, review| match path {
        "/note" => response(review, json!({"auditAnnotations": {"seen": "yes"}})),
        other => usual(other, review),
    })
    .await;
    let open = json!({"failurePolicy": "Ignore"});
    let mutating = vec![
        webhook(&server, "/mark-a", map_rules(), json!({})),
        webhook(&server, "/broken", map_rules(), open.clone()),
    ];
    configure(&api, MUTATING, "m", mutating).await;
    let mut broken = webhook(&server, "/broken", map_rules(), open);
    broken["name"] = "other.example.com".into();
    configure(&api, VALIDATING, "v", vec![webhook(&server, "/note", map_rules(), json!({})), broken]).await;
    api.post(MAPS, map("audited", json!({"k": "v"}))).await.expect(201);
    let log = std::fs::read_to_string(&path).expect("a log");
    let mut events = log.lines().map(|line| serde_json::from_str::<Value>(line).expect("an event"));
    let done = |event: &Value| event["stage"] == "ResponseComplete" && event["objectRef"]["name"] == "audited";
    let annotations = events.rfind(done).expect("the event")["annotations"].clone();
    for (name, text) in [
        ("note.example.com/seen", "yes"),
        (
            "mutation.webhook.admission.k8s.io/round_0_index_0",
            r#"{"configuration":"m","webhook":"mark-a.example.com","mutated":true}"#,
        ),
        (
            "patch.webhook.admission.k8s.io/round_0_index_0",
            r#"{"configuration":"m","webhook":"mark-a.example.com","patch":[{"op":"add","path":"/data/a","value":"1"}],"patchType":"JSONPatch"}"#,
        ),
        (
            "mutation.webhook.admission.k8s.io/round_0_index_1",
            r#"{"configuration":"m","webhook":"broken.example.com","mutated":false}"#,
        ),
        ("failed-open.mutating.webhook.admission.k8s.io/round_0_index_1", "broken.example.com"),
        ("failed-open.validating.webhook.admission.k8s.io/round_0_index_1", "other.example.com"),
    ] {
        assert_eq!(annotations[name], text, "{name}: {annotations}");
    }
}
