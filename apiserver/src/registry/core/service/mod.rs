//! Service.
//!
//! Follows `pkg/registry/core/service`. What is allocated (cluster IPs, node ports) is filled in by [`allocation`] before
//! [`validation`] sees it.

pub mod allocation;
mod cluster_ips;
mod families;
mod node_ports;
mod validation;
mod warnings;

use skiff_apimachinery::field::ErrorList;
use skiff_apimachinery::value::{Object, Value};

use crate::cacher::FieldSpec;
use crate::registry::at::At;
use crate::registry::defaults::{absent, each, text};
use crate::registry::strategy::{NameRule, Strategy, WriteScope, dns_label};

/// How long a client sticks to an endpoint unless stated otherwise.
const AFFINITY_SECONDS: i64 = 10800;

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
        validation::validate(&At::root(object), None, &mut errors);
        errors
    }

    fn validate_update(&self, _scope: WriteScope<'_>, new: &Value, old: &Value) -> ErrorList {
        let mut errors = ErrorList::default();
        let (new, old) = (At::root(new), At::root(old));
        validation::update(&new, &old, &mut errors);
        validation::validate(&new, Some(&old), &mut errors);
        errors
    }

    fn validate_status_update(&self, new: &Value, old: &Value) -> ErrorList {
        let mut errors = ErrorList::default();
        validation::load_balancer_status(&At::root(new), &At::root(old), &mut errors);
        errors
    }

    fn warnings(&self, new: &Value, _old: Option<&Value>) -> Vec<String> {
        warnings::of(new)
    }

    fn status_warnings(&self, new: &Value) -> Vec<String> {
        warnings::of_status(new)
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

/// Whether a type may have node ports.
pub fn may_have_node_ports(kind: &str) -> bool {
    matches!(kind, "NodePort" | "LoadBalancer")
}

/// Whether ports without a node port are given one.
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
    if may_have_node_ports(&old_kind) && !may_have_node_ports(&kind) && no_new_ports(spec, &old_spec) {
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

/// Whether every node port was there before.
fn no_new_ports(spec: &Object, old: &Value) -> bool {
    let port = |port: &Value| port.i64_at(&["nodePort"]).filter(|number| *number != 0);
    let before = old.array_at(&["ports"]).iter().filter_map(port).collect::<Vec<_>>();
    let ports = spec.get("ports").and_then(Value::as_array).unwrap_or(&[]);
    ports.iter().filter_map(port).all(|number| before.contains(&number))
}
