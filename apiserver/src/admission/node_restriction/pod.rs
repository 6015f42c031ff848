//! Pods: mirror pods of the node's own, the status of pods bound to it, and their end.

use skiff_apimachinery::status::{self, Status};
use skiff_apimachinery::value::Value;

use super::super::{MIRROR_POD_ANNOTATION, is_mirror_pod};
use super::{NodeRestriction, Operation, Request, operation_name};

impl NodeRestriction {
    pub(super) async fn pod(&self, node: &str, request: &Request<'_>) -> Result<(), Status> {
        match request.operation {
            Operation::Create => self.new_pod(node, request).await,
            Operation::Delete if request.old().str_at(&["spec", "nodeName"]) == Some(node) => Ok(()),
            Operation::Delete => {
                let text = format!("node {node:?} can only delete pods with spec.nodeName set to itself");
                Err(request.forbidden(&text))
            }
            other => Err(request.forbidden(&format!(
                "unexpected operation {:?}, node {node:?} can only create and delete mirror pods",
                operation_name(other)
            ))),
        }
    }

    async fn new_pod(&self, node: &str, request: &Request<'_>) -> Result<(), Status> {
        let pod = request.object();
        let owner = own_mirror_pod(node, pod).map_err(|text| request.forbidden(&text))?;
        let Some(object) = self.objects.find("", "nodes", "", node).await? else {
            return Err(status::not_found("", "nodes", node));
        };
        let uid = object.str_at(&["metadata", "uid"]).unwrap_or("");
        let owner_uid = owner.str_at(&["uid"]).unwrap_or("");
        if owner_uid != uid {
            return Err(request.forbidden(&format!("node {node} UID mismatch: expected {owner_uid} got {uid}")));
        }
        match api_reference(pod) {
            None => Ok(()),
            Some(Ok(what)) => {
                Err(request.forbidden(&format!("node {node:?} can not create pods that reference {what}")))
            }
            Some(Err(error)) => {
                Err(request.forbidden(&format!("error checking mirror pod for API references: {error}")))
            }
        }
    }

    pub(super) async fn eviction(&self, node: &str, request: &Request<'_>) -> Result<(), Status> {
        if request.operation != Operation::Create {
            return Err(request.forbidden(&format!("unexpected operation {}", operation_name(request.operation))));
        }
        let name = match request.name {
            "" => request.object().str_at(&["metadata", "name"]).unwrap_or(""),
            name => name,
        };
        if name.is_empty() {
            return Err(request.forbidden("could not determine pod from request data"));
        }
        let Some(pod) = self.objects.find("", "pods", request.namespace, name).await? else {
            return Err(status::not_found("", "pods", name));
        };
        if pod.str_at(&["spec", "nodeName"]) != Some(node) {
            return Err(request.forbidden(&format!("node {node} can only evict pods with spec.nodeName set to itself")));
        }
        Ok(())
    }
}

/// The owner of a mirror pod that the node may create; the error says why it may not.
fn own_mirror_pod<'a>(node: &str, pod: &'a Value) -> Result<&'a Value, String> {
    if !is_mirror_pod(pod) {
        return Err(format!(
            "pod does not have {MIRROR_POD_ANNOTATION:?} annotation, node {node:?} can only create mirror pods"
        ));
    }
    if pod.str_at(&["spec", "nodeName"]) != Some(node) {
        return Err(format!("node {node:?} can only create pods with spec.nodeName set to itself"));
    }
    let owner = match pod.array_at(&["metadata", "ownerReferences"]) {
        [owner] => owner,
        [] => return Err(format!("node {node:?} can only create pods with an owner reference set to itself")),
        _ => return Err(format!("node {node:?} can only create pods with a single owner reference set to itself")),
    };
    let text = |field: &str| owner.str_at(&[field]).unwrap_or("");
    if (text("apiVersion"), text("kind"), text("name")) != ("v1", "Node", node) {
        return Err(format!("node {node:?} can only create pods with an owner reference set to itself"));
    }
    if owner.bool_at(&["controller"]) != Some(true) {
        return Err(format!("node {node:?} can only create pods with a controller owner reference set to itself"));
    }
    if owner.bool_at(&["blockOwnerDeletion"]) == Some(true) {
        return Err(format!("node {node:?} must not set blockOwnerDeletion on an owner reference"));
    }
    Ok(owner)
}

