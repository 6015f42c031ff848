//! Formats of single values that several validators share.

use skiff_apimachinery::field::{Error, ErrorList};
use skiff_apimachinery::names;

use crate::registry::at::At;

/// Largest user or group id: ids are 31 bits, as on every supported system.
const MAX_ID: i64 = i32::MAX as i64;

/// How upstream writes what a path may consist of.
const HTTP_PATH: &str = r"[A-Za-z0-9/\-._~%!$&'()*+,;=:]+";

/// Checks a port number from 1 to 65535.
pub fn port_number(at: &At<'_>, errors: &mut ErrorList) {
    if at.int().is_none_or(|n| !(1..=65535).contains(&n)) {
        at.invalid(errors, "must be between 1 and 65535, inclusive");
    }
}

/// Checks a port given by number or by name.
pub fn port_number_or_name(at: &At<'_>, errors: &mut ErrorList) {
    match at.value().and_then(|value| value.as_str()) {
        Some(name) => at.messages(errors, names::port_name(name)),
        None => port_number(&at.or_zero(), errors),
    }
}

/// Checks a user id.
pub fn user_id(at: &At<'_>, errors: &mut ErrorList) {
    id(at, errors);
}

/// Checks a group id.
pub fn group_id(at: &At<'_>, errors: &mut ErrorList) {
    id(at, errors);
}

fn id(at: &At<'_>, errors: &mut ErrorList) {
    if at.int().is_some_and(|n| !(0..=MAX_ID).contains(&n)) {
        at.invalid(errors, format!("must be between 0 and {MAX_ID}, inclusive"));
    }
}

/// Checks a DNS-1123 label.
pub fn label(at: &At<'_>, errors: &mut ErrorList) {
    at.messages(errors, names::dns1123_label(at.text()));
}

/// Checks a DNS-1123 subdomain.
pub fn subdomain(at: &At<'_>, errors: &mut ErrorList) {
    at.messages(errors, names::dns1123_subdomain(at.text()));
}

/// Checks a relative path without `..`.
pub fn local_descending_path(at: &At<'_>, errors: &mut ErrorList) {
    if at.text().starts_with('/') {
        at.invalid(errors, "must be a relative path");
    }
    no_backsteps(at, errors);
}

/// Checks that no part of a path is `..`.
pub fn no_backsteps(at: &At<'_>, errors: &mut ErrorList) {
    if at.text().split('/').any(|part| part == "..") {
        at.invalid(errors, "must not contain '..'");
    }
}

/// Checks a relative path that does not begin with `..` (the names that the volume writer keeps for itself).
pub fn local_non_reserved_path(at: &At<'_>, errors: &mut ErrorList) {
    local_descending_path(at, errors);
    if at.text().starts_with("..") && !at.text().starts_with("../") && at.text() != ".." {
        at.invalid(errors, "must not start with '..'");
    }
}

/// Checks file permission bits.
pub fn file_mode(at: &At<'_>, errors: &mut ErrorList) {
    if at.int().is_some_and(|mode| !(0..=0o777).contains(&mode)) {
        at.invalid(errors, "must be a number between 0 and 0777 (octal), both inclusive");
    }
}

/// Checks a name such as `acme.io/foo` (`IsDomainPrefixedPath` upstream).
pub fn domain_prefixed_path(at: &At<'_>, errors: &mut ErrorList) {
    if at.is_empty() {
        return at.required(errors, "");
    }
    let Some((host, path)) = at.text().split_once('/').filter(|(host, path)| !host.is_empty() && !path.is_empty())
    else {
        return at.invalid(errors, "must be a domain-prefixed path (such as \"acme.io/foo\")");
    };
    errors.extend(names::dns1123_subdomain(host).into_iter().map(|fault| Error::invalid(&at.path(), host, fault)));
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"/-._~%!$&'()*+,;=:".contains(&byte);
    if !path.bytes().all(allowed) {
        let fault = format!("Invalid path (regex used for validation is '{HTTP_PATH}')");
        errors.push(Error::invalid(&at.path(), path, fault));
    }
}
