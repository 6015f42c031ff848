//! Discovery, legacy and aggregated, as lines.

use anyhow::{Context, ensure};
use serde_json::Value;

use super::{list, map, only, sorted, text};
use crate::facts::Facts;
use crate::target::Target;

const AGGREGATED: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";

/// Asks for all documents.
pub(super) async fn condense(target: &Target) -> anyhow::Result<Facts> {
    let mut facts = Facts::default();
    for path in ["/api", "/apis"] {
        let answer = target.send("GET", path, &[("accept", AGGREGATED)], Vec::new()).await?;
        ensure!(answer.header("content-type") == AGGREGATED, "{path}: {}", answer.header("content-type"));
        aggregated(path, &answer.json()?, &mut facts).with_context(|| path.to_owned())?;
    }
    let versions = target.get("/api").await?;
    only(&versions, &["kind", "versions", "serverAddressByClientCIDRs"])?;
    let cidrs = list(&versions["serverAddressByClientCIDRs"]).iter().map(|cidr| cidr["clientCIDR"].clone());
    let said = format!("{} {} {:?}", versions["kind"], versions["versions"], cidrs.collect::<Vec<_>>());
    facts.add("legacy", "/api", said)?;
    let groups = target.get("/apis").await?;
    only(&groups, &["kind", "apiVersion", "groups"])?;
    let names = list(&groups["groups"]).iter().map(|group| text(&group["name"])).collect::<anyhow::Result<Vec<_>>>()?;
    facts.add("legacy", "/apis", format!("{} {} {}", groups["kind"], groups["apiVersion"], names.join(",")))?;
    resources(target, "/api/v1", &mut facts).await?;
    for group in list(&groups["groups"]) {
        only(group, &["name", "versions", "preferredVersion"])?;
        let path = format!("/apis/{}", text(&group["name"])?);
        let mut alone = target.get(&path).await?;
        let kind = format!("{} {}", alone["kind"], alone["apiVersion"]);
        let members = alone.as_object_mut().context("an object")?;
        members.retain(|key, _| !matches!(key.as_str(), "kind" | "apiVersion"));
        ensure!(alone == *group, "{path} says {alone}, /apis says {group}");
        let versions = list(&group["versions"]).iter().map(|version| text(&version["groupVersion"]));
        let versions = versions.collect::<anyhow::Result<Vec<_>>>()?;
        let preferred = text(&group["preferredVersion"]["groupVersion"])?;
        facts.add("legacy", &path, format!("{kind} {} preferred={preferred}", versions.join(",")))?;
        for version in versions {
            resources(target, &format!("/apis/{version}"), &mut facts).await?;
        }
    }
    Ok(facts)
}

/// An APIResourceList.
async fn resources(target: &Target, path: &str, facts: &mut Facts) -> anyhow::Result<()> {
    let document = target.get(path).await?;
    only(&document, &["kind", "apiVersion", "groupVersion", "resources"])?;
    let group = format!("resources {path}");
    let said = format!("{} {} {}", document["kind"], document["apiVersion"], document["groupVersion"]);
    facts.add(&group, "(list)", said)?;
    for resource in list(&document["resources"]) {
        let known =
            ["name", "singularName", "namespaced", "kind", "verbs", "shortNames", "categories", "storageVersionHash"];
        only(resource, &[&known[..], &["group", "version"]].concat())?;
        let word = |field: &str| resource[field].as_str().unwrap_or_default().to_owned();
        let said = format!(
            "{}/{}/{} {} singular={} verbs={} short={} categories={} hash={}",
            word("group"),
            word("version"),
            word("kind"),
            if resource["namespaced"] == true { "namespaced" } else { "cluster" },
            word("singularName"),
            sorted(&resource["verbs"]),
            sorted(&resource["shortNames"]),
            sorted(&resource["categories"]),
            word("storageVersionHash"),
        );
        facts.add(&group, text(&resource["name"])?, said)?;
    }
    Ok(())
}

/// An APIGroupDiscoveryList.
fn aggregated(path: &str, document: &Value, facts: &mut Facts) -> anyhow::Result<()> {
    only(document, &["kind", "apiVersion", "metadata", "items"])?;
    let mut order = Vec::new();
    for group in list(&document["items"]) {
        only(group, &["metadata", "versions"])?;
        let name = group["metadata"]["name"].as_str().unwrap_or_default();
        ensure!(map(&group["metadata"])?.keys().all(|key| key == "name"), "{}", group["metadata"]);
        let versions = list(&group["versions"]).iter().map(|version| text(&version["version"]));
        order.push(format!("{name}:{}", versions.collect::<anyhow::Result<Vec<_>>>()?.join(",")));
        for version in list(&group["versions"]) {
            only(version, &["version", "resources", "freshness"])?;
            let at = format!("aggregated {name}/{}", text(&version["version"])?);
            facts.add(&at, "(freshness)", text(&version["freshness"])?.to_owned())?;
            for resource in list(&version["resources"]) {
                aggregated_resource(&at, resource, facts)?;
            }
        }
    }
    let said = format!("{} {} {} {}", document["kind"], document["apiVersion"], document["metadata"], order.join(" "));
    facts.add("aggregated", path, said)
}

fn aggregated_resource(at: &str, resource: &Value, facts: &mut Facts) -> anyhow::Result<()> {
    let known = ["resource", "responseKind", "scope", "singularResource", "verbs", "shortNames", "categories"];
    only(resource, &[&known[..], &["subresources"]].concat())?;
    let name = text(&resource["resource"])?;
    let said = format!(
        "{} {} singular={} verbs={} short={} categories={}",
        kind(&resource["responseKind"])?,
        text(&resource["scope"])?,
        text(&resource["singularResource"])?,
        sorted(&resource["verbs"]),
        sorted(&resource["shortNames"]),
        sorted(&resource["categories"]),
    );
    facts.add(at, name, said)?;
    for sub in list(&resource["subresources"]) {
        only(sub, &["subresource", "responseKind", "verbs"])?;
        let said = format!("{} verbs={}", kind(&sub["responseKind"])?, sorted(&sub["verbs"]));
        facts.add(at, &format!("{name}/{}", text(&sub["subresource"])?), said)?;
    }
    Ok(())
}

fn kind(kind: &Value) -> anyhow::Result<String> {
    only(kind, &["group", "version", "kind"])?;
    Ok(format!("{}/{}/{}", text(&kind["group"])?, text(&kind["version"])?, text(&kind["kind"])?))
}
