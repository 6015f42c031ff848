//! `skiff-counts OPERATION TIMES`: does one thing again and again on an API server in this process, on one thread and a
//! memory store, with everything on that users get. Under valgrind only that is counted, not what comes before.
//!
//! The test of this package runs it and holds the counts to those in `counts.tsv`. To see where the instructions go:
//! `CARGO_PROFILE_RELEASE_STRIP=none` and `perf record` of this program, or `callgrind_annotate`.

mod valgrind;

use anyhow::{Context, bail};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use skiff_fixture::Api;

const PODS: &str = "/api/v1/namespaces/demo/pods";
const MAPS: &str = "/api/v1/namespaces/demo/configmaps";
const LEASES: &str = "/apis/coordination.k8s.io/v1/namespaces/demo/leases";
const WIDGETS: &str = "/apis/counts.example/v1/namespaces/demo/widgets";
const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";

/// Pods in the list, and watchers of one event.
const LISTED: usize = 100;
const WATCHERS: usize = 100;
/// Rounds before counting begins: caches fill and memory is taken from the system.
const WARM_UP: usize = 20;

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let (operation, times) = (arguments.next().context("OPERATION")?, arguments.next().context("TIMES")?.parse()?);
    let api = Api::secured().await;
    for (path, object) in [
        ("/api/v1/namespaces", json!({"metadata": {"name": "demo"}})),
        ("/api/v1/namespaces/demo/serviceaccounts", json!({"metadata": {"name": "default"}})),
    ] {
        api.post(path, object).await.expect(201);
    }
    match operation.as_str() {
        "create" => create(&api, times).await,
        "patch" => change(&api, Change::Merge, times).await,
        "apply" => change(&api, Change::Apply, times).await,
        "renew" => renew(&api, times).await,
        "get" => read(&api, &format!("{PODS}/seed-0"), "application/json", times).await,
        "list" => read(&api, PODS, "application/json", times).await,
        "list-protobuf" => read(&api, PODS, PROTOBUF, times).await,
        "get-custom" => read_custom(&api, &format!("{WIDGETS}/seed-0"), times).await,
        "list-custom" => read_custom(&api, WIDGETS, times).await,
        "watch" => return watch(&api, times).await,
        other => bail!("no operation {other}"),
    }
    Ok(())
}

/// A pod as people write them.
fn pod(name: &str) -> Vec<u8> {
    let probe = json!({"httpGet": {"path": "/healthz", "port": 8080}, "periodSeconds": 10});
    let pod = json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": {"app": "web", "tier": "backend"}, "annotations": {"team": "counts"}},
        "spec": {
            "containers": [{
                "name": "server",
                "image": "registry.example/web:1.0",
                "env": [{"name": "LEVEL", "value": "info"}, {"name": "PORT", "value": "8080"}],
                "ports": [{"name": "http", "containerPort": 8080}],
                "resources": {"requests": {"cpu": "100m", "memory": "128Mi"}, "limits": {"memory": "256Mi"}},
                "readinessProbe": probe,
                "volumeMounts": [{"name": "config", "mountPath": "/etc/config"}],
            }],
            "volumes": [{"name": "config", "configMap": {"name": "web"}}],
        },
    });
    pod.to_string().into_bytes()
}

async fn post(api: &Api, name: &str) {
    let headers = [("content-type", "application/json")];
    api.send("POST", PODS, &headers, pod(name)).await.expect(201);
}

async fn create(api: &Api, times: usize) {
    for number in 0..WARM_UP {
        post(api, &format!("warm-{number:06}")).await;
    }
    valgrind::start();
    for number in 0..times {
        post(api, &format!("pod-{number:06}")).await;
    }
    valgrind::stop();
}

/// How an annotation is changed.
#[derive(Clone, Copy)]
enum Change {
    Merge,
    Apply,
}

async fn change(api: &Api, how: Change, times: usize) {
    post(api, "patched").await;
    for number in 0..WARM_UP + times {
        if number == WARM_UP {
            valgrind::start();
        }
        let metadata = json!({"name": "patched", "annotations": {"number": format!("{number:06}")}});
        let object = json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata});
        let (query, kind) = match how {
            Change::Merge => ("", "merge-patch+json"),
            Change::Apply => ("?fieldManager=counts&force=true", "apply-patch+yaml"),
        };
        api.patch(&format!("{PODS}/patched{query}"), kind, object).await.expect(200);
    }
    valgrind::stop();
}

