//! Writing a set of files so that a reader sees all of the old set or all of the new one
//! (upstream: `pkg/volume/util/atomic_writer.go`; the names are a contract that programs in containers rely on).
//!
//! ```text
//! volume/..2026_01_02_03_04_05.123456789/{a,sub/b}   the files
//! volume/..data -> ..2026_01_02_03_04_05.123456789   swapped by one rename
//! volume/a -> ..data/a                               what users open
//! volume/sub -> ..data/sub
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt, chown, symlink};
use std::path::{Component, Path, PathBuf};

/// The link that is swapped.
const DATA: &str = "..data";
/// The same while it is being made.
const DATA_NEW: &str = "..data_tmp";
/// Longest path of a file within a volume.
const PATH_MAX: usize = 4096;

/// Files of a volume by relative path.
pub(crate) type Payload = BTreeMap<String, File>;

/// One file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct File {
    pub(crate) data: Vec<u8>,
    /// Permission bits.
    pub(crate) mode: u32,
    /// Owner, if it is not root.
    pub(crate) owner: Option<u32>,
}

/// Makes the volume at `target` show exactly `payload`. `prepare` may change owners and modes of the new files before
/// they become visible. True if anything changed.
pub(crate) fn write(
    target: &Path,
    payload: &Payload,
    now: jiff::Timestamp,
    prepare: impl FnOnce(&Path) -> io::Result<()>,
) -> io::Result<bool> {
    for path in payload.keys() {
        validate(path)?;
    }
    let old = match fs::read_link(target.join(DATA)) {
        Ok(link) => Some(target.join(link)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(error),
    };
    if let Some(old) = &old
        && shows(old, payload)?
    {
        // A crash may have come between the swap and the links.
        link_names(target, payload)?;
        return Ok(false);
    }
    let new = target.join(now.strftime("..%Y_%m_%d_%H_%M_%S.%9f").to_string());
    fill(&new, payload)?;
    prepare(&new)?;
    let name = new.file_name().unwrap_or_default();
    let staged = target.join(DATA_NEW);
    remove_if_there(&staged)?;
    symlink(name, &staged)?;
    fs::rename(&staged, target.join(DATA))?;
    link_names(target, payload)?;
    unlink_stale(target, payload, &new)?;
    Ok(true)
}

/// A file's path must stay in the volume and must not look like one of ours.
fn validate(path: &str) -> io::Result<()> {
    let refuse = |why: &str| Err(io::Error::new(io::ErrorKind::InvalidInput, format!("invalid path {path:?}: {why}")));
    if path.is_empty() || path.len() > PATH_MAX {
        return refuse("it is empty or too long");
    }
    if path.starts_with("..") {
        return refuse("it begins with \"..\"");
    }
    let normal = Path::new(path).components().all(|part| matches!(part, Component::Normal(_)));
    if normal { Ok(()) } else { refuse("it is absolute or leaves the volume") }
}

/// Whether a data folder already holds exactly the payload.
fn shows(dir: &Path, payload: &Payload) -> io::Result<bool> {
    let mut found = BTreeSet::new();
    collect_files(dir, Path::new(""), &mut found)?;
    if found.len() != payload.len() {
        return Ok(false);
    }
    for (path, file) in payload {
        if !found.contains(Path::new(path)) {
            return Ok(false);
        }
        let full = dir.join(path);
        // The group of the volume may have added bits, so the wanted ones must be there and the content equal.
        let mode = fs::metadata(&full)?.permissions().mode() & 0o777;
        if mode & file.mode != file.mode & 0o777 || fs::read(&full)? != file.data {
            return Ok(false);
        }
    }
    Ok(true)
}

fn collect_files(dir: &Path, prefix: &Path, found: &mut BTreeSet<PathBuf>) -> io::Result<()> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    for entry in entries {
        let entry = entry?;
        let path = prefix.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            collect_files(&entry.path(), &path, found)?;
        } else {
            found.insert(path);
        }
    }
    Ok(())
}

fn fill(dir: &Path, payload: &Payload) -> io::Result<()> {
    let make = |path: &Path| -> io::Result<()> {
        match DirBuilder::new().mode(0o755).create(path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            // Not left to the umask.
            done => done.and_then(|()| fs::set_permissions(path, fs::Permissions::from_mode(0o755))),
        }
    };
    make(dir)?;
    for (path, file) in payload {
        let mut parent = dir.to_path_buf();
        for part in Path::new(path).parent().into_iter().flat_map(Path::components) {
            parent.push(part);
            make(&parent)?;
        }
        let full = dir.join(path);
        let mut handle = OpenOptions::new().write(true).create_new(true).mode(file.mode).open(&full)?;
        handle.write_all(&file.data)?;
        handle.set_permissions(fs::Permissions::from_mode(file.mode))?;
        if file.owner.is_some() {
            chown(&full, file.owner, None)?;
        }
    }
    Ok(())
}

