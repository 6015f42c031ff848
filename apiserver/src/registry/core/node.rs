//! Node.
//!
//! Follows `pkg/registry/core/node` and `ValidateNode`.

use std::collections::HashSet;

use skiff_apimachinery::field::{Error, ErrorList};
use skiff_apimachinery::names;
use skiff_apimachinery::value::Value;

use super::validation::{formats, label_selector, resources, scheduling};
use crate::cacher::FieldSpec;
use crate::registry::at::At;
use crate::registry::strategy::{Strategy, WriteScope};

/// See the module.
pub struct NodeStrategy;

impl Strategy for NodeStrategy {
    fn set_defaults(&self, object: &mut Value) {
        if object.at(&["status", "allocatable"]).is_none()
            && let Some(capacity) = object.at(&["status", "capacity"]).cloned()
        {
            object.set_at(&["status", "allocatable"], capacity);
        }
        // The older field is the first entry of the newer one.
        let cidr = object.str_at(&["spec", "podCIDR"]).unwrap_or("").to_owned();
        let first = object.array_at(&["spec", "podCIDRs"]).first().and_then(Value::as_str).unwrap_or("").to_owned();
        if !cidr.is_empty() && first != cidr {
            object.set_at(&["spec", "podCIDRs"], vec![Value::from(cidr)]);
        } else if cidr.is_empty() && !first.is_empty() {
            object.set_at(&["spec", "podCIDR"], first);
        }
    }

    fn validate(&self, object: &Value) -> ErrorList {
        let mut errors = ErrorList::default();
        let root = At::root(object);
        let spec = root.child("spec");
        taints(&spec.child("taints"), &mut errors);
        cidrs(&spec, &mut errors);
        status_resources(&root, &mut errors);
        errors
    }

    fn validate_update(&self, _scope: WriteScope<'_>, new: &Value, old: &Value) -> ErrorList {
        let mut errors = self.validate(new);
        let (new_root, old_root) = (At::root(new), At::root(old));
        let (spec, before) = (new_root.child("spec"), old_root.child("spec"));
        for (field, message) in [
            ("providerID", "node updates may not change providerID except from \"\" to valid"),
            ("podCIDRs", "node updates may not change podCIDR except from \"\" to valid"),
        ] {
            let (now, was) = (spec.child(field), before.child(field));
            if !was.is_empty() && now.value() != was.value() {
                now.forbidden(&mut errors, message);
            }
        }
        errors
    }

    fn validate_status_update(&self, new: &Value, _old: &Value) -> ErrorList {
        let mut errors = ErrorList::default();
        let root = At::root(new);
        let status = root.child("status");
        let addresses = status.child("addresses");
        let mut seen = HashSet::new();
        for address in addresses.items() {
            let key = (address.child("type").text().to_owned(), address.child("address").text().to_owned());
            if !seen.insert(key) {
                address.duplicate(&mut errors);
            }
        }
        status_resources(&root, &mut errors);
        errors
    }

    fn keeps_status_on_create(&self) -> bool {
        true
    }

    fn selectable_fields(&self) -> Vec<FieldSpec> {
        vec![FieldSpec::at("spec.unschedulable", &["spec.unschedulable"], "false")]
    }
}

fn taints(list: &At<'_>, errors: &mut ErrorList) {
    let mut seen = HashSet::new();
    for taint in list.items() {
        let (key, value, effect) = (taint.child("key"), taint.child("value"), taint.child("effect"));
        label_selector::label_name(&key, errors);
        value.messages(errors, names::label_value(value.text()));
        effect.one_of(errors, scheduling::TAINT_EFFECTS);
        if !seen.insert((key.text().to_owned(), effect.text().to_owned())) {
            let path = taint.path();
            let message = "taints must be unique by key and effect pair";
            let mut error = Error::duplicate(&path, taint.value().cloned().unwrap_or_default());
            error.detail = message.to_owned();
            errors.push(error);
        }
    }
}

fn cidrs(spec: &At<'_>, errors: &mut ErrorList) {
    let list = spec.child("podCIDRs");
    for cidr in list.items() {
        if cidr.text().parse::<ipnet::IpNet>().is_err() {
            cidr.invalid(errors, "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)");
        }
    }
    let version = |at: At<'_>| at.text().parse::<ipnet::IpNet>().ok().map(|cidr| cidr.addr().is_ipv4());
    if list.len() > 1 && (list.len() > 2 || version(list.index(0)) == version(list.index(1))) {
        list.invalid(errors, "may specify no more than one CIDR for each IP family");
    }
}

fn status_resources(root: &At<'_>, errors: &mut ErrorList) {
    let status = root.child("status");
    for field in ["capacity", "allocatable"] {
        let list = status.child(field);
        for (name, value) in list.entries() {
            for message in names::qualified_name(name) {
                errors.push(Error::invalid(&value.path(), name, message));
            }
            resources::quantity_value(name, &value, errors);
        }
    }
    let endpoints = status.child("daemonEndpoints");
    let endpoint = endpoints.child("kubeletEndpoint");
    let port = endpoint.child("Port");
    if port.int().unwrap_or(0) != 0 {
        formats::port_number(&port, errors);
    }
}
