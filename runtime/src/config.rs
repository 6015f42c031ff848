//! What the runtime is told, and where it keeps things.

use std::path::{Path, PathBuf};

use ipnet::Ipv4Net;

/// Settings of one runtime. Every path, cgroup and link it makes is below these names, so several clusters and tests
/// can share a machine.
#[derive(Clone, Debug)]
pub struct Config {
    /// Cluster name, part of link and nftables names.
    pub cluster: String,
    /// Data that survives a reboot: images, layers, writable layers, records. For example
    /// `/var/lib/skiff/skiff/runtime`; must not be on an overlay, as overlays do not stack on overlays.
    pub root_dir: PathBuf,
    /// Data of this boot: namespaces, sockets, mounts. For example `/run/skiff/skiff/runtime`.
    pub state_dir: PathBuf,
    /// The CRI socket.
    pub socket: PathBuf,
    /// Cgroup of pods whose configuration names no parent, for example `/skiff`.
    pub cgroup_root: String,
    /// The range of all pods of the cluster.
    pub cluster_range: Ipv4Net,
    /// The node's own pod range, if it is known before the kubelet tells it.
    pub pod_cidr: Option<Ipv4Net>,
    /// MTU of pod links; 0 for the default route's.
    pub mtu: u32,
    /// Registries (`host[:port]`) spoken to in plain HTTP, besides loopback addresses.
    pub insecure_registries: Vec<String>,
    /// Program to start shims from; `None` for the running one, which must call [`crate::shim_main`] first.
    pub shim_program: Option<PathBuf>,
}

/// Folders and files derived from a [`Config`].
#[derive(Clone, Debug)]
pub(crate) struct Paths {
    root: PathBuf,
    state: PathBuf,
}

// === impl Config ===

impl Config {
    /// The usual settings of a cluster called `cluster`.
    pub fn new(cluster: &str) -> Self {
        let state_dir = Path::new("/run/skiff").join(cluster);
        Self {
            cluster: cluster.to_owned(),
            root_dir: Path::new("/var/lib/skiff").join(cluster).join("runtime"),
            socket: state_dir.join("cri.sock"),
            state_dir: state_dir.join("runtime"),
            cgroup_root: format!("/skiff-{cluster}"),
            cluster_range: Ipv4Net::new_assert(std::net::Ipv4Addr::new(10, 244, 0, 0), 16),
            pod_cidr: None,
            mtu: 0,
            insecure_registries: Vec::new(),
            shim_program: None,
        }
    }

    pub(crate) fn paths(&self) -> Paths {
        Paths { root: self.root_dir.clone(), state: self.state_dir.clone() }
    }
}

// === impl Paths ===

impl Paths {
    /// Folder of records and writable layers of one container.
    pub(crate) fn container_root(&self, id: &str) -> PathBuf {
        self.containers_root().join(id)
    }

    pub(crate) fn containers_root(&self) -> PathBuf {
        self.root.join("containers")
    }

    pub(crate) fn sandboxes_root(&self) -> PathBuf {
        self.root.join("sandboxes")
    }

    pub(crate) fn sandbox_root(&self, id: &str) -> PathBuf {
        self.sandboxes_root().join(id)
    }

    pub(crate) fn images(&self) -> PathBuf {
        self.root.join("images")
    }

    pub(crate) fn layers(&self) -> PathBuf {
        self.root.join("layers")
    }

    /// Downloads and half-unpacked layers; emptied at every start.
    pub(crate) fn ingest(&self) -> PathBuf {
        self.root.join("ingest")
    }

    pub(crate) fn network(&self) -> PathBuf {
        self.root.join("network")
    }

    pub(crate) fn boot_id(&self) -> PathBuf {
        self.root.join("boot-id")
    }

    /// Bundle, mounts and socket of one container in this boot.
    pub(crate) fn container_state(&self, id: &str) -> PathBuf {
        self.containers_state().join(id)
    }

    pub(crate) fn containers_state(&self) -> PathBuf {
        self.state.join("c")
    }

    pub(crate) fn sandbox_state(&self, id: &str) -> PathBuf {
        self.sandboxes_state().join(id)
    }

    pub(crate) fn sandboxes_state(&self) -> PathBuf {
        self.state.join("p")
    }

    /// libcontainer's own state.
    pub(crate) fn oci(&self) -> PathBuf {
        self.state.join("oci")
    }

    pub(crate) fn execs(&self) -> PathBuf {
        self.state.join("x")
    }

    /// Read-only view of the program that shims are started from.
    pub(crate) fn shim_program(&self) -> PathBuf {
        self.state.join("skiff-shim")
    }

    pub(crate) fn state(&self) -> &Path {
        &self.state
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }
}
