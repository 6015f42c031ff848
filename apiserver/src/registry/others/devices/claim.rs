//! What a claim asks for: `spec` of a ResourceClaim and of a template's claims.

use std::collections::{HashMap, HashSet};

use skiff_apimachinery::field::{Error, ErrorList};
use skiff_apimachinery::value::{Object, Value};

use super::{formats, selectors};
use crate::registry::at::At;
use crate::registry::core::validation::formats as core_formats;
use crate::registry::defaults::{each, nonzero, text, within};

const MAX_REQUESTS: usize = 32;
const MAX_CONSTRAINTS: usize = 32;
pub(super) const MAX_CONFIGURATIONS: usize = 32;
const MAX_ALTERNATIVES: usize = 8;
const MAX_SELECTORS: usize = 32;
/// Bytes of a selector's expression.
const MAX_EXPRESSION: usize = 10 * 1024;
const MODES: &[&str] = &["All", "ExactCount"];
const NO_REQUEST: &str =
    "must be the name of a request in the claim or the name of a request and a subrequest separated by '/'";
const ONE_ATTRIBUTE: &str =
    "exactly one of \"matchAttribute\" or \"distinctAttribute\" is required, but multiple fields are set";

/// Fills in what is asked for of each request.
pub(super) fn set_defaults(spec: &mut Object) {
    within(spec, "devices", |devices| {
        each(devices, "requests", |request| {
            within(request, "exactly", request_defaults);
            each(request, "firstAvailable", request_defaults);
        });
    });
}

fn request_defaults(request: &mut Object) {
    text(request, "allocationMode", "ExactCount");
    if request.get("allocationMode").and_then(Value::as_str) == Some("ExactCount") {
        nonzero(request, "count", 1);
    }
    each(request, "tolerations", |toleration| text(toleration, "operator", "Equal"));
}

/// The names of a claim's requests, with those of their alternatives.
pub(super) struct Requests(HashMap<String, HashSet<String>>);

impl Requests {
    /// Those of `spec`.
    pub(super) fn of(spec: &At<'_>) -> Self {
        let mut names = HashMap::new();
        for request in spec.child("devices").child("requests").items() {
            let alternatives = request.child("firstAvailable");
            let alternatives = alternatives.items().map(|one| one.child("name").text().to_owned()).collect();
            names.insert(request.child("name").text().to_owned(), alternatives);
        }
        Self(names)
    }

    fn has(&self, name: &str) -> bool {
        match name.split_once('/') {
            None => self.0.contains_key(name),
            Some((request, alternative)) => self.0.get(request).is_some_and(|names| names.contains(alternative)),
        }
    }

    /// Validates that a request is named.
    pub(super) fn reference(&self, at: &At<'_>, errors: &mut ErrorList) {
        let segments = at.text().split('/').collect::<Vec<_>>();
        if segments.len() > 2 {
            return at.invalid(errors, NO_REQUEST);
        }
        for segment in segments {
            for message in skiff_apimachinery::names::dns1123_label(segment) {
                errors.push(Error::invalid(&at.path(), segment, message));
            }
        }
        if !self.has(at.text()) {
            errors.push(Error::invalid(&at.path(), at.text(), NO_REQUEST));
        }
    }

    /// Validates a list of such names.
    pub(super) fn references(&self, list: &At<'_>, errors: &mut ErrorList) {
        formats::each_once(list, MAX_REQUESTS, errors, |at, errors| self.reference(at, errors), formats::itself);
    }
}

/// Validates what a claim asks for.
pub(super) fn spec(spec: &At<'_>, errors: &mut ErrorList) {
    let requests = Requests::of(spec);
    let devices = spec.child("devices");
    formats::each_once(&devices.child("requests"), MAX_REQUESTS, errors, request, formats::member("name"));
    formats::each(&devices.child("constraints"), MAX_CONSTRAINTS, errors, |constraint, errors| {
        requests.references(&constraint.child("requests"), errors);
        let (same, distinct) = (constraint.child("matchAttribute"), constraint.child("distinctAttribute"));
        if same.is_set() {
            formats::fully_qualified(&same, errors);
        } else if distinct.is_set() {
            formats::fully_qualified(&distinct, errors);
        } else {
            constraint.required(errors, ONE_ATTRIBUTE);
        }
    });
    formats::each(&devices.child("config"), MAX_CONFIGURATIONS, errors, |configuration, errors| {
        requests.references(&configuration.child("requests"), errors);
        formats::configuration(configuration, errors);
    });
}

fn request(request: &At<'_>, errors: &mut ErrorList) {
    core_formats::label(&request.child("name"), errors);
    let (exactly, alternatives) = (request.child("exactly"), request.child("firstAvailable"));
    match (exactly.is_set(), !alternatives.is_empty()) {
        (false, false) => request.required(errors, "exactly one of `exactly` or `firstAvailable` is required"),
        (true, true) => {
            let message = "exactly one of `exactly` or `firstAvailable` is required, but multiple fields are set";
            errors.push(Error::invalid(&request.path(), Value::Null, message));
        }
        (true, false) => kind(&exactly, errors),
        (false, true) => {
            let one = |one: &At<'_>, errors: &mut ErrorList| {
                core_formats::label(&one.child("name"), errors);
                kind(one, errors);
            };
            formats::each_once(&alternatives, MAX_ALTERNATIVES, errors, one, formats::member("name"));
        }
    }
}

/// Which devices, and how many.
fn kind(request: &At<'_>, errors: &mut ErrorList) {
    let class = request.child("deviceClassName");
    if class.require(errors) {
        core_formats::subdomain(&class, errors);
    }
    device_selectors(&request.child("selectors"), errors);
    let (mode, count) = (request.child("allocationMode"), request.child("count"));
    let number = count.int().unwrap_or(0);
    match mode.text() {
        "All" if number != 0 => count.invalid(errors, "must not be specified when allocationMode is 'All'"),
        "All" => {}
        "ExactCount" if number <= 0 => count.or_zero().invalid(errors, "must be greater than zero"),
        "ExactCount" => {}
        _ => mode.not_supported(errors, MODES),
    }
    for toleration in request.child("tolerations").items() {
        formats::toleration(&toleration, errors);
    }
}

/// Validates selectors of devices.
pub(super) fn device_selectors(list: &At<'_>, errors: &mut ErrorList) {
    formats::each(list, MAX_SELECTORS, errors, |selector, errors| {
        let cel = selector.child("cel");
        if !cel.is_set() {
            return cel.required(errors, "");
        }
        let expression = cel.child("expression");
        if expression.text().len() > MAX_EXPRESSION {
            return expression.too_long(errors, MAX_EXPRESSION);
        }
        selectors::expression(&expression, errors);
    });
}
