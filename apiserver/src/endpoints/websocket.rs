//! Watches over websocket: one event per message.

use axum::body::Body;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::{BufMut, Bytes, BytesMut};
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
/// Frame with the final flag that ends the connection.
const CLOSE: u8 = 0x88;

/// Whether the client asks for websocket.
pub fn is_upgrade(request: &Request<Body>) -> bool {
    let has = |name: header::HeaderName, word: &str| {
        let value = request.headers().get(name).and_then(|v| v.to_str().ok()).unwrap_or("");
        value.split(',').any(|part| part.trim().eq_ignore_ascii_case(word))
    };
    has(header::CONNECTION, "upgrade") && has(header::UPGRADE, "websocket")
}

/// Switches protocols and sends events until either side ends.
pub fn serve_watch(mut request: Request<Body>, mut events: Events) -> Result<Response, Status> {
    let Some(key) = request.headers().get(header::SEC_WEBSOCKET_KEY).cloned() else {
        return Err(status::bad_request("websocket request without Sec-WebSocket-Key"));
    };
    let upgrade = hyper::upgrade::on(&mut request);
    tokio::spawn(async move {
        let Ok(upgraded) = upgrade.await else { return };
        let (mut reader, mut writer) = tokio::io::split(TokioIo::new(upgraded));
        let mut buffer = [0; READ_BUFFER];
        loop {
            tokio::select! {
                event = events.next_event() => {
                    let (frame, last) = match event {
                        Some(event) => (text_frame(event), false),
                        None => (Bytes::from_static(&[CLOSE, 0]), true),
                    };
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
    Ok(response)
}

fn accept(key: &[u8]) -> Result<HeaderValue, Status> {
    let mut text = key.to_vec();
    text.extend_from_slice(KEY_SUFFIX.as_bytes());
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA1_FOR_LEGACY_USE_ONLY, &text);
    HeaderValue::from_str(&BASE64_STANDARD.encode(digest.as_ref()))
        .map_err(|error| status::internal_error(error.to_string()))
}

fn text_frame(payload: Bytes) -> Bytes {
    let payload = payload.strip_suffix(b"\n").unwrap_or(&payload);
    let mut frame = BytesMut::with_capacity(payload.len() + 10);
    frame.put_u8(TEXT);
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
        assert_eq!(&text_frame(Bytes::from_static(b"hi\n"))[..], b"\x81\x02hi");
        assert_eq!(&text_frame(Bytes::from(vec![b'a'; 300]))[..4], [0x81, 126, 1, 44]);
    }
}