pub(super) fn status(node: &str, request: &Request<'_>) -> Result<(), String> {
    if request.operation != Operation::Update {
        return Err(format!("unexpected operation {:?}", operation_name(request.operation)));
    }
    let (old, new) = (request.old(), request.object());
    if old.str_at(&["spec", "nodeName"]) != Some(node) {
        return Err(format!("node {node:?} can only update pod status for pods with spec.nodeName set to itself"));
    }
    let labels =
        |pod: &Value| pod.at(&["metadata", "labels"]).cloned().filter(|l| l.as_object().is_some_and(|l| !l.is_empty()));
    if labels(old) != labels(new) {
        return Err(format!("node {node:?} cannot update labels through pod status"));
    }
    let claims = |pod: &Value| {
        let claims = pod.array_at(&["status", "resourceClaimStatuses"]).iter();
        claims.map(|claim| (claim.get("name").cloned(), claim.get("resourceClaimName").cloned())).collect::<Vec<_>>()
    };
    if claims(old) != claims(new) {
        return Err(format!("node {node:?} cannot update resource claim statues"));
    }
    const EXTENDED: [&str; 2] = ["status", "extendedResourceClaimStatus"];
    if old.at(&EXTENDED) != new.at(&EXTENDED) {
        return Err(format!("node {node:?} cannot update extended resource claim status"));
    }
    Ok(())
}

/// Volume sources that need nothing of the API server.
const LOCAL_SOURCES: [&str; 22] = [
    "awsElasticBlockStore",
    "azureDisk",
    "cephfs",
    "cinder",
    "downwardAPI",
    "emptyDir",
    "fc",
    "flexVolume",
    "flocker",
    "gcePersistentDisk",
    "gitRepo",
    "hostPath",
    "image",
    "iscsi",
    "nfs",
    "photonPersistentDisk",
    "portworxVolume",
    "quobyte",
    "rbd",
    "scaleIO",
    "storageos",
    "vsphereVolume",
];
/// Volume sources that refer to API objects, and to which.
const API_SOURCES: [(&str, &str); 4] = [
    ("csi", "csidrivers (via CSI volumes)"),
    ("glusterfs", "endpoints (via glusterFS volumes)"),
    ("persistentVolumeClaim", "persistentvolumeclaims"),
    ("ephemeral", "persistentvolumeclaims (via ephemeral volumes)"),
];
/// Sources of projected volumes that refer to API objects, and to which.
const API_PROJECTIONS: [(&str, &str); 3] = [
    ("serviceAccountToken", "serviceaccounts (via projected volumes)"),
    ("clusterTrustBundle", "clustertrustbundles"),
    ("podCertificate", "podcertificates"),
];

/// The first API object that a pod refers to, or what cannot be told (`pkg/api/pod/util.go`, HasAPIObjectReference).
fn api_reference(pod: &Value) -> Option<Result<&'static str, String>> {
    if pod.str_at(&["spec", "serviceAccountName"]).is_some_and(|name| !name.is_empty()) {
        return Some(Ok("serviceaccounts"));
    }
    let in_environment = |keys: [&str; 2]| {
        ["initContainers", "containers", "ephemeralContainers"].iter().any(|list| {
            pod.array_at(&["spec", list]).iter().any(|container| {
                let whole = container.array_at(&["envFrom"]).iter().any(|source| source.get(keys[0]).is_some());
                let single = |variable: &Value| variable.at(&["valueFrom", keys[1]]).is_some();
                whole || container.array_at(&["env"]).iter().any(single)
            })
        })
    };
    let in_volumes = |sources: &[&str], projection: &str| {
        pod.array_at(&["spec", "volumes"]).iter().any(|volume| {
            let projected =
                volume.array_at(&["projected", "sources"]).iter().any(|source| source.get(projection).is_some());
            projected || sources.iter().any(|source| volume.get(source).is_some())
        })
    };
    if !pod.array_at(&["spec", "imagePullSecrets"]).is_empty()
        || in_environment(["secretRef", "secretKeyRef"])
        || in_volumes(&["secret", "azureFile"], "secret")
    {
        return Some(Ok("secrets"));
    }
    if in_environment(["configMapRef", "configMapKeyRef"]) || in_volumes(&["configMap"], "configMap") {
        return Some(Ok("configmaps"));
    }
    if !pod.array_at(&["spec", "resourceClaims"]).is_empty() {
        return Some(Ok("resourceclaims"));
    }
    pod.array_at(&["spec", "volumes"]).iter().find_map(volume_reference)
}

fn volume_reference(volume: &Value) -> Option<Result<&'static str, String>> {
    let name = volume.str_at(&["name"]).unwrap_or("");
    if let Some((_, what)) = API_SOURCES.iter().find(|(source, _)| volume.get(source).is_some()) {
        return Some(Ok(what));
    }
    if volume.get("projected").is_none() {
        let known = LOCAL_SOURCES.iter().any(|source| volume.get(source).is_some());
        return if known { None } else { Some(Err(format!("unknown volume type for volume  {name:?}"))) };
    }
    volume.array_at(&["projected", "sources"]).iter().find_map(|source| {
        if let Some((_, what)) = API_PROJECTIONS.iter().find(|(projection, _)| source.get(projection).is_some()) {
            return Some(Ok(*what));
        }
        if source.get("downwardAPI").is_some() {
            return None;
        }
        Some(Err(format!("unknown source for projected volume {name:?}")))
    })
}
