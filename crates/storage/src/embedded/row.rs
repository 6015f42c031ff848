//! The `val` column: `checksum u32 | rv_at u32 | expires_at u64 | JSON`, little endian; of a deletion only the checksum.
//!
//! SQLite checks the structure of its pages but not their content, so each row carries a CRC-32 over all it says.

use bytes::Bytes;

use crate::local::expiry::UnixSeconds;
use crate::{Revision, StoredObject};

/// `op` of a value.
pub(super) const PUT: i64 = 1;
/// `op` of a deletion.
pub(super) const DELETE: i64 = 0;

const CHECKSUM_BYTES: usize = 4;

/// A row as read.
#[derive(Debug, PartialEq)]
pub(super) struct Decoded {
    /// `None` for a deletion.
    pub(super) object: Option<StoredObject>,
    pub(super) expires_at: UnixSeconds,
}

/// Writes `val` into a reused buffer.
pub(super) fn encode(
    out: &mut Vec<u8>,
    revision: Revision,
    key: &str,
    object: Option<&StoredObject>,
    expires_at: UnixSeconds,
) {
    out.clear();
    out.extend_from_slice(&[0; CHECKSUM_BYTES]);
    if let Some(object) = object {
        out.extend_from_slice(&object.rv_at.to_le_bytes());
        out.extend_from_slice(&expires_at.to_le_bytes());
        out.extend_from_slice(&object.json);
    }
    let op = if object.is_some() { PUT } else { DELETE };
    let checksum = checksum(revision, op, key, &out[CHECKSUM_BYTES..]);
    out[..CHECKSUM_BYTES].copy_from_slice(&checksum.to_le_bytes());
}

/// Reads `val`; the error says what is wrong with it.
pub(super) fn decode(revision: Revision, op: i64, key: &str, val: &[u8]) -> Result<Decoded, &'static str> {
    let (expected, rest) = val.split_first_chunk::<CHECKSUM_BYTES>().ok_or("it is too short")?;
    if u32::from_le_bytes(*expected) != checksum(revision, op, key, rest) {
        return Err("its checksum does not match");
    }
    match op {
        DELETE if rest.is_empty() => Ok(Decoded { object: None, expires_at: 0 }),
        PUT => {
            let (rv_at, rest) = rest.split_first_chunk::<4>().ok_or("it is too short")?;
            let (expires_at, json) = rest.split_first_chunk::<8>().ok_or("it is too short")?;
            let rv_at = u32::from_le_bytes(*rv_at);
            let digits = revision.to_string();
            if !json.get(rv_at as usize..).is_some_and(|text| text.starts_with(digits.as_bytes())) {
                return Err("its resourceVersion is not where it should be");
            }
            let object = StoredObject { json: Bytes::copy_from_slice(json), rv_at, rv_len: digits.len() as u8 };
            Ok(Decoded { object: Some(object), expires_at: u64::from_le_bytes(*expires_at) })
        }
        _ => Err("its operation is unknown"),
    }
}

fn checksum(revision: Revision, op: i64, key: &str, rest: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&revision.to_le_bytes());
    hasher.update(&op.to_le_bytes());
    hasher.update(&(key.len() as u64).to_le_bytes());
    hasher.update(key.as_bytes());
    hasher.update(rest);
    hasher.finalize()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Draft;

    #[test]
    fn rows_round_trip_and_every_flipped_bit_is_noticed() {
        let draft = Draft { json: br#"{"metadata":{"resourceVersion":""}}"#.to_vec(), rv_at: 32 };
        let object = draft.splice(42);
        let mut val = Vec::new();
        encode(&mut val, 42, "/registry/a", Some(&object), 7);
        let expected = Decoded { object: Some(object), expires_at: 7 };
        assert_eq!(decode(42, PUT, "/registry/a", &val), Ok(expected));
        for bit in 0..val.len() * 8 {
            val[bit / 8] ^= 1 << (bit % 8);
            assert!(decode(42, PUT, "/registry/a", &val).is_err(), "bit {bit}");
            val[bit / 8] ^= 1 << (bit % 8);
        }
        for (revision, op, key) in [(43, PUT, "/registry/a"), (42, DELETE, "/registry/a"), (42, PUT, "/registry/b")] {
            assert!(decode(revision, op, key, &val).is_err());
        }
    }

    #[test]
    fn deletions_round_trip() {
        let mut val = Vec::new();
        encode(&mut val, 42, "/registry/a", None, 0);
        assert_eq!(decode(42, DELETE, "/registry/a", &val), Ok(Decoded { object: None, expires_at: 0 }));
        assert!(decode(42, DELETE, "/registry/a", &[]).is_err());
    }
}
