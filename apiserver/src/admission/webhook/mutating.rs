//! Mutating webhooks: asked one after the other, by the names of their configurations; each sees what the others made.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::value::RawValue;
use skiff_apimachinery::patch::json as json_patch;
use skiff_apimachinery::status::Status;
use skiff_apimachinery::value::Value;

use super::call::{Failure, ask, internal};
use super::configuration::Webhook;
use super::review::Answer;
use super::subject::Subject;
use super::{WebhookConfig, Webhooks};
use crate::admission::{Asked, Operation, Plugin, Request};
use crate::audit::record::go_json;

const NAME: &str = "MutatingAdmissionWebhook";

/// Lets webhooks change objects.
pub struct MutatingWebhooks(Webhooks);

impl MutatingWebhooks {
    /// Asks the webhooks of the MutatingWebhookConfigurations that there are.
    pub fn new(config: WebhookConfig) -> Self {
        Self(Webhooks::new("mutatingwebhookconfigurations", config))
    }

    async fn dispatch(&self, request: &mut Request<'_>, asked: &dyn Asked) -> Result<(), Status> {
        let again = request.reinvocation.is_again();
        if again && request.reinvocation.round(NAME).left.as_ref() != request.object.as_deref() {
            // Others have changed it since.
            request.reinvocation.round(NAME).changed();
        }
        let mut subject: Option<Subject> = None;
        let mut dirty = false;
        let mut index = 0;
        for configuration in self.0.all().iter() {
            for webhook in &configuration.webhooks {
                let place = format!("round_{}_index_{index}", u8::from(again));
                index += 1;
                let Some(resource) = self.0.invocation(webhook, request).await? else { continue };
                if again && !request.reinvocation.round(NAME).is_due(&webhook.uid) {
                    continue;
                }
                let subject = subject.get_or_insert_with(|| Subject::of(request, asked));
                subject.convert(&resource).await?;
                if !self.0.conditions_hold(webhook, request, asked, subject)? {
                    continue;
                }
                let changed = self.ask(webhook, &place, request, asked, subject).await?;
                if changed {
                    request.reinvocation.round(NAME).changed();
                    request.reinvocation.want();
                }
                if webhook.reinvoked {
                    request.reinvocation.round(NAME).add(&webhook.uid);
                }
                if changed {
                    dirty = true;
                    // What the next webhook's selector sees.
                    subject.store(request, asked).await?;
                }
            }
        }
        if dirty || !again {
            request.reinvocation.round(NAME).left = request.object.as_deref().cloned();
        }
        Ok(())
    }

    /// Asks one webhook; returns whether it changed the subject.
    async fn ask(
        &self,
        webhook: &Webhook,
        place: &str,
        request: &mut Request<'_>,
        asked: &dyn Asked,
        subject: &mut Subject,
    ) -> Result<bool, Status> {
        let (failure, warnings) = match ask(&self.0.client, webhook, request, asked, subject, true).await {
            Ok((answer, warnings)) => match patch(webhook, &answer, asked, subject) {
                Ok(changed) => {
                    request.warnings.extend(warnings);
                    annotate(webhook, place, asked, changed);
                    annotate_patch(webhook, place, asked, &answer);
                    return Ok(changed);
                }
                Err(failure) => (failure, warnings),
            },
            Err(failed) => failed,
        };
        request.warnings.extend(warnings);
        annotate(webhook, place, asked, false);
        if failure.is_passed_over(webhook) {
            asked.annotate(&format!("failed-open.mutating.webhook.admission.k8s.io/{place}"), &webhook.name);
        }
        match failure.answer(webhook) {
            Some(status) => Err(status),
            None => Ok(false),
        }
    }
}

/// Applies the patch of an answer; returns whether the subject changed.
fn patch(webhook: &Webhook, answer: &Answer, asked: &dyn Asked, subject: &mut Subject) -> Result<bool, Failure> {
    if answer.patch.is_empty() {
        return Ok(false);
    }
    let decoded = json_patch::decode(&answer.patch)
        .map_err(|error| Failure::Call(format!("received undecodable patch in webhook response: {}", plain(&error))))?;
    if decoded.patch.is_empty() {
        return Ok(false);
    }
    let Some(object) = &subject.object else {
        let why = format!(
            "admission webhook {:?} attempted to modify the object, which is not supported for this operation",
            webhook.name
        );
        return Err(Failure::Refused(internal(why)));
    };
    if answer.patch_type != "JSONPatch" {
        return Err(Failure::Call(format!("unsupported patch type {:?}", answer.patch_type)));
    }
    let mut patched: Value = object.clone();
    decoded.patch.apply_or_explain(&mut patched).map_err(|why| Failure::Refused(internal(why)))?;
    subject.replace(&patched, asked).map_err(Failure::Refused)
}

/// Has the audit log say what a webhook did, and at which place among all it was asked.
fn annotate(webhook: &Webhook, place: &str, asked: &dyn Asked, changed: bool) {
    let (configuration, name) = (&webhook.configuration, &webhook.name);
    let text = format!(r#"{{"configuration":"{configuration}","webhook":"{name}","mutated":{changed}}}"#);
    asked.annotate(&format!("mutation.webhook.admission.k8s.io/{place}"), &text);
}

/// The same of a patch, where the log keeps what was sent: the patch says as much.
fn annotate_patch(webhook: &Webhook, place: &str, asked: &dyn Asked, answer: &Answer) {
    /// In upstream's order.
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Patched<'a> {
        configuration: &'a str,
        webhook: &'a str,
        patch: Vec<BTreeMap<String, Box<RawValue>>>,
        patch_type: &'a str,
    }
    let Some(record) = asked.record().filter(|record| record.keeps_requests()) else { return };
    let patch = serde_json::from_slice::<Vec<_>>(&answer.patch).unwrap_or_default();
    if patch.is_empty() {
        return;
    }
    let (configuration, name) = (webhook.configuration.as_str(), webhook.name.as_str());
    let text = go_json(&Patched { configuration, webhook: name, patch, patch_type: &answer.patch_type });
    record.annotate(&format!("patch.webhook.admission.k8s.io/{place}"), &text);
}

/// The reason alone, without what a client's own patch would be told.
fn plain(error: &Status) -> &str {
    error.message.strip_prefix("error decoding patch: ").unwrap_or(&error.message)
}

#[async_trait::async_trait]
impl Plugin for MutatingWebhooks {
    fn name(&self) -> &'static str {
        NAME
    }

    fn handles(&self, operation: Operation, group: &str, resource: &str, _subresource: &str) -> bool {
        self.0.handle(operation, group, resource)
    }

    async fn admit(&self, request: &mut Request<'_>) -> Result<(), Status> {
        match request.asked {
            Some(asked) => self.dispatch(request, asked).await,
            None => Ok(()),
        }
    }
}
