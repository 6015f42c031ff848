//! The command line of the cluster's DNS when it runs on its own.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use clap::Parser;

use crate::{Config, Upstream};

/// Answers the names of the cluster, and asks the host's name servers for all others.
#[derive(Clone, Debug, Parser)]
#[command(name = "skiff-dns", version)]
pub struct Options {
    /// Path to the kubeconfig; without it, this must run in a pod
    #[arg(long)]
    pub kubeconfig: Option<PathBuf>,
    /// URL of the API server, in place of the kubeconfig's
    #[arg(long)]
    pub master: Option<String>,
    /// DNS zone of the cluster
    #[arg(long, default_value = "cluster.local")]
    cluster_domain: String,
    /// Name of the node that this runs on
    #[arg(long)]
    node_name: String,
    /// Address of the node, which pods must be able to reach
    #[arg(long)]
    node_ip: Ipv4Addr,
    /// Port for UDP and TCP; 0 for the one used before, else any
    #[arg(long, default_value_t = 0)]
    port: u16,
    /// Port for /metrics, /health and /ready; 0 for any
    #[arg(long, default_value_t = 0)]
    metrics_port: u16,
    /// Cluster IP of Service kube-system/kube-dns
    #[arg(long, default_value_t = Config::default().service_ip)]
    cluster_dns: Ipv4Addr,
    /// File with the name servers for all other names
    #[arg(long, default_value = "/etc/resolv.conf")]
    resolv_conf: PathBuf,
    /// Name servers for all other names, ADDRESS:PORT, in place of the file's
    #[arg(long, value_delimiter = ',')]
    upstream: Vec<SocketAddr>,
}

impl Options {
    /// The settings that the options stand for.
    pub fn config(&self) -> Config {
        let upstream = if self.upstream.is_empty() {
            Upstream::ResolvConf(self.resolv_conf.clone())
        } else {
            Upstream::Servers(self.upstream.clone())
        };
        Config {
            cluster_domain: self.cluster_domain.clone(),
            node_name: self.node_name.clone(),
            node_address: self.node_ip,
            port: self.port,
            metrics_port: self.metrics_port,
            service_ip: self.cluster_dns,
            upstream,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_become_settings() {
        let flags = ["skiff-dns", "--node-name=n1", "--node-ip=192.0.2.1", "--upstream=192.0.2.3:53"];
        let config = Options::try_parse_from(flags).expect("known flags").config();
        assert_eq!(config.upstream, Upstream::Servers(vec![([192, 0, 2, 3], 53).into()]));
        assert_eq!((config.port, config.cluster_domain.as_str()), (0, "cluster.local"));
        assert!(Options::try_parse_from(["skiff-dns", "--node-name=n1"]).is_err(), "an address is needed");
    }
}
