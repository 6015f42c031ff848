//! Deployments, Jobs and their scale; kinds of two versions; tables.

use serde_json::{Value, json};

use skiff_fixture::Api;

const DEPLOYMENTS: &str = "/apis/apps/v1/namespaces/demo/deployments";
const JOBS: &str = "/apis/batch/v1/namespaces/demo/jobs";
const TABLE: (&str, &str) = ("accept", "application/json;as=Table;v=v1;g=meta.k8s.io");

fn deployment() -> Value {
    json!({
        "metadata": {"name": "web"},
        "spec": {
            "selector": {"matchLabels": {"app": "web"}},
            "template": {
                "metadata": {"labels": {"app": "web"}},
                "spec": {"containers": [{"name": "main", "image": "echo:v1", "resources": {"requests": {"cpu": "0.5"}}}]}
            }
        }
    })
}

#[tokio::test]
async fn a_deployment_counts_its_generations() {
    let api = Api::open().await;
    let path = format!("{DEPLOYMENTS}/web");
    let created = api.post(DEPLOYMENTS, deployment()).await.expect(201).json();
    assert_eq!((&created["spec"]["replicas"], &created["metadata"]["generation"]), (&json!(1), &json!(1)));
    assert_eq!(created["spec"]["template"]["spec"]["containers"][0]["resources"]["requests"]["cpu"], "500m");
    let labelled =
        api.patch(&path, "merge-patch+json", json!({"metadata": {"labels": {"a": "b"}}})).await.expect(200).json();
    assert_eq!(labelled["metadata"]["generation"], 1);
    let scaled = api.patch(&path, "merge-patch+json", json!({"spec": {"replicas": 3}})).await.expect(200).json();
    assert_eq!(scaled["metadata"]["generation"], 2);
    let selector = json!({"spec": {"selector": {"matchLabels": {"app": "x"}}}});
    let refused = api.patch(&path, "merge-patch+json", selector).await.expect(422).json();
    let fields =
        refused["details"]["causes"].as_array().expect("causes").iter().map(|c| c["field"].clone()).collect::<Vec<_>>();
    assert_eq!(fields, [json!("spec.template.metadata.labels"), json!("spec.selector")]);
    let status = json!({"status": {"replicas": 3, "observedGeneration": 2}, "spec": {"replicas": 9}});
    let seen = api.patch(&format!("{path}/status"), "merge-patch+json", status).await.expect(200).json();
    assert_eq!((&seen["spec"]["replicas"], &seen["status"]["replicas"]), (&json!(3), &json!(3)));
}

#[tokio::test]
async fn scale_is_a_view_of_the_replicas() {
    let api = Api::open().await;
    api.post(DEPLOYMENTS, deployment()).await.expect(201);
    let path = format!("{DEPLOYMENTS}/web/scale");
    let scale = api.get(&path).await.expect(200).json();
    assert_eq!((&scale["kind"], &scale["spec"]["replicas"]), (&json!("Scale"), &json!(1)));
    assert_eq!(scale["status"]["selector"], "app=web");
    let patched = api.patch(&path, "merge-patch+json", json!({"spec": {"replicas": 4}})).await.expect(200).json();
    assert_eq!(patched["spec"]["replicas"], 4);
    let parent = api.get(&format!("{DEPLOYMENTS}/web")).await.json();
    assert_eq!((&parent["spec"]["replicas"], &parent["metadata"]["generation"]), (&json!(4), &json!(2)));
    let mut replaced = patched.clone();
    replaced["spec"]["replicas"] = json!(2);
    api.put(&path, replaced.clone()).await.expect(200);
    api.put(&path, replaced).await.expect(409);
}

#[tokio::test]
async fn a_job_selects_its_own_pods() {
    let api = Api::open().await;
    let spec = json!({"template": {"spec": {"restartPolicy": "Never", "containers": [{"name": "a", "image": "b:1"}]}}});
    let created = api.post(JOBS, json!({"metadata": {"name": "hello"}, "spec": spec})).await.expect(201).json();
    let uid = &created["metadata"]["uid"];
    assert_eq!(&created["spec"]["selector"]["matchLabels"]["batch.kubernetes.io/controller-uid"], uid);
    assert_eq!(created["spec"]["template"]["metadata"]["labels"]["job-name"], "hello");
    assert_eq!((&created["spec"]["backoffLimit"], &created["spec"]["completions"]), (&json!(6), &json!(1)));
    let always = json!({"template": {"spec": {"containers": [{"name": "a", "image": "b:1"}]}}});
    let refused = api.post(JOBS, json!({"metadata": {"name": "bad"}, "spec": always})).await.expect(422).json();
    assert_eq!(refused["details"]["causes"][0]["field"], "spec.template.spec.restartPolicy");
    let image = json!({"spec": {"template": {"spec": {"containers": [{"name": "a", "image": "c"}]}}}});
    let fixed = api.patch(&format!("{JOBS}/hello"), "strategic-merge-patch+json", image).await.expect(422);
    assert!(fixed.text.contains("field is immutable"), "{}", fixed.text);
    // The older policy of Jobs: dependents of a deleted Job are orphaned unless the client says otherwise.
    let deleted = api.delete(&format!("{JOBS}/hello"), None).await.expect(200).json();
    assert_eq!(deleted["metadata"]["finalizers"], json!(["orphan"]));
}

