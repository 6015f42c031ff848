//! Access to devices that are in use, for administrators: only in namespaces that say so.
//!
//! Follows `AuthorizedForAdmin` and `AuthorizedForAdminStatus` in `pkg/registry/resource/utils.go`.

use std::sync::Arc;

use skiff_apimachinery::field::{Error, Path};
use skiff_apimachinery::status::{self, Status};
use skiff_apimachinery::value::Value;
use skiff_apimachinery::{json, meta};
use skiff_storage::Storage;

use crate::registry::hook::{Hook, Reservation};
use crate::registry::strategies;

const LABEL: &str = "resource.kubernetes.io/admin-access";
const GROUP: &str = "resource.k8s.io";

/// Looks at claims, or at templates for them.
pub struct AdminAccess {
    storage: Arc<dyn Storage>,
    kind: &'static str,
    resource: &'static str,
    /// Where requests are.
    requests: &'static [&'static str],
}

impl AdminAccess {
    /// For ResourceClaims.
    pub fn of_claims(storage: Arc<dyn Storage>) -> Self {
        let requests = &["spec", "devices", "requests"];
        Self { storage, kind: "ResourceClaim", resource: "resourceclaims", requests }
    }

    /// For ResourceClaimTemplates.
    pub fn of_templates(storage: Arc<dyn Storage>) -> Self {
        let requests = &["spec", "spec", "devices", "requests"];
        Self { storage, kind: "ResourceClaimTemplate", resource: "resourceclaimtemplates", requests }
    }

    /// The place that asks for access which is not there already.
    fn asks(&self, new: &Value, old: Option<&Value>) -> Option<Path> {
        let results = ["status", "allocation", "devices", "results"];
        let granted = |result: &Value| result.bool_at(&["adminAccess"]) == Some(true);
        let path = |list: Path, index: usize| list.index(index).child("adminAccess");
        let Some(old) = old else {
            let requested = |request: &Value| request.bool_at(&["exactly", "adminAccess"]) == Some(true);
            let index = new.array_at(self.requests).iter().position(requested)?;
            // Upstream's path is that of a claim even in templates.
            return Some(path(Path::new("spec").child("devices").child("requests"), index));
        };
        if old.array_at(&results).iter().any(granted) {
            return None;
        }
        let index = new.array_at(&results).iter().position(granted)?;
        Some(path(Path::new("status").child("allocation").child("devices").child("results"), index))
    }

    /// The namespace is read from the store: it may have been labelled just now.
    async fn is_allowed_in(&self, namespace: &str) -> Result<bool, Status> {
        let read = self.storage.get(&format!("/registry/namespaces/{namespace}")).await;
        let (found, _) = read.map_err(|error| {
            status::internal_error(format!("could not retrieve namespace to verify admin access: {error}"))
        })?;
        let namespace = found.and_then(|entry| json::parse(&entry.object.json).ok());
        Ok(namespace.is_some_and(|found| found.str_at(&["metadata", "labels", LABEL]) == Some("true")))
    }
}

#[async_trait::async_trait]
impl Hook for AdminAccess {
    async fn begin(&self, new: &mut Value, old: Option<&Value>, _dry_run: bool) -> Result<Reservation, Status> {
        let Some(path) = self.asks(new, old) else { return Ok(Reservation::default()) };
        if self.is_allowed_in(meta::namespace(new)).await? {
            return Ok(Reservation::default());
        }
        let message = format!("admin access to devices requires the `{LABEL}: true` label on the containing namespace");
        let mut errors = vec![Error::forbidden(&path, message)];
        if old.is_none() {
            errors.extend(strategies::strategy(GROUP, self.resource).validate(new));
        }
        Err(status::invalid(GROUP, self.kind, meta::name(new), errors))
    }

    async fn after_delete(&self, _old: &Value) {}
}
