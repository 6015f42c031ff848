//! What the machine has left.

use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};

use nix::sys::statfs::{OVERLAYFS_SUPER_MAGIC, statfs};

use super::Finding;
use crate::layout::Layout;
use crate::{Settings, instance};

/// Free bytes below which the kubelet would report pressure soon.
const LITTLE_SPACE: u64 = 1 << 30;

pub(super) fn data_folder(settings: &Settings) -> Finding {
    let Some(folder) = existing(&settings.data_dir) else {
        return Finding::Missing(format!("{} is not an absolute path", settings.data_dir.display()));
    };
    if nix::unistd::access(&folder, nix::unistd::AccessFlags::W_OK).is_err() {
        return Finding::Missing(format!(
            "{} cannot be written; make its file system writable, or choose another folder with --data-dir",
            folder.display()
        ));
    }
    match statfs(&folder) {
        Ok(system) if system.filesystem_type() == OVERLAYFS_SUPER_MAGIC => Finding::Missing(format!(
            "{} is on an overlay, on which images cannot be unpacked; choose a folder on a disk with --data-dir (in a \
             container: on a volume)",
            folder.display()
        )),
        _ => Finding::Fine,
    }
}

pub(super) fn disk_space(settings: &Settings) -> Finding {
    let Some(folder) = existing(&settings.data_dir) else { return Finding::Fine };
    let Ok(system) = statfs(&folder) else { return Finding::Fine };
    let free = system.blocks_available().saturating_mul(u64::try_from(system.block_size()).unwrap_or(0));
    if free >= LITTLE_SPACE {
        return Finding::Fine;
    }
    Finding::Warning(format!("{} has only {} MB left", folder.display(), free / 1_000_000))
}

pub(super) fn ports(settings: &Settings) -> Finding {
    if instance::running(&Layout::new(settings).lock()).is_some() {
        // They are in use by this very cluster.
        return Finding::Fine;
    }
    let flags = [("--secure-port", settings.secure_port), ("--kubelet-port", settings.kubelet_port)];
    let taken = flags.into_iter().find_map(|(flag, port)| {
        let address = SocketAddr::new(settings.bind_address, port);
        let error = TcpListener::bind(address).err()?;
        Some(format!(
            "cannot listen on {address} ({error}); end what listens there, or choose another port with {flag}"
        ))
    });
    taken.map_or(Finding::Fine, Finding::Missing)
}

/// The folder, or the nearest one above it that exists.
fn existing(folder: &Path) -> Option<PathBuf> {
    folder.ancestors().find(|folder| folder.exists()).map(Path::to_owned).filter(|_| folder.is_absolute())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_in_use_is_named_with_its_flag() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("bound").port();
        let mut settings = Settings::named("doctor-test");
        settings.bind_address = [127, 0, 0, 1].into();
        settings.secure_port = 0;
        settings.kubelet_port = port;
        let Finding::Missing(text) = ports(&settings) else { panic!("not noticed") };
        assert!(text.contains(&format!("127.0.0.1:{port}")) && text.ends_with("--kubelet-port"), "{text}");
        drop(listener);
        assert_eq!(ports(&settings), Finding::Fine);
    }

    #[test]
    fn a_folder_that_is_not_there_yet_is_judged_by_the_one_above() {
        let folder = tempfile::tempdir().expect("a folder");
        assert_eq!(existing(&folder.path().join("a/b")).as_deref(), Some(folder.path()));
        assert_eq!(existing(Path::new("a/b")), None);
    }
}
