//! ASN.1 values in DER, as far as a certificate needs them.

use jiff::Timestamp;
use jiff::tz::TimeZone;

const INTEGER: u8 = 0x02;
const BIT_STRING: u8 = 0x03;
const OCTET_STRING: u8 = 0x04;
const OBJECT_IDENTIFIER: u8 = 0x06;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
const SEQUENCE: u8 = 0x30;
const CONTEXT: u8 = 0x80;
const CONSTRUCTED: u8 = 0x20;

/// A value with its tag and length.
fn tagged(tag: u8, content: &[u8]) -> Vec<u8> {
    let mut out = vec![tag];
    match u8::try_from(content.len()) {
        Ok(short) if short < 0x80 => out.push(short),
        _ => {
            let length = content.len().to_be_bytes();
            let first = length.iter().position(|byte| *byte != 0).unwrap_or(length.len() - 1);
            // At most eight bytes of length.
            out.push(0x80 | u8::try_from(length.len() - first).unwrap_or(8));
            out.extend_from_slice(&length[first..]);
        }
    }
    out.extend_from_slice(content);
    out
}

/// A SEQUENCE of values.
pub(super) fn sequence(parts: &[Vec<u8>]) -> Vec<u8> {
    tagged(SEQUENCE, &parts.concat())
}

/// A positive INTEGER.
pub(super) fn integer(bytes: &[u8]) -> Vec<u8> {
    let significant = bytes.iter().position(|byte| *byte != 0).map_or(&[0][..], |first| &bytes[first..]);
    let mut content = Vec::with_capacity(significant.len() + 1);
    if significant[0] & 0x80 != 0 {
        content.push(0);
    }
    content.extend_from_slice(significant);
    tagged(INTEGER, &content)
}

/// An OBJECT IDENTIFIER.
pub(super) fn oid(arcs: &[u64]) -> Vec<u8> {
    let (first, rest) = arcs.split_at(2.min(arcs.len()));
    let mut content = Vec::new();
    let head = first.iter().fold(0, |sum, arc| sum * 40 + arc);
    for arc in std::iter::once(&head).chain(rest) {
        let start = content.len();
        let mut left = *arc;
        loop {
            let more = if content.len() > start { 0x80 } else { 0 };
            content.insert(start, (left & 0x7f) as u8 | more);
            left >>= 7;
            if left == 0 {
                break;
            }
        }
    }
    tagged(OBJECT_IDENTIFIER, &content)
}

/// An OCTET STRING.
pub(super) fn octets(content: &[u8]) -> Vec<u8> {
    tagged(OCTET_STRING, content)
}

/// A BIT STRING of whole bytes.
pub(super) fn bits(content: &[u8]) -> Vec<u8> {
    tagged(BIT_STRING, &[&[0], content].concat())
}

/// A BIT STRING of single flags, the first at 0.
pub(super) fn flags(set: u16) -> Vec<u8> {
    let reversed = set.reverse_bits().to_be_bytes();
    let used = if reversed[1] == 0 { &reversed[..1] } else { &reversed[..] };
    let unused = used.last().map_or(0, |last| last.trailing_zeros().min(7));
    tagged(BIT_STRING, &[&[unused as u8], used].concat())
}

/// `[number]` around a value.
pub(super) fn explicit(number: u8, value: &[u8]) -> Vec<u8> {
    tagged(CONTEXT | CONSTRUCTED | number, value)
}

/// `[number]` in place of a value's own tag.
pub(super) fn implicit(number: u8, content: &[u8]) -> Vec<u8> {
    tagged(CONTEXT | number, content)
}

/// A time as certificates write it: with two digits of the year up to 2049.
pub(super) fn time(at: Timestamp) -> Vec<u8> {
    let at = at.to_zoned(TimeZone::UTC);
    if at.year() < 2050 {
        tagged(UTC_TIME, at.strftime("%y%m%d%H%M%SZ").to_string().as_bytes())
    } else {
        tagged(GENERALIZED_TIME, at.strftime("%Y%m%d%H%M%SZ").to_string().as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_the_standard() {
        assert_eq!(integer(&[0, 0x80]), [2, 2, 0, 0x80]);
        assert_eq!(integer(&[0, 1]), [2, 1, 1]);
        assert_eq!(oid(&[1, 2, 840, 113_549]), [6, 6, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d]);
        assert_eq!(flags(0b101), [3, 2, 5, 0xa0]);
        assert_eq!(flags(1 << 8), [3, 3, 7, 0, 0x80]);
        assert_eq!(time("2026-01-02T03:04:05Z".parse().expect("a time")), b"\x17\x0d260102030405Z");
        assert_eq!(time("2050-01-02T03:04:05Z".parse().expect("a time")), b"\x18\x0f20500102030405Z");
        assert_eq!(octets(&[7; 200])[..3], [4, 0x81, 200]);
    }
}
