//! Which families of addresses a Service has, worked out from what it states and what the cluster has.
//!
//! Follows `initIPFamilyFields` of `pkg/registry/core/service/storage/alloc.go` and the functions around it in
//! `storage.go`. The cluster has one family.

use skiff_apimachinery::field::{Error, ErrorList};
use skiff_apimachinery::meta;
use skiff_apimachinery::status::{self, Status};
use skiff_apimachinery::value::{Object, Value};

use super::cluster_ips;
use super::needs_cluster_ip;
use crate::registry::at::At;
use crate::registry::core::validation::ip;

/// The family of the range that cluster IPs come from.
const CONFIGURED: &str = "IPv4";
const OTHER: &str = "IPv6";

/// Makes `clusterIP` and `clusterIPs` say the same, as far as the client's intention is clear.
pub(super) fn normalize(new: &mut Value, old: Option<&Value>) {
    let text = |service: &Value| service.str_at(&["spec", "clusterIP"]).unwrap_or("").to_owned();
    let (ip, ips) = (text(new), strings(new, "clusterIPs"));
    let spec = new.object_at_mut(&["spec"]);
    let Some(old) = old else {
        if !ip.is_empty() && ips.is_empty() {
            spec.insert("clusterIPs", vec![ip]);
        }
        return;
    };
    let (old_ip, old_ips) = (text(old), strings(old, "clusterIPs"));
    if !old_ips.is_empty() && ips.is_empty() && ip == old_ip {
        spec.insert("clusterIPs", old_ips.clone());
    }
    if ip != old_ip && ips == old_ips {
        if ip.is_empty() {
            spec.remove("clusterIPs");
        } else {
            spec.insert("clusterIPs", vec![ip]);
        }
    }
}

/// Keeps the addresses of a Service whose client did not state them.
pub(super) fn keep_addresses(new: &mut Value, old: &Value) {
    let kind = |service: &Value| service.str_at(&["spec", "type"]).unwrap_or("").to_owned();
    if !needs_cluster_ip(&kind(old)) || !needs_cluster_ip(&kind(new)) {
        return;
    }
    let no_ip = new.str_at(&["spec", "clusterIP"]).unwrap_or("").is_empty();
    let no_ips = new.array_at(&["spec", "clusterIPs"]).is_empty();
    let spec = new.object_at_mut(&["spec"]);
    for (field, missing) in [("clusterIP", no_ip), ("clusterIPs", no_ips)] {
        if missing && let Some(value) = old.at(&["spec", field]) {
            spec.insert(field, value.clone());
        }
    }
}

/// Fills in policy and families, and refuses what the cluster does not have.
pub(super) fn init(new: &mut Value, old: Option<&Value>) -> Result<(), Status> {
    let kind = new.str_at(&["spec", "type"]).unwrap_or("");
    if kind == "ExternalName" || old.is_some_and(|old| prefers_and_stays(new, old)) {
        return Ok(());
    }
    let headless = new.str_at(&["spec", "clusterIP"]) == Some("None");
    let selectorless =
        headless && new.at(&["spec", "selector"]).and_then(Value::as_object).is_none_or(Object::is_empty);
    init_policy(new, old, selectorless);
    let invalid = |new: &Value, errors: ErrorList| {
        if errors.is_empty() { Ok(()) } else { Err(status::invalid("", "Service", meta::name(new), errors)) }
    };
    let mut errors = ErrorList::default();
    {
        let (root, old_root) = (At::root(new), old.map(At::root));
        let before = old_root.as_ref().map(|root| root.child("spec"));
        cluster_ips::validate(&root.child("spec"), before.as_ref(), &mut errors);
    }
    invalid(new, errors)?;
    let errors = fit_policy(new, old);
    invalid(new, errors)?;
    let policy = new.str_at(&["spec", "ipFamilyPolicy"]).unwrap_or("").to_owned();
    if selectorless {
        // Whoever writes its endpoints knows their families: both are allowed, whatever the cluster has.
        let mut families = strings(new, "ipFamilies");
        if families.is_empty() {
            families.push(CONFIGURED.to_owned());
        }
        if families.len() < 2 && policy != "SingleStack" {
            families.push(if families[0] == CONFIGURED { OTHER } else { CONFIGURED }.to_owned());
        }
        new.set_at(&["spec", "ipFamilies"], families);
        return Ok(());
    }
    let errors = not_configured(new, &policy);
    invalid(new, errors)?;
    if new.array_at(&["spec", "ipFamilies"]).is_empty() {
        new.set_at(&["spec", "ipFamilies"], vec![CONFIGURED]);
    }
    Ok(())
}

/// A policy that is not stated is the one before; a new Service has one family.
fn init_policy(new: &mut Value, old: Option<&Value>, selectorless: bool) {
    if new.at(&["spec", "ipFamilyPolicy"]).is_some_and(|policy| !policy.is_null()) {
        return;
    }
    let before = old.and_then(|old| old.str_at(&["spec", "ipFamilyPolicy"])).map(str::to_owned);
    let policy = before.unwrap_or_else(|| if selectorless { "RequireDualStack" } else { "SingleStack" }.to_owned());
    new.set_at(&["spec", "ipFamilyPolicy"], policy);
}

