//! One pod sandbox: namespaces pinned to files, shared files, and its record.
//!
//! There is no pause process. The network, IPC and UTS namespaces live as long as their pins; a pid namespace that all
//! containers share needs a first process, so only pods that ask for one get it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use parking_lot::Mutex;
use prost::Message;
use rustix::mount::mount_bind;
use rustix::process::{Pid, Signal, kill_process};
use rustix::thread::UnshareFlags;
use serde::{Deserialize, Serialize};
use skiff_cri::v1::{self, NamespaceMode, PodSandboxState};
use skiff_netlink::netns;

use crate::config::Paths;
use crate::files::{at, create_private_dir, read_json, remove_dir, write_atomic, write_json};
use crate::mounts::{mount_tmpfs, on_own_thread, unmount_all};
use crate::oci::spec::PodView;
use crate::shim_client;

const RECORD_FILE: &str = "record.json";
const CONFIG_FILE: &str = "config.pb";
/// Size of a pod's /dev/shm, in bytes (as containerd has it).
const SHM_SIZE: u64 = 64 << 20;

/// What is written down of a sandbox.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct SandboxRecord {
    pub(crate) id: String,
    pub(crate) created_at: i64,
    pub(crate) runtime_handler: String,
    pub(crate) ready: bool,
    pub(crate) ip: String,
    /// Parent of the containers' cgroups.
    pub(crate) cgroup: String,
    /// The parent did not exist before, so it goes with the pod.
    pub(crate) made_cgroup: bool,
}

/// A pod sandbox. The configuration never changes.
pub(crate) struct Sandbox {
    pub(crate) id: String,
    pub(crate) config: v1::PodSandboxConfig,
    paths: Paths,
    record: Mutex<SandboxRecord>,
    /// Serialises stop and removal, and keeps containers from being created meanwhile.
    pub(crate) operation: tokio::sync::Mutex<()>,
}

/// The namespace options of a pod; all defaults if it has none.
pub(crate) fn namespace_options(config: &v1::PodSandboxConfig) -> v1::NamespaceOption {
    let context = config.linux.as_ref().and_then(|linux| linux.security_context.as_ref());
    context.and_then(|context| context.namespace_options.clone()).unwrap_or_default()
}

// === impl Sandbox ===

impl Sandbox {
    /// A sandbox that is written down when it is complete, by [`Sandbox::update`].
    pub(crate) fn new(paths: &Paths, config: v1::PodSandboxConfig, record: SandboxRecord) -> Self {
        Self {
            id: record.id.clone(),
            config,
            paths: paths.clone(),
            record: Mutex::new(record),
            operation: tokio::sync::Mutex::new(()),
        }
    }

    pub(crate) fn load(paths: &Paths, id: &str) -> io::Result<Self> {
        let folder = paths.sandbox_root(id);
        let record: SandboxRecord = read_json(&folder.join(RECORD_FILE))?;
        let config = v1::PodSandboxConfig::decode(fs::read(folder.join(CONFIG_FILE))?.as_slice())?;
        Ok(Self::new(paths, config, record))
    }

    pub(crate) fn save(&self) -> io::Result<()> {
        let folder = self.paths.sandbox_root(&self.id);
        create_private_dir(&folder)?;
        write_atomic(&folder.join(CONFIG_FILE), &self.config.encode_to_vec())?;
        write_json(&folder.join(RECORD_FILE), &self.record())
    }

    pub(crate) fn record(&self) -> SandboxRecord {
        self.record.lock().clone()
    }

    pub(crate) fn ready(&self) -> bool {
        self.record.lock().ready
    }

    /// Changes the record, on disk first.
    pub(crate) fn update(&self, change: impl FnOnce(&mut SandboxRecord)) -> io::Result<()> {
        let mut record = self.record.lock();
        let mut changed = record.clone();
        change(&mut changed);
        write_json(&self.paths.sandbox_root(&self.id).join(RECORD_FILE), &changed)?;
        *record = changed;
        Ok(())
    }

