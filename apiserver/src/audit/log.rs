//! Events on their way into the file: a queue, and a thread that writes, so that no slow disk holds up who serves others.
//!
//! What is in the queue is written, whatever ends the server short of a kill: the queue's end waits for it. What a full
//! queue means is said by [`Mode`].

use std::collections::VecDeque;
use std::sync::Arc;
use std::thread::JoinHandle;

use anyhow::Context;
use clap::ValueEnum;
use parking_lot::{Condvar, Mutex};
use serde::{Deserialize, Serialize};
use tokio::sync::{Notify, oneshot};

pub use super::file::LogConfig;
use super::file::LogFile;

/// Events that wait until the queue is full (upstream's `--audit-log-batch-buffer-size`).
const MAX_WAITING: usize = 10_000;
/// Their bytes.
const MAX_BYTES: usize = 64 << 20;

/// Whether requests wait for the log (`--audit-log-mode`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// They do not. Events that find the queue full are lost, and their number is logged.
    Batch,
    /// They go on once their event is in the file, or could not be written. While the queue is full none begins.
    #[default]
    Blocking,
    /// The same, and one whose first event could not be written is refused.
    BlockingStrict,
}

/// An open log. Dropping it writes what waits.
#[derive(Debug)]
pub struct Log {
    mode: Mode,
    shared: Arc<Shared>,
    writer: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    queue: Mutex<Queue>,
    /// Something is in the queue, or it is closed.
    filled: Condvar,
    /// Something has left the queue.
    left: Notify,
}

#[derive(Debug, Default)]
struct Queue {
    waiting: VecDeque<Waiting>,
    bytes: usize,
    /// Events that found the queue full since that was last logged.
    lost: u64,
    closed: bool,
}

#[derive(Debug)]
struct Waiting {
    line: Vec<u8>,
    /// Told whether the line is in the file.
    written: Option<oneshot::Sender<bool>>,
}

impl Queue {
    fn is_full(&self) -> bool {
        self.waiting.len() >= MAX_WAITING || self.bytes >= MAX_BYTES
    }
}

impl Log {
    /// Opens the file, behind what is in it, and starts to write.
    pub fn open(config: LogConfig, mode: Mode) -> anyhow::Result<Self> {
        let file = LogFile::open(config)?;
        let shared = Arc::new(Shared::default());
        let theirs = shared.clone();
        let writer = std::thread::Builder::new().name("audit-log".to_owned()).spawn(move || theirs.write_all(file));
        Ok(Self { mode, shared, writer: Some(writer.context("cannot start the writer of the audit log")?) })
    }

    /// Writes a line as the mode says; returns whether the request that it is about may go on.
    pub async fn write(&self, line: Vec<u8>) -> bool {
        if self.mode == Mode::Batch {
            self.push(line);
            return true;
        }
        let written = self.add(line).await.unwrap_or(false);
        written || self.mode == Mode::Blocking
    }

    /// Writes a line for somebody who cannot wait. Only in the mode `batch` is it lost if the queue is full: otherwise
    /// [`Log::room`] keeps them few.
    pub fn push(&self, line: Vec<u8>) {
        let mut queue = self.shared.queue.lock();
        if self.mode == Mode::Batch && queue.is_full() {
            queue.lost += 1;
            return;
        }
        self.shared.fill(&mut queue, Waiting { line, written: None });
    }

    /// Waits until the queue is not full, where requests wait for the log.
    pub async fn room(&self) {
        if self.mode == Mode::Batch {
            return;
        }
        loop {
            // Before the look, so that nothing that leaves the queue is missed.
            let left = self.shared.left.notified();
            if !self.shared.queue.lock().is_full() {
                return;
            }
            left.await;
        }
    }

    /// Waits until everything that was written so far is in the file.
    pub async fn flush(&self) {
        let _ = self.add(Vec::new()).await;
    }

    fn add(&self, line: Vec<u8>) -> oneshot::Receiver<bool> {
        let (sender, receiver) = oneshot::channel();
        self.shared.fill(&mut self.shared.queue.lock(), Waiting { line, written: Some(sender) });
        receiver
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        self.shared.queue.lock().closed = true;
        self.shared.filled.notify_one();
        if let Some(Err(_)) = self.writer.take().map(JoinHandle::join) {
            tracing::error!("the writer of the audit log has panicked");
        }
    }
}

