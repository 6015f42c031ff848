//! What admission is told of a request: the version, kind and options that the client uses.

use std::sync::Arc;

use skiff_api::Subresource;
use skiff_apimachinery::schema::SchemaRef;
use skiff_apimachinery::status::Status;
use skiff_apimachinery::value::{Object, Value};

use super::Call;
use super::create::dedup_owner_references;
use crate::admission::{Asked, Operation};
use crate::audit::record::Record;
use crate::registry::Resource;
use crate::registry::deletion::DeleteOptions;

const MANAGED_FIELDS: &[&str] = &["metadata", "managedFields"];

/// A request for what is stored: clients see it in a version, or as a Scale.
impl Asked for Call<'_> {
    fn resource(&self) -> &Arc<Resource> {
        self.resource
    }

    fn subresource(&self) -> Option<&Subresource> {
        self.subresource
    }

    fn kind(&self) -> (&str, &str, &str) {
        let expected = self.expected();
        (expected.group, expected.version, expected.kind)
    }

    fn schema(&self) -> SchemaRef<'_> {
        self.expected().schema
    }

    fn options(&self, operation: Operation, delete: Option<&DeleteOptions>) -> Value {
        let kind = match operation {
            Operation::Create => "CreateOptions",
            Operation::Update => "UpdateOptions",
            Operation::Delete => "DeleteOptions",
            Operation::Connect => return Value::Null,
        };
        let mut options = Object::new();
        options.insert("kind", kind);
        options.insert("apiVersion", "meta.k8s.io/v1");
        let query = &self.cx.query;
        match delete {
            Some(delete) => add_delete_options(&mut options, delete),
            None => {
                for field in ["fieldManager", "fieldValidation"] {
                    if !query.text(field).is_empty() {
                        options.insert(field, query.text(field));
                    }
                }
                let dry_run = query.all("dryRun").map(Value::from).collect::<Vec<_>>();
                if !dry_run.is_empty() {
                    options.insert("dryRun", dry_run);
                }
            }
        }
        Value::Object(options)
    }

    fn record(&self) -> Option<&Record> {
        self.cx.audit.as_deref()
    }

    fn view(&self, object: &Value) -> Value {
        let mut view = Call::view(self, object).into_owned();
        if self.cx.info.subresource == "scale" {
            // Who owns its fields is not the Scale's to say.
            view.remove_at(MANAGED_FIELDS);
        }
        view
    }

    fn merge(&self, mut view: Value, object: &Value) -> Result<Value, Status> {
        let is_scale = self.cx.info.subresource == "scale";
        if is_scale && let Some(managers) = Call::view(self, object).at(MANAGED_FIELDS) {
            view.set_at(MANAGED_FIELDS, managers.clone());
        }
        let mut merged = Call::merge(self, view, Some(object))?;
        if !is_scale {
            self.set_defaults(&mut merged)?;
        }
        dedup_owner_references(self, &mut merged, " after mutating admission happens");
        Ok(merged)
    }
}

fn add_delete_options(object: &mut Object, options: &DeleteOptions) {
    if let Some(seconds) = options.grace_period_seconds {
        object.insert("gracePeriodSeconds", seconds);
    }
    let mut preconditions = Object::new();
    for (field, value) in [("uid", &options.uid), ("resourceVersion", &options.resource_version)] {
        if let Some(value) = value {
            preconditions.insert(field, value.as_str());
        }
    }
    if !preconditions.is_empty() {
        object.insert("preconditions", preconditions);
    }
    if let Some(policy) = &options.propagation_policy {
        object.insert("propagationPolicy", policy.as_str());
    }
    if let Some(orphan) = options.orphan_dependents {
        object.insert("orphanDependents", orphan);
    }
    if options.dry_run {
        object.insert("dryRun", vec!["All"]);
    }
}

/// A request whose object is not stored, so that it is the same for all: a review, a binding, a connection.
pub(super) struct Direct<'a>(pub(super) &'a Call<'a>);

impl Asked for Direct<'_> {
    fn resource(&self) -> &Arc<Resource> {
        self.0.resource
    }

    fn subresource(&self) -> Option<&Subresource> {
        self.0.subresource
    }

    fn kind(&self) -> (&str, &str, &str) {
        Asked::kind(self.0)
    }

    fn schema(&self) -> SchemaRef<'_> {
        Asked::schema(self.0)
    }

    fn options(&self, operation: Operation, delete: Option<&DeleteOptions>) -> Value {
        Asked::options(self.0, operation, delete)
    }

    fn record(&self) -> Option<&Record> {
        Asked::record(self.0)
    }

    fn view(&self, object: &Value) -> Value {
        object.clone()
    }

    fn merge(&self, view: Value, _object: &Value) -> Result<Value, Status> {
        Ok(view)
    }
}
