//! What SQLite's errors mean for the store, in words that say what to do.

use std::path::Path;

use rusqlite::{ErrorCode, ffi};

use crate::StorageError;

pub(super) fn unavailable(message: String) -> StorageError {
    StorageError::Unavailable(message)
}

/// The files are not what a crash could have left.
pub(super) fn damaged(database: &Path, what: impl std::fmt::Display) -> StorageError {
    StorageError::Corrupt(format!(
        "the store in {} is damaged: {what}. Nothing was changed. Check the disk, then restore a backup with `skiff \
         restore`; or, to start with an empty cluster, move the folder {} away.",
        database.display(),
        database.parent().unwrap_or(database).display()
    ))
}

/// An error while opening or loading.
pub(super) fn opening(database: &Path, error: rusqlite::Error) -> StorageError {
    match kind(&error) {
        Kind::Damage => damaged(database, error),
        Kind::Passing | Kind::Lasting => {
            unavailable(format!("cannot open the store in {}: {}", database.display(), explain(&error)))
        }
    }
}

/// How an error affects what comes after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Writes may work again: the disk was full, or read-only for a while.
    Passing,
    /// What is on disk is uncertain: no more writes until a restart has read it back.
    Lasting,
    /// The files are damaged.
    Damage,
}

pub(super) fn kind(error: &rusqlite::Error) -> Kind {
    let Some(code) = error.sqlite_error() else { return Kind::Lasting };
    match (code.code, code.extended_code) {
        (ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase, _) => Kind::Damage,
        // After a failed sync the kernel may have dropped the pages and call the next sync a success.
        (_, ffi::SQLITE_IOERR_FSYNC | ffi::SQLITE_IOERR_DIR_FSYNC) => Kind::Lasting,
        // The commit may be on disk but not in the index that the next commit is placed by.
        (_, ffi::SQLITE_IOERR_SHMSIZE | ffi::SQLITE_IOERR_SHMOPEN | ffi::SQLITE_IOERR_SHMMAP) => Kind::Lasting,
        (
            ErrorCode::DiskFull
            | ErrorCode::ReadOnly
            | ErrorCode::SystemIoFailure
            | ErrorCode::CannotOpen
            | ErrorCode::DatabaseBusy
            | ErrorCode::DatabaseLocked
            | ErrorCode::OutOfMemory
            | ErrorCode::PermissionDenied,
            _,
        ) => Kind::Passing,
        _ => Kind::Lasting,
    }
}

/// The error with what to do about it.
pub(super) fn explain(error: &rusqlite::Error) -> String {
    let advice = match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => "; free space on the disk and writes will go on",
        Some(ErrorCode::ReadOnly) => "; make the file system writable again and writes will go on",
        Some(ErrorCode::SystemIoFailure) if kind(error) == Kind::Lasting => {
            "; what reached the disk is uncertain: check the disk and restart"
        }
        Some(ErrorCode::SystemIoFailure) => "; check the disk",
        _ => "",
    };
    format!("{error}{advice}")
}
