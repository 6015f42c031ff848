//! What can be chosen for a cluster. Flags carry upstream's names where upstream has them.

use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};
use skiff_apiserver::audit::AuditOptions;

use crate::kubelet_flags::KubeletFlags;

/// Longest cluster name: it is part of link and table names, which the kernel keeps short.
const MAX_NAME: usize = 20;

/// A part that can be left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Component {
    /// The scheduler.
    Scheduler,
    /// All controllers.
    ControllerManager,
    /// Cluster DNS.
    Dns,
    /// What makes this machine a node: runtime, kubelet, proxy.
    Node,
}

/// Settings of a cluster whose control plane runs here. The defaults are those of the flags.
#[derive(Clone, Debug, Args, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Name of the cluster: part of every folder, socket, link, table and cgroup it makes.
    #[arg(long, default_value = "skiff", value_parser = cluster_name, env = "SKIFF_NAME")]
    pub name: String,
    /// Folder of the data of all clusters.
    #[arg(long, default_value = "/var/lib/skiff")]
    pub data_dir: PathBuf,
    /// Folder of sockets and of what else does not outlive a reboot.
    #[arg(long, default_value = "/run/skiff")]
    pub run_dir: PathBuf,
    /// Folder of logs.
    #[arg(long, default_value = "/var/log/skiff")]
    pub log_dir: PathBuf,
    /// Address that the API server listens on.
    #[arg(long, default_value_t = IpAddr::V4(Ipv4Addr::UNSPECIFIED))]
    pub bind_address: IpAddr,
    /// Port that the API server listens on; 0 takes a free one.
    #[arg(long, default_value_t = 6443)]
    pub secure_port: u16,
    /// Further names and addresses for the API server's certificate.
    #[arg(long, value_delimiter = ',')]
    pub tls_san: Vec<String>,
    /// Name of this node [default: the host name in lower case]
    #[arg(long)]
    pub node_name: Option<String>,
    /// Address of this node [default: that of the default route, else the first that is not loopback]
    #[arg(long)]
    pub node_ip: Option<IpAddr>,
    /// Port of the kubelet's API; 0 takes a free one.
    #[arg(long, default_value_t = 10250)]
    pub kubelet_port: u16,
    /// Range of pod addresses.
    #[arg(long, default_value_t = Ipv4Net::new_assert(Ipv4Addr::new(10, 244, 0, 0), 16))]
    pub cluster_cidr: Ipv4Net,
    /// Range of Service addresses.
    #[arg(long, default_value_t = Ipv4Net::new_assert(Ipv4Addr::new(10, 96, 0, 0), 12), value_parser = service_range)]
    pub service_cluster_ip_range: Ipv4Net,
    /// Ports for Services of type NodePort, first and last.
    #[arg(long, default_value = "30000-32767", value_parser = port_range)]
    pub service_node_port_range: (u16, u16),
    /// DNS zone of the cluster.
    #[arg(long, default_value = "cluster.local")]
    pub cluster_domain: String,
    /// File with the name servers for names outside the cluster [default: systemd-resolved's if that runs, else
    /// /etc/resolv.conf]
    #[arg(long)]
    pub resolv_conf: Option<PathBuf>,
    /// CRI socket of another runtime, such as unix:///run/containerd/containerd.sock [default: our own runtime]
    #[arg(long)]
    pub container_runtime_endpoint: Option<String>,
    /// Registries (host:port) spoken to without TLS, beside those on loopback addresses.
    #[arg(long, value_delimiter = ',')]
    pub insecure_registries: Vec<String>,
    /// Group versions to serve beside those without alpha or beta in their name, e.g. resource.k8s.io/v1beta1=true.
    #[arg(long, value_delimiter = ',')]
    pub runtime_config: Vec<String>,
    /// Keep the state in this etcd (URLs of its members) instead of the embedded store.
    #[arg(long, value_delimiter = ',')]
    pub etcd_servers: Vec<String>,
    /// Authority of etcd's certificates.
    #[arg(long)]
    pub etcd_cafile: Option<PathBuf>,
    /// Our certificate for etcd.
    #[arg(long, requires = "etcd_keyfile")]
    pub etcd_certfile: Option<PathBuf>,
    /// Its key.
    #[arg(long, requires = "etcd_certfile")]
    pub etcd_keyfile: Option<PathBuf>,
    /// What is kept of requests to the API server.
    #[command(flatten)]
    #[serde(default)]
    pub audit: AuditOptions,
    /// The kubelet's own.
    #[command(flatten)]
    #[serde(default)]
    pub kubelet: KubeletFlags,
    /// Parts that are not to run here.
    #[arg(long, value_delimiter = ',', value_enum)]
    pub disable: Vec<Component>,
}

