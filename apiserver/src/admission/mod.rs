//! What is changed or refused on the way in, before validation and the store.

use std::sync::Arc;

use skiff_apimachinery::{status::Status, value::Value};

use crate::authentication::UserInfo;

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
#[derive(Debug)]
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