    /// Sets the address in memory, before the first [`Sandbox::save`].
    pub(crate) fn set_address(&self, ip: String) {
        self.record.lock().ip = ip;
    }

    fn file(&self, name: &str) -> PathBuf {
        self.paths.sandbox_state(&self.id).join(name)
    }

    /// The pin of the network namespace; `None` for the node's.
    pub(crate) fn network_namespace(&self) -> Option<PathBuf> {
        (namespace_options(&self.config).network() != NamespaceMode::Node).then(|| self.file("net"))
    }

    /// What containers share with the pod.
    pub(crate) fn view(&self) -> PodView {
        let options = namespace_options(&self.config);
        let own_network = options.network() != NamespaceMode::Node;
        let own_ipc = options.ipc() != NamespaceMode::Node;
        PodView {
            network: self.network_namespace(),
            ipc: own_ipc.then(|| self.file("ipc")),
            uts: own_network.then(|| self.file("uts")),
            pid: (options.pid() == NamespaceMode::Pod).then(|| self.file("pid")),
            hostname: self.hostname(),
            shm: if own_ipc { self.file("shm") } else { PathBuf::from("/dev/shm") },
            hostname_file: Some(self.file("hostname")),
            hosts_file: Some(self.file("hosts")),
            resolv_file: Some(self.file("resolv.conf")),
        }
    }

    fn hostname(&self) -> String {
        if !self.config.hostname.is_empty() {
            return self.config.hostname.clone();
        }
        rustix::system::uname().nodename().to_string_lossy().into_owned()
    }

    /// Makes namespaces and shared files. Blocks. What it made is taken away by [`Sandbox::dismantle`].
    pub(crate) fn build(&self, shim_program: &Path) -> io::Result<()> {
        create_private_dir(&self.file(""))?;
        let view = self.view();
        self.write_files()?;
        if view.ipc.is_some() {
            fs::create_dir(&view.shm).map_err(at("create", &view.shm))?;
            mount_tmpfs(&view.shm, SHM_SIZE)?;
        }
        if let Some(network) = &view.network {
            netns::create(network).map_err(io::Error::other)?;
        }
        self.pin_ipc_and_uts(&view)?;
        self.apply_network_sysctls(view.network.as_deref())?;
        if let Some(pin) = &view.pid {
            self.start_pause(shim_program, pin)?;
        }
        Ok(())
    }

    fn write_files(&self) -> io::Result<()> {
        let write = |name: &str, content: String| {
            use std::os::unix::fs::PermissionsExt;
            let path = self.file(name);
            fs::write(&path, content).map_err(at("write", &path))?;
            fs::set_permissions(&path, fs::Permissions::from_mode(0o644))
        };
        write("hostname", format!("{}\n", self.hostname()))?;
        write("hosts", fs::read_to_string("/etc/hosts").unwrap_or_default())?;
        let dns = match &self.config.dns_config {
            Some(dns) if dns != &v1::DnsConfig::default() => resolv_conf(dns),
            _ => fs::read_to_string("/etc/resolv.conf").unwrap_or_default(),
        };
        write("resolv.conf", dns)
    }

    /// Makes and pins the namespaces on a thread that ends afterwards, with its IPC sysctls and host name set.
    fn pin_ipc_and_uts(&self, view: &PodView) -> io::Result<()> {
        let mut flags = UnshareFlags::empty();
        flags.set(UnshareFlags::NEWIPC, view.ipc.is_some());
        flags.set(UnshareFlags::NEWUTS, view.uts.is_some());
        if flags.is_empty() {
            return Ok(());
        }
        let hostname = self.hostname();
        on_own_thread(|| {
            unshare(flags)?;
            if view.uts.is_some() {
                rustix::system::sethostname(hostname.as_bytes())?;
            }
            for (name, value) in self.sysctls().filter(|(name, _)| is_ipc(name)) {
                set_sysctl(name, value)?;
            }
            for (kind, pin) in [("ipc", &view.ipc), ("uts", &view.uts)] {
                if let Some(pin) = pin {
                    fs::File::create_new(pin).map_err(at("create", pin))?;
                    let namespace = format!("/proc/thread-self/ns/{kind}");
                    mount_bind(namespace.as_str(), pin).map_err(|e| at("pin a namespace at", pin)(e.into()))?;
                }
            }
            Ok(())
        })
    }

