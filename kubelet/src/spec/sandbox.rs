//! The sandbox configuration of a pod (upstream: `pkg/kubelet/kuberuntime/kuberuntime_sandbox.go`).

use std::path::{Path, PathBuf};

use k8s_openapi::api::core::v1::Pod;
use skiff_cri::v1;

use super::dns::{NodeDns, pod_dns};
use super::hostname::kernel_name;
use super::resources::pod_resources;
use super::security::sandbox_context;
use crate::actions::sidecars;
use crate::labels::sandbox_labels;
use crate::pod::PodExt;

/// What the node adds.
#[derive(Clone, Copy)]
pub(crate) struct SandboxInputs<'a> {
    /// Folder under which every pod has a folder for its logs.
    pub(crate) logs_root: &'a Path,
    /// Cgroup of the pod.
    pub(crate) cgroup_parent: &'a str,
    pub(crate) dns: &'a NodeDns,
    pub(crate) attempt: u32,
}

/// Folder of a pod's logs: `NAMESPACE_NAME_UID` (as log collectors expect it).
pub(crate) fn pod_logs_directory(root: &Path, pod: &Pod) -> PathBuf {
    root.join(format!("{}_{}_{}", pod.namespace(), pod.name(), pod.uid()))
}

/// Computes the configuration. The error is a message for users.
pub(crate) fn sandbox_config(pod: &Pod, inputs: SandboxInputs<'_>) -> Result<v1::PodSandboxConfig, String> {
    let sysctls = pod.pod_security().sysctls.iter().flatten();
    let hostname = if pod.is_host_network() { String::new() } else { kernel_name(pod, &inputs.dns.cluster_domain)? };
    Ok(v1::PodSandboxConfig {
        metadata: Some(v1::PodSandboxMetadata {
            name: pod.name().to_owned(),
            uid: pod.uid().to_owned(),
            namespace: pod.namespace().to_owned(),
            attempt: inputs.attempt,
        }),
        hostname,
        log_directory: pod_logs_directory(inputs.logs_root, pod).display().to_string(),
        dns_config: Some(pod_dns(pod, inputs.dns).config),
        port_mappings: port_mappings(pod),
        labels: sandbox_labels(pod),
        annotations: pod.annotations().iter().map(|(k, v)| (k.clone(), v.clone())).collect(),
        linux: Some(v1::LinuxPodSandboxConfig {
            cgroup_parent: inputs.cgroup_parent.to_owned(),
            security_context: Some(sandbox_context(pod)?),
            // The kernel's names have dots; slashes are accepted in the API.
            sysctls: sysctls.map(|s| (s.name.replace('/', "."), s.value.clone())).collect(),
            overhead: Some(v1::LinuxContainerResources::default()),
            resources: Some(pod_resources(pod)),
        }),
        windows: None,
    })
}

/// Ports of regular containers and sidecars; those without a host port too, as upstream sends them.
fn port_mappings(pod: &Pod) -> Vec<v1::PortMapping> {
    let containers = sidecars(pod).chain(pod.regular_containers());
    let ports = containers.flat_map(|c| c.ports.iter().flatten());
    let mappings = ports.map(|port| v1::PortMapping {
        protocol: match port.protocol.as_deref() {
            Some("UDP") => v1::Protocol::Udp,
            Some("SCTP") => v1::Protocol::Sctp,
            _ => v1::Protocol::Tcp,
        }
        .into(),
        container_port: port.container_port,
        host_port: port.host_port.unwrap_or(0),
        host_ip: port.host_ip.clone().unwrap_or_default(),
    });
    mappings.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_pod_becomes_a_sandbox() {
        let pod: Pod = serde_json::from_value(json!({
            "metadata": {"name": "p", "namespace": "n", "uid": "u", "labels": {"a": "b"}, "annotations": {"x": "y"}},
            "spec": {"securityContext": {"sysctls": [{"name": "net/ipv4/ip_local_port_range", "value": "1 2"}]},
                "containers": [{"name": "c", "ports": [{"containerPort": 80, "hostPort": 8080, "protocol": "TCP"}]}]}}))
        .expect("a pod");
        let dns = NodeDns::default();
        let inputs =
            SandboxInputs { logs_root: Path::new("/logs"), cgroup_parent: "/kubepods/podu", dns: &dns, attempt: 2 };
        let config = sandbox_config(&pod, inputs).expect("a configuration");
        assert_eq!(config.metadata.as_ref().map(|m| m.attempt), Some(2));
        assert_eq!(config.hostname, "p");
        assert_eq!(config.log_directory, "/logs/n_p_u");
        assert_eq!(config.labels["a"], "b");
        assert_eq!(config.annotations["x"], "y");
        assert_eq!((config.port_mappings[0].host_port, config.port_mappings[0].container_port), (8080, 80));
        let linux = config.linux.expect("linux");
        assert_eq!(linux.sysctls["net.ipv4.ip_local_port_range"], "1 2");
        let host: Pod =
            serde_json::from_value(json!({"metadata": {"name": "p"}, "spec": {"hostNetwork": true, "containers": []}}))
                .expect("a pod");
        assert_eq!(sandbox_config(&host, inputs).expect("a configuration").hostname, "");
    }
}
