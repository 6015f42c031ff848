//! EndpointSlices: the addresses behind each Service that selects pods.
//!
//! Upstream: `pkg/controller/endpointslice`, `staging/src/k8s.io/endpointslice`. A change of a pod reaches its slices in
//! the time of one write: nothing is batched. Slices hold at most [`MAX_ENDPOINTS`] endpoints; a change touches as few
//! slices as it can. A Service without pods has an empty slice, so that readers can tell "none" from "not yet".

mod apply;
mod desired;
mod plan;

use std::sync::Arc;

use skiff_client::types::{EndpointSlice, Node, Pod, Service};
use skiff_client::{Event, Expectations, Informer, ObjectKey, Workqueue};

use crate::context::Context;
use crate::control_loop::{self, Next, Reconciler};
use crate::service_backends;

const NAME: &str = "endpointslice-controller";
/// Value of the label by which controllers know their own slices.
pub const MANAGED_BY: &str = "endpointslice-controller.k8s.io";
/// Label of the controller that owns a slice.
pub const MANAGED_BY_LABEL: &str = "endpointslice.kubernetes.io/managed-by";
/// Label of the Service that a slice belongs to.
pub const SERVICE_NAME_LABEL: &str = "kubernetes.io/service-name";
/// Most endpoints of one slice.
pub const MAX_ENDPOINTS: usize = 100;
/// Name of the index of our own slices by `namespace/service`.
const SERVICE_INDEX: &str = "endpointslice-controller/service";
const ZONE_LABEL: &str = "topology.kubernetes.io/zone";

struct Controller {
    context: Context,
    services: Informer<Service>,
    pods: Informer<Pod>,
    nodes: Informer<Node>,
    slices: Informer<EndpointSlice>,
    /// Slices that were created and not yet seen.
    expectations: Arc<Expectations<ObjectKey>>,
}

/// Runs the EndpointSlice controller.
pub async fn run(context: Context) -> anyhow::Result<()> {
    let controller = Arc::new(Controller {
        services: context.informer(),
        pods: context.informer(),
        nodes: context.informer(),
        slices: context.informer(),
        expectations: Arc::default(),
        context: context.clone(),
    });
    controller.slices.add_index(SERVICE_INDEX, service_index);
    let queue = Workqueue::new();
    watch(&controller, &queue);
    let synced = context.synced(&controller.services).await
        && context.synced(&controller.pods).await
        && context.synced(&controller.nodes).await
        && context.synced(&controller.slices).await;
    if !synced {
        return Ok(());
    }
    control_loop::run(NAME, &context, queue, controller).await
}

fn service_index(slice: &EndpointSlice) -> Vec<String> {
    owner_service(slice).map(|key| key.to_string()).into_iter().collect()
}

/// The Service that one of our own slices belongs to.
fn owner_service(slice: &EndpointSlice) -> Option<ObjectKey> {
    let ours = slice.metadata.labels.get(MANAGED_BY_LABEL) == Some(MANAGED_BY);
    let service = slice.service_name().filter(|_| ours)?;
    Some(ObjectKey::new(slice.metadata.namespace.as_str(), service))
}

fn watch(controller: &Controller, queue: &Workqueue<ObjectKey>) {
    let to = queue.clone();
    controller.services.add_handler(move |event| to.add(event.object().metadata.key()));

    let (to, services) = (queue.clone(), controller.services.clone());
    controller.pods.add_handler(move |event| service_backends::enqueue_services(&event, &services, &to));

    let (to, expectations) = (queue.clone(), controller.expectations.clone());
    controller.slices.add_handler(move |event| {
        if let (Event::Updated(old, _), Some(before)) = (&event, owner_service(event.object())) {
            // A slice that was relabelled by someone is missing where it was.
            to.add(owner_service(old).unwrap_or(before));
        }
        let Some(key) = owner_service(event.object()) else { return };
        if matches!(event, Event::Added(_)) {
            expectations.creation_observed(&key);
        }
        to.add(key);
    });

    let (to, services) = (queue.clone(), controller.services.clone());
    controller.nodes.add_handler(move |event| {
        let Event::Updated(old, new) = event else { return };
        if old.metadata.labels.get(ZONE_LABEL) != new.metadata.labels.get(ZONE_LABEL) {
            services.list().iter().for_each(|service| to.add(service.metadata.key()));
        }
    });
}

#[async_trait::async_trait]
impl Reconciler for Controller {
    type Key = ObjectKey;

    async fn reconcile(&self, key: &ObjectKey) -> anyhow::Result<Next> {
        let Some(service) = self.services.get(key) else {
            // The garbage collector deletes the slices with their owner.
            self.expectations.forget(key);
            return Ok(Next::Event);
        };
        if !service_backends::selects_pods(&service) || service.metadata.is_deleting() {
            return Ok(Next::Event);
        }
        if !self.expectations.satisfied(key) {
            // The slice that is missing brings the key back when it arrives.
            return Ok(Next::After(skiff_client::expectations::EXPIRY));
        }
        let slices = self.slices.by_index(SERVICE_INDEX, &key.to_string());
        let pods = service_backends::pods_of(&service, &self.pods);
        let zone = |node: &str| {
            let node = self.nodes.get_by_name("", node)?;
            node.metadata.labels.get(ZONE_LABEL).map(str::to_owned)
        };
        let plan = plan::plan(&service, &slices, &desired::desired(&service, &pods, zone));
        let changed = service_backends::newest_change(&service, &pods);
        self.apply(key, &service, &plan, changed).await?;
        Ok(Next::Event)
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn goldens() {
        crate::golden::check("endpointslice", super::plan::golden);
    }
}