/// A node says that it lives, as a kubelet does: with the version that it saw last.
async fn renew(api: &Api, times: usize) {
    let mut version = String::new();
    for number in 0..=WARM_UP + times {
        if number == WARM_UP {
            valgrind::start();
        }
        let lease = json!({
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": {"name": "node", "resourceVersion": version},
            "spec": {
                "holderIdentity": "node",
                "leaseDurationSeconds": 40,
                "renewTime": format!("2026-01-01T00:00:00.{number:06}Z"),
            },
        });
        let answer = match number {
            0 => api.post(LEASES, lease).await.expect(201),
            _ => api.put(&format!("{LEASES}/node"), lease).await.expect(200),
        };
        version = answer.json()["metadata"]["resourceVersion"].as_str().expect("a version").to_owned();
    }
    valgrind::stop();
}

async fn read(api: &Api, path: &str, accept: &str, times: usize) {
    for number in 0..LISTED {
        post(api, &format!("seed-{number}")).await;
    }
    read_again_and_again(api, path, accept, times).await;
}

async fn read_again_and_again(api: &Api, path: &str, accept: &str, times: usize) {
    for number in 0..WARM_UP + times {
        if number == WARM_UP {
            valgrind::start();
        }
        let (head, body) = api.raw("GET", path, &[("accept", accept)], Vec::new()).await.into_parts();
        assert!(head.status.is_success(), "{}", head.status);
        assert!(!body.collect().await.expect("a body").to_bytes().is_empty());
    }
    valgrind::stop();
}

/// Reads what a CustomResourceDefinition defines, with a schema that prunes and has defaults.
async fn read_custom(api: &Api, path: &str, times: usize) {
    let text = json!({"type": "string"});
    let spec = json!({"type": "object", "properties": {
        "image": text, "replicas": {"type": "integer", "default": 1},
        "rules": {"type": "array", "items": {"type": "object", "properties": {
            "host": text, "path": {"type": "string", "default": "/"}, "weight": {"type": "integer"}
        }}},
    }});
    let schema = json!({"openAPIV3Schema": {"type": "object", "properties": {"spec": spec}}});
    let definition = json!({"metadata": {"name": "widgets.counts.example"}, "spec": {
        "group": "counts.example", "scope": "Namespaced", "names": {"plural": "widgets", "kind": "Widget"},
        "versions": [{"name": "v1", "served": true, "storage": true, "schema": schema}],
    }});
    api.post("/apis/apiextensions.k8s.io/v1/customresourcedefinitions", definition).await.expect(201);
    while !api.get(WIDGETS).await.status.is_success() {
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    let rules = (0..20).map(|number| json!({"host": format!("host-{number}.example"), "weight": number}));
    let rules = rules.collect::<Vec<_>>();
    for number in 0..LISTED {
        let widget = json!({
            "apiVersion": "counts.example/v1",
            "kind": "Widget",
            "metadata": {"name": format!("seed-{number}")},
            "spec": {"image": "i", "rules": rules},
        });
        api.post(WIDGETS, widget).await.expect(201);
    }
    read_again_and_again(api, path, "application/json", times).await;
}

/// Changes an object that many watch, and reads all their events.
async fn watch(api: &Api, times: usize) -> anyhow::Result<()> {
    let created = api.post(MAPS, json!({"metadata": {"name": "m"}, "data": {"text": "x".repeat(1000)}})).await;
    let created: Value = created.expect(201).json();
    let version = created["metadata"]["resourceVersion"].as_str().context("a version")?;
    let path = format!("{MAPS}?watch=true&resourceVersion={version}");
    let mut bodies = Vec::new();
    for _ in 0..WATCHERS {
        bodies.push(api.raw("GET", &path, &[], Vec::new()).await.into_body());
    }
    for number in 0..WARM_UP + times {
        if number == WARM_UP {
            valgrind::start();
        }
        let change = json!({"data": {"number": format!("{number:06}")}});
        api.patch(&format!("{MAPS}/m"), "merge-patch+json", change).await.expect(200);
        for body in &mut bodies {
            let frame = body.frame().await.context("an event")??;
            assert!(frame.data_ref().is_some_and(|data| data.ends_with(b"\n")));
        }
    }
    valgrind::stop();
    Ok(())
}
