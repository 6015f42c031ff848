//! The durable engine inside this process: `local`'s state in memory, its changes in one append-only SQLite table.
//!
//! SQLite is chosen for its record of surviving crashes, and used for nothing else: reads and watches never touch it.
//! One transaction per batch of writes appends rows to `log`; a commit returns after the write-ahead log is synced.
//!
//! ```sql
//! CREATE TABLE log(pos INTEGER PRIMARY KEY, rev INT, op INT, key TEXT, val BLOB);
//! CREATE TABLE meta(k TEXT PRIMARY KEY, v) WITHOUT ROWID;
//! ```
//!
//! `pos` only grows and has no gaps; `rev` is the revision; `op` is 1 for a value and 0 for a deletion; `val` is a
//! checksum, an expiry and the object ([`row`]). The highest `rev` of a key wins, and a deletion hides the key.
//!
//! The log is cleaned while writing, never beside it: once it has many more rows than live entries, each commit takes a
//! few rows from its head, appends again those that are still needed, and deletes the taken ones by range. So whole
//! pages fall free, growth is bounded and no writer waits ([`journal`]). Only rows older than the window of past
//! changes are taken, so watches resume across a restart. Pages that stay free go back to the file system, a few per
//! commit.
//!
//! `meta` holds `format` (a newer one is refused), `store` (a random name), `head` (the lowest `pos`) and `compacted`
//! (the oldest revision from which all changes are still there).
//!
//! Whatever cannot be explained by a crash is refused with what to do about it: rows that fail their checksum, missing
//! rows ([`load`]), a write-ahead log that is damaged before its end ([`wal`]). Nothing is dropped silently.

mod backup;
mod checkpoint;
mod error;
mod journal;
mod load;
mod lock;
mod row;
mod wal;

use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};

pub use self::backup::{backup, restore};
use self::error::{damaged, unavailable};
use self::journal::SqliteJournal;
use crate::local::LocalStorage;
use crate::{HistoryLimits, StorageError};

/// The format that this program writes, and the newest it reads.
pub const FORMAT: i64 = 1;

/// The database file in the store's folder.
pub const DATABASE_FILE: &str = "store.db";

/// Marks the file as a Skiff store in its header ("SKIF").
const APPLICATION_ID: i64 = 0x534b_4946;

/// Pages of 8 KiB: a page takes three 2 KB rows; 4 KiB would waste half.
const PAGE_BYTES: u32 = 8192;

/// The writer copies the write-ahead log into the database itself beyond this many pages. Usually `checkpoint` has done
/// it before, and the log starts over.
const AUTO_CHECKPOINT_PAGES: u32 = 4000;

/// The write-ahead log keeps at most this much disk when it starts over.
const WAL_KEPT_BYTES: u64 = 64 << 20;

/// How long one connection waits for a lock of the other.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);

/// Where and how to store.
#[derive(Clone, Debug)]
pub struct Config {
    /// The folder of the store; made with mode 0700 if it is not there.
    pub folder: PathBuf,
    /// Bounds of the window of past changes.
    pub history: HistoryLimits,
    /// Rows that the log may have beyond twice the live entries before it is cleaned.
    pub slack_rows: usize,
    /// Name of a registered SQLite VFS; `None` for the operating system's. Tests lose writes with it.
    pub vfs: Option<String>,
}

impl Config {
    /// The usual limits.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self { folder: folder.into(), history: HistoryLimits::default(), slack_rows: 20_000, vfs: None }
    }
}

/// Opens the store in a folder, or makes an empty one. Blocks: call it outside of async tasks.
pub fn open(config: &Config) -> Result<LocalStorage, StorageError> {
    create_folder(&config.folder)?;
    let lock = lock::acquire(&config.folder)?;
    let database = config.folder.join(DATABASE_FILE);
    wal::check(&database)?;
    let connection = connect(&database, config.vfs.as_deref())?;
    prepare(&connection, &database)?;
    let (initial, log) = load::load(&connection, &database, config.history)?;
    let checkpoints = checkpoint::Checkpoints::start(connect(&database, config.vfs.as_deref())?)?;
    let journal = SqliteJournal::new(connection, log, config.slack_rows, checkpoints, lock);
    let log = wal::of(&database);
    Ok(LocalStorage::start(initial, journal)?.kept_in(vec![database, log]))
}

