//! A SPDY connection: one task reads frames and hands them to streams, one writes what streams have to say.

use std::collections::HashMap;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::time::timeout;
use tokio_util::sync::{CancellationToken, PollSemaphore, PollSender};

use super::frame::{Decoder, Encoder, Frame, ResetStatus};
use super::{Headers, SpdyError};
use crate::queue::{MAX_CHUNK, QueueReader, QueueSender, queue};
use crate::{LINGER, STREAM_CREATION_TIMEOUT};

/// Streams open at one time per connection; more are refused.
const MAX_STREAMS: usize = 1_024;
/// New streams that wait to be accepted.
const PENDING_STREAMS: usize = 64;
/// Frames that wait to be written; with data frames of at most 16 KiB this bounds a connection to 1 MiB.
const QUEUED_FRAMES: usize = 64;
/// Bytes gathered for one write.
const WRITE_BATCH: usize = 64 * 1024;
const READ_BUFFER: usize = 32 * 1024;
/// Bytes read from a stream before the peer is told that it may send more.
const WINDOW_STEP: u32 = 32 * 1024;

/// One end of a connection. Dropping it ends the connection once its streams are gone.
pub struct Connection {
    shared: Arc<Shared>,
    incoming: mpsc::Receiver<Stream>,
}

/// One stream: reads what the peer sent, writes to the peer; shutting it down half-closes it. A stream that is dropped
/// before both halves have ended is broken off.
pub struct Stream {
    id: u32,
    headers: Headers,
    reader: QueueReader,
    frames: PollSender<Outgoing>,
    window: Option<PollSemaphore>,
    shared: Arc<Shared>,
    /// Bytes read since the last window update.
    unreported: u32,
    read_ended: bool,
    write_ended: bool,
}

struct Shared {
    frames: mpsc::Sender<Outgoing>,
    streams: Mutex<HashMap<u32, Entry>>,
    next_id: AtomicU32,
    /// The send window that the peer announced. Kubernetes' clients announce none and do not keep to any.
    initial_window: AtomicU32,
    last_accepted: AtomicU32,
    /// Cancelled when nothing more can be received.
    closed: CancellationToken,
}

/// What the connection knows of a stream.
struct Entry {
    /// Gone when the peer has ended its half.
    received: Option<QueueSender>,
    window: Option<Arc<Semaphore>>,
    replied: Option<oneshot::Sender<()>>,
}

enum Outgoing {
    Frame(Frame),
    /// End the connection after everything before this.
    Close,
}

// === impl Connection ===

impl Connection {
    /// The server's end: streams of the peer come out of [`Connection::accept`].
    pub fn server(io: impl AsyncRead + AsyncWrite + Send + 'static) -> Result<Self, SpdyError> {
        Self::new(io, 2)
    }

    /// The client's end.
    pub fn client(io: impl AsyncRead + AsyncWrite + Send + 'static) -> Result<Self, SpdyError> {
        Self::new(io, 1)
    }

    fn new(io: impl AsyncRead + AsyncWrite + Send + 'static, first_id: u32) -> Result<Self, SpdyError> {
        let (frames, outgoing) = mpsc::channel(QUEUED_FRAMES);
        let (accepted, incoming) = mpsc::channel(PENDING_STREAMS);
        let (read, write) = tokio::io::split(io);
        let shared = Arc::new(Shared {
            frames,
            streams: Mutex::default(),
            next_id: AtomicU32::new(first_id),
            initial_window: AtomicU32::new(0),
            last_accepted: AtomicU32::new(0),
            closed: CancellationToken::new(),
        });
        let encoder = Encoder::new()?;
        tokio::spawn(write_frames(write, encoder, outgoing, shared.closed.clone()));
        tokio::spawn(read_frames(read, Arc::clone(&shared), accepted));
        Ok(Self { shared, incoming })
    }

    /// The next stream that the peer opened; `None` when the connection has ended.
    pub async fn accept(&mut self) -> Option<Stream> {
        self.incoming.recv().await
    }

