//! The command line of the runtime when it runs on its own.

use std::net::Ipv4Addr;
use std::path::PathBuf;

use clap::Parser;
use ipnet::Ipv4Net;

use crate::Config;

/// Serves CRI v1 on a unix socket.
#[derive(Parser)]
#[command(name = "skiff-runtime", version)]
pub struct Options {
    /// Cluster name, part of every link, table and cgroup.
    #[arg(long, default_value = "skiff")]
    name: String,
    /// Images and records; survives a reboot [default: /var/lib/skiff/NAME/runtime]
    #[arg(long)]
    root_dir: Option<PathBuf>,
    /// Namespaces, mounts and shim sockets [default: /run/skiff/NAME/runtime]
    #[arg(long)]
    state_dir: Option<PathBuf>,
    /// The CRI socket [default: /run/skiff/NAME/cri.sock]
    #[arg(long)]
    socket: Option<PathBuf>,
    /// Range of all pods of the cluster.
    #[arg(long, default_value_t = Ipv4Net::new_assert(Ipv4Addr::new(10, 244, 0, 0), 16))]
    cluster_cidr: Ipv4Net,
    /// Range of this node's pods, if the kubelet does not set it.
    #[arg(long)]
    pod_cidr: Option<Ipv4Net>,
    /// Registries spoken to without TLS.
    #[arg(long, value_delimiter = ',')]
    insecure_registries: Vec<String>,
    /// Remove everything this cluster's runtime left on the machine but its data, and exit.
    #[arg(long)]
    pub cleanup: bool,
}

impl Options {
    /// The settings that the options stand for.
    pub fn config(self) -> Config {
        let default = Config::new(&self.name);
        Config {
            root_dir: self.root_dir.unwrap_or(default.root_dir),
            state_dir: self.state_dir.unwrap_or(default.state_dir),
            socket: self.socket.unwrap_or(default.socket),
            cluster_range: self.cluster_cidr,
            pod_cidr: self.pod_cidr,
            insecure_registries: self.insecure_registries,
            ..Config::new(&self.name)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn the_name_is_in_every_default() {
        let config = Options::parse_from(["skiff-runtime", "--name", "blue"]).config();
        for path in [&config.root_dir, &config.state_dir, &config.socket, Path::new(&config.cgroup_root)] {
            assert!(path.to_string_lossy().contains("blue"), "{}", path.display());
        }
        let config =
            Options::parse_from(["skiff-runtime", "--socket", "/x.sock", "--pod-cidr", "10.1.0.0/24"]).config();
        assert_eq!(config.socket, Path::new("/x.sock"));
        assert_eq!(config.pod_cidr.map(|range| range.to_string()).as_deref(), Some("10.1.0.0/24"));
        assert!(Options::try_parse_from(["skiff-runtime", "--unknown"]).is_err());
    }
}
