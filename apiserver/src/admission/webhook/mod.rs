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

use skiff_apimachinery::status::{self, Status};

use self::configuration::{Configuration, Webhook};
use self::subject::Subject;
use super::expressions::Context;
use super::matching::{is_exempt, matched, namespace_of, namespace_selected, object_selected};
use super::{Asked, Operation, Request};
use crate::authorization::Authorizer;
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
    authorizer: Arc<dyn Authorizer>,
}

/// What the plugins need.
#[derive(Clone)]
pub struct WebhookConfig {
    /// Reads of configurations and namespaces.
    pub objects: Objects,
    /// The resources, with their versions.
    pub registry: Arc<Registry>,
    /// Calls webhooks.
    pub client: Arc<Client>,
    /// Asked by match conditions.
    pub authorizer: Arc<dyn Authorizer>,
}

impl Webhooks {
    fn new(resource: &'static str, config: WebhookConfig) -> Self {
        let WebhookConfig { objects, registry, client, authorizer } = config;
        let configurations = Extracts::new(GROUP, resource, Configuration::parse);
        Self { configurations, objects, registry, client, authorizer }
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

    /// Whether the match conditions of a webhook hold for a request, whose objects are in the version that it knows.
    fn conditions_hold(
        &self,
        webhook: &Webhook,
        request: &Request<'_>,
        asked: &dyn Asked,
        subject: &Subject,
    ) -> Result<bool, Status> {
        if webhook.conditions.is_empty() {
            return Ok(true);
        }
        let names = |resource: &Resource| {
            let info = resource.info.clone();
            (info.group.clone(), info.version.clone(), info.plural.clone())
        };
        let (matched, own) = (names(&subject.resource), names(asked.resource()));
        let options = asked.options(request.operation, request.delete_options);
        let held = webhook.conditions.matches(&Context {
            operation: request.operation,
            kind: subject.kind(),
            resource: (&matched.0, &matched.1, &matched.2),
            request_kind: asked.kind(),
            request_resource: (&own.0, &own.1, &own.2),
            subresource: request.subresource,
            name: request.name,
            namespace: namespace_of(request),
            user: request.user,
            dry_run: request.dry_run,
            options: &options,
            object: subject.object.as_ref(),
            old_object: subject.old_object.as_ref(),
            authorizer: self.authorizer.as_ref(),
        });
        match held {
            Ok(held) => Ok(held),
            Err(_) if webhook.fails_open => Ok(false),
            Err(error) => Err(status::forbidden(&own.0, &own.2, request.name, error)),
        }
    }
}
