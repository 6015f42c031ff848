//! Who this machine is.

use std::net::{IpAddr, Ipv4Addr, UdpSocket};
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};

/// Where systemd-resolved keeps the servers that it asks itself.
const RESOLVED: &str = "/run/systemd/resolve/resolv.conf";

/// The file with this machine's name servers.
///
/// Where systemd-resolved runs, `/etc/resolv.conf` names its stub on a loopback address, which is nobody in a pod: so
/// its own file goes first, as kubeadm sets it up.
pub fn resolv_conf() -> PathBuf {
    let resolved = Path::new(RESOLVED);
    if resolved.exists() { resolved.to_owned() } else { PathBuf::from("/etc/resolv.conf") }
}

/// The host name in lower case, as upstream's kubelet names a node.
pub fn node_name() -> anyhow::Result<String> {
    let name = nix::unistd::gethostname().context("cannot read the host name")?;
    let name = name.to_string_lossy().trim().to_lowercase();
    ensure!(!name.is_empty(), "this machine has no host name; set one, or pass --node-name");
    Ok(name)
}

/// The address of the default route, else the first that is not loopback.
pub fn node_ip() -> anyhow::Result<IpAddr> {
    // Connecting a datagram socket sends nothing: it only asks the routing table.
    let routed = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).and_then(|socket| {
        socket.connect((Ipv4Addr::new(192, 0, 2, 1), 9))?;
        socket.local_addr()
    });
    if let Ok(address) = routed
        && !address.ip().is_unspecified()
        && !address.ip().is_loopback()
    {
        return Ok(address.ip());
    }
    let interfaces = nix::ifaddrs::getifaddrs().context("cannot list network interfaces")?;
    let addresses = interfaces.filter_map(|interface| Some(interface.address?.as_sockaddr_in()?.ip()));
    let mut addresses = addresses.filter(|ip| !ip.is_loopback());
    let first = addresses.next().context(
        "this machine has no address but loopback, which pods cannot reach; give an interface one, or pass --node-ip",
    )?;
    Ok(IpAddr::V4(first))
}
