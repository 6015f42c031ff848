//! The body of a list: a head, a piece per object and a tail, sent in bounded chunks however long it is.

use axum::body::Body;
use bytes::{Bytes, BytesMut};
use http::{HeaderValue, StatusCode, header};

use crate::context::RequestContext;
use crate::response::{self, Response};

/// Bytes of a chunk.
const CHUNK: usize = 64 * 1024;
/// Bytes that can stand before an object: a comma, or a field's number and length.
const MAX_LEAD: usize = 12;

/// What stands before an object.
#[derive(Clone, Copy, Debug, Default)]
pub struct Lead {
    bytes: [u8; MAX_LEAD],
    length: usize,
}

impl Lead {
    /// A few bytes.
    ///
    /// # Panics
    /// With more than twelve.
    pub fn new(bytes: &[u8]) -> Self {
        let mut lead = Self { length: bytes.len(), ..Self::default() };
        lead.bytes[..bytes.len()].copy_from_slice(bytes);
        lead
    }
}

/// A body that is not made yet.
pub struct Pieces<I> {
    /// Comes first.
    pub head: Vec<u8>,
    /// Objects with what stands before each.
    pub objects: I,
    /// Comes last.
    pub tail: Vec<u8>,
    /// Bytes of everything.
    pub total: usize,
}

/// Answers with a list: at once if it is small, compressed if it is large and the client takes that.
pub fn respond<I>(cx: &RequestContext, media_type: &'static str, pieces: Pieces<I>) -> Response
where
    I: Iterator<Item = (Lead, Bytes)> + Send + 'static,
{
    let total = pieces.total;
    let mut chunks = Chunks {
        chunk: total.min(CHUNK),
        objects: pieces.objects,
        pending: Some((pieces.head.into(), 0)),
        tail: Some(pieces.tail.into()),
    };
    if total <= CHUNK {
        return response::plain(StatusCode::OK, media_type, chunks.next().unwrap_or_default());
    }
    if total > response::GZIP_THRESHOLD && cx.accepts_gzip {
        return compressed(media_type, chunks);
    }
    response::plain(StatusCode::OK, media_type, stream(chunks))
}

fn stream(chunks: impl Iterator<Item = Bytes> + Send + 'static) -> Body {
    Body::from_stream(futures::stream::iter(chunks.map(Ok::<_, std::convert::Infallible>)))
}

fn compressed(media_type: &'static str, mut chunks: impl Iterator<Item = Bytes> + Send + 'static) -> Response {
    let mut compressor = response::Gzip::default();
    let mut finished = false;
    let body = stream(std::iter::from_fn(move || {
        while !finished {
            match chunks.next() {
                Some(chunk) => compressor.write(&chunk),
                None => {
                    finished = true;
                    return Some(compressor.finish());
                }
            }
            if let Some(out) = compressor.take(CHUNK) {
                return Some(out);
            }
        }
        None
    }));
    let mut response = response::plain(StatusCode::OK, media_type, body);
    response.headers_mut().insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    response.headers_mut().insert(header::VARY, HeaderValue::from_static("Accept-Encoding"));
    response
}

/// The body in pieces of [`CHUNK`] bytes.
struct Chunks<I> {
    chunk: usize,
    objects: I,
    /// What did not fit into the last chunk, and how much of it was sent.
    pending: Option<(Bytes, usize)>,
    tail: Option<Bytes>,
}

impl<I: Iterator<Item = (Lead, Bytes)>> Iterator for Chunks<I> {
    type Item = Bytes;

    fn next(&mut self) -> Option<Bytes> {
        let mut out = BytesMut::with_capacity(self.chunk + MAX_LEAD);
        while out.len() < self.chunk {
            let (piece, sent) = match self.pending.take() {
                Some(pending) => pending,
                None => match self.objects.next() {
                    Some((lead, object)) => {
                        out.extend_from_slice(&lead.bytes[..lead.length]);
                        (object, 0)
                    }
                    None => match self.tail.take() {
                        Some(tail) => (tail, 0),
                        None => break,
                    },
                },
            };
            let taken = self.chunk.saturating_sub(out.len()).min(piece.len() - sent);
            out.extend_from_slice(&piece[sent..sent + taken]);
            if sent + taken < piece.len() {
                self.pending = Some((piece, sent + taken));
            }
        }
        (!out.is_empty()).then(|| out.freeze())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_hold_everything_in_order_and_no_more_than_they_may() {
        for (sizes, chunk) in [(vec![], 10), (vec![1, 30, 0, 9], 10), (vec![5; 100], 64), (vec![1000, 1], 7)] {
            let objects: Vec<_> = sizes.iter().map(|size| (Lead::new(b","), Bytes::from(vec![b'x'; *size]))).collect();
            let want =
                format!("head{}tail", sizes.iter().map(|size| format!(",{}", "x".repeat(*size))).collect::<String>());
            let chunks = Chunks {
                chunk,
                objects: objects.into_iter(),
                pending: Some((Bytes::from_static(b"head"), 0)),
                tail: Some(Bytes::from_static(b"tail")),
            };
            let chunks: Vec<Bytes> = chunks.collect();
            assert!(chunks.iter().all(|piece| piece.len() <= chunk + MAX_LEAD));
            assert_eq!(chunks.concat(), want.as_bytes());
        }
    }
}
