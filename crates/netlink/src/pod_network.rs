//! The pod network of one node: a routed veth pair per pod, no bridge.
//!
//! A pod's `eth0` has its address as /32 and a default route to the first address of the node's pod range, which every
//! host end carries. The host has a /32 route per pod, so same-node traffic, hairpins and service translation all pass
//! the host's forwarding path and need no bridge netfilter (measured in the project's runtime notes). What leaves the
//! cluster's pod range is masqueraded here.

use std::collections::BTreeMap;
use std::fs;
use std::net::Ipv4Addr;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use ipnet::Ipv4Net;

use crate::hostport::{self, PortMapping};
use crate::link::{self, Links};
use crate::pod_ipam::PodIpam;
use crate::{Error, Result, netns, nft, sysctl};

/// How the network is set up.
#[derive(Clone, Debug)]
pub struct Config {
    /// Cluster name; part of every name made here.
    pub cluster: String,
    /// Where claims are kept, e.g. `/var/lib/skiff/network`.
    pub state_dir: PathBuf,
    /// MTU of pod links; 0 for that of the default route's link, else 1500.
    pub mtu: u32,
    /// The range of all pods of the cluster: traffic within it is not masqueraded.
    pub cluster_range: Ipv4Net,
}

/// Address of an attached pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PodAddress {
    /// The pod's address.
    pub ip: Ipv4Addr,
    /// Its gateway, an address of the node.
    pub gateway: Ipv4Addr,
}

/// The network.
pub struct PodNetwork {
    config: Config,
    ipam: PodIpam,
    links: Links,
    range: parking_lot::RwLock<Option<Ipv4Net>>,
    /// Held while the host port table is rewritten.
    host_ports: tokio::sync::Mutex<BTreeMap<String, (Ipv4Addr, Vec<PortMapping>)>>,
}

/// File with the node's pod range.
const RANGE_FILE: &str = "range";
/// Name inside the pod.
const POD_LINK: &str = "eth0";

impl PodNetwork {
    /// Opens the network of this process's network namespace. Must be called within a tokio runtime.
    pub async fn new(config: Config) -> Result<Self> {
        sysctl::set("net/ipv4/ip_forward", "1")?;
        // Host ports answer on 127.0.0.1 too: such packets leave by another link after translation.
        sysctl::set("net/ipv4/conf/all/route_localnet", "1")?;
        let ipam = PodIpam::open(&config.state_dir.join("addresses"))?;
        let host_ports = load_host_ports(&config.state_dir)?;
        let network = Self {
            ipam,
            links: Links::open()?,
            range: parking_lot::RwLock::new(load_range(&config.state_dir)),
            host_ports: tokio::sync::Mutex::new(host_ports),
            config,
        };
        nft::apply(&masquerade_rules(&table(&network.config.cluster, "pods"), network.config.cluster_range)).await?;
        if !network.host_ports.lock().await.is_empty() {
            network.write_host_ports(&*network.host_ports.lock().await).await?;
        }
        Ok(network)
    }

    /// Sets the node's pod range (`spec.podCIDR`), also for later runs: a node whose network works must not look broken
    /// until somebody says the range again. Pods attached under another range keep their addresses.
    pub fn set_pod_cidr(&self, range: Ipv4Net) {
        if self.range.write().replace(range) == Some(range) {
            return;
        }
        let path = self.config.state_dir.join(RANGE_FILE);
        let written = path.with_extension("tmp");
        let saved = std::fs::write(&written, range.to_string()).and_then(|()| std::fs::rename(&written, &path));
        if let Err(error) = saved {
            tracing::warn!(%error, path = %path.display(), "cannot note the pod range; it is needed again after a restart");
        }
    }

    /// The node's pod range, once known.
    pub fn pod_cidr(&self) -> Option<Ipv4Net> {
        *self.range.read()
    }

