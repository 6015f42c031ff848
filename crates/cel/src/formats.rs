//! `format` of strings and numbers, as far as it is checked.
//!
//! The list is that of `apiserver/validation/formats.go`; what a format accepts follows
//! `k8s.io/kube-openapi/pkg/validation/strfmt`.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::LazyLock;

use regex::Regex;

use crate::pattern;

/// Formats of strings, without their dashes.
const STRINGS: &[&str] = &[
    "bsonobjectid",
    "byte",
    "cidr",
    "creditcard",
    "date",
    "datetime",
    "duration",
    "email",
    "hexcolor",
    "hostname",
    "ipv4",
    "ipv6",
    "isbn",
    "isbn10",
    "isbn13",
    "k8slongname",
    "k8sshortname",
    "mac",
    "password",
    "rgbcolor",
    "ssn",
    "uri",
    "uuid",
    "uuid3",
    "uuid4",
    "uuid5",
];

/// The format, or nothing if it is none that is checked for this type.
pub fn supported<'f>(ty: &str, format: &'f str) -> &'f str {
    if is_known(ty, format) { format } else { "" }
}

/// Whether a format is checked for this type.
pub fn is_known(ty: &str, format: &str) -> bool {
    match ty {
        "" | "string" => STRINGS.contains(&format.replace('-', "").as_str()),
        "integer" => matches!(format, "int32" | "int64"),
        "number" => matches!(format, "float" | "double"),
        _ => false,
    }
}

macro_rules! expression {
    ($name:ident, $text:expr) => {
        static $name: LazyLock<Option<Regex>> = LazyLock::new(|| pattern::compile($text).ok());
    };
}

