//! One process per cluster: a lock that says who holds it.

use std::fs::{File, TryLockError};
use std::io::{Read, Seek, Write};
use std::path::Path;

use anyhow::{Context, bail};

/// The lock; released when dropped, and by the operating system when the process dies.
pub struct Instance {
    _file: File,
}

impl Instance {
    /// Takes the lock; an error that names the holder if there is one.
    pub fn acquire(path: &Path, cluster: &str) -> anyhow::Result<Self> {
        let failed = || format!("cannot lock {}", path.display());
        let mut file =
            File::options().read(true).write(true).create(true).truncate(false).open(path).with_context(failed)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let holder = read_pid(&mut file).map_or("another process".to_owned(), |pid| format!("process {pid}"));
                bail!("cluster {cluster} is running already, as {holder}; `skiff down --name {cluster}` stops it");
            }
            Err(TryLockError::Error(error)) => return Err(error).with_context(failed),
        }
        file.set_len(0).with_context(failed)?;
        file.rewind().with_context(failed)?;
        write!(file, "{}", std::process::id()).with_context(failed)?;
        Ok(Self { _file: file })
    }
}

/// The process that holds the lock, if any does.
pub fn running(path: &Path) -> Option<i32> {
    let mut file = File::options().read(true).write(true).open(path).ok()?;
    match file.try_lock() {
        Err(TryLockError::WouldBlock) => read_pid(&mut file),
        _ => None,
    }
}

fn read_pid(file: &mut File) -> Option<i32> {
    let mut text = String::new();
    file.read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_is_told_who_the_first_is() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("lock");
        assert_eq!(running(&path), None);
        let first = Instance::acquire(&path, "blue").expect("free");
        assert_eq!(running(&path), i32::try_from(std::process::id()).ok());
        let Err(error) = Instance::acquire(&path, "blue") else { panic!("locked twice") };
        assert!(error.to_string().contains(&format!("process {}", std::process::id())), "{error}");
        drop(first);
        assert_eq!(running(&path), None);
        Instance::acquire(&path, "blue").expect("free again");
    }
}
