//! Does what the plan says.

use std::sync::Arc;

use serde_json::{Value, json};
use skiff_client::objects::DeleteOptions;
use skiff_client::types::{EndpointSlice, Endpoints};
use skiff_client::{Kind, ObjectKey, Objects, errors};

use super::Controller;
use super::plan::{self, Content, Plan};
use crate::control_loop::unless_gone;
use crate::ownership::controller_reference;

impl Controller {
    /// Creations and updates first, so that no endpoint is missing in between.
    pub(super) async fn apply(&self, key: &ObjectKey, endpoints: &Endpoints, plan: &Plan) -> anyhow::Result<()> {
        let slices = Objects::<EndpointSlice>::namespaced(&self.context.client, &key.namespace);
        let owner = json!([controller_reference(&Endpoints::RESOURCE, &endpoints.metadata)]);
        let (labels, annotations) = (plan::labels(endpoints), plan::annotations(endpoints));
        self.expectations.expect_creations(key, plan.create.len());
        for (made, content) in plan.create.iter().enumerate() {
            let mut slice = body(content);
            slice["addressType"] = json!(content.address_type);
            slice["metadata"] = json!({
                "generateName": format!("{}-", endpoints.metadata.name),
                "namespace": endpoints.metadata.namespace,
                "labels": labels,
                "annotations": annotations,
                "ownerReferences": owner,
            });
            if let Err(error) = slices.create(&slice).await {
                (made..plan.create.len()).for_each(|_| self.expectations.creation_observed(key));
                if errors::is_namespace_terminating(&error) {
                    return Ok(());
                }
                return Err(error.into());
            }
        }
        for (slice, content) in &plan.update {
            let mut changes = body(content);
            changes["metadata"] = json!({
                "labels": plan::map_patch(&slice.metadata.labels, &labels),
                "annotations": plan::map_patch(&slice.metadata.annotations, &annotations),
                "ownerReferences": owner,
            });
            let version = Some(slice.metadata.resource_version.as_str());
            unless_gone(slices.update(&slice.metadata.name, "", version, &changes).await)?;
        }
        self.delete(&plan.delete).await
    }

    pub(super) async fn delete(&self, gone: &[Arc<EndpointSlice>]) -> anyhow::Result<()> {
        for slice in gone.iter().filter(|slice| !slice.metadata.is_deleting()) {
            let slices = Objects::<EndpointSlice>::namespaced(&self.context.client, &slice.metadata.namespace);
            let options = DeleteOptions::with_uid(&slice.metadata.uid);
            unless_gone(slices.delete(&slice.metadata.name, &options).await)?;
        }
        Ok(())
    }
}

fn body(content: &Content) -> Value {
    json!({"endpoints": content.endpoints, "ports": content.ports})
}
