//! What kubelets may do: their own Node, the pods bound to it, and what those pods refer to.
//!
//! Follows `plugin/pkg/auth/authorizer/node/node_authorizer.go`. Writes of pods and nodes are allowed in general here;
//! that they concern the kubelet's own is the business of the NodeRestriction admission plugin, which sees the objects.

mod relations;

use self::relations::{Related, Relations};
use super::rbac::Rule;
use super::{Attributes, Authorizer, Decision, RulesReview, bootstrap};
use crate::authentication::UserInfo;
use crate::cacher::SharedReader;

/// Group of kubelets.
pub const NODES_GROUP: &str = "system:nodes";
const NODE_USER_PREFIX: &str = "system:node:";
const LEASE_NAMESPACE: &str = "kube-node-lease";

/// The node that a user is, if they are one; the name is empty for a member of the group without a node's name.
pub fn node_identity(user: &UserInfo) -> Option<&str> {
    if !user.groups.iter().any(|group| group == NODES_GROUP) {
        return None;
    }
    user.name.strip_prefix(NODE_USER_PREFIX)
}

/// The node authorizer.
pub struct NodeAuthorizer {
    relations: Relations,
    /// What every node may do, whatever the object (ClusterRole `system:node`).
    rules: Vec<Rule>,
}

impl NodeAuthorizer {
    /// Reads pods and volumes from here.
    pub fn new(reader: SharedReader) -> Self {
        Self { relations: Relations::new(reader), rules: bootstrap::node_rules() }
    }

    fn decide(&self, node: &str, attributes: &Attributes) -> Result<(), String> {
        let a = attributes;
        if a.is_resource_request {
            match (a.api_group.as_str(), a.resource.as_str()) {
                ("", "secrets") => return self.read(node, Related::Secret, a),
                ("", "configmaps") => return self.read(node, Related::ConfigMap, a),
                ("", "persistentvolumeclaims") => return self.claim(node, a),
                ("", "persistentvolumes") => {
                    return get_only(a).and_then(|()| self.related(node, a, |r, n| r.has_volume(n, &a.name)));
                }
                ("", "serviceaccounts") => return self.service_account(node, a),
                ("", "nodes") => return own_node(node, a),
                ("", "pods") => return self.pod(node, a),
                ("resource.k8s.io", "resourceclaims") => {
                    get_only(a)?;
                    return self.related(node, a, |r, n| r.has(n, Related::ResourceClaim, &a.namespace, &a.name));
                }
                ("resource.k8s.io", "resourceslices") => return self.resource_slice(node, a),
                ("storage.k8s.io", "volumeattachments") => {
                    get_only(a)?;
                    return self.related(node, a, |r, n| r.has_attachment(n, &a.name));
                }
                ("storage.k8s.io", "csinodes") => return csi_node(node, a),
                ("coordination.k8s.io", "leases") => return lease(node, a),
                ("certificates.k8s.io", "podcertificaterequests") => return Err(String::new()),
                _ => {}
            }
        }
        if self.rules.iter().any(|rule| rule.allows(a)) { Ok(()) } else { Err(String::new()) }
    }

    fn related(&self, node: &str, a: &Attributes, has: impl FnOnce(&Relations, &str) -> bool) -> Result<(), String> {
        if a.name.is_empty() {
            return Err("No Object name found".into());
        }
        if has(&self.relations, node) {
            return Ok(());
        }
        Err(format!("no relationship found between node '{node}' and this object"))
    }

    fn read(&self, node: &str, kind: Related, a: &Attributes) -> Result<(), String> {
        if !matches!(a.verb.as_str(), "get" | "list" | "watch") {
            return Err("can only read resources of this type".into());
        }
        if !a.subresource.is_empty() {
            return Err("cannot read subresource".into());
        }
        if a.namespace.is_empty() {
            return Err("can only read namespaced object of this type".into());
        }
        self.related(node, a, |relations, node| {
            relations.has(node, kind, &a.namespace, &a.name)
                || (kind == Related::Secret && relations.has_volume_secret(node, &a.namespace, &a.name))
        })
    }

    fn claim(&self, node: &str, a: &Attributes) -> Result<(), String> {
        if a.subresource == "status" {
            if !matches!(a.verb.as_str(), "update" | "patch") {
                return Err("can only get/update/patch this type".into());
            }
        } else {
            get_only(a)?;
        }
        self.related(node, a, |r, n| r.has(n, Related::PersistentVolumeClaim, &a.namespace, &a.name))
    }

    fn service_account(&self, node: &str, a: &Attributes) -> Result<(), String> {
        if a.verb == "get" && a.subresource.is_empty() {
            return self.read(node, Related::ServiceAccount, a);
        }
        if a.verb != "create" || a.name.is_empty() {
            return Err("can only create tokens for individual service accounts".into());
        }
        if a.subresource != "token" {
            return Err("can only create token subresource of serviceaccount".into());
        }
        self.related(node, a, |r, n| r.has(n, Related::ServiceAccount, &a.namespace, &a.name))
    }

