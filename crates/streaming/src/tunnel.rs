//! A byte stream in binary WebSocket messages (`SPDY/3.1+portforward.k8s.io`).

use bytes::Bytes;
use futures::{SinkExt, StreamExt};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream};
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;

use crate::LINGER;
use crate::websocket::normal_close;

/// Bytes in flight per direction.
const BUFFER: usize = 64 * 1024;

/// The bytes that a WebSocket carries, as a stream. Text messages are an error of the peer and end it.
pub(crate) fn tunnel<S>(socket: WebSocketStream<S>) -> DuplexStream
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let (ours, theirs) = tokio::io::duplex(BUFFER);
    let (mut from_inside, mut to_inside) = tokio::io::split(theirs);
    let (mut sink, mut messages) = socket.split();
    tokio::spawn(async move {
        while let Some(Ok(message)) = messages.next().await {
            match message {
                Message::Binary(bytes) if to_inside.write_all(&bytes).await.is_ok() => {}
                Message::Ping(_) | Message::Pong(_) => {}
                _ => break,
            }
        }
        let _ = to_inside.shutdown().await;
    });
    tokio::spawn(async move {
        let mut buffer = vec![0; BUFFER / 2];
        while let Ok(count @ 1..) = from_inside.read(&mut buffer).await {
            if sink.send(Message::Binary(Bytes::copy_from_slice(&buffer[..count]))).await.is_err() {
                return;
            }
        }
        // The peer answers the close frame or goes away.
        let _ = timeout(LINGER, sink.send(normal_close())).await;
    });
    ours
}
