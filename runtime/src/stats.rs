//! What containers and pods use, from their cgroups, their writable layers and their network namespaces.

use std::collections::HashMap;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use skiff_cri::v1;
use skiff_netlink::netns;

use crate::cgroup::{Group, Usage};
use crate::container::Container;
use crate::engine::{Engine, now};
use crate::sandbox::Sandbox;

/// How long the size of a writable layer stays good enough: walking it costs disk reads.
const LAYER_SIZE_AGE: Duration = Duration::from_secs(15);
/// Files counted per writable layer.
const MAX_FILES: u64 = 1_000_000;

/// Sizes of writable layers, and the last CPU reading of each cgroup for rates.
#[derive(Default)]
pub(crate) struct StatsCache {
    layers: Mutex<HashMap<String, (Instant, DiskUsage)>>,
    cpu: Mutex<HashMap<String, (i64, u64)>>,
}

#[derive(Clone, Copy, Default)]
pub(crate) struct DiskUsage {
    pub(crate) bytes: u64,
    pub(crate) inodes: u64,
}

fn value(value: u64) -> Option<v1::UInt64Value> {
    Some(v1::UInt64Value { value })
}

// === impl StatsCache ===

impl StatsCache {
    /// The statistics of one container. Blocks.
    pub(crate) fn container(&self, engine: &Engine, container: &Container) -> v1::ContainerStats {
        let (record, config) = (container.record(), container.config());
        let usage = engine.hierarchies.group(&record.cgroup).usage();
        let upper = engine.paths.container_root(&container.id).join("upper");
        let layer = self.layer_size(&container.id, &upper);
        v1::ContainerStats {
            attributes: Some(v1::ContainerAttributes {
                id: container.id.clone(),
                metadata: config.metadata,
                labels: config.labels,
                annotations: config.annotations,
            }),
            cpu: self.cpu(&container.id, &usage),
            memory: memory(&usage),
            writable_layer: Some(v1::FilesystemUsage {
                timestamp: now(),
                fs_id: Some(v1::FilesystemIdentifier { mountpoint: engine.paths.root().display().to_string() }),
                used_bytes: value(layer.bytes),
                inodes_used: value(layer.inodes),
            }),
            swap: None,
            io: None,
        }
    }

    /// The statistics of a pod with its containers. Blocks.
    pub(crate) fn sandbox(&self, engine: &Engine, sandbox: &Arc<Sandbox>) -> v1::PodSandboxStats {
        let record = sandbox.record();
        let group: Group<'_> = engine.hierarchies.group(&record.cgroup);
        let usage = group.usage();
        let running = engine.containers_of(&sandbox.id).into_iter().filter(|container| container.running());
        let linux = v1::LinuxPodSandboxStats {
            cpu: self.cpu(&sandbox.id, &usage),
            memory: memory(&usage),
            network: sandbox.network_namespace().and_then(|pin| network(&pin).ok()),
            process: Some(v1::ProcessUsage { timestamp: now(), process_count: value(group.processes().len() as u64) }),
            containers: running.map(|container| self.container(engine, &container)).collect(),
            io: None,
        };
        v1::PodSandboxStats {
            attributes: Some(v1::PodSandboxAttributes {
                id: sandbox.id.clone(),
                metadata: sandbox.config.metadata.clone(),
                labels: sandbox.config.labels.clone(),
                annotations: sandbox.config.annotations.clone(),
            }),
            linux: Some(linux),
            windows: None,
        }
    }

    fn cpu(&self, id: &str, usage: &Usage) -> Option<v1::CpuUsage> {
        let total = usage.cpu_nanoseconds?;
        let at = now();
        let last = self.cpu.lock().insert(id.to_owned(), (at, total));
        let rate = last.and_then(|(last_at, last_total)| {
            let elapsed = u64::try_from(at - last_at).ok().filter(|elapsed| *elapsed > 0)?;
            let used = u128::from(total.saturating_sub(last_total)) * 1_000_000_000 / u128::from(elapsed);
            u64::try_from(used).ok()
        });
        Some(v1::CpuUsage {
            timestamp: at,
            usage_core_nano_seconds: value(total),
            usage_nano_cores: rate.and_then(value),
            psi: None,
        })
    }

