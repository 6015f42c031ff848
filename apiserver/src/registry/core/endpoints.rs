//! Endpoints.
//!
//! Follows `ValidateEndpoints` and `pkg/registry/core/endpoint`.

use skiff_apimachinery::field::ErrorList;
use skiff_apimachinery::names;
use skiff_apimachinery::value::Value;

use super::validation::{formats, ip};
use crate::registry::at::At;
use crate::registry::defaults::{each, text};
use crate::registry::strategy::{Strategy, WriteScope};

/// Label of those that the controller keeps; it writes no address that one would be warned of.
const MANAGED_BY: &str = "endpoints.kubernetes.io/managed-by";
const CONTROLLER: &str = "endpoint-controller";

/// See the module.
pub struct EndpointsStrategy;

impl Strategy for EndpointsStrategy {
    fn set_defaults(&self, object: &mut Value) {
        each(object.object_at_mut(&[]), "subsets", |subset| {
            each(subset, "ports", |port| text(port, "protocol", "TCP"));
        });
    }

    fn validate(&self, object: &Value) -> ErrorList {
        let mut errors = ErrorList::default();
        let root = At::root(object);
        for subset in root.child("subsets").items() {
            let (ready, waiting) = (subset.child("addresses"), subset.child("notReadyAddresses"));
            if ready.is_empty() && waiting.is_empty() {
                subset.required(&mut errors, "must specify `addresses` or `notReadyAddresses`");
            }
            for list in [&ready, &waiting] {
                for address in list.items() {
                    endpoint_address(&address, &mut errors);
                }
            }
            let ports = subset.child("ports");
            for port in ports.items() {
                endpoint_port(&port, ports.len() > 1, &mut errors);
            }
        }
        errors
    }

    fn validate_update(&self, _scope: WriteScope<'_>, new: &Value, old: &Value) -> ErrorList {
        // What was accepted once stays so until somebody changes it.
        if new.get("subsets") == old.get("subsets") { ErrorList::default() } else { self.validate(new) }
    }

    fn warnings(&self, new: &Value, _old: Option<&Value>) -> Vec<String> {
        if new.str_at(&["metadata", "labels", MANAGED_BY]) == Some(CONTROLLER) {
            return Vec::new();
        }
        let mut warnings = Vec::new();
        let root = At::root(new);
        for subset in root.child("subsets").items() {
            for list in ["addresses", "notReadyAddresses"] {
                for address in subset.child(list).items() {
                    let address = address.child("ip");
                    warnings.extend(ip::warning(&address.path(), address.text()));
                }
            }
        }
        warnings
    }

    fn allow_create_on_update(&self) -> bool {
        true
    }
}

fn endpoint_address(address: &At<'_>, errors: &mut ErrorList) {
    let host = address.child("ip");
    ip::legacy(&host, &[], errors);
    let hostname = address.child("hostname");
    if !hostname.is_empty() {
        formats::label(&hostname, errors);
    }
    let node = address.child("nodeName");
    if node.is_set() {
        formats::subdomain(&node, errors);
    }
    ip::not_special(&host, errors);
}

fn endpoint_port(port: &At<'_>, need_name: bool, errors: &mut ErrorList) {
    let name = port.child("name");
    if !name.is_empty() {
        formats::label(&name, errors);
    } else if need_name {
        name.required(errors, "");
    }
    formats::port_number(&port.child("port").or_zero(), errors);
    port.child("protocol").one_of(errors, &["SCTP", "TCP", "UDP"]);
    let application = port.child("appProtocol");
    if application.is_set() {
        application.messages(errors, names::qualified_name(application.text()));
    }
}
