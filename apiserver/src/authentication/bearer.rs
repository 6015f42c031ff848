//! The bearer token of a request, if it carries one.
//!
//! Follows `k8s.io/apiserver/pkg/authentication/request/{bearertoken,websocket}`.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::{HeaderMap, HeaderValue, header};

/// Subprotocol of browsers, which cannot set headers on a WebSocket.
const PROTOCOL_PREFIX: &str = "base64url.bearer.authorization.k8s.io.";

/// The token in the `Authorization` header or in a WebSocket's subprotocols.
pub(super) fn token(headers: &HeaderMap) -> Result<Option<String>, String> {
    if let Some(text) = headers.get(header::AUTHORIZATION) {
        let text = text.to_str().map_err(|_| "the Authorization header is not text")?.trim();
        let mut words = text.splitn(3, ' ');
        if let (Some(scheme), Some(token)) = (words.next(), words.next())
            && scheme.eq_ignore_ascii_case("bearer")
            && !token.is_empty()
        {
            return Ok(Some(token.to_owned()));
        }
    }
    web_socket_token(headers)
}

/// Takes the token out of headers that go on to somebody else.
pub(crate) fn forget(headers: &mut HeaderMap) {
    headers.remove(header::AUTHORIZATION);
    let protocols = headers.get_all(header::SEC_WEBSOCKET_PROTOCOL).iter();
    let texts = protocols.map(|value| value.to_str().unwrap_or("").to_owned()).collect::<Vec<_>>();
    if !texts.iter().any(|text| text.contains(PROTOCOL_PREFIX)) {
        return;
    }
    headers.remove(header::SEC_WEBSOCKET_PROTOCOL);
    let rest = texts.iter().flat_map(|text| text.split(',')).map(str::trim);
    for protocol in rest.filter(|protocol| !protocol.starts_with(PROTOCOL_PREFIX)) {
        if let Ok(value) = HeaderValue::from_str(protocol) {
            headers.append(header::SEC_WEBSOCKET_PROTOCOL, value);
        }
    }
}

fn web_socket_token(headers: &HeaderMap) -> Result<Option<String>, String> {
    let upgrades =
        headers.get(header::UPGRADE).is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"websocket"));
    if !upgrades {
        return Ok(None);
    }
    let mut found = None;
    let mut others = 0;
    for value in headers.get_all(header::SEC_WEBSOCKET_PROTOCOL) {
        for protocol in value.to_str().unwrap_or("").split(',').map(str::trim) {
            match protocol.strip_prefix(PROTOCOL_PREFIX) {
                None => others += 1,
                Some(_) if found.is_some() => {
                    return Err("multiple base64.bearer.authorization tokens specified".into());
                }
                Some(encoded) => found = Some(encoded),
            }
        }
    }
    let Some(encoded) = found else { return Ok(None) };
    let decoded = URL_SAFE_NO_PAD.decode(encoded).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    let token = decoded.ok_or("invalid base64.bearer.authorization token encoding")?;
    if token.is_empty() {
        return Err("empty bearer token".into());
    }
    if others == 0 {
        return Err("missing additional subprotocol".into());
    }
    Ok(Some(token))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_goes_on_has_no_token() {
        let mut headers = HeaderMap::new();
        headers.insert(header::AUTHORIZATION, HeaderValue::from_static("Bearer abc"));
        let protocols = "v5.channel.k8s.io, base64url.bearer.authorization.k8s.io.YWJj, v4.channel.k8s.io";
        headers.insert(header::SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(protocols));
        forget(&mut headers);
        let left = headers.get_all(header::SEC_WEBSOCKET_PROTOCOL).iter().collect::<Vec<_>>();
        assert_eq!(left, ["v5.channel.k8s.io", "v4.channel.k8s.io"]);
        assert!(!headers.contains_key(header::AUTHORIZATION));
    }
}
