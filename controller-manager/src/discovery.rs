//! Which resources the server has: aggregated discovery, read with two requests.

use http::Method;
use kube::Client;
use serde::Deserialize;
use skiff_client::{ResourceType, objects};

const ACCEPT: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";

/// A resource and what can be done with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Discovered {
    /// The resource, in its group's preferred version that has it.
    pub resource: ResourceType,
    /// Its verbs.
    pub verbs: Vec<String>,
}

impl Discovered {
    /// Whether the resource knows a verb.
    pub fn can(&self, verb: &str) -> bool {
        self.verbs.iter().any(|have| have == verb)
    }
}

/// What was found, and which group versions could not say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Discovery {
    /// Every resource once.
    pub resources: Vec<Discovered>,
    /// Group versions whose server did not answer (stale entries of aggregated API servers).
    pub failed: Vec<String>,
}

#[derive(Deserialize)]
struct Groups {
    #[serde(default)]
    items: Vec<Group>,
}

#[derive(Deserialize)]
struct Group {
    #[serde(default)]
    metadata: GroupMeta,
    #[serde(default)]
    versions: Vec<Version>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct GroupMeta {
    name: String,
}

#[derive(Deserialize)]
struct Version {
    version: String,
    #[serde(default)]
    resources: Vec<Resource>,
    #[serde(default)]
    freshness: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Resource {
    resource: String,
    #[serde(default)]
    singular_resource: String,
    #[serde(default)]
    response_kind: Option<ResponseKind>,
    #[serde(default)]
    scope: String,
    #[serde(default)]
    verbs: Vec<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct ResponseKind {
    kind: String,
}

/// A kind, and the names of its resource.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Named {
    /// API group; empty for the core group.
    pub group: String,
    /// Version.
    pub version: String,
    /// Kind.
    pub kind: String,
    /// Name of the resource.
    pub plural: String,
    /// Its name where it is one.
    pub singular: String,
}

/// Asks the server for its resources, each once.
pub async fn discover(client: &Client) -> kube::Result<Discovery> {
    let mut discovery = Discovery::default();
    for groups in ask(client).await? {
        collect(groups, &mut discovery);
    }
    Ok(discovery)
}

/// Asks the server for the kinds of its resources in all versions.
pub async fn kinds(client: &Client) -> kube::Result<Vec<Named>> {
    Ok(ask(client).await?.into_iter().flat_map(named).collect())
}

async fn ask(client: &Client) -> kube::Result<Vec<Groups>> {
    let mut all = Vec::new();
    for path in ["/api", "/apis"] {
        let answer = objects::send(client, Method::GET, path, ACCEPT, None).await?;
        all.push(serde_json::from_slice(&answer).map_err(kube::Error::SerdeError)?);
    }
    Ok(all)
}

fn named(groups: Groups) -> Vec<Named> {
    let mut all = Vec::new();
    for group in groups.items {
        for version in group.versions {
            all.extend(version.resources.into_iter().map(|resource| Named {
                group: group.metadata.name.clone(),
                version: version.version.clone(),
                kind: resource.response_kind.unwrap_or_default().kind,
                plural: resource.resource,
                singular: resource.singular_resource,
            }));
        }
    }
    all
}

fn collect(groups: Groups, discovery: &mut Discovery) {
    for group in groups.items {
        let name = group.metadata.name;
        let mut seen: Vec<String> = Vec::new();
        for version in group.versions {
            if version.freshness == "Stale" {
                discovery.failed.push(format!("{name}/{}", version.version));
                continue;
            }
            for resource in version.resources {
                // Versions come in order of preference.
                if seen.contains(&resource.resource) {
                    continue;
                }
                seen.push(resource.resource.clone());
                discovery.resources.push(Discovered {
                    resource: ResourceType {
                        group: name.clone().into(),
                        version: version.version.clone().into(),
                        plural: resource.resource.into(),
                        kind: resource.response_kind.unwrap_or_default().kind.into(),
                        namespaced: resource.scope == "Namespaced",
                    },
                    verbs: resource.verbs,
                });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_preferred_version_of_each_resource_is_taken() {
        let resource = |name: &str| json!({"resource": name, "responseKind": {"kind": "K"}, "scope": "Namespaced", "verbs": ["get", "delete"]});
        let groups = json!({"items": [
            {"metadata": {"name": "a"}, "versions": [
                {"version": "v2", "resources": [resource("x")], "freshness": "Current"},
                {"version": "v1", "resources": [resource("x"), resource("y")], "freshness": "Current"}]},
            {"metadata": {"name": "b"}, "versions": [{"version": "v1", "freshness": "Stale"}]}]});
        let mut discovery = Discovery::default();
        collect(serde_json::from_value(groups).expect("groups"), &mut discovery);
        let found: Vec<String> = discovery
            .resources
            .iter()
            .map(|found| format!("{}/{}", found.resource.api_version(), found.resource.plural))
            .collect();
        assert_eq!(found, ["a/v2/x", "a/v1/y"]);
        assert_eq!(discovery.failed, ["b/v1"]);
        assert!(discovery.resources[0].can("delete") && !discovery.resources[0].can("list"));
    }
}
