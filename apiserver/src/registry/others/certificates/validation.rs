//! What is wrong with a CertificateSigningRequest, and with a change of one.
//!
//! Follows `pkg/apis/certificates/validation`. What an object has had wrong since before is tolerated.

use std::collections::HashSet;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use skiff_apimachinery::field::{Error, ErrorList, Path};
use skiff_apimachinery::names;
use skiff_apimachinery::value::Value;
use x509_parser::prelude::{FromDer, Pem, X509Certificate, X509CertificationRequest};

use crate::registry::at::At;

/// Shortest life of a certificate that can be asked for.
const MIN_EXPIRATION_SECONDS: i64 = 600;
/// Longest domain of a signer's name.
const MAX_SIGNER_DOMAIN: usize = 253;
/// Longest name of a signer: domain, namespace and name of a resource, and what stands between them.
const MAX_SIGNER: usize = 571;
const LEGACY_SIGNER: &str = "kubernetes.io/legacy-unknown";
/// Conditions that are true or absent.
const FINAL: [&str; 3] = ["Approved", "Denied", "Failed"];
const BAD_DATA: &str = "<certificate data>";

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

/// What an endpoint may change.
#[derive(Clone, Copy)]
pub(super) struct Allowed {
    /// Approved and Denied.
    pub(super) conditions: bool,
    /// `status.certificate`.
    pub(super) certificate: bool,
}

/// Validates a request as a whole; `old` is null for a create.
pub(super) fn of_request(object: &Value, old: &Value) -> ErrorList {
    let mut errors = ErrorList::default();
    let root = At::root(object);
    let spec = root.child("spec");
    let request = spec.child("request");
    if let Err(reason) = certificate_request(request.text()) {
        request.or_null().invalid(&mut errors, reason);
    }
    usages(&spec.child("usages"), old, &mut errors);
    let signer = spec.child("signerName");
    if signer.text() == LEGACY_SIGNER && old.str_at(&["spec", "signerName"]) != Some(LEGACY_SIGNER) {
        signer.invalid(&mut errors, "the legacy signerName is not allowed via this API version");
    } else {
        signer_name(&signer, &mut errors);
    }
    let seconds = spec.child("expirationSeconds");
    if seconds.int().is_some_and(|s| s < MIN_EXPIRATION_SECONDS) {
        seconds.invalid(&mut errors, "may not specify a duration less than 600 seconds (10 minutes)");
    }
    let status = root.child("status");
    conditions(&status.child("conditions"), old, &mut errors);
    let certificate = |object: &Value| object.str_at(&["status", "certificate"]).unwrap_or("").to_owned();
    let (now, was) = (certificate(object), certificate(old));
    if now != was
        && certificates(&was).is_ok()
        && let Err(reason) = certificates(&now)
    {
        errors.push(Error::invalid(&status.child("certificate").path(), BAD_DATA, reason));
    }
    errors
}

/// Validates a change.
pub(super) fn of_update(new: &Value, old: &Value, allowed: Allowed) -> ErrorList {
    let mut errors = of_request(new, old);
    let status = Path::new("status");
    let list = status.child("conditions");
    let of = |object: &Value, kind: &str| {
        let all = object.array_at(&["status", "conditions"]).iter();
        all.filter(|condition| condition.str_at(&["type"]) == Some(kind)).cloned().collect::<Vec<_>>()
    };
    for kind in FINAL {
        if of(new, kind).len() < of(old, kind).len() {
            errors.push(Error::forbidden(&list, format!("updates may not remove a condition of type {kind:?}")));
        }
    }
    for kind in ["Approved", "Denied"].into_iter().filter(|_| !allowed.conditions) {
        let (now, was) = (of(new, kind), of(old, kind));
        if now.len() > was.len() {
            errors.push(Error::forbidden(&list, format!("updates may not add a condition of type {kind:?}")));
        } else if now.len() == was.len() && now != was {
            errors.push(Error::forbidden(&list, format!("updates may not modify a condition of type {kind:?}")));
        }
    }
    let certificate = |object: &Value| object.str_at(&["status", "certificate"]).unwrap_or("").to_owned();
    let (now, was) = (certificate(new), certificate(old));
    if now != was {
        let path = status.child("certificate");
        if !allowed.certificate {
            errors.push(Error::forbidden(&path, "updates may not set certificate content"));
        } else if !was.is_empty() {
            errors.push(Error::forbidden(&path, "updates may not modify existing certificate content"));
        }
    }
    errors
}

