//! A kubelet writes only its own Node, Lease and CSINode, and the pods that are bound to it.
//!
//! Follows `plugin/pkg/admission/noderestriction`. The node authorizer has decided about the kind of request already;
//! this plugin sees the objects.

mod node;
mod pod;

use std::sync::Arc;

use skiff_apimachinery::status::{self, Status};
use skiff_apimachinery::value::Value;

use super::{Operation, Plugin, Request};
use crate::authorization::node::node_identity;
use crate::authorization::{Attributes, Authorizer, Decision};
use crate::objects::Objects;

const LEASE_NAMESPACE: &str = "kube-node-lease";
/// Signers whose certificates make somebody a node.
const NODE_SIGNERS: [&str; 2] = ["kubernetes.io/kubelet-serving", "kubernetes.io/kube-apiserver-client-kubelet"];

pub(super) struct NodeRestriction {
    objects: Objects,
    authorizer: Arc<dyn Authorizer>,
}

impl NodeRestriction {
    pub(super) fn new(objects: Objects, authorizer: Arc<dyn Authorizer>) -> Self {
        Self { objects, authorizer }
    }

    /// Why the request is refused; `None` when it is not.
    async fn check(&self, node: &str, request: &Request<'_>) -> Result<(), Status> {
        let forbid = |result: Result<(), String>| result.map_err(|text| request.forbidden(&text));
        match (request.group, request.resource, request.subresource) {
            ("", "pods", "") => self.pod(node, request).await,
            ("", "pods", "status") => forbid(pod::status(node, request)),
            ("", "pods", "eviction") => self.eviction(node, request).await,
            ("", "pods", other) => {
                let text = format!("unexpected pod subresource {other:?}, only 'status' and 'eviction' are allowed");
                Err(request.forbidden(&text))
            }
            ("", "nodes", _) => forbid(node::check(node, request)),
            ("", "persistentvolumeclaims", "status") => forbid(claim_status(node, request)),
            ("", "persistentvolumeclaims", _) => Err(request.forbidden("may only update PVC status")),
            ("", "serviceaccounts", "token") if request.operation == Operation::Create => {
                self.token(node, request).await
            }
            ("coordination.k8s.io", "leases", _) => forbid(lease(node, request)),
            ("storage.k8s.io", "csinodes", _) if object_name(request) != node => {
                Err(request.forbidden("can only access CSINode with the same name as the requesting node"))
            }
            ("resource.k8s.io", "resourceslices", _) => forbid(resource_slice(node, request)),
            ("certificates.k8s.io", "certificatesigningrequests", "") if request.operation == Operation::Create => {
                forbid(signing_request(node, request.object()))
            }
            ("certificates.k8s.io", "podcertificaterequests", _) => {
                Err(request.forbidden("PodCertificateRequest feature gate is disabled"))
            }
            _ => Ok(()),
        }
    }

    async fn token(&self, node: &str, request: &Request<'_>) -> Result<(), Status> {
        let body = request.object();
        let reference = |field: &str| body.str_at(&["spec", "boundObjectRef", field]).unwrap_or("");
        let (name, uid) = (reference("name"), reference("uid"));
        if reference("apiVersion") != "v1" || reference("kind") != "Pod" || name.is_empty() {
            return Err(request.forbidden("node requested token not bound to a pod"));
        }
        if uid.is_empty() {
            return Err(request.forbidden("node requested token with a pod binding without a uid"));
        }
        let Some(pod) = self.objects.find("", "pods", request.namespace, name).await? else {
            return Err(status::not_found("", "pods", name));
        };
        if pod.str_at(&["metadata", "uid"]) != Some(uid) {
            return Err(request.forbidden(&format!(
                "the UID in the bound object reference ({uid}) does not match the UID in record. The object might have \
                 been deleted and then recreated"
            )));
        }
        if pod.str_at(&["spec", "nodeName"]) != Some(node) {
            return Err(request.forbidden("node requested token bound to a pod scheduled on a different node"));
        }
        self.audience(request, &pod).await
    }

    /// The audience must be one that a volume of the pod asks for, or one that the node may ask for anyway.
    async fn audience(&self, request: &Request<'_>, pod: &Value) -> Result<(), Status> {
        let audience = match request.object().array_at(&["spec", "audiences"]) {
            [] => "",
            [one] => one.as_str().unwrap_or(""),
            _ => return Err(request.forbidden("node may only request 0 or 1 audiences")),
        };
        for volume in pod.array_at(&["spec", "volumes"]) {
            let projected = volume.array_at(&["projected", "sources"]).iter().any(|source| {
                source
                    .get("serviceAccountToken")
                    .is_some_and(|token| token.str_at(&["audience"]).unwrap_or("") == audience)
            });
            if projected || self.driver_asks(request.namespace, pod, volume, audience).await? {
                return Ok(());
            }
        }
        let asked = Attributes {
            user: request.user.clone(),
            verb: "request-serviceaccounts-token-audience".into(),
            is_resource_request: true,
            api_version: "v1".into(),
            resource: audience.into(),
            namespace: request.namespace.into(),
            name: request.name.into(),
            ..Attributes::default()
        };
        if matches!(self.authorizer.authorize(&asked), Decision::Allow(_)) {
            return Ok(());
        }
        Err(request.forbidden(&format!(
            "audience {audience:?} not found in pod spec volume, {} is not authorized to request tokens for this \
             audience",
            request.user.name
        )))
    }

