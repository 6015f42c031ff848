//! What is changed or refused on the way in, before validation and the store.
//!
//! Each plugin is a file of its own; [`chain`] has them all in order. Plugins that change objects do so in
//! [`Plugin::admit`], before the strategy validates; plugins that only refuse do so in [`Plugin::validate`], after.

mod asked;
mod certificates;
pub mod chain;
mod default_classes;
mod default_toleration_seconds;
pub mod expressions;
mod limit_ranger;
pub mod matching;
mod namespace_lifecycle;
mod node_restriction;
mod persistent_volume_claim_resize;
mod pod_security;
pub mod policy;
mod priority;
mod resource_quota;
mod runtime_class;
mod service_account;
mod storage_object_in_use_protection;
mod taint_nodes_by_condition;
#[cfg(test)]
mod testing;
pub mod webhook;

use std::sync::Arc;

use skiff_apimachinery::status::{self, Status};
use skiff_apimachinery::value::Value;

use crate::audit::record::Record;
use crate::authentication::UserInfo;
use crate::registry::deletion::DeleteOptions;

pub use self::asked::{Asked, Reinvocation, Round};
pub use self::chain::{AdmissionChain, AdmissionConfig};
pub use self::resource_quota::{QuotaStore, ResourceQuota};

/// What happens to the object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// POST, or create by update or apply.
    Create,
    /// PUT or PATCH.
    Update,
    /// DELETE, also of each object of a collection.
    Delete,
    /// exec, attach, portforward, proxy.
    Connect,
}

/// A request on its way to the store (`admission.Attributes` upstream).
pub struct Request<'a> {
    /// Who asks.
    pub user: &'a Arc<UserInfo>,
    /// What happens.
    pub operation: Operation,
    /// API group, empty for core.
    pub group: &'a str,
    /// API version.
    pub version: &'a str,
    /// Kind of the object.
    pub kind: &'a str,
    /// Resource (plural).
    pub resource: &'a str,
    /// Subresource, empty for none.
    pub subresource: &'a str,
    /// Namespace, empty for cluster scope.
    pub namespace: &'a str,
    /// Name; empty while generateName has not been expanded.
    pub name: &'a str,
    /// Whether nothing will be stored.
    pub dry_run: bool,
    /// The object in its defaulted form; `None` for Delete.
    pub object: Option<&'a mut Value>,
    /// The object as stored; `None` for Create.
    pub old_object: Option<&'a Value>,
    /// Warnings for the client.
    pub warnings: &'a mut Vec<String>,
    /// The request as the client sees it; `None` for writes by the server itself.
    pub asked: Option<&'a dyn Asked>,
    /// Options of a delete.
    pub delete_options: Option<&'a DeleteOptions>,
    /// Whether the plugins are asked again because one of them changed what others had seen.
    pub reinvocation: Reinvocation,
}

impl Operation {
    /// As policies and webhooks name it.
    pub fn as_str(self) -> &'static str {
        match self {
            Operation::Create => "CREATE",
            Operation::Update => "UPDATE",
            Operation::Delete => "DELETE",
            Operation::Connect => "CONNECT",
        }
    }
}

impl Request<'_> {
    /// 403 with upstream's text: `pods "web-1" is forbidden: TEXT` (`admission.NewForbidden`).
    pub fn forbidden(&self, text: &str) -> Status {
        let metadata = |field: &str| {
            self.object
                .as_deref()
                .and_then(|object| object.str_at(&["metadata", field]))
                .filter(|name| !name.is_empty())
        };
        let name = match self.name {
            "" => metadata("name").or_else(|| metadata("generateName")).unwrap_or("Unknown"),
            name => name,
        };
        status::forbidden(self.group, self.resource, name, text)
    }

    /// What is kept of the request, if anything is.
    fn record(&self) -> Option<&Record> {
        self.asked.and_then(|asked| asked.record())
    }

    /// Whether the request is about this resource.
    fn concerns(&self, group: &str, resource: &str) -> bool {
        self.group == group && self.resource == resource
    }

    /// The object as it is so far; null for Delete.
    fn object(&self) -> &Value {
        static NOTHING: Value = Value::Null;
        self.object.as_deref().unwrap_or(&NOTHING)
    }

    /// The object as stored; null for Create.
    fn old(&self) -> &Value {
        static NOTHING: Value = Value::Null;
        self.old_object.unwrap_or(&NOTHING)
    }
}

/// Annotation of pods that show what a node runs on its own account.
const MIRROR_POD_ANNOTATION: &str = "kubernetes.io/config.mirror";

fn is_mirror_pod(pod: &Value) -> bool {
    pod.at(&["metadata", "annotations", MIRROR_POD_ANNOTATION]).is_some()
}

/// One admission plugin.
#[async_trait::async_trait]
pub trait Plugin: Send + Sync + 'static {
    /// Upstream's name, e.g. `NamespaceLifecycle`.
    fn name(&self) -> &'static str;

    /// Whether this plugin wants the request; cheap.
    fn handles(&self, operation: Operation, group: &str, resource: &str, subresource: &str) -> bool;

    /// May change the object. Runs before validation, in the order of the plugin list.
    async fn admit(&self, _request: &mut Request<'_>) -> Result<(), Status> {
        Ok(())
    }

    /// May only refuse. Runs after validation.
    async fn validate(&self, _request: &mut Request<'_>) -> Result<(), Status> {
        Ok(())
    }
}
