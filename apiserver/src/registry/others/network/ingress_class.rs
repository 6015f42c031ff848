//! IngressClass.

use skiff_apimachinery::field::{Error, ErrorList, Path};
use skiff_apimachinery::names;
use skiff_apimachinery::value::Value;

use super::ingress::typed_reference;
use crate::registry::at::At;
use crate::registry::core::validation::formats;
use crate::registry::defaults::{absent, within};
use crate::registry::strategy::{Strategy, WriteScope};

/// Bytes that a controller's name may have.
const MAX_CONTROLLER: usize = 250;
const SCOPES: &[&str] = &["Cluster", "Namespace"];

/// IngressClass.
pub struct IngressClassStrategy;

impl Strategy for IngressClassStrategy {
    fn set_defaults(&self, object: &mut Value) {
        within(object.object_at_mut(&["spec"]), "parameters", |parameters| absent(parameters, "scope", "Cluster"));
    }

    fn validate(&self, object: &Value) -> ErrorList {
        let mut errors = ErrorList::default();
        let root = At::root(object);
        let spec = root.child("spec");
        let controller = spec.child("controller");
        if controller.text().len() > MAX_CONTROLLER {
            controller.too_long(&mut errors, MAX_CONTROLLER);
        }
        domain_prefixed_path(&controller.path(), controller.text(), &mut errors);
        let parameters = spec.child("parameters");
        if parameters.is_set() {
            parameters_reference(&parameters, &mut errors);
        }
        errors
    }

    fn validate_update(&self, _scope: WriteScope<'_>, new: &Value, old: &Value) -> ErrorList {
        let mut errors = ErrorList::default();
        let (root, old) = (At::root(new), At::root(old));
        let (spec, before) = (root.child("spec"), old.child("spec"));
        spec.child("controller").immutable(&mut errors, &before.child("controller"));
        errors.extend(self.validate(new));
        errors
    }

    fn counts_generation(&self) -> bool {
        true
    }
}

fn parameters_reference(at: &At<'_>, errors: &mut ErrorList) {
    typed_reference(at, errors);
    let (scope, namespace) = (at.child("scope"), at.child("namespace"));
    if !scope.is_set() {
        return scope.required(errors, "");
    }
    match (scope.text(), namespace.is_set()) {
        ("Namespace", false) => namespace.required(errors, "`parameters.scope` is set to 'Namespace'"),
        ("Namespace", true) => formats::label(&namespace, errors),
        ("Cluster", true) => namespace.forbidden(errors, "`parameters.scope` is set to 'Cluster'"),
        ("Cluster", false) => {}
        _ => scope.not_supported(errors, SCOPES),
    }
}

/// A path that begins with a domain (`IsDomainPrefixedPath` upstream); what is wrong is shown part by part.
fn domain_prefixed_path(path: &Path, text: &str, errors: &mut ErrorList) {
    if text.is_empty() {
        return errors.push(Error::required(path, ""));
    }
    let Some((host, rest)) = text.split_once('/').filter(|(host, rest)| !host.is_empty() && !rest.is_empty()) else {
        return errors.push(Error::invalid(path, text, "must be a domain-prefixed path (such as \"acme.io/foo\")"));
    };
    for message in names::dns1123_subdomain(host) {
        errors.push(Error::invalid(path, host, message));
    }
    if !rest.bytes().all(|c| c.is_ascii_alphanumeric() || b"/-._~%!$&'()*+,;=:".contains(&c)) {
        let message = "Invalid path (regex used for validation is '[A-Za-z0-9/\\-._~%!$&'()*+,;=:]+')";
        errors.push(Error::invalid(path, rest, message));
    }
}
