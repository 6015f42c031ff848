//! The mounts of a container: what every container has, what its pod shares, and what CRI asks for.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use skiff_cri::v1::{self, MountPropagation};

use super::spec::PodView;
use crate::files::at;

/// Where a container sees its control groups.
pub(super) const CGROUPS: &str = "/sys/fs/cgroup";

/// Options that CRI may add to a mount.
const OPTIONS: [&str; 5] = ["noexec", "nosuid", "nodev", "noatime", "relatime"];

/// All mounts in the order they have to be made, and the propagation of the root that they need.
pub(super) fn all(
    config: &v1::ContainerConfig,
    requested: &[v1::Mount],
    pod: &PodView,
    cgroups: &[(String, PathBuf)],
    privileged: bool,
) -> io::Result<(Vec<Value>, &'static str)> {
    let mut requested: Vec<&v1::Mount> = requested.iter().collect();
    // Parents before children; equal depths keep their order.
    requested.sort_by_key(|mount| depth(&mount.container_path));
    let taken = |path: &str| requested.iter().any(|mount| Path::new(&mount.container_path) == Path::new(path));
    let mut mounts: Vec<Value> =
        base(cgroups, privileged).into_iter().filter(|(path, _)| !taken(path)).map(|(_, m)| m).collect();
    let shared = [
        ("/dev/shm", Some(&pod.shm), false),
        ("/etc/hostname", pod.hostname_file.as_ref(), true),
        ("/etc/hosts", pod.hosts_file.as_ref(), true),
        ("/etc/resolv.conf", pod.resolv_file.as_ref(), true),
    ];
    let read_only_root = config
        .linux
        .as_ref()
        .and_then(|linux| linux.security_context.as_ref())
        .is_some_and(|context| context.readonly_rootfs);
    for (destination, source, follows_root) in shared {
        if let Some(source) = source.filter(|_| !taken(destination)) {
            let mode = if follows_root && read_only_root { "ro" } else { "rw" };
            let options = ["rbind", "rprivate", mode];
            mounts.push(json!({ "destination": destination, "type": "bind", "source": source, "options": options }));
        }
    }
    let mut root_propagation = "slave";
    for mount in requested {
        if mount.propagation() == MountPropagation::PropagationBidirectional {
            root_propagation = "shared";
        }
        mounts.push(requested_mount(mount)?);
    }
    Ok((mounts, root_propagation))
}

fn depth(path: &str) -> usize {
    Path::new(path).components().count()
}

/// The mounts of every container. On v1 machines the control groups are bound one by one: libcontainer's own mount
/// would let the container change its limits.
fn base(cgroups: &[(String, PathBuf)], privileged: bool) -> Vec<(&'static str, Value)> {
    let mount = |destination: &'static str, kind: &str, options: &[&str]| {
        (destination, json!({ "destination": destination, "type": kind, "source": kind, "options": options }))
    };
    let access = if privileged { "rw" } else { "ro" };
    let mut mounts = vec![
        mount("/proc", "proc", &["nosuid", "noexec", "nodev"]),
        mount("/dev", "tmpfs", &["nosuid", "strictatime", "mode=755", "size=65536k"]),
        mount("/dev/pts", "devpts", &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]),
        mount("/dev/mqueue", "mqueue", &["nosuid", "noexec", "nodev"]),
        mount("/sys", "sysfs", &["nosuid", "noexec", "nodev", access]),
    ];
    if cgroups.is_empty() {
        let options = ["nosuid", "noexec", "nodev", "relatime", access];
        mounts.push(mount(CGROUPS, "cgroup", &options));
        return mounts;
    }
    mounts.push(mount(CGROUPS, "tmpfs", &["nosuid", "noexec", "nodev", "mode=755"]));
    for (name, folder) in cgroups {
        let destination = format!("{CGROUPS}/{name}");
        let options = ["rbind", "rprivate", "nosuid", "noexec", "nodev", access];
        let bind = json!({ "destination": destination, "type": "bind", "source": folder, "options": options });
        mounts.push((CGROUPS, bind));
    }
    mounts
}

fn requested_mount(mount: &v1::Mount) -> io::Result<Value> {
    let invalid = |text: String| io::Error::new(io::ErrorKind::InvalidInput, text);
    if !mount.uid_mappings.is_empty() || !mount.gid_mappings.is_empty() {
        return Err(invalid(format!("mount {}: id-mapped mounts are not supported", mount.container_path)));
    }
    if mount.recursive_read_only && !(mount.readonly && mount.propagation() == MountPropagation::PropagationPrivate) {
        return Err(invalid(format!(
            "mount {}: recursively read-only needs read-only and private propagation",
            mount.container_path
        )));
    }
    let source = host_path(Path::new(&mount.host_path))?;
    let mut options = vec!["rbind"];
    options.push(match mount.propagation() {
        MountPropagation::PropagationPrivate => "rprivate",
        MountPropagation::PropagationHostToContainer => "rslave",
        MountPropagation::PropagationBidirectional => {
            require_shared(&source)?;
            "rshared"
        }
    });
    options.push(match (mount.readonly, mount.recursive_read_only) {
        (_, true) => "rro",
        (true, false) => "ro",
        (false, false) => "rw",
    });
    for option in &mount.mount_options {
        match OPTIONS.iter().find(|known| *known == option) {
            Some(known) => options.push(known),
            None => {
                return Err(invalid(format!("mount {}: option {option:?} is not supported", mount.container_path)));
            }
        }
    }
    Ok(json!({ "destination": mount.container_path, "type": "bind", "source": source, "options": options }))
}

/// The source of a mount without symbolic links; a missing one becomes an empty folder, as containerd does.
fn host_path(path: &Path) -> io::Result<PathBuf> {
    match fs::canonicalize(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            fs::create_dir_all(path).map_err(at("create", path))?;
            fs::canonicalize(path).map_err(at("resolve", path))
        }
        other => other.map_err(at("resolve", path)),
    }
}

/// Bidirectional propagation needs the source on a shared mount; say so instead of losing mounts silently.
fn require_shared(source: &Path) -> io::Result<()> {
    let mounts = fs::read_to_string("/proc/self/mountinfo")?;
    let nearest = mounts
        .lines()
        .filter_map(|line| {
            let mut fields = line.split(' ');
            let point = PathBuf::from(fields.nth(4)?);
            let shared = fields.skip(1).take_while(|field| *field != "-").any(|field| field.starts_with("shared:"));
            source.starts_with(&point).then_some((point.components().count(), shared))
        })
        .max_by_key(|(depth, _)| *depth);
    match nearest {
        Some((_, true)) => Ok(()),
        _ => Err(io::Error::other(format!("path {} is mounted but it is not a shared mount", source.display()))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recursively_read_only_mounts_are_read_only_and_private() {
        let check = |readonly, propagation: MountPropagation, expected: Option<&[&str]>| {
            let mount = v1::Mount {
                container_path: "/data".to_owned(),
                host_path: "/".to_owned(),
                readonly,
                recursive_read_only: true,
                propagation: propagation.into(),
                ..Default::default()
            };
            let made = requested_mount(&mount).ok();
            let options = made.map(|made| made["options"].clone());
            assert_eq!(options, expected.map(|options| json!(options)));
        };
        check(true, MountPropagation::PropagationPrivate, Some(&["rbind", "rprivate", "rro"]));
        check(false, MountPropagation::PropagationPrivate, None);
        check(true, MountPropagation::PropagationHostToContainer, None);
        check(true, MountPropagation::PropagationBidirectional, None);
    }
}
