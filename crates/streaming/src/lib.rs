//! Interactive streams over HTTP: exec, attach and port-forward as Kubernetes' clients speak them.
//!
//! A request that asks for an upgrade is accepted with [`remote_command::accept`] or [`port_forward::accept`], which
//! understand every protocol in use and hide it: SPDY/3.1, the WebSocket channel protocols, and SPDY tunnelled in a
//! WebSocket. What comes out are plain byte streams. Components in between do not look inside: they pass the upgraded
//! bytes on with [`proxy_upgrade`].
//!
//! Promises: every buffer is bounded and a slow reader slows its peer down; what was written before a status arrives
//! before it; a closed input is passed on as an end of file where the protocol can say so. Not promised: one stalled
//! stream may hold up the others of its connection, as the protocols have no flow control that clients respect.
//!
//! Upstream sources: `staging/src/k8s.io/cri-streaming`, `staging/src/k8s.io/streaming`, `moby/spdystream`.

mod channels;
pub mod negotiate;
pub mod port_forward;
mod proxy;
mod queue;
pub mod remote_command;
pub mod spdy;
mod status;
mod tunnel;
mod websocket;

pub use proxy::{proxy_upgrade, proxy_upgraded};

use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};

/// How long a client may take to open the streams it needs (upstream: DefaultStreamCreationTimeout).
pub const STREAM_CREATION_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a finished connection is kept for the peer to take the rest.
const LINGER: Duration = Duration::from_secs(5);

/// A readable byte stream.
pub type BoxRead = Box<dyn AsyncRead + Send + Unpin>;
/// A writable byte stream. Shutting it down ends the stream for the peer.
pub type BoxWrite = Box<dyn AsyncWrite + Send + Unpin>;

/// Bytes in both directions.
pub trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}
/// A byte stream in both directions.
pub type BoxDuplex = Box<dyn Duplex>;

/// Why a stream could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The connection failed or the upgrade did not happen.
    #[error("the connection failed: {0}")]
    Io(#[from] std::io::Error),
    /// The HTTP upgrade failed.
    #[error("the upgrade failed: {0}")]
    Upgrade(#[from] hyper::Error),
    /// The peer broke the protocol.
    #[error("protocol error: {0}")]
    Protocol(String),
    /// The client did not open its streams in time.
    #[error("timed out waiting for client to create streams")]
    Timeout,
}
