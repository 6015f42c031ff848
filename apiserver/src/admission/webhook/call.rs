//! Asking one webhook.

use std::time::Instant;

use skiff_apimachinery::status::{self, Status, StatusCause};

use super::configuration::Webhook;
use super::review::{Answer, Question, denied};
use super::subject::Subject;
use crate::admission::{Asked, Request};
use crate::metrics::shared::{self, Phase};
use crate::webhook::Client;

/// The answer or why there is none, and the webhook's warnings.
type Outcome = Result<(Answer, Vec<String>), (Failure, Vec<String>)>;

/// Why a webhook did not let a request pass.
pub(super) enum Failure {
    /// The call failed; what then happens is the webhook's `failurePolicy`.
    Call(String),
    /// The webhook, or what it answered, ends the request.
    Refused(Status),
}

impl Failure {
    /// Whether the request goes on although the webhook could not be asked.
    pub(super) fn is_passed_over(&self, webhook: &Webhook) -> bool {
        webhook.fails_open && matches!(self, Failure::Call(_))
    }

    /// What the client is answered; `None` if the request goes on all the same.
    pub(super) fn answer(self, webhook: &Webhook) -> Option<Status> {
        match self {
            Failure::Refused(status) => Some(status),
            Failure::Call(why) if webhook.fails_open => {
                tracing::warn!(webhook = webhook.name, why, "a webhook could not be asked; failing open");
                None
            }
            Failure::Call(why) => Some(internal(format!("failed calling webhook {:?}: {why}", webhook.name))),
        }
    }
}

/// 500 with its reason as a cause, as upstream.
pub(super) fn internal(why: String) -> Status {
    let mut status = status::internal_error(&why);
    status.details.causes = vec![StatusCause { message: why, ..StatusCause::default() }];
    status
}

/// Asks a webhook about a request, and counts how long that takes. Its warnings are passed on.
pub(super) async fn ask(
    client: &Client,
    webhook: &Webhook,
    request: &Request<'_>,
    asked: &dyn Asked,
    subject: &Subject,
    mutating: bool,
) -> Outcome {
    let started = Instant::now();
    let outcome = ask_once(client, webhook, request, asked, subject, mutating).await;
    let phase = if mutating { Phase::Admit } else { Phase::Validate };
    shared::webhook(&webhook.name, request.operation, phase, outcome.is_err(), started.elapsed());
    outcome
}

async fn ask_once(
    client: &Client,
    webhook: &Webhook,
    request: &Request<'_>,
    asked: &dyn Asked,
    subject: &Subject,
    mutating: bool,
) -> Outcome {
    let failed = |failure: Failure| (failure, Vec::new());
    if request.dry_run {
        match webhook.dry_run {
            None => return Err(failed(Failure::Call("Webhook SideEffects is nil".to_owned()))),
            Some(false) => {
                let message = format!("admission webhook {:?} does not support dry run", webhook.name);
                return Err(failed(Failure::Refused(status::bad_request(message))));
            }
            Some(true) => {}
        }
    }
    let question = Question::new(webhook, request, asked, subject)
        .map_err(|why| failed(Failure::Call(format!("could not create admission objects: {why}"))))?;
    let Some(config) = &webhook.client else {
        let why = "could not get REST client: webhook configuration must have either service or URL";
        return Err(failed(Failure::Call(why.to_owned())));
    };
    let review = client
        .ask(config, question.body.clone(), webhook.timeout, "AdmissionReview")
        .await
        .map_err(|error| failed(Failure::Call(format!("failed to call webhook: {error}"))))?;
    let answer = question
        .read(&review, mutating)
        .map_err(|why| failed(Failure::Call(format!("received invalid webhook response: {why}"))))?;
    for (key, text) in &answer.annotations {
        asked.annotate(&format!("{}/{key}", webhook.name), text);
    }
    let warnings = answer.warnings.clone();
    if answer.allowed {
        Ok((answer, warnings))
    } else {
        Err((Failure::Refused(denied(&webhook.name, &answer.result)), warnings))
    }
}
