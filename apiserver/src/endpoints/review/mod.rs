//! Kinds that are asked rather than stored: who am I, may I, whose token is this, and tokens of ServiceAccounts.
//!
//! [`access`] answers the questions about rights, [`selectors`] reads the selectors in them. Follows
//! `pkg/registry/{authentication,authorization}` and `pkg/registry/core/serviceaccount/storage/token.go`.

mod access;
mod selectors;

use axum::body::Body;
use http::{Request, StatusCode};
use skiff_apimachinery::managedfields;
use skiff_apimachinery::status::{self, Status};
use skiff_apimachinery::time;
use skiff_apimachinery::value;
use skiff_apimachinery::value::Value;

use super::Call;
use super::create::{Manager, match_namespace};
use super::params::WriteOptions;
use crate::admission::Operation;
use crate::authentication::UserInfo;
use crate::authorization::Authorizer;
use crate::body;
use crate::negotiation;
use crate::response::{self, ObjectType, Response};

/// Answers a review.
pub async fn review(call: &Call<'_>, request: Request<Body>) -> Result<Response, Status> {
    let mut asked = read(call, request).await?;
    call.admit(Operation::Create, "", Some(&mut asked)).await?;
    let (user, authorizer) = (&call.cx.user, call.server.authorizer.as_ref());
    let answer = match call.resource.info.kind.as_str() {
        "SelfSubjectReview" => self_subject(call, user),
        "TokenReview" => match &call.server.token_review {
            Some(reviewer) => reviewer.review(&asked).await?,
            None => {
                return Err(status::service_unavailable("token reviews are not set up on this server"));
            }
        },
        "SubjectAccessReview" => access::of_subject(asked, authorizer)?,
        "LocalSubjectAccessReview" => access::of_subject_in(&call.cx.info.namespace, asked, authorizer)?,
        "SelfSubjectAccessReview" => access::of_self(asked, user, authorizer)?,
        "SelfSubjectRulesReview" => self_subject_rules(call, &asked, user, authorizer)?,
        kind => return Err(status::internal_error(format!("{kind} has no answer here"))),
    };
    respond(call, answer)
}

/// Issues a token for a ServiceAccount.
pub async fn token(call: &Call<'_>, request: Request<Body>) -> Result<Response, Status> {
    let mut asked = read(call, request).await?;
    call.admit(Operation::Create, &call.cx.info.name, Some(&mut asked)).await?;
    let Some(issuer) = &call.server.token_issuer else {
        return Err(status::service_unavailable("tokens cannot be issued by this server"));
    };
    let mut warnings = Vec::new();
    let answer = issuer.issue(&call.cx.info.namespace, &call.cx.info.name, &asked, &mut warnings).await?;
    call.cx.warnings.extend(warnings);
    respond(call, answer)
}

/// The question, with who asked it in managedFields: what is not stored has them all the same.
async fn read(call: &Call<'_>, request: Request<Body>) -> Result<Value, Status> {
    call.output(false)?;
    let encoding = negotiation::body_encoding(&call.cx.content_type, true)?;
    let bytes = body::read(request.into_body()).await?;
    let options = WriteOptions::from_query(call.cx, "CreateOptions", false)?;
    let mut asked = body::decode(call.cx, call.expected(), encoding, &bytes, options.validation)?;
    asked.object_at_mut(&["metadata"]);
    match_namespace(call, &mut asked)?;
    managedfields::on_create(&mut asked, call.schema(), &Manager::of(call, &options).info());
    Ok(asked)
}

fn respond(call: &Call<'_>, answer: Value) -> Result<Response, Status> {
    let expected = call.expected();
    let api_version = expected.api_version();
    let ty = ObjectType { api_version: &api_version, kind: expected.kind, schema: expected.schema };
    response::value(call.cx, call.output(false)?, ty, StatusCode::CREATED, answer)
}

/// An answer that takes nothing over from the question.
fn blank(call: &Call<'_>) -> Value {
    let expected = call.expected();
    value!({"apiVersion": (expected.api_version().to_string()), "kind": (expected.kind), "metadata": {}})
}

fn self_subject(call: &Call<'_>, user: &UserInfo) -> Value {
    let mut answer = blank(call);
    answer.set_at(&["metadata", "creationTimestamp"], time::format(jiff::Timestamp::now()));
    answer.set_at(&["status", "userInfo"], user.to_value());
    answer
}

fn self_subject_rules(
    call: &Call<'_>,
    asked: &Value,
    user: &UserInfo,
    authorizer: &dyn Authorizer,
) -> Result<Value, Status> {
    let namespace = asked.str_at(&["spec", "namespace"]).unwrap_or("");
    if namespace.is_empty() {
        return Err(status::bad_request("no namespace on request"));
    }
    let rules = authorizer.rules_for(user, namespace);
    let mut answer = blank(call);
    answer.object_at_mut(&["spec"]);
    answer.set_at(&["status", "resourceRules"], rules.resource_rules);
    answer.set_at(&["status", "nonResourceRules"], rules.non_resource_rules);
    answer.set_at(&["status", "incomplete"], rules.incomplete);
    if !rules.evaluation_error.is_empty() {
        answer.set_at(&["status", "evaluationError"], rules.evaluation_error);
    }
    Ok(answer)
}