    /// Opens a stream and waits for the peer's reply.
    pub async fn open(&self, headers: Headers) -> io::Result<Stream> {
        let id = self.shared.next_id.fetch_add(2, Ordering::Relaxed);
        let (replied, reply) = oneshot::channel();
        let stream = self.shared.stream(id, headers.clone(), false, Some(replied));
        let frame = Frame::SynStream { id, priority: 0, fin: false, headers };
        self.shared.frames.send(Outgoing::Frame(frame)).await.map_err(|_| io::ErrorKind::BrokenPipe)?;
        match timeout(STREAM_CREATION_TIMEOUT, reply).await {
            Ok(Ok(())) => Ok(stream),
            Ok(Err(_)) => Err(io::ErrorKind::ConnectionRefused.into()),
            Err(_) => Err(io::ErrorKind::TimedOut.into()),
        }
    }

    /// Ends the connection: everything written before goes out, then the peer may take some time to close its end.
    pub async fn close(self) {
        if self.shared.frames.send(Outgoing::Close).await.is_ok() {
            // Closing with unread input would throw away what is still on its way to the peer.
            let _ = timeout(LINGER, self.shared.closed.cancelled()).await;
        }
        self.shared.closed.cancel();
    }

    /// Cancelled when the peer has closed the connection.
    pub fn closed_token(&self) -> CancellationToken {
        self.shared.closed.clone()
    }
}

// === impl Shared ===

impl Shared {
    /// Registers a stream.
    fn stream(
        self: &Arc<Self>,
        id: u32,
        headers: Headers,
        read_ended: bool,
        replied: Option<oneshot::Sender<()>>,
    ) -> Stream {
        let (sender, reader) = queue();
        let window = match self.initial_window.load(Ordering::Relaxed) {
            0 => None,
            size => Some(Arc::new(Semaphore::new(size as usize))),
        };
        let entry = Entry { received: (!read_ended).then_some(sender), window: window.clone(), replied };
        self.streams.lock().insert(id, entry);
        Stream {
            id,
            headers,
            reader,
            frames: PollSender::new(self.frames.clone()),
            window: window.map(PollSemaphore::new),
            shared: Arc::clone(self),
            unreported: 0,
            read_ended,
            write_ended: false,
        }
    }

    async fn send(&self, frame: Frame) {
        // Fails only when the connection is over, which the reader notices by itself.
        let _ = self.frames.send(Outgoing::Frame(frame)).await;
    }

    /// Ends every stream, because nothing more can arrive.
    fn end(&self) {
        self.closed.cancel();
        for entry in self.streams.lock().values_mut() {
            entry.received = None;
            entry.replied = None;
            if let Some(window) = &entry.window {
                window.close();
            }
        }
    }
}

async fn write_frames(
    mut write: impl AsyncWrite + Unpin,
    mut encoder: Encoder,
    mut outgoing: mpsc::Receiver<Outgoing>,
    closed: CancellationToken,
) {
    let mut batch = BytesMut::new();
    let mut closing = false;
    while !closing {
        let Some(mut next) = outgoing.recv().await else {
            break;
        };
        loop {
            match next {
                Outgoing::Frame(frame) if encoder.encode(&frame, &mut batch).is_err() => closing = true,
                Outgoing::Frame(_) => {}
                Outgoing::Close => closing = true,
            }
            if closing || batch.len() >= WRITE_BATCH {
                break;
            }
            match outgoing.try_recv() {
                Ok(more) => next = more,
                Err(_) => break,
            }
        }
        if write.write_all(&batch).await.is_err() || write.flush().await.is_err() {
            closed.cancel();
            return;
        }
        batch.clear();
    }
    let _ = write.shutdown().await;
}

