//! Volumes behind claims: which folder of the node a claim stands for (upstream:
//! `pkg/kubelet/volumemanager/populator`). What a claim was found to be is kept for the pod's life, so that a pod that
//! runs does not need the server.

use std::collections::HashMap;
use std::path::PathBuf;

use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim, Pod, Volume};
use kube::Client;
use parking_lot::Mutex;
use skiff_client::Objects;

use crate::pod::PodExt;

/// A volume of the node that a claim stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Claimed {
    pub(super) path: PathBuf,
    /// What the path must be, or is made to be, as with `hostPath`; `None` for a `local` volume, which must be there.
    pub(super) type_: Option<String>,
    pub(super) read_only: bool,
}

/// The claims of pods. The key is a pod's UID and a volume's name.
pub(super) struct Claims {
    client: Client,
    found: Mutex<HashMap<(String, String), Claimed>>,
}

impl Claims {
    pub(super) fn new(client: Client) -> Self {
        Self { client, found: Mutex::default() }
    }

    /// The pod is gone.
    pub(super) fn release(&self, uid: &str) {
        self.found.lock().retain(|(pod, _), _| pod != uid);
    }

    /// What a volume of a pod stands for; `None` if it is no claim.
    pub(super) async fn get(&self, pod: &Pod, volume: &Volume) -> Result<Option<Claimed>, String> {
        let (name, read_only, own) = match (&volume.persistent_volume_claim, &volume.ephemeral) {
            (Some(source), _) => (source.claim_name.clone(), source.read_only == Some(true), false),
            (None, Some(_)) => (format!("{}-{}", pod.name(), volume.name), false, true),
            (None, None) => return Ok(None),
        };
        let key = (pod.uid().to_owned(), volume.name.clone());
        if let Some(found) = self.found.lock().get(&key) {
            return Ok(Some(found.clone()));
        }
        let namespace = pod.namespace();
        let failed = |error: kube::Error| {
            format!("error processing PVC {namespace}/{name}: failed to fetch PVC from API server: {error}")
        };
        let claim = Objects::<PersistentVolumeClaim>::namespaced(&self.client, namespace).get(&name).await;
        let claim = claim.map_err(failed)?;
        let bound = volume_name(&claim, own.then(|| pod.uid()))
            .map_err(|error| format!("error processing PVC {namespace}/{name}: {error}"))?;
        let volume = Objects::<PersistentVolume>::cluster(&self.client).get(&bound).await;
        let volume = volume.map_err(|error| format!("failed to fetch PV {bound} from API server: {error}"))?;
        let claimed = claimed(&volume, &claim, read_only)?;
        self.found.lock().insert(key, claimed.clone());
        Ok(Some(claimed))
    }
}

/// The volume of a claim that a pod may use; `owner` is the pod's UID, if the claim must be its own.
fn volume_name(claim: &PersistentVolumeClaim, owner: Option<&str>) -> Result<String, String> {
    let owners = claim.metadata.owner_references.iter().flatten();
    if let Some(owner) = owner
        && !owners.into_iter().any(|one| one.controller == Some(true) && one.uid == owner)
    {
        return Err("PVC was not created for the pod (pod is not owner)".into());
    }
    if claim.metadata.deletion_timestamp.is_some() {
        return Err("PVC is being deleted".into());
    }
    let phase = claim.status.as_ref().and_then(|status| status.phase.as_deref());
    let name = claim.spec.as_ref().and_then(|spec| spec.volume_name.as_deref()).unwrap_or_default();
    if phase != Some("Bound") || name.is_empty() { Err("PVC is not bound".into()) } else { Ok(name.to_owned()) }
}

/// The folder of a volume, if it is this claim's and of a kind that needs no driver.
fn claimed(volume: &PersistentVolume, claim: &PersistentVolumeClaim, read_only: bool) -> Result<Claimed, String> {
    let name = volume.metadata.name.as_deref().unwrap_or_default();
    let spec = volume.spec.as_ref().ok_or_else(|| format!("PV {name} has no spec"))?;
    let uid = spec.claim_ref.as_ref().and_then(|claim| claim.uid.as_deref());
    if uid.is_none() || uid != claim.metadata.uid.as_deref() {
        return Err(format!("PV {name} is not bound to the claim"));
    }
    if spec.volume_mode.as_deref() == Some("Block") {
        return Err(format!("PV {name} is a block device, which this kubelet does not support"));
    }
    if let Some(source) = &spec.host_path {
        let type_ = Some(source.type_.clone().unwrap_or_default());
        return Ok(Claimed { path: PathBuf::from(&source.path), type_, read_only });
    }
    if let Some(source) = &spec.local {
        return Ok(Claimed { path: PathBuf::from(&source.path), type_: None, read_only });
    }
    Err(format!("no volume plugin matched: PV {name} is neither hostPath nor local"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn claim(status: &str, volume: &str) -> PersistentVolumeClaim {
        serde_json::from_value(json!({"metadata": {"name": "c", "uid": "u", "ownerReferences":
            [{"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": "p", "controller": true}]},
            "spec": {"volumeName": volume}, "status": {"phase": status}}))
        .expect("a claim")
    }

    #[test]
    fn only_bound_claims_are_used_and_only_their_owner_uses_its_own() {
        assert_eq!(volume_name(&claim("Bound", "v"), None), Ok("v".into()));
        assert_eq!(volume_name(&claim("Pending", "v"), None), Err("PVC is not bound".into()));
        assert_eq!(volume_name(&claim("Bound", ""), None), Err("PVC is not bound".into()));
        assert_eq!(volume_name(&claim("Bound", "v"), Some("p")), Ok("v".into()));
        assert!(volume_name(&claim("Bound", "v"), Some("q")).is_err());
    }

    #[test]
    fn folders_of_the_node_are_mounted_and_what_needs_a_driver_is_not() {
        let check = |source: Value, expected: Result<&str, &str>| {
            let mut spec = json!({"claimRef": {"uid": "u"}});
            for (key, value) in source.as_object().expect("fields") {
                spec[key] = value.clone();
            }
            let volume = serde_json::from_value(json!({"metadata": {"name": "v"}, "spec": spec})).expect("a volume");
            let found = claimed(&volume, &claim("Bound", "v"), false);
            match expected {
                Ok(path) => assert_eq!(found.map(|one| one.path), Ok(PathBuf::from(path)), "{source}"),
                Err(part) => assert!(found.expect_err("an error").contains(part), "{source}"),
            }
        };
        check(json!({"hostPath": {"path": "/srv/a"}}), Ok("/srv/a"));
        check(json!({"local": {"path": "/srv/b"}}), Ok("/srv/b"));
        check(json!({"nfs": {"path": "/", "server": "s"}}), Err("no volume plugin matched"));
        check(json!({"local": {"path": "/dev/x"}, "volumeMode": "Block"}), Err("block device"));
        check(json!({"local": {"path": "/srv/b"}, "claimRef": {"uid": "other"}}), Err("not bound to the claim"));
    }
}