    fn sysctls(&self) -> impl Iterator<Item = (&str, &str)> {
        let all = self.config.linux.iter().flat_map(|linux| &linux.sysctls);
        all.map(|(name, value)| (name.as_str(), value.as_str()))
    }

    fn apply_network_sysctls(&self, network: Option<&Path>) -> io::Result<()> {
        let mut settings: Vec<_> = self.sysctls().filter(|(name, _)| !is_ipc(name)).collect();
        if let Some((name, _)) = settings.iter().find(|(name, _)| !normal(name).starts_with("net.")) {
            let text = format!("sysctl {name:?} is not in a namespace of the pod");
            return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        }
        let Some(network) = network else {
            return match settings.first() {
                None => Ok(()),
                Some((name, _)) => Err(io::Error::new(
                    io::ErrorKind::InvalidInput,
                    format!("sysctl {name:?} is not allowed with the node's network"),
                )),
            };
        };
        // As containerd sets them (`enable_unprivileged_ports`, `enable_unprivileged_icmp`): without, a container
        // whose user is not root could neither listen on port 80 nor ping.
        for default in [("net.ipv4.ip_unprivileged_port_start", "0"), ("net.ipv4.ping_group_range", "0 2147483647")] {
            if !settings.iter().any(|(name, _)| normal(name) == default.0) {
                settings.push(default);
            }
        }
        let apply = || settings.iter().try_for_each(|(name, value)| set_sysctl(name, value));
        netns::run_in(network, apply).map_err(io::Error::other)?
    }

    fn start_pause(&self, shim_program: &Path, pin: &Path) -> io::Result<()> {
        fs::File::create_new(pin).map_err(at("create", pin))?;
        let mut command = shim_client::command(shim_program).into_std();
        command.arg("pause").arg(pin).stdin(std::process::Stdio::null()).stdout(std::process::Stdio::null());
        let status = command.status()?;
        if status.success() {
            return Ok(());
        }
        let reason = fs::read_to_string(pin.with_extension("error")).unwrap_or_default();
        Err(io::Error::other(format!("cannot make the pod's pid namespace: {reason}")))
    }

    /// True if the namespaces are really there; a reboot or a cleanup leaves only files.
    pub(crate) fn intact(&self) -> bool {
        let view = self.view();
        [view.network, view.ipc, view.uts, view.pid].into_iter().flatten().all(|pin| is_namespace(&pin))
    }

    /// Takes away namespaces, mounts and shared files. Blocks. Nothing there is fine.
    pub(crate) fn dismantle(&self) -> io::Result<()> {
        dismantle(&self.file(""))
    }

    /// Forgets the sandbox.
    pub(crate) fn delete(&self) -> io::Result<()> {
        remove_dir(&self.paths.sandbox_root(&self.id))
    }

    fn state(&self) -> i32 {
        let state = if self.ready() { PodSandboxState::SandboxReady } else { PodSandboxState::SandboxNotready };
        state.into()
    }

    /// CRI's full view.
    pub(crate) fn status(&self) -> v1::PodSandboxStatus {
        let record = self.record();
        v1::PodSandboxStatus {
            id: record.id,
            metadata: self.config.metadata.clone(),
            state: self.state(),
            created_at: record.created_at,
            network: Some(v1::PodSandboxNetworkStatus { ip: record.ip, additional_ips: Vec::new() }),
            linux: Some(v1::LinuxPodSandboxStatus {
                namespaces: Some(v1::Namespace { options: Some(namespace_options(&self.config)) }),
            }),
            labels: self.config.labels.clone(),
            annotations: self.config.annotations.clone(),
            runtime_handler: record.runtime_handler,
        }
    }