    fn pod(&self, node: &str, a: &Attributes) -> Result<(), String> {
        match (a.subresource.as_str(), a.verb.as_str()) {
            ("", "get") => self.related(node, a, |r, n| r.has_pod(n, &a.namespace, &a.name)),
            ("", "list" | "watch") => {
                if selects(a, "spec.nodeName", node) {
                    Ok(())
                } else if !a.name.is_empty() {
                    self.related(node, a, |r, n| r.has_pod(n, &a.namespace, &a.name))
                } else {
                    Err("can only list/watch pods with spec.nodeName field selector".into())
                }
            }
            ("", "create" | "delete") | ("status", "update" | "patch") | ("eviction", "create") => Ok(()),
            _ => Err(String::new()),
        }
    }

    fn resource_slice(&self, node: &str, a: &Attributes) -> Result<(), String> {
        if !a.subresource.is_empty() {
            return Err("cannot authorize ResourceSlice subresources".into());
        }
        match a.verb.as_str() {
            "create" => Ok(()),
            "get" | "update" | "patch" | "delete" => self.related(node, a, |r, n| r.has_slice(n, &a.name)),
            "watch" | "list" | "deletecollection" if selects(a, "spec.nodeName", node) => Ok(()),
            "watch" | "list" | "deletecollection" => {
                Err("can only list/watch/deletecollection resourceslices with nodeName field selector".into())
            }
            _ => Err("only the following verbs are allowed for a ResourceSlice: get, watch, list, create, update, \
                      patch, delete, deletecollection"
                .into()),
        }
    }
}

/// Whether the field selector asks for exactly this value.
fn selects(a: &Attributes, field: &str, value: &str) -> bool {
    a.field_selector.iter().any(|(f, operator, v)| f == field && matches!(operator.as_str(), "=" | "==") && v == value)
}

fn get_only(a: &Attributes) -> Result<(), String> {
    if a.verb != "get" {
        return Err("can only get individual resources of this type".into());
    }
    if !a.subresource.is_empty() {
        return Err("cannot get subresource".into());
    }
    Ok(())
}

fn own_node(node: &str, a: &Attributes) -> Result<(), String> {
    match (a.subresource.as_str(), a.verb.as_str()) {
        ("", "create" | "update" | "patch") | ("status", "update" | "patch") => Ok(()),
        ("", "get" | "list" | "watch") if a.name == node => Ok(()),
        ("", "get" | "list" | "watch") if a.name.is_empty() => {
            Err(format!("node '{node}' cannot read all nodes, only its own Node object"))
        }
        ("", "get" | "list" | "watch") => {
            Err(format!("node '{node}' cannot read '{}', only its own Node object", a.name))
        }
        _ => Err(String::new()),
    }
}

fn lease(node: &str, a: &Attributes) -> Result<(), String> {
    if !matches!(a.verb.as_str(), "get" | "create" | "update" | "patch" | "delete") {
        return Err("can only get, create, update, patch, or delete a node lease".into());
    }
    if a.namespace != LEASE_NAMESPACE {
        return Err(format!("can only access leases in the {LEASE_NAMESPACE:?} system namespace"));
    }
    // The name of a new lease is not in the request.
    if a.verb != "create" && a.name != node {
        return Err("can only access node lease with the same name as the requesting node".into());
    }
    Ok(())
}

fn csi_node(node: &str, a: &Attributes) -> Result<(), String> {
    if !matches!(a.verb.as_str(), "get" | "create" | "update" | "patch" | "delete") {
        return Err("can only get, create, update, patch, or delete a CSINode".into());
    }
    if !a.subresource.is_empty() {
        return Err("cannot authorize CSINode subresources".into());
    }
    if a.verb != "create" && a.name != node {
        return Err("can only access CSINode with the same name as the requesting node".into());
    }
    Ok(())
}

impl Authorizer for NodeAuthorizer {
    fn authorize(&self, attributes: &Attributes) -> Decision {
        match node_identity(&attributes.user) {
            None => Decision::NoOpinion(String::new()),
            Some("") => Decision::NoOpinion(format!("unknown node for user {:?}", attributes.user.name)),
            Some(node) => match self.decide(node, attributes) {
                Ok(()) => Decision::Allow(String::new()),
                Err(reason) => Decision::NoOpinion(reason),
            },
        }
    }

    fn rules_for(&self, user: &UserInfo, _namespace: &str) -> RulesReview {
        if node_identity(user).is_none() {
            return RulesReview::default();
        }
        RulesReview {
            incomplete: true,
            evaluation_error: "node authorizer does not support user rule resolution".into(),
            ..RulesReview::default()
        }
    }
}

#[cfg(test)]
mod tests;
