//! Reading bytes that another task delivers through a bounded queue.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, ReadBuf};
use tokio::sync::mpsc;

/// Chunks that may wait for a reader; with chunks of at most 16 KiB this bounds a stream to 512 KiB.
pub(crate) const QUEUED_CHUNKS: usize = 32;
/// Longest chunk put into a queue, in bytes.
pub(crate) const MAX_CHUNK: usize = 16 * 1024;

/// The reading end.
pub(crate) struct QueueReader {
    chunks: mpsc::Receiver<Bytes>,
    current: Bytes,
    /// Set when the stream was broken off instead of ended.
    reset: Arc<AtomicBool>,
}

/// The delivering end. Dropping it is the end of the stream.
#[derive(Clone, Debug)]
pub(crate) struct QueueSender {
    chunks: mpsc::Sender<Bytes>,
    reset: Arc<AtomicBool>,
}

pub(crate) fn queue() -> (QueueSender, QueueReader) {
    let (sender, receiver) = mpsc::channel(QUEUED_CHUNKS);
    let reset = Arc::new(AtomicBool::new(false));
    let reader = QueueReader { chunks: receiver, current: Bytes::new(), reset: Arc::clone(&reset) };
    (QueueSender { chunks: sender, reset }, reader)
}

// === impl QueueSender ===

impl QueueSender {
    /// Delivers bytes, waiting for room. False if nobody reads any more.
    pub(crate) async fn send(&self, mut bytes: Bytes) -> bool {
        while !bytes.is_empty() {
            let chunk = bytes.split_to(bytes.len().min(MAX_CHUNK));
            if self.chunks.send(chunk).await.is_err() {
                return false;
            }
        }
        true
    }

    /// Lets the reader fail when it has read what is queued.
    pub(crate) fn reset(self) {
        self.reset.store(true, Ordering::Release);
    }
}

// === impl QueueReader ===

impl AsyncRead for QueueReader {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.current.is_empty() {
            match ready!(self.chunks.poll_recv(context)) {
                Some(chunk) => self.current = chunk,
                None if self.reset.load(Ordering::Acquire) => {
                    return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
                }
                None => return Poll::Ready(Ok(())),
            }
        }
        let count = self.current.len().min(buffer.remaining());
        buffer.put_slice(&self.current[..count]);
        self.current.advance(count);
        Poll::Ready(Ok(()))
    }
}
