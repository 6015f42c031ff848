//! The command line of the proxy when it runs on its own, under upstream's names where upstream has them
//! (`cmd/kube-proxy/app/options.go`).

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use clap::{Parser, ValueEnum};
use ipnet::Ipv4Net;

use crate::Config;

/// Leads what is sent to Services to their endpoints.
#[derive(Clone, Debug, Parser)]
#[command(name = "kube-proxy", version)]
pub struct Options {
    /// Path to the kubeconfig; without it, the proxy must run in a pod
    #[arg(long)]
    pub kubeconfig: Option<PathBuf>,
    /// URL of the API server, in place of the kubeconfig's
    #[arg(long)]
    pub master: Option<String>,
    /// Name of this node [default: the host's name in lower case]
    #[arg(long)]
    hostname_override: Option<String>,
    /// Name of the cluster, part of the name of its nftables table
    #[arg(long, default_value = "skiff")]
    name: String,
    /// Range of all pods of the cluster: what comes from elsewhere is masqueraded
    #[arg(long, default_value_t = Config::default().pod_range)]
    cluster_cidr: Ipv4Net,
    /// Range of cluster IPs
    #[arg(long, default_value_t = Config::default().service_range)]
    service_cluster_ip_range: Ipv4Net,
    /// Ranges of this node's addresses on which node ports answer; all of its addresses if not given
    #[arg(long, value_delimiter = ',')]
    nodeport_addresses: Vec<Ipv4Net>,
    /// Where to serve /healthz and /livez; port 0 for nowhere
    #[arg(long, default_value = "0.0.0.0:10256")]
    healthz_bind_address: SocketAddr,
    /// Where to serve /metrics; port 0 for nowhere
    #[arg(long, default_value = "127.0.0.1:10249")]
    metrics_bind_address: SocketAddr,
    /// How the rules are written: there is one way
    #[arg(long, value_enum, default_value_t = Mode::Nftables)]
    proxy_mode: Mode,
    /// Least number of connections that the kernel tracks; 0 leaves its limit
    #[arg(long, default_value_t = Config::default().conntrack_min)]
    conntrack_min: u32,
    /// How often to look whether the rules are still there, in seconds
    #[arg(long, default_value_t = Config::default().check_period.as_secs(), value_parser = clap::value_parser!(u64).range(1..))]
    check_period: u64,
    /// Remove everything that this cluster's proxy made, and exit
    #[arg(long)]
    pub cleanup: bool,
}

/// A way to write the rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Mode {
    /// By nftables.
    Nftables,
}

impl Options {
    /// The settings that the options stand for.
    pub fn config(&self) -> anyhow::Result<Config> {
        let Mode::Nftables = self.proxy_mode;
        let open = |address: SocketAddr| (address.port() != 0).then_some(address);
        Ok(Config {
            cluster: self.name.clone(),
            node_name: self.hostname_override.clone().map_or_else(host_name, Ok)?,
            pod_range: self.cluster_cidr,
            service_range: self.service_cluster_ip_range,
            node_port_addresses: self.nodeport_addresses.clone(),
            healthz_address: open(self.healthz_bind_address),
            metrics_address: open(self.metrics_bind_address),
            check_period: Duration::from_secs(self.check_period),
            conntrack_min: self.conntrack_min,
        })
    }
}

fn host_name() -> anyhow::Result<String> {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").context("cannot read the host's name")?;
    Ok(name.trim().to_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(flags: &[&str]) -> Result<Options, clap::Error> {
        Options::try_parse_from(["kube-proxy"].iter().chain(flags))
    }

    #[test]
    fn flags_become_settings() {
        let flags = [
            "--hostname-override=n1",
            "--metrics-bind-address=127.0.0.1:0",
            "--nodeport-addresses=10.0.0.0/8,127.0.0.0/8",
        ];
        let config = parse(&flags).expect("known flags").config().expect("settings");
        assert_eq!((config.node_name.as_str(), config.metrics_address), ("n1", None));
        assert_eq!(config.healthz_address, Some(([0, 0, 0, 0], 10256).into()));
        assert_eq!(config.node_port_addresses.len(), 2);
    }

    #[test]
    fn what_cannot_be_done_is_refused() {
        assert!(parse(&["--proxy-mode=ipvs"]).is_err());
        assert!(parse(&["--unknown"]).is_err());
        assert!(parse(&["--check-period=0"]).is_err());
    }
}
