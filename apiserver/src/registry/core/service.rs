//! Service.
//!
//! Follows `pkg/registry/core/service` and `ValidateService`. What is allocated (cluster IPs, node ports) is filled in by
//! [`crate::registry::core::service_allocation`] before anything here validates it.

use std::collections::HashSet;
use std::net::IpAddr;

use skiff_apimachinery::field::{Error, ErrorList};
use skiff_apimachinery::names;
use skiff_apimachinery::value::{Object, Value};

use super::validation::formats;
use crate::cacher::FieldSpec;
use crate::registry::at::At;
use crate::registry::defaults::{absent, each, text};
use crate::registry::object_meta;
use crate::registry::strategy::{NameRule, Strategy, WriteScope, dns_label};

/// How long a client sticks to an endpoint unless stated otherwise.
const AFFINITY_SECONDS: i64 = 10800;
const MAX_AFFINITY_SECONDS: i64 = 86400;
const TYPES: &[&str] = &["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"];

/// See the module.
pub struct ServiceStrategy;

impl Strategy for ServiceStrategy {
    fn set_defaults(&self, object: &mut Value) {
        let spec = object.object_at_mut(&["spec"]);
        text(spec, "sessionAffinity", "None");
        match spec.get("sessionAffinity").and_then(Value::as_str) {
            Some("ClientIP") => {
                let client = spec.object_mut("sessionAffinityConfig").object_mut("clientIP");
                absent(client, "timeoutSeconds", AFFINITY_SECONDS);
            }
            _ => drop(spec.remove("sessionAffinityConfig")),
        }
        text(spec, "type", "ClusterIP");
        each(spec, "ports", |port| {
            text(port, "protocol", "TCP");
            let unset = port.get("targetPort").is_none_or(|t| t.as_i64() == Some(0) || t.as_str() == Some(""));
            if unset && let Some(number) = port.get("port").cloned() {
                port.insert("targetPort", number);
            }
        });
        let kind = spec.get("type").and_then(Value::as_str).unwrap_or("").to_owned();
        if is_external(&kind, spec) {
            text(spec, "externalTrafficPolicy", "Cluster");
        }
        if kind != "ExternalName" {
            absent(spec, "internalTrafficPolicy", "Cluster");
        }
        if kind == "LoadBalancer" {
            absent(spec, "allocateLoadBalancerNodePorts", true);
            each(object.object_at_mut(&["status", "loadBalancer"]), "ingress", |ingress| {
                if ingress.get("ip").and_then(Value::as_str).is_some_and(|ip| !ip.is_empty()) {
                    absent(ingress, "ipMode", "VIP");
                }
            });
        }
    }

    fn prepare_for_create(&self, _scope: WriteScope<'_>, object: &mut Value) {
        // Clients take an empty load balancer for granted.
        object.set_at(&["status", "loadBalancer"], Object::new());
    }

    fn prepare_for_update(&self, _scope: WriteScope<'_>, new: &mut Value, old: &Value) {
        drop_type_dependent(new, old);
    }

    fn validate(&self, object: &Value) -> ErrorList {
        let mut errors = ErrorList::default();
        let root = At::root(object);
        validate_spec(&root.child("spec"), &mut errors);
        errors
    }

    fn validate_update(&self, _scope: WriteScope<'_>, new: &Value, old: &Value) -> ErrorList {
        let mut errors = ErrorList::default();
        let (new_root, old_root) = (At::root(new), At::root(old));
        let (spec, before) = (new_root.child("spec"), old_root.child("spec"));
        if spec.child("type").text() != "ExternalName" && before.child("type").text() != "ExternalName" {
            primary_is_immutable(&spec, &before, &mut errors);
        }
        let class = spec.child("loadBalancerClass");
        if before.child("type").text() == "LoadBalancer" && spec.child("type").text() == "LoadBalancer" {
            let was = before.child("loadBalancerClass");
            if class.value() != was.value() {
                class.invalid(&mut errors, "may not change once set");
            }
        }
        errors.extend(self.validate(new));
        errors
    }

    fn warnings(&self, new: &Value, _old: Option<&Value>) -> Vec<String> {
        warnings(new)
    }

    fn name_rule(&self) -> NameRule {
        dns_label
    }

