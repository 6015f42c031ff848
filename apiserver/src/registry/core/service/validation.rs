//! What is wrong with a Service, and with a change of one.
//!
//! Follows `validateService` and the functions around it in `pkg/apis/core/validation/validation.go`.

use std::collections::HashSet;

use skiff_apimachinery::field::{Error, ErrorList, Path};
use skiff_apimachinery::names;
use skiff_apimachinery::value;
use skiff_apimachinery::value::{Object, Value};

use super::cluster_ips::{self, is_headless};
use super::{is_external, needs_health_check};
use crate::registry::at::At;
use crate::registry::core::validation::{formats, ip};
use crate::registry::{internal, object_meta};

const MAX_AFFINITY_SECONDS: i64 = 86400;
const TYPES: &[&str] = &["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"];
const HINTS_ANNOTATION: &str = "service.kubernetes.io/topology-aware-hints";
const MODE_ANNOTATION: &str = "service.kubernetes.io/topology-mode";
const SOURCE_RANGES_ANNOTATION: &str = "service.beta.kubernetes.io/load-balancer-source-ranges";
const ONLY_LOAD_BALANCER: &str = "may only be used when `type` is 'LoadBalancer'";

/// Validates a Service; `old` is the one before a change.
pub(super) fn validate(root: &At<'_>, old: Option<&At<'_>>, errors: &mut ErrorList) {
    let spec = root.child("spec");
    let before = old.map(|old| old.child("spec"));
    topology_annotations(root, errors);
    of_type(&spec, errors);
    ports(&spec, errors);
    let selector = spec.child("selector");
    if let Some(value) = selector.value() {
        errors.extend(object_meta::validate_labels(value, &selector.path()));
    }
    affinity(&spec, errors);
    cluster_ips::validate(&spec, before.as_ref(), errors);
    external_ips(&spec, before.as_ref(), errors);
    spec.child("type").one_of(errors, TYPES);
    unique_ports(&spec, errors);
    source_ranges(root, old, errors);
    load_balancer(&spec, errors);
    traffic_policies(&spec, errors);
}

/// Validates what changed.
pub(super) fn update(new: &At<'_>, old: &At<'_>, errors: &mut ErrorList) {
    let (spec, before) = (new.child("spec"), old.child("spec"));
    cluster_ips::update(&spec, &before, errors);
    let (class, class_before) = (spec.child("loadBalancerClass"), before.child("loadBalancerClass"));
    let both_balance = [&spec, &before].iter().all(|spec| spec.child("type").text() == "LoadBalancer");
    if both_balance && class.value() != class_before.value() {
        class.or_null().invalid(errors, "may not change once set");
    }
    load_balancer_class(&spec, errors);
    let needs = |spec: &At<'_>| {
        spec.value()
            .and_then(Value::as_object)
            .is_some_and(|object| needs_health_check(spec.child("type").text(), object))
    };
    let health = spec.child("healthCheckNodePort");
    if needs(&spec) && needs(&before) && health.value() != before.child("healthCheckNodePort").value() {
        health.forbidden(errors, "field is immutable");
    }
}

fn topology_annotations(root: &At<'_>, errors: &mut ErrorList) {
    let metadata = root.child("metadata");
    let annotations = metadata.child("annotations");
    let (hints, mode) = (annotations.key(HINTS_ANNOTATION), annotations.key(MODE_ANNOTATION));
    if hints.is_set() && mode.is_set() && hints.text() != mode.text() {
        mode.invalid(errors, format!("must match annotations[{HINTS_ANNOTATION}] when both are specified"));
    }
}

fn of_type(spec: &At<'_>, errors: &mut ErrorList) {
    let (kind, ports) = (spec.child("type"), spec.child("ports"));
    let headless = is_headless(spec);
    if ports.is_empty() && !headless && kind.text() != "ExternalName" {
        ports.required(errors, "");
    }
    match kind.text() {
        "LoadBalancer" | "NodePort" if headless => {
            let text = format!("may not be set to 'None' for {} services", kind.text());
            spec.child("clusterIPs").index(0).invalid(errors, text);
        }
        "ExternalName" => external_name(spec, errors),
        _ => {}
    }
}

