//! Who owns what: finding the objects of an owner, adopting orphans and releasing strangers.
//!
//! Rules (upstream `pkg/controller/controller_ref_manager.go`): an object with a controller reference belongs to that
//! owner alone. The owner releases it when its labels cease to match the selector. An object without a controller that
//! matches the selector is adopted, if neither it nor the owner is being deleted, and after a look at the live owner,
//! because the cached one may be a ghost.

use std::sync::Arc;

use anyhow::ensure;
use kube::Client;
use serde_json::{Value, json};
use skiff_client::objects::PatchKind;
use skiff_client::selector::LabelSelector;
use skiff_client::types::{HasMeta, Meta, OwnerReference, PartialObject};
use skiff_client::{Informer, Kind, ObjectKey, Objects, ResourceType};

use crate::control_loop::unless_gone;

/// Name of the index by controller; see [`controller_index`].
pub const CONTROLLER_INDEX: &str = "controller";

/// Index values of an object: the UID of its controller, or its namespace's orphans.
pub fn controller_index<K: HasMeta>(object: &K) -> Vec<String> {
    match object.meta().controller_of() {
        Some(owner) => vec![owner.uid.clone()],
        None => vec![orphans_of(&object.meta().namespace)],
    }
}

fn orphans_of(namespace: &str) -> String {
    // No UID has a slash.
    format!("{namespace}/")
}

/// Objects that an owner controls.
pub fn controlled_by<K: Kind + HasMeta>(informer: &Informer<K>, owner: &Meta) -> Vec<Arc<K>> {
    informer.by_index(CONTROLLER_INDEX, &owner.uid)
}

/// Objects that an owner controls or may adopt.
pub fn candidates<K: Kind + HasMeta>(informer: &Informer<K>, owner: &Meta) -> Vec<Arc<K>> {
    let mut found = controlled_by(informer, owner);
    found.extend(informer.by_index(CONTROLLER_INDEX, &orphans_of(&owner.namespace)));
    found
}

/// The owner of a kind that an object names as its controller, if it is in the cache with that UID.
pub fn owner_of<O: Kind + HasMeta>(owners: &Informer<O>, meta: &Meta) -> Option<Arc<O>> {
    let reference = meta.controller_of()?;
    let group = reference.api_version.rsplit_once('/').map_or("", |(group, _)| group);
    if reference.kind != O::RESOURCE.kind || group != O::RESOURCE.group {
        return None;
    }
    owners.get_by_name(&meta.namespace, &reference.name).filter(|owner| owner.uid() == reference.uid)
}

/// Keys of the owners that may care about an object: its controller, or those whose selector matches an orphan.
pub fn interested<O: Kind + HasMeta>(
    owners: &Informer<O>,
    meta: &Meta,
    selector: impl Fn(&O) -> LabelSelector,
) -> Vec<ObjectKey> {
    if meta.controller_of().is_some() {
        return owner_of(owners, meta).map(|owner| owner.meta().key()).into_iter().collect();
    }
    if meta.labels.is_empty() {
        return Vec::new();
    }
    let in_namespace = owners.list_namespace(&meta.namespace);
    let matching = in_namespace.iter().filter(|owner| {
        let selector = selector(owner);
        !selector.is_empty() && selector.matches(&meta.labels)
    });
    matching.map(|owner| owner.meta().key()).collect()
}

/// The reference that an owner puts on what it controls.
pub fn controller_reference(resource: &ResourceType, owner: &Meta) -> OwnerReference {
    OwnerReference {
        api_version: resource.api_version(),
        kind: resource.kind.to_string(),
        name: owner.name.clone(),
        uid: owner.uid.clone(),
        controller: true,
        block_owner_deletion: true,
    }
}

/// Which objects are an owner's, and what must be written for that.
#[derive(Debug)]
pub struct Claim<K> {
    /// Its objects, those to adopt included.
    pub claimed: Vec<Arc<K>>,
    /// Orphans to adopt.
    pub adopt: Vec<Arc<K>>,
    /// Objects to release.
    pub release: Vec<Arc<K>>,
}

impl<K> Default for Claim<K> {
    fn default() -> Self {
        Self { claimed: Vec::new(), adopt: Vec::new(), release: Vec::new() }
    }
}

/// Decides whose the candidates are.
pub fn claim<K: HasMeta>(
    owner: &Meta,
    selector: &LabelSelector,
    candidates: impl IntoIterator<Item = Arc<K>>,
) -> Claim<K> {
    claim_if(owner, selector, candidates, |_| true)
}