#[tokio::test]
async fn one_autoscaler_in_two_versions() {
    let api = Api::open().await;
    let v1 = "/apis/autoscaling/v1/namespaces/demo/horizontalpodautoscalers";
    let v2 = "/apis/autoscaling/v2/namespaces/demo/horizontalpodautoscalers";
    let target = json!({"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"});
    let asked = json!({
        "metadata": {"name": "web"},
        "spec": {"scaleTargetRef": target, "maxReplicas": 5, "targetCPUUtilizationPercentage": 50}
    });
    let created = api.post(v1, asked).await.expect(201).json();
    assert_eq!((&created["apiVersion"], &created["spec"]["minReplicas"]), (&json!("autoscaling/v1"), &json!(1)));
    let newer = api.get(&format!("{v2}/web")).await.expect(200).json();
    assert_eq!(newer["spec"]["metrics"][0]["resource"]["target"]["averageUtilization"], 50);
    let older = api.get(v1).await.expect(200).json();
    assert_eq!(older["items"][0]["spec"]["targetCPUUtilizationPercentage"], 50);
    let mut events = api.watch(&format!("{v1}?watch=1&resourceVersion=0")).await;
    assert_eq!(events.next().await.expect("event").1["apiVersion"], "autoscaling/v1");
}

#[tokio::test]
async fn events_are_the_same_in_both_groups() {
    let api = Api::open().await;
    let newer = "/apis/events.k8s.io/v1/namespaces/demo/events";
    let event = json!({
        "metadata": {"name": "e"}, "regarding": {"kind": "Pod", "namespace": "demo", "name": "p"},
        "note": "hello", "reason": "Testing", "action": "a", "type": "Normal",
        "reportingController": "c", "reportingInstance": "i", "eventTime": "2026-01-01T00:00:00.000000Z"
    });
    api.post(newer, event).await.expect(201);
    let core = api.get("/api/v1/namespaces/demo/events?fieldSelector=involvedObject.name%3Dp").await.expect(200).json();
    assert_eq!(core["items"][0]["message"], "hello");
    let listed = api.get(&format!("{newer}?fieldSelector=regarding.name%3Dp")).await.expect(200).json();
    assert_eq!(listed["items"][0]["note"], "hello");
}

#[tokio::test]
async fn tables_and_metadata() {
    let api = Api::open().await;
    api.post(DEPLOYMENTS, deployment()).await.expect(201);
    let table = api.send("GET", DEPLOYMENTS, &[TABLE], Vec::new()).await.expect(200).json();
    assert_eq!((&table["kind"], &table["rows"][0]["cells"][0]), (&json!("Table"), &json!("web")));
    assert_eq!(table["rows"][0]["object"]["kind"], "PartialObjectMetadata");
    let one = api.send("GET", &format!("{DEPLOYMENTS}/web"), &[TABLE], Vec::new()).await.expect(200).json();
    assert_eq!(one["rows"].as_array().map(Vec::len), Some(1));
    let partial = [("accept", "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io")];
    let list = api.send("GET", DEPLOYMENTS, &partial, Vec::new()).await.expect(200).json();
    assert_eq!(list["kind"], "PartialObjectMetadataList");
    assert!(list["items"][0]["spec"].is_null());
    let yaml =
        api.send("GET", &format!("{DEPLOYMENTS}/web"), &[("accept", "application/yaml")], Vec::new()).await.expect(200);
    assert!(yaml.text.contains("kind: Deployment"), "{}", yaml.text);
}

#[tokio::test]
async fn a_creator_owns_what_go_does_not_always_write() {
    let api = Api::open().await;
    let spec = json!({
        "selector": {"matchLabels": {"a": "b"}},
        "template": {
            "metadata": {"labels": {"a": "b"}},
            "spec": {"containers": [{"name": "c", "image": "c:v1"}]}
        }
    });
    let path = "/apis/apps/v1/namespaces/demo/deployments";
    let made = api.post(path, json!({"metadata": {"name": "a"}, "spec": spec})).await.expect(201).json();
    let container = json!({
        ".": {}, "f:image": {}, "f:imagePullPolicy": {}, "f:name": {}, "f:resources": {},
        "f:terminationMessagePath": {}, "f:terminationMessagePolicy": {}
    });
    let wanted = json!({"f:spec": {
        "f:progressDeadlineSeconds": {}, "f:replicas": {}, "f:revisionHistoryLimit": {}, "f:selector": {},
        "f:strategy": {"f:rollingUpdate": {".": {}, "f:maxSurge": {}, "f:maxUnavailable": {}}, "f:type": {}},
        "f:template": {
            "f:metadata": {"f:labels": {".": {}, "f:a": {}}},
            "f:spec": {
                "f:containers": {"k:{\"name\":\"c\"}": container}, "f:dnsPolicy": {}, "f:restartPolicy": {},
                "f:schedulerName": {}, "f:securityContext": {}, "f:terminationGracePeriodSeconds": {}
            }
        }
    }});
    assert_eq!(made["metadata"]["managedFields"][0]["fieldsV1"], wanted);
    assert_eq!(made["status"], json!({}));
}