/// Whether a base64 text holds a certificate request in PEM, signed by the key in it.
fn certificate_request(text: &str) -> Result<(), String> {
    let bytes = STANDARD.decode(text).map_err(|error| error.to_string())?;
    let pem =
        Pem::iter_from_buffer(&bytes).next().and_then(Result::ok).filter(|pem| pem.label == "CERTIFICATE REQUEST");
    let pem = pem.ok_or("PEM block type must be CERTIFICATE REQUEST")?;
    let (_, request) = X509CertificationRequest::from_der(&pem.contents).map_err(|error| match error {
        x509_parser::nom::Err::Incomplete(_) => "asn1: syntax error: sequence truncated".to_owned(),
        error => format!("asn1: {error}"),
    })?;
    request.verify_signature().map_err(|error| format!("x509: {error}"))
}

/// Whether a base64 text holds certificates in PEM and nothing else; empty is as good.
fn certificates(text: &str) -> Result<(), String> {
    if text.is_empty() {
        return Ok(());
    }
    let bytes = STANDARD.decode(text).map_err(|error| error.to_string())?;
    let mut blocks = 0;
    for pem in Pem::iter_from_buffer(&bytes).map_while(Result::ok) {
        if pem.label != "CERTIFICATE" {
            return Err(format!("only CERTIFICATE PEM blocks are allowed, found {:?}", pem.label));
        }
        X509Certificate::from_der(&pem.contents).map_err(|_| "x509: malformed tbs certificate")?;
        blocks += 1;
    }
    if blocks == 0 { Err("must contain at least one CERTIFICATE PEM block".into()) } else { Ok(()) }
}

fn usages(list: &At<'_>, old: &Value, errors: &mut ErrorList) {
    if list.is_empty() {
        list.required(errors, "");
    }
    let before = old.array_at(&["spec", "usages"]).iter().filter_map(Value::as_str).collect::<Vec<_>>();
    if before.iter().all(|usage| USAGES.contains(usage)) {
        list.items().for_each(|usage| usage.one_of(errors, USAGES));
    }
    if before.iter().collect::<HashSet<_>>().len() == before.len() {
        let mut seen = HashSet::new();
        list.items().filter(|usage| !seen.insert(usage.text())).for_each(|usage| usage.duplicate(errors));
    }
}

/// `DOMAIN/PATH`, the domain of at least two labels (`ValidateSignerName` upstream).
fn signer_name(at: &At<'_>, errors: &mut ErrorList) {
    if !at.require(errors) {
        return;
    }
    let Some((domain, path)) = at.text().split_once('/').filter(|(_, path)| !path.contains('/')) else {
        let text = "must be a fully qualified domain and path of the form 'example.com/signer-name'";
        return at.invalid(errors, text);
    };
    if domain.len() > MAX_SIGNER_DOMAIN {
        errors.push(Error::too_long(&at.path(), "", MAX_SIGNER_DOMAIN));
    }
    labels(at, domain, names::dns1123_label, errors);
    if !domain.contains('.') {
        let text = "should be a domain with at least two segments separated by dots";
        errors.push(Error::invalid(&at.path(), domain, text));
    }
    labels(at, path, names::dns1123_subdomain, errors);
    if at.text().len() > MAX_SIGNER {
        at.too_long(errors, MAX_SIGNER);
    }
}

/// Checks the parts of a name between dots; the first bad one says enough.
fn labels(at: &At<'_>, part: &str, check: fn(&str) -> Vec<String>, errors: &mut ErrorList) {
    let faulty = part.split('.').map(|label| (label, check(label))).find(|(_, faults)| !faults.is_empty());
    for (label, fault) in faulty.iter().flat_map(|(label, faults)| faults.iter().map(move |fault| (label, fault))) {
        errors.push(Error::invalid(&at.path(), part, format!("validating label {label:?}: {fault}")));
    }
}

fn conditions(list: &At<'_>, old: &Value, errors: &mut ErrorList) {
    let before = old.array_at(&["status", "conditions"]).iter().map(|c| c.str_at(&["type"]).unwrap_or(""));
    let before = before.collect::<Vec<_>>();
    let was_both = before.contains(&"Approved") && before.contains(&"Denied");
    let had_duplicates = before.iter().collect::<HashSet<_>>().len() < before.len();
    let mut seen: HashSet<String> = HashSet::new();
    for condition in list.items() {
        let (kind, state) = (condition.child("type"), condition.child("status"));
        if kind.is_empty() && !before.contains(&"") {
            kind.required(errors, "");
        }
        if state.require(errors) {
            let values: &[&str] = if FINAL.contains(&kind.text()) { &["True"] } else { &["False", "True", "Unknown"] };
            state.one_of(errors, values);
        }
        let name = kind.text();
        let other = match name {
            "Approved" => "Denied",
            "Denied" => "Approved",
            _ => "",
        };
        if !was_both && !other.is_empty() && seen.contains(other) {
            let text = "Approved and Denied conditions are mutually exclusive";
            errors.push(Error::invalid(&list.path(), name, text));
        }
        if !seen.insert(name.to_owned()) && !had_duplicates {
            kind.duplicate(errors);
        }
    }
}
