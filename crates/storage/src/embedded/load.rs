//! Reading the log back into memory, and not trusting it.

use std::collections::{HashMap, HashSet, VecDeque};
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use imbl::OrdMap;
use rusqlite::{Connection, OptionalExtension};

use super::error::{damaged, opening};
use super::row;
use crate::local::Initial;
use crate::local::expiry::{Expiry, UnixSeconds};
use crate::local::history::{Event, History};
use crate::local::hub::Snapshot;
use crate::{Entry, HistoryLimits, Revision, StorageError, StoredObject};

/// The log reads through a map of the file while loading: half the time of reading page by page.
const LOAD_MMAP_BYTES: i64 = 64 << 30;

/// A row of the log as the journal remembers it: enough to know whether it is still needed. One per row, so it is
/// small.
#[derive(Clone)]
pub(super) struct RowRef {
    pub(super) key: Arc<str>,
    /// The revision, and two flags in the lowest bits.
    bits: u64,
}

const DELETION: u64 = 1;
const STALE: u64 = 2;
const FLAG_BITS: u32 = 2;

impl RowRef {
    pub(super) fn new(key: Arc<str>, revision: Revision, deletion: bool, stale: bool) -> Self {
        let flags = if deletion { DELETION } else { 0 } | if stale { STALE } else { 0 };
        Self { key, bits: revision << FLAG_BITS | flags }
    }

    pub(super) fn revision(&self) -> Revision {
        self.bits >> FLAG_BITS
    }

    pub(super) fn is_deletion(&self) -> bool {
        self.bits & DELETION != 0
    }

    /// Whether this is a value, and a row of the same key with a higher revision stands *before* it: cleaning moved it
    /// behind the one that superseded it.
    pub(super) fn is_stale(&self) -> bool {
        self.bits & STALE != 0
    }
}

/// What the journal has to know of the log.
pub(super) struct Log {
    /// All rows, the first at position `head`, without gaps.
    pub(super) rows: VecDeque<RowRef>,
    pub(super) head: i64,
    /// All changes after this revision are in the log.
    pub(super) compacted: Revision,
    /// How many stale rows a key has, for keys that have any.
    pub(super) stale: HashMap<Arc<str>, usize>,
}

impl Log {
    fn new(rows: &[Row], head: i64, compacted: Revision) -> Self {
        let mut log = Self { rows: VecDeque::with_capacity(rows.len()), head, compacted, stale: HashMap::new() };
        let mut highest: HashMap<&str, Revision> = HashMap::with_capacity(rows.len());
        for row in rows {
            let highest = highest.entry(&row.key).or_default();
            let deletion = row.object.is_none();
            let stale = row.revision < *highest && !deletion;
            *highest = row.revision.max(*highest);
            log.push(RowRef::new(row.key.clone(), row.revision, deletion, stale));
        }
        log
    }

    pub(super) fn push(&mut self, row: RowRef) {
        if row.is_stale() {
            *self.stale.entry(row.key.clone()).or_default() += 1;
        }
        self.rows.push_back(row);
    }

    /// Forgets rows at the head.
    pub(super) fn drop_head(&mut self, rows: usize) {
        for row in self.rows.drain(..rows).filter(RowRef::is_stale) {
            if let Some(left) = self.stale.get_mut(&row.key) {
                *left -= 1;
                if *left == 0 {
                    self.stale.remove(&row.key);
                }
            }
        }
        self.head += rows as i64;
    }
}

struct Row {
    key: Arc<str>,
    revision: Revision,
    object: Option<StoredObject>,
    expires_at: UnixSeconds,
}

/// A number in `meta`.
pub(super) fn meta(connection: &Connection, key: &str) -> rusqlite::Result<i64> {
    connection.query_row("SELECT v FROM meta WHERE k = ?1", [key], |row| row.get(0))
}