/// Brings lists and policy together: asking for one family releases the second; families follow from addresses.
fn fit_policy(new: &mut Value, old: Option<&Value>) -> ErrorList {
    let mut errors = ErrorList::default();
    let policy = new.str_at(&["spec", "ipFamilyPolicy"]).unwrap_or("").to_owned();
    let single = policy == "SingleStack";
    let report = |text: &str, errors: &mut ErrorList| {
        let path = skiff_apimachinery::field::Path::new("spec").child("ipFamilyPolicy");
        errors.push(Error::invalid(&path, policy.as_str(), text));
    };
    for (field, released) in [("clusterIPs", "cluster IP"), ("ipFamilies", "IP family")] {
        let Some(old) = old else { break };
        let (now, before) = (strings(new, field), strings(old, field));
        if single && now == before && now.len() > 1 {
            new.set_at(&["spec", field], vec![now[0].as_str()]);
        } else if !single && !now.is_empty() && now.len() < before.len() {
            report(&format!("must be 'SingleStack' to release the secondary {released}"), &mut errors);
        }
    }
    for (field, several) in [("clusterIPs", "cluster IPs"), ("ipFamilies", "IP families")] {
        if single && new.array_at(&["spec", field]).len() == 2 {
            let text = format!("must be 'RequireDualStack' or 'PreferDualStack' when multiple {several} are specified");
            report(&text, &mut errors);
        }
    }
    families_of_addresses(new, &mut errors);
    errors
}

fn families_of_addresses(new: &mut Value, errors: &mut ErrorList) {
    let (ips, mut families) = (strings(new, "clusterIPs"), strings(new, "ipFamilies"));
    let stated = families.len();
    for (index, address) in ips.iter().enumerate().take_while(|(_, address)| *address != "None") {
        let family = if ip::sloppy(address).is_some_and(|ip| ip.is_ipv4()) { CONFIGURED } else { OTHER };
        if index < families.len() {
            continue;
        }
        if family == CONFIGURED {
            families.push(family.to_owned());
        } else {
            let path = skiff_apimachinery::field::Path::new("spec").child("clusterIPs").index(index);
            errors.push(Error::invalid(&path, ips.clone(), format!("{family} is not configured on this cluster")));
        }
    }
    if families.len() > stated {
        new.set_at(&["spec", "ipFamilies"], families);
    }
}

fn not_configured(new: &Value, policy: &str) -> ErrorList {
    let mut errors = ErrorList::default();
    let root = At::root(new);
    let spec = root.child("spec");
    if policy == "RequireDualStack" {
        spec.child("ipFamilyPolicy").invalid(&mut errors, "this cluster is not configured for dual-stack services");
    }
    for family in spec.child("ipFamilies").items().filter(|family| family.text() != CONFIGURED) {
        family.invalid(&mut errors, "not configured on this cluster");
    }
    errors
}

/// Whether a Service that takes what it gets stays as it is: it is not changed because the cluster was.
pub(super) fn prefers_and_stays(new: &Value, old: &Value) -> bool {
    const PREFER: &str = "PreferDualStack";
    let text = |service: &Value, field: &str| service.str_at(&["spec", field]).map(str::to_owned);
    text(new, "type") == text(old, "type")
        && matches!(text(new, "type").as_deref(), Some("ClusterIP" | "NodePort" | "LoadBalancer"))
        && text(new, "ipFamilyPolicy").as_deref() == Some(PREFER)
        && text(old, "ipFamilyPolicy").is_none_or(|policy| policy == PREFER)
        && ["clusterIPs", "ipFamilies"].iter().all(|field| strings(new, field) == strings(old, field))
}

fn strings(service: &Value, field: &str) -> Vec<String> {
    service.array_at(&["spec", field]).iter().map(|item| item.as_str().unwrap_or("").to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use skiff_apimachinery::value;

    use super::*;

    fn initialized(spec: Value, old: Option<Value>) -> Result<(String, Vec<String>), String> {
        let mut new = value!({"metadata": {"name": "a"}});
        new.set_at(&["spec"], spec);
        let old = old.map(|spec| value!({"spec": spec}));
        init(&mut new, old.as_ref()).map_err(|status| status.message)?;
        Ok((new.str_at(&["spec", "ipFamilyPolicy"]).unwrap_or("").to_owned(), strings(&new, "ipFamilies")))
    }

    #[test]
    fn a_service_has_the_family_of_the_cluster() {
        let single = Ok(("SingleStack".to_owned(), vec!["IPv4".to_owned()]));
        assert_eq!(initialized(value!({"type": "ClusterIP"}), None), single);
        let headless = value!({"type": "ClusterIP", "clusterIP": "None", "clusterIPs": ["None"]});
        let both = ("RequireDualStack".to_owned(), vec!["IPv4".to_owned(), "IPv6".to_owned()]);
        assert_eq!(initialized(headless, None), Ok(both));
        let required = initialized(value!({"type": "ClusterIP", "ipFamilyPolicy": "RequireDualStack"}), None);
        assert!(required.expect_err("one family").contains("not configured for dual-stack"));
        let old = value!({"type": "ClusterIP", "ipFamilyPolicy": "PreferDualStack", "ipFamilies": ["IPv4"]});
        let kept = initialized(value!({"type": "ClusterIP"}), Some(old)).expect("a policy");
        assert_eq!(kept.0, "PreferDualStack");
    }

    #[test]
    fn the_client_s_intention_with_both_fields() {
        let old = value!({"spec": {"clusterIP": "10.0.0.1", "clusterIPs": ["10.0.0.1"]}});
        for (spec, want) in [
            (value!({"clusterIP": "10.0.0.1"}), vec!["10.0.0.1"]),
            (value!({"clusterIP": "10.0.0.2", "clusterIPs": ["10.0.0.1"]}), vec!["10.0.0.2"]),
            (value!({"clusterIPs": ["10.0.0.1"]}), vec![]),
        ] {
            let mut new = value!({"spec": spec});
            normalize(&mut new, Some(&old));
            assert_eq!(strings(&new, "clusterIPs"), want);
        }
    }
}
