//! rbac.authorization.k8s.io and certificates.k8s.io.

use skiff_apimachinery::field::{Error, ErrorList, Path};
use skiff_apimachinery::names;
use skiff_apimachinery::value::Value;

use crate::cacher::FieldSpec;
use crate::registry::at::At;
use crate::registry::core::validation::label_selector;
use crate::registry::defaults::{each, text};
use crate::registry::strategy::{NameRule, Strategy, WriteScope, path_segment};

const RBAC: &str = "rbac.authorization.k8s.io";

/// Role and ClusterRole.
pub struct RoleStrategy {
    /// Whether it is the Role of a namespace.
    pub namespaced: bool,
}

impl Strategy for RoleStrategy {
    fn validate(&self, object: &Value) -> ErrorList {
        let mut errors = ErrorList::default();
        let root = At::root(object);
        let rules = root.child("rules");
        for rule in rules.items() {
            policy_rule(&rule, self.namespaced, &mut errors);
        }
        let aggregation = root.child("aggregationRule");
        if aggregation.is_set() {
            let selectors = aggregation.child("clusterRoleSelectors");
            if selectors.is_empty() {
                let detail = "at least one clusterRoleSelector required if aggregationRule is non-nil";
                selectors.required(&mut errors, detail);
            }
            for selector in selectors.items() {
                label_selector::validate(&selector, &mut errors);
            }
        }
        errors
    }

    fn name_rule(&self) -> NameRule {
        path_segment
    }

    fn allow_create_on_update(&self) -> bool {
        true
    }
}

fn policy_rule(rule: &At<'_>, namespaced: bool, errors: &mut ErrorList) {
    let (verbs, urls) = (rule.child("verbs"), rule.child("nonResourceURLs"));
    let (groups, resources, names) = (rule.child("apiGroups"), rule.child("resources"), rule.child("resourceNames"));
    if verbs.is_empty() {
        verbs.required(errors, "verbs must contain at least one value");
    }
    if !urls.is_empty() {
        if namespaced {
            urls.invalid(errors, "namespaced rules cannot apply to non-resource URLs");
        }
        if groups.len() + resources.len() + names.len() > 0 {
            urls.invalid(errors, "rules cannot apply to both regular resources and non-resource URLs");
        }
        return;
    }
    if groups.is_empty() {
        groups.required(errors, "resource rules must supply at least one api group");
    }
    if resources.is_empty() {
        resources.required(errors, "resource rules must supply at least one resource");
    }
}

/// RoleBinding and ClusterRoleBinding.
pub struct RoleBindingStrategy {
    /// Whether it is the RoleBinding of a namespace.
    pub namespaced: bool,
}

impl Strategy for RoleBindingStrategy {
    fn set_defaults(&self, object: &mut Value) {
        text(object.object_at_mut(&["roleRef"]), "apiGroup", RBAC);
        each(object.object_at_mut(&[]), "subjects", |subject| {
            if matches!(subject.get("kind").and_then(Value::as_str), Some("User" | "Group")) {
                text(subject, "apiGroup", RBAC);
            }
        });
    }

    fn validate(&self, object: &Value) -> ErrorList {
        let mut errors = ErrorList::default();
        let root = At::root(object);
        let role = root.child("roleRef");
        let (group, kind, name) = (role.child("apiGroup"), role.child("kind"), role.child("name"));
        if group.text() != RBAC {
            group.not_supported(&mut errors, &[RBAC]);
        }
        let kinds: &[&str] = if self.namespaced { &["Role", "ClusterRole"] } else { &["ClusterRole"] };
        if !kinds.contains(&kind.text()) {
            kind.not_supported(&mut errors, kinds);
        }
        if name.require(&mut errors) {
            name.messages(&mut errors, names::path_segment(name.text()));
        }
        let subjects = root.child("subjects");
        for subject in subjects.items() {
            self.subject(&subject, &mut errors);
        }
        errors
    }

    fn validate_update(&self, _scope: WriteScope<'_>, new: &Value, old: &Value) -> ErrorList {
        let mut errors = self.validate(new);
        if new.get("roleRef") != old.get("roleRef") {
            let shown = new.get("roleRef").cloned().unwrap_or_default();
            errors.push(Error::invalid(&Path::new("roleRef"), shown, "cannot change roleRef"));
        }
        errors
    }

    fn name_rule(&self) -> NameRule {
        path_segment
    }

    fn allow_create_on_update(&self) -> bool {
        true
    }
}

impl RoleBindingStrategy {
    fn subject(&self, subject: &At<'_>, errors: &mut ErrorList) {
        let (kind, name) = (subject.child("kind"), subject.child("name"));
        let (group, namespace) = (subject.child("apiGroup"), subject.child("namespace"));
        name.require(errors);
        match kind.text() {
            "ServiceAccount" => {
                if !name.is_empty() {
                    name.messages(errors, names::dns1123_subdomain(name.text()));
                }
                if !group.is_empty() {
                    group.not_supported(errors, &[""]);
                }
                if !self.namespaced && namespace.is_empty() {
                    namespace.required(errors, "");
                }
            }
            "User" | "Group" => {
                if group.text() != RBAC {
                    group.not_supported(errors, &[RBAC]);
                }
            }
            _ => kind.not_supported(errors, &["ServiceAccount", "User", "Group"]),
        }
    }
}

/// Shortest life of a certificate that can be asked for.
const MIN_EXPIRATION_SECONDS: i64 = 600;

/// CertificateSigningRequest.
pub struct SigningRequestStrategy;

impl Strategy for SigningRequestStrategy {
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
        }
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
        conditions(new, old)
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
