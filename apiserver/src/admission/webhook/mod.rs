//! MutatingAdmissionWebhook and ValidatingAdmissionWebhook: others are asked about requests.
//!
//! [`configuration`] is what the configurations say, [`subject`] the objects in the version that a webhook knows,
//! [`review`] question and answer, [`call`] the exchange; [`mutating`] and [`validating`] say in which order and what
//! follows. Which requests a webhook is about is in [`matching`](super::matching), shared with policies. Follows
//! `k8s.io/apiserver/pkg/admission/plugin/webhook`.

mod call;
pub mod configuration;
mod mutating;
pub mod review;
pub mod subject;
mod validating;

use std::sync::Arc;

use skiff_apimachinery::status::Status;

use self::configuration::{Configuration, Webhook};
use super::matching::{is_exempt, matched, namespace_selected, object_selected};
use super::{Operation, Request};
use crate::objects::{Extracts, Objects};
use crate::registry::{Registry, Resource};
use crate::webhook::Client;

pub use self::mutating::MutatingWebhooks;
pub use self::validating::ValidatingWebhooks;

const GROUP: &str = "admissionregistration.k8s.io";

/// What both plugins have: the configurations, and how to ask.
struct Webhooks {
    configurations: Extracts<Configuration>,
    objects: Objects,
    registry: Arc<Registry>,
    client: Arc<Client>,
}

impl Webhooks {
    fn new(resource: &'static str, objects: Objects, registry: Arc<Registry>, client: Arc<Client>) -> Self {
        Self { configurations: Extracts::new(GROUP, resource, Configuration::parse), objects, registry, client }
    }

    fn handle(&self, _operation: Operation, group: &str, resource: &str) -> bool {
        !is_exempt(group, resource) && !self.configurations.get(self.objects.reader().as_ref()).is_empty()
    }

    /// All configurations, by name.
    fn all(&self) -> Arc<Vec<Arc<Configuration>>> {
        self.configurations.get(self.objects.reader().as_ref())
    }

    /// The version in which a webhook is to be asked about a request; `None` if it is not about it.
    async fn invocation(&self, webhook: &Webhook, request: &Request<'_>) -> Result<Option<Arc<Resource>>, Status> {
        let Some(resource) = matched(request, &webhook.rules, webhook.equivalent, &self.registry) else {
            return Ok(None);
        };
        if !object_selected(&webhook.object_selector, request.object.as_deref(), request.old_object)
            || !namespace_selected(&webhook.namespace_selector, request, &self.objects).await?
        {
            return Ok(None);
        }
        Ok(Some(resource))
    }
}
