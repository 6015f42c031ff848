//! Control groups by plain files, on v1, hybrid and v2 machines.
//!
//! libcontainer creates a container's groups and sets their first limits; everything after that is here: finding them,
//! joining them for exec, changing limits, reading usage and OOM kills, and removing them with the parents we made.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::files::at;

/// How long the processes of a group may take to disappear after SIGKILL.
const KILL_DEADLINE: Duration = Duration::from_secs(10);
const KILL_POLL: Duration = Duration::from_millis(2);

/// The control group hierarchies of this machine.
#[derive(Clone, Debug)]
pub(crate) struct Hierarchies {
    /// Mount points: one per v1 hierarchy, or the one of v2.
    mounts: Vec<Mount>,
    unified: bool,
}

#[derive(Clone, Debug)]
struct Mount {
    point: PathBuf,
    controllers: Vec<String>,
}

/// The groups of one path, in every hierarchy.
#[derive(Clone, Debug)]
pub(crate) struct Group<'a> {
    hierarchies: &'a Hierarchies,
    path: PathBuf,
}

/// What a group used, as far as its controllers tell.
#[derive(Clone, Debug, Default)]
pub(crate) struct Usage {
    pub(crate) cpu_nanoseconds: Option<u64>,
    pub(crate) memory: Option<MemoryUsage>,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct MemoryUsage {
    pub(crate) usage: u64,
    pub(crate) working_set: u64,
    pub(crate) rss: u64,
    pub(crate) limit: Option<u64>,
    pub(crate) page_faults: u64,
    pub(crate) major_page_faults: u64,
}

/// Limits to change; `None` leaves a limit as it is.
#[derive(Clone, Debug, Default)]
pub(crate) struct Limits {
    pub(crate) cpu_shares: Option<u64>,
    pub(crate) cpu_quota: Option<i64>,
    pub(crate) cpu_period: Option<u64>,
    pub(crate) memory: Option<i64>,
    pub(crate) memory_swap: Option<i64>,
    pub(crate) cpuset_cpus: Option<String>,
    pub(crate) cpuset_mems: Option<String>,
    pub(crate) unified: Vec<(String, String)>,
}

// === impl Hierarchies ===

impl Hierarchies {
    /// Reads what is mounted.
    pub(crate) fn detect() -> io::Result<Self> {
        Ok(Self::parse(&fs::read_to_string("/proc/self/mountinfo")?))
    }

    fn parse(mountinfo: &str) -> Self {
        let mut v1 = Vec::new();
        let mut v2 = None;
        for line in mountinfo.lines() {
            let Some((left, right)) = line.split_once(" - ") else {
                continue;
            };
            let Some(point) = left.split(' ').nth(4) else {
                continue;
            };
            let mut right = right.split(' ');
            let (kind, options) = (right.next().unwrap_or_default(), right.nth(1).unwrap_or_default());
            match kind {
                "cgroup" => {
                    let known = ["rw", "ro", "xattr", "clone_children"];
                    let controllers = options.split(',').filter(|o| !known.contains(o)).map(str::to_owned).collect();
                    v1.push(Mount { point: point.into(), controllers });
                }
                "cgroup2" if v2.is_none() => v2 = Some(Mount { point: point.into(), controllers: Vec::new() }),
                _ => {}
            }
        }
        match v2 {
            // Hybrid machines keep v2 beside v1, for systemd or hugetlb only; containers live in v1 there.
            Some(mount) if v1.is_empty() => Self { mounts: vec![mount], unified: true },
            _ => Self { mounts: v1, unified: false },
        }
    }

    /// True if the machine has v2 only.
    pub(crate) fn unified(&self) -> bool {
        self.unified
    }

    /// The folder of the group at `path` on a v2 machine.
    pub(crate) fn v2_folder(&self, path: &str) -> Option<PathBuf> {
        self.unified.then(|| self.group(path).directories().next()).flatten()
    }

