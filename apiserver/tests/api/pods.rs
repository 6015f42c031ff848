//! Pods: defaults, what may change, binding, graceful deletion, eviction.

use serde_json::{Value, json};

use skiff_fixture::Api;

const PODS: &str = "/api/v1/namespaces/demo/pods";

fn pod(name: &str) -> Value {
    json!({
        "metadata": {"name": name, "labels": {"app": "web"}},
        "spec": {"containers": [{"name": "main", "image": "echo:v1"}]}
    })
}

async fn bind(api: &Api, name: &str) {
    let binding = json!({"metadata": {"name": name}, "target": {"kind": "Node", "name": "n1"}});
    api.post(&format!("{PODS}/{name}/binding"), binding).await.expect(201);
}

#[tokio::test]
async fn a_new_pod_is_complete() {
    let api = Api::open().await;
    let mut asked = pod("a");
    asked["status"] = json!({"phase": "Running"});
    let created = api.post(PODS, asked).await.expect(201).json();
    assert_eq!(created["status"]["phase"], "Pending");
    assert_eq!(created["status"]["qosClass"], "BestEffort");
    assert_eq!(created["metadata"]["generation"], 1);
    assert_eq!(created["spec"]["restartPolicy"], "Always");
    assert_eq!(created["spec"]["containers"][0]["imagePullPolicy"], "IfNotPresent");
}

#[tokio::test]
async fn bad_pods_are_refused_with_every_reason() {
    let api = Api::open().await;
    let bad = json!({
        "metadata": {"name": "bad"},
        "spec": {
            "restartPolicy": "Sometimes",
            "containers": [
                {"name": "A", "image": "x", "ports": [{"containerPort": 70000}]},
                {"name": "b", "volumeMounts": [{"name": "none", "mountPath": "/x"}]}
            ]
        }
    });
    let refused = api.post(PODS, bad).await.expect(422).json();
    let causes = refused["details"]["causes"].as_array().expect("causes");
    let fields = causes.iter().map(|c| c["field"].as_str().expect("field")).collect::<Vec<_>>();
    assert_eq!(
        fields,
        [
            "spec.containers[0].name",
            "spec.containers[0].ports[0].containerPort",
            "spec.containers[1].image",
            "spec.containers[1].volumeMounts[0].name",
            "spec.restartPolicy"
        ]
    );
    let message = refused["message"].as_str().expect("message");
    assert!(message.starts_with("Pod \"bad\" is invalid: [spec.containers[0].name: Invalid value: \"A\""), "{message}");
    assert!(message.contains("spec.restartPolicy: Unsupported value: \"Sometimes\": supported values: \"Always\""));
}

#[tokio::test]
async fn only_a_few_fields_of_a_pod_may_change() {
    let api = Api::open().await;
    api.post(PODS, pod("a")).await.expect(201);
    let path = format!("{PODS}/a");
    let image = json!({"spec": {"containers": [{"name": "main", "image": "echo:v2"}]}});
    let changed = api.patch(&path, "strategic-merge-patch+json", image).await.expect(200).json();
    assert_eq!(changed["metadata"]["generation"], 2);
    let refused = api.patch(&path, "merge-patch+json", json!({"spec": {"hostNetwork": true}})).await.expect(422).json();
    let message = refused["message"].as_str().expect("message");
    assert!(message.contains("spec: Forbidden: pod updates may not change fields other than"), "{message}");
    let status = json!({"status": {"phase": "Running", "podIP": "10.244.0.5", "podIPs": [{"ip": "10.244.0.5"}]}});
    let running = api.patch(&format!("{path}/status"), "strategic-merge-patch+json", status).await.expect(200).json();
    assert_eq!(
        (&running["status"]["phase"], &running["status"]["qosClass"]),
        (&json!("Running"), &json!("BestEffort"))
    );
    let ephemeral = json!({"spec": {"ephemeralContainers": [{"name": "debug", "image": "tools:v1"}]}});
    let debugged = api
        .patch(&format!("{path}/ephemeralcontainers"), "strategic-merge-patch+json", ephemeral)
        .await
        .expect(200)
        .json();
    assert_eq!(debugged["spec"]["ephemeralContainers"][0]["name"], "debug");
}

#[tokio::test]
async fn a_pod_is_bound_once() {
    let api = Api::open().await;
    api.post(PODS, pod("a")).await.expect(201);
    bind(&api, "a").await;
    let bound = api.get(&format!("{PODS}/a")).await.json();
    assert_eq!(bound["spec"]["nodeName"], "n1");
    assert_eq!(bound["status"]["conditions"][0]["type"], "PodScheduled");
    let again = json!({"metadata": {"name": "a"}, "target": {"kind": "Node", "name": "n2"}});
    let refused = api.post(&format!("{PODS}/a/binding"), again).await.expect(409).json();
    assert!(refused["message"].as_str().expect("message").contains("pod a is already assigned to node \"n1\""));
    let on_node = api.get("/api/v1/pods?fieldSelector=spec.nodeName%3Dn1").await.expect(200).json();
    assert_eq!(on_node["items"].as_array().map(Vec::len), Some(1));
}

