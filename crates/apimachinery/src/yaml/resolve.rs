//! What a scalar of YAML 1.1 is. Follows `gopkg.in/yaml.v2`, whose tables these are.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::json::DecodeError;

/// A scalar.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Resolved {
    Null,
    Bool(bool),
    Int(i64),
    /// Above what a signed integer holds.
    Large(u64),
    Float(f64),
    Text(String),
}

impl Resolved {
    fn tag(&self) -> &'static str {
        match self {
            Resolved::Null => "null",
            Resolved::Bool(_) => "bool",
            Resolved::Int(_) | Resolved::Large(_) => "int",
            Resolved::Float(_) => "float",
            Resolved::Text(_) => "str",
        }
    }
}

/// A scalar under an explicit tag of YAML's own, without its prefix.
pub(super) fn tagged(tag: &str, text: &str) -> Result<Resolved, DecodeError> {
    let resolved = match tag {
        "bool" | "int" | "float" | "null" | "timestamp" => plain(text),
        "binary" => {
            let bytes = STANDARD.decode(text.replace(['\n', '\r'], ""));
            let bytes = bytes.map_err(|_| DecodeError("yaml: !!binary value contains invalid base64 data".into()))?;
            return Ok(Resolved::Text(String::from_utf8_lossy(&bytes).into_owned()));
        }
        _ => return Ok(Resolved::Text(text.into())),
    };
    match (tag, resolved) {
        ("float", Resolved::Int(number)) => Ok(Resolved::Float(number as f64)),
        ("timestamp", resolved) => Ok(resolved),
        (tag, resolved) if resolved.tag() == tag => Ok(resolved),
        (tag, resolved) => Err(DecodeError(format!("yaml: cannot decode !!{} `{text}` as a !!{tag}", resolved.tag()))),
    }
}

/// A scalar without quotes and without a tag.
pub(super) fn plain(text: &str) -> Resolved {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Resolved::Null,
        "y" | "Y" | "yes" | "Yes" | "YES" | "true" | "True" | "TRUE" | "on" | "On" | "ON" => {
            return Resolved::Bool(true);
        }
        "n" | "N" | "no" | "No" | "NO" | "false" | "False" | "FALSE" | "off" | "Off" | "OFF" => {
            return Resolved::Bool(false);
        }
        ".nan" | ".NaN" | ".NAN" => return Resolved::Float(f64::NAN),
        ".inf" | ".Inf" | ".INF" | "+.inf" | "+.Inf" | "+.INF" => return Resolved::Float(f64::INFINITY),
        "-.inf" | "-.Inf" | "-.INF" => return Resolved::Float(f64::NEG_INFINITY),
        _ => {}
    }
    let number = match text.as_bytes().first() {
        Some(b'.') => float(text),
        Some(b'+' | b'-' | b'0'..=b'9') => {
            let digits = text.replace('_', "");
            integer(&digits).or_else(|| float(&digits))
        }
        _ => None,
    };
    number.unwrap_or_else(|| Resolved::Text(text.into()))
}

/// Go's `strconv.ParseInt` with base 0: the prefix says which.
fn integer(text: &str) -> Option<Resolved> {
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    let lower = unsigned.to_ascii_lowercase();
    let (radix, digits) = match lower.as_bytes() {
        [b'0', b'x', digits @ ..] => (16, digits),
        [b'0', b'o', digits @ ..] => (8, digits),
        [b'0', b'b', digits @ ..] => (2, digits),
        [b'0', digits @ ..] if !digits.is_empty() => (8, digits),
        digits => (10, digits),
    };
    if digits.is_empty() || !digits.iter().all(|digit| char::from(*digit).is_digit(radix)) {
        return None;
    }
    let digits = std::str::from_utf8(digits).ok()?;
    let value = i128::from_str_radix(digits, radix).ok()?;
    let value = if text.starts_with('-') { -value } else { value };
    match i64::try_from(value) {
        Ok(value) => Some(Resolved::Int(value)),
        Err(_) if text.len() == unsigned.len() => u64::try_from(value).ok().map(Resolved::Large),
        Err(_) => None,
    }
}

/// A decimal number with a fraction or an exponent, or one that is no octal number though it begins with a zero.
fn float(text: &str) -> Option<Resolved> {
    let digits = |text: &str| text.bytes().take_while(u8::is_ascii_digit).count();
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    let whole = digits(unsigned);
    let mut rest = &unsigned[whole..];
    if let Some(after) = rest.strip_prefix('.') {
        let fraction = digits(after);
        if whole == 0 && fraction == 0 {
            return None;
        }
        rest = &after[fraction..];
    } else if whole == 0 {
        return None;
    }
    if let Some(exponent) = rest.strip_prefix(['e', 'E']) {
        let exponent = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
        rest = &exponent[digits(exponent)..];
        if exponent.is_empty() {
            return None;
        }
    }
    let number: f64 = rest.is_empty().then(|| text.parse().ok())??;
    number.is_finite().then_some(Resolved::Float(number))
}
