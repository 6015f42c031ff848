//! Rows of the kinds of networking.k8s.io and discovery.k8s.io.

use jiff::Timestamp;
use skiff_apimachinery::value::Value;

use super::core::load_balancer;
use super::human::{NONE, UNSET, age, selector_or_none, some_of};
use super::{AGE, Column, NAME, Printer, joined, name, text};

pub(super) static PRINTERS: &[Printer] = &[
    Printer::new("discovery.k8s.io", "EndpointSlice", &ENDPOINT_SLICE, endpoint_slice),
    Printer::new("networking.k8s.io", "Ingress", &INGRESS, ingress),
    Printer::new("networking.k8s.io", "IngressClass", &INGRESS_CLASS, ingress_class),
    Printer::new("networking.k8s.io", "NetworkPolicy", &NETWORK_POLICY, |object, now| {
        vec![name(object), selector_or_none(object.at(&["spec", "podSelector"])), age(object, now)]
    }),
    Printer::new("networking.k8s.io", "ServiceCIDR", &SERVICE_CIDR, |object, now| {
        vec![name(object), joined(object, &["spec", "cidrs"], ",").into(), age(object, now)]
    }),
    Printer::new("networking.k8s.io", "IPAddress", &IP_ADDRESS, |object, _| vec![name(object), parent(object)]),
];

/// Entries of a list that are shown before the rest is only counted.
const SHOWN: usize = 3;

static ENDPOINT_SLICE: [Column; 5] = [
    NAME,
    Column::string("AddressType", "Kind of the addresses."),
    Column::string("Ports", "Ports of every endpoint."),
    Column::string("Endpoints", "Addresses of the endpoints."),
    AGE,
];

fn endpoint_slice(object: &Value, now: Timestamp) -> Vec<Value> {
    let ports: Vec<String> = object
        .array_at(&["ports"])
        .iter()
        .map(|port| match (port.i64_at(&["port"]), port.str_at(&["name"])) {
            (Some(number), _) => number.to_string(),
            (None, Some(name)) => name.to_owned(),
            (None, None) => "*".into(),
        })
        .collect();
    let endpoints = object.array_at(&["endpoints"]).iter();
    let addresses: Vec<String> = endpoints
        .flat_map(|endpoint| endpoint.array_at(&["addresses"]))
        .filter_map(|address| address.as_str().map(str::to_owned))
        .collect();
    vec![name(object), text(object, &["addressType"]).into(), some(&ports), some(&addresses), age(object, now)]
}

fn some(all: &[String]) -> Value {
    let text = some_of(&all[..all.len().min(SHOWN)], all.len(), SHOWN);
    if text.is_empty() { UNSET.into() } else { text.into() }
}

static INGRESS: [Column; 6] = [
    NAME,
    Column::string("Class", "Class of the ingress."),
    Column::string("Hosts", "Host names that the ingress serves."),
    Column::string("Address", "Addresses of the load balancer."),
    Column::string("Ports", "Ports that the ingress serves."),
    AGE,
];

fn ingress(object: &Value, now: Timestamp) -> Vec<Value> {
    let ports = if object.array_at(&["spec", "tls"]).is_empty() { "80" } else { "80, 443" };
    vec![
        name(object),
        object.str_at(&["spec", "ingressClassName"]).unwrap_or(NONE).into(),
        hosts(object.array_at(&["spec", "rules"])).into(),
        load_balancer(object).into(),
        ports.into(),
        age(object, now),
    ]
}

fn hosts(rules: &[Value]) -> String {
    let hosts = rules.iter().map(|rule| text(rule, &["host"])).filter(|host| !host.is_empty());
    let shown: Vec<String> = hosts.take(SHOWN).map(str::to_owned).collect();
    match shown.len() {
        0 => "*".into(),
        // As upstream counts: rules without a host are among those not shown.
        SHOWN => some_of(&shown, rules.len(), SHOWN),
        _ => shown.join(","),
    }
}

static INGRESS_CLASS: [Column; 4] = [
    NAME,
    Column::string("Controller", "Controller that serves ingresses of the class."),
    Column::string("Parameters", "Object with further configuration."),
    AGE,
];

fn ingress_class(object: &Value, now: Timestamp) -> Vec<Value> {
    let annotation = ["metadata", "annotations", "ingressclass.kubernetes.io/is-default-class"];
    let mark = if object.str_at(&annotation) == Some("true") { " (default)" } else { "" };
    let parameters = object.at(&["spec", "parameters"]).map_or(NONE.into(), |parameters| {
        let group = parameters.str_at(&["apiGroup"]).map_or(String::new(), |group| format!(".{group}"));
        format!("{}{group}/{}", text(parameters, &["kind"]), text(parameters, &["name"]))
    });
    vec![
        format!("{}{mark}", text(object, &["metadata", "name"])).into(),
        text(object, &["spec", "controller"]).into(),
        parameters.into(),
        age(object, now),
    ]
}

static NETWORK_POLICY: [Column; 3] = [NAME, Column::string("Pod-Selector", "Pods that the policy is about."), AGE];
static SERVICE_CIDR: [Column; 3] = [NAME, Column::string("CIDRs", "Ranges that cluster IPs are taken from."), AGE];
static IP_ADDRESS: [Column; 2] = [NAME, Column::string("ParentRef", "Object that uses the address.")];

fn parent(object: &Value) -> Value {
    let Some(parent) = object.at(&["spec", "parentRef"]) else {
        return NONE.into();
    };
    let part = |field: &str| text(parent, &[field]);
    let dot = if part("group").is_empty() { "" } else { "." };
    let mut text = format!("{}{dot}{}", part("resource"), part("group")).to_lowercase();
    for part in [part("namespace"), part("name")] {
        if !part.is_empty() {
            text.push('/');
            text.push_str(part);
        }
    }
    text.into()
}
