//! AdmissionReview: what a webhook is asked, and what its answer means.
//!
//! Follows `k8s.io/apiserver/pkg/admission/plugin/webhook/request` and `.../webhook/errors`.

use base64::Engine;
use bytes::Bytes;
use skiff_apimachinery::status::Status;
use skiff_apimachinery::value::{Object, Value};
use skiff_apimachinery::{json, meta, value};

use super::configuration::Webhook;
use super::subject::Subject;
use crate::admission::matching::namespace_of;
use crate::admission::{Asked, Request};

/// Versions of AdmissionReview that this server speaks.
const VERSIONS: [&str; 2] = ["v1", "v1beta1"];

/// A question to a webhook.
pub struct Question {
    /// Of the request, for the answer to repeat.
    pub uid: String,
    /// Version of the review.
    pub version: &'static str,
    /// The review, as JSON.
    pub body: Bytes,
}

/// What a webhook answered.
#[derive(Debug, Default, PartialEq)]
pub struct Answer {
    /// Whether the request may go on.
    pub allowed: bool,
    /// A JSON patch; empty for none.
    pub patch: Vec<u8>,
    /// Form of the patch.
    pub patch_type: String,
    /// Why it may not.
    pub result: Value,
    /// Warnings for the client.
    pub warnings: Vec<String>,
    /// For the audit log.
    pub annotations: Vec<(String, String)>,
}

impl Question {
    /// Asks a webhook about a request; the error says why it cannot be asked.
    pub fn new(webhook: &Webhook, request: &Request<'_>, asked: &dyn Asked, subject: &Subject) -> Result<Self, String> {
        let known = webhook.review_versions.iter().find_map(|v| VERSIONS.iter().find(|known| *known == v));
        let Some(version) = known else {
            return Err("webhook does not accept known AdmissionReview versions (v1, v1beta1)".to_owned());
        };
        let uid = meta::new_uid();
        let review = value!({
            "kind": "AdmissionReview",
            "apiVersion": (format!("admission.k8s.io/{version}")),
            "request": (request_object(&uid, request, asked, subject))
        });
        let mut body = Vec::with_capacity(4096);
        json::write(&review, &mut body);
        Ok(Self { uid, version, body: body.into() })
    }

    /// Reads the answer to this question; the error is upstream's.
    pub fn read(&self, review: &Value, mutating: bool) -> Result<Answer, String> {
        let Some(response) = review.get("response").filter(|response| response.as_object().is_some()) else {
            return Err("webhook response was absent".to_owned());
        };
        let text = |field: &str| response.str_at(&[field]);
        if self.version == "v1" {
            let uid = text("uid").unwrap_or("");
            if uid != self.uid {
                return Err(format!("expected response.uid={:?}, got {uid:?}", self.uid));
            }
            let found = group_version_kind(review);
            if found != "admission.k8s.io/v1, Kind=AdmissionReview" {
                return Err(format!(
                    "expected webhook response of admission.k8s.io/v1, Kind=AdmissionReview, got {found}"
                ));
            }
        }
        let (patch, patch_type) = self.patch(response, mutating)?;
        let warnings = response.array_at(&["warnings"]).iter().filter_map(Value::as_str).map(str::to_owned);
        Ok(Answer {
            allowed: response.bool_at(&["allowed"]).unwrap_or(false),
            patch,
            patch_type,
            result: response.get("status").cloned().unwrap_or_default(),
            warnings: warnings.collect(),
            annotations: annotations(response),
        })
    }

    fn patch(&self, response: &Value, mutating: bool) -> Result<(Vec<u8>, String), String> {
        let encoded = response.str_at(&["patch"]).unwrap_or("");
        let patch = base64::engine::general_purpose::STANDARD
            .decode(encoded)
            .map_err(|error| format!("unable to decode the webhook response: {error}"))?;
        let patch_type = response.str_at(&["patchType"]);
        if self.version != "v1" {
            let patch = if mutating { patch } else { Vec::new() };
            return Ok((patch, "JSONPatch".to_owned()));
        }
        match (mutating, patch.is_empty(), patch_type) {
            (false, false, _) => Err("validating webhook may not return response.patch".to_owned()),
            (false, _, Some(_)) => Err("validating webhook may not return response.patchType".to_owned()),
            (true, false, None) => Err("webhook returned response.patch but not response.patchType".to_owned()),
            (true, true, Some(_)) => Err("webhook returned response.patchType but not response.patch".to_owned()),
            (true, _, Some("")) => Err("webhook returned invalid response.patchType of \"\"".to_owned()),
            _ => Ok((patch, patch_type.unwrap_or("").to_owned())),
        }
    }
}

fn annotations(response: &Value) -> Vec<(String, String)> {
    let pairs = response.at(&["auditAnnotations"]).and_then(Value::as_object);
    let pairs = pairs.into_iter().flat_map(|pairs| pairs.iter());
    pairs.filter_map(|(key, text)| Some((key.to_owned(), text.as_str()?.to_owned()))).collect()
}

