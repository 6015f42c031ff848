//! The claims of a numbered pod: what they are called, whether they are there, and who owns them.
//!
//! Who owns a claim decides who takes it along: the set, if claims go with it; the pod, if it is one too many and
//! claims go when the set shrinks; nobody, if claims stay. Owners that are strangers, and references to a set or a pod
//! of the same name that is gone, are left to the garbage collector.

use std::collections::HashMap;
use std::sync::Arc;

use serde_json::{Value, json};
use skiff_client::types::{Meta, OwnerReference, PersistentVolumeClaim, Pod, StatefulSet};
use skiff_client::{Kind, ResourceType};

use super::identity;
use crate::ownership::controller_reference;

/// Claims by name.
pub(super) type Claims = HashMap<String, Arc<PersistentVolumeClaim>>;

#[derive(Default, serde::Deserialize)]
#[serde(default)]
struct Template {
    metadata: Meta,
}

/// The names of the set's claim templates.
fn template_names(set: &StatefulSet) -> Vec<String> {
    let named = set.spec.volume_claim_templates.iter();
    named.map(|template| template.parse::<Template>().unwrap_or_default().metadata.name).collect()
}

/// Names of templates with those of the claims of a number.
fn names(set: &StatefulSet, ordinal: i32) -> Vec<(String, String)> {
    let claim = |template: &str| format!("{template}-{}-{ordinal}", set.metadata.name);
    template_names(set).into_iter().map(|template| (template.clone(), claim(&template))).collect()
}

/// Names of the claims of a number.
pub(super) fn claim_names(set: &StatefulSet, ordinal: i32) -> Vec<String> {
    names(set, ordinal).into_iter().map(|(_, claim)| claim).collect()
}

/// Whether a name is that of a claim of the set.
pub(super) fn is_of(set: &StatefulSet, claim: &str) -> bool {
    let Some((parent, _)) = identity::parent_and_ordinal(claim) else { return false };
    template_names(set).iter().any(|template| parent == format!("{template}-{}", set.metadata.name))
}

/// The claims of a number, as they are created.
pub(super) fn bodies(set: &StatefulSet, ordinal: i32) -> Vec<Value> {
    let templates = set.spec.volume_claim_templates.iter().zip(claim_names(set, ordinal));
    let body = |(template, name): (&skiff_client::types::RawJson, String)| {
        let mut claim = template.value();
        let metadata = &mut claim["metadata"];
        metadata["name"] = json!(name);
        metadata["namespace"] = json!(set.metadata.namespace);
        for (key, value) in set.spec.selector.match_labels.iter() {
            metadata["labels"][key] = json!(value);
        }
        claim
    };
    templates.map(body).collect()
}

/// The volumes of a pod of that number: those of its claims, and the template's under other names.
pub(super) fn volumes(set: &StatefulSet, ordinal: i32, of_template: Value) -> Vec<Value> {
    let claims = names(set, ordinal);
    let mut volumes: Vec<Value> = claims
        .iter()
        .map(|(name, claim)| json!({"name": name, "persistentVolumeClaim": {"claimName": claim}}))
        .collect();
    let Value::Array(of_template) = of_template else { return volumes };
    volumes.extend(of_template.into_iter().filter(|volume| !claims.iter().any(|(name, _)| volume["name"] == **name)));
    volumes
}

/// Whether a pod mounts the claims of its number.
pub(super) fn are_mounted(set: &StatefulSet, pod: &Pod) -> bool {
    let Some(ordinal) = identity::ordinal(&pod.metadata) else { return false };
    names(set, ordinal).iter().all(|(name, claim)| {
        let volume = pod.spec.volumes.iter().find(|volume| volume.name == *name);
        volume.and_then(|volume| volume.persistent_volume_claim.as_ref()).is_some_and(|have| have.claim_name == *claim)
    })
}

/// What happens to claims: with the set, and when it shrinks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Policy {
    go_with_set: bool,
    go_when_scaled: bool,
}

impl Policy {
    fn of(set: &StatefulSet) -> Self {
        let policy = set.spec.persistent_volume_claim_retention_policy.as_ref();
        Self {
            go_with_set: policy.is_some_and(|policy| policy.when_deleted == "Delete"),
            go_when_scaled: policy.is_some_and(|policy| policy.when_scaled == "Delete"),
        }
    }

    fn keeps_all(self) -> bool {
        !self.go_with_set && !self.go_when_scaled
    }
}

