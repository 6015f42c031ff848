//! Copies of a store while it runs, and putting one back.

use std::path::Path;

use rusqlite::{Connection, OpenFlags};

use super::error::{damaged, opening, unavailable};
use super::{DATABASE_FILE, create_folder, load, lock, prepare};
use crate::{HistoryLimits, StorageError};

/// Writes a consistent copy of the store in `folder` to the new file `target`. The store may be in use, also by another
/// process: the copy shows all commits up to its start. Blocks.
pub fn backup(folder: &Path, target: &Path) -> Result<(), StorageError> {
    if target.exists() {
        return Err(unavailable(format!("{} exists; choose another name for the backup", target.display())));
    }
    let database = folder.join(DATABASE_FILE);
    let connection = read_only(&database)?;
    let unfinished = target.with_extension("unfinished");
    let _ = std::fs::remove_file(&unfinished);
    let name = unfinished.to_str().ok_or_else(|| unavailable(format!("{} is not UTF-8", target.display())))?;
    connection.execute("VACUUM INTO ?1", [name]).map_err(|error| opening(&database, error))?;
    drop(connection);
    // A backup that cannot be read back is none.
    verify(&unfinished)?;
    let finish = || {
        std::fs::File::open(&unfinished)?.sync_all()?;
        std::fs::rename(&unfinished, target)
    };
    finish().map_err(|error| unavailable(format!("cannot finish the backup {}: {error}", target.display())))
}

/// Makes the backup `source` the content of the store in `folder`, which must not hold a store. Blocks.
pub fn restore(source: &Path, folder: &Path) -> Result<(), StorageError> {
    verify(source)?;
    create_folder(folder)?;
    let _lock = lock::acquire(folder)?;
    let database = folder.join(DATABASE_FILE);
    if database.exists() {
        return Err(unavailable(format!(
            "there is a store in {} already; move it away before restoring",
            folder.display()
        )));
    }
    let unfinished = folder.join("store.restoring");
    let copy = || {
        std::fs::copy(source, &unfinished)?;
        std::fs::File::open(&unfinished)?.sync_all()?;
        std::fs::rename(&unfinished, &database)?;
        std::fs::File::open(folder)?.sync_all()
    };
    copy().map_err(|error| unavailable(format!("cannot copy {} to {}: {error}", source.display(), folder.display())))
}

/// Reads everything in a copy.
fn verify(file: &Path) -> Result<(), StorageError> {
    let connection = read_only(file)?;
    let tables: i64 = connection
        .query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))
        .map_err(|error| opening(file, error))?;
    if tables == 0 {
        return Err(damaged(file, "it is empty"));
    }
    prepare(&connection, file)?;
    load::load(&connection, file, HistoryLimits::default()).map(|_| ())
}

fn read_only(file: &Path) -> Result<Connection, StorageError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    Connection::open_with_flags(file, flags).map_err(|error| opening(file, error))
}