expression!(
    HOSTNAME,
    r"^([a-zA-Z0-9\p{S}\p{L}]((-?[a-zA-Z0-9\p{S}\p{L}]{0,62})?)|([a-zA-Z0-9\p{S}\p{L}](([a-zA-Z0-9-\p{S}\p{L}]{0,61}[a-zA-Z0-9\p{S}\p{L}])?)(\.)){1,}([a-zA-Z\p{L}]){2,63})$"
);
expression!(UUID, r"(?i)^[0-9a-f]{8}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{12}$");
expression!(UUID3, r"(?i)^[0-9a-f]{8}-?[0-9a-f]{4}-?3[0-9a-f]{3}-?[0-9a-f]{4}-?[0-9a-f]{12}$");
expression!(UUID4, r"(?i)^[0-9a-f]{8}-?[0-9a-f]{4}-?4[0-9a-f]{3}-?[89ab][0-9a-f]{3}-?[0-9a-f]{12}$");
expression!(UUID5, r"(?i)^[0-9a-f]{8}-?[0-9a-f]{4}-?5[0-9a-f]{3}-?[89ab][0-9a-f]{3}-?[0-9a-f]{12}$");
expression!(OBJECT_ID, r"^[0-9a-fA-F]{24}$");
expression!(SSN, r"^\d{3}[- ]?\d{2}[- ]?\d{4}$");
expression!(HEX_COLOR, r"^#?([0-9a-fA-F]{3}|[0-9a-fA-F]{6})$");
expression!(
    RGB_COLOR,
    r"^rgb\(\s*(0|[1-9]\d?|1\d\d?|2[0-4]\d|25[0-5])\s*,\s*(0|[1-9]\d?|1\d\d?|2[0-4]\d|25[0-5])\s*,\s*(0|[1-9]\d?|1\d\d?|2[0-4]\d|25[0-5])\s*\)$"
);
expression!(BASE64, r"^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=|[A-Za-z0-9+/]{4})$");
expression!(
    CARD,
    r"^(?:4[0-9]{12}(?:[0-9]{3})?|5[1-5][0-9]{14}|(222[1-9]|22[3-9][0-9]|2[3-6][0-9]{2}|27[01][0-9]|2720)[0-9]{12}|6(?:011|5[0-9][0-9])[0-9]{12}|3[47][0-9]{13}|3(?:0[0-5]|[68][0-9])[0-9]{11}|(?:2131|1800|35\d{3})\d{11}|6[27][0-9]{14})$"
);
expression!(EMAIL, r#"^(?:[^<>@]*<)?(?:[A-Za-z0-9!#$%&'*+/=?^_`{|}~.-]+|"[^"]*")@[^\s<>@,;]+>?$"#);
expression!(TIME, r"^([0-9]{2}):([0-9]{2}):([0-9]{2})(.[0-9]+)?(z|([+-][0-9]{2}:[0-9]{2}))$");
expression!(DURATION, r"(\d+)\s*([A-Za-zµ]+)");
expression!(SHORT_NAME, r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$");
expression!(LONG_NAME, r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$");

fn matches(expression: &Option<Regex>, text: &str) -> bool {
    expression.as_ref().is_some_and(|expression| expression.is_match(text))
}

/// Whether a string has a format. Formats that are not checked accept everything.
pub fn accepts(format: &str, text: &str) -> bool {
    match format.replace('-', "").as_str() {
        "bsonobjectid" => matches(&OBJECT_ID, text),
        "byte" => matches(&BASE64, text),
        "cidr" => is_cidr(text),
        "creditcard" => is_card(text),
        "date" => is_date(text),
        "datetime" => is_date_time(text),
        "duration" => is_duration(text),
        "email" => matches(&EMAIL, text),
        "hexcolor" => matches(&HEX_COLOR, text),
        "hostname" => matches(&HOSTNAME, text) && text.len() <= 255 && text.split('.').all(|part| part.len() <= 63),
        "ipv4" => ipv4(text).is_some(),
        "ipv6" => text.contains(':') && text.parse::<Ipv6Addr>().is_ok(),
        "isbn" => is_isbn10(text) || is_isbn13(text),
        "isbn10" => is_isbn10(text),
        "isbn13" => is_isbn13(text),
        "k8slongname" => text.len() <= 253 && matches(&LONG_NAME, text),
        "k8sshortname" => text.len() <= 63 && matches(&SHORT_NAME, text),
        "mac" => is_mac(text),
        "rgbcolor" => matches(&RGB_COLOR, text),
        "ssn" => matches(&SSN, text),
        "uri" => is_uri(text),
        "uuid" => matches(&UUID, text),
        "uuid3" => matches(&UUID3, text),
        "uuid4" => matches(&UUID4, text),
        "uuid5" => matches(&UUID5, text),
        _ => true,
    }
}

/// An IPv4 address; numbers may have leading zeros, as older parsers of Go allow.
fn ipv4(text: &str) -> Option<Ipv4Addr> {
    let mut octets = [0; 4];
    let mut parts = text.split('.');
    for octet in &mut octets {
        let part = parts.next()?;
        if part.is_empty() || !part.bytes().all(|c| c.is_ascii_digit()) {
            return None;
        }
        *octet =
            part.trim_start_matches('0').parse::<u8>().ok().or_else(|| part.bytes().all(|c| c == b'0').then_some(0))?;
    }
    parts.next().is_none().then(|| Ipv4Addr::from(octets))
}

fn is_cidr(text: &str) -> bool {
    let Some((address, length)) = text.split_once('/') else { return false };
    let bits =
        if address.contains(':') { address.parse::<Ipv6Addr>().ok().map(|_| 128) } else { ipv4(address).map(|_| 32) };
    let digits = !length.is_empty() && length.bytes().all(|c| c.is_ascii_digit());
    digits && length.parse::<u32>().is_ok_and(|length| bits.is_some_and(|bits| length <= bits))
}

fn is_mac(text: &str) -> bool {
    let hex = |part: &str, length: usize| part.len() == length && part.bytes().all(|c| c.is_ascii_hexdigit());
    for separator in [':', '-'] {
        let parts = text.split(separator).collect::<Vec<_>>();
        if matches!(parts.len(), 6 | 8 | 20) && parts.iter().all(|part| hex(part, 2)) {
            return true;
        }
    }
    let parts = text.split('.').collect::<Vec<_>>();
    matches!(parts.len(), 3 | 4 | 10) && parts.iter().all(|part| hex(part, 4))
}

fn is_date(text: &str) -> bool {
    let shape = text.len() == 10
        && text.bytes().enumerate().all(|(i, c)| if i == 4 || i == 7 { c == b'-' } else { c.is_ascii_digit() });
    shape && text.parse::<jiff::civil::Date>().is_ok()
}

fn is_date_time(text: &str) -> bool {
    if text.len() < 4 {
        return false;
    }
    let lower = text.to_lowercase();
    let Some((date, time)) = lower.split_once('t') else { return false };
    if !is_date(date) {
        return false;
    }
    let Some(parts) = TIME.as_ref().and_then(|expression| expression.captures(time)) else { return false };
    let number = |i: usize| parts.get(i).and_then(|part| part.as_str().parse::<u32>().ok()).unwrap_or(u32::MAX);
    number(1) <= 23 && number(2) <= 59 && number(3) <= 59
}

fn is_duration(text: &str) -> bool {
    if crate::value::duration(text).is_some() {
        return true;
    }
    let Some(expression) = DURATION.as_ref() else { return false };
    // The last name of a unit may be the beginning of a word.
    const UNITS: [&[&str]; 8] = [
        &["ns", "nano"],
        &["us", "µs", "micro"],
        &["ms", "milli"],
        &["s", "sec"],
        &["m", "min"],
        &["h", "hr", "hour"],
        &["d", "day"],
        &["w", "wk", "week"],
    ];
    expression.captures_iter(text).any(|parts| {
        let unit = parts.get(2).map_or("", |unit| unit.as_str()).to_lowercase();
        UNITS
            .iter()
            .any(|names| names.contains(&unit.as_str()) || names.last().is_some_and(|last| unit.starts_with(last)))
    })
}

/// A URI as Go's `url.ParseRequestURI` takes it.
fn is_uri(text: &str) -> bool {
    if text.is_empty() || text.bytes().any(|c| c < 0x20 || c == 0x7f) {
        return false;
    }
    if text.starts_with('/') || text == "*" {
        return is_escaped(text);
    }
    let Some((scheme, rest)) = text.split_once(':') else { return false };
    let letters = scheme.bytes().all(|c| c.is_ascii_alphanumeric() || matches!(c, b'+' | b'-' | b'.'));
    if !letters || !scheme.starts_with(|c: char| c.is_ascii_alphabetic()) {
        return false;
    }
    let Some(rest) = rest.strip_prefix("//") else { return true };
    let host = rest.split(['/', '?', '#']).next().unwrap_or("");
    let host = host.rsplit('@').next().unwrap_or("");
    let port = if host.starts_with('[') {
        host.rsplit(']').next().unwrap_or("")
    } else {
        host.split_once(':').map_or("", |_| &host[host.find(':').unwrap_or(0)..])
    };
    !host.contains([' ', '<', '>', '"', '^', '`', '{', '}', '|', '\\'])
        && port.trim_start_matches(':').bytes().all(|c| c.is_ascii_digit())
        && is_escaped(rest)
}

/// Whether every percent sign begins an escape.
fn is_escaped(text: &str) -> bool {
    text.split('%').skip(1).all(|part| part.len() >= 2 && part.bytes().take(2).all(|c| c.is_ascii_hexdigit()))
}

fn is_isbn10(text: &str) -> bool {
    let digits = text.replace(['-', ' '], "");
    if digits.len() != 10 || !digits.is_ascii() {
        return false;
    }
    let mut sum = 0;
    for (i, c) in (1..).zip(digits.bytes()) {
        sum += i * match c {
            b'0'..=b'9' => u32::from(c - b'0'),
            b'X' if i == 10 => 10,
            _ => return false,
        };
    }
    sum % 11 == 0
}

fn is_isbn13(text: &str) -> bool {
    let digits = text.replace(['-', ' '], "");
    if digits.len() != 13 || !digits.bytes().all(|c| c.is_ascii_digit()) {
        return false;
    }
    let sum =
        digits.bytes().enumerate().map(|(i, c)| u32::from(c - b'0') * if i % 2 == 0 { 1 } else { 3 }).sum::<u32>();
    sum % 10 == 0
}

fn is_card(text: &str) -> bool {
    let digits = text.chars().filter(char::is_ascii_digit).collect::<String>();
    if !matches(&CARD, &digits) {
        return false;
    }
    let sum = digits.bytes().rev().enumerate().map(|(i, c)| {
        let digit = u32::from(c - b'0') * if i % 2 == 1 { 2 } else { 1 };
        if digit > 9 { digit - 9 } else { digit }
    });
    sum.sum::<u32>() % 10 == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_format_accepts_and_refuses() {
        for (format, good, bad) in [
            ("date-time", "2014-12-15T19:30:20.000Z", "2014-12-15"),
            ("date", "2006-01-02", "2006-13-02"),
            ("duration", "22 ns", "x"),
            ("duration", "1h30m", "1 parsec"),
            ("ipv4", "10.0.0.1", "10.0.0"),
            ("ipv6", "::1", "10.0.0.1"),
            ("cidr", "10.0.0.0/8", "10.0.0.0/33"),
            ("email", "a@example.com", "a"),
            ("hostname", "example.com", "-example"),
            ("mac", "00:11:22:33:44:55", "00:11"),
            ("uri", "https://example.com/x", "example"),
            ("uuid", "123e4567-e89b-12d3-a456-426614174000", "123"),
            ("isbn", "978-0321751041", "978-0321751042"),
            ("creditcard", "4111 1111 1111 1111", "4111 1111 1111 1112"),
            ("ssn", "123-45-6789", "123"),
            ("hexcolor", "#FFFFFF", "#FF"),
            ("rgbcolor", "rgb(0,10,255)", "rgb(0,10)"),
            ("byte", "aGVsbG8=", "a"),
            ("k8s-short-name", "a-b", "a.b"),
            ("k8s-long-name", "a.b", "A"),
        ] {
            assert!(is_known("string", format), "{format}");
            assert!(accepts(format, good), "{format} {good}");
            assert!(!accepts(format, bad), "{format} {bad}");
        }
        assert_eq!(supported("string", "whatever"), "");
    }
}
