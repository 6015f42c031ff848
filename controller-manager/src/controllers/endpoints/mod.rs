//! Endpoints: the older form of EndpointSlices, one object per Service.
//!
//! Upstream: `pkg/controller/endpoint`. Only one address family, no terminating pods, at most [`MAX_ADDRESSES`]
//! addresses. An Endpoints object has no owner reference, so this controller deletes it with its Service.

mod plan;

use std::sync::Arc;

use serde_json::{Value, json};
use skiff_client::objects::DeleteOptions;
use skiff_client::types::{Endpoints, Pod, Service};
use skiff_client::{Informer, ObjectKey, Objects, Workqueue, errors};

use crate::context::Context;
use crate::control_loop::{self, Next, Reconciler, unless_gone};
use crate::service_backends;
use plan::Plan;

const NAME: &str = "endpoints-controller";
/// Most addresses of one object; more are cut off, and an annotation says so.
pub const MAX_ADDRESSES: usize = 1000;
/// An old form of leader election keeps its lock on Endpoints objects without a Service.
const LEADER_ANNOTATION: &str = "control-plane.alpha.kubernetes.io/leader";

struct Controller {
    context: Context,
    services: Informer<Service>,
    pods: Informer<Pod>,
    endpoints: Informer<Endpoints>,
}

/// Runs the Endpoints controller.
pub async fn run(context: Context) -> anyhow::Result<()> {
    let controller = Arc::new(Controller {
        services: context.informer(),
        pods: context.informer(),
        endpoints: context.informer(),
        context: context.clone(),
    });
    let queue = Workqueue::new();
    let to = queue.clone();
    controller.services.add_handler(move |event| to.add(event.object().metadata.key()));
    let (to, services) = (queue.clone(), controller.services.clone());
    controller.pods.add_handler(move |event| service_backends::enqueue_services(&event, &services, &to));
    // Left over from a Service deleted while we were away, changed or deleted by someone.
    let to = queue.clone();
    controller.endpoints.add_handler(move |event| to.add(event.object().metadata.key()));
    let synced = context.synced(&controller.services).await
        && context.synced(&controller.pods).await
        && context.synced(&controller.endpoints).await;
    if !synced {
        return Ok(());
    }
    control_loop::run(NAME, &context, queue, controller).await
}

#[async_trait::async_trait]
impl Reconciler for Controller {
    type Key = ObjectKey;

    async fn reconcile(&self, key: &ObjectKey) -> anyhow::Result<Next> {
        let current = self.endpoints.get(key);
        let api = Objects::<Endpoints>::namespaced(&self.context.client, &key.namespace);
        let Some(service) = self.services.get(key) else {
            if let Some(left) = current.filter(|left| plan::is_ours(left)) {
                unless_gone(api.delete(&key.name, &DeleteOptions::with_uid(&left.metadata.uid)).await)?;
            }
            return Ok(Next::Event);
        };
        if !service_backends::selects_pods(&service) || service.metadata.is_deleting() {
            return Ok(Next::Event);
        }
        let pods = service_backends::pods_of(&service, &self.pods);
        match plan::plan(&service, &pods, current.as_deref()) {
            Plan::Nothing => {}
            Plan::Create(body) => match api.create(&body).await {
                // Already there: the cache is behind, and its arrival brings the key back.
                Err(error) if errors::is_already_exists(&error) || errors::is_namespace_terminating(&error) => {}
                done => drop(done?),
            },
            Plan::Update(patch) => {
                let patched: kube::Result<Endpoints> = api.update(&key.name, "", None, &patch).await;
                unless_gone(patched)?;
            }
        }
        Ok(Next::Event)
    }
}

/// A string, or null to remove it.
fn or_null(text: Option<&str>) -> Value {
    text.map_or(Value::Null, |text| json!(text))
}

#[cfg(test)]
mod tests {
    #[test]
    fn goldens() {
        crate::golden::check("endpoints", super::plan::golden);
    }
}
