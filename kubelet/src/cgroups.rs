//! Cgroups of pods: `ROOT/kubepods[/burstable|besteffort]/podUID`, on cgroup v1 and v2. The runtime makes those of
//! containers below them (upstream: `pkg/kubelet/cm`).

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use k8s_openapi::api::core::v1::Pod;
use skiff_cri::v1::LinuxContainerResources;

use crate::pod::PodExt;
use crate::spec::qos::Qos;

/// Where the kernel shows cgroups.
const MOUNT_POINT: &str = "/sys/fs/cgroup";
/// Controllers of v1 in which pods have a folder.
const V1_CONTROLLERS: [&str; 9] =
    ["cpu", "cpuacct", "cpuset", "memory", "pids", "blkio", "devices", "freezer", "systemd"];
/// Controllers that are turned on for pods in v2, where the kernel has them.
const V2_CONTROLLERS: [&str; 6] = ["cpu", "cpuset", "memory", "pids", "io", "hugetlb"];
/// Tries to remove a cgroup whose processes are on their way out.
const REMOVE_TRIES: u32 = 50;
const REMOVE_PAUSE: std::time::Duration = std::time::Duration::from_millis(20);

/// Makes and removes the cgroups of pods.
#[derive(Clone, Debug)]
pub(crate) struct Cgroups {
    mount_point: PathBuf,
    unified: bool,
    /// Cgroup under which everything is, such as `/skiff`; empty for the root.
    root: String,
}

impl Cgroups {
    /// Finds out what the kernel has.
    pub(crate) fn new(root: &str) -> Self {
        Self::at(Path::new(MOUNT_POINT), root)
    }

    fn at(mount_point: &Path, root: &str) -> Self {
        Self {
            unified: mount_point.join("cgroup.controllers").exists(),
            mount_point: mount_point.to_owned(),
            root: root.trim_end_matches('/').to_owned(),
        }
    }

    /// The cgroup of a pod, as CRI takes it.
    pub(crate) fn pod_path(&self, pod: &Pod) -> String {
        let class = match Qos::of(pod) {
            Qos::Guaranteed => "",
            Qos::Burstable => "/burstable",
            Qos::BestEffort => "/besteffort",
        };
        format!("{}/kubepods{class}/pod{}", self.root, pod.uid())
    }

    /// Makes a pod's cgroup with these knobs, or sets them again. Blocks.
    pub(crate) fn ensure_pod(&self, pod: &Pod, resources: &LinuxContainerResources) -> io::Result<()> {
        let path = self.pod_path(pod);
        let best_effort = Qos::of(pod) == Qos::BestEffort;
        if self.unified { self.ensure_v2(&path, resources) } else { self.ensure_v1(&path, resources, best_effort) }
    }

    /// Removes a pod's cgroup in every class, as the class of a forgotten pod is not known. Blocks.
    pub(crate) fn remove_pod(&self, uid: &str) -> io::Result<()> {
        for class in ["", "/burstable", "/besteffort"] {
            let path = format!("{}/kubepods{class}/pod{uid}", self.root);
            for dir in self.dirs(&path) {
                remove(&dir)?;
            }
        }
        Ok(())
    }

    /// UIDs of pods that have a cgroup.
    pub(crate) fn known_pods(&self) -> Vec<String> {
        let mut uids = Vec::new();
        for class in ["", "/burstable", "/besteffort"] {
            for dir in self.dirs(&format!("{}/kubepods{class}", self.root)) {
                let names = fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.file_name());
                uids.extend(names.filter_map(|name| Some(name.to_str()?.strip_prefix("pod")?.to_owned())));
            }
        }
        uids.sort();
        uids.dedup();
        uids
    }

    /// The folders of a cgroup: one in v2, one per controller in v1.
    fn dirs(&self, path: &str) -> Vec<PathBuf> {
        let path = path.trim_start_matches('/');
        if self.unified {
            return vec![self.mount_point.join(path)];
        }
        let mounted = V1_CONTROLLERS.iter().map(|controller| self.mount_point.join(controller));
        mounted.filter(|dir| dir.is_dir()).map(|dir| dir.join(path)).collect()
    }

    fn ensure_v1(&self, path: &str, resources: &LinuxContainerResources, best_effort: bool) -> io::Result<()> {
        let path = path.trim_start_matches('/');
        let dir = |controller: &str| {
            let mounted = self.mount_point.join(controller);
            mounted.is_dir().then(|| mounted.join(path))
        };
        if let Some(cpu) = dir("cpu") {
            fs::create_dir_all(&cpu)?;
            if best_effort && let Some(class) = cpu.parent() {
                write(class, "cpu.shares", 2)?;
            }
            write(&cpu, "cpu.shares", resources.cpu_shares)?;
            write(&cpu, "cpu.cfs_period_us", resources.cpu_period)?;
            let quota = if resources.cpu_quota > 0 { resources.cpu_quota } else { -1 };
            write(&cpu, "cpu.cfs_quota_us", quota)?;
        }
        if let Some(memory) = dir("memory") {
            fs::create_dir_all(&memory)?;
            let limit = if resources.memory_limit_in_bytes > 0 { resources.memory_limit_in_bytes } else { -1 };
            write(&memory, "memory.limit_in_bytes", limit)?;
        }
        if let Some(pids) = dir("pids") {
            fs::create_dir_all(pids)?;
        }
        Ok(())
    }

    fn ensure_v2(&self, path: &str, resources: &LinuxContainerResources) -> io::Result<()> {
        let mut dir = self.mount_point.clone();
        for part in path.split('/').filter(|part| !part.is_empty()) {
            enable_controllers(&dir);
            dir.push(part);
            match fs::create_dir(&dir) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                done => done?,
            }
        }
        enable_controllers(&dir);
        write_if_there(&dir, "cpu.weight", &weight(resources.cpu_shares).to_string())?;
        let quota = if resources.cpu_quota > 0 { resources.cpu_quota.to_string() } else { "max".to_owned() };
        write_if_there(&dir, "cpu.max", &format!("{quota} {}", resources.cpu_period))?;
        let limit = resources.memory_limit_in_bytes;
        let limit = if limit > 0 { limit.to_string() } else { "max".to_owned() };
        write_if_there(&dir, "memory.max", &limit)
    }
}

