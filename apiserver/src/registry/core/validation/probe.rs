//! Probes and lifecycle hooks.

use skiff_apimachinery::field::{Error, ErrorList};
use skiff_apimachinery::names;

use super::formats;
use crate::registry::at::At;

const PROBE_HANDLERS: &[&str] = &["exec", "httpGet", "tcpSocket", "grpc"];
const HOOK_HANDLERS: &[&str] = &["exec", "httpGet", "tcpSocket", "sleep"];

/// Validates the lifecycle hooks and the three probes of a container that may have them.
pub fn lifecycle_and_probes(container: &At<'_>, spec: &At<'_>, errors: &mut ErrorList) {
    let grace = spec.child("terminationGracePeriodSeconds").int();
    let lifecycle = container.child("lifecycle");
    for hook in ["postStart", "preStop"] {
        let at = lifecycle.child(hook);
        if at.is_set() {
            handler(&at, HOOK_HANDLERS, grace, errors);
        }
    }
    stop_signal(&lifecycle.child("stopSignal"), spec, errors);
    for name in ["livenessProbe", "readinessProbe", "startupProbe"] {
        let at = container.child(name);
        if !at.is_set() {
            continue;
        }
        probe(&at, grace, errors);
        if name == "readinessProbe" {
            let period = at.child("terminationGracePeriodSeconds");
            if period.is_set() {
                period.invalid(errors, "must not be set for readinessProbes");
            }
        } else {
            let threshold = at.child("successThreshold");
            if threshold.int() != Some(1) {
                threshold.invalid(errors, "must be 1");
            }
        }
    }
}

fn stop_signal(at: &At<'_>, spec: &At<'_>, errors: &mut ErrorList) {
    if !at.is_set() {
        return;
    }
    let os = spec.child("os");
    match os.child("name").text() {
        "" => at.forbidden(errors, "may not be set for containers with empty `spec.os.name`"),
        "windows" => at.if_set_one_of(errors, &["SIGKILL", "SIGTERM"]),
        _ if !at.text().starts_with("SIG") => at.not_supported(errors, &["SIGABRT", "SIGALRM", "SIGTERM", "SIGKILL"]),
        _ => {}
    }
}

fn probe(at: &At<'_>, grace: Option<i64>, errors: &mut ErrorList) {
    handler(at, PROBE_HANDLERS, grace, errors);
    for field in ["initialDelaySeconds", "timeoutSeconds", "periodSeconds", "successThreshold", "failureThreshold"] {
        at.child(field).not_negative(errors);
    }
    at.child("terminationGracePeriodSeconds").positive(errors);
}

/// Validates that just one handler is given, and that one.
fn handler(at: &At<'_>, kinds: &[&str], grace: Option<i64>, errors: &mut ErrorList) {
    let mut given = 0;
    for kind in kinds {
        let action = at.child(kind);
        if !action.is_set() {
            continue;
        }
        given += 1;
        if given > 1 {
            action.forbidden(errors, "may not specify more than 1 handler type");
            continue;
        }
        match *kind {
            "exec" => {
                action.child("command").require(errors);
            }
            "httpGet" => http_get(&action, errors),
            "tcpSocket" => formats::port_number_or_name(&action.child("port"), errors),
            "grpc" => formats::port_number(&action.child("port"), errors),
            _ => sleep(&action, grace, errors),
        }
    }
    if given == 0 {
        at.required(errors, "must specify a handler type");
    }
}

fn http_get(action: &At<'_>, errors: &mut ErrorList) {
    action.child("path").require(errors);
    formats::port_number_or_name(&action.child("port"), errors);
    let scheme = action.child("scheme");
    if !matches!(scheme.text(), "HTTP" | "HTTPS") {
        scheme.not_supported(errors, &["HTTP", "HTTPS"]);
    }
    let headers = action.child("httpHeaders");
    for header in headers.items() {
        let name = header.child("name");
        for message in names::http_header_name(name.text()) {
            errors.push(Error::invalid(&headers.path(), name.text(), message));
        }
    }
}

fn sleep(action: &At<'_>, grace: Option<i64>, errors: &mut ErrorList) {
    let (seconds, Some(grace)) = (action.child("seconds").int().unwrap_or(0), grace) else {
        return;
    };
    if seconds < 0 || seconds > grace {
        let message = format!("must be non-negative and less than terminationGracePeriodSeconds ({grace})");
        errors.push(Error::invalid(&action.path(), seconds, message));
    }
}