    fn layer_size(&self, id: &str, folder: &Path) -> DiskUsage {
        if let Some((at, known)) = self.layers.lock().get(id)
            && at.elapsed() < LAYER_SIZE_AGE
        {
            return *known;
        }
        let size = disk_usage(folder);
        self.layers.lock().insert(id.to_owned(), (Instant::now(), size));
        size
    }

    /// Drops what is remembered of containers and pods that are gone.
    pub(crate) fn forget(&self, exists: impl Fn(&str) -> bool) {
        self.layers.lock().retain(|id, _| exists(id));
        self.cpu.lock().retain(|id, _| exists(id));
    }
}

fn memory(usage: &Usage) -> Option<v1::MemoryUsage> {
    let memory = usage.memory.as_ref()?;
    Some(v1::MemoryUsage {
        timestamp: now(),
        working_set_bytes: value(memory.working_set),
        available_bytes: memory.limit.and_then(|limit| value(limit.saturating_sub(memory.working_set))),
        usage_bytes: value(memory.usage),
        rss_bytes: value(memory.rss),
        page_faults: value(memory.page_faults),
        major_page_faults: value(memory.major_page_faults),
        psi: None,
    })
}

/// Disk space and inodes below a folder, on its own file system, links counted once.
pub(crate) fn disk_usage(folder: &Path) -> DiskUsage {
    let mut usage = DiskUsage::default();
    let mut linked = std::collections::HashSet::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).into_iter().flatten().flatten() {
            let Ok(metadata) = entry.metadata() else {
                continue;
            };
            if usage.inodes >= MAX_FILES {
                return usage;
            }
            if metadata.is_dir() {
                folders.push(entry.path());
            } else if metadata.nlink() > 1 && !linked.insert(metadata.ino()) {
                continue;
            }
            usage.inodes += 1;
            usage.bytes += metadata.blocks() * 512;
        }
    }
    usage
}

fn network(pin: &Path) -> io::Result<v1::NetworkUsage> {
    let read = || std::fs::read_to_string(PathBuf::from("/proc/thread-self/net/dev"));
    let text = netns::run_in(pin, read).map_err(io::Error::other)??;
    let mut interfaces = parse_interfaces(&text);
    let default = interfaces.iter().position(|interface| interface.name == "eth0");
    Ok(v1::NetworkUsage {
        timestamp: now(),
        default_interface: default.map(|index| interfaces.remove(index)),
        interfaces,
    })
}

fn parse_interfaces(text: &str) -> Vec<v1::NetworkInterfaceUsage> {
    let lines = text.lines().skip(2).filter_map(|line| line.split_once(':'));
    lines
        .filter(|(name, _)| name.trim() != "lo")
        .map(|(name, numbers)| {
            let numbers: Vec<u64> = numbers.split_whitespace().filter_map(|number| number.parse().ok()).collect();
            let at = |index: usize| numbers.get(index).copied().and_then(value);
            v1::NetworkInterfaceUsage {
                name: name.trim().to_owned(),
                rx_bytes: at(0),
                rx_errors: at(2),
                tx_bytes: at(8),
                tx_errors: at(10),
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interfaces_of_proc_net_dev() {
        let text = "Inter-|   Receive                                                |  Transmit\n \
            face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed\n    \
            lo:     100       1    0    0    0     0          0         0      100       1    0    0    0     0       0          0\n  \
            eth0: 1000000      10    2    0    0     0          0         0     2000      20    3    0    0     0       0          0\n";
        let interfaces = parse_interfaces(text);
        assert_eq!(interfaces.len(), 1);
        let eth0 = &interfaces[0];
        let numbers = [&eth0.rx_bytes, &eth0.rx_errors, &eth0.tx_bytes, &eth0.tx_errors];
        let numbers = numbers.map(|number| number.as_ref().map(|number| number.value));
        assert_eq!(numbers, [Some(1_000_000), Some(2), Some(2_000), Some(3)]);
    }

    #[test]
    fn disk_usage_counts_links_once() {
        let folder = tempfile::tempdir().expect("temp dir");
        std::fs::write(folder.path().join("a"), vec![1; 10_000]).expect("write");
        std::fs::create_dir(folder.path().join("d")).expect("mkdir");
        std::fs::hard_link(folder.path().join("a"), folder.path().join("d/b")).expect("link");
        let usage = disk_usage(folder.path());
        assert_eq!(usage.inodes, 2);
        assert!((10_000..30_000).contains(&usage.bytes), "{}", usage.bytes);
    }
}