fn external_name(spec: &At<'_>, errors: &mut ErrorList) {
    for field in ["clusterIPs", "ipFamilies", "ipFamilyPolicy"] {
        let at = spec.child(field);
        if !at.is_empty() {
            at.forbidden(errors, "may not be set for ExternalName services");
        }
    }
    let name = spec.child("externalName");
    let canonical = name.text().strip_suffix('.').unwrap_or(name.text());
    if canonical.is_empty() {
        name.required(errors, "");
    } else {
        for message in names::dns1123_subdomain(canonical) {
            errors.push(Error::invalid(&name.path(), canonical, message));
        }
    }
}

fn ports(spec: &At<'_>, errors: &mut ErrorList) {
    let ports = spec.child("ports");
    let need_names = ports.len() > 1;
    let mut seen = HashSet::new();
    for port in ports.items() {
        let name = port.child("name");
        if need_names && name.is_empty() {
            name.required(errors, "");
        } else if !name.is_empty() {
            formats::label(&name, errors);
            if !seen.insert(name.text().to_owned()) {
                name.duplicate(errors);
            }
        }
        formats::port_number(&port.child("port").or_zero(), errors);
        port.child("protocol").one_of(errors, &["SCTP", "TCP", "UDP"]);
        formats::port_number_or_name(&port.child("targetPort"), errors);
        let application = port.child("appProtocol");
        if application.is_set() {
            application.messages(errors, names::qualified_name(application.text()));
        }
    }
}

fn affinity(spec: &At<'_>, errors: &mut ErrorList) {
    let (kind, config) = (spec.child("sessionAffinity"), spec.child("sessionAffinityConfig"));
    kind.one_of(errors, &["ClientIP", "None"]);
    match kind.text() {
        "ClientIP" => {
            let client = config.child("clientIP");
            let seconds = client.child("timeoutSeconds");
            if !(1..=MAX_AFFINITY_SECONDS).contains(&seconds.int().unwrap_or(0)) {
                seconds
                    .or_zero()
                    .invalid(errors, format!("must be greater than 0 and less than {MAX_AFFINITY_SECONDS}"));
            }
        }
        "None" if config.is_set() => config.forbidden(errors, "must not be set when session affinity is None"),
        _ => {}
    }
}

fn external_ips(spec: &At<'_>, before: Option<&At<'_>>, errors: &mut ErrorList) {
    let old = before.map(|before| before.child("externalIPs").texts());
    let old = old.unwrap_or_default();
    for address in spec.child("externalIPs").items() {
        if ip::legacy(&address, &old, errors) {
            ip::not_special(&address, errors);
        }
    }
}

fn unique_ports(spec: &At<'_>, errors: &mut ErrorList) {
    let ports = spec.child("ports");
    if spec.child("type").text() == "ClusterIP" {
        for port in ports.items().filter(|port| port.child("nodePort").int().unwrap_or(0) != 0) {
            port.child("nodePort").forbidden(errors, "may not be used when `type` is 'ClusterIP'");
        }
    }
    let key =
        |port: &At<'_>, field: &str| (port.child("protocol").text().to_owned(), port.child(field).int().unwrap_or(0));
    let mut seen = HashSet::new();
    for port in ports.items().filter(|port| port.child("nodePort").int().unwrap_or(0) != 0) {
        if !seen.insert(key(&port, "nodePort")) {
            port.child("nodePort").duplicate(errors);
        }
    }
    let mut seen = HashSet::new();
    for port in ports.items() {
        let key = key(&port, "port");
        if !seen.insert(key.clone()) {
            let shown = value!({"protocol": (key.0), "port": (key.1)});
            errors.push(Error::duplicate(&port.path(), internal::shown(Some(&shown), "ServicePort")));
        }
    }
}

/// Validates the sources that a load balancer lets in, or else the annotation that once said so.
fn source_ranges(root: &At<'_>, old: Option<&At<'_>>, errors: &mut ErrorList) {
    let (spec, metadata) = (root.child("spec"), root.child("metadata"));
    let balances = spec.child("type").text() == "LoadBalancer";
    let ranges = spec.child("loadBalancerSourceRanges");
    let annotations = metadata.child("annotations");
    let annotation = annotations.key(SOURCE_RANGES_ANNOTATION);
    if !ranges.is_empty() {
        let path = Path::new("spec").child("LoadBalancerSourceRanges");
        if !balances {
            errors.push(Error::forbidden(&path, ONLY_LOAD_BALANCER));
        }
        let before = old.and_then(|old| old.value()).map(|old| old.array_at(&["spec", "loadBalancerSourceRanges"]));
        let before = before.unwrap_or_default().iter().filter_map(Value::as_str).map(str::trim).collect::<Vec<_>>();
        for (index, range) in ranges.items().enumerate() {
            ip::legacy_cidr(&path.index(index), range.text().trim(), &before, errors);
        }
    } else if annotation.is_set() {
        if !balances {
            annotation.forbidden(errors, ONLY_LOAD_BALANCER);
        }
        let old = old.and_then(|old| old.value());
        let before = old.and_then(|old| old.str_at(&["metadata", "annotations", SOURCE_RANGES_ANNOTATION]));
        if before != Some(annotation.text()) && !annotation.text().trim().is_empty() {
            for range in annotation.text().split(',') {
                ip::legacy_cidr(&annotation.path(), range.trim(), &[], errors);
            }
        }
    }
}