    /// Connects the namespace at `namespace` and maps its host ports. Done twice for one sandbox, it changes nothing.
    pub async fn attach(&self, sandbox_id: &str, namespace: &Path, ports: &[PortMapping]) -> Result<PodAddress> {
        let range = self.pod_cidr().ok_or(Error::NoPodRange)?;
        let ip = self.ipam.claim(range, sandbox_id)?;
        let address = PodAddress { ip, gateway: PodIpam::gateway(range) };
        if let Err(error) = self.connect(sandbox_id, namespace, address).await {
            // Leave nothing half made; the caller tries again with a new sandbox.
            let _ = self.detach(sandbox_id).await;
            return Err(error);
        }
        if !ports.is_empty() {
            let mut all = self.host_ports.lock().await;
            all.insert(sandbox_id.to_owned(), (ip, ports.to_vec()));
            self.write_host_ports(&all).await?;
        }
        Ok(address)
    }

    async fn connect(&self, sandbox_id: &str, namespace: &Path, address: PodAddress) -> Result<()> {
        let host_link = link_name(&self.config.cluster, sandbox_id, 'h');
        if self.links.index(&host_link).await.is_ok() {
            return Ok(());
        }
        let pod_link = link_name(&self.config.cluster, sandbox_id, 'p');
        let mtu = if self.config.mtu > 0 { self.config.mtu } else { default_mtu() };
        self.links.add_veth(&host_link, &pod_link, mtu, &alias(&self.config.cluster, sandbox_id)).await?;
        let file = fs::File::open(namespace).map_err(Error::file("open", namespace))?;
        self.links.move_to(&pod_link, file.as_fd()).await?;
        let (path, inner) = (namespace.to_owned(), pod_link.clone());
        tokio::task::spawn_blocking(move || {
            netns::run_in(&path, || link::blocking(|links| configure_pod_side(links, inner, address)))
        })
        .await
        .map_err(|_| Error::Thread)???;
        self.links.set_up(&host_link).await?;
        self.links.add_address(&host_link, address.gateway, 32).await?;
        self.links.add_route(&host_link, address.ip, 32, None).await
    }

    /// Disconnects a sandbox and frees its address and host ports; not attached is fine.
    pub async fn detach(&self, sandbox_id: &str) -> Result<()> {
        self.links.delete(&link_name(&self.config.cluster, sandbox_id, 'h')).await?;
        let mut all = self.host_ports.lock().await;
        if all.remove(sandbox_id).is_some() {
            self.write_host_ports(&all).await?;
        }
        drop(all);
        self.ipam.release(sandbox_id)
    }

    /// Ids of the sandboxes that hold an address: what a restarted runtime compares with the pods it knows.
    pub fn attached(&self) -> Result<Vec<String>> {
        Ok(self.ipam.claims()?.into_iter().map(|(_, sandbox_id)| sandbox_id).collect())
    }

    async fn write_host_ports(&self, all: &BTreeMap<String, (Ipv4Addr, Vec<PortMapping>)>) -> Result<()> {
        let path = host_ports_path(&self.config.state_dir);
        let text = serde_json::to_vec(all).map_err(|e| Error::file("encode", &path)(e.into()))?;
        // Never half a file: it is read before any pod can start again.
        let new = path.with_extension("new");
        fs::write(&new, text).map_err(Error::file("write", &new))?;
        fs::rename(&new, &path).map_err(Error::file("replace", &path))?;
        nft::apply(&hostport::render(&table(&self.config.cluster, "hostports"), all)).await
    }
}

async fn configure_pod_side(links: Links, temporary_name: String, address: PodAddress) -> Result<()> {
    links.rename(&temporary_name, POD_LINK).await?;
    links.add_address(POD_LINK, address.ip, 32).await?;
    links.set_up(POD_LINK).await?;
    links.add_route(POD_LINK, address.gateway, 32, None).await?;
    links.add_route(POD_LINK, Ipv4Addr::UNSPECIFIED, 0, Some(address.gateway)).await
}

