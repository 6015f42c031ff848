//! What another API server says it serves: for discovery, and its OpenAPI documents.
//!
//! Follows `handler_discovery.go` and `controllers/{openapi,openapiv3}` of `k8s.io/kube-aggregator`.

use std::time::Duration;

use serde_json::{Map, Value, json};

use super::availability::own_identity;
use super::remote::{Document, Remote};
use super::service::ApiService;
use crate::authentication::UserInfo;

/// How long an answer may take.
const TIMEOUT: Duration = Duration::from_secs(5);
/// How long the larger documents may take.
const DOCUMENT_TIMEOUT: Duration = Duration::from_secs(30);
const AGGREGATED: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList";

/// What is known of a group version that somebody else serves.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Learned {
    /// Its resources, as in an `APIVersionDiscovery`.
    pub resources: Vec<Value>,
    /// Whether that was so when it was last asked.
    pub current: bool,
    /// Documents of OpenAPI version 3 by their names, with the URLs that the server gives them.
    pub v3: Map<String, Value>,
    /// Paths and definitions of OpenAPI version 2.
    pub v2: Option<(Map<String, Value>, Map<String, Value>)>,
}

/// This server where it gathers documents, as it shows itself to others.
pub fn gatherer() -> UserInfo {
    UserInfo { name: "system:aggregator".to_owned(), ..UserInfo::default() }
}

/// Asks for everything anew. What cannot be had is kept as it was before, and stale.
pub async fn learn(service: &ApiService, remote: &Remote, before: &Learned) -> Learned {
    let mut learned = before.clone();
    match resources(service, remote).await {
        Ok(resources) => {
            learned.resources = resources;
            learned.current = true;
        }
        Err(error) => {
            tracing::debug!(name = service.name, error, "an API server did not say what it serves");
            learned.current = false;
        }
    }
    if let Some(v3) = get(remote, "/openapi/v3", "application/json", &gatherer(), DOCUMENT_TIMEOUT).await {
        let group = format!("apis/{}", service.group);
        let own = format!("{group}/{}", service.version);
        let paths = v3.get("paths").and_then(Value::as_object).cloned().unwrap_or_default();
        learned.v3 = paths.into_iter().filter(|(name, _)| *name == group || *name == own).collect();
    }
    if let Some(v2) = get(remote, "/openapi/v2", "application/json", &gatherer(), DOCUMENT_TIMEOUT).await {
        learned.v2 = Some(of_group(&v2, &service.group));
    }
    learned
}

async fn get(remote: &Remote, path: &str, accept: &str, user: &UserInfo, limit: Duration) -> Option<Value> {
    let answer = remote.get(path, accept, user, limit).await.ok().filter(|answer| answer.code == 200)?;
    serde_json::from_slice(&answer.body).ok()
}

async fn resources(service: &ApiService, remote: &Remote) -> Result<Vec<Value>, String> {
    let all = remote.get("/apis", AGGREGATED, &own_identity(), TIMEOUT).await?;
    if all.code == 503 {
        return Err("service unavailable".to_owned());
    }
    if let Some(found) = aggregated(service, &all) {
        return Ok(found);
    }
    let user = UserInfo { groups: Vec::new(), ..own_identity() };
    let list = remote.get(&service.path(), "application/json", &user, TIMEOUT).await?;
    if list.code != 200 {
        return Err(format!("answered {}", list.code));
    }
    let list = serde_json::from_slice::<Value>(&list.body).map_err(|error| error.to_string())?;
    Ok(from_legacy(list["resources"].as_array().map_or(&[], Vec::as_slice)))
}

/// The resources in an aggregated document; `None` if it is none.
fn aggregated(service: &ApiService, answer: &Document) -> Option<Vec<Value>> {
    if answer.code != 200 || !answer.media.contains("as=APIGroupDiscoveryList") {
        return None;
    }
    let document = serde_json::from_slice::<Value>(&answer.body).ok()?;
    let group = document["items"].as_array()?.iter().find(|item| item["metadata"]["name"] == service.group.as_str());
    let versions = group.and_then(|group| group["versions"].as_array());
    let version = versions.and_then(|versions| versions.iter().find(|v| v["version"] == service.version.as_str()));
    let resources = version.and_then(|version| version["resources"].as_array());
    Some(resources.map(|resources| resources.iter().map(complete).collect()).unwrap_or_default())
}

/// Clients expect to be told of a kind, if only of an empty one.
fn complete(resource: &Value) -> Value {
    let mut resource = resource.clone();
    let empty = || json!({"group": "", "version": "", "kind": ""});
    if resource["responseKind"].is_null() {
        resource["responseKind"] = empty();
    }
    for sub in resource["subresources"].as_array_mut().into_iter().flatten() {
        if sub["responseKind"].is_null() {
            sub["responseKind"] = empty();
        }
    }
    resource
}