pub(super) fn load(
    connection: &Connection,
    database: &Path,
    limits: HistoryLimits,
) -> Result<(Initial, Log), StorageError> {
    let sqlite = |error| opening(database, error);
    let number = |key: &str| {
        let value = connection.query_row("SELECT v FROM meta WHERE k = ?1", [key], |row| row.get::<_, i64>(0));
        value.optional().map_err(sqlite)?.ok_or_else(|| damaged(database, format!("its `{key}` is missing")))
    };
    let head = number("head")?;
    let compacted = number("compacted")? as Revision;

    connection.pragma_update_and_check(None, "mmap_size", LOAD_MMAP_BYTES, |_| Ok(())).map_err(sqlite)?;
    let rows = read_rows(connection, database, head)?;
    connection.pragma_update_and_check(None, "mmap_size", 0, |_| Ok(())).map_err(sqlite)?;

    let log = Log::new(&rows, head, compacted);
    let initial = replay(rows, compacted, limits).map_err(|what| damaged(database, what))?;
    Ok((initial, log))
}

fn read_rows(connection: &Connection, database: &Path, head: i64) -> Result<Vec<Row>, StorageError> {
    let sqlite = |error| opening(database, error);
    let mut statement = connection.prepare("SELECT pos, rev, op, key, val FROM log ORDER BY pos").map_err(sqlite)?;
    let mut cursor = statement.query([]).map_err(sqlite)?;
    let mut keys: HashSet<Arc<str>> = HashSet::new();
    let mut rows = Vec::new();
    while let Some(columns) = cursor.next().map_err(sqlite)? {
        let position: i64 = columns.get(0).map_err(sqlite)?;
        let expected = head + rows.len() as i64;
        if position != expected {
            return Err(damaged(database, format!("row {expected} of its log is missing")));
        }
        let revision = columns.get::<_, i64>(1).map_err(sqlite)? as Revision;
        let op: i64 = columns.get(2).map_err(sqlite)?;
        let bad = |what| damaged(database, format!("row {position} of its log cannot be trusted: {what}"));
        let key = columns.get_ref(3).map_err(sqlite)?.as_str().map_err(|_| bad("its key is not a text"))?;
        let val = columns.get_ref(4).map_err(sqlite)?.as_blob().map_err(|_| bad("its value is not a blob"))?;
        let row = row::decode(revision, op, key, val).map_err(bad)?;
        // A key that is written often is in memory once.
        let key = match keys.get(key) {
            Some(known) => known.clone(),
            None => {
                let key: Arc<str> = key.into();
                keys.insert(key.clone());
                key
            }
        };
        rows.push(Row { key, revision, object: row.object, expires_at: row.expires_at });
    }
    Ok(rows)
}

/// The state after all rows, and the changes after `compacted`. Rows up to there may stand anywhere in the log, because
/// cleaning moves them; later ones stand in the order in which they were written.
fn replay(rows: Vec<Row>, compacted: Revision, limits: HistoryLimits) -> Result<Initial, String> {
    let revision = rows.iter().map(|row| row.revision).max().unwrap_or(compacted).max(compacted);
    let (mut base, recent): (Vec<Row>, Vec<Row>) = rows.into_iter().partition(|row| row.revision <= compacted);
    if let Some(pair) = recent.windows(2).find(|pair| pair[0].revision >= pair[1].revision) {
        return Err(format!("revision {} follows revision {} in its log", pair[1].revision, pair[0].revision));
    }
    let mut expiry = Expiry::default();
    base.sort_by(|a, b| a.key.cmp(&b.key).then(b.revision.cmp(&a.revision)));
    base.dedup_by(|later, first| later.key == first.key);
    let base = base.into_iter().filter_map(|row| {
        let object = row.object?;
        expiry.set(&row.key, row.expires_at);
        Some((row.key.clone(), Entry { key: row.key, revision: row.revision, object }))
    });
    let mut live: OrdMap<Arc<str>, Entry> = base.collect();

    let mut history = History::new(limits, compacted);
    let now = Instant::now();
    for row in recent {
        let entry = row.object.map(|object| Entry { key: row.key.clone(), revision: row.revision, object });
        let previous = match &entry {
            Some(entry) => live.insert(row.key.clone(), entry.clone()),
            None => live.remove(&row.key),
        };
        expiry.set(&row.key, row.expires_at);
        if entry.is_none() && previous.is_none() {
            return Err(format!("revision {} deletes {}, which does not exist", row.revision, row.key));
        }
        history.push(Arc::new(Event { revision: row.revision, key: row.key, entry, previous, at: now }));
        history.trim(now);
    }
    Ok(Initial { snapshot: Snapshot { revision, live }, history, expiry })
}