    /// Whether the CSI driver behind a volume asks for tokens of this audience.
    async fn driver_asks(&self, namespace: &str, pod: &Value, volume: &Value, audience: &str) -> Result<bool, Status> {
        let pod_name = pod.str_at(&["metadata", "name"]).unwrap_or("");
        let claim = match volume.str_at(&["persistentVolumeClaim", "claimName"]) {
            Some(name) => Some(name.to_owned()),
            None if volume.get("ephemeral").is_some() => {
                Some(format!("{pod_name}-{}", volume.str_at(&["name"]).unwrap_or("")))
            }
            None => None,
        };
        let driver = match claim {
            None => volume.str_at(&["csi", "driver"]).unwrap_or("").to_owned(),
            Some(claim) => {
                let claim = self.objects.find("", "persistentvolumeclaims", namespace, &claim).await?;
                let volume = claim.as_ref().and_then(|claim| claim.str_at(&["spec", "volumeName"])).unwrap_or("");
                let volume = self.objects.find("", "persistentvolumes", "", volume).await?;
                volume.as_ref().and_then(|v| v.str_at(&["spec", "csi", "driver"])).unwrap_or("").to_owned()
            }
        };
        let driver = self.objects.find("storage.k8s.io", "csidrivers", "", &driver).await?.unwrap_or_default();
        let asks = |request: &Value| request.str_at(&["audience"]).unwrap_or("") == audience;
        Ok(driver.array_at(&["spec", "tokenRequests"]).iter().any(asks))
    }
}

#[async_trait::async_trait]
impl Plugin for NodeRestriction {
    fn name(&self) -> &'static str {
        "NodeRestriction"
    }

    fn handles(&self, operation: Operation, group: &str, resource: &str, _subresource: &str) -> bool {
        operation != Operation::Connect
            && matches!(
                (group, resource),
                ("", "pods" | "nodes" | "persistentvolumeclaims" | "serviceaccounts")
                    | ("coordination.k8s.io", "leases")
                    | ("storage.k8s.io", "csinodes")
                    | ("resource.k8s.io", "resourceslices")
                    | ("certificates.k8s.io", "certificatesigningrequests" | "podcertificaterequests")
            )
    }

    async fn admit(&self, request: &mut Request<'_>) -> Result<(), Status> {
        match node_identity(request.user) {
            None => Ok(()),
            Some("") => {
                let text = format!("could not determine node from user {:?}", request.user.name);
                Err(request.forbidden(&text))
            }
            Some(node) => self.check(node, request).await,
        }
    }
}

/// The name in the URL, or for a create the object's.
fn object_name<'a>(request: &'a Request<'_>) -> &'a str {
    if request.operation == Operation::Create {
        request.object().str_at(&["metadata", "name"]).unwrap_or("")
    } else {
        request.name
    }
}

fn lease(node: &str, request: &Request<'_>) -> Result<(), String> {
    if request.namespace != LEASE_NAMESPACE {
        return Err(format!("can only access leases in the {LEASE_NAMESPACE:?} system namespace"));
    }
    if object_name(request) != node {
        return Err("can only access node lease with the same name as the requesting node".into());
    }
    Ok(())
}

fn resource_slice(node: &str, request: &Request<'_>) -> Result<(), String> {
    let (object, verb) = match request.operation {
        Operation::Create => (request.object(), "create"),
        Operation::Delete => (request.old(), "delete"),
        _ => return Ok(()),
    };
    if object.str_at(&["spec", "nodeName"]) != Some(node) {
        return Err(format!("can only {verb} ResourceSlice with the same NodeName as the requesting node"));
    }
    Ok(())
}

/// Of a claim's status a node reports how large the volume has become.
fn claim_status(node: &str, request: &Request<'_>) -> Result<(), String> {
    const REPORTED: [&[&str]; 6] = [
        &["metadata", "managedFields"],
        &["metadata", "resourceVersion"],
        &["status", "allocatedResourceStatuses"],
        &["status", "allocatedResources"],
        &["status", "capacity"],
        &["status", "conditions"],
    ];
    if request.operation != Operation::Update {
        return Err(format!("unexpected operation {:?}", operation_name(request.operation)));
    }
    let rest = |claim: &Value| {
        let mut claim = claim.clone();
        for path in REPORTED {
            claim.remove_at(path);
        }
        claim
    };
    if rest(request.object()) != rest(request.old()) {
        return Err(format!(
            "node {node:?} is not allowed to update fields other than status.quantity and status.conditions"
        ));
    }
    Ok(())
}

fn operation_name(operation: Operation) -> &'static str {
    match operation {
        Operation::Create => "CREATE",
        Operation::Update => "UPDATE",
        Operation::Delete => "DELETE",
        Operation::Connect => "CONNECT",
    }
}

/// A node asks for a node's certificate only in its own name.
fn signing_request(node: &str, request: &Value) -> Result<(), String> {
    let signer = request.str_at(&["spec", "signerName"]).unwrap_or("");
    if !NODE_SIGNERS.contains(&signer) {
        return Ok(());
    }
    let subject = super::certificates::subject(request).map_err(|error| format!("unable to parse csr: {error}"))?;
    if subject.common_name != format!("system:node:{node}") {
        return Err(format!("can only create a node CSR with CN=system:node:{node}"));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
