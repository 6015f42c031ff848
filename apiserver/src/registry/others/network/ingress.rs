//! Ingress.

use skiff_apimachinery::field::{Error, ErrorList, Path};
use skiff_apimachinery::names;
use skiff_apimachinery::value::Value;

use crate::registry::at::At;
use crate::registry::core::validation::{formats, ip};
use crate::registry::strategy::{Strategy, WriteScope};

const CLASS_ANNOTATION: &str = "kubernetes.io/ingress.class";
const NO_NAME: &str = "must be a DNS name, not an IP address";
/// What a path may not hold, and what it may not end in.
const BAD_PARTS: &[&str] = &["//", "/./", "/../", "%2f", "%2F"];
const BAD_ENDS: &[&str] = &["/..", "/."];

/// Ingress.
pub struct IngressStrategy;

impl Strategy for IngressStrategy {
    fn validate(&self, object: &Value) -> ErrorList {
        let mut errors = ErrorList::default();
        let root = At::root(object);
        spec(&root.child("spec"), Allowed::default(), &mut errors);
        let class = object.str_at(&["spec", "ingressClassName"]);
        let annotation = object.str_at(&["metadata", "annotations", CLASS_ANNOTATION]);
        if let (Some(class), Some(annotation)) = (class, annotation)
            && class != annotation
        {
            let path = Path::new("annotations").child(CLASS_ANNOTATION);
            errors.push(Error::invalid(&path, annotation, "must match `ingressClassName` when both are specified"));
        }
        errors
    }

    fn validate_update(&self, _scope: WriteScope<'_>, new: &Value, old: &Value) -> ErrorList {
        let mut errors = ErrorList::default();
        spec(&At::root(new).child("spec"), Allowed::by(&At::root(old).child("spec")), &mut errors);
        errors
    }

    fn validate_status_update(&self, new: &Value, old: &Value) -> ErrorList {
        let mut errors = ErrorList::default();
        let balancer = ["status", "loadBalancer", "ingress"];
        let before = old.array_at(&balancer).iter().filter_map(|entry| entry.str_at(&["ip"])).collect::<Vec<_>>();
        for_each_balancer(new, &mut |entry| {
            let (address, hostname) = (entry.child("ip"), entry.child("hostname"));
            if !address.is_empty() {
                ip::legacy(&address, &before, &mut errors);
            }
            if !hostname.is_empty() {
                formats::subdomain(&hostname, &mut errors);
                if ip::sloppy(hostname.text()).is_some() {
                    hostname.invalid(&mut errors, NO_NAME);
                }
            }
        });
        errors
    }

    fn warnings(&self, new: &Value, old: Option<&Value>) -> Vec<String> {
        let mut warnings = Vec::new();
        if old.is_none()
            && new.at(&["metadata", "annotations", CLASS_ANNOTATION]).is_some()
            && new.at(&["spec", "ingressClassName"]).is_none()
        {
            warnings.push(format!(
                "annotation {CLASS_ANNOTATION:?} is deprecated, please use 'spec.ingressClassName' instead"
            ));
        }
        if old.is_some_and(|old| old.get("status") != new.get("status")) {
            for_each_balancer(new, &mut |entry| {
                let address = entry.child("ip");
                warnings.extend(ip::warning(&address.path(), address.text()));
            });
        }
        warnings
    }

    fn counts_generation(&self) -> bool {
        true
    }
}

fn for_each_balancer(object: &Value, with: &mut dyn FnMut(&At<'_>)) {
    let root = At::root(object);
    let (status, balancer) = (root.child("status"), "loadBalancer");
    let balancer = status.child(balancer);
    for entry in balancer.child("ingress").items() {
        with(&entry);
    }
}

/// What an update may keep that is not valid any more.
#[derive(Clone, Copy, Debug, Default)]
struct Allowed {
    secret_names: bool,
    wildcard_rules: bool,
}

impl Allowed {
    fn by(before: &At<'_>) -> Self {
        let bad_secret = |tls: At<'_>| {
            let name = tls.child("secretName");
            !name.is_empty() && !names::dns1123_subdomain(name.text()).is_empty()
        };
        let bad_wildcard = |rule: At<'_>| {
            let mut errors = ErrorList::default();
            if rule.child("host").text().contains('*') {
                rule_value(&rule, &mut errors);
            }
            !errors.is_empty()
        };
        Self {
            secret_names: before.child("tls").items().any(bad_secret),
            wildcard_rules: before.child("rules").items().any(bad_wildcard),
        }
    }
}

