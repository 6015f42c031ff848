//! What else is streamed, over websocket: one event of a watch per message, or the pieces of a log.

use axum::body::Body;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::{BufMut, Bytes, BytesMut};
use futures::{Stream, StreamExt, stream};
use http::{HeaderValue, Request, StatusCode, header};
use hyper_util::rt::TokioIo;
use skiff_apimachinery::status::{self, Status};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::watch::Events;
use crate::response::Response;

/// What the protocol mixes into the key (RFC 6455).
const KEY_SUFFIX: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
/// Bytes of client frames read at a time; their content does not matter, only that the client is there.
const READ_BUFFER: usize = 1024;
/// Frame with the final flag and text content.
const TEXT: u8 = 0x81;
/// Frame with the final flag and binary content.
const BINARY: u8 = 0x82;
/// Frame with the final flag that ends the connection.
const CLOSE: u8 = 0x88;

/// Bytes of a body that go into a message.
const MESSAGE: usize = 2048;
/// The protocol of bodies in text messages.
const BASE64_PROTOCOL: &str = "base64.binary.k8s.io";
/// Protocols of bodies.
const BODY_PROTOCOLS: [&str; 2] = ["binary.k8s.io", BASE64_PROTOCOL];

/// Whether the client asks for websocket.
pub fn is_upgrade(request: &Request<Body>) -> bool {
    let has = |name: header::HeaderName, word: &str| {
        let value = request.headers().get(name).and_then(|v| v.to_str().ok()).unwrap_or("");
        value.split(',').any(|part| part.trim().eq_ignore_ascii_case(word))
    };
    has(header::CONNECTION, "upgrade") && has(header::UPGRADE, "websocket")
}

/// Switches protocols and sends events, one a message, until either side ends.
pub fn serve_watch(request: Request<Body>, events: Events) -> Result<Response, Status> {
    let messages = stream::unfold(events, async |mut events| {
        let event = events.next_event().await?;
        Some((frame(TEXT, event.strip_suffix(b"\n").unwrap_or(&event)), events))
    });
    serve(request, None, messages)
}

/// Switches protocols and sends what a body holds until either side ends.
///
/// Follows `wsstream.Reader` in `staging/src/k8s.io/streaming/pkg/httpstream/wsstream/stream.go`: an empty message comes
/// first; the client chooses bytes or base64.
pub fn serve_body(request: Request<Body>, body: Body) -> Result<Response, Status> {
    let offered = request.headers().get_all(header::SEC_WEBSOCKET_PROTOCOL).iter();
    let offered: Vec<_> =
        offered.filter_map(|value| value.to_str().ok()).flat_map(|list| list.split(',')).map(str::trim).collect();
    let chosen = offered.iter().find_map(|name| BODY_PROTOCOLS.iter().find(|known| *known == name)).copied();
    if chosen.is_none() && !offered.is_empty() {
        return Err(status::bad_request(format!(
            "requested protocol(s) are not supported: {offered:?}; supports {BODY_PROTOCOLS:?}"
        )));
    }
    let encode = move |bytes: &[u8]| match chosen {
        Some(BASE64_PROTOCOL) => frame(TEXT, BASE64_STANDARD.encode(bytes).as_bytes()),
        _ => frame(BINARY, bytes),
    };
    let first = stream::once(std::future::ready(encode(&[])));
    // What breaks off has ended, too: there is no way to say more.
    let rest = body
        .into_data_stream()
        .take_while(|piece| std::future::ready(piece.is_ok()))
        .filter_map(|piece| std::future::ready(piece.ok()));
    let rest = rest.flat_map(move |bytes| {
        let messages: Vec<_> = bytes.chunks(MESSAGE).map(encode).collect();
        stream::iter(messages)
    });
    serve(request, chosen, first.chain(rest))
}

/// Switches protocols and sends frames until there are no more, or the client ends.
fn serve(
    mut request: Request<Body>,
    protocol: Option<&'static str>,
    frames: impl Stream<Item = Bytes> + Send + 'static,
) -> Result<Response, Status> {
    let Some(key) = request.headers().get(header::SEC_WEBSOCKET_KEY).cloned() else {
        return Err(status::bad_request("websocket request without Sec-WebSocket-Key"));
    };
    let upgrade = hyper::upgrade::on(&mut request);
    tokio::spawn(async move {
        let Ok(upgraded) = upgrade.await else { return };
        let (mut reader, mut writer) = tokio::io::split(TokioIo::new(upgraded));
        let mut buffer = [0; READ_BUFFER];
        let mut frames = std::pin::pin!(frames);
        loop {
            tokio::select! {
                next = frames.next() => {
                    let last = next.is_none();
                    let frame = next.unwrap_or(Bytes::from_static(&[CLOSE, 0]));
                    if writer.write_all(&frame).await.is_err() || writer.flush().await.is_err() || last {
                        return;
                    }
                }
                read = reader.read(&mut buffer) => match read {
                    // A close frame may come with anything; the client sends nothing else but pings.
                    Ok(n) if n > 0 && buffer[0] != CLOSE => {}
                    _ => return,
                },
            }
        }
    });
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept(key.as_bytes())?);
    if let Some(protocol) = protocol {
        headers.insert(header::SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(protocol));
    }
    Ok(response)
}

fn accept(key: &[u8]) -> Result<HeaderValue, Status> {
    let mut text = key.to_vec();
    text.extend_from_slice(KEY_SUFFIX.as_bytes());
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA1_FOR_LEGACY_USE_ONLY, &text);
    HeaderValue::from_str(&BASE64_STANDARD.encode(digest.as_ref()))
        .map_err(|error| status::internal_error(error.to_string()))
}

fn frame(kind: u8, payload: &[u8]) -> Bytes {
    let mut frame = BytesMut::with_capacity(payload.len() + 10);
    frame.put_u8(kind);
    match payload.len() {
        length @ 0..=125 => frame.put_u8(length as u8),
        length @ 126..=0xffff => {
            frame.put_u8(126);
            frame.put_u16(length as u16);
        }
        length => {
            frame.put_u8(127);
            frame.put_u64(length as u64);
        }
    }
    frame.extend_from_slice(payload);
    frame.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_protocols_own_example() {
        assert_eq!(accept(b"dGhlIHNhbXBsZSBub25jZQ==").expect("header"), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }

    #[test]
    fn frame_lengths() {
        assert_eq!(&frame(TEXT, b"hi")[..], b"\x81\x02hi");
        assert_eq!(&frame(BINARY, &[b'a'; 300])[..4], [0x82, 126, 1, 44]);
    }
}
