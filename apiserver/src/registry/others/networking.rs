//! networking.k8s.io.

use skiff_apimachinery::field::ErrorList;
use skiff_apimachinery::names;
use skiff_apimachinery::value;
use skiff_apimachinery::value::Value;

use crate::registry::at::At;
use crate::registry::core::validation::{formats, label_selector};
use crate::registry::defaults::{absent, each, within};
use crate::registry::strategy::{Strategy, WriteScope};

/// Ingress.
pub struct IngressStrategy;

impl Strategy for IngressStrategy {
    fn validate(&self, object: &Value) -> ErrorList {
        let mut errors = ErrorList::default();
        let root = At::root(object);
        let spec = root.child("spec");
        let (rules, default) = (spec.child("rules"), spec.child("defaultBackend"));
        if rules.is_empty() && !default.is_set() {
            spec.invalid(&mut errors, "either `defaultBackend` or `rules` must be specified");
        }
        if default.is_set() {
            backend(&default, &mut errors);
        }
        for rule in rules.items() {
            let host = rule.child("host");
            if !host.is_empty() {
                let name = host.text().strip_prefix("*.").unwrap_or(host.text());
                host.messages(&mut errors, names::dns1123_subdomain(name));
            }
            let http = rule.child("http");
            let paths = http.child("paths");
            if http.is_set() && paths.is_empty() {
                paths.required(&mut errors, "");
            }
            for path in paths.items() {
                ingress_path(&path, &mut errors);
            }
        }
        let class = spec.child("ingressClassName");
        if class.is_set() {
            formats::subdomain(&class, &mut errors);
        }
        errors
    }

    fn counts_generation(&self) -> bool {
        true
    }
}

fn ingress_path(at: &At<'_>, errors: &mut ErrorList) {
    let (kind, path) = (at.child("pathType"), at.child("path"));
    match kind.text() {
        "" => kind.required(errors, "pathType must be specified"),
        "Exact" | "Prefix" if !path.text().starts_with('/') => path.invalid(errors, "must be an absolute path"),
        "ImplementationSpecific" if !path.is_empty() && !path.text().starts_with('/') => {
            path.invalid(errors, "must be an absolute path");
        }
        "Exact" | "Prefix" | "ImplementationSpecific" => {}
        _ => kind.not_supported(errors, &["Exact", "ImplementationSpecific", "Prefix"]),
    }
    backend(&at.child("backend"), errors);
}

fn backend(at: &At<'_>, errors: &mut ErrorList) {
    let (service, resource) = (at.child("service"), at.child("resource"));
    match (service.is_set(), resource.is_set()) {
        (true, true) => at.invalid(errors, "cannot set both resource and service backends"),
        (false, false) => at.required(errors, "resource or service backend is required"),
        (false, true) => {}
        (true, false) => {
            let name = service.child("name");
            if name.require(errors) {
                name.messages(errors, names::dns1035_label(name.text()));
            }
            let port = service.child("port");
            let (by_name, number) = (port.child("name"), port.child("number"));
            match (by_name.is_empty(), number.int().unwrap_or(0) != 0) {
                (false, true) => port.invalid(errors, "cannot set both port name & port number"),
                (true, false) => port.required(errors, "port name or number is required"),
                (false, false) => by_name.messages(errors, names::port_name(by_name.text())),
                (true, true) => formats::port_number(&number, errors),
            }
        }
    }
}

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
        if !controller.text().contains('/') {
            controller.invalid(&mut errors, "must be a domain-prefixed path (such as \"acme.io/foo\")");
        }
        errors
    }

    fn validate_update(&self, _scope: WriteScope<'_>, new: &Value, old: &Value) -> ErrorList {
        let mut errors = self.validate(new);
        let (new, old) = (At::root(new), At::root(old));
        let (spec, before) = (new.child("spec"), old.child("spec"));
        spec.child("controller").immutable(&mut errors, &before.child("controller"));
        errors
    }

    fn counts_generation(&self) -> bool {
        true
    }
}

/// NetworkPolicy.
pub struct NetworkPolicyStrategy;

impl Strategy for NetworkPolicyStrategy {
    fn set_defaults(&self, object: &mut Value) {
        let spec = object.object_at_mut(&["spec"]);
        absent(spec, "podSelector", skiff_apimachinery::value::Object::new());
        if spec.get("policyTypes").and_then(Value::as_array).is_none_or(<[_]>::is_empty) {
            let egress = spec.get("egress").and_then(Value::as_array).is_some_and(|rules| !rules.is_empty());
            let types = if egress { value!(["Ingress", "Egress"]) } else { value!(["Ingress"]) };
            spec.insert("policyTypes", types);
        }
        for direction in ["ingress", "egress"] {
            each(spec, direction, |rule| each(rule, "ports", |port| absent(port, "protocol", "TCP")));
        }
    }

    fn validate(&self, object: &Value) -> ErrorList {
        let mut errors = ErrorList::default();
        let root = At::root(object);
        let spec = root.child("spec");
        label_selector::validate(&spec.child("podSelector"), &mut errors);
        for (direction, peers) in [("ingress", "from"), ("egress", "to")] {
            let rules = spec.child(direction);
            for rule in rules.items() {
                let ports = rule.child("ports");
                for port in ports.items() {
                    policy_port(&port, &mut errors);
                }
                let peers = rule.child(peers);
                for peer in peers.items() {
                    policy_peer(&peer, &mut errors);
                }
            }
        }
        let types = spec.child("policyTypes");
        if types.len() > 2 {
            types.invalid(&mut errors, "may not specify more than two policyTypes");
        }
        for kind in types.items() {
            kind.if_set_one_of(&mut errors, &["Egress", "Ingress"]);
        }
        errors
    }

    fn counts_generation(&self) -> bool {
        true
    }
}

fn policy_port(port: &At<'_>, errors: &mut ErrorList) {
    port.child("protocol").if_set_one_of(errors, &["SCTP", "TCP", "UDP"]);
    let (number, end) = (port.child("port"), port.child("endPort"));
    if number.is_set() {
        formats::port_number_or_name(&number, errors);
    }
    if end.is_set() {
        match number.int() {
            Some(first) if end.int().is_some_and(|last| last < first) => {
                end.invalid(errors, "must be greater than or equal to `port`");
            }
            Some(_) => formats::port_number(&end, errors),
            None => end.required(errors, "may not be specified when `port` is not specified or non-numeric"),
        }
    }
}

fn policy_peer(peer: &At<'_>, errors: &mut ErrorList) {
    let (pods, namespaces, block) = (peer.child("podSelector"), peer.child("namespaceSelector"), peer.child("ipBlock"));
    for selector in [&pods, &namespaces] {
        label_selector::validate(selector, errors);
    }
    if !pods.is_set() && !namespaces.is_set() && !block.is_set() {
        peer.required(errors, "must specify a peer");
    }
    if block.is_set() {
        if pods.is_set() || namespaces.is_set() {
            peer.forbidden(errors, "may not specify both ipBlock and another peer");
        }
        let cidr = block.child("cidr");
        if cidr.text().parse::<ipnet::IpNet>().is_err() {
            cidr.invalid(errors, "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)");
        }
    }
}