fn spec(spec: &At<'_>, allowed: Allowed, errors: &mut ErrorList) {
    let (rules, default) = (spec.child("rules"), spec.child("defaultBackend"));
    if rules.is_empty() && !default.is_set() {
        let message = "either `defaultBackend` or `rules` must be specified";
        errors.push(Error::invalid(&spec.path(), Value::Null, message));
    }
    if default.is_set() {
        backend(&default, errors);
    }
    for rule in rules.items() {
        let host = rule.child("host");
        let wildcard = host.text().contains('*');
        if !host.is_empty() {
            if ip::sloppy(host.text()).is_some() {
                host.invalid(errors, NO_NAME);
            }
            host_name(&host, errors);
        }
        if !wildcard || !allowed.wildcard_rules {
            rule_value(&rule, errors);
        }
    }
    for tls in spec.child("tls").items() {
        for host in tls.child("hosts").items() {
            host_name(&host, errors);
        }
        let secret = tls.child("secretName");
        if !secret.is_empty() && !allowed.secret_names {
            formats::subdomain(&secret, errors);
        }
    }
    let class = spec.child("ingressClassName");
    if class.is_set() {
        formats::subdomain(&class, errors);
    }
}

/// A host, which may begin with a wildcard.
fn host_name(host: &At<'_>, errors: &mut ErrorList) {
    if host.text().contains('*') {
        host.messages(errors, names::wildcard_dns1123_subdomain(host.text()));
    } else {
        formats::subdomain(host, errors);
    }
}

fn rule_value(rule: &At<'_>, errors: &mut ErrorList) {
    let http = rule.child("http");
    if !http.is_set() {
        return;
    }
    let paths = http.child("paths");
    paths.require(errors);
    for path in paths.items() {
        ingress_path(&path, errors);
    }
}

fn ingress_path(at: &At<'_>, errors: &mut ErrorList) {
    let (kind, path) = (at.child("pathType"), at.child("path"));
    if !kind.is_set() {
        return kind.required(errors, "pathType must be specified");
    }
    let absolute = path.text().starts_with('/');
    match kind.text() {
        "Exact" | "Prefix" => {
            if !absolute {
                path.invalid(errors, "must be an absolute path");
            }
            for part in BAD_PARTS.iter().filter(|part| path.text().contains(**part)) {
                path.invalid(errors, format!("must not contain '{part}'"));
            }
            for end in BAD_ENDS.iter().filter(|end| path.text().ends_with(**end)) {
                path.invalid(errors, format!("cannot end with '{end}'"));
            }
        }
        "ImplementationSpecific" => {
            if !path.is_empty() && !absolute {
                path.invalid(errors, "must be an absolute path");
            }
        }
        _ => kind.not_supported(errors, &["Exact", "ImplementationSpecific", "Prefix"]),
    }
    backend(&at.child("backend"), errors);
}

fn backend(at: &At<'_>, errors: &mut ErrorList) {
    // Upstream's messages show an empty text instead of the backend.
    let invalid = |errors: &mut ErrorList, message: &str| errors.push(Error::invalid(&at.path(), "", message));
    let (service, resource) = (at.child("service"), at.child("resource"));
    match (service.is_set(), resource.is_set()) {
        (true, true) => return invalid(errors, "cannot set both resource and service backends"),
        (false, false) => return invalid(errors, "resource or service backend is required"),
        (false, true) => return typed_reference(&resource, errors),
        (true, false) => {}
    }
    let name = service.child("name");
    if name.require(errors) {
        formats::label(&name, errors);
    }
    let port = service.child("port");
    let (by_name, number) = (port.child("name"), port.child("number"));
    match (by_name.is_empty(), number.int().unwrap_or(0) != 0) {
        (false, true) => invalid(errors, "cannot set both port name & port number"),
        (true, false) => at.required(errors, "port name or number is required"),
        (false, false) => by_name.messages(errors, names::port_name(by_name.text())),
        (true, true) => formats::port_number(&number, errors),
    }
}

/// A reference to an object of any kind in the same namespace.
pub(super) fn typed_reference(at: &At<'_>, errors: &mut ErrorList) {
    let group = at.child("apiGroup");
    if group.is_set() {
        formats::subdomain(&group, errors);
    }
    for field in ["kind", "name"] {
        let part = at.child(field);
        if part.require(errors) {
            part.messages(errors, names::path_segment(part.text()));
        }
    }
}
