//! WebSocket frames passed on one by one.
//!
//! Upstream's server writes every frame by itself, so that each comes in a TLS record of its own. There are clients that
//! depend on it (the Python client, among others): they read one frame, then ask the kernel whether there is more, which
//! does not know of what their TLS library has decrypted already. Frames that share a record would never be read.

use std::io;

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// Bytes read at once.
const BUFFER: usize = 64 * 1024;

/// Copies a server's frames to its client until the end, which is passed on.
pub(super) async fn copy<R, W>(mut server: R, mut client: W) -> io::Result<()>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let (mut buffer, mut frames) = (BytesMut::with_capacity(BUFFER), Frames::default());
    loop {
        buffer.reserve(BUFFER);
        if server.read_buf(&mut buffer).await? == 0 {
            client.write_all(&buffer).await?;
            return client.shutdown().await;
        }
        while let Some(count) = frames.next(&buffer) {
            client.write_all(&buffer[..count]).await?;
            client.flush().await?;
            buffer.advance(count);
        }
    }
}

/// Finds the ends of frames in a stream of bytes (RFC 6455, section 5.2).
#[derive(Default)]
struct Frames {
    /// Bytes of the present frame that have not come yet.
    remaining: u64,
}

impl Frames {
    /// How many of these bytes may be passed on together; `None` when more are needed to tell.
    fn next(&mut self, bytes: &[u8]) -> Option<usize> {
        if self.remaining == 0 {
            self.remaining = length(bytes)?;
        }
        let count = usize::try_from(self.remaining).unwrap_or(usize::MAX).min(bytes.len());
        self.remaining -= count as u64;
        (count > 0).then_some(count)
    }
}

/// The length of the frame that begins here, its header included; `None` when the header is not complete.
fn length(bytes: &[u8]) -> Option<u64> {
    let second = *bytes.get(1)?;
    let mask = if second & 0x80 != 0 { 4 } else { 0 };
    let (header, payload) = match second & 0x7f {
        126 => (4, u64::from(u16::from_be_bytes(bytes.get(2..4)?.try_into().ok()?))),
        127 => (10, u64::from_be_bytes(bytes.get(2..10)?.try_into().ok()?)),
        short => (2, u64::from(short)),
    };
    payload.checked_add(header + mask)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The writes that a stream of bytes becomes when it comes in pieces of this size.
    async fn writes(bytes: &[u8], piece: usize) -> Vec<Vec<u8>> {
        let mut builder = ends::Pieces::new(bytes, piece);
        let mut sink = ends::Writes::default();
        copy(&mut builder, &mut sink).await.expect("copied");
        sink.0
    }

    #[tokio::test]
    async fn frames_that_come_together_go_one_by_one() {
        let short = [&[0x82, 3, 1, b'h', b'i'][..], &[0x82, 1, 2], &[0x88, 2, 3, 232]];
        assert_eq!(writes(&short.concat(), 1000).await, short);
        let long = [&[0x82, 126, 1, 0][..], &[7; 256]].concat();
        let very_long = [&[0x82, 127, 0, 0, 0, 0, 0, 1, 0, 0][..], &[8; 65536]].concat();
        let masked = [&[0x82, 0x81, 1, 2, 3, 4, 5][..]].concat();
        let all = [long.clone(), very_long.clone(), masked.clone()];
        let whole = writes(&all.concat(), 1 << 20).await;
        assert_eq!(whole.first(), Some(&long));
        assert_eq!(whole.last(), Some(&masked));
        assert_eq!(whole.concat(), all.concat());
    }

    #[tokio::test]
    async fn frames_that_come_in_pieces_lose_nothing() {
        let frames = [&[0x82, 126, 1, 0][..], &[7; 256], &[0x82, 0, 0x88, 2, 3, 232], &[0x82]].concat();
        for piece in [1, 2, 3, 7] {
            assert_eq!(writes(&frames, piece).await.concat(), frames, "{piece}");
        }
    }

    /// Ends of streams that show how they are used.
    mod ends {
        use std::io;
        use std::pin::Pin;
        use std::task::{Context, Poll};

        use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

        /// Gives bytes in pieces.
        pub(super) struct Pieces<'a> {
            bytes: &'a [u8],
            piece: usize,
        }

        impl<'a> Pieces<'a> {
            pub(super) fn new(bytes: &'a [u8], piece: usize) -> Self {
                Self { bytes, piece }
            }
        }

        impl AsyncRead for Pieces<'_> {
            fn poll_read(
                mut self: Pin<&mut Self>,
                _: &mut Context<'_>,
                buffer: &mut ReadBuf<'_>,
            ) -> Poll<io::Result<()>> {
                let count = self.piece.min(self.bytes.len()).min(buffer.remaining());
                buffer.put_slice(&self.bytes[..count]);
                self.bytes = &self.bytes[count..];
                Poll::Ready(Ok(()))
            }
        }

        /// Keeps every write.
        #[derive(Default)]
        pub(super) struct Writes(pub(super) Vec<Vec<u8>>);

        impl AsyncWrite for Writes {
            fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
                if !bytes.is_empty() {
                    self.0.push(bytes.to_vec());
                }
                Poll::Ready(Ok(bytes.len()))
            }

            fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
                Poll::Ready(Ok(()))
            }

            fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
                Poll::Ready(Ok(()))
            }
        }
    }
}
