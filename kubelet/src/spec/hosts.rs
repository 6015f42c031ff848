//! The `/etc/hosts` file of a pod (upstream: `kubelet_pods.go`, ensureHostsFile).

use k8s_openapi::api::core::v1::{Container, HostAlias, Pod};

use super::hostname::host_and_domain;
use crate::pod::PodExt;

/// Where containers find the file.
pub(crate) const HOSTS_PATH: &str = "/etc/hosts";

const HEADER: &str = "# Kubernetes-managed hosts file.\n";
const HEADER_HOST_NETWORK: &str = "# Kubernetes-managed hosts file (host network).\n";
const LOCAL: &str = "127.0.0.1\tlocalhost\n\
                     ::1\tlocalhost ip6-localhost ip6-loopback\n\
                     fe00::0\tip6-localnet\n\
                     fe00::0\tip6-mcastprefix\n\
                     fe00::1\tip6-allnodes\n\
                     fe00::2\tip6-allrouters\n";

/// Whether a container gets the file: unless it mounts something of its own there. Pods of the host's network get one
/// too, made from the node's file.
pub(crate) fn is_managed(pod: &Pod, container: &Container, pod_ips: &[String]) -> bool {
    let own = container.volume_mounts.iter().flatten().any(|mount| mount.mount_path == HOSTS_PATH);
    !own && (pod.is_host_network() || !pod_ips.is_empty())
}

/// The file's content. `node_file` is the node's own hosts file, for pods of the host's network.
pub(crate) fn content(pod: &Pod, pod_ips: &[String], cluster_domain: &str, node_file: &str) -> String {
    let aliases = pod.pod_spec().host_aliases.as_deref().unwrap_or(&[]);
    let mut text = String::new();
    if pod.is_host_network() {
        text.push_str(HEADER_HOST_NETWORK);
        text.push_str(node_file);
    } else {
        text.push_str(HEADER);
        text.push_str(LOCAL);
        let (host, domain) = host_and_domain(pod, cluster_domain);
        for ip in pod_ips {
            let line =
                if domain.is_empty() { format!("{ip}\t{host}\n") } else { format!("{ip}\t{host}.{domain}\t{host}\n") };
            text.push_str(&line);
        }
    }
    push_aliases(&mut text, aliases);
    text
}

fn push_aliases(text: &mut String, aliases: &[HostAlias]) {
    if aliases.is_empty() {
        return;
    }
    text.push_str("\n# Entries added by HostAliases.\n");
    for alias in aliases {
        let names = alias.hostnames.as_deref().unwrap_or(&[]).join("\t");
        text.push_str(&format!("{}\t{names}\n", alias.ip));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn pod(spec: Value) -> Pod {
        let mut spec = spec;
        spec["containers"] =
            json!([{"name": "a"}, {"name": "b", "volumeMounts": [{"name": "v", "mountPath": "/etc/hosts"}]}]);
        serde_json::from_value(json!({"metadata": {"name": "p", "namespace": "n"}, "spec": spec})).expect("a pod")
    }

    #[test]
    fn pods_get_their_addresses_and_aliases() {
        let spec = json!({"subdomain": "s", "hostAliases": [{"ip": "1.2.3.4", "hostnames": ["x", "y"]}]});
        let text = content(&pod(spec), &["10.0.0.5".into()], "cluster.local", "");
        assert!(text.starts_with("# Kubernetes-managed hosts file.\n127.0.0.1\tlocalhost\n::1\t"), "{text}");
        assert!(text.contains("\n10.0.0.5\tp.s.n.svc.cluster.local\tp\n"), "{text}");
        assert!(text.ends_with("\n# Entries added by HostAliases.\n1.2.3.4\tx\ty\n"), "{text}");
    }

    #[test]
    fn the_hosts_network_keeps_the_nodes_entries() {
        let text = content(&pod(json!({"hostNetwork": true})), &[], "cluster.local", "1.1.1.1\tnode\n");
        assert_eq!(text, "# Kubernetes-managed hosts file (host network).\n1.1.1.1\tnode\n");
    }

    #[test]
    fn own_mounts_win() {
        let pod = pod(json!({}));
        let managed = |index: usize, ips: &[String]| is_managed(&pod, &pod.regular_containers()[index], ips);
        assert!(managed(0, &["10.0.0.1".into()]));
        assert!(!managed(1, &["10.0.0.1".into()]));
        assert!(!managed(0, &[]));
    }
}
