//! NetworkPolicy.

use skiff_apimachinery::field::ErrorList;
use skiff_apimachinery::value;
use skiff_apimachinery::value::{Object, Value};

use crate::registry::at::At;
use crate::registry::core::validation::{formats, ip, label_selector};
use crate::registry::defaults::{absent, each};
use crate::registry::strategy::{Strategy, WriteScope};

const PROTOCOLS: &[&str] = &["TCP", "UDP", "SCTP"];
const TYPES: &[&str] = &["Ingress", "Egress"];
/// The two directions and what a rule of each calls its peers.
const DIRECTIONS: [(&str, &str); 2] = [("ingress", "from"), ("egress", "to")];

/// NetworkPolicy.
pub struct NetworkPolicyStrategy;

impl Strategy for NetworkPolicyStrategy {
    fn set_defaults(&self, object: &mut Value) {
        let spec = object.object_at_mut(&["spec"]);
        absent(spec, "podSelector", Object::new());
        if spec.get("policyTypes").and_then(Value::as_array).is_none_or(<[_]>::is_empty) {
            let egress = spec.get("egress").and_then(Value::as_array).is_some_and(|rules| !rules.is_empty());
            let types = if egress { value!(["Ingress", "Egress"]) } else { value!(["Ingress"]) };
            spec.insert("policyTypes", types);
        }
        for (direction, _) in DIRECTIONS {
            each(spec, direction, |rule| each(rule, "ports", |port| absent(port, "protocol", "TCP")));
        }
    }

    fn validate(&self, object: &Value) -> ErrorList {
        let mut errors = ErrorList::default();
        spec(&At::root(object).child("spec"), &[], &mut errors);
        errors
    }

    fn validate_update(&self, _scope: WriteScope<'_>, new: &Value, old: &Value) -> ErrorList {
        let mut errors = ErrorList::default();
        let old = At::root(old);
        let before = old.child("spec");
        spec(&At::root(new).child("spec"), &ranges(&before), &mut errors);
        errors
    }

    fn warnings(&self, new: &Value, _old: Option<&Value>) -> Vec<String> {
        let root = At::root(new);
        let spec = root.child("spec");
        let mut warnings = Vec::new();
        for_each_block(&spec, &mut |block| {
            let cidr = block.child("cidr");
            warnings.extend(ip::cidr_warnings(&cidr.path(), cidr.text()));
            for except in block.child("except").items() {
                warnings.extend(ip::cidr_warnings(&except.path(), except.text()));
            }
        });
        warnings
    }

    fn counts_generation(&self) -> bool {
        true
    }
}

/// Calls `with` for every address block of a policy.
fn for_each_block(spec: &At<'_>, with: &mut dyn FnMut(&At<'_>)) {
    for (direction, peers) in DIRECTIONS {
        for rule in spec.child(direction).items() {
            for peer in rule.child(peers).items() {
                let block = peer.child("ipBlock");
                if block.is_set() {
                    with(&block);
                }
            }
        }
    }
}

/// All ranges of a policy; they stay allowed, whatever they look like.
fn ranges<'a>(spec: &At<'a>) -> Vec<&'a str> {
    let mut found = Vec::new();
    let Some(spec) = spec.value() else { return found };
    for (direction, peers) in DIRECTIONS {
        let rules = spec.array_at(&[direction]).iter();
        for block in rules.flat_map(|rule| rule.array_at(&[peers])).filter_map(|peer| peer.get("ipBlock")) {
            found.extend(block.str_at(&["cidr"]));
            found.extend(block.array_at(&["except"]).iter().filter_map(Value::as_str));
        }
    }
    found
}

fn spec(spec: &At<'_>, allowed: &[&str], errors: &mut ErrorList) {
    label_selector::validate(&spec.child("podSelector"), errors);
    for (direction, peers) in DIRECTIONS {
        for rule in spec.child(direction).items() {
            for port in rule.child("ports").items() {
                policy_port(&port, errors);
            }
            for peer in rule.child(peers).items() {
                policy_peer(&peer, allowed, errors);
            }
        }
    }
    let types = spec.child("policyTypes");
    if types.len() > TYPES.len() {
        return types.invalid(errors, "may not specify more than two policyTypes");
    }
    for kind in types.items() {
        kind.if_set_one_of(errors, TYPES);
    }
}

fn policy_port(port: &At<'_>, errors: &mut ErrorList) {
    port.child("protocol").if_set_one_of(errors, PROTOCOLS);
    let (number, end) = (port.child("port"), port.child("endPort"));
    let by_number = number.int();
    match (number.is_set(), by_number, end.int()) {
        (false, _, Some(_)) => end.invalid(errors, "may not be specified when `port` is not specified"),
        (true, Some(first), Some(last)) => {
            formats::port_number(&number, errors);
            if last < first {
                // The message shows the first port, not the last.
                let first = At::root(number.value().unwrap_or(&Value::Null));
                errors.push(skiff_apimachinery::field::Error::invalid(
                    &end.path(),
                    first.int().unwrap_or(0),
                    "must be greater than or equal to `port`",
                ));
            }
            formats::port_number(&end, errors);
        }
        (true, None, Some(_)) => {
            end.invalid(errors, "may not be specified when `port` is non-numeric");
            formats::port_number_or_name(&number, errors);
        }
        (true, _, None) => formats::port_number_or_name(&number, errors),
        (false, _, None) => {}
    }
}

fn policy_peer(peer: &At<'_>, allowed: &[&str], errors: &mut ErrorList) {
    let (pods, namespaces, block) = (peer.child("podSelector"), peer.child("namespaceSelector"), peer.child("ipBlock"));
    for selector in [&pods, &namespaces] {
        label_selector::validate(selector, errors);
    }
    if block.is_set() {
        ip_block(&block, allowed, errors);
    }
    if !pods.is_set() && !namespaces.is_set() && !block.is_set() {
        peer.required(errors, "must specify a peer");
    } else if block.is_set() && (pods.is_set() || namespaces.is_set()) {
        peer.forbidden(errors, "may not specify both ipBlock and another peer");
    }
}

fn ip_block(block: &At<'_>, allowed: &[&str], errors: &mut ErrorList) {
    let cidr = block.child("cidr");
    if !cidr.require(errors) {
        return;
    }
    ip::legacy_cidr(&cidr.path(), cidr.text(), allowed, errors);
    let Some((_, outer)) = ip::sloppy_cidr(cidr.text()) else { return };
    for except in block.child("except").items() {
        ip::legacy_cidr(&except.path(), except.text(), allowed, errors);
        let Some((_, inner)) = ip::sloppy_cidr(except.text()) else { continue };
        if !outer.contains(&inner.network()) || outer.prefix_len() >= inner.prefix_len() {
            except.invalid(errors, "must be a strict subset of `cidr`");
        }
    }
}