/// The set and a pod of it, as owners of a claim. A pod that is not made yet has no UID.
struct Owners<'a> {
    set: &'a StatefulSet,
    pod_name: &'a str,
    pod_uid: &'a str,
}

const POD: ResourceType = <Pod as Kind>::RESOURCE;

impl<'a> Owners<'a> {
    fn of(set: &'a StatefulSet, pod: &'a Meta) -> Self {
        Self { set, pod_name: &pod.name, pod_uid: &pod.uid }
    }

    fn names_set(&self, owner: &OwnerReference) -> bool {
        let resource = StatefulSet::RESOURCE;
        owner.api_version == resource.api_version()
            && owner.kind == resource.kind
            && owner.name == self.set.metadata.name
    }

    fn names_pod(&self, owner: &OwnerReference) -> bool {
        owner.api_version == POD.api_version() && owner.kind == POD.kind && owner.name == self.pod_name
    }

    fn is_set(&self, owner: &OwnerReference) -> bool {
        owner.uid == self.set.metadata.uid
    }

    fn is_pod(&self, owner: &OwnerReference) -> bool {
        owner.uid == self.pod_uid
    }

    /// A set or pod of this name that is gone owns it.
    fn are_stale(&self, claim: &Meta) -> bool {
        let first = |names: &dyn Fn(&OwnerReference) -> bool| claim.owner_references.iter().find(|owner| names(owner));
        first(&|owner| self.names_set(owner)).is_some_and(|owner| !self.is_set(owner))
            || first(&|owner| self.names_pod(owner)).is_some_and(|owner| !self.is_pod(owner))
    }

    /// Somebody else controls it.
    fn are_not_alone(&self, claim: &Meta) -> bool {
        if Policy::of(self.set).keeps_all() {
            return false;
        }
        claim.owner_references.iter().any(|owner| match (self.names_set(owner), self.names_pod(owner)) {
            (true, _) => !self.is_set(owner),
            (_, true) => !self.is_pod(owner),
            _ => owner.controller,
        })
    }

    /// Which of set and pod should own it.
    fn wanted(&self) -> (bool, bool) {
        let policy = Policy::of(self.set);
        let wanted =
            identity::parent_and_ordinal(self.pod_name).is_some_and(|(_, it)| identity::is_wanted(self.set, it));
        let pod_owns = policy.go_when_scaled && !wanted;
        (policy.go_with_set && !pod_owns, pod_owns)
    }
}

/// A change of a claim's owners.
#[derive(Debug, PartialEq)]
pub(super) struct NewOwners {
    pub(super) claim: Arc<PersistentVolumeClaim>,
    pub(super) owners: Vec<OwnerReference>,
    /// Somebody else controls the claim: the user should know.
    pub(super) conflict: bool,
}

/// What is to change of the owners of a pod's claims.
pub(super) fn new_owners(set: &StatefulSet, pod: &Meta, claims: &Claims) -> Vec<NewOwners> {
    let Some(ordinal) = identity::ordinal(pod) else { return Vec::new() };
    let names = claim_names(set, ordinal);
    names.iter().filter_map(|name| claims.get(name)).filter_map(|claim| change(set, pod, claim)).collect()
}

fn change(set: &StatefulSet, pod: &Meta, claim: &Arc<PersistentVolumeClaim>) -> Option<NewOwners> {
    let owners = Owners::of(set, pod);
    let have = &claim.metadata.owner_references;
    let set_owns = have.iter().any(|owner| owners.is_set(owner));
    let pod_owns = have.iter().any(|owner| owners.is_pod(owner));
    let conflict = owners.are_not_alone(&claim.metadata);
    let half = have.iter().any(|owner| (owners.is_set(owner) || owners.is_pod(owner)) && !owner.controller);
    let current = if owners.are_stale(&claim.metadata) {
        true
    } else if conflict {
        !set_owns && !pod_owns
    } else {
        !half && (set_owns, pod_owns) == owners.wanted()
    };
    if current {
        return None;
    }
    let strangers = have.iter().filter(|owner| !owners.names_set(owner) && !owners.names_pod(owner));
    let mut new: Vec<OwnerReference> = strangers.cloned().collect();
    if !conflict {
        let (set_owns, pod_owns) = owners.wanted();
        if set_owns {
            new.push(controller_reference(&StatefulSet::RESOURCE, &set.metadata));
        }
        if pod_owns {
            new.push(controller_reference(&POD, pod));
        }
    }
    Some(NewOwners { claim: claim.clone(), owners: new, conflict })
}