    fn selectable_fields(&self) -> Vec<FieldSpec> {
        vec![FieldSpec::new("spec.clusterIP"), FieldSpec::new("spec.type")]
    }

    fn allow_create_on_update(&self) -> bool {
        true
    }

    fn returns_deleted_object(&self) -> bool {
        true
    }
}

/// Whether traffic from outside can come in.
fn is_external(kind: &str, spec: &Object) -> bool {
    matches!(kind, "NodePort" | "LoadBalancer")
        || (kind == "ClusterIP" && spec.get("externalIPs").and_then(Value::as_array).is_some_and(|ips| !ips.is_empty()))
}

/// Whether a type has cluster IPs.
pub fn needs_cluster_ip(kind: &str) -> bool {
    kind != "ExternalName"
}

/// Whether a type has node ports.
pub fn needs_node_port(kind: &str, spec: &Object) -> bool {
    kind == "NodePort"
        || (kind == "LoadBalancer" && spec.get("allocateLoadBalancerNodePorts").and_then(Value::as_bool) != Some(false))
}

/// Whether load balancers need a port to ask for health.
pub fn needs_health_check(kind: &str, spec: &Object) -> bool {
    kind == "LoadBalancer" && spec.get("externalTrafficPolicy").and_then(Value::as_str) == Some("Local")
}

/// Clears what the new type has no use for, unless the client changed it.
fn drop_type_dependent(new: &mut Value, old: &Value) {
    let old_spec = old.get("spec").cloned().unwrap_or_default();
    let kind_of = |spec: &Value| spec.str_at(&["type"]).unwrap_or("").to_owned();
    let (old_kind, spec) = (kind_of(&old_spec), new.object_at_mut(&["spec"]));
    let kind = spec.get("type").and_then(Value::as_str).unwrap_or("").to_owned();
    let same = |spec: &Object, field: &str| spec.get(field) == old_spec.get(field);
    let old_object = old_spec.as_object().cloned().unwrap_or_default();
    if needs_cluster_ip(&old_kind) && !needs_cluster_ip(&kind) {
        if same(spec, "clusterIP") && same(spec, "clusterIPs") {
            spec.remove("clusterIP");
            spec.remove("clusterIPs");
        }
        for field in ["ipFamilies", "ipFamilyPolicy"] {
            if same(spec, field) {
                spec.remove(field);
            }
        }
        if same(spec, "internalTrafficPolicy") {
            spec.remove("internalTrafficPolicy");
        }
    }
    if needs_node_port(&old_kind, &old_object) && !needs_node_port(&kind, spec) && same_ports(spec, &old_spec) {
        each(spec, "ports", |port| drop(port.remove("nodePort")));
    }
    if needs_health_check(&old_kind, &old_object)
        && !needs_health_check(&kind, spec)
        && same(spec, "healthCheckNodePort")
    {
        spec.remove("healthCheckNodePort");
    }
    if old_kind == "LoadBalancer" && kind != "LoadBalancer" {
        for field in ["allocateLoadBalancerNodePorts", "loadBalancerClass"] {
            if same(spec, field) {
                spec.remove(field);
            }
        }
    }
    if is_external(&old_kind, &old_object) && !is_external(&kind, spec) && same(spec, "externalTrafficPolicy") {
        spec.remove("externalTrafficPolicy");
    }
}

fn same_ports(spec: &Object, old: &Value) -> bool {
    let ports = |list: &[Value]| list.iter().map(|p| p.i64_at(&["nodePort"])).collect::<Vec<_>>();
    ports(spec.get("ports").and_then(Value::as_array).unwrap_or(&[])) == ports(old.array_at(&["ports"]))
}

fn primary_is_immutable(spec: &At<'_>, before: &At<'_>, errors: &mut ErrorList) {
    let (ips, old_ips) = (spec.child("clusterIPs"), before.child("clusterIPs"));
    if !old_ips.is_empty() && ips.index(0).text() != old_ips.index(0).text() {
        ips.invalid(errors, "may not change once set");
    }
    let (families, old_families) = (spec.child("ipFamilies"), before.child("ipFamilies"));
    if !old_families.is_empty() && families.index(0).text() != old_families.index(0).text() {
        families.index(0).invalid(errors, "may not change once set");
    }
}