/// The pod range of an earlier run.
fn load_range(state_dir: &Path) -> Option<Ipv4Net> {
    std::fs::read_to_string(state_dir.join(RANGE_FILE)).ok()?.trim().parse().ok()
}

/// Removes every link and table that a cluster made in this network namespace, and its claims.
pub async fn cleanup(cluster: &str, state_dir: &Path) -> Result<()> {
    let links = Links::open()?;
    for (name, _) in links.with_alias(&alias(cluster, "")).await? {
        links.delete(&name).await?;
    }
    nft::delete_table(&table(cluster, "pods")).await?;
    nft::delete_table(&table(cluster, "hostports")).await?;
    for path in [state_dir.join("addresses"), host_ports_path(state_dir)] {
        let removed = if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
        match removed {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(Error::file("remove", &path)(error));
            }
            _ => {}
        }
    }
    Ok(())
}

fn host_ports_path(state_dir: &Path) -> PathBuf {
    state_dir.join("hostports.json")
}

fn load_host_ports(state_dir: &Path) -> Result<BTreeMap<String, (Ipv4Addr, Vec<PortMapping>)>> {
    let path = host_ports_path(state_dir);
    match fs::read(&path) {
        Ok(text) => Ok(serde_json::from_slice(&text).unwrap_or_else(|error| {
            // After a power failure the file may be empty; then the pods that it told of are gone, too.
            tracing::warn!(path = %path.display(), %error, "cannot read which host ports are mapped; none are now");
            BTreeMap::new()
        })),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(BTreeMap::new()),
        Err(error) => Err(Error::file("read", &path)(error)),
    }
}

/// Name of an nftables table of a cluster; nft names take letters, digits and underscores.
pub fn table(cluster: &str, purpose: &str) -> String {
    let cluster: String = cluster.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
    format!("skiff_{cluster}_{purpose}")
}

fn alias(cluster: &str, sandbox_id: &str) -> String {
    format!("skiff/{cluster}/{sandbox_id}")
}

/// A link name of at most 15 bytes: part of the cluster's name for people, a hash for uniqueness.
fn link_name(cluster: &str, sandbox_id: &str, side: char) -> String {
    // FNV-1a: must give the same name in every release, as links outlive the process.
    let hash = cluster
        .bytes()
        .chain([b'/'])
        .chain(sandbox_id.bytes())
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    let readable: String = cluster.chars().filter(char::is_ascii_alphanumeric).take(4).collect();
    format!("{readable}{side}{:09x}", hash >> 28)
}

fn masquerade_rules(table: &str, cluster_range: Ipv4Net) -> String {
    format!(
        "add table ip {table}\ndelete table ip {table}\ntable ip {table} {{\n chain postrouting {{\n  \
         type nat hook postrouting priority srcnat; policy accept;\n  \
         ip saddr {cluster_range} ip daddr != {cluster_range} fib daddr type != local oifname != \"lo\" masquerade\n }}\n}}\n"
    )
}

/// MTU of the link that the default route uses, 1500 when there is none.
fn default_mtu() -> u32 {
    let routes = fs::read_to_string("/proc/net/route").unwrap_or_default();
    routes
        .lines()
        .skip(1)
        .filter_map(|line| {
            let mut fields = line.split_whitespace();
            let link = fields.next()?;
            (fields.next()? == "00000000").then(|| link.to_owned())
        })
        .find_map(|link| fs::read_to_string(format!("/sys/class/net/{link}/mtu")).ok()?.trim().parse().ok())
        .unwrap_or(1500)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn link_names_fit_and_differ() {
        let host = link_name("a-very-long-cluster-name", "0123456789abcdef", 'h');
        assert!(host.len() <= 15, "{host}");
        assert_ne!(host, link_name("a-very-long-cluster-name", "0123456789abcdee", 'h'));
        assert_ne!(host, link_name("a-very-long-cluster-other", "0123456789abcdef", 'h'));
        assert_eq!(host, link_name("a-very-long-cluster-name", "0123456789abcdef", 'h'));
    }
}
