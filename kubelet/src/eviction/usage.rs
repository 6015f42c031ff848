//! What pods use, from the runtime's statistics and, where the disk matters, from the folders of volumes and logs.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use k8s_openapi::api::core::v1::Pod;
use skiff_cri::v1;

use super::rank::{Candidate, ContainerUse, PodUse};
use crate::context::Context;
use crate::labels::{CONTAINER_NAME, POD_UID};
use crate::pod::PodExt;
use crate::runtime::RuntimeError;
use crate::spec::sandbox::pod_logs_directory;

/// Bytes of the blocks in which the kernel counts files.
const BLOCK: u64 = 512;

/// What the pods use; `with_disk` also looks through their folders, which takes time.
pub(super) async fn gather(
    ctx: &Context,
    pods: Vec<Arc<Pod>>,
    with_disk: bool,
) -> Result<Vec<Candidate>, RuntimeError> {
    let (containers, sandboxes) = tokio::try_join!(ctx.runtime.container_stats(), ctx.runtime.sandbox_stats())?;
    let mut used = in_runtime(&containers, &sandboxes);
    let mut candidates: Vec<Candidate> = pods
        .into_iter()
        .map(|pod| {
            let known = used.remove(pod.uid());
            (pod, known)
        })
        .collect();
    if with_disk {
        for (pod, used) in &mut candidates {
            let folders = (ctx.volumes.pod_dir(pod.uid()), pod_logs_directory(&ctx.settings.logs_root, pod));
            let found = tokio::task::spawn_blocking(move || on_disk(&folders.0, &folders.1)).await;
            add(used.get_or_insert_default(), found.unwrap_or_default());
        }
    }
    Ok(candidates)
}

fn value(value: Option<&v1::UInt64Value>) -> u64 {
    value.map_or(0, |value| value.value)
}

/// What the runtime knows, by UID.
fn in_runtime(containers: &[v1::ContainerStats], sandboxes: &[v1::PodSandboxStats]) -> HashMap<String, PodUse> {
    let mut all: HashMap<String, PodUse> = HashMap::new();
    for stats in containers {
        let Some(labels) = stats.attributes.as_ref().map(|attributes| &attributes.labels) else { continue };
        let (Some(uid), Some(name)) = (labels.get(POD_UID), labels.get(CONTAINER_NAME)) else { continue };
        let pod = all.entry(uid.clone()).or_default();
        let layer = stats.writable_layer.as_ref();
        let used = ContainerUse {
            memory: value(stats.memory.as_ref().and_then(|memory| memory.working_set_bytes.as_ref())),
            disk: value(layer.and_then(|layer| layer.used_bytes.as_ref())),
        };
        pod.inodes += value(layer.and_then(|layer| layer.inodes_used.as_ref()));
        pod.containers.insert(name.clone(), used);
    }
    for stats in sandboxes {
        let uid = stats.attributes.as_ref().and_then(|attributes| attributes.labels.get(POD_UID));
        let processes =
            stats.linux.as_ref().and_then(|linux| linux.process.as_ref()).map(|p| value(p.process_count.as_ref()));
        if let (Some(uid), Some(processes)) = (uid, processes) {
            all.entry(uid.clone()).or_default().processes += processes;
        }
    }
    all
}

/// Bytes and files of one folder.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct FolderUse {
    bytes: u64,
    inodes: u64,
}

/// What a pod has in its folders: volumes and logs, by the names of volumes and containers.
#[derive(Debug, Default)]
struct OnDisk {
    volumes: HashMap<String, FolderUse>,
    logs: HashMap<String, FolderUse>,
}

fn add(used: &mut PodUse, found: OnDisk) {
    for (name, folder) in found.volumes {
        used.inodes += folder.inodes;
        used.volumes.insert(name, folder.bytes);
    }
    for (name, folder) in found.logs {
        used.inodes += folder.inodes;
        used.containers.entry(name).or_default().disk += folder.bytes;
    }
}

