//! Where the store asks the admission plugins.

use std::sync::Arc;

use skiff_apimachinery::status::Status;
use skiff_apimachinery::value::Value;

use super::store::{Store, Write};
use crate::admission::{self, Operation, Plugin};

impl Store {
    pub(super) async fn admit(
        &self,
        write: &Write<'_>,
        operation: Operation,
        name: &str,
        object: &mut Value,
        old: Option<&Value>,
    ) -> Result<(), Status> {
        let mut warnings = Vec::new();
        let mut request = self.admission_request(write, operation, name, Some(object), old, &mut warnings);
        for plugin in write.admission.iter().filter(|p| self.wants(p, operation, write.subresource)) {
            plugin.admit(&mut request).await?;
        }
        write.warnings.extend(warnings);
        Ok(())
    }

    pub(super) async fn validate_admission(
        &self,
        write: &Write<'_>,
        operation: Operation,
        name: &str,
        object: &mut Value,
        old: Option<&Value>,
    ) -> Result<(), Status> {
        let mut warnings = Vec::new();
        let mut request = self.admission_request(write, operation, name, Some(object), old, &mut warnings);
        for plugin in write.admission.iter().filter(|p| self.wants(p, operation, write.subresource)) {
            plugin.validate(&mut request).await?;
        }
        write.warnings.extend(warnings);
        Ok(())
    }

    pub(super) async fn admit_delete(&self, write: &Write<'_>, old: &Value) -> Result<(), Status> {
        let mut warnings = Vec::new();
        let mut request = self.admission_request(write, Operation::Delete, write.name, None, Some(old), &mut warnings);
        for plugin in write.admission.iter().filter(|p| self.wants(p, Operation::Delete, write.subresource)) {
            plugin.admit(&mut request).await?;
            plugin.validate(&mut request).await?;
        }
        write.warnings.extend(warnings);
        Ok(())
    }

    fn wants(&self, plugin: &Arc<dyn Plugin>, operation: Operation, subresource: &str) -> bool {
        plugin.handles(operation, &self.group, &self.resource, subresource)
    }

    fn admission_request<'a>(
        &'a self,
        write: &'a Write<'_>,
        operation: Operation,
        name: &'a str,
        object: Option<&'a mut Value>,
        old_object: Option<&'a Value>,
        warnings: &'a mut Vec<String>,
    ) -> admission::Request<'a> {
        admission::Request {
            user: write.user,
            operation,
            group: &self.group,
            version: write.version,
            kind: &self.kind,
            resource: &self.resource,
            subresource: write.subresource,
            namespace: write.namespace,
            name,
            dry_run: write.dry_run,
            object,
            old_object,
            warnings,
        }
    }
}