async fn read_frames(mut read: impl AsyncRead + Unpin, shared: Arc<Shared>, accepted: mpsc::Sender<Stream>) {
    let (mut decoder, mut buffer) = (Decoder::default(), BytesMut::with_capacity(READ_BUFFER));
    let closed = shared.closed.clone();
    'connection: loop {
        loop {
            match decoder.decode(&mut buffer) {
                Ok(Some(Frame::GoAway { .. })) => break 'connection,
                Ok(Some(frame)) => handle(&shared, &accepted, frame).await,
                Ok(None) => break,
                Err(error) => {
                    tracing::debug!(%error, "a SPDY peer broke the protocol");
                    break 'connection;
                }
            }
        }
        buffer.reserve(READ_BUFFER);
        tokio::select! {
            outcome = read.read_buf(&mut buffer) => match outcome {
                Ok(0) | Err(_) => break,
                Ok(_) => {}
            },
            () = closed.cancelled() => break,
        }
    }
    shared.end();
}

/// Acts on one frame. Waits while a stream's queue is full, which holds up the peer.
async fn handle(shared: &Arc<Shared>, accepted: &mpsc::Sender<Stream>, frame: Frame) {
    match frame {
        Frame::SynStream { id, fin, headers, .. } => new_stream(shared, accepted, id, fin, headers).await,
        Frame::SynReply { id, fin, .. } => {
            if let Some(entry) = shared.streams.lock().get_mut(&id) {
                if let Some(replied) = entry.replied.take() {
                    // The opener may have given up meanwhile.
                    let _ = replied.send(());
                }
                if fin {
                    entry.received = None;
                }
            }
        }
        Frame::Data { id, fin, bytes } => {
            let queue = shared.streams.lock().get(&id).and_then(|entry| entry.received.clone());
            // Data for a stream that is gone, or whose reader is, has nowhere to go.
            if let Some(queue) = queue {
                queue.send(bytes).await;
            }
            if fin && let Some(entry) = shared.streams.lock().get_mut(&id) {
                entry.received = None;
            }
        }
        Frame::Headers { id, fin: true, .. } => {
            if let Some(entry) = shared.streams.lock().get_mut(&id) {
                entry.received = None;
            }
        }
        Frame::RstStream { id, .. } => {
            if let Some(entry) = shared.streams.lock().get_mut(&id) {
                entry.replied = None;
                if let Some(queue) = entry.received.take() {
                    queue.reset();
                }
                if let Some(window) = &entry.window {
                    window.close();
                }
            }
        }
        // Our own pings would have our own parity; we send none, so all of them want an answer.
        Frame::Ping { .. } => shared.send(frame).await,
        Frame::Settings { initial_window: Some(window) } => shared.initial_window.store(window, Ordering::Relaxed),
        Frame::WindowUpdate { id, delta } => {
            if let Some(window) = shared.streams.lock().get(&id).and_then(|entry| entry.window.clone()) {
                let room = Semaphore::MAX_PERMITS - window.available_permits();
                window.add_permits((delta as usize).min(room));
            }
        }
        Frame::Headers { .. } | Frame::Settings { .. } | Frame::GoAway { .. } => {}
    }
}

async fn new_stream(shared: &Arc<Shared>, accepted: &mpsc::Sender<Stream>, id: u32, fin: bool, headers: Headers) {
    let refuse = |status| shared.send(Frame::RstStream { id, status });
    // Stream ids only grow, and the two ends use different parities.
    let own = shared.next_id.load(Ordering::Relaxed) % 2 == id % 2;
    if own || id <= shared.last_accepted.load(Ordering::Relaxed) {
        return refuse(ResetStatus::PROTOCOL_ERROR).await;
    }
    shared.last_accepted.store(id, Ordering::Relaxed);
    if shared.streams.lock().len() >= MAX_STREAMS {
        return refuse(ResetStatus::REFUSED).await;
    }
    let stream = shared.stream(id, headers, fin, None);
    shared.send(Frame::SynReply { id, fin: false, headers: Headers::default() }).await;
    // Nobody accepts any more: dropping the stream breaks it off.
    let _ = accepted.send(stream).await;
}

// === impl Stream ===

impl Stream {
    /// The id on the wire.
    pub fn id(&self) -> u32 {
        self.id
    }

