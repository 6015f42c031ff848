//! `continue` tokens: where a list in pages goes on, and in which state.
//!
//! Follows `k8s.io/apiserver/pkg/storage/continue.go` in form and in error texts; the start is relative to the
//! resource's prefix in the store.

use base64::Engine;
use base64::alphabet::URL_SAFE;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use skiff_apimachinery::status::{self, Status};

const VERSION: &str = "meta.k8s.io/v1";
/// The version that stands for: whatever is there now.
const LATEST: i64 = -1;
/// Tokens go through shells and forms, which may pad them.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &URL_SAFE,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);
const EXPIRED: &str = "The provided continue parameter is too old to display a consistent list result. You can start a \
                       new list without the continue parameter, or use the continue token in this response to retrieve \
                       the remainder of the results. Continuing with the provided token results in an inconsistent \
                       list - objects that were created, modified, or deleted between the time the first chunk was \
                       returned and now may show up in the list.";

/// What a token says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContinueToken {
    #[serde(default)]
    v: String,
    /// Revision of the list; negative for the latest state, whatever the pages before showed.
    #[serde(default)]
    pub rv: i64,
    /// The first key that may be on the page.
    #[serde(default)]
    pub start: String,
}

impl ContinueToken {
    /// A token for the page that begins at `start`.
    pub fn new(revision: u64, start: String) -> Self {
        Self { v: VERSION.to_owned(), rv: i64::try_from(revision).unwrap_or(i64::MAX), start }
    }

    /// As clients get it.
    pub fn encode(&self) -> String {
        BASE64_URL_SAFE_NO_PAD.encode(serde_json::to_vec(self).unwrap_or_default())
    }

    /// Reads what a client sent; 400 for anything that no list has given out.
    pub fn decode(text: &str) -> Result<Self, Status> {
        let invalid =
            |detail: &str| status::bad_request(format!("invalid continue token: continue key is not valid: {detail}"));
        let json = LENIENT.decode(text).map_err(|error| invalid(&base64_error(&error)))?;
        let token = serde_json::from_slice::<Self>(&json).map_err(|error| invalid(&json_error(&json, &error)))?;
        if token.v != VERSION {
            return Err(invalid(&format!("server does not recognize this encoded version {}", token.v)));
        }
        if token.rv == 0 {
            return Err(invalid(&format!("incorrect encoded start resourceVersion (version {VERSION})")));
        }
        if token.start.is_empty() {
            return Err(invalid(&format!("encoded start key empty (version {VERSION})")));
        }
        if token.start.split('/').any(|part| part == "..") {
            return Err(invalid(&token.start));
        }
        Ok(token)
    }

    /// What a failed list is to a client with this token: when its state is forgotten, it gets a token that goes on from
    /// the same key in the latest state.
    pub fn expired(self, mut error: Status) -> Status {
        if error.code == 410 {
            error.message = EXPIRED.to_owned();
            error.details.continue_token = Self { rv: LATEST, ..self }.encode();
        }
        error
    }
}

fn base64_error(error: &base64::DecodeError) -> String {
    let at = match error {
        base64::DecodeError::InvalidByte(at, _) | base64::DecodeError::InvalidLastSymbol(at, _) => *at,
        base64::DecodeError::InvalidLength(length) => *length,
        base64::DecodeError::InvalidPadding => 0,
    };
    format!("illegal base64 data at input byte {at}")
}

/// As Go words it for the mistakes that are no attack.
fn json_error(json: &[u8], error: &serde_json::Error) -> String {
    match json.first() {
        None => "unexpected end of JSON input".to_owned(),
        Some(b'{') => error.to_string(),
        Some(0) => "invalid character '\\x00' looking for beginning of value".to_owned(),
        Some(first) => format!("invalid character {} looking for beginning of value", quoted(*first)),
    }
}

/// A byte as Go quotes the character of that number.
fn quoted(byte: u8) -> String {
    match byte {
        0x7f..=0xa0 | 0xad => format!("'\\u{byte:04x}'"),
        _ => format!("{:?}", char::from(byte)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_given_out_is_read_back() {
        let token = ContinueToken::new(7, "demo/a\0".into());
        assert_eq!(ContinueToken::decode(&token.encode()), Ok(token));
    }

    #[test]
    fn what_was_not_is_refused() {
        let token = ContinueToken::new(7, "demo/a\0".into());
        let cases = [
            (String::new(), "unexpected end of JSON input"),
            ("%%".into(), "illegal base64 data at input byte 0"),
            ("AAAA".into(), "invalid character '\\x00' looking for beginning of value"),
            ("e30".into(), "server does not recognize this encoded version "),
            (
                ContinueToken { rv: 0, ..token.clone() }.encode(),
                "incorrect encoded start resourceVersion (version meta.k8s.io/v1)",
            ),
            (
                ContinueToken { start: String::new(), ..token.clone() }.encode(),
                "encoded start key empty (version meta.k8s.io/v1)",
            ),
            (ContinueToken { start: "x/../../y".into(), ..token }.encode(), "x/../../y"),
        ];
        for (text, detail) in cases {
            let error = ContinueToken::decode(&text).expect_err(&text);
            let message = format!("invalid continue token: continue key is not valid: {detail}");
            assert_eq!((error.code, error.message), (400, message));
        }
    }
}
