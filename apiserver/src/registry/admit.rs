//! Where the store asks the admission plugins.

use skiff_apimachinery::meta;
use skiff_apimachinery::status::{self, Status};
use skiff_apimachinery::value::Value;

use super::deletion::DeleteOptions;
use super::store::{Store, Write};
use crate::admission::{self, Operation, chain};

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
        let admitted = chain::admit(write.admission, &mut request).await;
        write.warnings.extend(warnings);
        admitted?;
        self.stays_in_place(write, object)
    }

    /// Whoever changed the object, it is kept where the request says.
    fn stays_in_place(&self, write: &Write<'_>, object: &Value) -> Result<(), Status> {
        if self.namespaced && meta::namespace(object) != write.namespace {
            let message = "the namespace of the provided object does not match the namespace sent on the request";
            return Err(status::bad_request(message));
        }
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
        let admitted = chain::validate(write.admission, &mut request).await;
        write.warnings.extend(warnings);
        admitted
    }

    pub(super) async fn admit_delete(
        &self,
        write: &Write<'_>,
        options: &DeleteOptions,
        old: &Value,
    ) -> Result<(), Status> {
        let mut warnings = Vec::new();
        let mut request = self.admission_request(write, Operation::Delete, write.name, None, Some(old), &mut warnings);
        request.delete_options = Some(options);
        let mut admitted = chain::admit(write.admission, &mut request).await;
        if admitted.is_ok() {
            admitted = chain::validate(write.admission, &mut request).await;
        }
        write.warnings.extend(warnings);
        admitted
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
            asked: write.asked,
            delete_options: None,
            reinvocation: admission::Reinvocation::default(),
        }
    }
}