fn load_balancer(spec: &At<'_>, errors: &mut ErrorList) {
    let (balances, allocate) =
        (spec.child("type").text() == "LoadBalancer", spec.child("allocateLoadBalancerNodePorts"));
    match (allocate.is_set(), balances) {
        (true, false) => allocate.forbidden(errors, ONLY_LOAD_BALANCER),
        (false, true) => errors.push(Error::required(&Path::new("allocateLoadBalancerNodePorts"), "")),
        _ => {}
    }
    load_balancer_class(spec, errors);
}

fn load_balancer_class(spec: &At<'_>, errors: &mut ErrorList) {
    let class = spec.child("loadBalancerClass");
    if class.is_set() {
        if spec.child("type").text() == "LoadBalancer" {
            class.messages(errors, names::qualified_name(class.text()));
        } else {
            class.forbidden(errors, ONLY_LOAD_BALANCER);
        }
    }
}

fn traffic_policies(spec: &At<'_>, errors: &mut ErrorList) {
    let empty = Object::new();
    let object = spec.value().and_then(Value::as_object).unwrap_or(&empty);
    let kind = spec.child("type").text();
    let external = spec.child("externalTrafficPolicy");
    if is_external(kind, object) {
        external.one_of(errors, &["Cluster", "Local"]);
    } else if !external.is_empty() {
        external.invalid(errors, "may only be set for externally-accessible services");
    }
    let health = spec.child("healthCheckNodePort");
    if needs_health_check(kind, object) {
        if health.int().unwrap_or(0) == 0 {
            health.required(errors, "");
        } else {
            formats::port_number(&health, errors);
        }
    } else if health.int().unwrap_or(0) != 0 {
        health.invalid(errors, "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'");
    }
    let internal = spec.child("internalTrafficPolicy");
    if matches!(kind, "ClusterIP" | "NodePort" | "LoadBalancer") && !internal.is_set() {
        internal.required(errors, "");
    }
    internal.if_set_one_of(errors, &["Cluster", "Local"]);
    // In upstream's order, which is not that of the alphabet.
    spec.child("trafficDistribution").if_set_one_of(errors, &["PreferClose", "PreferSameZone", "PreferSameNode"]);
}

/// Validates a write to `status` (`ValidateLoadBalancerStatus` upstream).
pub(super) fn load_balancer_status(new: &At<'_>, old: &At<'_>, errors: &mut ErrorList) {
    let status = new.child("status");
    let balancer = status.child("loadBalancer");
    let ingress = balancer.child("ingress");
    if new.child("spec").child("type").text() != "LoadBalancer" {
        if !ingress.is_empty() {
            ingress.forbidden(errors, "may only be used when `spec.type` is 'LoadBalancer'");
        }
        return;
    }
    let before = old.value().map(|old| old.array_at(&["status", "loadBalancer", "ingress"])).unwrap_or_default();
    let before = before.iter().filter_map(|ingress| ingress.str_at(&["ip"])).collect::<Vec<_>>();
    for ingress in ingress.items() {
        let (address, mode, hostname) = (ingress.child("ip"), ingress.child("ipMode"), ingress.child("hostname"));
        if !address.is_empty() {
            ip::legacy(&address, &before, errors);
        }
        match (mode.is_set(), address.is_empty()) {
            (false, false) => mode.required(errors, "must be specified when `ip` is set"),
            (true, true) => mode.forbidden(errors, "may not be specified when `ip` is not set"),
            _ => mode.if_set_one_of(errors, &["Proxy", "VIP"]),
        }
        if !hostname.is_empty() {
            formats::subdomain(&hostname, errors);
            if ip::sloppy(hostname.text()).is_some() {
                hostname.invalid(errors, "must be a DNS name, not an IP address");
            }
        }
    }
}