    /// CRI's short view.
    pub(crate) fn listed(&self) -> v1::PodSandbox {
        let record = self.record();
        v1::PodSandbox {
            id: record.id,
            metadata: self.config.metadata.clone(),
            state: self.state(),
            created_at: record.created_at,
            labels: self.config.labels.clone(),
            annotations: self.config.annotations.clone(),
            runtime_handler: record.runtime_handler,
        }
    }
}

/// Takes away what a sandbox's state folder holds. Blocks.
pub(crate) fn dismantle(folder: &Path) -> io::Result<()> {
    let pid = fs::read_to_string(folder.join("pid.pid")).ok().and_then(|text| text.parse().ok());
    if let Some(pid) = pid.and_then(Pid::from_raw).filter(|pid| belongs_to(*pid, &folder.join("pid"))) {
        let _ = kill_process(pid, Signal::KILL);
    }
    unmount_all(folder)?;
    remove_dir(folder)
}

/// True if a process is in the pinned pid namespace, so that its id was not given to another process meanwhile.
fn belongs_to(pid: Pid, pin: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let namespace = |path: &Path| fs::metadata(path).map(|m| (m.dev(), m.ino()));
    match (namespace(Path::new(&format!("/proc/{}/ns/pid", pid.as_raw_nonzero()))), namespace(pin)) {
        (Ok(process), Ok(pin)) => process == pin,
        _ => false,
    }
}

fn is_namespace(pin: &Path) -> bool {
    const NSFS_MAGIC: i64 = 0x6e73_6673;
    rustix::fs::statfs(pin).is_ok_and(|stat| stat.f_type == NSFS_MAGIC)
}

#[allow(unsafe_code)]
fn unshare(flags: UnshareFlags) -> io::Result<()> {
    // SAFETY: only IPC and UTS namespaces are unshared, and only for this short-lived thread; no file descriptor table
    // or memory is affected.
    unsafe { rustix::thread::unshare_unsafe(flags) }.map_err(io::Error::from)
}

/// With dots, as `sysctl` prints names.
fn normal(name: &str) -> String {
    name.replace('/', ".")
}

fn is_ipc(name: &str) -> bool {
    let name = normal(name);
    name.starts_with("kernel.shm")
        || name.starts_with("kernel.msg")
        || name == "kernel.sem"
        || name.starts_with("fs.mqueue.")
}

fn set_sysctl(name: &str, value: &str) -> io::Result<()> {
    let name = normal(name);
    if name.split('.').any(|part| part.is_empty()) {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, format!("invalid sysctl name {name:?}")));
    }
    let path = Path::new("/proc/sys").join(name.replace('.', "/"));
    fs::write(&path, value).map_err(at("set", &path))
}

/// A resolver file (upstream: containerd `internal/cri/server/sandbox_run_linux.go`, parseDNSOptions).
fn resolv_conf(dns: &v1::DnsConfig) -> String {
    let mut text = String::new();
    if !dns.searches.is_empty() {
        text += &format!("search {}\n", dns.searches.join(" "));
    }
    for server in &dns.servers {
        text += &format!("nameserver {server}\n");
    }
    if !dns.options.is_empty() {
        text += &format!("options {}\n", dns.options.join(" "));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resolver_files() {
        let strings = |list: &[&str]| list.iter().map(|s| (*s).to_owned()).collect();
        let dns = v1::DnsConfig {
            servers: strings(&["10.96.0.10"]),
            searches: strings(&["demo.svc.cluster.local", "svc.cluster.local"]),
            options: strings(&["ndots:5"]),
        };
        let expected = "search demo.svc.cluster.local svc.cluster.local\nnameserver 10.96.0.10\noptions ndots:5\n";
        assert_eq!(resolv_conf(&dns), expected);
    }

    #[test]
    fn sysctls_by_namespace() {
        for name in ["kernel.shm_rmid_forced", "kernel/msgmax", "kernel.sem", "fs.mqueue.msg_max"] {
            assert!(is_ipc(name), "{name}");
        }
        for name in ["net.ipv4.tcp_syncookies", "kernel.hostname", "vm.swappiness"] {
            assert!(!is_ipc(name), "{name}");
        }
        assert!(set_sysctl("net..ipv4", "1").is_err());
    }
}
