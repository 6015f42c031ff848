//! Network namespaces pinned to a file, and running code inside them.
//!
//! Entering a namespace changes the calling thread, so it always happens on a thread of its own that ends afterwards;
//! a tokio worker must never do it.

use std::fs::{self, File};
use std::os::fd::AsFd;
use std::path::Path;

use rustix::mount::{MountPropagationFlags, UnmountFlags, mount_bind, mount_change, unmount};
use rustix::thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space};

use crate::{Error, Result};

fn failed(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Error {
    let path = path.to_owned();
    move |source| Error::Namespace { action, path, source }
}

/// Makes a new network namespace with its loopback up and pins it at `path` (a file that is created). Its parent
/// directory must exist.
pub fn create(path: &Path) -> Result<()> {
    let file = File::options().write(true).create_new(true).open(path).map_err(failed("create", path))?;
    drop(file);
    let pinned = on_own_thread(|| {
        unshare_network().map_err(failed("unshare", path))?;
        mount_bind("/proc/thread-self/ns/net", path).map_err(|e| failed("pin", path)(e.into()))
    });
    if let Err(error) = pinned {
        let _ = fs::remove_file(path);
        return Err(error);
    }
    run_in(path, || crate::link::blocking(|links| async move { links.set_up("lo").await }))?
}

/// Unpins the namespace at `path`; the kernel frees it with its last process. Absent is fine.
pub fn delete(path: &Path) -> Result<()> {
    match unmount(path, UnmountFlags::DETACH) {
        // EINVAL: a plain file, left by a reboot. ENOENT: nothing there.
        Ok(()) | Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOENT) => {}
        Err(error) => return Err(failed("unpin", path)(error.into())),
    }
    match fs::remove_file(path) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(Error::file("remove", path)(error)),
    }
}

/// Runs `work` on a thread inside the namespace pinned at `path` and waits for it. `/proc/sys/net` and sockets made
/// there belong to the namespace.
pub fn run_in<T: Send>(path: &Path, work: impl FnOnce() -> T + Send) -> Result<T> {
    on_own_thread(|| {
        enter(path)?;
        Ok(work())
    })
}

/// Moves the calling thread into the namespace pinned at `path`, for good. Only for threads that end afterwards, and
/// for processes that do it before they start any other thread.
pub fn enter(path: &Path) -> Result<()> {
    let namespace = File::open(path).map_err(failed("open", path))?;
    move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))
        .map_err(|e| failed("enter", path)(e.into()))
}

/// Makes mounts below `dir` invisible to other mount namespaces' propagation, so that pins made later stay here.
/// `dir` becomes a mount point if it is none.
pub fn make_private(dir: &Path) -> Result<()> {
    if mount_change(dir, MountPropagationFlags::PRIVATE).is_ok() {
        return Ok(());
    }
    mount_bind(dir, dir).map_err(|e| failed("bind", dir)(e.into()))?;
    mount_change(dir, MountPropagationFlags::PRIVATE).map_err(|e| failed("make private", dir)(e.into()))
}

fn on_own_thread<T: Send>(work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    std::thread::scope(|scope| scope.spawn(work).join()).map_err(|_| Error::Thread)?
}

#[allow(unsafe_code)]
fn unshare_network() -> std::io::Result<()> {
    // SAFETY: only the network namespace is unshared, and only for this short-lived thread; no file descriptor table
    // or memory is affected.
    unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNET) }.map_err(Into::into)
}
