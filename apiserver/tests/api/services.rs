//! Services: addresses and ports, given out once.

use serde_json::{Value, json};

use skiff_fixture::Api;

const SERVICES: &str = "/api/v1/namespaces/demo/services";

fn service(name: &str, spec: Value) -> Value {
    json!({"metadata": {"name": name}, "spec": spec})
}

#[tokio::test]
async fn cluster_ips_are_unique_and_come_back() {
    let api = Api::open().await;
    let ports = json!([{"port": 80}]);
    let first = api.post(SERVICES, service("a", json!({"ports": ports}))).await.expect(201).json();
    let ip = first["spec"]["clusterIP"].as_str().expect("ip").to_owned();
    assert!(ip.starts_with("10.96."), "{ip}");
    assert_eq!(first["spec"]["clusterIPs"], json!([ip]));
    assert_eq!(first["spec"]["ipFamilies"], json!(["IPv4"]));
    assert_eq!(first["spec"]["ports"][0]["targetPort"], 80);
    let taken = service("b", json!({"ports": ports, "clusterIP": ip}));
    let refused = api.post(SERVICES, taken.clone()).await.expect(422).json();
    let message = refused["message"].as_str().expect("message");
    assert!(message.contains("provided IP is already allocated"), "{message}");
    let outside = service("c", json!({"ports": ports, "clusterIP": "192.0.2.1"}));
    let message = api.post(SERVICES, outside).await.expect(422).text;
    assert!(message.contains("the provided network does not match the current range"), "{message}");
    let record = api.get(&format!("/apis/networking.k8s.io/v1/ipaddresses/{ip}")).await.expect(200).json();
    assert_eq!(record["spec"]["parentRef"]["name"], "a");
    api.delete(&format!("{SERVICES}/a"), None).await.expect(200);
    // The record goes a moment after the Service.
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
    while api.get(&format!("/apis/networking.k8s.io/v1/ipaddresses/{ip}")).await.status != 404 {
        assert!(std::time::Instant::now() < deadline, "the record of {ip} stays");
        tokio::task::yield_now().await;
    }
    api.post(SERVICES, taken).await.expect(201);
}

#[tokio::test]
async fn failed_and_dry_writes_keep_nothing() {
    let api = Api::open().await;
    let asked = json!({"type": "NodePort", "ports": [{"port": 80, "nodePort": 30080}]});
    let invalid = json!({"type": "NodePort", "ports": [{"port": 80, "nodePort": 30080}], "sessionAffinity": "x"});
    api.post(SERVICES, service("bad", invalid)).await.expect(422);
    api.post(&format!("{SERVICES}?dryRun=All"), service("dry", asked.clone())).await.expect(201);
    let created = api.post(SERVICES, service("a", asked.clone())).await.expect(201).json();
    assert_eq!(created["spec"]["ports"][0]["nodePort"], 30080);
    let refused = api.post(SERVICES, service("b", asked.clone())).await.expect(422).json();
    assert_eq!(refused["details"]["causes"][0]["field"], "spec.ports[0].nodePort");
    assert_eq!(refused["details"]["causes"][0]["message"], "Invalid value: 30080: provided port is already allocated");
    let outside = json!({"type": "NodePort", "ports": [{"port": 80, "nodePort": 80}]});
    let message = api.post(SERVICES, service("c", outside)).await.expect(422).text;
    assert!(message.contains("The range of valid ports is 30000-32767"), "{message}");
    api.delete(&format!("{SERVICES}/a"), None).await.expect(200);
    api.post(SERVICES, service("b", asked)).await.expect(201);
}

#[tokio::test]
async fn updates_keep_what_was_allocated_and_types_change() {
    let api = Api::open().await;
    let path = format!("{SERVICES}/a");
    let spec = json!({"type": "NodePort", "ports": [{"port": 80}]});
    let first = api.post(SERVICES, service("a", spec.clone())).await.expect(201).json();
    let (ip, port) = (&first["spec"]["clusterIP"], &first["spec"]["ports"][0]["nodePort"]);
    let replaced = api.put(&path, service("a", spec)).await.expect(200).json();
    assert_eq!((&replaced["spec"]["clusterIP"], &replaced["spec"]["ports"][0]["nodePort"]), (ip, port));
    assert_eq!(replaced["metadata"]["resourceVersion"], first["metadata"]["resourceVersion"]);
    let inside = api.patch(&path, "merge-patch+json", json!({"spec": {"type": "ClusterIP"}})).await.expect(200).json();
    assert!(inside["spec"]["ports"][0]["nodePort"].is_null() && inside["spec"]["externalTrafficPolicy"].is_null());
    let external = json!({"spec": {"type": "ExternalName", "externalName": "example.com"}});
    let external = api.patch(&path, "merge-patch+json", external).await.expect(200).json();
    assert!(external["spec"]["clusterIP"].is_null(), "{external}");
    let back = json!({"spec": {"type": "ClusterIP", "externalName": null}});
    let back = api.patch(&path, "merge-patch+json", back).await.expect(200).json();
    assert!(back["spec"]["clusterIP"].is_string());
    let other = api.patch(
        &path,
        "merge-patch+json",
        json!({"spec": {"clusterIP": "10.96.0.77", "clusterIPs": ["10.96.0.77"]}}),
    );
    let message = other.await.expect(422).text;
    assert!(message.contains("may not change once set"), "{message}");
}

#[tokio::test]
async fn headless_services_have_no_address() {
    let api = Api::open().await;
    let created = api.post(SERVICES, service("a", json!({"clusterIP": "None"}))).await.expect(201).json();
    assert_eq!(created["spec"]["clusterIPs"], json!(["None"]));
    // Since v1.36 the name of a Service may begin with a digit.
    api.post(SERVICES, service("1a", json!({"ports": [{"port": 80}]}))).await.expect(201);
    api.post(SERVICES, service("a.b", json!({"ports": [{"port": 80}]}))).await.expect(422);
    let none = api.post(SERVICES, service("b", json!({}))).await.expect(422).json();
    assert_eq!(none["details"]["causes"][0]["field"], "spec.ports");
}

#[tokio::test]
async fn concurrent_creates_never_share() {
    let api = Api::open().await;
    let names = (0..64).map(|i| format!("s{i}")).collect::<Vec<_>>();
    let creates = names
        .iter()
        .map(|name| api.post(SERVICES, service(name, json!({"type": "NodePort", "ports": [{"port": 80}]}))));
    let made = futures::future::join_all(creates).await;
    let mut seen = std::collections::HashSet::new();
    for answer in made {
        let object = answer.expect(201).json();
        assert!(seen.insert(object["spec"]["clusterIP"].to_string()));
        assert!(seen.insert(object["spec"]["ports"][0]["nodePort"].to_string()));
    }
}
