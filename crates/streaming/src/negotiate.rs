//! Which protocol a client speaks, and the answers to its request for an upgrade.

use base64::Engine;
use bytes::Bytes;
use http::header::{CONNECTION, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL, UPGRADE};
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};
use http_body_util::Full;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use crate::spdy;

/// Protocols a SPDY client offers, best first; answered with the chosen one.
pub static STREAM_PROTOCOL: HeaderName = HeaderName::from_static("x-stream-protocol-version");
/// What the server would have accepted, beside a refusal.
pub static ACCEPTED_STREAM_PROTOCOLS: HeaderName = HeaderName::from_static("x-accepted-stream-protocol-versions");

/// The kind of upgrade that a request asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UpgradeKind {
    /// `Upgrade: SPDY/3.1`.
    Spdy,
    /// `Upgrade: websocket`.
    WebSocket,
}

/// A response with a short text or none.
pub type TextResponse = Response<Full<Bytes>>;

/// The upgrade that a request asks for, if it is one we know.
pub fn upgrade_kind(headers: &HeaderMap) -> Option<UpgradeKind> {
    if !values(headers, &CONNECTION).any(|value| value.eq_ignore_ascii_case("upgrade")) {
        return None;
    }
    let asked = |wanted: &str| values(headers, &UPGRADE).any(|value| value.eq_ignore_ascii_case(wanted));
    if asked("websocket") {
        return Some(UpgradeKind::WebSocket);
    }
    asked(spdy::UPGRADE).then_some(UpgradeKind::Spdy)
}

/// The elements of a header that may be repeated and may hold lists.
fn values<'a>(headers: &'a HeaderMap, name: &'a HeaderName) -> impl Iterator<Item = &'a str> {
    let texts = headers.get_all(name).into_iter().filter_map(|value| value.to_str().ok());
    texts.flat_map(|text| text.split(',')).map(str::trim).filter(|text| !text.is_empty())
}

/// The first protocol of the client that is `supported`; `Ok("")` if it names none.
pub(crate) fn spdy_protocol(
    headers: &HeaderMap,
    supported: &[&'static str],
) -> Result<&'static str, Box<TextResponse>> {
    let offered: Vec<&str> = values(headers, &STREAM_PROTOCOL).collect();
    if offered.is_empty() {
        return Ok("");
    }
    let chosen = offered.iter().find_map(|offer| supported.iter().find(|name| *name == offer));
    chosen.copied().ok_or_else(|| {
        let text = format!(
            "unable to upgrade: unable to negotiate protocol: client supports {offered:?}, server accepts {supported:?}"
        );
        let mut response = refusal(StatusCode::FORBIDDEN, text);
        for name in supported {
            response.headers_mut().append(&ACCEPTED_STREAM_PROTOCOLS, HeaderValue::from_static(name));
        }
        Box::new(response)
    })
}

/// The first protocol of a WebSocket client that is `supported`; `""` if it names none, an error if it names others.
pub(crate) fn websocket_protocol(
    headers: &HeaderMap,
    supported: &[&'static str],
) -> Result<&'static str, Box<TextResponse>> {
    let offered: Vec<&str> = values(headers, &SEC_WEBSOCKET_PROTOCOL).collect();
    if offered.is_empty() {
        return Ok("");
    }
    let chosen = offered.iter().find_map(|offer| supported.iter().find(|name| *name == offer));
    chosen.copied().ok_or_else(|| {
        let text = format!("none of the WebSocket protocols {offered:?} is supported, only {supported:?}");
        Box::new(refusal(StatusCode::BAD_REQUEST, text))
    })
}

pub(crate) fn spdy_switch(protocol: &'static str) -> TextResponse {
    let mut response = switching(spdy::UPGRADE);
    if !protocol.is_empty() {
        response.headers_mut().insert(&STREAM_PROTOCOL, HeaderValue::from_static(protocol));
    }
    response
}

pub(crate) fn websocket_switch(headers: &HeaderMap, protocol: &'static str) -> Result<TextResponse, Box<TextResponse>> {
    let key = headers.get(SEC_WEBSOCKET_KEY).map(HeaderValue::as_bytes).unwrap_or_default();
    let valid = base64::engine::general_purpose::STANDARD.decode(key).is_ok_and(|key| key.len() == 16);
    let accept = HeaderValue::from_str(&derive_accept_key(key)).ok().filter(|_| valid);
    let accept =
        accept.ok_or_else(|| Box::new(refusal(StatusCode::BAD_REQUEST, "invalid Sec-WebSocket-Key".to_owned())))?;
    let mut response = switching("websocket");
    response.headers_mut().insert(SEC_WEBSOCKET_ACCEPT, accept);
    if !protocol.is_empty() {
        response.headers_mut().insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(protocol));
    }
    Ok(response)
}

fn switching(to: &'static str) -> TextResponse {
    let mut response = Response::new(Full::default());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    response.headers_mut().insert(UPGRADE, HeaderValue::from_static(to));
    response
}

pub(crate) fn refusal(status: StatusCode, text: String) -> TextResponse {
    let mut response = Response::new(Full::from(text));
    *response.status_mut() = status;
    response
}

pub(crate) fn not_an_upgrade() -> TextResponse {
    refusal(StatusCode::BAD_REQUEST, "you must request an upgrade to SPDY/3.1 or websocket".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(HeaderName, &'static str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.clone(), HeaderValue::from_static(value))).collect()
    }

    #[test]
    fn kinds_of_upgrade() {
        let check = |connection, upgrade| upgrade_kind(&headers(&[(CONNECTION, connection), (UPGRADE, upgrade)]));
        assert_eq!(check("Upgrade", "SPDY/3.1"), Some(UpgradeKind::Spdy));
        assert_eq!(check("keep-alive, upgrade", "WebSocket"), Some(UpgradeKind::WebSocket));
        assert_eq!(check("close", "websocket"), None);
        assert_eq!(check("Upgrade", "h2c"), None);
    }

    #[test]
    fn spdy_clients_choose_first() {
        let offer = |value| headers(&[(STREAM_PROTOCOL.clone(), value)]);
        assert_eq!(spdy_protocol(&offer("v5.x, v4.x"), &["v4.x", "v3.x"]).expect("common"), "v4.x");
        let mut repeated = offer("v9.x");
        repeated.append(&STREAM_PROTOCOL, HeaderValue::from_static("v3.x"));
        assert_eq!(spdy_protocol(&repeated, &["v4.x", "v3.x"]).expect("common"), "v3.x");
        assert_eq!(spdy_protocol(&HeaderMap::new(), &["v4.x"]).expect("none"), "");
        let refused = spdy_protocol(&offer("v9.x"), &["v4.x"]).expect_err("nothing in common");
        assert_eq!(refused.status(), StatusCode::FORBIDDEN);
        assert_eq!(refused.headers()[&ACCEPTED_STREAM_PROTOCOLS], "v4.x");
    }

    #[test]
    fn websocket_keys_are_answered() {
        // The example of RFC 6455, section 1.3.
        let request = headers(&[(SEC_WEBSOCKET_KEY, "dGhlIHNhbXBsZSBub25jZQ==")]);
        let response = websocket_switch(&request, "v5.channel.k8s.io").expect("a good key");
        assert_eq!(response.headers()[SEC_WEBSOCKET_ACCEPT], "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        assert!(websocket_switch(&HeaderMap::new(), "").is_err());
    }
}
