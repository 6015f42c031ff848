//! SPDY/3.1: frames, header compression, and a connection of many streams.
//!
//! Kubernetes uses it as moby/spdystream implements it: no flow control in either direction, every stream answered by
//! a SYN_REPLY, headers as plain name-value pairs.

mod connection;
mod dictionary;
mod frame;
mod headers;

pub use connection::{Connection, Stream};
pub use frame::{Decoder, Encoder, Frame, ResetStatus};
pub use headers::Headers;

/// The value of the `Upgrade` header.
pub const UPGRADE: &str = "SPDY/3.1";

/// Why a SPDY connection cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum SpdyError {
    /// A control frame that breaks its own rules.
    #[error("invalid SPDY frame: {0}")]
    Invalid(&'static str),
    /// A frame or header block beyond our limits.
    #[error("a SPDY frame is too large: {0}")]
    TooLarge(&'static str),
    /// A header block that cannot be decompressed.
    #[error("a SPDY header block cannot be decompressed")]
    Compression,
}
