//! Copies the write-ahead log into the database beside the writer, so that the writer's own checkpoints find nothing to
//! do and the log can start over. Sleeps while nothing is written.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use rusqlite::Connection;

use super::error::unavailable;
use crate::StorageError;

/// The pause between checkpoints under load.
const PERIOD: Duration = Duration::from_millis(200);

/// A checkpoint is worth while after this many bytes.
const WORTH_BYTES: usize = 4 << 20;

#[derive(Default)]
struct Written {
    bytes: usize,
    closing: bool,
}

#[derive(Default)]
struct Signal {
    written: Mutex<Written>,
    changed: Condvar,
}

/// The thread; ends when dropped.
pub(super) struct Checkpoints {
    signal: Arc<Signal>,
    thread: Option<JoinHandle<()>>,
}

impl Checkpoints {
    pub(super) fn start(connection: Connection) -> Result<Self, StorageError> {
        let signal = Arc::new(Signal::default());
        let thread = std::thread::Builder::new()
            .name("store-checkpoint".into())
            .spawn({
                let signal = signal.clone();
                move || run(&connection, &signal)
            })
            .map_err(|error| unavailable(format!("cannot start the store's checkpoint thread: {error}")))?;
        Ok(Self { signal, thread: Some(thread) })
    }

    /// The writer committed this many bytes more.
    pub(super) fn wrote(&self, bytes: usize) {
        let mut written = self.signal.written.lock();
        let before = written.bytes;
        written.bytes += bytes;
        if before < WORTH_BYTES && written.bytes >= WORTH_BYTES {
            self.signal.changed.notify_one();
        }
    }
}

impl Drop for Checkpoints {
    fn drop(&mut self) {
        self.signal.written.lock().closing = true;
        self.signal.changed.notify_one();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn run(connection: &Connection, signal: &Signal) {
    loop {
        {
            let mut written = signal.written.lock();
            signal.changed.wait_while(&mut written, |written| written.bytes < WORTH_BYTES && !written.closing);
            if written.closing {
                return;
            }
            written.bytes = 0;
        }
        // PASSIVE waits for nobody and nobody waits for it.
        let done = connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()));
        if let Err(error) = done {
            tracing::warn!(%error, "cannot copy the store's write-ahead log into the database; it will be tried again");
        }
        let mut written = signal.written.lock();
        signal.changed.wait_while_for(&mut written, |written| !written.closing, PERIOD);
    }
}
