//! Endpoints.
//!
//! Follows `ValidateEndpoints` and the canonical order of `pkg/api/v1/endpoints`.

use skiff_apimachinery::field::ErrorList;
use skiff_apimachinery::value::Value;

use super::validation::formats;
use crate::registry::at::At;
use crate::registry::defaults::{each, text};
use crate::registry::strategy::Strategy;

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
        let subsets = root.child("subsets");
        for subset in subsets.items() {
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

    fn allow_create_on_update(&self) -> bool {
        true
    }
}

fn endpoint_address(address: &At<'_>, errors: &mut ErrorList) {
    let ip = address.child("ip");
    formats::ip_address(&ip, errors);
    non_special_ip(&ip, errors);
    let hostname = address.child("hostname");
    if !hostname.is_empty() {
        formats::label(&hostname, errors);
    }
    let node = address.child("nodeName");
    if node.is_set() {
        formats::subdomain(&node, errors);
    }
}

/// Traffic must not be led to the node itself or to link-local places (`ValidateNonSpecialIP` upstream).
pub fn non_special_ip(at: &At<'_>, errors: &mut ErrorList) {
    let Ok(ip) = at.text().parse::<std::net::IpAddr>() else {
        return;
    };
    if ip.is_unspecified() {
        at.invalid(errors, format!("may not be unspecified ({ip})"));
    }
    if ip.is_loopback() {
        at.invalid(errors, "may not be in the loopback range (127.0.0.0/8, ::1/128)");
    }
    let (local, local_multicast) = match ip {
        std::net::IpAddr::V4(ip) => (ip.is_link_local(), ip.octets()[..3] == [224, 0, 0]),
        std::net::IpAddr::V6(ip) => (ip.is_unicast_link_local(), ip.segments()[0] == 0xff02),
    };
    if local {
        at.invalid(errors, "may not be in the link-local range (169.254.0.0/16, fe80::/10)");
    }
    if local_multicast {
        at.invalid(errors, "may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)");
    }
}

fn endpoint_port(port: &At<'_>, need_name: bool, errors: &mut ErrorList) {
    let name = port.child("name");
    if !name.is_empty() {
        formats::label(&name, errors);
    } else if need_name {
        name.required(errors, "");
    }
    formats::port_number(&port.child("port"), errors);
    port.child("protocol").one_of(errors, &["SCTP", "TCP", "UDP"]);
}