    /// The folders of the group at `path` on a v1 machine, by the name of their hierarchy. Hierarchies that only name
    /// processes, and that libcontainer does not use, are left out.
    pub(crate) fn v1_folders(&self, path: &str) -> Vec<(String, PathBuf)> {
        let controlling = self.mounts.iter().filter(|mount| {
            !self.unified && mount.controllers.iter().all(|controller| !controller.starts_with("name="))
        });
        let path = self.group(path).path;
        let named = controlling.filter_map(|mount| {
            let name = mount.point.file_name()?.to_str()?.to_owned();
            Some((name, mount.point.join(&path)))
        });
        named.collect()
    }

    /// The groups at `path` (absolute, from the root of the hierarchies).
    pub(crate) fn group(&self, path: &str) -> Group<'_> {
        let path = Path::new(path).components().filter(|c| matches!(c, std::path::Component::Normal(_))).collect();
        Group { hierarchies: self, path }
    }
}

// === impl Group ===

impl Group<'_> {
    fn directories(&self) -> impl Iterator<Item = PathBuf> {
        self.hierarchies.mounts.iter().map(|mount| mount.point.join(&self.path))
    }

    fn file(&self, controller: &str, name: &str) -> Option<PathBuf> {
        let unified = self.hierarchies.unified;
        let mount =
            self.hierarchies.mounts.iter().find(|m| unified || m.controllers.iter().any(|c| c == controller))?;
        Some(mount.point.join(&self.path).join(name))
    }

    fn read(&self, controller: &str, name: &str) -> Option<String> {
        fs::read_to_string(self.file(controller, name)?).ok()
    }

    fn number(&self, controller: &str, name: &str) -> Option<u64> {
        self.read(controller, name)?.trim().parse().ok()
    }

    fn write(&self, controller: &str, name: &str, value: &str) -> io::Result<()> {
        let file = self.file(controller, name).ok_or_else(|| {
            io::Error::new(io::ErrorKind::Unsupported, format!("the cgroup controller {controller} is not available"))
        })?;
        fs::write(&file, value).map_err(at(&format!("write {value} to"), &file))
    }

    /// True if the group exists in any hierarchy.
    pub(crate) fn exists(&self) -> bool {
        self.directories().any(|d| d.exists())
    }

    /// The open `cgroup.procs` of every hierarchy that has the group. A process that writes `0` moves itself there.
    pub(crate) fn open_procs(&self) -> io::Result<Vec<File>> {
        let files = self.directories().map(|d| d.join("cgroup.procs")).filter(|p| p.exists());
        files.map(|p| File::options().write(true).open(&p).map_err(at("open", &p))).collect()
    }

    /// Ids of all processes in the group and below.
    pub(crate) fn processes(&self) -> BTreeSet<i32> {
        fn collect(directory: &Path, into: &mut BTreeSet<i32>) {
            let text = fs::read_to_string(directory.join("cgroup.procs")).unwrap_or_default();
            into.extend(text.lines().filter_map(|line| line.parse::<i32>().ok()).filter(|pid| *pid > 0));
            for child in fs::read_dir(directory).into_iter().flatten().flatten() {
                if child.file_type().is_ok_and(|t| t.is_dir()) {
                    collect(&child.path(), into);
                }
            }
        }
        let mut all = BTreeSet::new();
        self.directories().for_each(|d| collect(&d, &mut all));
        all
    }

    /// Kills every process in the group and waits until none is left. Blocks for at most [`KILL_DEADLINE`].
    pub(crate) fn kill_all(&self) -> io::Result<()> {
        let deadline = Instant::now() + KILL_DEADLINE;
        loop {
            let processes = self.processes();
            if processes.is_empty() {
                return Ok(());
            }
            for pid in &processes {
                if let Some(pid) = rustix::process::Pid::from_raw(*pid) {
                    let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
                }
            }
            if Instant::now() > deadline {
                let text = format!("processes {processes:?} of cgroup /{} survive SIGKILL", self.path.display());
                return Err(io::Error::new(io::ErrorKind::TimedOut, text));
            }
            std::thread::sleep(KILL_POLL);
        }
    }

    /// Kills what is left in the group and removes it with its children, in every hierarchy. Absent is fine.
    pub(crate) fn remove(&self) -> io::Result<()> {
        if !self.exists() {
            return Ok(());
        }
        self.kill_all()?;
        self.directories().try_for_each(|d| remove_tree(&d))
    }

    /// Removes the group where it is empty and has no children; true if it is gone everywhere.
    pub(crate) fn remove_if_empty(&self) -> bool {
        self.directories().for_each(|d| drop(fs::remove_dir(d)));
        !self.exists()
    }

    /// How often the kernel killed a process of this group for lack of memory.
    pub(crate) fn oom_kills(&self) -> u64 {
        let name = if self.hierarchies.unified { "memory.events" } else { "memory.oom_control" };
        field(&self.read("memory", name).unwrap_or_default(), "oom_kill").unwrap_or(0)
    }

    /// What the group uses now.
    pub(crate) fn usage(&self) -> Usage {
        let cpu_nanoseconds = if self.hierarchies.unified {
            self.read("cpu", "cpu.stat").and_then(|s| field(&s, "usage_usec")).map(|micros| micros * 1_000)
        } else {
            self.number("cpuacct", "cpuacct.usage")
        };
        Usage { cpu_nanoseconds, memory: self.memory() }
    }

    fn memory(&self) -> Option<MemoryUsage> {
        let unified = self.hierarchies.unified;
        let usage = self.number("memory", if unified { "memory.current" } else { "memory.usage_in_bytes" })?;
        let stat = self.read("memory", "memory.stat").unwrap_or_default();
        let get = |v1: &str, v2: &str| field(&stat, if unified { v2 } else { v1 }).unwrap_or(0);
        let limit = self.number("memory", if unified { "memory.max" } else { "memory.limit_in_bytes" });
        Some(MemoryUsage {
            usage,
            working_set: usage.saturating_sub(get("total_inactive_file", "inactive_file")),
            rss: get("total_rss", "anon"),
            // v1 says "unlimited" with a number near the largest page count.
            limit: limit.filter(|limit| *limit < (1 << 62)),
            page_faults: get("total_pgfault", "pgfault"),
            major_page_faults: get("total_pgmajfault", "pgmajfault"),
        })
    }

    /// Changes limits of a running container.
    pub(crate) fn update(&self, limits: &Limits) -> io::Result<()> {
        if self.hierarchies.unified { self.update_v2(limits) } else { self.update_v1(limits) }
    }

    fn update_v1(&self, limits: &Limits) -> io::Result<()> {
        let write = |controller: &str, name: &str, value: Option<String>| match value {
            Some(value) => self.write(controller, name, &value),
            None => Ok(()),
        };
        write("cpu", "cpu.shares", limits.cpu_shares.map(|v| v.to_string()))?;
        write("cpu", "cpu.cfs_period_us", limits.cpu_period.map(|v| v.to_string()))?;
        write("cpu", "cpu.cfs_quota_us", limits.cpu_quota.map(|v| v.to_string()))?;
        write("cpuset", "cpuset.cpus", limits.cpuset_cpus.clone())?;
        write("cpuset", "cpuset.mems", limits.cpuset_mems.clone())?;
        let memory = limits.memory.map(|v| v.to_string());
        let swap = limits.memory_swap.map(|v| v.to_string());
        let has_swap = self.file("memory", "memory.memsw.limit_in_bytes").is_some_and(|f| f.exists());
        if !has_swap {
            return write("memory", "memory.limit_in_bytes", memory);
        }
        // memory.memsw must never be below memory: raise it first, or lower it last.
        if write("memory", "memory.limit_in_bytes", memory.clone()).is_ok() {
            return write("memory", "memory.memsw.limit_in_bytes", swap);
        }
        write("memory", "memory.memsw.limit_in_bytes", swap)?;
        write("memory", "memory.limit_in_bytes", memory)
    }

    fn update_v2(&self, limits: &Limits) -> io::Result<()> {
        let amount = |value: i64| {
            if value < 0 { "max".to_owned() } else { value.to_string() }
        };
        if let Some(shares) = limits.cpu_shares {
            self.write("cpu", "cpu.weight", &weight_of(shares).to_string())?;
        }
        if limits.cpu_quota.is_some() || limits.cpu_period.is_some() {
            let current = self.read("cpu", "cpu.max").unwrap_or_default();
            let mut current = current.split_whitespace();
            let (old_quota, old_period) = (current.next().unwrap_or("max"), current.next().unwrap_or("100000"));
            let quota =
                limits.cpu_quota.map_or(old_quota.to_owned(), |q| if q == 0 { "max".into() } else { amount(q) });
            let period = limits.cpu_period.map_or(old_period.to_owned(), |p| p.to_string());
            self.write("cpu", "cpu.max", &format!("{quota} {period}"))?;
        }
        if let Some(memory) = limits.memory {
            self.write("memory", "memory.max", &amount(memory))?;
            if let Some(swap) = limits.memory_swap {
                let swap = if swap < 0 { -1 } else { swap.saturating_sub(memory.max(0)).max(0) };
                self.write("memory", "memory.swap.max", &amount(swap))?;
            }
        }
        for (name, value) in [("cpuset.cpus", &limits.cpuset_cpus), ("cpuset.mems", &limits.cpuset_mems)] {
            if let Some(value) = value {
                self.write("cpuset", name, value)?;
            }
        }
        limits.unified.iter().try_for_each(|(name, value)| {
            if name.contains('/') {
                return Err(io::Error::new(io::ErrorKind::InvalidInput, format!("bad cgroup file name {name:?}")));
            }
            self.write("", name, value)
        })
    }
}

