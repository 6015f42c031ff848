//! IPAddress and ServiceCIDR.

use skiff_apimachinery::field::{Error, ErrorList};
use skiff_apimachinery::names;
use skiff_apimachinery::value::Value;

use crate::registry::at::At;
use crate::registry::core::validation::ip;
use crate::registry::internal;
use crate::registry::strategy::{NameRule, Strategy, WriteScope};

/// IPAddress: its name is the address.
pub struct IpAddressStrategy;

impl Strategy for IpAddressStrategy {
    fn validate(&self, object: &Value) -> ErrorList {
        let mut errors = ErrorList::default();
        let root = At::root(object);
        let spec = root.child("spec");
        let parent = spec.child("parentRef");
        if !parent.is_set() {
            parent.required(&mut errors, "");
            return errors;
        }
        let group = parent.child("group");
        if !group.is_empty() {
            group.messages(&mut errors, names::dns1123_subdomain(group.text()));
        }
        for field in ["resource", "name"] {
            let part = parent.child(field);
            if part.require(&mut errors) {
                part.messages(&mut errors, names::path_segment(part.text()));
            }
        }
        let namespace = parent.child("namespace");
        if !namespace.is_empty() {
            namespace.messages(&mut errors, names::path_segment(namespace.text()));
        }
        errors
    }

    fn validate_update(&self, _scope: WriteScope<'_>, new: &Value, old: &Value) -> ErrorList {
        let mut errors = self.validate(new);
        let (new, old) = (At::root(new), At::root(old));
        let (spec, before) = (new.child("spec"), old.child("spec"));
        spec.child("parentRef").immutable_as("*ParentReference", &mut errors, &before.child("parentRef"));
        errors
    }

    fn name_rule(&self) -> NameRule {
        |name, _prefix| ip::strict_fault(name).into_iter().collect()
    }
}

/// ServiceCIDR.
pub struct ServiceCidrStrategy;

impl Strategy for ServiceCidrStrategy {
    fn validate(&self, object: &Value) -> ErrorList {
        let mut errors = ErrorList::default();
        ranges(&At::root(object).child("spec"), &mut errors);
        errors
    }

    /// A second family may be added; nothing else changes.
    fn validate_update(&self, _scope: WriteScope<'_>, new: &Value, old: &Value) -> ErrorList {
        const IMMUTABLE: &str = "field is immutable";
        let mut errors = ErrorList::default();
        let (new, old) = (At::root(new), At::root(old));
        let (spec, before) = (new.child("spec"), old.child("spec"));
        let (is, was) = (spec.child("cidrs"), before.child("cidrs"));
        let adds = was.len() == 1 && is.len() == 2;
        if is.len() != was.len() && !adds {
            is.or_null().invalid(&mut errors, IMMUTABLE);
            return errors;
        }
        for (range, before) in is.items().zip(was.items()) {
            if range.text() != before.text() {
                range.invalid(&mut errors, IMMUTABLE);
            }
        }
        if adds {
            ranges(&spec, &mut errors);
        }
        errors
    }
}

fn ranges(spec: &At<'_>, errors: &mut ErrorList) {
    let cidrs = spec.child("cidrs");
    if cidrs.is_empty() {
        return cidrs.required(errors, "at least one CIDR required");
    }
    if cidrs.len() > 2 {
        let shown = internal::shown(spec.value(), "ServiceCIDRSpec");
        errors.push(Error::invalid(&cidrs.path(), shown, "may only hold up to 2 values"));
        return;
    }
    for cidr in cidrs.items() {
        ip::cidr(&cidr, errors);
    }
    let is_four = |cidr: At<'_>| ip::sloppy_cidr(cidr.text()).map(|(ip, _)| ip.is_ipv4());
    let families = cidrs.items().filter_map(is_four).collect::<Vec<_>>();
    if matches!(families[..], [first, second] if first == second) {
        let message = "may specify no more than one IP for each IP family, i.e 192.168.0.0/24 and 2001:db8::/64";
        cidrs.invalid(errors, message);
    }
}
