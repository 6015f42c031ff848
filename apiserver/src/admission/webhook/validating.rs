//! Validating webhooks: asked all at the same time about the object as it will be stored.

use std::sync::Arc;

use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use skiff_apimachinery::status::Status;

use super::call::{Failure, ask};
use super::configuration::Webhook;
use super::subject::Subject;
use super::{WebhookConfig, Webhooks};
use crate::admission::{Asked, Operation, Plugin, Request};

/// Lets webhooks refuse requests.
pub struct ValidatingWebhooks(Webhooks);

/// The webhook, its place among those that are asked, why it lets the request not pass, and its warnings.
type Outcome<'a> = (&'a Webhook, usize, Option<Failure>, Vec<String>);

impl ValidatingWebhooks {
    /// Asks the webhooks of the ValidatingWebhookConfigurations that there are.
    pub fn new(config: WebhookConfig) -> Self {
        Self(Webhooks::new("validatingwebhookconfigurations", config))
    }

    async fn dispatch(&self, request: &mut Request<'_>, asked: &dyn Asked) -> Result<(), Status> {
        let configurations = self.0.all();
        let mut subjects: Vec<Arc<Subject>> = Vec::new();
        let mut invoked: Vec<(&Webhook, Arc<Subject>)> = Vec::new();
        for webhook in configurations.iter().flat_map(|configuration| &configuration.webhooks) {
            let Some(resource) = self.0.invocation(webhook, request).await? else { continue };
            let subject = match subjects.iter().find(|subject| Arc::ptr_eq(&subject.resource, &resource)) {
                Some(subject) => subject.clone(),
                None => {
                    let mut subject = Subject::of(request, asked);
                    subject.convert(&resource).await?;
                    let subject = Arc::new(subject);
                    subjects.push(subject.clone());
                    subject
                }
            };
            if self.0.conditions_hold(webhook, request, asked, &subject)? {
                invoked.push((webhook, subject));
            }
        }
        let (refusal, warnings) = self.ask_all(&invoked, request, asked).await;
        request.warnings.extend(warnings);
        match refusal {
            Some(status) => Err(status),
            None => Ok(()),
        }
    }

    /// Asks all; the first refusal counts, the warnings of all are passed on.
    async fn ask_all(
        &self,
        invoked: &[(&Webhook, Arc<Subject>)],
        request: &Request<'_>,
        asked: &dyn Asked,
    ) -> (Option<Status>, Vec<String>) {
        let mut running: FuturesUnordered<BoxFuture<'_, Outcome<'_>>> = FuturesUnordered::new();
        for (index, (webhook, subject)) in invoked.iter().enumerate() {
            running.push(Box::pin(async move {
                match ask(&self.0.client, webhook, request, asked, subject, false).await {
                    Ok((_, warnings)) => (*webhook, index, None, warnings),
                    Err((failure, warnings)) => (*webhook, index, Some(failure), warnings),
                }
            }));
        }
        let (mut refusal, mut all_warnings) = (None, Vec::new());
        while let Some((webhook, index, failure, warnings)) = running.next().await {
            all_warnings.extend(warnings);
            if failure.as_ref().is_some_and(|failure| failure.is_passed_over(webhook)) {
                let name = format!("failed-open.validating.webhook.admission.k8s.io/round_0_index_{index}");
                asked.annotate(&name, &webhook.name);
            }
            let answered = failure.and_then(|failure| failure.answer(webhook));
            refusal = refusal.or(answered);
        }
        (refusal, all_warnings)
    }
}

#[async_trait::async_trait]
impl Plugin for ValidatingWebhooks {
    fn name(&self) -> &'static str {
        "ValidatingAdmissionWebhook"
    }

    fn handles(&self, operation: Operation, group: &str, resource: &str, _subresource: &str) -> bool {
        self.0.handle(operation, group, resource)
    }

    async fn validate(&self, request: &mut Request<'_>) -> Result<(), Status> {
        match request.asked {
            Some(asked) => self.dispatch(request, asked).await,
            None => Ok(()),
        }
    }
}
