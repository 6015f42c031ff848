//! Does what the plan says.

use jiff::Timestamp;
use serde_json::{Value, json};
use skiff_client::objects::DeleteOptions;
use skiff_client::types::{EndpointSlice, Service};
use skiff_client::{Kind, ObjectKey, Objects, errors};

use super::Controller;
use super::plan::{Content, Plan, labels, labels_patch};
use crate::control_loop::unless_gone;
use crate::ownership::controller_reference;
use crate::service_backends::TRIGGER_TIME;

impl Controller {
    /// Updates first: they carry traffic. Deletions last, so that no endpoint is missing in between.
    pub(super) async fn apply(
        &self,
        key: &ObjectKey,
        service: &Service,
        plan: &Plan,
        changed: Option<Timestamp>,
    ) -> anyhow::Result<()> {
        let slices = Objects::<EndpointSlice>::namespaced(&self.context.client, &key.namespace);
        let annotations = changed.map_or(Value::Null, |changed| json!({ TRIGGER_TIME: changed.to_string() }));
        for (slice, content) in &plan.update {
            let mut patch = body(content);
            patch["metadata"] = json!({
                "resourceVersion": slice.metadata.resource_version,
                "labels": labels_patch(slice, service),
                "annotations": annotations,
            });
            unless_gone(slices.update(&slice.metadata.name, "", None, &patch).await)?;
        }
        self.expectations.expect_creations(key, plan.create.len());
        for (made, content) in plan.create.iter().enumerate() {
            let mut slice = body(content);
            slice["addressType"] = json!(content.address_type);
            slice["metadata"] = json!({
                "generateName": format!("{}-", service.metadata.name),
                "namespace": service.metadata.namespace,
                "labels": labels(service),
                "annotations": annotations,
                "ownerReferences": [controller_reference(&Service::RESOURCE, &service.metadata)],
            });
            if let Err(error) = slices.create(&slice).await {
                (made..plan.create.len()).for_each(|_| self.expectations.creation_observed(key));
                if errors::is_namespace_terminating(&error) {
                    return Ok(());
                }
                return Err(error.into());
            }
        }
        for slice in &plan.delete {
            let options = DeleteOptions::with_uid(&slice.metadata.uid);
            unless_gone(slices.delete(&slice.metadata.name, &options).await)?;
        }
        Ok(())
    }
}

fn body(content: &Content) -> Value {
    json!({"endpoints": content.endpoints, "ports": content.ports})
}