/// Turns on what the kernel offers; what it refuses is not there to be limited.
fn enable_controllers(dir: &Path) {
    let offered = fs::read_to_string(dir.join("cgroup.controllers")).unwrap_or_default();
    for controller in offered.split_whitespace().filter(|name| V2_CONTROLLERS.contains(name)) {
        let _ = fs::write(dir.join("cgroup.subtree_control"), format!("+{controller}"));
    }
}

/// CPU shares of v1 (2 to 262144) as a weight of v2 (1 to 10000).
fn weight(shares: i64) -> i64 {
    1 + (shares.clamp(2, 262_144) - 2) * 9999 / 262_142
}

fn write(dir: &Path, file: &str, value: i64) -> io::Result<()> {
    let path = dir.join(file);
    fs::write(&path, value.to_string())
        .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", path.display())))
}

fn write_if_there(dir: &Path, file: &str, value: &str) -> io::Result<()> {
    let path = dir.join(file);
    if !path.exists() {
        return Ok(());
    }
    fs::write(&path, value).map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", path.display())))
}

/// Removes a cgroup and those below it, after ending what still runs in them.
fn remove(dir: &Path) -> io::Result<()> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    for entry in entries.flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove(&entry.path())?;
        }
    }
    for attempt in 1.. {
        match fs::remove_dir(dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) if attempt >= REMOVE_TRIES || error.kind() != io::ErrorKind::ResourceBusy => return Err(error),
            Err(_) => {
                kill_all(dir);
                std::thread::sleep(REMOVE_PAUSE);
            }
            Ok(()) => return Ok(()),
        }
    }
    Ok(())
}

fn kill_all(dir: &Path) {
    let processes = fs::read_to_string(dir.join("cgroup.procs")).unwrap_or_default();
    for line in processes.lines() {
        if let Some(pid) = line.parse().ok().and_then(rustix::process::Pid::from_raw) {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::resources::pod_resources;
    use serde_json::json;

    fn pod() -> Pod {
        serde_json::from_value(json!({"metadata": {"uid": "u"}, "spec": {"containers": [
            {"name": "a", "resources": {"requests": {"cpu": "500m"}, "limits": {"cpu": "1", "memory": "64Mi"}}}]}}))
        .expect("a pod")
    }

    fn read(path: PathBuf) -> String {
        fs::read_to_string(path).expect("a value")
    }

    #[test]
    fn v1() {
        let dir = tempfile::tempdir().expect("a folder");
        for controller in ["cpu", "memory", "pids"] {
            fs::create_dir(dir.path().join(controller)).expect("a folder");
        }
        let cgroups = Cgroups::at(dir.path(), "/skiff/");
        assert_eq!(cgroups.pod_path(&pod()), "/skiff/kubepods/burstable/podu");
        cgroups.ensure_pod(&pod(), &pod_resources(&pod())).expect("made");
        let base = "skiff/kubepods/burstable/podu";
        assert_eq!(read(dir.path().join("cpu").join(base).join("cpu.shares")), "512");
        assert_eq!(read(dir.path().join("cpu").join(base).join("cpu.cfs_quota_us")), "100000");
        assert_eq!(read(dir.path().join("memory").join(base).join("memory.limit_in_bytes")), "67108864");
        assert_eq!(cgroups.known_pods(), ["u"]);
    }

    #[test]
    fn v2() {
        let dir = tempfile::tempdir().expect("a folder");
        fs::write(dir.path().join("cgroup.controllers"), "cpu memory").expect("a file");
        let cgroups = Cgroups::at(dir.path(), "");
        let pod_dir = dir.path().join("kubepods/burstable/podu");
        fs::create_dir_all(&pod_dir).expect("a folder");
        for file in ["cpu.weight", "cpu.max", "memory.max"] {
            fs::write(pod_dir.join(file), "").expect("a file");
        }
        cgroups.ensure_pod(&pod(), &pod_resources(&pod())).expect("made");
        assert_eq!(read(pod_dir.join("cpu.weight")), "20");
        assert_eq!(read(pod_dir.join("cpu.max")), "100000 100000");
        assert_eq!(read(pod_dir.join("memory.max")), "67108864");
        assert_eq!([weight(2), weight(1024), weight(262_144)], [1, 39, 10_000]);
    }

    #[test]
    fn removal_takes_everything_below() {
        let dir = tempfile::tempdir().expect("a folder");
        fs::create_dir_all(dir.path().join("cpu/kubepods/podu/container")).expect("folders");
        let cgroups = Cgroups::at(dir.path(), "/");
        cgroups.remove_pod("u").expect("removed");
        assert!(!dir.path().join("cpu/kubepods/podu").exists());
        cgroups.remove_pod("u").expect("nothing to do");
    }
}
