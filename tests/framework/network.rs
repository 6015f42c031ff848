//! Network namespaces: a machine's network for each test.

use std::fs::File;
use std::os::fd::AsFd;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context, bail};
use nix::sched::{CloneFlags, setns};

/// Address of the machine in its namespace, and the way out that leads nowhere (TEST-NET-1).
pub const NODE_IP: &str = "192.0.2.2";

/// Number of the next namespace of this process.
static NEXT: AtomicU32 = AtomicU32::new(0);

/// A network namespace with a loopback and one address; removed when dropped.
pub struct Namespace {
    /// Its name, also short enough for a cluster's.
    pub name: String,
    handle: Handle,
}

/// What is needed to enter a namespace.
#[derive(Clone)]
pub struct Handle {
    file: Arc<File>,
}

impl Handle {
    /// Moves the calling thread, and what it starts, into the namespace. There is no way back.
    pub fn enter(&self) -> anyhow::Result<()> {
        setns(self.file.as_fd(), CloneFlags::CLONE_NEWNET).context("cannot enter a network namespace")
    }
}

impl Namespace {
    /// Makes one.
    pub fn create() -> anyhow::Result<Namespace> {
        let name = format!("t{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        ip(&["netns", "add", &name])?;
        let file = File::open(format!("/run/netns/{name}")).context("cannot open the network namespace")?;
        let namespace = Namespace { name, handle: Handle { file: Arc::new(file) } };
        let inside = ["-n", &namespace.name];
        for command in [
            "link set lo up",
            // Nothing answers at the other end, so what is sent to the outside is lost.
            "link add eth0 type veth peer name outside",
            "link set outside up",
            &format!("address add {NODE_IP}/24 dev eth0"),
            "link set eth0 up",
            "route add default dev eth0",
        ] {
            ip(&inside.iter().copied().chain(command.split(' ')).collect::<Vec<_>>())?;
        }
        Ok(namespace)
    }

    /// See [`Handle::enter`].
    pub fn enter(&self) -> anyhow::Result<()> {
        self.handle.enter()
    }

    /// What is needed to enter it.
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let _ = ip(&["netns", "delete", &self.name]);
    }
}

fn ip(arguments: &[&str]) -> anyhow::Result<()> {
    let output = Command::new("ip").args(arguments).output().context("cannot run ip")?;
    if !output.status.success() {
        bail!("ip {}: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr));
    }
    Ok(())
}
