//! Kinds that are asked rather than stored: who am I, may I, whose token is this, and tokens of ServiceAccounts.
//!
//! Follows `pkg/registry/{authentication,authorization}` and `pkg/registry/core/serviceaccount/storage/token.go`.

use std::sync::Arc;

use axum::body::Body;
use http::{Request, StatusCode};
use skiff_apimachinery::field::{Error, ErrorList, Path};
use skiff_apimachinery::status::{self, Status};
use skiff_apimachinery::value;
use skiff_apimachinery::value::{Object, Value};
use skiff_apimachinery::{meta, time};

use super::Call;
use super::params::WriteOptions;
use crate::admission::Operation;
use crate::authentication::UserInfo;
use crate::authorization::{Attributes, Authorizer, Decision};
use crate::body;
use crate::negotiation;
use crate::response::{self, ObjectType, Response};

/// Answers a review.
pub async fn review(call: &Call<'_>, request: Request<Body>) -> Result<Response, Status> {
    let asked = read(call, request).await?;
    let (user, authorizer) = (&call.cx.user, call.server.authorizer.as_ref());
    let answer = match call.resource.info.kind.as_str() {
        "SelfSubjectReview" => self_subject(asked, user),
        "TokenReview" => match &call.server.token_review {
            Some(reviewer) => reviewer.review(&asked).await?,
            None => {
                return Err(status::service_unavailable("token reviews are not set up on this server"));
            }
        },
        "SubjectAccessReview" => subject_access(asked, authorizer)?,
        "LocalSubjectAccessReview" => local_subject_access(call, asked, authorizer)?,
        "SelfSubjectAccessReview" => self_subject_access(asked, user, authorizer)?,
        "SelfSubjectRulesReview" => self_subject_rules(asked, user, authorizer)?,
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

async fn read(call: &Call<'_>, request: Request<Body>) -> Result<Value, Status> {
    call.output(false)?;
    let encoding = negotiation::body_encoding(&call.cx.content_type, true)?;
    let bytes = body::read(request.into_body()).await?;
    let options = WriteOptions::from_query(call.cx, "CreateOptions", false)?;
    body::decode(call.cx, call.expected(), encoding, &bytes, options.validation)
}

fn respond(call: &Call<'_>, answer: Value) -> Result<Response, Status> {
    let expected = call.expected();
    let api_version = expected.api_version();
    let ty = ObjectType { api_version: &api_version, kind: expected.kind, schema: expected.schema };
    response::value(call.cx, call.output(false)?, ty, StatusCode::CREATED, answer)
}

fn self_subject(mut review: Value, user: &UserInfo) -> Value {
    review.set_at(&["metadata", "creationTimestamp"], time::format(jiff::Timestamp::now()));
    review.set_at(&["status", "userInfo"], user.to_value());
    review
}

fn subject_access(review: Value, authorizer: &dyn Authorizer) -> Result<Value, Status> {
    let spec = review.get("spec").cloned().unwrap_or_default();
    let user = subject(&spec);
    let mut errors = ErrorList::default();
    if user.name.is_empty() && user.groups.is_empty() {
        let path = Path::new("spec").child("user");
        errors.push(Error::invalid(&path, "", "at least one of user or group must be specified"));
    }
    decided(review, Arc::new(user), errors, authorizer)
}

fn local_subject_access(call: &Call<'_>, review: Value, authorizer: &dyn Authorizer) -> Result<Value, Status> {
    let namespace = &call.cx.info.namespace;
    let given = meta::namespace(&review);
    if !given.is_empty() && given != namespace.as_str() {
        return Err(status::bad_request(format!("namespace on request does not match: {namespace}")));
    }
    let asked = review.str_at(&["spec", "resourceAttributes", "namespace"]).unwrap_or("");
    if asked != namespace.as_str() {
        return Err(status::bad_request(format!(
            "spec.resourceAttributes.namespace must match namespace: {namespace}"
        )));
    }
    subject_access(review, authorizer)
}

fn self_subject_access(review: Value, user: &Arc<UserInfo>, authorizer: &dyn Authorizer) -> Result<Value, Status> {
    decided(review, user.clone(), ErrorList::default(), authorizer)
}

fn subject(spec: &Value) -> UserInfo {
    let text = |field: &str| spec.str_at(&[field]).unwrap_or("").to_owned();
    let strings = |value: &Value| {
        value.as_array().unwrap_or(&[]).iter().filter_map(Value::as_str).map(str::to_owned).collect::<Vec<_>>()
    };
    let extra = spec.get("extra").and_then(Value::as_object);
    UserInfo {
        name: text("user"),
        uid: text("uid"),
        groups: spec.get("groups").map(strings).unwrap_or_default(),
        extra: extra.into_iter().flat_map(|e| e.iter()).map(|(key, v)| (key.to_lowercase(), strings(v))).collect(),
    }
}

fn decided(
    mut review: Value,
    user: Arc<UserInfo>,
    mut errors: ErrorList,
    authorizer: &dyn Authorizer,
) -> Result<Value, Status> {
    let (resource, other) =
        (review.at(&["spec", "resourceAttributes"]).cloned(), review.at(&["spec", "nonResourceAttributes"]).cloned());
    let attributes = match (&resource, &other) {
        (Some(resource), None) => resource_attributes(resource, user),
        (None, Some(other)) => Attributes {
            user,
            verb: other.str_at(&["verb"]).unwrap_or("").to_owned(),
            path: other.str_at(&["path"]).unwrap_or("").to_owned(),
            ..Attributes::default()
        },
        _ => {
            let (field, message) = if resource.is_some() {
                ("nonResourceAttributes", "cannot be specified in combination with resourceAttributes")
            } else {
                ("resourceAttributes", "exactly one of nonResourceAttributes or resourceAttributes must be specified")
            };
            let path = Path::new("spec").child(field);
            errors.insert(0, Error::invalid(&path, other.unwrap_or_default(), message));
            let kind = review.str_at(&["kind"]).unwrap_or("");
            return Err(status::invalid("authorization.k8s.io", kind, "", errors));
        }
    };
    if !errors.is_empty() {
        let kind = review.str_at(&["kind"]).unwrap_or("");
        return Err(status::invalid("authorization.k8s.io", kind, "", errors));
    }
    let mut answer = Object::new();
    let reason = match authorizer.authorize(&attributes) {
        Decision::Allow(reason) => {
            answer.insert("allowed", true);
            reason
        }
        Decision::Deny(reason) => {
            answer.insert("allowed", false);
            answer.insert("denied", true);
            reason
        }
        Decision::NoOpinion(reason) => {
            answer.insert("allowed", false);
            reason
        }
    };
    if !reason.is_empty() {
        answer.insert("reason", reason);
    }
    review.set_at(&["status"], answer);
    Ok(review)
}

fn resource_attributes(resource: &Value, user: Arc<UserInfo>) -> Attributes {
    let text = |field: &str| resource.str_at(&[field]).unwrap_or("").to_owned();
    let requirements = resource.array_at(&["fieldSelector", "requirements"]).iter();
    let field_selector = requirements
        .filter_map(|r| {
            let operator = if r.str_at(&["operator"])? == "In" { "=" } else { "!=" };
            let value = r.array_at(&["values"]).first().and_then(Value::as_str).unwrap_or("");
            Some((r.str_at(&["key"])?.to_owned(), operator.to_owned(), value.to_owned()))
        })
        .collect();
    let version = text("version");
    Attributes {
        user,
        verb: text("verb"),
        is_resource_request: true,
        api_group: text("group"),
        api_version: if version.is_empty() { "*".to_owned() } else { version },
        resource: text("resource"),
        subresource: text("subresource"),
        namespace: text("namespace"),
        name: text("name"),
        path: String::new(),
        field_selector,
    }
}

fn self_subject_rules(mut review: Value, user: &UserInfo, authorizer: &dyn Authorizer) -> Result<Value, Status> {
    let namespace = review.str_at(&["spec", "namespace"]).unwrap_or("").to_owned();
    if namespace.is_empty() {
        return Err(status::bad_request("no namespace on request"));
    }
    let rules = authorizer.rules_for(user, &namespace);
    let mut answer = value!({
        "resourceRules": (rules.resource_rules),
        "nonResourceRules": (rules.non_resource_rules),
        "incomplete": (rules.incomplete)
    });
    if !rules.evaluation_error.is_empty() {
        answer.set_at(&["evaluationError"], rules.evaluation_error);
    }
    review.set_at(&["status"], answer);
    Ok(review)
}