    /// What the opener said about the stream.
    pub fn headers(&self) -> &Headers {
        &self.headers
    }

    fn report_read(&mut self, count: usize) {
        self.unreported += u32::try_from(count).unwrap_or(u32::MAX);
        if self.unreported >= WINDOW_STEP {
            let frame = Frame::WindowUpdate { id: self.id, delta: self.unreported };
            // With a full queue the next read reports it.
            if self.shared.frames.try_send(Outgoing::Frame(frame)).is_ok() {
                self.unreported = 0;
            }
        }
    }

    /// How much of `wanted` bytes the peer has room for.
    fn poll_window(&mut self, context: &mut Context<'_>, wanted: usize) -> Poll<io::Result<usize>> {
        let Some(window) = &mut self.window else {
            return Poll::Ready(Ok(wanted));
        };
        let Some(permit) = ready!(window.poll_acquire(context)) else {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        };
        permit.forget();
        let more = (wanted - 1).min(window.available_permits());
        let taken = match window.as_ref().try_acquire_many(u32::try_from(more).unwrap_or(0)) {
            Ok(permits) => {
                permits.forget();
                more
            }
            Err(_) => 0,
        };
        Poll::Ready(Ok(1 + taken))
    }

    fn poll_send(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.frames.poll_reserve(context).map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.reader).poll_read(context, buffer))?;
        match buffer.filled().len() - before {
            0 => self.read_ended = true,
            count => self.report_read(count),
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Stream {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.write_ended || self.shared.closed.is_cancelled() {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        if bytes.is_empty() {
            return Poll::Ready(Ok(0));
        }
        // The place in the queue first: it is given back if the window has no room.
        ready!(self.poll_send(context))?;
        let count = match self.poll_window(context, bytes.len().min(MAX_CHUNK)) {
            Poll::Ready(count) => count?,
            Poll::Pending => {
                self.frames.abort_send();
                return Poll::Pending;
            }
        };
        let frame = Frame::Data { id: self.id, fin: false, bytes: Bytes::copy_from_slice(&bytes[..count]) };
        let sent = self.frames.send_item(Outgoing::Frame(frame)).map_err(|_| io::ErrorKind::BrokenPipe.into());
        Poll::Ready(sent.map(|()| count))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        // The writer task flushes whenever it has nothing more to write.
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.write_ended {
            return Poll::Ready(Ok(()));
        }
        ready!(self.poll_send(context))?;
        self.write_ended = true;
        let frame = Frame::Data { id: self.id, fin: true, bytes: Bytes::new() };
        Poll::Ready(self.frames.send_item(Outgoing::Frame(frame)).map_err(|_| io::ErrorKind::BrokenPipe.into()))
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        let entry = self.shared.streams.lock().remove(&self.id);
        let peer_ended = self.read_ended || entry.is_none_or(|entry| entry.received.is_none());
        let ended = peer_ended && self.write_ended;
        if !ended && !self.shared.closed.is_cancelled() {
            let frame = Frame::RstStream { id: self.id, status: ResetStatus::CANCEL };
            // With a full queue the peer finds out by its next frame, which nobody takes.
            let _ = self.shared.frames.try_send(Outgoing::Frame(frame));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair() -> (Connection, Connection) {
        let (ours, theirs) = tokio::io::duplex(1_024);
        (Connection::client(ours).expect("client"), Connection::server(theirs).expect("server"))
    }

    fn headers(kind: &str) -> Headers {
        [("streamType", kind)].into_iter().collect()
    }

    #[tokio::test]
    async fn streams_carry_both_directions_and_half_close() {
        let (client, mut server) = pair();
        let mut stdin = client.open(headers("stdin")).await.expect("open");
        let mut accepted = server.accept().await.expect("accept");
        assert_eq!((accepted.id(), accepted.headers().get("streamtype")), (1, Some("stdin")));
        let sent: Vec<u8> = (0..200_000_u32).map(|n| n as u8).collect();
        let (expected, echo) = (
            sent.clone(),
            tokio::spawn(async move {
                let mut all = Vec::new();
                accepted.read_to_end(&mut all).await.expect("read");
                accepted.write_all(&all).await.expect("write");
                accepted.shutdown().await.expect("shutdown");
                // Not dropped before the client has closed its half as well: it has, or the read would not have ended.
            }),
        );
        let writing = async {
            stdin.write_all(&sent).await.expect("write");
            stdin.shutdown().await.expect("shutdown");
            let mut back = Vec::new();
            stdin.read_to_end(&mut back).await.expect("read");
            back
        };
        assert_eq!(timeout(LINGER, writing).await.expect("in time"), expected);
        echo.await.expect("echo");
        assert!(stdin.write_all(b"late").await.is_err());
    }

    #[tokio::test]
    async fn a_dropped_stream_resets_the_other_end() {
        let (client, mut server) = pair();
        let mut stream = client.open(headers("data")).await.expect("open");
        drop(server.accept().await.expect("accept"));
        let error = stream.read_to_end(&mut Vec::new()).await.expect_err("reset");
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
        // The connection goes on.
        client.open(headers("data")).await.expect("open again");
        assert_eq!(server.accept().await.expect("accept").id(), 3);
    }

    #[tokio::test]
    async fn closing_delivers_what_was_written() {
        let (client, mut server) = pair();
        let mut stream = client.open(headers("error")).await.expect("open");
        let mut accepted = server.accept().await.expect("accept");
        accepted.write_all(b"status").await.expect("write");
        accepted.shutdown().await.expect("shutdown");
        let closing = tokio::spawn(server.close());
        let mut text = String::new();
        stream.read_to_string(&mut text).await.expect("read");
        assert_eq!(text, "status");
        drop((stream, accepted));
        client.close().await;
        closing.await.expect("close");
    }

    #[tokio::test]
    async fn a_peer_that_vanishes_ends_everything() {
        let (ours, theirs) = tokio::io::duplex(1_024);
        let client = Connection::client(ours).expect("client");
        let mut server = Connection::server(theirs).expect("server");
        let mut stream = client.open(headers("stdin")).await.expect("open");
        let accepted = server.accept().await.expect("accept");
        server.shared.closed.cancel();
        drop((server, accepted));
        let mut rest = Vec::new();
        let _ = timeout(LINGER, stream.read_to_end(&mut rest)).await.expect("ends");
        assert!(rest.is_empty());
    }

    #[tokio::test]
    async fn an_announced_window_is_kept() {
        let (mut peer, ours) = tokio::io::duplex(1 << 20);
        let mut server = Connection::server(ours).expect("server");
        let (mut encoder, mut wire) = (Encoder::new().expect("encoder"), BytesMut::new());
        let syn = Frame::SynStream { id: 1, priority: 0, fin: false, headers: headers("stdout") };
        for frame in [Frame::Settings { initial_window: Some(10) }, syn] {
            encoder.encode(&frame, &mut wire).expect("encode");
        }
        peer.write_all(&wire).await.expect("write");
        let mut stream = server.accept().await.expect("accept");
        let writing = tokio::spawn(async move { stream.write_all(&[1; 25]).await.map(|()| stream) });
        let (mut decoder, mut buffer, mut received) = (Decoder::default(), BytesMut::new(), 0);
        while received < 25 {
            peer.read_buf(&mut buffer).await.expect("read");
            while let Some(frame) = decoder.decode(&mut buffer).expect("decode") {
                if let Frame::Data { bytes, .. } = frame {
                    received += bytes.len();
                    if received == 10 || received == 20 {
                        assert!(!writing.is_finished());
                        let mut wire = BytesMut::new();
                        encoder.encode(&Frame::WindowUpdate { id: 1, delta: 10 }, &mut wire).expect("encode");
                        peer.write_all(&wire).await.expect("write");
                    }
                    assert!(received == 10 || received == 20 || received == 25, "{received}");
                }
            }
        }
        drop(writing.await.expect("task").expect("written"));
    }
}
