//! Appending batches to the log, and cleaning its head while doing so.

use std::collections::HashSet;
use std::sync::Arc;

use rusqlite::{Connection, Statement, params};

use super::checkpoint::Checkpoints;
use super::error::{Kind, explain, kind, unavailable};
use super::load::{Log, RowRef};
use super::lock::Lock;
use super::row;
use crate::local::journal::{Commit, Journal, Record};
use crate::{Revision, StorageError};

/// Old rows looked at per new one, so that cleaning gains on writing but never holds it up.
const CLEANED_PER_ROW: usize = 4;

/// After so many commits it is looked at whether the file has pages to give back.
const SHRINK_CHECK_COMMITS: u64 = 64;

/// Free pages that the file may keep for the next writes (64 MiB), or as many as are in use.
const KEPT_FREE_PAGES: i64 = 8192;

/// Pages given back at a time (2 MiB).
const SHRINK_PAGES: i64 = 256;

const INSERT: &str = "INSERT INTO log(pos, rev, op, key, val) VALUES (?1, ?2, ?3, ?4, ?5)";

/// See the module.
pub(super) struct SqliteJournal {
    connection: Option<Connection>,
    log: Log,
    /// Cleaning begins when the log has more rows than twice the live entries and this.
    slack_rows: usize,
    checkpoints: Option<Checkpoints>,
    /// Why no more writes are taken, if so.
    stopped: Option<StorageError>,
    value: Vec<u8>,
    commits: u64,
    _lock: Lock,
}

/// What a committed batch changes in the journal's picture of the log.
#[derive(Default)]
struct Step {
    appended: Vec<RowRef>,
    /// Keys of appended stale rows.
    stale: HashSet<Arc<str>>,
    cleaned: usize,
    compacted: Option<Revision>,
    bytes: usize,
}

impl SqliteJournal {
    pub(super) fn new(
        connection: Connection,
        log: Log,
        slack_rows: usize,
        checkpoints: Checkpoints,
        lock: Lock,
    ) -> Self {
        Self {
            connection: Some(connection),
            log,
            slack_rows,
            checkpoints: Some(checkpoints),
            stopped: None,
            value: Vec::new(),
            commits: 0,
            _lock: lock,
        }
    }

    fn write(&mut self, connection: &Connection, commit: &Commit<'_>) -> rusqlite::Result<Step> {
        let mut step = Step::default();
        connection.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
        let mut insert = connection.prepare_cached(INSERT)?;
        for record in commit.records {
            self.append(&mut insert, &mut step, record, false)?;
        }
        let floor = commit.hub.with_history(|history| history.floor());
        if self.log.rows.len() + step.appended.len() > 2 * commit.live.len() + self.slack_rows {
            self.clean(&mut insert, &mut step, commit, floor)?;
        }
        if step.cleaned > 0 {
            let head = self.log.head + step.cleaned as i64;
            connection.prepare_cached("DELETE FROM log WHERE pos < ?1")?.execute([head])?;
            set_meta(connection, "head", head)?;
        }
        if step.cleaned > 0 && floor > self.log.compacted {
            set_meta(connection, "compacted", floor as i64)?;
            step.compacted = Some(floor);
        }
        if commit.records.is_empty() {
            connection.prepare_cached("UPDATE meta SET v = v + 1 WHERE k = 'probe'")?.execute([])?;
        }
        if self.commits.is_multiple_of(SHRINK_CHECK_COMMITS) {
            shrink(connection)?;
        }
        connection.prepare_cached("COMMIT")?.execute([])?;
        Ok(step)
    }

    fn append(
        &mut self,
        insert: &mut Statement<'_>,
        step: &mut Step,
        record: &Record<'_>,
        stale: bool,
    ) -> rusqlite::Result<()> {
        let position = self.log.head + (self.log.rows.len() + step.appended.len()) as i64;
        row::encode(&mut self.value, record.revision, record.key, record.object, record.expires_at);
        let op = if record.object.is_some() { row::PUT } else { row::DELETE };
        insert.execute(params![position, record.revision as i64, op, &**record.key, &self.value[..]])?;
        step.bytes += self.value.len() + record.key.len();
        step.appended.push(RowRef::new(record.key.clone(), record.revision, record.object.is_none(), stale));
        Ok(())
    }

