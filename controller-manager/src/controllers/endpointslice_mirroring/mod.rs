//! Mirroring: the EndpointSlices of Endpoints that somebody keeps by hand, for Services without a selector.
//!
//! Upstream: `pkg/controller/endpointslicemirroring`. One slice for each address family and each set of ports, of at
//! most [`MAX_ENDPOINTS`] endpoints; labels and annotations are those of the Endpoints. Slices go with the Endpoints,
//! with the Service, and when the Service gets a selector.

mod apply;
mod plan;

use std::sync::Arc;

use skiff_client::types::{EndpointSlice, Endpoints, HasMeta, Service};
use skiff_client::{Event, EventRecorder, EventType, Expectations, Informer, ObjectKey, ObjectReference, Workqueue};

use super::endpointslice::MANAGED_BY_LABEL;
use crate::context::Context;
use crate::control_loop::{self, Next, Reconciler};

const NAME: &str = "endpoint-slice-mirroring-controller";
/// Value of the label by which this controller knows its own slices.
const MANAGED_BY: &str = "endpointslicemirroring-controller.k8s.io";
/// Most endpoints that are mirrored of one set of ports.
const MAX_ENDPOINTS: usize = 1000;
/// Name of the index of our own slices by `namespace/service`.
const SERVICE_INDEX: &str = "endpointslicemirroring-controller/service";

struct Controller {
    context: Context,
    endpoints: Informer<Endpoints>,
    services: Informer<Service>,
    slices: Informer<EndpointSlice>,
    /// Slices that were created and not yet seen.
    expectations: Arc<Expectations<ObjectKey>>,
    recorder: EventRecorder,
}

/// Runs the controller.
pub async fn run(context: Context) -> anyhow::Result<()> {
    let controller = Arc::new(Controller {
        endpoints: context.informer(),
        services: context.informer(),
        slices: context.informer(),
        expectations: Arc::default(),
        recorder: context.recorder(NAME),
        context: context.clone(),
    });
    controller.slices.add_index(SERVICE_INDEX, |slice| owner(slice).map(|key| key.to_string()).into_iter().collect());
    let queue = Workqueue::new();
    watch(&controller, &queue);
    let synced = context.synced(&controller.endpoints).await
        && context.synced(&controller.services).await
        && context.synced(&controller.slices).await;
    if !synced {
        return Ok(());
    }
    control_loop::run(NAME, &context, queue, controller).await
}

/// The Endpoints that one of our own slices mirrors.
fn owner(slice: &EndpointSlice) -> Option<ObjectKey> {
    let ours = slice.metadata.labels.get(MANAGED_BY_LABEL) == Some(MANAGED_BY);
    let service = slice.service_name().filter(|_| ours)?;
    Some(ObjectKey::new(slice.metadata.namespace.as_str(), service))
}

fn watch(controller: &Controller, queue: &Workqueue<ObjectKey>) {
    let to = queue.clone();
    controller.endpoints.add_handler(move |event| {
        let before = if let Event::Updated(old, _) = event { plan::is_mirrored(old) } else { false };
        if before || plan::is_mirrored(event.object()) {
            to.add(event.object().meta().key());
        }
    });

    let to = queue.clone();
    controller.services.add_handler(move |event| {
        let mirrored = |service: &Service| service.spec.selector.is_empty();
        let matters = match event {
            Event::Updated(old, new) => mirrored(old) != mirrored(new),
            _ => mirrored(event.object()),
        };
        if matters {
            to.add(event.object().meta().key());
        }
    });

    let (to, expectations) = (queue.clone(), controller.expectations.clone());
    controller.slices.add_handler(move |event| {
        if let Event::Updated(old, _) = event
            && let Some(before) = owner(old)
        {
            // A slice that was relabelled by someone is missing where it was.
            to.add(before);
        }
        let Some(key) = owner(event.object()) else { return };
        if matches!(event, Event::Added(_)) {
            expectations.creation_observed(&key);
        }
        to.add(key);
    });
}

#[async_trait::async_trait]
impl Reconciler for Controller {
    type Key = ObjectKey;

    async fn reconcile(&self, key: &ObjectKey) -> anyhow::Result<Next> {
        if !self.expectations.satisfied(key) {
            // The slice that is missing brings the key back when it arrives.
            return Ok(Next::After(skiff_client::expectations::EXPIRY));
        }
        let slices = self.slices.by_index(SERVICE_INDEX, &key.to_string());
        let service = self.services.get(key).filter(|service| service.spec.selector.is_empty());
        let endpoints = self.endpoints.get(key).filter(|endpoints| plan::is_mirrored(endpoints));
        let (Some(_), Some(endpoints)) = (service, endpoints) else {
            self.expectations.forget(key);
            self.delete(&slices).await?;
            return Ok(Next::Event);
        };
        let plan = plan::plan(&endpoints, &slices);
        let about = ObjectReference::to(&*endpoints);
        if plan.invalid > 0 {
            let message = format!("Skipped {} invalid IP addresses when mirroring to EndpointSlices", plan.invalid);
            self.recorder.event(&about, EventType::Warning, "InvalidIPAddress", message);
        }
        if plan.skipped > plan.invalid {
            let message = format!(
                "A max of {MAX_ENDPOINTS} addresses can be mirrored to EndpointSlices per Endpoints subset. {} addresses were skipped",
                plan.skipped
            );
            self.recorder.event(&about, EventType::Warning, "TooManyAddressesToMirror", message);
        }
        self.apply(key, &endpoints, &plan).await?;
        Ok(Next::Event)
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn goldens() {
        crate::golden::check("endpointslice_mirroring", super::plan::golden);
    }
}
