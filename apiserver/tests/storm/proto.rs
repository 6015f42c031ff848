//! As much of protobuf as it takes to see what an event is about, apart from the server's own codec.

use std::collections::BTreeMap;

/// Length-delimited fields of a message, by number; others are skipped.
pub(crate) fn fields(mut message: &[u8]) -> Vec<(u64, &[u8])> {
    let mut fields = Vec::new();
    while !message.is_empty() {
        let tag = varint(&mut message);
        match tag & 7 {
            0 => drop(varint(&mut message)),
            2 => {
                let length = varint(&mut message) as usize;
                let (field, rest) = message.split_at(length);
                fields.push((tag >> 3, field));
                message = rest;
            }
            other => panic!("wire type {other}"),
        }
    }
    fields
}

fn varint(bytes: &mut &[u8]) -> u64 {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (first, rest) = bytes.split_first().expect("a varint");
        *bytes = rest;
        value |= u64::from(first & 0x7f) << shift;
        if first & 0x80 == 0 {
            return value;
        }
    }
    panic!("a varint of more than ten bytes")
}

/// The first field of a number.
pub(crate) fn field<'a>(message: &'a [u8], number: u64) -> &'a [u8] {
    fields(message).into_iter().find(|(other, _)| *other == number).map_or(&[][..], |(_, field)| field)
}

/// A field that is text.
pub(crate) fn text(message: &[u8], number: u64) -> String {
    String::from_utf8(field(message, number).to_vec()).expect("UTF-8")
}

/// A field that is a map of texts.
pub(crate) fn map(message: &[u8], number: u64) -> BTreeMap<String, String> {
    let entries = fields(message).into_iter().filter(|(other, _)| *other == number);
    entries.map(|(_, entry)| (text(entry, 1), text(entry, 2))).collect()
}
