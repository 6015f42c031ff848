//! Reaching into a container's or layer's root without being led out of it by its symbolic links.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, mkdirat, openat2};

/// Largest file read from a root, in bytes: passwd and group files.
const MAX_FILE: u64 = 1024 * 1024;

/// Opens a folder as a root to resolve in.
pub(crate) fn open_root(root: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(rustix::fs::openat(CWD, root, flags, Mode::empty())?)
}

/// Opens `path` below `root` as if `root` were `/`.
pub(crate) fn open_in(root: impl AsFd, path: &Path, flags: OFlags) -> io::Result<OwnedFd> {
    let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    loop {
        // EAGAIN: a rename raced with the resolution.
        match openat2(&root, path, flags | OFlags::CLOEXEC, Mode::empty(), resolve) {
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => {}
            other => return Ok(other?),
        }
    }
}

/// The text of a small file; absent is empty.
pub(crate) fn read_in(root: impl AsFd, path: &Path) -> io::Result<String> {
    let file = match open_in(root, path, OFlags::RDONLY | OFlags::NONBLOCK) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(String::new()),
        other => File::from(other?),
    };
    if !file.metadata()?.is_file() {
        return Ok(String::new());
    }
    let mut bytes = Vec::new();
    file.take(MAX_FILE).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Makes the folder `path` below `root` with its parents (mode 0755), following links inside of `root`.
pub(crate) fn create_dirs_in(root: BorrowedFd<'_>, path: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY;
    if let Ok(found) = open_in(root, path, flags) {
        return Ok(found);
    }
    let name = path.file_name().ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "a path without a name"))?;
    let parent = create_dirs_in(root, path.parent().unwrap_or(Path::new("")))?;
    match mkdirat(&parent, name, Mode::from_raw_mode(0o755)) {
        Ok(()) | Err(rustix::io::Errno::EXIST) => open_in(root, path, flags),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn links_do_not_lead_out() {
        let outside = tempfile::tempdir().expect("temp dir");
        fs::write(outside.path().join("secret"), "secret").expect("write");
        let root = tempfile::tempdir().expect("temp dir");
        fs::create_dir(root.path().join("etc")).expect("mkdir");
        fs::write(root.path().join("etc/passwd"), "inside").expect("write");
        symlink(outside.path().join("secret"), root.path().join("out")).expect("symlink");
        symlink("/etc/passwd", root.path().join("in")).expect("symlink");
        symlink("../../../../etc", root.path().join("up")).expect("symlink");
        let handle = open_root(root.path()).expect("root");
        assert_eq!(read_in(&handle, Path::new("/in")).expect("read"), "inside");
        assert_eq!(read_in(&handle, Path::new("up/passwd")).expect("read"), "inside");
        assert_eq!(read_in(&handle, Path::new("out")).expect("dangling inside"), "");
        assert_eq!(read_in(&handle, Path::new("etc")).expect("a folder"), "");
        create_dirs_in(handle.as_fd(), Path::new("/up/a/b")).expect("mkdir");
        assert!(root.path().join("etc/a/b").is_dir());
        create_dirs_in(handle.as_fd(), Path::new("../x")).expect("mkdir");
        assert!(root.path().join("x").is_dir());
    }
}
