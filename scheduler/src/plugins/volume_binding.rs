//! VolumeBinding: a pod waits until the claims that are bound without it are bound, and runs where its volumes can be
//! used.
//!
//! Claims of classes that wait for their first pod (`WaitForFirstConsumer`) are not bound by this scheduler: such a pod
//! is refused in the words of upstream for "no volume was found", so it waits instead of hanging on a node.

use std::sync::Arc;

use skiff_client::Informer;
use skiff_client::types::{PersistentVolume, PersistentVolumeClaim, Pod, PodVolume, StorageClass};

use super::Sources;
use crate::cache::{NodeInfo, PodInfo, Snapshot};
use crate::framework::{CycleState, Filter, Plugin, PreFilter, Status};
use crate::queue::ClusterEvents;

/// Annotation of a claim that is bound for good: from both sides.
const BIND_COMPLETED: &str = "pv.kubernetes.io/bind-completed";

/// The plugin.
pub(super) struct VolumeBinding {
    claims: Informer<PersistentVolumeClaim>,
    volumes: Informer<PersistentVolume>,
    classes: Informer<StorageClass>,
}

impl VolumeBinding {
    pub(super) fn new(sources: &Sources) -> Self {
        Self { claims: sources.claims.clone(), volumes: sources.volumes.clone(), classes: sources.classes.clone() }
    }

    /// The claim of a volume, if it has one; an error says what is wrong with it.
    fn claim(&self, pod: &Pod, volume: &PodVolume) -> Result<Option<Arc<PersistentVolumeClaim>>, String> {
        let (name, ephemeral) = match (&volume.persistent_volume_claim, &volume.ephemeral) {
            (Some(source), _) => (source.claim_name.clone(), false),
            (None, Some(_)) => (format!("{}-{}", pod.metadata.name, volume.name), true),
            (None, None) => return Ok(None),
        };
        let namespace = &pod.metadata.namespace;
        let Some(claim) = self.claims.get_by_name(namespace, &name) else {
            return Err(if ephemeral {
                format!("waiting for ephemeral volume controller to create the persistentvolumeclaim {name:?}")
            } else {
                format!("persistentvolumeclaim {name:?} not found")
            });
        };
        if claim.status.phase == "Lost" {
            let volume = &claim.spec.volume_name;
            return Err(format!("persistentvolumeclaim {name:?} bound to non-existent persistentvolume {volume:?}"));
        }
        if claim.metadata.is_deleting() {
            return Err(format!("persistentvolumeclaim {name:?} is being deleted"));
        }
        if ephemeral && !claim.metadata.is_controlled_by(&pod.metadata.uid) {
            let pod = &pod.metadata.name;
            return Err(format!("PVC {namespace}/{name} was not created for pod {namespace}/{pod} (pod is not owner)"));
        }
        Ok(Some(claim))
    }

    /// Whether the claim is bound only once a pod needs it.
    fn waits_for_pod(&self, claim: &PersistentVolumeClaim) -> bool {
        let class = self.classes.get_by_name("", claim.class());
        claim.spec.volume_name.is_empty()
            && class.is_some_and(|class| class.volume_binding_mode == "WaitForFirstConsumer")
    }
}

/// The pod's claims.
#[derive(Clone, Default)]
struct Claims {
    /// Names of the volumes that are bound.
    bound: Vec<String>,
    /// Whether others wait for a node to be chosen.
    delayed: bool,
}

impl Plugin for VolumeBinding {
    fn name(&self) -> &'static str {
        "VolumeBinding"
    }

    fn events(&self) -> ClusterEvents {
        ClusterEvents::NODE_ADD | ClusterEvents::NODE_LABEL | ClusterEvents::STORAGE
    }
}

impl PreFilter for VolumeBinding {
    fn pre_filter(&self, state: &mut CycleState, pod: &PodInfo, _: &Snapshot) -> Status {
        let pod = &pod.pod;
        let mut claims = Claims::default();
        let mut immediate = false;
        for volume in &pod.spec.volumes {
            let claim = match self.claim(pod, volume) {
                Ok(Some(claim)) => claim,
                Ok(None) => continue,
                Err(reason) => return Status::unresolvable(reason),
            };
            if !claim.spec.volume_name.is_empty() && claim.metadata.annotations.contains_key(BIND_COMPLETED) {
                claims.bound.push(claim.spec.volume_name.clone());
            } else if self.waits_for_pod(&claim) {
                claims.delayed = true;
            } else {
                immediate = true;
            }
        }
        if immediate {
            return Status::unresolvable("pod has unbound immediate PersistentVolumeClaims");
        }
        if claims.bound.is_empty() && !claims.delayed {
            return Status::SKIP;
        }
        state.write(claims);
        Status::SUCCESS
    }
}

