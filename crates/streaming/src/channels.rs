//! Numbered channels in one WebSocket: the first byte of each message is the channel
//! (upstream: `staging/src/k8s.io/streaming/pkg/httpstream/wsstream`).

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures::stream::{SplitSink, SplitStream};
use futures::{SinkExt, StreamExt};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_util::sync::{CancellationToken, PollSender};

use crate::LINGER;
use crate::queue::{MAX_CHUNK, QueueReader, QueueSender, queue};
use crate::websocket::normal_close;

/// Messages that wait to be sent; with at most 16 KiB each this bounds a connection to 512 KiB.
const QUEUED_MESSAGES: usize = 32;
/// The message `[255, channel]` of v5: the peer closes its half of a channel.
const CLOSE_SIGNAL: u8 = 255;

/// How bytes are put into messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Codec {
    /// Binary messages: one byte of channel, then the bytes.
    Binary,
    /// Text messages: the channel as a digit, then the bytes in base64.
    Base64,
}

/// What a channel is used for, seen from the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Use {
    Ignored,
    Read,
    Write,
    Both,
}

/// The channels of a connection, by number.
pub(crate) struct Channels {
    pub(crate) readers: Vec<Option<QueueReader>>,
    pub(crate) writers: Vec<Option<ChannelWriter>>,
    pub(crate) closer: Closer,
}

/// Ends the connection.
pub(crate) struct Closer {
    outgoing: mpsc::Sender<Outgoing>,
    /// Cancelled when the peer is gone.
    pub(crate) closed: CancellationToken,
}

/// Writes to one channel.
pub(crate) struct ChannelWriter {
    channel: u8,
    messages: PollSender<Outgoing>,
}

enum Outgoing {
    Data(u8, Bytes),
    Close,
}

/// Starts serving `socket` with channels for these uses.
pub(crate) fn serve<S>(socket: WebSocketStream<S>, codec: Codec, uses: &[Use]) -> Channels
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let (outgoing, queued) = mpsc::channel(QUEUED_MESSAGES);
    let closed = CancellationToken::new();
    let (mut readers, mut senders, mut writers) = (Vec::new(), Vec::new(), Vec::new());
    for (number, used) in (0_u8..).zip(uses) {
        let (sender, reader) = queue();
        let reads = matches!(used, Use::Read | Use::Both);
        readers.push(reads.then_some(reader));
        senders.push(reads.then_some(sender));
        let writes = matches!(used, Use::Write | Use::Both);
        let messages = PollSender::new(outgoing.clone());
        writers.push(writes.then_some(ChannelWriter { channel: number, messages }));
    }
    let (sink, messages) = socket.split();
    tokio::spawn(write_messages(sink, codec, queued));
    tokio::spawn(read_messages(messages, codec, senders, closed.clone()));
    Channels { readers, writers, closer: Closer { outgoing, closed } }
}

async fn write_messages<S>(
    mut sink: SplitSink<WebSocketStream<S>, Message>,
    codec: Codec,
    mut queued: mpsc::Receiver<Outgoing>,
) where
    S: AsyncRead + AsyncWrite + Unpin,
{
    while let Some(Outgoing::Data(channel, bytes)) = queued.recv().await {
        if sink.send(encode(codec, channel, &bytes)).await.is_err() {
            return;
        }
    }
    let _ = timeout(LINGER, sink.send(normal_close())).await;
}

async fn read_messages<S>(
    mut messages: SplitStream<WebSocketStream<S>>,
    codec: Codec,
    mut channels: Vec<Option<QueueSender>>,
    closed: CancellationToken,
) where
    S: AsyncRead + AsyncWrite + Unpin,
{
    while let Some(Ok(message)) = messages.next().await {
        let Some((channel, bytes)) = decode(codec, message) else {
            continue;
        };
        if channel == CLOSE_SIGNAL {
            let half = bytes.first().and_then(|number| channels.get_mut(usize::from(*number)));
            if let Some(half) = half {
                *half = None;
            }
        } else if let Some(Some(queue)) = channels.get(usize::from(channel))
            && !queue.send(bytes).await
        {
            // Nobody reads this channel any more; the others go on.
            channels[usize::from(channel)] = None;
        }
    }
    closed.cancel();
}

fn encode(codec: Codec, channel: u8, bytes: &[u8]) -> Message {
    match codec {
        Codec::Binary => {
            let mut message = Vec::with_capacity(bytes.len() + 1);
            message.push(channel);
            message.extend_from_slice(bytes);
            Message::Binary(message.into())
        }
        Codec::Base64 => Message::Text(format!("{}{}", char::from(b'0' + channel), STANDARD.encode(bytes)).into()),
    }
}

/// Channel and bytes of a message; `None` for one that carries none.
fn decode(codec: Codec, message: Message) -> Option<(u8, Bytes)> {
    let mut bytes = match message {
        Message::Binary(bytes) => bytes,
        Message::Text(text) => Bytes::from(text),
        _ => return None,
    };
    if bytes.is_empty() {
        return None;
    }
    let first = bytes.split_to(1)[0];
    match codec {
        Codec::Binary => Some((first, bytes)),
        Codec::Base64 if first == CLOSE_SIGNAL => Some((first, bytes)),
        Codec::Base64 => Some((first.checked_sub(b'0')?, STANDARD.decode(&bytes).ok()?.into())),
    }
}

// === impl Closer ===

impl Closer {
    /// Ends the connection after everything that was written, and gives the peer some time to take it.
    pub(crate) async fn close(self) {
        if self.outgoing.send(Outgoing::Close).await.is_ok() {
            let _ = timeout(LINGER, self.closed.cancelled()).await;
        }
    }
}

// === impl ChannelWriter ===

impl ChannelWriter {
    /// Sends a message without bytes, which tells the client that the connection works.
    pub(crate) async fn announce(&self) {
        if let Some(messages) = self.messages.get_ref() {
            let _ = messages.send(Outgoing::Data(self.channel, Bytes::new())).await;
        }
    }
}

impl AsyncWrite for ChannelWriter {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let broken = || io::Error::from(io::ErrorKind::BrokenPipe);
        ready!(self.messages.poll_reserve(context)).map_err(|_| broken())?;
        let count = bytes.len().min(MAX_CHUNK);
        let message = Outgoing::Data(self.channel, Bytes::copy_from_slice(&bytes[..count]));
        Poll::Ready(self.messages.send_item(message).map(|()| count).map_err(|_| broken()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        // The protocols cannot end a single channel from the server's side.
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_of_both_codecs() {
        assert_eq!(encode(Codec::Binary, 1, b"hi"), Message::Binary(vec![1, b'h', b'i'].into()));
        assert_eq!(encode(Codec::Base64, 1, b"hi"), Message::Text("1aGk=".into()));
        let binary = |bytes: &'static [u8]| decode(Codec::Binary, Message::Binary(bytes.into()));
        assert_eq!(binary(b"\0in"), Some((0, Bytes::from_static(b"in"))));
        assert_eq!(binary(b"\xff\0"), Some((255, Bytes::from_static(b"\0"))));
        assert_eq!(binary(b""), None);
        let text = |text: &str| decode(Codec::Base64, Message::Text(text.into()));
        assert_eq!(text("0Zm9vCgo="), Some((0, Bytes::from_static(b"foo\n\n"))));
        assert_eq!(text("0!!"), None);
        assert_eq!(text("\u{1}aGk="), None);
    }
}