/// Whether a pod must not be made yet: a claim of it still belongs to the pod of that name which is gone.
pub(super) fn block_creation(set: &StatefulSet, ordinal: i32, claims: &Claims) -> bool {
    if !Policy::of(set).go_when_scaled {
        return false;
    }
    let name = identity::name(set, ordinal);
    let mut there = claim_names(set, ordinal).into_iter().filter_map(|name| claims.get(&name));
    there.any(|claim| {
        let owners = Owners { set, pod_name: &name, pod_uid: "" };
        claim.metadata.owner_references.iter().any(|owner| owners.names_pod(owner))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(deleted: &str, scaled: &str) -> StatefulSet {
        serde_json::from_value(json!({
            "metadata": {"name": "web", "namespace": "n", "uid": "set"},
            "spec": {"replicas": 1, "volumeClaimTemplates": [{"metadata": {"name": "data"}}],
                "persistentVolumeClaimRetentionPolicy": {"whenDeleted": deleted, "whenScaled": scaled}},
        }))
        .expect("a set")
    }

    fn owner(kind: &str, name: &str, uid: &str, controller: bool) -> Value {
        let version = if kind == "Pod" { "v1" } else { "apps/v1" };
        json!({"apiVersion": version, "kind": kind, "name": name, "uid": uid, "controller": controller})
    }

    /// The owners' names that a claim gets, or `None` if nothing changes.
    fn check(policy: (&str, &str), ordinal: i32, owners: Value, expected: Option<&[&str]>) {
        let set = set(policy.0, policy.1);
        let pod = Meta { name: format!("web-{ordinal}"), uid: "pod".into(), ..Meta::default() };
        let name = format!("data-web-{ordinal}");
        let claim = json!({"metadata": {"name": name, "ownerReferences": owners}});
        let claims = Claims::from([(name, Arc::new(serde_json::from_value(claim).expect("a claim")))]);
        let changes = new_owners(&set, &pod, &claims);
        let found = changes.first().map(|change| change.owners.iter().map(|o| o.name.as_str()).collect::<Vec<_>>());
        assert_eq!(found.as_deref(), expected, "{policy:?} {ordinal} {owners}");
    }

    #[test]
    fn claims_belong_to_whom_the_policy_says() {
        let (keep, delete) = ("Retain", "Delete");
        let by_set = owner("StatefulSet", "web", "set", true);
        let by_pod = |ordinal: i32| owner("Pod", &format!("web-{ordinal}"), "pod", true);
        check((keep, keep), 0, json!([]), None);
        check((keep, keep), 0, json!([by_set]), Some(&[]));
        check((delete, keep), 0, json!([]), Some(&["web"]));
        check((delete, keep), 0, json!([by_set]), None);
        check((delete, keep), 1, json!([by_set]), None);
        check((keep, delete), 0, json!([]), None);
        check((keep, delete), 1, json!([]), Some(&["web-1"]));
        check((keep, delete), 0, json!([by_pod(0)]), Some(&[]));
        check((delete, delete), 0, json!([]), Some(&["web"]));
        check((delete, delete), 1, json!([by_set]), Some(&["web-1"]));
        check((delete, delete), 1, json!([by_pod(1)]), None);
        // Owners that are no controllers become controllers.
        check((delete, keep), 0, json!([owner("StatefulSet", "web", "set", false)]), Some(&["web"]));
        // Another controller wins, and a set of this name that is gone is the garbage collector's.
        check((delete, keep), 0, json!([owner("Other", "x", "x", true)]), None);
        check((delete, keep), 0, json!([owner("Other", "x", "x", true), by_set]), Some(&["x"]));
        check((delete, keep), 0, json!([owner("StatefulSet", "web", "before", true)]), None);
    }

    #[test]
    fn a_claim_of_the_pod_of_before_holds_the_next_one_back() {
        let claim = json!({"metadata": {"name": "data-web-0", "ownerReferences": [owner("Pod", "web-0", "x", true)]}});
        let claims = Claims::from([("data-web-0".into(), Arc::new(serde_json::from_value(claim).expect("a claim")))]);
        assert!(block_creation(&set("Retain", "Delete"), 0, &claims));
        assert!(!block_creation(&set("Delete", "Retain"), 0, &claims));
        assert!(!block_creation(&set("Retain", "Delete"), 1, &claims));
        assert!(is_of(&set("Retain", "Delete"), "data-web-3") && !is_of(&set("Retain", "Delete"), "data-web-x"));
    }
}