impl Filter for VolumeBinding {
    fn filter(&self, state: &CycleState, _: &PodInfo, node: &NodeInfo) -> Status {
        let Some(claims) = state.get::<Claims>() else { return Status::SUCCESS };
        for name in &claims.bound {
            let Some(volume) = self.volumes.get_by_name("", name) else {
                return Status::unresolvable(
                    "node(s) unavailable due to one or more pvc(s) bound to non-existent pv(s)",
                );
            };
            let required = volume.spec.node_affinity.as_ref().and_then(|affinity| affinity.required.as_ref());
            if !required.is_none_or(|required| required.matches(&node.name, |key| node.label(key))) {
                return Status::unresolvable("node(s) didn't match PersistentVolume's node affinity");
            }
        }
        if claims.delayed {
            return Status::unresolvable("node(s) didn't find available persistent volumes to bind");
        }
        Status::SUCCESS
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{node_with, pod, snapshot, verdicts};
    use serde_json::{Value, json};

    /// Verdicts about a pod that uses `claims` by name.
    fn check(objects: &[(&str, Value)], claims: &[&str], expected: &[&str]) {
        let sources = Sources::detached();
        for (kind, object) in objects {
            let object = object.clone();
            match *kind {
                "claim" => sources.claims.apply(serde_json::from_value(object).expect("a claim")),
                "volume" => sources.volumes.apply(serde_json::from_value(object).expect("a volume")),
                _ => sources.classes.apply(serde_json::from_value(object).expect("a class")),
            }
        }
        let volumes: Vec<Value> =
            claims.iter().map(|name| json!({"name": name, "persistentVolumeClaim": {"claimName": name}})).collect();
        let in_zone = |name: &str| node_with(json!({"metadata": {"name": name, "labels": {"zone": name}}}));
        let snapshot = snapshot(&[in_zone("a"), in_zone("b")], &[]);
        let pod = pod("p", json!({ "volumes": volumes }));
        assert_eq!(verdicts(&VolumeBinding::new(&sources), &pod, &snapshot), expected);
    }

    fn claim(name: &str, class: &str, volume: &str) -> (&'static str, Value) {
        let annotations = if volume.is_empty() { json!({}) } else { json!({BIND_COMPLETED: "yes"}) };
        let object = json!({"metadata": {"name": name, "namespace": "n", "annotations": annotations},
            "spec": {"volumeName": volume, "storageClassName": class}});
        ("claim", object)
    }

    fn volume(name: &str, zone: &str) -> (&'static str, Value) {
        let terms = json!([{"matchExpressions": [{"key": "zone", "operator": "In", "values": [zone]}]}]);
        let affinity = json!({"required": {"nodeSelectorTerms": terms}});
        ("volume", json!({"metadata": {"name": name}, "spec": {"nodeAffinity": affinity}}))
    }

    #[test]
    fn claims_must_be_there_and_bound() {
        check(&[], &[], &["skip"]);
        check(&[], &["x"], &["all: persistentvolumeclaim \"x\" not found"]);
        check(&[claim("x", "fast", "")], &["x"], &["all: pod has unbound immediate PersistentVolumeClaims"]);
        let mut lost = claim("x", "fast", "v");
        lost.1["status"] = json!({"phase": "Lost"});
        check(&[lost], &["x"], &["all: persistentvolumeclaim \"x\" bound to non-existent persistentvolume \"v\""]);
        let mut going = claim("x", "fast", "v");
        going.1["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
        check(&[going], &["x"], &["all: persistentvolumeclaim \"x\" is being deleted"]);
    }

    #[test]
    fn bound_volumes_choose_nodes() {
        let conflict = "b: node(s) didn't match PersistentVolume's node affinity";
        check(&[claim("x", "", "v"), volume("v", "a")], &["x"], &["a: ok", conflict]);
        check(&[claim("x", "", "v"), ("volume", json!({"metadata": {"name": "v"}}))], &["x"], &["a: ok", "b: ok"]);
        let gone = "node(s) unavailable due to one or more pvc(s) bound to non-existent pv(s)";
        check(&[claim("x", "", "v")], &["x"], &[&format!("a: {gone}"), &format!("b: {gone}")]);
    }

    #[test]
    fn claims_that_wait_for_a_pod_find_no_volume() {
        let class = ("class", json!({"metadata": {"name": "late"}, "volumeBindingMode": "WaitForFirstConsumer"}));
        let none = "node(s) didn't find available persistent volumes to bind";
        check(&[class, claim("x", "late", "")], &["x"], &[&format!("a: {none}"), &format!("b: {none}")]);
    }
}
