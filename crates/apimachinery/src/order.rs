//! The order of keys, without a call for each comparison.
//!
//! Every field of every object in flight is looked up by name many times on its way. Names are short and mostly differ
//! in their first eight bytes, which compare as one number.

use std::cmp::Ordering;

/// A key that others are compared with.
#[derive(Clone, Copy)]
pub(crate) struct Key<'a> {
    bytes: &'a [u8],
    head: u64,
}

impl<'a> Key<'a> {
    /// A key.
    #[inline]
    pub(crate) fn new(text: &'a str) -> Self {
        Self { bytes: text.as_bytes(), head: head(text.as_bytes()) }
    }

    /// How another key compares to this one.
    #[inline]
    pub(crate) fn order_of(&self, other: &str) -> Ordering {
        let other = other.as_bytes();
        match head(other).cmp(&self.head) {
            Ordering::Equal if other.len() <= 8 || self.bytes.len() <= 8 => other.len().cmp(&self.bytes.len()),
            Ordering::Equal => other[8..].cmp(&self.bytes[8..]),
            different => different,
        }
    }
}

/// How two keys compare: by their bytes.
#[inline]
pub(crate) fn order(a: &str, b: &str) -> Ordering {
    Key::new(b).order_of(a)
}

/// The first eight bytes as a number that compares as they do; zeros stand for those that are not there.
#[inline]
fn head(bytes: &[u8]) -> u64 {
    if let Some(first) = bytes.first_chunk::<8>() {
        return u64::from_be_bytes(*first);
    }
    if let (Some(first), Some(last)) = (bytes.first_chunk::<4>(), bytes.last_chunk::<4>()) {
        let last = u64::from(u32::from_be_bytes(*last)) << (8 * (8 - bytes.len()));
        return u64::from(u32::from_be_bytes(*first)) << 32 | last;
    }
    let at = |i: usize| u64::from(bytes[i]) << (56 - 8 * i);
    match bytes.len() {
        0 => 0,
        length => at(0) | at(length / 2) | at(length - 1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_compare_as_their_bytes_do() {
        let keys = [
            "",
            "\0",
            "a",
            "a\0",
            "ab",
            "abc",
            "abcd",
            "abcde",
            "abcdef",
            "abcdefg",
            "abcdefg\0",
            "abcdefgh",
            "abcdefgh\0",
            "abcdefghi",
            "abcdefgi",
            "abd",
            "b",
            "ba",
            "metadata",
            "metadatb",
            "é",
            "\u{10ffff}",
        ];
        for a in keys {
            for b in keys {
                assert_eq!(order(a, b), a.as_bytes().cmp(b.as_bytes()), "{a:?} {b:?}");
            }
        }
    }
}
