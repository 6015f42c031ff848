//! discovery.k8s.io: EndpointSlice.
//!
//! Follows `pkg/registry/discovery/endpointslice` and `pkg/apis/discovery/validation`.

use std::collections::HashSet;

use skiff_apimachinery::field::{Error, ErrorList};
use skiff_apimachinery::names;
use skiff_apimachinery::value::{Object, Value};

use crate::registry::at::At;
use crate::registry::core::validation::{formats, ip};
use crate::registry::defaults::{absent, each};
use crate::registry::object_meta;
use crate::registry::strategy::{Strategy, WriteScope};

const MAX_ENDPOINTS: usize = 1000;
const MAX_PORTS: usize = 20_000;
const MAX_ADDRESSES: usize = 100;
const MAX_TOPOLOGY_LABELS: usize = 16;
const MAX_HINTS: usize = 8;
const HOSTNAME_LABEL: &str = "kubernetes.io/hostname";
/// Label of slices that a controller keeps; these write no address that one would be warned of.
const MANAGED_BY: &str = "endpointslice.kubernetes.io/managed-by";
const CONTROLLERS: [&str; 2] = ["endpointslice-controller.k8s.io", "endpointslicemirroring-controller.k8s.io"];

/// EndpointSlice.
pub struct EndpointSliceStrategy;

impl Strategy for EndpointSliceStrategy {
    fn set_defaults(&self, object: &mut Value) {
        each(object.object_at_mut(&[]), "ports", |port| {
            absent(port, "name", "");
            absent(port, "protocol", "TCP");
        });
    }

    fn prepare_for_create(&self, _scope: WriteScope<'_>, object: &mut Value) {
        drop_topology(object, None);
    }

    fn prepare_for_update(&self, _scope: WriteScope<'_>, new: &mut Value, old: &Value) {
        drop_topology(new, Some(old));
    }

    fn validate(&self, object: &Value) -> ErrorList {
        let mut errors = ErrorList::default();
        let root = At::root(object);
        head(&root, &mut errors);
        endpoints(&root, &mut errors);
        errors
    }

    fn validate_update(&self, _scope: WriteScope<'_>, new: &Value, old: &Value) -> ErrorList {
        let mut errors = ErrorList::default();
        let (new_root, old_root) = (At::root(new), At::root(old));
        head(&new_root, &mut errors);
        // What was accepted once stays so until somebody changes it.
        if new.get("endpoints") != old.get("endpoints") {
            endpoints(&new_root, &mut errors);
        }
        new_root.child("addressType").immutable(&mut errors, &old_root.child("addressType"));
        errors
    }

    fn warnings(&self, new: &Value, old: Option<&Value>) -> Vec<String> {
        let mut warnings = Vec::new();
        if old.is_none() && new.str_at(&["addressType"]) == Some("FQDN") {
            warnings.push("spec.addressType: FQDN endpoints are deprecated".to_owned());
        }
        let manager = new.str_at(&["metadata", "labels", MANAGED_BY]).unwrap_or("");
        if !CONTROLLERS.contains(&manager) {
            let root = At::root(new);
            for endpoint in root.child("endpoints").items() {
                for address in endpoint.child("addresses").items() {
                    warnings.extend(ip::warning(&address.path(), address.text()));
                }
            }
        }
        warnings
    }

    fn counts_generation(&self) -> bool {
        true
    }

    fn generation_changed(&self, new: &Value, old: &Value) -> bool {
        ["endpoints", "ports", "addressType"].iter().any(|field| new.get(field) != old.get(field))
            || new.at(&["metadata", "labels"]) != old.at(&["metadata", "labels"])
    }
}

/// Drops a field that this version only shows. A node's name that was kept there moves to where it belongs.
fn drop_topology(new: &mut Value, old: Option<&Value>) {
    if old.is_some_and(|old| new.get("endpoints") == old.get("endpoints")) {
        return;
    }
    let topology = ["deprecatedTopology", HOSTNAME_LABEL];
    let known = old.map(|old| old.array_at(&["endpoints"])).unwrap_or_default();
    let known = known.iter().filter_map(|endpoint| endpoint.str_at(&topology)).collect::<HashSet<_>>();
    each(new.object_at_mut(&[]), "endpoints", |endpoint: &mut Object| {
        let Some(topology) = endpoint.remove("deprecatedTopology") else { return };
        let node = topology.get(HOSTNAME_LABEL).and_then(Value::as_str).filter(|node| known.contains(node));
        if let Some(node) = node.filter(|node| names::dns1123_subdomain(node).is_empty()) {
            absent(endpoint, "nodeName", node);
        }
    });
}