fn top_names(payload: &Payload) -> BTreeSet<&str> {
    payload.keys().map(|path| path.split('/').next().unwrap_or(path)).collect()
}

/// Makes the links that users open.
fn link_names(target: &Path, payload: &Payload) -> io::Result<()> {
    for name in top_names(payload) {
        match symlink(Path::new(DATA).join(name), target.join(name)) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

/// Removes links and data folders that are no longer used.
fn unlink_stale(target: &Path, payload: &Payload, current: &Path) -> io::Result<()> {
    let names = top_names(payload);
    for entry in fs::read_dir(target)? {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        let is_ours = name.starts_with("..");
        if is_ours && entry.file_type()?.is_dir() && entry.path() != current {
            fs::remove_dir_all(entry.path())?;
        } else if !is_ours && !names.contains(&*name) {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn payload(files: &[(&str, &str)]) -> Payload {
        let file = |data: &str| File { data: data.into(), mode: 0o644, owner: None };
        files.iter().map(|(path, data)| ((*path).to_owned(), file(data))).collect()
    }

    fn at(second: i64) -> jiff::Timestamp {
        jiff::Timestamp::from_second(1_700_000_000 + second).expect("a time")
    }

    fn names(dir: &Path) -> Vec<String> {
        let entries = fs::read_dir(dir).expect("a folder").map(|e| e.expect("an entry").file_name());
        let mut names: Vec<String> = entries.map(|name| name.to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }

    #[test]
    fn files_appear_through_links() {
        let dir = tempfile::tempdir().expect("a folder");
        let target = dir.path();
        let changed = write(target, &payload(&[("a", "1"), ("sub/b", "2")]), at(0), |_| Ok(())).expect("written");
        assert!(changed);
        assert_eq!(fs::read_to_string(target.join("a")).expect("a file"), "1");
        assert_eq!(fs::read_to_string(target.join("sub/b")).expect("a file"), "2");
        assert_eq!(fs::read_link(target.join("a")).expect("a link"), Path::new("..data/a"));
        assert_eq!(names(target), ["..2023_11_14_22_13_20.000000000", "..data", "a", "sub"]);
    }

    #[test]
    fn a_change_replaces_everything_at_once_and_no_change_nothing() {
        let dir = tempfile::tempdir().expect("a folder");
        let target = dir.path();
        write(target, &payload(&[("a", "1"), ("gone", "x")]), at(0), |_| Ok(())).expect("written");
        let same = write(target, &payload(&[("a", "1"), ("gone", "x")]), at(1), |_| panic!("not called"));
        assert!(!same.expect("unchanged"));
        write(target, &payload(&[("a", "2"), ("b", "3")]), at(2), |_| Ok(())).expect("written");
        assert_eq!(fs::read_to_string(target.join("a")).expect("a file"), "2");
        assert_eq!(names(target), ["..2023_11_14_22_13_22.000000000", "..data", "a", "b"]);
        write(target, &Payload::new(), at(3), |_| Ok(())).expect("written");
        assert_eq!(names(target), ["..2023_11_14_22_13_23.000000000", "..data"]);
    }

    #[test]
    fn modes_are_exact_and_count_as_changes() {
        let dir = tempfile::tempdir().expect("a folder");
        let mut files = payload(&[("a", "1")]);
        files.get_mut("a").expect("a file").mode = 0o400;
        write(dir.path(), &files, at(0), |_| Ok(())).expect("written");
        let mode = || fs::metadata(dir.path().join("a")).expect("a file").permissions().mode() & 0o777;
        assert_eq!(mode(), 0o400);
        files.get_mut("a").expect("a file").mode = 0o644;
        assert!(write(dir.path(), &files, at(1), |_| Ok(())).expect("written"));
        assert_eq!(mode(), 0o644);
    }

    #[test]
    fn a_failed_preparation_leaves_the_old_files() {
        let dir = tempfile::tempdir().expect("a folder");
        write(dir.path(), &payload(&[("a", "1")]), at(0), |_| Ok(())).expect("written");
        let failed = write(dir.path(), &payload(&[("a", "2")]), at(1), |_| Err(io::Error::other("no")));
        assert!(failed.is_err());
        assert_eq!(fs::read_to_string(dir.path().join("a")).expect("a file"), "1");
        write(dir.path(), &payload(&[("a", "2")]), at(2), |_| Ok(())).expect("written");
        assert_eq!(names(dir.path()).len(), 3, "what failed is cleaned up");
    }

    #[test]
    fn paths_that_leave_the_volume_are_refused() {
        let dir = tempfile::tempdir().expect("a folder");
        for path in ["", "/a", "..", "../a", "..a", "a/../b", "a/..", &"x".repeat(5000)] {
            let error = write(dir.path(), &payload(&[(path, "1")]), at(0), |_| Ok(())).expect_err(path);
            assert_eq!(error.kind(), io::ErrorKind::InvalidInput, "{path}");
        }
    }
}
