//! Namespaces use no more than their quotas allow.
//!
//! Follows `k8s.io/apiserver/pkg/admission/plugin/resourcequota`. A request is charged before it is stored, by
//! compare-and-swap on the quota's status: however many requests and API servers there are, no quota is exceeded. What
//! is charged and then not stored, and what is freed by a deletion, the quota controller counts again.

mod charge;

use std::sync::Arc;

use skiff_apimachinery::status::Status;
use skiff_apimachinery::value::Value;
use skiff_quota::Measured;
use skiff_quota::usage::terminates;

use self::charge::{Charged, charge};
use super::{Operation, Plugin, Request};

/// Tries before a request gives way to others that charge the same quota.
const MAX_ATTEMPTS: usize = 10;
/// Locks that requests of this process take before they charge a namespace, so that they do not get in each other's
/// way; namespaces share them.
const LOCKS: usize = 64;

/// What the plugin needs of the registry.
#[async_trait::async_trait]
pub trait QuotaStore: Send + Sync + 'static {
    /// The quotas of a namespace as the store has them now.
    async fn quotas(&self, namespace: &str) -> Result<Vec<Value>, Status>;

    /// Replaces the status of a quota that is still at its resourceVersion; `false` when somebody else was faster.
    async fn update_status(&self, quota: &Value) -> Result<bool, Status>;
}

/// The plugin.
pub struct ResourceQuota {
    store: Arc<dyn QuotaStore>,
    locks: Vec<tokio::sync::Mutex<()>>,
}

impl ResourceQuota {
    /// Charges the quotas of this store.
    pub fn new(store: Arc<dyn QuotaStore>) -> Self {
        Self { store, locks: std::iter::repeat_with(Default::default).take(LOCKS).collect() }
    }

    fn lock(&self, namespace: &str) -> &tokio::sync::Mutex<()> {
        let sum = namespace.bytes().fold(0usize, |sum, byte| sum.wrapping_mul(31).wrapping_add(usize::from(byte)));
        &self.locks[sum % LOCKS]
    }

    /// Charges all quotas, or says why not. Quotas that were charged before another turned out to be full keep the
    /// charge until the controller counts again, as upstream.
    async fn charge(&self, request: &Request<'_>) -> Result<(), Status> {
        let _alone = self.lock(request.namespace).lock().await;
        let mut charged: Vec<String> = Vec::new();
        for _ in 0..MAX_ATTEMPTS {
            let mut quotas = self.store.quotas(request.namespace).await?;
            quotas.retain(|quota| !charged.iter().any(|name| quota.str_at(&["metadata", "name"]) == Some(name)));
            let measured = Measured { group: request.group, resource: request.resource, object: request.object() };
            let asked = Charged {
                operation: request.operation,
                subresource: request.subresource,
                new: measured,
                old: request.old(),
            };
            let changed = charge(&quotas, asked).map_err(|text| request.forbidden(&text))?;
            if request.dry_run {
                return Ok(());
            }
            let mut lost = false;
            for (index, used) in changed {
                let mut quota = quotas[index].clone();
                quota.set_at(&["status", "used"], used);
                if self.store.update_status(&quota).await? {
                    charged.push(quota.str_at(&["metadata", "name"]).unwrap_or("").to_owned());
                } else {
                    lost = true;
                }
            }
            if !lost {
                return Ok(());
            }
        }
        let text =
            "Operation cannot be fulfilled on resourcequotas: too many requests charge it at the same time; try again";
        Err(Status::new(409, "Conflict", text))
    }
}

#[async_trait::async_trait]
impl Plugin for ResourceQuota {
    fn name(&self) -> &'static str {
        "ResourceQuota"
    }

    fn handles(&self, operation: Operation, group: &str, resource: &str, subresource: &str) -> bool {
        let own_namespace = group.is_empty() && matches!(resource, "namespaces" | "events") || group == "events.k8s.io";
        match operation {
            Operation::Create => subresource.is_empty() && !own_namespace,
            Operation::Update => {
                group.is_empty()
                    && matches!(
                        (resource, subresource),
                        ("pods", "" | "resize") | ("services", "") | ("persistentvolumeclaims", "" | "status")
                    )
            }
            _ => false,
        }
    }

    /// Last of all plugins: what is charged is stored unless the store itself refuses.
    async fn validate(&self, request: &mut Request<'_>) -> Result<(), Status> {
        let Request { operation, group, resource, subresource, .. } = *request;
        if request.namespace.is_empty()
            || !is_charged(operation, group, resource, subresource, request.object(), request.old())
        {
            return Ok(());
        }
        self.charge(request).await
    }
}

/// Whether a request can change what its object uses.
pub(super) fn is_charged(
    operation: Operation,
    group: &str,
    resource: &str,
    subresource: &str,
    object: &Value,
    old: &Value,
) -> bool {
    match (group, resource, subresource) {
        ("", "pods", "") => {
            operation == Operation::Create || (operation == Operation::Update && terminates(object) != terminates(old))
        }
        ("", "pods", "resize") => operation == Operation::Update,
        ("", "services" | "persistentvolumeclaims", "") => matches!(operation, Operation::Create | Operation::Update),
        ("", "persistentvolumeclaims", "status") => operation == Operation::Update,
        (_, _, "") => operation == Operation::Create,
        _ => false,
    }
}

#[cfg(test)]
mod tests;