/// The same, where an object must also pass a test of the owner's own: what fails it is as good as not selected.
pub fn claim_if<K: HasMeta>(
    owner: &Meta,
    selector: &LabelSelector,
    candidates: impl IntoIterator<Item = Arc<K>>,
    fits: impl Fn(&Meta) -> bool,
) -> Claim<K> {
    let mut claim = Claim::default();
    for object in candidates {
        let meta = object.meta();
        let matches = selector.matches(&meta.labels) && fits(meta);
        match meta.controller_of() {
            Some(reference) if reference.uid != owner.uid => {}
            Some(_) if matches => claim.claimed.push(object),
            Some(_) if owner.is_deleting() => {}
            Some(_) => claim.release.push(object),
            None if !matches || owner.is_deleting() || meta.is_deleting() => {}
            None if meta.namespace != owner.namespace => {}
            None => {
                claim.adopt.push(object.clone());
                claim.claimed.push(object);
            }
        }
    }
    claim
}

/// Writes a claim: adopts after a look at the live owner, and releases. `finalizer` is added on adoption and taken off
/// on release (Jobs track their pods by one).
pub async fn write_claim<K: Kind + HasMeta>(
    client: &Client,
    owner_resource: &ResourceType,
    owner: &Meta,
    claim: &Claim<K>,
    finalizer: Option<&str>,
) -> anyhow::Result<()> {
    let objects = Objects::<K>::namespaced(client, &owner.namespace);
    if !claim.adopt.is_empty() {
        let live: PartialObject =
            Objects::of(client, owner_resource.clone(), &owner.namespace).get(&owner.name).await?;
        let ours = live.metadata.uid == owner.uid && !live.metadata.is_deleting();
        ensure!(ours, "{} {} is gone or going: it adopts nothing", owner_resource.kind, owner.key());
    }
    for object in &claim.adopt {
        let patch = adoption(&controller_reference(owner_resource, owner), object.meta(), finalizer);
        unless_gone(objects.patch(object.name(), "", PatchKind::Strategic, &patch).await)?;
    }
    for object in &claim.release {
        let patch = release(&owner.uid, object.meta(), finalizer);
        match objects.patch(object.name(), "", PatchKind::Strategic, &patch).await {
            // Invalid: the object was made again under the same name, with another UID, and is no longer ours.
            Err(error) if skiff_client::errors::is_invalid(&error) => {}
            done => drop(unless_gone(done)?),
        }
    }
    Ok(())
}

fn adoption(reference: &OwnerReference, object: &Meta, finalizer: Option<&str>) -> Value {
    let mut metadata = json!({"uid": object.uid, "ownerReferences": [reference]});
    if let Some(finalizer) = finalizer {
        metadata["finalizers"] = json!([finalizer]);
    }
    json!({ "metadata": metadata })
}

fn release(owner_uid: &str, object: &Meta, finalizer: Option<&str>) -> Value {
    let mut metadata = json!({"uid": object.uid, "ownerReferences": [{"$patch": "delete", "uid": owner_uid}]});
    if let Some(finalizer) = finalizer {
        metadata["$deleteFromPrimitiveList/finalizers"] = json!([finalizer]);
    }
    json!({ "metadata": metadata })
}

#[cfg(test)]
mod tests {
    use super::*;
    use skiff_client::types::Pod;

    fn check(owner_deleting: bool, pod: Value, expected: &str) {
        let mut owner = Meta { name: "rs".into(), namespace: "n".into(), uid: "u".into(), ..Meta::default() };
        owner.deletion_timestamp = owner_deleting.then(jiff::Timestamp::now);
        let selector: LabelSelector = serde_json::from_value(json!({"matchLabels": {"a": "1"}})).expect("a selector");
        let pod: Pod = serde_json::from_value(json!({ "metadata": pod })).expect("a pod");
        let claim = claim(&owner, &selector, [Arc::new(pod)]);
        let found = match (claim.claimed.len(), claim.adopt.len(), claim.release.len()) {
            (1, 1, 0) => "adopt",
            (1, 0, 0) => "claim",
            (0, 0, 1) => "release",
            (0, 0, 0) => "ignore",
            other => panic!("impossible claim {other:?}"),
        };
        assert_eq!(found, expected);
    }

    #[test]
    fn claims_follow_reference_selector_and_deletion() {
        let owned = |uid: &str, label: &str| {
            json!({"name": "p", "namespace": "n", "labels": {"a": label},
                "ownerReferences": [{"kind": "ReplicaSet", "name": "rs", "uid": uid, "controller": true}]})
        };
        check(false, owned("u", "1"), "claim");
        check(false, owned("u", "2"), "release");
        check(true, owned("u", "2"), "ignore");
        check(false, owned("other", "1"), "ignore");
        let orphan = json!({"name": "p", "namespace": "n", "labels": {"a": "1"}});
        check(false, orphan.clone(), "adopt");
        check(true, orphan, "ignore");
        check(false, json!({"name": "p", "namespace": "m", "labels": {"a": "1"}}), "ignore");
        let deleting = json!({"name": "p", "namespace": "n", "labels": {"a": "1"},
            "deletionTimestamp": "2026-01-02T03:04:05Z"});
        check(false, deleting, "ignore");
    }
}
