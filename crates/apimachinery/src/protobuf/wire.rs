//! Keys, varints and lengths.

use crate::json::DecodeError;

const VARINT: u32 = 0;
const FIXED64: u32 = 1;
const LENGTH: u32 = 2;
const START_GROUP: u32 = 3;
const END_GROUP: u32 = 4;
const FIXED32: u32 = 5;

/// A value as it came.
#[derive(Clone, Copy, Debug)]
pub(super) enum Field<'a> {
    Varint(u64),
    Fixed64(u64),
    Bytes(&'a [u8]),
    Other,
}

impl<'a> Field<'a> {
    pub(super) fn bytes(self) -> Result<&'a [u8], DecodeError> {
        match self {
            Field::Bytes(bytes) => Ok(bytes),
            _ => Err(wrong_wire_type()),
        }
    }

    pub(super) fn text(self) -> Result<&'a str, DecodeError> {
        std::str::from_utf8(self.bytes()?).map_err(|_| DecodeError("proto: string is not valid UTF-8".into()))
    }

    pub(super) fn varint(self) -> Result<u64, DecodeError> {
        match self {
            Field::Varint(value) => Ok(value),
            _ => Err(wrong_wire_type()),
        }
    }
}

pub(super) fn wrong_wire_type() -> DecodeError {
    DecodeError("proto: wrong wireType for a field".into())
}

fn end() -> DecodeError {
    DecodeError("unexpected EOF".into())
}

/// Calls `each` with every field of a message, in the order in which they came.
pub(super) fn fields<'a>(
    mut bytes: &'a [u8],
    mut each: impl FnMut(u32, Field<'a>) -> Result<(), DecodeError>,
) -> Result<(), DecodeError> {
    while !bytes.is_empty() {
        let key = varint(&mut bytes)?;
        let (number, wire_type) = ((key >> 3) as u32, (key & 7) as u32);
        if number == 0 || key > u64::from(u32::MAX) {
            return Err(DecodeError(format!("proto: illegal tag {number} (wire type {wire_type})")));
        }
        let field = match wire_type {
            VARINT => Field::Varint(varint(&mut bytes)?),
            FIXED64 => Field::Fixed64(u64::from_le_bytes(array(take(&mut bytes, 8)?))),
            LENGTH => {
                let length = usize::try_from(varint(&mut bytes)?).map_err(|_| end())?;
                Field::Bytes(take(&mut bytes, length)?)
            }
            START_GROUP => {
                skip_group(&mut bytes, number)?;
                Field::Other
            }
            FIXED32 => {
                take(&mut bytes, 4)?;
                Field::Other
            }
            other => return Err(DecodeError(format!("proto: illegal wireType {other}"))),
        };
        each(number, field)?;
    }
    Ok(())
}

/// Varints one after the other: a packed list.
pub(super) fn packed(mut bytes: &[u8], mut each: impl FnMut(u64)) -> Result<(), DecodeError> {
    while !bytes.is_empty() {
        each(varint(&mut bytes)?);
    }
    Ok(())
}

/// Groups are not used by Kubernetes, but may be in fields that are not known here.
fn skip_group(bytes: &mut &[u8], number: u32) -> Result<(), DecodeError> {
    let mut open = vec![number];
    while let Some(innermost) = open.last().copied() {
        let key = varint(bytes)?;
        match (key & 7) as u32 {
            VARINT => drop(varint(bytes)?),
            FIXED64 => drop(take(bytes, 8)?),
            LENGTH => {
                let length = usize::try_from(varint(bytes)?).map_err(|_| end())?;
                take(bytes, length)?;
            }
            FIXED32 => drop(take(bytes, 4)?),
            START_GROUP if open.len() < super::MAX_DEPTH as usize => open.push((key >> 3) as u32),
            END_GROUP if (key >> 3) as u32 == innermost => drop(open.pop()),
            other => return Err(DecodeError(format!("proto: illegal wireType {other}"))),
        }
    }
    Ok(())
}

fn varint(bytes: &mut &[u8]) -> Result<u64, DecodeError> {
    let mut value = 0_u64;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = bytes.split_first().ok_or_else(end)?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Ok(value);
        }
    }
    Err(DecodeError("proto: integer overflow".into()))
}

fn take<'a>(bytes: &mut &'a [u8], length: usize) -> Result<&'a [u8], DecodeError> {
    let (taken, rest) = bytes.split_at_checked(length).ok_or_else(end)?;
    *bytes = rest;
    Ok(taken)
}

fn array<const N: usize>(bytes: &[u8]) -> [u8; N] {
    let mut array = [0; N];
    array.copy_from_slice(bytes);
    array
}

pub(super) fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn put_key(out: &mut Vec<u8>, number: u32, wire_type: u32) {
    put_varint(out, u64::from(number << 3 | wire_type));
}

pub(super) fn put_bytes(out: &mut Vec<u8>, number: u32, bytes: &[u8]) {
    put_length(out, number, bytes.len());
    out.extend_from_slice(bytes);
}

/// What stands before so many bytes.
pub(super) fn put_length(out: &mut Vec<u8>, number: u32, length: usize) {
    put_key(out, number, LENGTH);
    put_varint(out, length as u64);
}