    /// Takes rows from the head of the log. Those that are still needed are appended again: live ones, and those that a
    /// change in the window of past changes superseded.
    ///
    /// The latter end up behind the rows that superseded them. A deletion among those must not go before they do, or
    /// the key would come back to life with the next restart: it moves along.
    fn clean(
        &mut self,
        insert: &mut Statement<'_>,
        step: &mut Step,
        commit: &Commit<'_>,
        floor: Revision,
    ) -> rusqlite::Result<()> {
        let most = (CLEANED_PER_ROW * commit.records.len()).min(self.log.rows.len());
        while step.cleaned < most {
            let row = self.log.rows[step.cleaned].clone();
            let (key, revision) = (&row.key, row.revision());
            if revision > floor {
                break;
            }
            if let Some((object, expires_at)) = commit.needed(key, revision) {
                let live = commit.live.get(key).is_some_and(|entry| entry.revision == revision);
                let record = Record { revision, key, object: Some(&object), expires_at };
                self.append(insert, step, &record, !live)?;
                if !live {
                    step.stale.insert(key.clone());
                }
            } else if row.is_deletion() && (self.log.stale.contains_key(key) || step.stale.contains(key)) {
                let record = Record { revision, key, object: None, expires_at: 0 };
                self.append(insert, step, &record, false)?;
            }
            step.cleaned += 1;
        }
        Ok(())
    }
}

/// Gives free pages back to the file system when there are many.
fn shrink(connection: &Connection) -> rusqlite::Result<()> {
    let number = |pragma: &str| connection.prepare_cached(pragma)?.query_row([], |row| row.get::<_, i64>(0));
    let free = number("PRAGMA freelist_count")?;
    if free <= KEPT_FREE_PAGES || free <= number("PRAGMA page_count")? - free {
        return Ok(());
    }
    let mut statement = connection.prepare(&format!("PRAGMA incremental_vacuum({SHRINK_PAGES})"))?;
    let mut rows = statement.query([])?;
    while rows.next()?.is_some() {}
    Ok(())
}

fn set_meta(connection: &Connection, key: &str, value: i64) -> rusqlite::Result<()> {
    connection.prepare_cached("UPDATE meta SET v = ?2 WHERE k = ?1")?.execute(params![key, value])?;
    Ok(())
}

impl Journal for SqliteJournal {
    fn commit(&mut self, commit: &Commit<'_>) -> Result<(), StorageError> {
        if let Some(stopped) = &self.stopped {
            return Err(stopped.clone());
        }
        let Some(connection) = self.connection.take() else {
            return Err(unavailable("the store is closed".into()));
        };
        let done = self.write(&connection, commit);
        if done.is_err() && !connection.is_autocommit() {
            // Some errors roll back by themselves.
            let _ = connection.execute_batch("ROLLBACK");
        }
        self.connection = Some(connection);
        match done {
            Ok(step) => {
                self.commits += 1;
                self.log.drop_head(step.cleaned);
                step.appended.into_iter().for_each(|row| self.log.push(row));
                self.log.compacted = step.compacted.unwrap_or(self.log.compacted);
                if let Some(checkpoints) = &self.checkpoints {
                    checkpoints.wrote(step.bytes);
                }
                Ok(())
            }
            Err(error) => {
                let answer = match kind(&error) {
                    Kind::Damage => StorageError::Corrupt(format!(
                        "the store found its files damaged while writing: {error}. Writes are refused; stop the \
                         server, check the disk and restore a backup"
                    )),
                    Kind::Passing | Kind::Lasting => unavailable(explain(&error)),
                };
                if kind(&error) != Kind::Passing {
                    self.stopped = Some(answer.clone());
                }
                Err(answer)
            }
        }
    }

    fn close(&mut self) {
        self.checkpoints = None;
        // A tidy end: the next start has no write-ahead log to replay. Nothing depends on it.
        if let Some(connection) = self.connection.take().filter(|_| self.stopped.is_none()) {
            let _ = connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()));
            let _ = connection.close();
        }
    }
}