fn validate_spec(spec: &At<'_>, errors: &mut ErrorList) {
    let (kind, ports) = (spec.child("type"), spec.child("ports"));
    let headless = spec.child("clusterIP").text() == "None";
    if ports.is_empty() && !headless && kind.text() != "ExternalName" {
        ports.required(errors, "");
    }
    match kind.text() {
        "LoadBalancer" => {
            for port in ports.items() {
                // The port of the kubelet's API: a load balancer must not lead there.
                let number = port.child("port");
                if number.int() == Some(10250) {
                    number.invalid(errors, "may not expose port 10250 externally since it is used by kubelet");
                }
            }
            if headless {
                spec.child("clusterIPs").index(0).invalid(errors, "may not be set to 'None' for LoadBalancer services");
            }
        }
        "NodePort" if headless => {
            spec.child("clusterIPs").index(0).invalid(errors, "may not be set to 'None' for NodePort services");
        }
        "ExternalName" => external_name(spec, errors),
        _ => {}
    }
    validate_ports(spec, headless, errors);
    let selector = spec.child("selector");
    if let Some(value) = selector.value() {
        errors.extend(object_meta::validate_labels(value, &selector.path()));
    }
    affinity(spec, errors);
    kind.one_of(errors, TYPES);
    cluster_ips(spec, errors);
    let external = spec.child("externalIPs");
    for ip in external.items() {
        formats::ip_address(&ip, errors);
        super::endpoints::non_special_ip(&ip, errors);
    }
    node_ports(spec, errors);
    traffic_policies(spec, errors);
}

fn external_name(spec: &At<'_>, errors: &mut ErrorList) {
    for field in ["clusterIP", "clusterIPs"] {
        let at = spec.child(field);
        if !at.is_empty() {
            at.forbidden(errors, "may not be set for ExternalName services");
        }
    }
    for field in ["ipFamilies", "ipFamilyPolicy"] {
        let at = spec.child(field);
        if !at.is_empty() {
            at.forbidden(errors, "may not be set for ExternalName services");
        }
    }
    let name = spec.child("externalName");
    if name.is_empty() {
        name.required(errors, "");
    } else {
        let trimmed = name.text().strip_suffix('.').unwrap_or(name.text());
        name.messages(errors, names::dns1123_subdomain(trimmed));
    }
}

fn validate_ports(spec: &At<'_>, _headless: bool, errors: &mut ErrorList) {
    let ports = spec.child("ports");
    let need_names = ports.len() > 1;
    let (mut seen_names, mut seen_ports) = (HashSet::new(), HashSet::new());
    for port in ports.items() {
        let name = port.child("name");
        if need_names && name.is_empty() {
            name.required(errors, "");
        } else if !name.is_empty() {
            formats::label(&name, errors);
            if !seen_names.insert(name.text().to_owned()) {
                name.duplicate(errors);
            }
        }
        formats::port_number(&port.child("port"), errors);
        let protocol = port.child("protocol");
        protocol.one_of(errors, &["SCTP", "TCP", "UDP"]);
        formats::port_number_or_name(&port.child("targetPort"), errors);
        let application = port.child("appProtocol");
        if application.is_set() {
            application.messages(errors, names::qualified_name(application.text()));
        }
        if !seen_ports.insert((protocol.text().to_owned(), port.child("port").int())) {
            port.duplicate(errors);
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
                seconds.invalid(errors, format!("must be greater than 0 and less than {MAX_AFFINITY_SECONDS}"));
            }
        }
        "None" if config.is_set() => {
            config.forbidden(errors, "must not be set when session affinity is None");
        }
        _ => {}
    }
}

