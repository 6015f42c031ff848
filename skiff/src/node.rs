//! What makes this machine a node: runtime, kubelet, proxy; and the cluster's DNS.

use std::sync::Arc;

use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use skiff_apiserver::pki::Identity;

use crate::certificate::KubeletCertificate;
use crate::layout::Layout;
use crate::{Cluster, Settings, in_process};

/// Index of the DNS address in the Service range.
const DNS_INDEX: u32 = 10;

/// Cgroup below which everything of a cluster runs.
pub fn cgroup(cluster: &str) -> String {
    format!("/skiff-{cluster}")
}

/// Settings of our own runtime.
pub fn runtime_config(settings: &Settings, layout: &Layout) -> skiff_runtime::Config {
    skiff_runtime::Config {
        root_dir: layout.runtime(),
        state_dir: layout.runtime_state(),
        socket: layout.cri_socket(),
        cgroup_root: cgroup(&settings.name),
        cluster_range: settings.cluster_cidr,
        insecure_registries: settings.insecure_registries.clone(),
        ..skiff_runtime::Config::new(&settings.name)
    }
}

/// Settings of the service proxy.
pub fn proxy_config(settings: &Settings, node_name: &str) -> skiff_proxy::Config {
    // A cluster that takes free ports runs beside others, which have the usual ones.
    let on_usual_ports = settings.kubelet_port != 0;
    skiff_proxy::Config {
        cluster: settings.name.clone(),
        node_name: node_name.to_owned(),
        pod_range: settings.cluster_cidr,
        service_range: settings.service_cluster_ip_range,
        healthz_address: on_usual_ports.then_some(([0, 0, 0, 0], 10256).into()),
        metrics_address: on_usual_ports.then_some(([127, 0, 0, 1], 10249).into()),
        ..skiff_proxy::Config::default()
    }
}

/// Where the kubelet finds the runtime.
pub fn cri_endpoint(settings: &Settings, layout: &Layout) -> String {
    let own = || format!("unix://{}", layout.cri_socket().display());
    settings.container_runtime_endpoint.clone().unwrap_or_else(own)
}

/// Starts runtime, kubelet and proxy.
pub(crate) fn start(cluster: &Cluster) -> anyhow::Result<()> {
    let shutdown = cluster.shutdown().clone();
    if cluster.settings.container_runtime_endpoint.is_none() {
        let config = runtime_config(&cluster.settings, &cluster.layout);
        let shutdown = shutdown.clone();
        cluster.supervise("runtime", move || skiff_runtime::run(config.clone(), shutdown.clone()));
    }
    let kubelet = kubelet_config(cluster)?;
    let identity = Identity::Node(cluster.node_name.clone());
    let (client, ending) = (in_process::client(cluster.service(), &identity), shutdown.clone());
    cluster.supervise("kubelet", move || skiff_kubelet::run(kubelet.clone(), client.clone(), ending.clone()));
    let proxy = proxy_config(&cluster.settings, &cluster.node_name);
    let client = in_process::client(cluster.service(), &Identity::Proxy);
    cluster.supervise("proxy", move || skiff_proxy::run(proxy.clone(), client.clone(), shutdown.clone()));
    Ok(())
}

/// Starts the cluster's DNS, which listens on this machine's address.
pub(crate) fn start_dns(cluster: &Cluster) {
    let std::net::IpAddr::V4(node_address) = cluster.node_ip else {
        tracing::warn!(node_ip = %cluster.node_ip, "the cluster has no DNS, which needs an IPv4 address; see --node-ip");
        return;
    };
    let config = skiff_dns::Config {
        cluster_domain: cluster.settings.cluster_domain.clone(),
        node_name: cluster.node_name.clone(),
        node_address,
        service_ip: cluster.settings.service_ip(DNS_INDEX),
        upstream: skiff_dns::Upstream::ResolvConf(cluster.settings.resolv_conf()),
        ..skiff_dns::Config::default()
    };
    let client = in_process::service_account(cluster.service(), "kube-system", "kube-dns");
    let shutdown = cluster.shutdown().clone();
    cluster.supervise("dns", move || skiff_dns::run(config.clone(), client.clone(), shutdown.clone()));
}

fn kubelet_config(cluster: &Cluster) -> anyhow::Result<skiff_kubelet::Config> {
    let Cluster { settings, layout, pki, node_name, node_ip, .. } = cluster;
    let mut client_ca = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pki.ca().certificate_pem().as_bytes()) {
        client_ca.add(certificate?)?;
    }
    let certificate =
        KubeletCertificate::start(pki.clone(), node_name.clone(), vec![*node_ip], cluster.shutdown().clone())?;
    let config = settings.kubelet.apply(skiff_kubelet::Config {
        node_ips: vec![*node_ip],
        root_dir: layout.kubelet(),
        pod_logs_dir: layout.pod_logs(),
        container_runtime_endpoint: cri_endpoint(settings, layout),
        cgroup_root: Some(cgroup(&settings.name)),
        cluster_dns: vec![settings.service_ip(DNS_INDEX).into()],
        cluster_domain: settings.cluster_domain.clone(),
        resolv_conf: Some(settings.resolv_conf()),
        listen: (settings.bind_address, settings.kubelet_port).into(),
        serving: Some(skiff_kubelet::ServingTls { certificate, client_ca: Arc::new(client_ca) }),
        version: skiff_apiserver::routes::version::git_version(),
        ..skiff_kubelet::Config::new(node_name.clone(), &settings.name)
    });
    config.validate()?;
    Ok(config)
}
