//! Quotas as the ResourceQuota plugin reads and charges them: live, and by compare-and-swap on their status.
//!
//! Follows `k8s.io/apiserver/pkg/admission/plugin/resourcequota/resource_access.go`.

use std::sync::Arc;

use skiff_apimachinery::managedfields::{self, ManagerInfo};
use skiff_apimachinery::status::Status;
use skiff_apimachinery::value::Value;
use skiff_apimachinery::{meta, time};

use super::bootstrap::Own;
use crate::admission::QuotaStore;
use crate::cacher::{Predicate, WatchCache};
use crate::registry::store::Store;

/// Who charges, as managedFields shows it.
const MANAGER: &str = "kube-apiserver";

/// The quotas of the registry.
pub(super) struct RegistryQuotas {
    store: Arc<Store>,
}

impl RegistryQuotas {
    pub(super) fn new(store: Arc<Store>) -> Self {
        Self { store }
    }

    fn cache(&self) -> &WatchCache {
        &self.store.cache
    }
}

#[async_trait::async_trait]
impl QuotaStore for RegistryQuotas {
    /// The cache knows whether there are any, which for most namespaces is the whole answer: it must have seen every
    /// quota that was made before this request. What a request is charged to is read from the store.
    async fn quotas(&self, namespace: &str) -> Result<Vec<Value>, Status> {
        let predicate = Predicate { namespace: namespace.to_owned(), ..Predicate::default() };
        self.cache().caught_up().await?;
        let known = self.cache().list_cached(&predicate).objects;
        let mut quotas = Vec::with_capacity(known.len());
        for object in known {
            let name = object.name().to_owned();
            match self.store.get(namespace, &name, "").await {
                Ok(json) => quotas.push(self.store.parse_stored(&json)?),
                Err(error) if error.code == 404 => {}
                Err(error) => return Err(error),
            }
        }
        Ok(quotas)
    }

    async fn update_status(&self, quota: &Value) -> Result<bool, Status> {
        let own = Own::new(quota);
        let mut write = own.write();
        write.subresource = "status";
        let now = time::format(jiff::Timestamp::now());
        let manager = ManagerInfo::new(MANAGER, "v1", "status", &now);
        let charged = |current: Option<&Value>| {
            let mut new = quota.clone();
            managedfields::update(current, &mut new, self.store.schema, &manager);
            Ok(new)
        };
        match self.store.update(&write, &charged).await {
            Ok(_) => Ok(true),
            // Charged by another, or gone, in between: look again.
            Err(error) if error.code == 409 || error.code == 404 => {
                tracing::debug!(quota = meta::name(quota), %error, "a charge was overtaken");
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }
}
