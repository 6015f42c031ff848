//! Host name and domain of a pod (upstream: `kubelet_pods.go`, GeneratePodHostNameAndDomain).

use k8s_openapi::api::core::v1::Pod;

use crate::pod::PodExt;

/// Longest host name the kernel takes.
const HOSTNAME_MAX: usize = 63;
/// Longest name the kernel takes when the whole domain name is the host name.
const FQDN_MAX: usize = 64;

/// The host name, and the domain if the pod has a subdomain (else empty).
pub(crate) fn host_and_domain(pod: &Pod, cluster_domain: &str) -> (String, String) {
    let spec = pod.pod_spec();
    if let Some(name) = spec.hostname_override.as_deref().filter(|name| !name.is_empty()) {
        return (truncate(name), String::new());
    }
    let host = match spec.hostname.as_deref() {
        Some(name) if !name.is_empty() => name,
        _ => pod.name(),
    };
    let domain = match spec.subdomain.as_deref() {
        Some(subdomain) if !subdomain.is_empty() => {
            format!("{subdomain}.{}.svc.{cluster_domain}", pod.namespace())
        }
        _ => String::new(),
    };
    (truncate(host), domain)
}

/// What the kernel is told: the host name, or with `setHostnameAsFQDN` the whole name.
pub(crate) fn kernel_name(pod: &Pod, cluster_domain: &str) -> Result<String, String> {
    let (host, domain) = host_and_domain(pod, cluster_domain);
    if pod.pod_spec().set_hostname_as_fqdn != Some(true) || domain.is_empty() {
        return Ok(host);
    }
    let whole = format!("{host}.{domain}");
    if whole.len() > FQDN_MAX {
        return Err(format!(
            "Failed to construct FQDN from pod hostname and cluster domain, FQDN {whole} is too long ({FQDN_MAX} is the max, {} characters requested)",
            whole.len()
        ));
    }
    Ok(whole)
}

fn truncate(name: &str) -> String {
    let cut = name.get(..HOSTNAME_MAX).unwrap_or(name);
    if cut.len() == name.len() { name.to_owned() } else { cut.trim_end_matches(['-', '.']).to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn pod(name: &str, spec: Value) -> Pod {
        let mut spec = spec;
        spec["containers"] = json!([]);
        serde_json::from_value(json!({"metadata": {"name": name, "namespace": "ns"}, "spec": spec})).expect("a pod")
    }

    #[test]
    fn names() {
        let names = |name: &str, spec| host_and_domain(&pod(name, spec), "cluster.local");
        assert_eq!(names("web-0", json!({})), ("web-0".into(), String::new()));
        let domain = "sub.ns.svc.cluster.local".to_owned();
        assert_eq!(names("p", json!({"hostname": "h", "subdomain": "sub"})), ("h".into(), domain));
        assert_eq!(names("p", json!({"hostnameOverride": "o", "subdomain": "s"})), ("o".into(), String::new()));
        let long = format!("{}-tail", "a".repeat(62));
        assert_eq!(names(&long, json!({})).0, "a".repeat(62));
    }

    #[test]
    fn the_kernel_may_get_the_whole_name() {
        let spec = json!({"hostname": "h", "subdomain": "s", "setHostnameAsFQDN": true});
        assert_eq!(kernel_name(&pod("p", spec), "cluster.local").as_deref(), Ok("h.s.ns.svc.cluster.local"));
        let long = json!({"hostname": "h", "subdomain": "s".repeat(60), "setHostnameAsFQDN": true});
        assert!(kernel_name(&pod("p", long), "cluster.local").is_err());
    }
}
