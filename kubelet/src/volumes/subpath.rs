//! `subPath` mounts. A container may have written links into the volume, so the path is resolved by the kernel within
//! the volume only, and what it was resolved to is bind-mounted by descriptor: nobody can exchange it in between
//! (upstream: `k8s.io/mount-utils`, `pkg/volume/util/subpath`).

use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Component, Path, PathBuf};

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, ResolveFlags, mkdirat, open, openat2, statat};

use super::mounter;

/// Checks the text of a subPath. The error is upstream's message.
pub(crate) fn validate(sub_path: &str) -> Result<(), String> {
    if sub_path.starts_with('/') {
        return Err(format!("error SubPath `{sub_path}` must not be an absolute path"));
    }
    if sub_path.split('/').any(|part| part == "..") {
        return Err(format!("unable to provision SubPath `{sub_path}`: must not contain '..'"));
    }
    Ok(())
}

/// Mounts `sub_path` of the volume at `volume` on `target`, which is made. A missing path becomes a folder with the
/// volume's mode.
pub(crate) fn mount(volume: &Path, sub_path: &str, target: &Path) -> io::Result<()> {
    let source = resolve(volume, sub_path)?;
    if mounter::is_mount_point(target)? {
        if same_file(&source, target)? {
            return Ok(());
        }
        mounter::unmount_lazily(target)?;
    }
    prepare_target(&source, target)?;
    mounter::bind(source.as_fd(), target)
}

/// Opens the path within the volume, making folders that are missing.
fn resolve(volume: &Path, sub_path: &str) -> io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let root = open(volume, flags | OFlags::DIRECTORY, Mode::empty())?;
    match open_within(&root, Path::new(sub_path), flags) {
        Err(rustix::io::Errno::NOENT) => {}
        done => return Ok(done?),
    }
    let mode = Mode::from_raw_mode(statat(&root, "", AtFlags::EMPTY_PATH)?.st_mode & 0o7777);
    let mut path = PathBuf::new();
    for part in Path::new(sub_path).components() {
        let Component::Normal(name) = part else { continue };
        let parent = match path.as_os_str().is_empty() {
            true => open(volume, flags | OFlags::DIRECTORY, Mode::empty())?,
            false => open_within(&root, &path, flags | OFlags::DIRECTORY)?,
        };
        match mkdirat(&parent, name, mode) {
            Ok(()) => {
                // The umask has taken bits away.
                let made = openat2(
                    &parent,
                    name,
                    OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW,
                    Mode::empty(),
                    within(),
                )?;
                rustix::fs::fchmod(&made, mode)?;
            }
            Err(rustix::io::Errno::EXIST) => {}
            Err(error) => return Err(error.into()),
        }
        path.push(name);
    }
    Ok(open_within(&root, Path::new(sub_path), flags)?)
}

fn within() -> ResolveFlags {
    ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS
}

fn open_within(root: &OwnedFd, path: &Path, flags: OFlags) -> rustix::io::Result<OwnedFd> {
    openat2(root, path, flags, Mode::empty(), within())
}

fn same_file(source: &OwnedFd, target: &Path) -> io::Result<bool> {
    let source = statat(source, "", AtFlags::EMPTY_PATH)?;
    let target = statat(CWD, target, AtFlags::empty())?;
    Ok((source.st_dev, source.st_ino) == (target.st_dev, target.st_ino))
}

/// A folder is mounted on a folder, anything else on a file.
fn prepare_target(source: &OwnedFd, target: &Path) -> io::Result<()> {
    if let Some(parent) = target.parent() {
        fs::create_dir_all(parent)?;
    }
    let stat = statat(source, "", AtFlags::EMPTY_PATH)?;
    let is_dir = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
    if target.exists() && target.is_dir() != is_dir {
        if target.is_dir() { fs::remove_dir(target)? } else { fs::remove_file(target)? }
    }
    if is_dir {
        fs::create_dir_all(target)
    } else {
        fs::OpenOptions::new().write(true).create(true).truncate(false).open(target).map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt, symlink};

    #[test]
    fn texts_are_checked() {
        assert!(validate("a/b").is_ok() && validate("..a").is_ok());
        assert_eq!(validate("/a"), Err("error SubPath `/a` must not be an absolute path".into()));
        assert!(validate("a/../b").expect_err("refused").contains("must not contain '..'"));
    }

    #[test]
    fn paths_are_resolved_within_the_volume_only() {
        let dir = tempfile::tempdir().expect("a folder");
        let volume = dir.path().join("volume");
        fs::create_dir_all(volume.join("real")).expect("folders");
        fs::write(dir.path().join("secret"), "x").expect("a file");
        symlink("real", volume.join("inside")).expect("a link");
        symlink("../secret", volume.join("outside")).expect("a link");
        symlink("/etc", volume.join("absolute")).expect("a link");
        assert!(resolve(&volume, "inside").is_ok());
        for path in ["outside", "absolute", "absolute/passwd"] {
            assert!(resolve(&volume, path).is_err(), "{path}");
        }
    }

    #[test]
    fn missing_folders_are_made_with_the_volumes_mode() {
        let dir = tempfile::tempdir().expect("a folder");
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o777)).expect("a mode");
        resolve(dir.path(), "a/b").expect("made");
        let mode = fs::metadata(dir.path().join("a/b")).expect("made").permissions().mode();
        assert_eq!(mode & 0o777, 0o777);
        symlink("/", dir.path().join("root")).expect("a link");
        assert!(resolve(dir.path(), "root/x").is_err());
    }

    #[test]
    fn targets_fit_their_source() {
        let dir = tempfile::tempdir().expect("a folder");
        fs::write(dir.path().join("file"), "x").expect("a file");
        let target = dir.path().join("targets/0");
        let file = resolve(dir.path(), "file").expect("a file");
        prepare_target(&file, &target).expect("made");
        assert!(target.is_file());
        let folder = resolve(dir.path(), "targets").expect("a folder");
        prepare_target(&folder, &target).expect("made");
        assert!(target.is_dir());
    }
}