/// v1 shares (2..262144) as a v2 weight (1..10000), as upstream converts them
/// (`runc/libcontainer/cgroups/utils.go`, ConvertCPUSharesToCgroupV2Value).
fn weight_of(shares: u64) -> u64 {
    1 + (shares.clamp(2, 262_144) - 2) * 9_999 / 262_142
}

/// The number after `name` in a file of `name number` lines.
fn field(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.trim().parse().ok())
}

/// Removes a control group folder with its children, which must be free of processes.
fn remove_tree(directory: &Path) -> io::Result<()> {
    for child in fs::read_dir(directory).into_iter().flatten().flatten() {
        if child.file_type().is_ok_and(|t| t.is_dir()) {
            remove_tree(&child.path())?;
        }
    }
    let deadline = Instant::now() + KILL_DEADLINE;
    loop {
        match fs::remove_dir(directory) {
            Ok(()) => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            // A process that was just killed may still be leaving.
            Err(error) if error.kind() == io::ErrorKind::ResourceBusy && Instant::now() < deadline => {
                std::thread::sleep(KILL_POLL);
            }
            Err(error) => return Err(at("remove", directory)(error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HYBRID: &str = "\
24 1 0:22 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu,cpuacct
25 1 0:23 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
26 1 0:24 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,name=systemd
27 1 0:25 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
";
    const UNIFIED: &str = "\
30 1 0:26 / /sys/fs/cgroup rw,nosuid,nodev,noexec,relatime shared:4 - cgroup2 cgroup2 rw,nsdelegate
";

    #[test]
    fn hierarchies_of_hybrid_and_unified_machines() {
        let hybrid = Hierarchies::parse(HYBRID);
        assert!(!hybrid.unified());
        let group = hybrid.group("/kubepods/../pod1");
        assert_eq!(group.file("cpuacct", "x"), Some(PathBuf::from("/sys/fs/cgroup/cpu/kubepods/pod1/x")));
        assert_eq!(group.file("memory", "x"), Some(PathBuf::from("/sys/fs/cgroup/memory/kubepods/pod1/x")));
        assert_eq!(group.file("pids", "x"), None);
        assert_eq!(group.directories().count(), 3);
        let unified = Hierarchies::parse(UNIFIED);
        assert!(unified.unified());
        assert_eq!(unified.group("/a").file("pids", "x"), Some(PathBuf::from("/sys/fs/cgroup/a/x")));
    }

    #[test]
    fn fields_and_weights() {
        let text = "oom_kill_disable 0\nunder_oom 0\noom_kill 3\n";
        assert_eq!(field(text, "oom_kill"), Some(3));
        assert_eq!(field(text, "missing"), None);
        for (shares, weight) in [(2, 1), (1024, 39), (262_144, 10_000), (0, 1)] {
            assert_eq!(weight_of(shares), weight, "{shares}");
        }
    }
}
