//! Mounts that the kubelet makes itself: tmpfs for memory and secrets, bind mounts for subPaths.

use std::ffi::CString;
use std::fs;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::path::{Path, PathBuf};

use rustix::mount::{MountFlags, UnmountFlags, mount, mount_bind_recursive, unmount};

/// The path as the kernel's table shows it: the folder of all data may be reached by a symbolic link, and mounts that are
/// not found there would be mounted again, or removed with everything behind them. `None` if there is nothing.
fn resolved(path: &Path) -> io::Result<Option<PathBuf>> {
    match fs::canonicalize(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        done => done.map(Some),
    }
}

/// Mount points at or below `root`, deepest first.
pub(crate) fn mounts_below(root: &Path) -> io::Result<Vec<PathBuf>> {
    let Some(root) = resolved(root)? else { return Ok(Vec::new()) };
    let table = fs::read_to_string("/proc/self/mountinfo")?;
    let mut points: Vec<PathBuf> = mount_points(&table).filter(|point| point.starts_with(&root)).collect();
    // A later mount hides an earlier one, so both order and depth are turned round.
    points.reverse();
    points.sort_by_key(|point| std::cmp::Reverse(point.components().count()));
    Ok(points)
}

/// The mount points of a mountinfo table, in its order.
fn mount_points(table: &str) -> impl Iterator<Item = PathBuf> + '_ {
    table.lines().filter_map(|line| line.split(' ').nth(4)).map(|field| PathBuf::from(unescape(field)))
}

/// The kernel writes blanks and backslashes as octal numbers.
fn unescape(field: &str) -> String {
    let mut text = String::new();
    let mut rest = field;
    while let Some(position) = rest.find('\\') {
        text.push_str(&rest[..position]);
        let code = rest.get(position + 1..position + 4).and_then(|digits| u8::from_str_radix(digits, 8).ok());
        match code {
            Some(code) => {
                text.push(char::from(code));
                rest = &rest[position + 4..];
            }
            None => {
                text.push('\\');
                rest = &rest[position + 1..];
            }
        }
    }
    text.push_str(rest);
    text
}

/// Whether something is mounted at `path`.
pub(crate) fn is_mount_point(path: &Path) -> io::Result<bool> {
    let Some(path) = resolved(path)? else { return Ok(false) };
    let table = fs::read_to_string("/proc/self/mountinfo")?;
    Ok(mount_points(&table).any(|point| point == path))
}

/// Mounts a tmpfs, unless one is there already. `size` is in bytes; `None` leaves the kernel's default.
pub(crate) fn mount_tmpfs(path: &Path, size: Option<i64>, mode: u32) -> io::Result<()> {
    if is_mount_point(path)? {
        return Ok(());
    }
    let mut options = format!("mode={mode:o}");
    if let Some(size) = size.filter(|size| *size > 0) {
        options.push_str(&format!(",size={size}"));
    }
    let options = CString::new(options)?;
    mount("tmpfs", path, "tmpfs", MountFlags::empty(), options.as_c_str())?;
    Ok(())
}

/// Bind-mounts what a descriptor refers to.
pub(crate) fn bind(source: BorrowedFd<'_>, target: &Path) -> io::Result<()> {
    let source = format!("/proc/self/fd/{}", source.as_raw_fd());
    mount_bind_recursive(source, target)?;
    Ok(())
}

/// Unmounts `path`, at the latest when its last user is gone.
pub(crate) fn unmount_lazily(path: &Path) -> io::Result<()> {
    match unmount(path, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW) {
        Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOENT) => Ok(()),
        done => Ok(done?),
    }
}

/// Unmounts everything at or below `root` and then removes it. Nothing behind a mount is ever removed: while a mount
/// remains, this fails.
pub(crate) fn remove_tree(root: &Path) -> io::Result<()> {
    for point in mounts_below(root)? {
        unmount_lazily(&point)?;
    }
    if let Some(left) = mounts_below(root)?.first() {
        return Err(io::Error::other(format!("{} is still mounted", left.display())));
    }
    match fs::remove_dir_all(root) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mount_table_is_read() {
        let table = "36 35 98:0 / / rw - ext4 /dev/a rw\n\
                     37 36 0:5 / /a\\040b rw - tmpfs tmpfs rw\n\
                     38 37 0:6 / /a\\040b/c\\134d rw - tmpfs tmpfs rw\n";
        let points: Vec<PathBuf> = mount_points(table).collect();
        assert_eq!(points, ["/", "/a b", "/a b/c\\d"].map(PathBuf::from));
        assert_eq!(unescape("x\\zz"), "x\\zz");
    }

    #[test]
    fn mounts_are_found_by_way_of_links() {
        let dir = tempfile::tempdir().expect("a folder");
        let link = dir.path().join("link");
        std::os::unix::fs::symlink("/", &link).expect("a link");
        assert!(is_mount_point(&link.join("proc")).expect("checked"));
        assert!(mounts_below(&link.join("proc")).expect("listed").contains(&PathBuf::from("/proc")));
        assert!(!is_mount_point(&dir.path().join("none")).expect("checked"));
        assert_eq!(mounts_below(&dir.path().join("none")).expect("listed"), Vec::<PathBuf>::new());
    }

    #[test]
    fn a_tree_without_mounts_is_removed() {
        let dir = tempfile::tempdir().expect("a folder");
        let root = dir.path().join("pod");
        fs::create_dir_all(root.join("volumes/x")).expect("folders");
        remove_tree(&root).expect("removed");
        assert!(!root.exists());
        remove_tree(&root).expect("nothing to do");
    }
}