#[tokio::test]
async fn deletion_waits_for_the_node() {
    let api = Api::open().await;
    api.post(PODS, pod("unbound")).await.expect(201);
    api.delete(&format!("{PODS}/unbound"), None).await.expect(200);
    api.get(&format!("{PODS}/unbound")).await.expect(404);
    api.post(PODS, pod("bound")).await.expect(201);
    bind(&api, "bound").await;
    let path = format!("{PODS}/bound");
    let deleting = api.delete(&path, None).await.expect(200).json();
    assert_eq!(deleting["metadata"]["deletionGracePeriodSeconds"], 30);
    let shorter = api.delete(&path, Some(json!({"gracePeriodSeconds": 5}))).await.expect(200).json();
    assert_eq!(shorter["metadata"]["deletionGracePeriodSeconds"], 5);
    let uid = shorter["metadata"]["uid"].clone();
    let wrong = json!({"gracePeriodSeconds": 0, "preconditions": {"uid": "other"}});
    api.delete(&path, Some(wrong)).await.expect(409);
    let right = json!({"gracePeriodSeconds": 0, "preconditions": {"uid": uid}});
    api.delete(&path, Some(right)).await.expect(200);
    api.get(&path).await.expect(404);
}

/// A kubelet removes a pod that has ended as soon as it sees that it shall go, which may be before the request is through
/// that asked for it.
#[tokio::test]
async fn a_deletion_may_be_finished_by_the_node() {
    /// A deletion has a moment in between only now and then.
    const ROUNDS: usize = 50;
    let api = Api::open().await;
    let ended = json!({"status": {"phase": "Succeeded"}});
    for round in 0..ROUNDS {
        let path = format!("{PODS}/p{round}");
        api.post(PODS, pod(&format!("p{round}"))).await.expect(201);
        bind(&api, &format!("p{round}")).await;
        api.patch(&format!("{path}/status"), "strategic-merge-patch+json", ended.clone()).await.expect(200);
        let node = async {
            loop {
                let seen = api.get(&path).await;
                if seen.status == 404 {
                    return;
                }
                if seen.json()["metadata"]["deletionTimestamp"].is_string() {
                    api.delete(&path, Some(json!({"gracePeriodSeconds": 0}))).await;
                    return;
                }
                tokio::task::yield_now().await;
            }
        };
        let (deleted, ()) = tokio::join!(api.delete(&path, None), node);
        deleted.expect(200);
        api.get(&path).await.expect(404);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn who_deletes_at_once_is_told_so_even_if_the_node_was_faster() {
    let api = std::sync::Arc::new(Api::open().await);
    let at_once = json!({"gracePeriodSeconds": 0});
    // What nodes do: they see the mark, write a last status and remove the pod.
    let mut events = api.watch(&format!("{PODS}?watch=true")).await;
    let node = tokio::spawn({
        let (api, at_once) = (api.clone(), at_once.clone());
        async move {
            while let Some((event, pod)) = events.next().await {
                if event == "MODIFIED" && !pod["metadata"]["deletionTimestamp"].is_null() {
                    let path = format!("{PODS}/{}", pod["metadata"]["name"].as_str().expect("a name"));
                    let last = json!({"status": {"phase": "Failed"}});
                    api.patch(&format!("{path}/status"), "merge-patch+json", last).await;
                    api.delete(&path, Some(at_once.clone())).await;
                }
            }
        }
    });
    for number in 0..200 {
        let (name, path) = (format!("p{number}"), format!("{PODS}/p{number}"));
        api.post(PODS, pod(&name)).await.expect(201);
        bind(&api, &name).await;
        api.delete(&path, Some(at_once.clone())).await.expect(200);
        api.get(&path).await.expect(404);
    }
    node.abort();
}

#[tokio::test]
async fn budgets_guard_evictions() {
    let api = Api::open().await;
    api.post(PODS, pod("a")).await.expect(201);
    bind(&api, "a").await;
    let running = json!({"status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}});
    api.patch(&format!("{PODS}/a/status"), "strategic-merge-patch+json", running).await.expect(200);
    let budgets = "/apis/policy/v1/namespaces/demo/poddisruptionbudgets";
    let budget =
        json!({"metadata": {"name": "web"}, "spec": {"minAvailable": 1, "selector": {"matchLabels": {"app": "web"}}}});
    api.post(budgets, budget).await.expect(201);
    let eviction = json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "a"}});
    let early = api.post(&format!("{PODS}/a/eviction"), eviction.clone()).await.expect(429).json();
    assert_eq!(early["details"]["causes"][0]["reason"], "DisruptionBudget");
    let status = json!({"status": {
        "observedGeneration": 1, "disruptionsAllowed": 1, "currentHealthy": 2, "desiredHealthy": 1, "expectedPods": 2
    }});
    api.patch(&format!("{budgets}/web/status"), "merge-patch+json", status).await.expect(200);
    api.post(&format!("{PODS}/a/eviction"), eviction).await.expect(201);
    let evicted = api.get(&format!("{PODS}/a")).await.expect(200).json();
    assert!(evicted["metadata"]["deletionTimestamp"].is_string());
    let conditions = evicted["status"]["conditions"].as_array().expect("conditions");
    assert!(conditions.iter().any(|c| c["type"] == "DisruptionTarget" && c["reason"] == "EvictionByEvictionAPI"));
    let left = api.get(&format!("{budgets}/web")).await.json();
    assert_eq!(left["status"]["disruptionsAllowed"], 0);
}