fn cluster_ips(spec: &At<'_>, errors: &mut ErrorList) {
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
    let families = spec.child("ipFamilies");
    let mut seen = HashSet::new();
    for family in families.items() {
        if !matches!(family.text(), "IPv4" | "IPv6") {
            family.not_supported(errors, &["IPv4", "IPv6"]);
        }
        if !seen.insert(family.text().to_owned()) {
            family.duplicate(errors);
        }
    }
    spec.child("ipFamilyPolicy").if_set_one_of(errors, &["PreferDualStack", "RequireDualStack", "SingleStack"]);
    if ips.len() > 2 {
        ips.invalid(errors, "may only hold up to 2 values");
    }
    for (position, address) in ips.items().enumerate() {
        if address.text() == "None" {
            if ips.len() > 1 {
                ips.invalid(errors, "'None' must be the first and only value");
            }
            continue;
        }
        formats::ip_address(&address, errors);
        let Ok(parsed) = address.text().parse::<IpAddr>() else {
            continue;
        };
        match (families.index(position).text(), parsed) {
            ("IPv4", IpAddr::V6(_)) => {
                address.invalid(errors, format!("expected an IPv4 value as indicated by `ipFamilies[{position}]`"));
            }
            ("IPv6", IpAddr::V4(_)) => {
                address.invalid(errors, format!("expected an IPv6 value as indicated by `ipFamilies[{position}]`"));
            }
            _ => {}
        }
    }
}

fn node_ports(spec: &At<'_>, errors: &mut ErrorList) {
    let ports = spec.child("ports");
    let kind = spec.child("type").text();
    let mut seen = HashSet::new();
    for port in ports.items() {
        let node_port = port.child("nodePort");
        let Some(number) = node_port.int().filter(|n| *n != 0) else {
            continue;
        };
        if kind == "ClusterIP" {
            node_port.forbidden(errors, "may not be used when `type` is 'ClusterIP'");
        }
        if !seen.insert((port.child("protocol").text().to_owned(), number)) {
            node_port.duplicate(errors);
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
    let allocate = spec.child("allocateLoadBalancerNodePorts");
    if allocate.is_set() && kind != "LoadBalancer" {
        allocate.forbidden(errors, "may only be used when `type` is 'LoadBalancer'");
    }
    let class = spec.child("loadBalancerClass");
    if class.is_set() {
        if kind != "LoadBalancer" {
            class.forbidden(errors, "may only be used when `type` is 'LoadBalancer'");
        }
        for message in names::qualified_name(class.text()) {
            errors.push(Error::invalid(&class.path(), class.text(), message));
        }
    }
    let ranges = spec.child("loadBalancerSourceRanges");
    for range in ranges.items() {
        if range.text().trim().parse::<ipnet::IpNet>().is_err() {
            range.invalid(errors, "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)");
        }
    }
    let distribution = spec.child("trafficDistribution");
    distribution.if_set_one_of(errors, &["PreferClose", "PreferSameNode", "PreferSameZone"]);
}

/// What a Service says that has no effect or soon will have none. Follows `GetWarningsForService` of
/// `pkg/api/service/warnings.go`.
fn warnings(service: &Value) -> Vec<String> {
    let text = |field: &str| service.str_at(&["spec", field]).unwrap_or_default();
    let is_external_name = text("type") == "ExternalName";
    let is_headless = text("type") == "ClusterIP" && text("clusterIP") == "None";
    let has_external_ips = !service.array_at(&["spec", "externalIPs"]).is_empty();
    let mut warnings = Vec::new();
    let mut warn = |applies: bool, warning: &str| {
        if applies {
            warnings.push(warning.to_owned());
        }
    };
    warn(
        service.at(&["metadata", "annotations", "service.kubernetes.io/topology-aware-hints"]).is_some(),
        "annotation service.kubernetes.io/topology-aware-hints is deprecated, please use service.kubernetes.io/topology-mode instead",
    );
    warn(is_headless && !text("loadBalancerIP").is_empty(), "spec.loadBalancerIP is ignored for headless services");
    warn(is_headless && has_external_ips, "spec.externalIPs is ignored for headless services");
    warn(is_headless && text("sessionAffinity") != "None", "spec.SessionAffinity is ignored for headless services");
    warn(
        has_external_ips && !is_headless && !is_external_name,
        "spec.externalIPs is deprecated and may no longer be implemented in some clusters",
    );
    warn(is_external_name && has_external_ips, "spec.externalIPs is ignored when spec.type is \"ExternalName\"");
    warn(
        !is_external_name && !text("externalName").is_empty(),
        "spec.externalName is ignored when spec.type is not \"ExternalName\"",
    );
    warn(
        text("trafficDistribution") == "PreferClose",
        "spec.trafficDistribution: \"PreferClose\" is deprecated; use \"PreferSameZone\"",
    );
    warnings
}
