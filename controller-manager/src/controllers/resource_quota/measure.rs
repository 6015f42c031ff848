//! What a namespace uses of what a quota limits, asked of the API server.

use std::collections::{BTreeMap, BTreeSet};

use http::Method;
use kube::Client;
use serde::Deserialize;
use skiff_apimachinery::json;
use skiff_apimachinery::quantity::Quantity;
use skiff_apimachinery::value::Value;
use skiff_client::{ResourceType, objects};
use skiff_quota::usage::{count_name, resource_of};
use skiff_quota::{Amounts, Measured, amounts};

use crate::discovery;

/// Objects per page.
const PAGE: usize = 500;
/// A count needs one object, and how many more there are.
const METADATA_LIST: &str = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1";

/// The kinds that a quota's names are about, with the names for what they use.
pub(super) fn kinds<'a>(names: impl IntoIterator<Item = &'a str>) -> BTreeMap<(String, String), BTreeSet<String>> {
    let mut kinds: BTreeMap<(String, String), BTreeSet<String>> = BTreeMap::new();
    for name in names {
        if let Some((group, resource)) = resource_of(name) {
            kinds.entry((group.to_owned(), resource.to_owned())).or_default().insert(name.to_owned());
        }
    }
    kinds
}

/// Usage by the quota's names. What this cluster does not have is left out.
pub(super) async fn usage(client: &Client, quota: &Value, namespace: &str) -> anyhow::Result<Amounts> {
    let hard = amounts(quota.at(&["spec", "hard"]));
    let kinds = kinds(hard.keys().map(String::as_str));
    let mut usage = Amounts::new();
    let mut found = None;
    for ((group, plural), names) in &kinds {
        let resource = match known(group, plural) {
            Some(resource) => resource,
            None => {
                // Any kind can be counted; which there are is asked at most once.
                if found.is_none() {
                    found = Some(discovery::discover(client).await?);
                }
                let all = found.iter().flat_map(|found| &found.resources);
                let is = |resource: &ResourceType| *resource.group == **group && *resource.plural == **plural;
                match all.map(|one| &one.resource).find(|resource| is(resource) && resource.namespaced) {
                    Some(resource) => resource.clone(),
                    None => continue,
                }
            }
        };
        let zero = Quantity::from_value(0);
        let mut sum: Amounts = names.iter().map(|name| (name.clone(), zero)).collect();
        let count = count_name(group, plural);
        // A pod that has ended counts as an object, not as a pod.
        let is_number = |name: &String| *name == count || (name == plural && plural != "pods");
        if !has_scopes(quota) && names.iter().all(is_number) {
            let number = self::count(client, &resource, namespace).await?;
            sum.values_mut().for_each(|amount| *amount = Quantity::from_value(number));
        } else if known(group, plural).is_some() {
            add_each(client, &resource, namespace, quota, &mut sum).await?;
        }
        usage.extend(sum);
    }
    Ok(usage)
}

fn has_scopes(quota: &Value) -> bool {
    !quota.array_at(&["spec", "scopes"]).is_empty()
        || !quota.array_at(&["spec", "scopeSelector", "matchExpressions"]).is_empty()
}

/// The kinds whose objects differ in what they use.
fn known(group: &str, plural: &str) -> Option<ResourceType> {
    Some(match (group, plural) {
        ("", "pods") => ResourceType::new("", "v1", "pods", "Pod", true),
        ("", "services") => ResourceType::new("", "v1", "services", "Service", true),
        ("", "persistentvolumeclaims") => {
            ResourceType::new("", "v1", "persistentvolumeclaims", "PersistentVolumeClaim", true)
        }
        _ => return None,
    })
}

#[derive(Deserialize)]
struct Page {
    metadata: PageMeta,
    #[serde(default)]
    items: Vec<serde::de::IgnoredAny>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct PageMeta {
    remaining_item_count: i64,
}

async fn count(client: &Client, resource: &ResourceType, namespace: &str) -> anyhow::Result<i64> {
    let path = format!("{}?limit=1", resource.path(namespace));
    let answer = objects::send(client, Method::GET, &path, METADATA_LIST, None).await?;
    let page: Page = serde_json::from_slice(&answer)?;
    Ok(i64::try_from(page.items.len())? + page.metadata.remaining_item_count)
}

/// Adds what each object uses to the amounts of those names.
async fn add_each(
    client: &Client,
    resource: &ResourceType,
    namespace: &str,
    quota: &Value,
    sum: &mut Amounts,
) -> anyhow::Result<()> {
    let mut next = String::new();
    loop {
        let path = format!("{}?limit={PAGE}&continue={next}", resource.path(namespace));
        let answer = objects::send(client, Method::GET, &path, "application/json", None).await?;
        let page = json::parse(&answer)?;
        for object in page.array_at(&["items"]) {
            let measured = Measured { group: &resource.group, resource: &resource.plural, object };
            if !measured.is_in_scope(quota) {
                continue;
            }
            for (name, amount) in measured.usage() {
                sum.entry(name).and_modify(|sum| *sum = sum.plus(amount));
            }
        }
        match page.str_at(&["metadata", "continue"]) {
            // Tokens are base64url and need no escaping.
            Some(token) if !token.is_empty() => next = token.to_owned(),
            _ => return Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_about_kinds() {
        let found = kinds([
            "cpu",
            "count/pods",
            "secrets",
            "count/jobs.batch",
            "fast.storageclass.storage.k8s.io/requests.storage",
            "requests.storage",
            "requests.example.com/gpu",
            "services.nodeports",
        ]);
        let names = |group: &str, resource: &str| {
            let names = found.get(&(group.to_owned(), resource.to_owned()));
            names.into_iter().flatten().map(String::as_str).collect::<Vec<_>>()
        };
        assert_eq!(names("", "pods"), ["count/pods", "cpu", "requests.example.com/gpu"]);
        assert_eq!(names("", "secrets"), ["secrets"]);
        assert_eq!(names("batch", "jobs"), ["count/jobs.batch"]);
        assert_eq!(names("", "persistentvolumeclaims").len(), 2);
        assert_eq!(names("", "services"), ["services.nodeports"]);
    }
}
