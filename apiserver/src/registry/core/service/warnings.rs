//! What a Service says that has no effect, or soon will have none.
//!
//! Follows `GetWarningsForService` of `pkg/api/service/warnings.go`.

use skiff_apimachinery::value::Value;

use crate::registry::at::At;
use crate::registry::core::validation::ip;

/// Texts for the client, in upstream's order.
pub(super) fn of(service: &Value) -> Vec<String> {
    let root = At::root(service);
    let spec = root.child("spec");
    let text = |field: &str| service.str_at(&["spec", field]).unwrap_or_default();
    let is_external_name = text("type") == "ExternalName";
    let is_headless = text("type") == "ClusterIP" && text("clusterIP") == "None";
    let has_external_ips = !spec.child("externalIPs").is_empty();
    let mut warnings = Vec::new();
    let warn = |warnings: &mut Vec<String>, applies: bool, warning: &str| {
        if applies {
            warnings.push(warning.to_owned());
        }
    };
    let hints = "annotation service.kubernetes.io/topology-aware-hints is deprecated, please use service.kubernetes.io/topology-mode instead";
    let has_hints = service.at(&["metadata", "annotations", "service.kubernetes.io/topology-aware-hints"]).is_some();
    warn(&mut warnings, has_hints, hints);
    if !text("clusterIP").is_empty() && text("clusterIP") != "None" {
        addresses(&spec.child("clusterIPs"), &mut warnings);
    }
    for (applies, warning) in [
        (!text("loadBalancerIP").is_empty(), "spec.loadBalancerIP is ignored for headless services"),
        (has_external_ips, "spec.externalIPs is ignored for headless services"),
        (text("sessionAffinity") != "None", "spec.SessionAffinity is ignored for headless services"),
    ] {
        warn(&mut warnings, is_headless && applies, warning);
    }
    addresses(&spec.child("externalIPs"), &mut warnings);
    warn(
        &mut warnings,
        has_external_ips && !is_headless && !is_external_name,
        "spec.externalIPs is deprecated and may no longer be implemented in some clusters",
    );
    warnings.extend(ip::warning(&spec.child("loadBalancerIP").path(), text("loadBalancerIP")));
    for range in spec.child("loadBalancerSourceRanges").items() {
        warnings.extend(ip::cidr_warnings(&range.path(), range.text()));
    }
    for (applies, warning) in [
        (is_external_name && has_external_ips, "spec.externalIPs is ignored when spec.type is \"ExternalName\""),
        (
            !is_external_name && !text("externalName").is_empty(),
            "spec.externalName is ignored when spec.type is not \"ExternalName\"",
        ),
        (
            text("trafficDistribution") == "PreferClose",
            "spec.trafficDistribution: \"PreferClose\" is deprecated; use \"PreferSameZone\"",
        ),
    ] {
        warn(&mut warnings, applies, warning);
    }
    warnings
}

/// Texts for the client that writes the status.
pub(super) fn of_status(service: &Value) -> Vec<String> {
    let root = At::root(service);
    let ingress = root.child("status");
    let ingress = ingress.child("loadBalancer");
    let ingress = ingress.child("ingress");
    let mut warnings = Vec::new();
    for one in ingress.items() {
        warnings.extend(ip::warning(&one.path(), one.child("ip").text()));
    }
    warnings
}

fn addresses(list: &At<'_>, warnings: &mut Vec<String>) {
    for address in list.items() {
        warnings.extend(ip::warning(&address.path(), address.text()));
    }
}
