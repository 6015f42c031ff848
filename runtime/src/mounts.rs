//! Mounting the root of a container and taking mounts away again.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use rustix::mount::{
    MountFlags, MountPropagationFlags, UnmountFlags, mount, mount_bind, mount_change, mount_remount, unmount,
};

use crate::files::at;

/// Bytes of mount options that fit: one page, with its terminating zero.
const MAX_OPTIONS: usize = 4_095;
/// Attempts to find all mounts below a folder gone, as unmounting may uncover others.
const UNMOUNT_ROUNDS: usize = 16;

/// Mounts the root of a container at `target`: `layers` (folder names in `layers_dir`, base first), and above them the
/// container's own `upper`. `work` is overlayfs' scratch folder beside it.
pub(crate) fn mount_overlay(
    layers_dir: &Path,
    layers: &[String],
    upper: &Path,
    work: &Path,
    target: &Path,
) -> io::Result<()> {
    let lower: Vec<&str> = layers.iter().rev().map(String::as_str).collect();
    let options = format!("lowerdir={},upperdir={},workdir={}", lower.join(":"), upper.display(), work.display());
    let ambiguous = |path: &Path| path.to_string_lossy().contains([',', ':', '\\']);
    if ambiguous(upper) || ambiguous(work) {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "the mount options are ambiguous"));
    }
    overlay(layers_dir, target, MountFlags::empty(), options)
}

/// Mounts `layers` (folder names in `layers_dir`, base first) read-only at `target`. `empty` is the name of a layer
/// without anything: overlayfs does not mount a single layer, whose whiteouts have to be hidden all the same.
pub(crate) fn mount_layers(layers_dir: &Path, empty: &str, layers: &[String], target: &Path) -> io::Result<()> {
    let lower: Vec<&str> = layers.iter().rev().map(String::as_str).collect();
    let options = format!("lowerdir={}", [&lower[..], &[empty]].concat().join(":"));
    overlay(layers_dir, target, MountFlags::RDONLY, options)
}

fn overlay(layers_dir: &Path, target: &Path, flags: MountFlags, options: String) -> io::Result<()> {
    if options.len() > MAX_OPTIONS {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "the mount options are too long"));
    }
    let options = std::ffi::CString::new(options)?;
    // Relative names keep many layers within the one page; the folder is this thread's own.
    let mounted = on_own_thread(|| {
        own_working_directory()?;
        rustix::process::chdir(layers_dir)?;
        Ok(mount("overlay", target, "overlay", flags, options.as_c_str())?)
    });
    mounted.map_err(at("mount an overlay at", target))
}

#[allow(unsafe_code)]
fn own_working_directory() -> io::Result<()> {
    // SAFETY: only the working directory, root and umask of this short-lived thread are separated from the process'.
    unsafe { rustix::thread::unshare_unsafe(rustix::thread::UnshareFlags::FS) }.map_err(io::Error::from)
}

/// Runs `work` on a thread that ends afterwards, for changes to the thread itself.
pub(crate) fn on_own_thread<T: Send>(work: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
    std::thread::scope(|scope| scope.spawn(work).join()).map_err(|_| io::Error::other("a thread panicked"))?
}

/// Mounts a fresh tmpfs of at most `size` bytes.
pub(crate) fn mount_tmpfs(target: &Path, size: u64) -> io::Result<()> {
    let options = std::ffi::CString::new(format!("mode=1777,size={size}"))?;
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    mount("shm", target, "tmpfs", flags, options.as_c_str()).map_err(|e| at("mount a tmpfs at", target)(e.into()))
}

/// Makes `target` (an existing file) a read-only view of the file `source`, replacing an earlier one.
pub(crate) fn bind_read_only(source: &Path, target: &Path) -> io::Result<()> {
    unmount_all(target)?;
    mount_bind(source, target).map_err(|e| at("bind a file to", target)(e.into()))?;
    mount_remount(target, MountFlags::BIND | MountFlags::RDONLY, c"")
        .map_err(|e| at("make read-only", target)(e.into()))
}

/// Keeps mounts made below `folder` from spreading to other mount namespaces; makes it a mount point if it is none.
pub(crate) fn make_private(folder: &Path) -> io::Result<()> {
    if mount_change(folder, MountPropagationFlags::PRIVATE).is_ok() {
        return Ok(());
    }
    mount_bind(folder, folder).map_err(|e| at("bind", folder)(e.into()))?;
    mount_change(folder, MountPropagationFlags::PRIVATE).map_err(|e| at("make private", folder)(e.into()))
}

/// Unmounts everything at and below `path`. Nothing mounted is fine.
pub(crate) fn unmount_all(path: &Path) -> io::Result<()> {
    for _ in 0..UNMOUNT_ROUNDS {
        let mounts = mounts_below(path)?;
        if mounts.is_empty() {
            return Ok(());
        }
        for point in mounts.iter().rev() {
            match unmount(point, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW) {
                Ok(()) | Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOENT) => {}
                Err(error) => return Err(at("unmount", point)(error.into())),
            }
        }
    }
    Err(io::Error::other(format!("mounts below {} keep appearing", path.display())))
}

/// Mount points at and below `path`, parents first.
pub(crate) fn mounts_below(path: &Path) -> io::Result<Vec<PathBuf>> {
    // The kernel knows them without the symbolic links that may lead here, such as /var/run.
    let path = match fs::canonicalize(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        done => done.map_err(at("resolve", path))?,
    };
    let text = fs::read_to_string("/proc/self/mountinfo")?;
    let points = text.lines().filter_map(|line| line.split(' ').nth(4)).map(unescaped);
    Ok(points.filter(|point| point.starts_with(&path)).collect())
}

/// The kernel writes space, tab, newline and backslash as octal.
fn unescaped(text: &str) -> PathBuf {
    let mut plain = text.to_owned();
    for (escaped, character) in [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")] {
        plain = plain.replace(escaped, character);
    }
    PathBuf::from(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mounts_are_found_by_way_of_links() {
        let folder = tempfile::tempdir().expect("temp dir");
        let link = folder.path().join("link");
        std::os::unix::fs::symlink("/", &link).expect("symlink");
        let found = mounts_below(&link.join("proc")).expect("the mounts");
        assert_eq!(found.first(), Some(&PathBuf::from("/proc")));
        let none = mounts_below(&folder.path().join("none")).expect("no mounts");
        assert_eq!(none, Vec::<PathBuf>::new());
    }
}