fn create_folder(folder: &Path) -> Result<(), StorageError> {
    use std::os::unix::fs::DirBuilderExt;
    let failed = |error| unavailable(format!("cannot create the folder {} of the store: {error}", folder.display()));
    if folder.is_dir() {
        return Ok(());
    }
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(failed)?;
    // The folder itself must survive a power loss, or all that is synced in it is lost with it.
    if let Some(parent) = folder.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        std::fs::File::open(parent).and_then(|parent| parent.sync_all()).map_err(failed)?;
    }
    Ok(())
}

fn connect(database: &Path, vfs: Option<&str>) -> Result<Connection, StorageError> {
    // One thread uses a connection at a time, so SQLite's own locks are not needed.
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = match vfs {
        Some(vfs) => Connection::open_with_flags_and_vfs(database, flags, vfs),
        None => Connection::open_with_flags(database, flags),
    };
    let connection = connection.map_err(|error| error::opening(database, error))?;
    let set = || {
        connection.busy_timeout(BUSY_TIMEOUT)?;
        connection.pragma_update(None, "page_size", PAGE_BYTES)?;
        // Only takes effect before the first table: space can be given back later, a little at a time.
        connection.pragma_update(None, "auto_vacuum", "incremental")?;
        connection.pragma_update_and_check(None, "journal_mode", "wal", |_| Ok(()))?;
        connection.pragma_update(None, "synchronous", "full")?;
        connection.pragma_update_and_check(None, "wal_autocheckpoint", AUTO_CHECKPOINT_PAGES, |_| Ok(()))?;
        connection.pragma_update_and_check(None, "journal_size_limit", WAL_KEPT_BYTES as i64, |_| Ok(()))?;
        connection.pragma_update(None, "temp_store", "memory")
    };
    set().map_err(|error| error::opening(database, error))?;
    Ok(connection)
}

/// Makes the tables of a new store; refuses what is not a store of ours, or a newer one.
fn prepare(connection: &Connection, database: &Path) -> Result<(), StorageError> {
    let opening = |error| error::opening(database, error);
    let tables: i64 =
        connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0)).map_err(opening)?;
    if tables == 0 {
        return create_tables(connection).map_err(opening);
    }
    let application: i64 = connection.pragma_query_value(None, "application_id", |row| row.get(0)).map_err(opening)?;
    if application != APPLICATION_ID {
        return Err(damaged(database, "it is an SQLite database, but not one of Skiff"));
    }
    let format: i64 = load::meta(connection, "format").map_err(opening)?;
    if format > FORMAT {
        return Err(StorageError::Corrupt(format!(
            "the store in {} has format {format}, but this Skiff knows formats up to {FORMAT}: it was written by a \
             newer version. Start that version, or restore a backup made by this one. Nothing was changed.",
            database.display()
        )));
    }
    Ok(())
}

fn create_tables(connection: &Connection) -> rusqlite::Result<()> {
    let store: u128 = rand::random();
    connection.pragma_update(None, "application_id", APPLICATION_ID)?;
    connection.execute_batch(&format!(
        "BEGIN IMMEDIATE;
         CREATE TABLE log(pos INTEGER PRIMARY KEY, rev INT, op INT, key TEXT, val BLOB);
         CREATE TABLE meta(k TEXT PRIMARY KEY, v) WITHOUT ROWID;
         INSERT INTO meta(k, v) VALUES
           ('format', {FORMAT}), ('store', '{store:032x}'), ('head', 1), ('compacted', {}), ('probe', 0);
         COMMIT;",
        crate::memory::FIRST_REVISION
    ))
}