fn on_disk(pod_dir: &Path, logs: &Path) -> OnDisk {
    let mut found = OnDisk::default();
    for kind in folders(&pod_dir.join("volumes")) {
        for volume in folders(&kind) {
            found.volumes.insert(file_name(&volume), measure(&volume, device(&kind)));
        }
    }
    for container in folders(logs) {
        found.logs.insert(file_name(&container), measure(&container, device(logs)));
    }
    found
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

fn folders(path: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(path).into_iter().flatten().flatten();
    entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())).map(|entry| entry.path()).collect()
}

fn device(path: &Path) -> Option<u64> {
    fs::symlink_metadata(path).ok().map(|metadata| metadata.dev())
}

/// What a folder takes on a disk. Other disks mounted in it do not count, links count once.
fn measure(folder: &Path, disk: Option<u64>) -> FolderUse {
    let mut used = FolderUse::default();
    let mut seen: HashSet<u64> = HashSet::new();
    let mut left = vec![folder.to_owned()];
    while let Some(path) = left.pop() {
        let Ok(metadata) = fs::symlink_metadata(&path) else { continue };
        if Some(metadata.dev()) != disk || (metadata.nlink() > 1 && !seen.insert(metadata.ino())) {
            continue;
        }
        used.bytes += metadata.blocks() * BLOCK;
        used.inodes += 1;
        if metadata.is_dir() {
            left.extend(fs::read_dir(&path).into_iter().flatten().flatten().map(|entry| entry.path()));
        }
    }
    used
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_are_measured() {
        let dir = tempfile::tempdir().expect("a folder");
        let cache = dir.path().join("pod/volumes/kubernetes.io~empty-dir/cache");
        fs::create_dir_all(&cache).expect("folders");
        fs::write(cache.join("a"), vec![1; 100_000]).expect("a file");
        fs::hard_link(cache.join("a"), cache.join("b")).expect("a link");
        std::os::unix::fs::symlink("/proc", cache.join("c")).expect("a link");
        let logs = dir.path().join("logs");
        fs::create_dir_all(logs.join("web")).expect("a folder");
        fs::write(logs.join("web/0.log"), vec![1; 50_000]).expect("a file");
        let found = on_disk(&dir.path().join("pod"), &logs);
        let volume = found.volumes["cache"];
        assert!((100_000..150_000).contains(&volume.bytes), "{volume:?}");
        assert_eq!(volume.inodes, 3, "the folder, the file once, and the link");
        let mut used = PodUse::default();
        add(&mut used, found);
        assert!(used.containers["web"].disk >= 50_000 && used.disk() >= 150_000, "{used:?}");
        assert_eq!(measure(&cache, Some(0)), FolderUse::default(), "another disk");
        assert!(on_disk(Path::new("/none"), Path::new("/none")).volumes.is_empty());
    }

    #[test]
    fn statistics_are_put_together_by_pod() {
        let labels =
            |name: &str| [(POD_UID.to_owned(), "u".to_owned()), (CONTAINER_NAME.to_owned(), name.to_owned())].into();
        let number = |value| Some(v1::UInt64Value { value });
        let container = v1::ContainerStats {
            attributes: Some(v1::ContainerAttributes { labels: labels("c"), ..Default::default() }),
            memory: Some(v1::MemoryUsage { working_set_bytes: number(7), ..Default::default() }),
            writable_layer: Some(v1::FilesystemUsage {
                used_bytes: number(5),
                inodes_used: number(3),
                ..Default::default()
            }),
            ..Default::default()
        };
        let sandbox = v1::PodSandboxStats {
            attributes: Some(v1::PodSandboxAttributes { labels: labels(""), ..Default::default() }),
            linux: Some(v1::LinuxPodSandboxStats {
                process: Some(v1::ProcessUsage { process_count: number(4), ..Default::default() }),
                ..Default::default()
            }),
            ..Default::default()
        };
        let all = in_runtime(&[container], &[sandbox]);
        let expected = PodUse {
            containers: [("c".to_owned(), ContainerUse { memory: 7, disk: 5 })].into(),
            inodes: 3,
            processes: 4,
            ..PodUse::default()
        };
        assert_eq!(all["u"], expected);
    }
}
