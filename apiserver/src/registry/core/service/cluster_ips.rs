//! Cluster IPs and their families: what a Service may state, and how it may change.
//!
//! Follows `ValidateServiceClusterIPsRelatedFields` and `validateUpgradeDowngrade*` of
//! `pkg/apis/core/validation/validation.go`.

use std::collections::HashSet;
use std::net::IpAddr;

use skiff_apimachinery::field::{Error, ErrorList};
use skiff_apimachinery::value::Value;

use crate::registry::at::At;
use crate::registry::core::validation::ip;

const NO_CHANGE: &str = "may not change once set";

/// Whether a Service has no address of its own.
pub(super) fn is_headless(spec: &At<'_>) -> bool {
    let ips = spec.child("clusterIPs");
    ips.len() == 1 && ips.index(0).text() == "None"
}

/// Validates cluster IPs, families and policy of a Service that has them; `old` is the spec before a change.
pub(super) fn validate(spec: &At<'_>, old: Option<&At<'_>>, errors: &mut ErrorList) {
    if spec.child("type").text() == "ExternalName" {
        return;
    }
    let (ip, ips) = (spec.child("clusterIP"), spec.child("clusterIPs"));
    if ip.is_empty() {
        if !ips.is_empty() {
            ips.invalid(errors, "must be empty when `clusterIP` is not specified");
        }
    } else if ips.is_empty() {
        ips.required(errors, "");
    } else if ips.index(0).text() != ip.text() {
        ips.invalid(errors, "first value must match `clusterIP`");
    }
    families(&spec.child("ipFamilies"), errors);
    spec.child("ipFamilyPolicy").if_set_one_of(errors, &["PreferDualStack", "RequireDualStack", "SingleStack"]);
    if addresses(&ips, old, errors) {
        match_families(spec, errors);
    }
}

fn families(list: &At<'_>, errors: &mut ErrorList) {
    let mut seen = HashSet::new();
    for family in list.items() {
        if !matches!(family.text(), "IPv4" | "IPv6") {
            family.not_supported(errors, &["IPv4", "IPv6"]);
        }
        if !seen.insert(family.text().to_owned()) {
            family.duplicate(errors);
        }
    }
}

/// Checks the addresses one by one. Says whether it makes sense to look at them together.
fn addresses(ips: &At<'_>, old: Option<&At<'_>>, errors: &mut ErrorList) -> bool {
    let before = old.map(|old| old.child("clusterIPs").texts());
    let before = before.unwrap_or_default();
    let mut all_valid = true;
    for (position, address) in ips.items().enumerate() {
        if position == 0 && address.text() == "None" {
            if ips.len() > 1 {
                all_valid = false;
                ips.invalid(errors, "'None' must be the first and only value");
            }
        } else {
            all_valid &= ip::legacy(&address, &before, errors);
        }
    }
    if ips.len() > 2 {
        ips.invalid(errors, "may only hold up to 2 values");
    }
    all_valid
}

fn match_families(spec: &At<'_>, errors: &mut ErrorList) {
    let (ips, families) = (spec.child("clusterIPs"), spec.child("ipFamilies"));
    let is_four = |at: &At<'_>| matches!(ip::sloppy(at.text()), Some(IpAddr::V4(_)));
    if ips.len() > 1 && (ips.items().all(|ip| is_four(&ip)) || !ips.items().any(|ip| is_four(&ip))) {
        ips.invalid(errors, "may specify no more than one IP for each IP family");
    }
    if is_headless(spec) {
        return;
    }
    for (position, (address, family)) in ips.items().zip(families.items()).enumerate() {
        let found = if is_four(&address) { "IPv4" } else { "IPv6" };
        let wanted = family.text();
        if matches!(wanted, "IPv4" | "IPv6") && wanted != found {
            address.invalid(errors, format!("expected an {wanted} value as indicated by `ipFamilies[{position}]`"));
        }
    }
}

/// Validates how the addresses and families changed: the first stays, a second may come and go.
pub(super) fn update(spec: &At<'_>, before: &At<'_>, errors: &mut ErrorList) {
    if [spec, before].iter().any(|spec| spec.child("type").text() == "ExternalName") {
        return;
    }
    let (is, was) = (is_headless(spec), is_headless(before));
    if !(is && was) {
        changed_addresses(spec, before, errors);
    }
    if !is && !was {
        changed_families(spec, before, errors);
    }
}

/// Reports at the element of a list, showing the list.
fn at_element(list: &At<'_>, index: usize, shown: &At<'_>, detail: &str, errors: &mut ErrorList) {
    let shown = shown.value().cloned().unwrap_or(Value::Null);
    errors.push(Error::invalid(&list.index(index).path(), shown, detail));
}

fn needs_single_stack(spec: &At<'_>, what: &str, errors: &mut ErrorList) {
    let policy = spec.child("ipFamilyPolicy");
    if policy.text() != "SingleStack" {
        policy.or_null().invalid(errors, format!("must be set to 'SingleStack' when releasing the secondary {what}"));
    }
}

fn changed_addresses(spec: &At<'_>, before: &At<'_>, errors: &mut ErrorList) {
    let (ips, old) = (spec.child("clusterIPs"), before.child("clusterIPs"));
    let first_changed = !old.is_empty() && !ips.is_empty() && ips.index(0).text() != old.index(0).text();
    if ips.len() == old.len() {
        for (index, (ip, was)) in ips.items().zip(old.items()).enumerate() {
            if ip.text() != was.text() {
                at_element(&ips, index, &ips, NO_CHANGE, errors);
            }
        }
        return;
    }
    if ips.is_empty() {
        at_element(&ips, 0, &ips, "primary clusterIP can not be unset", errors);
    }
    if first_changed {
        at_element(&ips, 0, &ips, NO_CHANGE, errors);
    }
    if old.len() > ips.len() && ips.len() == 1 {
        needs_single_stack(spec, "clusterIP", errors);
    }
}

fn changed_families(spec: &At<'_>, before: &At<'_>, errors: &mut ErrorList) {
    let (families, old) = (spec.child("ipFamilies"), before.child("ipFamilies"));
    let ips = spec.child("clusterIPs");
    if families.len() == old.len() {
        for (family, was) in families.items().zip(old.items()) {
            if family.text() != was.text() {
                at_element(&families, 0, &families, NO_CHANGE, errors);
            }
        }
        return;
    }
    let shrank = old.len() > families.len();
    if shrank && ips.is_empty() {
        at_element(&families, 0, &families, "primary ipFamily can not be unset", errors);
    }
    if !families.is_empty() && !old.is_empty() && families.index(0).text() != old.index(0).text() {
        // Upstream shows the addresses here.
        at_element(&families, 0, &ips, NO_CHANGE, errors);
    }
    if shrank && families.len() == 1 {
        needs_single_stack(spec, "ipFamily", errors);
    }
}