fn request_object(uid: &str, request: &Request<'_>, asked: &dyn Asked, subject: &Subject) -> Value {
    let kind = |(group, version, kind): (&str, &str, &str)| value!({"group": group, "version": version, "kind": kind});
    let resource = |of: &crate::registry::Resource| {
        value!({
            "group": (of.info.group.as_str()),
            "version": (of.info.version.as_str()),
            "resource": (of.info.plural.as_str())
        })
    };
    let mut object = Object::new();
    object.insert("uid", uid);
    object.insert("kind", kind(subject.kind()));
    object.insert("resource", resource(&subject.resource));
    object.insert("requestKind", kind(asked.kind()));
    object.insert("requestResource", resource(asked.resource()));
    if !request.subresource.is_empty() {
        object.insert("subResource", request.subresource);
        object.insert("requestSubResource", request.subresource);
    }
    if !request.name.is_empty() {
        object.insert("name", request.name);
    }
    let namespace = namespace_of(request);
    if !namespace.is_empty() {
        object.insert("namespace", namespace);
    }
    object.insert("operation", request.operation.as_str());
    object.insert("userInfo", request.user.to_value());
    object.insert("object", subject.object.clone().unwrap_or_default());
    object.insert("oldObject", subject.old_object.clone().unwrap_or_default());
    object.insert("dryRun", request.dry_run);
    object.insert("options", asked.options(request.operation, request.delete_options));
    Value::Object(object)
}

/// `group/version, Kind=kind`, as Go prints it.
fn group_version_kind(object: &Value) -> String {
    let text = |field: &str| object.str_at(&[field]).unwrap_or("");
    let api_version = text("apiVersion");
    let slash = if api_version.contains('/') { "" } else { "/" };
    format!("{slash}{api_version}, Kind={}", text("kind"))
}

/// A webhook's refusal as the client sees it (`ToStatusErr`).
pub fn denied(webhook: &str, result: &Value) -> Status {
    let mut status = Status::from_value(result);
    status.code = status.code.max(400);
    let denied = format!("admission webhook {webhook:?} denied the request");
    let reason = status.details.foreign_reason.clone();
    status.message = match (status.message.as_str(), reason.as_str()) {
        ("", "") => format!("{denied} without explanation"),
        ("", reason) => format!("{denied}: {reason}"),
        (message, _) => format!("{denied}: {message}"),
    };
    status
}

#[cfg(test)]
mod tests {
    use super::*;

    fn question(version: &'static str) -> Question {
        Question { uid: "u".into(), version, body: Bytes::new() }
    }

    fn read(review: Value, mutating: bool) -> Result<Answer, String> {
        question("v1").read(&review, mutating)
    }

    fn review(response: Value) -> Value {
        value!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response})
    }

    #[test]
    fn answers_must_be_to_the_question() {
        let error = |review: Value, mutating| read(review, mutating).expect_err("refused");
        assert_eq!(error(value!({"kind": "x"}), true), "webhook response was absent");
        assert_eq!(error(review(value!({"uid": "v"})), true), "expected response.uid=\"u\", got \"v\"");
        assert_eq!(
            error(value!({"response": {"uid": "u"}}), true),
            "expected webhook response of admission.k8s.io/v1, Kind=AdmissionReview, got /, Kind="
        );
        assert_eq!(
            error(review(value!({"uid": "u", "patch": "W10="})), true),
            "webhook returned response.patch but not response.patchType"
        );
        assert_eq!(
            error(review(value!({"uid": "u", "patchType": "JSONPatch"})), true),
            "webhook returned response.patchType but not response.patch"
        );
        assert_eq!(
            error(review(value!({"uid": "u", "patch": "W10="})), false),
            "validating webhook may not return response.patch"
        );
        let answer = read(review(value!({"uid": "u", "allowed": true, "warnings": ["w"]})), false).expect("read");
        assert_eq!((answer.allowed, answer.warnings), (true, vec!["w".to_owned()]));
    }

    #[test]
    fn the_older_review_is_trusted_more() {
        let answer =
            question("v1beta1").read(&value!({"response": {"allowed": true, "patch": "W10="}}), true).expect("read");
        assert_eq!((answer.patch.as_slice(), answer.patch_type.as_str()), (&b"[]"[..], "JSONPatch"));
    }

    #[test]
    fn refusals_have_a_code_and_an_explanation() {
        let text = |result: Value| {
            let status = denied("w.example", &result);
            (status.code, status.message)
        };
        let start = "admission webhook \"w.example\" denied the request";
        assert_eq!(text(Value::Null), (400, format!("{start} without explanation")));
        assert_eq!(text(value!({"code": 200, "reason": "no"})), (400, format!("{start}: no")));
        assert_eq!(text(value!({"code": 403, "message": "never"})), (403, format!("{start}: never")));
        let shown = denied("w.example", &value!({"reason": "OurOwn", "details": {"kind": "pods"}})).to_value();
        assert_eq!(shown.str_at(&["reason"]), Some("OurOwn"));
        assert_eq!(shown.str_at(&["details", "kind"]), Some("pods"));
    }
}
