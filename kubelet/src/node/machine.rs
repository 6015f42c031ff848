//! What the machine is and has left, read from /proc and /sys.

use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, UdpSocket};
use std::path::Path;

use rustix::fs::statvfs;

/// What does not change while the machine is up.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Machine {
    pub(crate) machine_id: String,
    pub(crate) system_uuid: String,
    pub(crate) boot_id: String,
    pub(crate) kernel_version: String,
    pub(crate) os_image: String,
    /// Go's name of the architecture.
    pub(crate) architecture: &'static str,
    pub(crate) cpus: u64,
    /// Bytes.
    pub(crate) memory: u64,
    /// Bytes.
    pub(crate) swap: u64,
}

/// What is left, for the pressure conditions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Available {
    /// Bytes.
    pub(crate) memory: u64,
    /// The file system of the kubelet's folder.
    pub(crate) disk: FileSystem,
    pub(crate) pids: u64,
    pub(crate) pids_max: u64,
}

/// Size and use of a file system.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct FileSystem {
    /// Bytes.
    pub(crate) size: u64,
    /// Bytes.
    pub(crate) free: u64,
    pub(crate) inodes: u64,
    pub(crate) inodes_free: u64,
}

impl Machine {
    /// Reads it. What cannot be read is empty: a node without a machine id is still a node.
    pub(crate) fn read() -> Self {
        let text = |path: &str| fs::read_to_string(path).map(|text| text.trim().to_owned()).unwrap_or_default();
        let machine_id = [text("/etc/machine-id"), text("/var/lib/dbus/machine-id")];
        let uuid = [text("/sys/class/dmi/id/product_uuid"), text("/proc/device-tree/vm,uuid")];
        let first = |texts: [String; 2]| texts.into_iter().find(|text| !text.is_empty()).unwrap_or_default();
        let machine_id = first(machine_id);
        let system_uuid = first(uuid);
        let memory = text("/proc/meminfo");
        Self {
            system_uuid: if system_uuid.is_empty() { machine_id.clone() } else { system_uuid },
            machine_id,
            boot_id: text("/proc/sys/kernel/random/boot_id"),
            kernel_version: text("/proc/sys/kernel/osrelease"),
            os_image: os_image(&text("/etc/os-release")),
            architecture: match std::env::consts::ARCH {
                "x86_64" => "amd64",
                "aarch64" => "arm64",
                other => other,
            },
            cpus: std::thread::available_parallelism().map_or(1, |count| count.get() as u64),
            memory: meminfo(&memory, "MemTotal").unwrap_or(0),
            swap: meminfo(&memory, "SwapTotal").unwrap_or(0),
        }
    }
}

impl Available {
    /// Reads it, with the file system that `root` is on.
    pub(crate) fn read(root: &Path) -> io::Result<Self> {
        let memory = fs::read_to_string("/proc/meminfo")?;
        let loads = fs::read_to_string("/proc/loadavg")?;
        let max = fs::read_to_string("/proc/sys/kernel/pid_max")?;
        let threads_max = fs::read_to_string("/proc/sys/kernel/threads-max")?;
        let number = |text: &str| text.trim().parse::<u64>().unwrap_or(0);
        let pids_max = number(&max).min(number(&threads_max));
        Ok(Self {
            memory: meminfo(&memory, "MemAvailable").unwrap_or(0),
            disk: FileSystem::read(root)?,
            pids: pids_max.saturating_sub(tasks(&loads)),
            pids_max,
        })
    }
}

impl FileSystem {
    pub(crate) fn read(path: &Path) -> io::Result<Self> {
        let stat = statvfs(path)?;
        Ok(Self {
            size: stat.f_blocks * stat.f_frsize,
            free: stat.f_bavail * stat.f_frsize,
            inodes: stat.f_files,
            inodes_free: stat.f_favail,
        })
    }
}

/// A value of /proc/meminfo, in bytes.
fn meminfo(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    let kib: u64 = line.trim().trim_end_matches("kB").trim().parse().ok()?;
    Some(kib * 1024)
}

/// Number of tasks in the line of /proc/loadavg.
fn tasks(line: &str) -> u64 {
    let fraction = line.split(' ').nth(3).unwrap_or_default();
    fraction.split('/').nth(1).and_then(|count| count.parse().ok()).unwrap_or(0)
}

fn os_image(release: &str) -> String {
    let name = release.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="));
    name.map_or_else(|| "Linux".to_owned(), |name| name.trim_matches('"').to_owned())
}

/// The address other machines reach this one by: the source address of the default route, else the first that is not
/// loopback, else loopback.
pub(crate) fn default_address() -> IpAddr {
    // Connecting a datagram socket sends nothing; it only asks the routing table.
    let routed = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).and_then(|socket| {
        socket.connect((Ipv4Addr::new(192, 0, 2, 1), 9))?;
        socket.local_addr()
    });
    if let Ok(address) = routed
        && !address.ip().is_unspecified()
        && !address.ip().is_loopback()
    {
        return address.ip();
    }
    let interfaces = nix::ifaddrs::getifaddrs().into_iter().flatten();
    let addresses = interfaces.filter_map(|interface| Some(interface.address?.as_sockaddr_in()?.ip()));
    addresses.into_iter().find(|ip| !ip.is_loopback()).map_or(IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V4)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_the_kernel_are_read() {
        let text = "MemTotal:       16318584 kB\nMemFree:  1 kB\nMemAvailable:   10 kB\n";
        assert_eq!(meminfo(text, "MemTotal"), Some(16_318_584 * 1024));
        assert_eq!(meminfo(text, "MemAvailable"), Some(10_240));
        assert_eq!(meminfo(text, "Mem"), None);
        assert_eq!(tasks("0.20 0.18 0.12 1/80 11206"), 80);
        assert_eq!(os_image("ID=debian\nPRETTY_NAME=\"Debian 12\"\n"), "Debian 12");
        assert_eq!(os_image(""), "Linux");
    }

    #[test]
    fn this_machine_has_something() {
        let machine = Machine::read();
        assert!(machine.cpus > 0 && machine.memory > 0 && !machine.kernel_version.is_empty(), "{machine:?}");
        let available = Available::read(Path::new("/")).expect("readable");
        assert!(available.memory > 0 && available.disk.size > 0 && available.pids > 0, "{available:?}");
    }
}
