//! Device nodes given to a container.

use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use skiff_cri::v1;

use crate::files::at;

/// Most device nodes a privileged container gets.
const MAX_DEVICES: usize = 4_096;
/// Below /dev, but not devices of the machine.
const SKIPPED: [&str; 7] = ["pts", "shm", "fd", "mqueue", ".lxc", ".udev", "console"];

/// A device node inside a container.
pub(super) struct Device {
    path: PathBuf,
    kind: &'static str,
    major: u32,
    minor: u32,
    mode: u32,
    uid: u32,
    gid: u32,
    access: String,
}

impl Device {
    fn inspect(host: &Path, container: &Path, access: &str) -> io::Result<Option<Self>> {
        let metadata = fs::metadata(host).map_err(at("inspect", host))?;
        let kind = match metadata.file_type() {
            kind if kind.is_char_device() => "c",
            kind if kind.is_block_device() => "b",
            _ => return Ok(None),
        };
        Ok(Some(Self {
            path: container.to_owned(),
            kind,
            major: rustix::fs::major(metadata.rdev()),
            minor: rustix::fs::minor(metadata.rdev()),
            mode: metadata.mode() & 0o7777,
            uid: metadata.uid(),
            gid: metadata.gid(),
            access: if access.is_empty() { "rwm".to_owned() } else { access.to_owned() },
        }))
    }

    /// The node, for `linux.devices`.
    pub(super) fn node(&self) -> Value {
        json!({
            "path": self.path, "type": self.kind, "major": self.major, "minor": self.minor,
            "fileMode": self.mode, "uid": self.uid, "gid": self.gid,
        })
    }

    /// The permission, for `linux.resources.devices`.
    pub(super) fn rule(&self) -> Value {
        json!({ "allow": true, "type": self.kind, "major": self.major, "minor": self.minor, "access": self.access })
    }
}

/// The devices that a container asks for; a folder stands for the devices right in it.
pub(super) fn requested(devices: &[v1::Device]) -> io::Result<Vec<Device>> {
    let mut found = Vec::new();
    for device in devices {
        let (host, container) = (Path::new(&device.host_path), Path::new(&device.container_path));
        if host.is_dir() {
            for entry in fs::read_dir(host).map_err(at("list", host))? {
                let entry = entry?;
                let inside = container.join(entry.file_name());
                found.extend(Device::inspect(&entry.path(), &inside, &device.permissions)?);
            }
            continue;
        }
        let inspected = Device::inspect(host, container, &device.permissions)?;
        found.push(inspected.ok_or_else(|| {
            io::Error::new(io::ErrorKind::InvalidInput, format!("{} is not a device", host.display()))
        })?);
    }
    Ok(found)
}

/// Every device of the machine, for privileged containers.
pub(super) fn all() -> io::Result<Vec<Device>> {
    let mut found = Vec::new();
    let mut folders = vec![PathBuf::from("/dev")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).map_err(at("list", &folder))?.flatten() {
            let Ok(kind) = entry.file_type() else {
                continue;
            };
            let path = entry.path();
            if SKIPPED.iter().any(|name| entry.file_name() == *name) {
                continue;
            }
            if kind.is_dir() {
                folders.push(path);
            } else if (kind.is_char_device() || kind.is_block_device()) && found.len() < MAX_DEVICES {
                found.extend(Device::inspect(&path, &path, "").unwrap_or_default());
            }
        }
    }
    Ok(found)
}