impl Shared {
    fn fill(&self, queue: &mut Queue, waiting: Waiting) {
        queue.bytes += waiting.line.len();
        queue.waiting.push_back(waiting);
        self.filled.notify_one();
    }

    /// Writes what comes until the queue is closed and empty.
    fn write_all(&self, mut file: LogFile) {
        while let Some(Waiting { line, written }) = self.next() {
            let done = line.is_empty() || file.write(&line);
            // Whoever waited may have gone.
            let _ = written.map(|written| written.send(done));
        }
    }

    fn next(&self) -> Option<Waiting> {
        let mut queue = self.queue.lock();
        while queue.waiting.is_empty() && !queue.closed {
            self.filled.wait(&mut queue);
        }
        let lost = std::mem::take(&mut queue.lost);
        if lost > 0 {
            tracing::error!(lost, "audit events were lost: they come faster than they can be written");
        }
        let next = queue.waiting.pop_front()?;
        queue.bytes -= next.line.len();
        drop(queue);
        self.left.notify_waiters();
        Some(next)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::os::fd::AsRawFd;
    use std::path::Path;
    use std::time::Duration;

    use super::*;

    const MORE_THAN_A_PIPE: usize = 2 << 20;

    fn open(path: &Path, mode: Mode) -> Log {
        let config = LogConfig { path: path.to_owned(), max_bytes: 0, max_backups: 0, max_age: Duration::ZERO };
        Log::open(config, mode).expect("a log")
    }

    /// A log whose writer is stuck with one line, because nobody reads the pipe; the end to read it at.
    fn stuck(mode: Mode) -> (Log, std::io::PipeReader) {
        let (end, into) = std::io::pipe().expect("a pipe");
        let log = open(Path::new(&format!("/proc/self/fd/{}", into.as_raw_fd())), mode);
        log.push(vec![b'x'; MORE_THAN_A_PIPE]);
        while !log.shared.queue.lock().waiting.is_empty() {
            std::thread::yield_now();
        }
        (log, end)
    }

    fn read(mut end: std::io::PipeReader, bytes: usize) -> JoinHandle<()> {
        std::thread::spawn(move || end.read_exact(&mut vec![0; bytes]).expect("what was written"))
    }

    #[tokio::test]
    async fn what_waits_is_written_at_the_end() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("audit.log");
        let log = open(&path, Mode::Batch);
        (0..500).for_each(|n| log.push(format!("{n}\n").into_bytes()));
        drop(log);
        let expected = (0..500).map(|n| format!("{n}\n")).collect::<String>();
        assert_eq!(std::fs::read_to_string(&path).expect("a file"), expected);
    }

    #[tokio::test]
    async fn requests_wait_until_their_line_is_in_the_file() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("audit.log");
        let log = open(&path, Mode::Blocking);
        log.push(b"1\n".to_vec());
        assert!(log.write(b"2\n".to_vec()).await);
        assert_eq!(std::fs::read_to_string(&path).expect("a file"), "1\n2\n");
    }

    #[tokio::test]
    async fn only_the_strict_mode_refuses_when_the_disk_is_full() {
        assert!(!open(Path::new("/dev/full"), Mode::BlockingStrict).write(b"1\n".to_vec()).await);
        assert!(open(Path::new("/dev/full"), Mode::Blocking).write(b"1\n".to_vec()).await);
    }

    #[tokio::test]
    async fn a_full_queue_loses_events_only_in_batches() {
        let (log, end) = stuck(Mode::Batch);
        (0..MAX_WAITING + 10).for_each(|_| log.push(b"1".to_vec()));
        let full = || {
            let queue = log.shared.queue.lock();
            (queue.waiting.len(), queue.lost)
        };
        assert_eq!(full(), (MAX_WAITING, 10));
        let reader = read(end, MORE_THAN_A_PIPE + MAX_WAITING);
        drop(log);
        reader.join().expect("read");
    }

    #[tokio::test]
    async fn nothing_begins_while_the_queue_is_full() {
        let (log, end) = stuck(Mode::Blocking);
        (0..MAX_WAITING + 10).for_each(|_| log.push(b"1".to_vec()));
        assert!(futures::poll!(std::pin::pin!(log.room())).is_pending());
        let reader = read(end, MORE_THAN_A_PIPE + MAX_WAITING + 10);
        tokio::time::timeout(Duration::from_secs(60), log.room()).await.expect("room");
        drop(log);
        reader.join().expect("read");
    }
}
