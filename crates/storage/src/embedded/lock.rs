//! One process per store: a lock on a file beside the database, which names its holder.

use std::fs::{File, TryLockError};
use std::io::{Read, Seek, Write};
use std::path::Path;

use super::error::unavailable;
use crate::StorageError;

/// The lock file in the store's folder.
const LOCK_FILE: &str = "store.lock";

/// The lock; held until dropped. The operating system releases it when the process dies.
pub(super) struct Lock {
    _file: File,
}

pub(super) fn acquire(folder: &Path) -> Result<Lock, StorageError> {
    let path = folder.join(LOCK_FILE);
    let failed = |error| unavailable(format!("cannot lock the store with {}: {error}", path.display()));
    let mut file = File::options().read(true).write(true).create(true).truncate(false).open(&path).map_err(failed)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut holder = String::new();
            let _ = file.read_to_string(&mut holder);
            let holder = match holder.trim() {
                "" => "another process".to_owned(),
                pid => format!("process {pid}"),
            };
            return Err(unavailable(format!(
                "the store in {} is in use by {holder}; stop it first, or choose another data folder",
                folder.display()
            )));
        }
        Err(TryLockError::Error(error)) => return Err(failed(error)),
    }
    let write_pid = |file: &mut File| -> std::io::Result<()> {
        file.set_len(0)?;
        file.rewind()?;
        writeln!(file, "{}", std::process::id())
    };
    // A full disk must not keep a store from being read: then the holder has no name.
    if let Err(error) = write_pid(&mut file) {
        tracing::warn!(%error, path = %path.display(), "cannot note the process in the lock file");
    }
    Ok(Lock { _file: file })
}
