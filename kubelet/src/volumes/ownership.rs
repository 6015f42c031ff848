//! Giving a volume to the pod's `fsGroup` (upstream: `pkg/volume/volume_linux.go`).

use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt, lchown};
use std::path::Path;

const READ_WRITE: u32 = 0o660;
const READ_ONLY: u32 = 0o440;
const EXECUTE: u32 = 0o110;
const SETGID: u32 = 0o2000;

/// Makes everything below `root` belong to `group` and readable (or writable) by it; new files inherit the group.
/// With `only_on_mismatch` nothing is done if the root folder is already as it should be.
pub(crate) fn set_group(root: &Path, group: u32, read_only: bool, only_on_mismatch: bool) -> io::Result<()> {
    if only_on_mismatch && matches(root, group, read_only)? {
        return Ok(());
    }
    walk(root, group, if read_only { READ_ONLY } else { READ_WRITE })
}

fn matches(root: &Path, group: u32, read_only: bool) -> io::Result<bool> {
    let metadata = fs::symlink_metadata(root)?;
    let wanted = if read_only { READ_ONLY } else { READ_WRITE } | EXECUTE | SETGID;
    Ok(metadata.gid() == group && metadata.mode() & wanted == wanted)
}

/// Children first, so that the root only matches when all of it is done.
fn walk(path: &Path, group: u32, mask: u32) -> io::Result<()> {
    let metadata = fs::symlink_metadata(path)?;
    let mut mode = metadata.mode() | mask;
    if metadata.is_dir() {
        for entry in fs::read_dir(path)? {
            walk(&entry?.path(), group, mask)?;
        }
        mode |= SETGID | EXECUTE;
    }
    lchown(path, None, Some(group))?;
    if !metadata.file_type().is_symlink() {
        fs::set_permissions(path, fs::Permissions::from_mode(mode & 0o7777))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn own_group() -> u32 {
        rustix::process::getgid().as_raw()
    }

    #[test]
    fn folders_and_files_are_opened_for_the_group() {
        let dir = tempfile::tempdir().expect("a folder");
        let root = dir.path().join("volume");
        fs::create_dir_all(root.join("sub")).expect("folders");
        fs::write(root.join("sub/file"), "x").expect("a file");
        for (path, mode) in [("", 0o755), ("sub", 0o700), ("sub/file", 0o600)] {
            fs::set_permissions(root.join(path), fs::Permissions::from_mode(mode)).expect("a mode");
        }
        let mode = |path: &str| fs::metadata(root.join(path)).expect("there").mode() & 0o7777;
        assert!(!matches(&root, own_group(), false).expect("checked"));
        set_group(&root, own_group(), false, true).expect("set");
        assert_eq!([mode(""), mode("sub"), mode("sub/file")], [0o2775, 0o2770, 0o660]);
        assert!(matches(&root, own_group(), false).expect("checked"));
        fs::set_permissions(root.join("sub/file"), fs::Permissions::from_mode(0o600)).expect("a mode");
        set_group(&root, own_group(), false, true).expect("skipped");
        assert_eq!(mode("sub/file"), 0o600);
    }

    #[test]
    fn read_only_volumes_get_no_write_bits() {
        let dir = tempfile::tempdir().expect("a folder");
        fs::write(dir.path().join("file"), "x").expect("a file");
        fs::set_permissions(dir.path().join("file"), fs::Permissions::from_mode(0o600)).expect("a mode");
        set_group(dir.path(), own_group(), true, false).expect("set");
        assert_eq!(fs::metadata(dir.path().join("file")).expect("there").mode() & 0o777, 0o640);
    }
}
