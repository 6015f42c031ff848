//! Command line flags, under upstream's names where upstream has them.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use clap::Parser;
use ipnet::Ipv4Net;

use crate::audit::AuditOptions;

/// The API server alone.
#[derive(Clone, Debug, Parser)]
#[command(name = "kube-apiserver", version)]
pub struct Options {
    /// Address to listen on.
    #[arg(long, default_value_t = IpAddr::V4(Ipv4Addr::UNSPECIFIED))]
    pub bind_address: IpAddr,
    /// Port to listen on.
    #[arg(long, default_value_t = 6443)]
    pub secure_port: u16,
    /// Address that the kubernetes Service leads to; pods must be able to reach it, so it is not a loopback address.
    #[arg(long)]
    pub advertise_address: IpAddr,
    /// Directory of the PKI, made if it is not there.
    #[arg(long, default_value = "/var/lib/skiff/pki")]
    pub cert_dir: PathBuf,
    /// Folder of the embedded store, made if it is not there; without, objects live in memory only.
    #[arg(long)]
    pub data_dir: Option<PathBuf>,
    /// Range of cluster IPs.
    #[arg(long, default_value = "10.96.0.0/12")]
    pub service_cluster_ip_range: Ipv4Net,
    /// Range of node ports, first and last.
    #[arg(long, default_value = "30000-32767", value_parser = port_range)]
    pub service_node_port_range: (u16, u16),
    /// Group versions to serve beside those without alpha or beta in their name, or not to serve, e.g.
    /// resource.k8s.io/v1beta1=true, api/all=true, batch/v1=false.
    #[arg(long, value_delimiter = ',')]
    pub runtime_config: Vec<String>,
    /// Where to write the administrator's kubeconfig; not written without.
    #[arg(long)]
    pub write_kubeconfig: Option<PathBuf>,
    /// What is kept of requests.
    #[command(flatten)]
    pub audit: AuditOptions,
}

impl Options {
    /// The address to listen on.
    pub fn listen(&self) -> SocketAddr {
        SocketAddr::new(self.bind_address, self.secure_port)
    }
}

fn port_range(text: &str) -> Result<(u16, u16), String> {
    let (first, last) = text.split_once('-').ok_or("expected FIRST-LAST")?;
    let parse = |text: &str| text.trim().parse::<u16>().map_err(|error| format!("{text:?}: {error}"));
    let (first, last) = (parse(first)?, parse(last)?);
    if first > last { Err(format!("{first} is above {last}")) } else { Ok((first, last)) }
}