/// An `APIResourceList` in the aggregated form (`ConvertGroupVersionIntoToDiscovery`).
fn from_legacy(list: &[Value]) -> Vec<Value> {
    let text = |resource: &Value, field: &str| resource[field].as_str().unwrap_or("").to_owned();
    let kind = |resource: &Value| json!({"group": text(resource, "group"), "version": text(resource, "version"), "kind": text(resource, "kind")});
    let mut out: Vec<Value> = Vec::new();
    for resource in list {
        let name = text(resource, "name");
        if let Some((parent, sub)) = name.split_once('/') {
            let sub = json!({"subresource": sub, "responseKind": kind(resource), "verbs": resource["verbs"]});
            let parent = out.iter_mut().find(|known| known["resource"] == parent);
            if let Some(subresources) = parent.map(|parent| &mut parent["subresources"]) {
                match subresources.as_array_mut() {
                    Some(all) => all.push(sub),
                    None => *subresources = json!([sub]),
                }
            }
            continue;
        }
        let namespaced = resource["namespaced"] == true;
        let mut found = json!({
            "resource": name,
            "responseKind": kind(resource),
            "scope": if namespaced { "Namespaced" } else { "Cluster" },
            "singularResource": text(resource, "singularName"),
            "verbs": resource["verbs"],
        });
        for field in ["shortNames", "categories"] {
            if !resource[field].is_null() {
                found[field] = resource[field].clone();
            }
        }
        out.push(found);
    }
    out
}

/// The part of an OpenAPI version 2 document that is about a group: its paths, and the definitions they lead to.
fn of_group(document: &Value, group: &str) -> (Map<String, Value>, Map<String, Value>) {
    let prefix = format!("/apis/{group}/");
    let paths = document["paths"].as_object().cloned().unwrap_or_default();
    let paths = paths.into_iter().filter(|(path, _)| path.starts_with(&prefix)).collect::<Map<_, _>>();
    let all = document["definitions"].as_object();
    let mut definitions = Map::new();
    let mut wanted = Vec::new();
    paths.values().for_each(|path| references(path, &mut wanted));
    while let Some(name) = wanted.pop() {
        if let Some(definition) = all.and_then(|all| all.get(&name))
            && !definitions.contains_key(&name)
        {
            references(definition, &mut wanted);
            definitions.insert(name, definition.clone());
        }
    }
    // Kinds that no path leads to, such as lists of options, are found by their group.
    for (name, definition) in all.into_iter().flatten() {
        let kinds = definition["x-kubernetes-group-version-kind"].as_array();
        let is_own = kinds.is_some_and(|kinds| kinds.iter().any(|kind| kind["group"] == group));
        if is_own && !definitions.contains_key(name) && kinds.is_some_and(|kinds| kinds.len() == 1) {
            definitions.insert(name.clone(), definition.clone());
        }
    }
    (paths, definitions)
}

/// The definitions that a part of a document names.
fn references(part: &Value, found: &mut Vec<String>) {
    match part {
        Value::Object(members) => {
            let name = members.get("$ref").and_then(Value::as_str);
            found.extend(name.and_then(|name| name.strip_prefix("#/definitions/")).map(str::to_owned));
            members.values().for_each(|member| references(member, found));
        }
        Value::Array(items) => items.iter().for_each(|item| references(item, found)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn older_servers_are_understood() {
        let list = json!([
            {"name": "flunders", "singularName": "flunder", "namespaced": true, "kind": "Flunder", "verbs": ["get"], "shortNames": ["fl"]},
            {"name": "flunders/status", "singularName": "", "namespaced": true, "kind": "Flunder", "verbs": ["update"]}
        ]);
        let kind = json!({"group": "", "version": "", "kind": "Flunder"});
        let want = json!([{
            "resource": "flunders", "responseKind": kind, "scope": "Namespaced", "singularResource": "flunder",
            "verbs": ["get"], "shortNames": ["fl"],
            "subresources": [{"subresource": "status", "responseKind": kind, "verbs": ["update"]}]
        }]);
        assert_eq!(json!(from_legacy(list.as_array().expect("a list"))), want);
    }

    #[test]
    fn documents_are_cut_to_the_group() {
        let document = json!({
            "paths": {
                "/apis/a.io/v1/as": {"get": {"schema": {"$ref": "#/definitions/A"}}},
                "/apis/b.io/v1/bs": {"get": {"schema": {"$ref": "#/definitions/B"}}}
            },
            "definitions": {"A": {"properties": {"m": {"$ref": "#/definitions/M"}}}, "B": {}, "M": {"type": "object"}}
        });
        let (paths, definitions) = of_group(&document, "a.io");
        assert_eq!(paths.keys().collect::<Vec<_>>(), ["/apis/a.io/v1/as"]);
        assert_eq!(definitions.keys().collect::<Vec<_>>(), ["A", "M"]);
    }
}
