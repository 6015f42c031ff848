//! CertificateSigningRequest.
//!
//! Follows `pkg/registry/certificates` and `pkg/apis/certificates/validation`. Who asks is what approvers and signers go
//! by, so it is written here and never taken from the client.

use skiff_apimachinery::field::ErrorList;
use skiff_apimachinery::time;
use skiff_apimachinery::value::{Object, Value};

use crate::authentication::UserInfo;
use crate::cacher::FieldSpec;
use crate::registry::at::At;
use crate::registry::strategy::{Strategy, WriteScope};

/// Shortest life of a certificate that can be asked for.
const MIN_EXPIRATION_SECONDS: i64 = 600;

/// CertificateSigningRequest.
pub struct SigningRequestStrategy;

impl Strategy for SigningRequestStrategy {
    fn prepare_for_create(&self, scope: WriteScope<'_>, object: &mut Value) {
        let spec = object.object_at_mut(&["spec"]);
        for field in ["username", "uid", "groups", "extra"] {
            spec.remove(field);
        }
        asked_by(scope.identity, spec);
        object.set_at(&["status"], Object::new());
    }

    fn prepare_for_update(&self, scope: WriteScope<'_>, new: &mut Value, old: &Value) {
        // What is asked is fixed; an approval changes conditions only.
        if let Some(spec) = old.get("spec") {
            new.set_at(&["spec"], spec.clone());
        }
        if scope.subresource == "approval" {
            match old.at(&["status", "certificate"]) {
                Some(certificate) => new.set_at(&["status", "certificate"], certificate.clone()),
                None => drop(new.remove_at(&["status", "certificate"])),
            }
            stamp_conditions(new, old);
        }
    }

    fn prepare_for_status_update(&self, new: &mut Value, old: &Value) {
        stamp_conditions(new, old);
    }

    fn validate(&self, object: &Value) -> ErrorList {
        let mut errors = ErrorList::default();
        let root = At::root(object);
        let spec = root.child("spec");
        let request = spec.child("request");
        if let Err(reason) = certificate_request(request.text()) {
            request.invalid(&mut errors, reason);
        }
        usages(&spec.child("usages"), &mut errors);
        let signer = spec.child("signerName");
        if signer.text() == "kubernetes.io/legacy-unknown" {
            signer.invalid(&mut errors, "the legacy signerName is not allowed via this API version");
        } else if signer.require(&mut errors) && !signer.text().contains('/') {
            signer.invalid(
                &mut errors,
                "must be a fully qualified domain and path of the form \"example.com/signer-name\"",
            );
        }
        let seconds = spec.child("expirationSeconds");
        if seconds.int().is_some_and(|s| s < MIN_EXPIRATION_SECONDS) {
            seconds.invalid(&mut errors, "may not specify a duration less than 600 seconds (10 minutes)");
        }
        errors
    }

    fn validate_update(&self, _scope: WriteScope<'_>, new: &Value, old: &Value) -> ErrorList {
        conditions(new, old)
    }

    fn validate_status_update(&self, new: &Value, old: &Value) -> ErrorList {
        let mut errors = conditions(new, old);
        signer_may(new, old, &mut errors);
        errors
    }

    fn writes_status(&self, subresource: &str) -> bool {
        subresource == "approval"
    }

    fn selectable_fields(&self) -> Vec<FieldSpec> {
        vec![FieldSpec::new("spec.signerName")]
    }
}

/// Whether a base64 text holds a certificate request in PEM.
fn certificate_request(text: &str) -> Result<(), String> {
    use base64::Engine;
    use x509_parser::prelude::{FromDer, Pem, X509CertificationRequest};
    let bytes = base64::engine::general_purpose::STANDARD.decode(text).map_err(|error| error.to_string())?;
    let pem =
        Pem::iter_from_buffer(&bytes).next().and_then(Result::ok).filter(|pem| pem.label == "CERTIFICATE REQUEST");
    let pem = pem.ok_or("PEM block type must be CERTIFICATE REQUEST")?;
    X509CertificationRequest::from_der(&pem.contents).map(|_| ()).map_err(|error| format!("asn1: {error}"))
}