impl Settings {
    /// The defaults, for a cluster of this name.
    pub fn named(name: &str) -> Self {
        #[derive(clap::Parser)]
        struct Defaults {
            #[command(flatten)]
            settings: Settings,
        }
        let Defaults { settings } = clap::Parser::parse_from(["skiff"]);
        Self { name: name.to_owned(), ..settings }
    }

    /// Whether a part is to run.
    pub fn runs(&self, component: Component) -> bool {
        !self.disable.contains(&component)
    }

    /// The `index`th address of the Service range: 1 is the API server's, 10 is DNS.
    pub fn service_ip(&self, index: u32) -> Ipv4Addr {
        Ipv4Addr::from(u32::from(self.service_cluster_ip_range.network()) + index)
    }

    /// The file with the name servers for names outside the cluster.
    pub fn resolv_conf(&self) -> PathBuf {
        self.resolv_conf.clone().unwrap_or_else(crate::machine::resolv_conf)
    }
}

fn cluster_name(text: &str) -> Result<String, String> {
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    let edges = text.starts_with('-') || text.ends_with('-');
    if text.is_empty() || text.len() > MAX_NAME || edges || !text.chars().all(fits) {
        return Err(format!(
            "a cluster name has 1 to {MAX_NAME} lower-case letters, digits and dashes, and no dash at its ends"
        ));
    }
    Ok(text.to_owned())
}

fn service_range(text: &str) -> Result<Ipv4Net, String> {
    let range = text.parse::<Ipv4Net>().map_err(|error| error.to_string())?;
    // Upstream's bound, `--service-cluster-ip-range`: at most 2^20 addresses; below 16 there is no room for DNS.
    if !(12..=28).contains(&range.prefix_len()) {
        return Err(format!("the prefix length must be from 12 to 28, not {}", range.prefix_len()));
    }
    Ok(range.trunc())
}

fn port_range(text: &str) -> Result<(u16, u16), String> {
    let (first, last) = text.split_once('-').ok_or("expected FIRST-LAST")?;
    let parse = |text: &str| text.trim().parse::<u16>().map_err(|error| format!("{text:?}: {error}"));
    let (first, last) = (parse(first)?, parse(last)?);
    if first > last { Err(format!("{first} is above {last}")) } else { Ok((first, last)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_survive_a_file() {
        let settings = Settings { disable: vec![Component::Dns], ..Settings::named("blue") };
        let text = serde_json::to_string(&settings).expect("serialized");
        let back: Settings = serde_json::from_str(&text).expect("parsed");
        assert_eq!(serde_json::to_string(&back).expect("serialized"), text);
        assert!(!back.runs(Component::Dns) && back.runs(Component::Node));
    }

    #[test]
    fn service_addresses_are_counted_from_the_start_of_the_range() {
        let settings = Settings::named("blue");
        assert_eq!(settings.service_ip(1), Ipv4Addr::new(10, 96, 0, 1));
        assert_eq!(settings.service_ip(10), Ipv4Addr::new(10, 96, 0, 10));
    }

    #[test]
    fn names_that_do_not_fit_the_kernel_are_refused() {
        assert!(cluster_name("blue-2").is_ok());
        for name in ["", "-a", "a-", "A", "a b", "a/b", "aaaaaaaaaaaaaaaaaaaaa"] {
            assert!(cluster_name(name).is_err(), "{name:?}");
        }
        assert!(service_range("10.0.0.0/30").is_err() && service_range("10.0.0.0/8").is_err());
        assert!(port_range("2-1").is_err() && port_range("1").is_err());
    }
}