fn limit(list: &At<'_>, most: usize, errors: &mut ErrorList) -> bool {
    if list.len() > most {
        errors.push(Error::too_many(&list.path(), list.len(), most));
    }
    list.len() <= most
}

fn head(root: &At<'_>, errors: &mut ErrorList) {
    root.child("addressType").one_of(errors, &["FQDN", "IPv4", "IPv6"]);
    let ports = root.child("ports");
    if !limit(&ports, MAX_PORTS, errors) {
        return;
    }
    let mut seen = HashSet::new();
    for port in ports.items() {
        let name = port.child("name");
        if !name.is_empty() {
            formats::label(&name, errors);
        }
        if !seen.insert(name.text().to_owned()) {
            name.duplicate(errors);
        }
        port.child("protocol").if_set_one_of(errors, &["SCTP", "TCP", "UDP"]);
        let application = port.child("appProtocol");
        if application.is_set() {
            application.messages(errors, names::qualified_name(application.text()));
        }
    }
}

fn endpoints(root: &At<'_>, errors: &mut ErrorList) {
    let (list, family) = (root.child("endpoints"), root.child("addressType").text());
    if !limit(&list, MAX_ENDPOINTS, errors) {
        return;
    }
    for endpoint in list.items() {
        let addresses = endpoint.child("addresses");
        if addresses.is_empty() {
            addresses.required(errors, "must contain at least 1 address");
        }
        limit(&addresses, MAX_ADDRESSES, errors);
        for address in addresses.items() {
            endpoint_address(&address, &addresses, family, errors);
        }
        let node = endpoint.child("nodeName");
        if node.is_set() {
            formats::subdomain(&node, errors);
        }
        let topology = endpoint.child("deprecatedTopology");
        let labels = topology.entries().count();
        if labels > MAX_TOPOLOGY_LABELS {
            errors.push(Error::too_many(&topology.path(), labels, MAX_TOPOLOGY_LABELS));
        }
        if let Some(labels) = topology.value() {
            errors.extend(object_meta::validate_labels(labels, &topology.path()));
        }
        let hostname = endpoint.child("hostname");
        if hostname.is_set() {
            formats::label(&hostname, errors);
        }
        hints(&endpoint.child("hints"), errors);
    }
}

fn endpoint_address(address: &At<'_>, list: &At<'_>, family: &str, errors: &mut ErrorList) {
    let valid = match family {
        "IPv4" => ip::legacy(address, &[], errors),
        "IPv6" => ip::strict(address, errors),
        "FQDN" => {
            fully_qualified(address, errors);
            false
        }
        _ => false,
    };
    if valid {
        if ip::sloppy(address.text()).is_some_and(|ip| ip.is_ipv4() != (family == "IPv4")) {
            errors.push(Error::invalid(&list.path(), address.text(), format!("must be an {family} address")));
        }
        ip::not_special(address, errors);
    }
}

/// A domain name of at least two labels (`IsFullyQualifiedDomainName` upstream).
fn fully_qualified(at: &At<'_>, errors: &mut ErrorList) {
    if at.is_empty() {
        return at.required(errors, "");
    }
    let name = at.text().strip_suffix('.').unwrap_or(at.text());
    let faults = names::dns1123_subdomain(name);
    if !faults.is_empty() {
        errors.push(Error::invalid(&at.path(), name, faults.join(",")));
    } else if !name.contains('.') {
        errors.push(Error::invalid(
            &at.path(),
            name,
            "should be a domain with at least two segments separated by dots",
        ));
    } else {
        let mut labels = name.split('.').map(|label| (label, names::dns1123_label(label)));
        if let Some((label, faults)) = labels.find(|(_, faults)| !faults.is_empty()) {
            errors.push(Error::invalid(&at.path(), label, faults.join(",")));
        }
    }
}

/// What is wrong with a name.
type Rule = fn(&str) -> Vec<String>;

fn hints(hints: &At<'_>, errors: &mut ErrorList) {
    let rules: [(&str, Rule); 2] = [("forZones", names::label_value), ("forNodes", names::dns1123_subdomain)];
    for (field, rule) in rules {
        let list = hints.child(field);
        if !limit(&list, MAX_HINTS, errors) {
            return;
        }
        let mut seen = HashSet::new();
        for item in list.items() {
            let name = item.child("name");
            if !seen.insert(name.text().to_owned()) {
                name.duplicate(errors);
            }
            errors.extend(rule(name.text()).into_iter().map(|fault| Error::invalid(&name.path(), name.text(), fault)));
        }
    }
}