/// What a certificate may be used for, sorted (`KeyUsage` upstream).
const USAGES: &[&str] = &[
    "any",
    "cert sign",
    "client auth",
    "code signing",
    "content commitment",
    "crl sign",
    "data encipherment",
    "decipher only",
    "digital signature",
    "email protection",
    "encipher only",
    "ipsec end system",
    "ipsec tunnel",
    "ipsec user",
    "key agreement",
    "key encipherment",
    "microsoft sgc",
    "netscape sgc",
    "ocsp signing",
    "s/mime",
    "server auth",
    "signing",
    "timestamping",
];

fn usages(list: &At<'_>, errors: &mut ErrorList) {
    if list.is_empty() {
        return list.required(errors, "");
    }
    for usage in list.items() {
        usage.one_of(errors, USAGES);
    }
    let mut seen = std::collections::HashSet::new();
    for usage in list.items() {
        if !seen.insert(usage.text()) {
            usage.duplicate(errors);
        }
    }
}

/// Writes down who asks.
fn asked_by(user: &UserInfo, spec: &mut Object) {
    spec.insert("username", user.name.as_str());
    if !user.uid.is_empty() {
        spec.insert("uid", user.uid.as_str());
    }
    let list = |texts: &[String]| texts.iter().map(|text| Value::from(text.as_str())).collect::<Vec<_>>();
    if !user.groups.is_empty() {
        spec.insert("groups", list(&user.groups));
    }
    if !user.extra.is_empty() {
        let mut extra = Object::new();
        for (key, values) in &user.extra {
            extra.insert(key.as_str(), list(values));
        }
        spec.insert("extra", extra);
    }
}

/// Fills in when a condition was written, and when it became what it is.
fn stamp_conditions(new: &mut Value, old: &Value) {
    let now = time::format(jiff::Timestamp::now());
    let before = old.array_at(&["status", "conditions"]);
    let list = new.object_at_mut(&["status"]).get_mut("conditions").and_then(Value::as_array_mut);
    for condition in list.into_iter().flatten() {
        let same = |old: &&Value| ["type", "status"].iter().all(|key| old.get(key) == condition.get(key));
        let since = before.iter().find(same).and_then(|old| old.str_at(&["lastTransitionTime"]));
        let since = since.unwrap_or(&now).to_owned();
        for (field, time) in [("lastUpdateTime", now.as_str()), ("lastTransitionTime", &since)] {
            if condition.str_at(&[field]).is_none() {
                condition.set_at(&[field], time);
            }
        }
    }
}

/// A signer writes the certificate, once, and decides nothing.
fn signer_may(new: &Value, old: &Value, errors: &mut ErrorList) {
    let root = At::root(new);
    let status = root.child("status");
    let list = status.child("conditions");
    for kind in ["Approved", "Denied"] {
        let of = |object: &Value| {
            let all = object.array_at(&["status", "conditions"]).iter();
            all.filter(|condition| condition.str_at(&["type"]) == Some(kind)).cloned().collect::<Vec<_>>()
        };
        let (now, was) = (of(new), of(old));
        if now.len() > was.len() {
            list.forbidden(errors, format!("updates may not add a condition of type {kind:?}"));
        } else if now.len() == was.len() && now != was {
            list.forbidden(errors, format!("updates may not modify a condition of type {kind:?}"));
        }
    }
    let was = old.at(&["status", "certificate"]);
    let certificate = status.child("certificate");
    if was.is_some() && was != certificate.value() {
        certificate.forbidden(errors, "updates may not modify existing certificate content");
    }
}

/// Approved and Denied exclude each other, and stay once they are set.
fn conditions(new: &Value, old: &Value) -> ErrorList {
    let mut errors = ErrorList::default();
    let root = At::root(new);
    let status = root.child("status");
    let list = status.child("conditions");
    let has = |object: &Value, kind: &str| {
        object.array_at(&["status", "conditions"]).iter().any(|c| c.str_at(&["type"]) == Some(kind))
    };
    if has(new, "Approved") && has(new, "Denied") {
        list.invalid(&mut errors, "Approved and Denied conditions are mutually exclusive");
    }
    for kind in ["Approved", "Denied", "Failed"] {
        if has(old, kind) && !has(new, kind) {
            list.forbidden(&mut errors, format!("updates may not remove a condition of type {kind:?}"));
        }
    }
    for condition in list.items() {
        condition.child("type").require(&mut errors);
        let state = condition.child("status");
        if matches!(condition.child("type").text(), "Approved" | "Denied" | "Failed") && state.text() != "True" {
            state.not_supported(&mut errors, &["True"]);
        }
    }
    errors
}
