//! What sig-network asks where nothing is sent to a pod.

use serde_json::json;
use skiff_tests::eventually;

use crate::life::write_status;
use crate::scene::Scene;

pub(crate) async fn secure_master_service(scene: Scene) {
    let service = scene.rest.get("/api/v1/namespaces/default/services/kubernetes").await;
    let ports = service["spec"]["ports"].as_array().expect("ports");
    assert!(ports.iter().any(|port| port["port"] == 443), "{service}");
    scene.stage.done("secure");
}

/// The server's own endpoints, in both forms, with the same addresses.
pub(crate) async fn server_endpoints(scene: Scene) {
    let endpoints = scene.rest.get("/api/v1/namespaces/default/endpoints/kubernetes").await;
    let subset = &endpoints["subsets"][0];
    assert_eq!(subset["ports"][0]["name"], "https");
    let selector = "labelSelector=kubernetes.io%2Fservice-name%3Dkubernetes";
    let slices =
        scene.rest.items(&format!("/apis/discovery.k8s.io/v1/namespaces/default/endpointslices?{selector}")).await;
    let of_slices = slices.iter().flat_map(|slice| slice["endpoints"].as_array().cloned().unwrap_or_default());
    let of_slices = of_slices.map(|endpoint| endpoint["addresses"][0].clone()).collect::<Vec<_>>();
    let of_endpoints = subset["addresses"].as_array().expect("addresses").iter();
    let of_endpoints = of_endpoints.map(|address| address["ip"].clone()).collect::<Vec<_>>();
    assert_eq!(of_slices, of_endpoints);
    assert_eq!(slices[0]["ports"][0]["port"], subset["ports"][0]["port"]);
    scene.stage.done("both");
}

pub(crate) async fn services_everywhere(scene: Scene) {
    let path = scene.core("services");
    let object = json!({"metadata": {"name": "found"}, "spec": {"ports": [{"port": 80}]}});
    scene.rest.create(&path, &object).await;
    let services = scene.rest.items("/api/v1/services").await;
    for (namespace, name) in [("default", "kubernetes"), (scene.namespace.as_str(), "found")] {
        let found = services
            .iter()
            .any(|service| service["metadata"]["namespace"] == namespace && service["metadata"]["name"] == name);
        assert!(found, "{namespace}/{name}");
        scene.stage.done("found");
    }
}

pub(crate) async fn service_status(scene: Scene) {
    let path = scene.core("services");
    let object = json!({"metadata": {"name": "status", "labels": {"a": "b"}},
        "spec": {"type": "LoadBalancer", "ports": [{"port": 80, "name": "http"}]}});
    scene.rest.create(&path, &object).await;
    let path = format!("{path}/status");
    let status = json!({"status": {"loadBalancer": {"ingress": [{"ip": "203.0.113.1"}]}}});
    write_status(&scene, &path, &status).await;
    scene.rest.delete(&path).await;
    eventually("the service gone", async || {
        let answer = scene.rest.try_get(&path).await;
        if answer.code == 404 { Ok(()) } else { Err(answer.body) }
    })
    .await;
    scene.stage.done("deleted");
}

/// Those that a selector fits go, the others stay.
pub(crate) async fn services_together(scene: Scene) {
    let path = scene.core("services");
    for (name, label) in [("a", "yes"), ("b", "yes"), ("c", "no")] {
        let object =
            json!({"metadata": {"name": name, "labels": {"delete": label}}, "spec": {"ports": [{"port": 80}]}});
        scene.rest.create(&path, &object).await;
    }
    scene.rest.delete(&format!("{path}?labelSelector=delete%3Dyes")).await;
    let left = scene.rest.items(&path).await;
    assert_eq!(left.iter().map(|service| &service["metadata"]["name"]).collect::<Vec<_>>(), ["c"]);
    scene.stage.done("deleted together");
}

/// A service whose selector fits nothing has its slice, and loses it.
pub(crate) async fn slices_without_pods(scene: Scene) {
    let path = scene.core("services");
    let object = json!({"metadata": {"name": "lonely"},
        "spec": {"selector": {"fits": "nothing"}, "ports": [{"port": 80}]}});
    scene.rest.create(&path, &object).await;
    let selector = "labelSelector=kubernetes.io%2Fservice-name%3Dlonely";
    let slices = format!("{}?{selector}", scene.of("discovery.k8s.io/v1", "endpointslices"));
    let count = async |wanted: usize| {
        eventually("slices", async || {
            let found = scene.rest.items(&slices).await.len();
            if found == wanted { Ok(()) } else { Err(found) }
        })
        .await;
    };
    count(1).await;
    let endpoints = format!("{}/lonely", scene.core("endpoints"));
    eventually("endpoints", async || {
        let answer = scene.rest.try_get(&endpoints).await;
        if answer.code == 200 { Ok(()) } else { Err(answer.code) }
    })
    .await;
    scene.stage.done("made");
    scene.rest.delete(&format!("{path}/lonely")).await;
    count(0).await;
    scene.stage.done("gone");
}

/// What somebody writes into Endpoints is copied to slices.
pub(crate) async fn mirrored(scene: Scene) {
    scene
        .rest
        .create(
            &scene.core("services"),
            &json!({"metadata": {"name": "mirror"},
        "spec": {"ports": [{"port": 80}]}}),
        )
        .await;
    let path = scene.core("endpoints");
    let subset = |ip: &str| json!([{"addresses": [{"ip": ip}], "ports": [{"port": 80}]}]);
    scene.rest.create(&path, &json!({"metadata": {"name": "mirror"}, "subsets": subset("10.1.2.3")})).await;
    let selector = "labelSelector=kubernetes.io%2Fservice-name%3Dmirror";
    let slices = format!("{}?{selector}", scene.of("discovery.k8s.io/v1", "endpointslices"));
    let shows = async |wanted: Option<&str>| {
        eventually("the mirror", async || {
            let slices = scene.rest.items(&slices).await;
            let address = slices.first().and_then(|slice| slice["endpoints"][0]["addresses"][0].as_str());
            if address == wanted { Ok(()) } else { Err(slices.clone()) }
        })
        .await;
        scene.stage.done("mirrored");
    };
    shows(Some("10.1.2.3")).await;
    let patch = json!({"subsets": subset("10.2.3.4")});
    scene.rest.patch(&format!("{path}/mirror"), skiff_tests::rest::MERGE, &patch).await;
    shows(Some("10.2.3.4")).await;
    scene.rest.delete(&format!("{path}/mirror")).await;
    shows(None).await;
}
