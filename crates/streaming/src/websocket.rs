//! The WebSocket below channels and tunnels.

use hyper_util::rt::TokioIo;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};

/// Largest message and frame taken from a client, in bytes.
const MAX_MESSAGE: usize = 1 << 20;

/// The upgraded connection of a client.
pub(crate) type Upgraded = TokioIo<hyper::upgrade::Upgraded>;

/// Says that all is done: clients take a close without a code for a failure.
pub(crate) fn normal_close() -> Message {
    Message::Close(Some(CloseFrame { code: CloseCode::Normal, reason: "".into() }))
}

/// Speaks the server's side over a connection whose handshake is done.
pub(crate) async fn server<S>(io: S) -> WebSocketStream<S>
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    let config = WebSocketConfig::default().max_message_size(Some(MAX_MESSAGE)).max_frame_size(Some(MAX_MESSAGE));
    WebSocketStream::from_raw_socket(io, Role::Server, Some(config)).await
}
