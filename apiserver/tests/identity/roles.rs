//! The roles and bindings that exist from the start are those of kube-apiserver.

use serde_json::{Map, Value};
use skiff_fixture::Api;

/// What kube-apiserver v1.36.2 makes at its first start: `kubectl get -A -o json` of each resource, without what every
/// server makes anew and without the rules that aggregated roles gather.
const FACTS: &str = include_str!("facts/rbac.json");
/// Names of what is ours: for DNS, for joining machines and for the administrator (as kubeadm names it).
const OWN: [&str; 2] = ["skiff:", "kubeadm:"];

fn facts_of(object: &Value) -> Value {
    let mut facts = Map::new();
    for field in ["labels", "annotations"] {
        facts.extend(object["metadata"].get(field).map(|value| (field.to_owned(), value.clone())));
    }
    for field in ["aggregationRule", "roleRef", "subjects"] {
        facts.extend(object.get(field).map(|value| (field.to_owned(), value.clone())));
    }
    if object.get("aggregationRule").is_none() {
        facts.extend(object.get("rules").map(|value| ("rules".to_owned(), value.clone())));
    }
    Value::Object(facts)
}

#[tokio::test]
async fn default_roles_are_those_of_kube_apiserver() {
    let api = Api::secured().await;
    let facts: Map<String, Value> = serde_json::from_str(FACTS).expect("facts");
    let (mut compared, mut differences, mut own) = (0, Vec::new(), Vec::new());
    for (resource, theirs) in &facts {
        let theirs = theirs.as_object().expect("objects by name");
        let list = api.get(&format!("/apis/rbac.authorization.k8s.io/v1/{resource}")).await.expect(200).json();
        let mut ours = Map::new();
        for object in list["items"].as_array().expect("items") {
            let text = |field: &str| object["metadata"][field].as_str().unwrap_or("").to_owned();
            let name = [text("namespace"), text("name")].into_iter().filter(|part| !part.is_empty());
            ours.insert(name.collect::<Vec<_>>().join("/"), facts_of(object));
        }
        compared += theirs.len();
        for (name, object) in theirs {
            match ours.remove(name) {
                None => differences.push(format!("{resource} {name}: missing")),
                Some(other) if other == *object => {}
                Some(other) => differences.push(format!("{resource} {name}: {object}\nours: {other}")),
            }
        }
        for (name, _) in ours {
            let short = name.rsplit('/').next().unwrap_or(&name);
            if OWN.iter().any(|prefix| short.starts_with(prefix)) {
                own.push(format!("{resource} {name}"));
            } else {
                differences.push(format!("{resource} {name}: kube-apiserver has none"));
            }
        }
    }
    println!("{compared} roles and bindings compared, {} differences; beside them ours: {own:?}", differences.len());
    assert!(differences.is_empty(), "{}", differences.join("\n"));
    assert!(compared > 120, "{compared}");
}
