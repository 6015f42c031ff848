//! A message written from its end, so that the length of what is inside is known when it has to be written.

use crate::json::DecodeError;

const VARINT: u32 = 0;
const FIXED64: u32 = 1;
const LENGTH: u32 = 2;
/// First size of the buffer.
const FIRST_BYTES: usize = 4096;

/// Bytes from `at` on are written.
#[derive(Debug, Default)]
pub(super) struct Backward {
    buffer: Vec<u8>,
    at: usize,
}

impl Backward {
    /// Starts anew, with the same memory.
    pub(super) fn clear(&mut self) {
        self.at = self.buffer.len();
    }

    /// What is written.
    pub(super) fn written(&self) -> &[u8] {
        &self.buffer[self.at..]
    }

    /// Number of bytes written.
    pub(super) fn len(&self) -> usize {
        self.buffer.len() - self.at
    }

    /// Puts bytes before all others.
    pub(super) fn put(&mut self, bytes: &[u8]) {
        if self.at < bytes.len() {
            self.grow(bytes.len());
        }
        self.at -= bytes.len();
        self.buffer[self.at..self.at + bytes.len()].copy_from_slice(bytes);
    }

    #[cold]
    fn grow(&mut self, room: usize) {
        let written = self.len();
        let size = (2 * self.buffer.len()).max(written + room).max(FIRST_BYTES);
        let mut larger = vec![0; size];
        larger[size - written..].copy_from_slice(self.written());
        self.buffer = larger;
        self.at = size - written;
    }

    fn byte(&mut self, byte: u8) {
        if self.at == 0 {
            self.grow(1);
        }
        self.at -= 1;
        self.buffer[self.at] = byte;
    }

    pub(super) fn varint(&mut self, mut value: u64) {
        if value < 0x80 {
            return self.byte(value as u8);
        }
        let (mut bytes, mut length) = ([0; 10], 0);
        while value >= 0x80 {
            bytes[length] = value as u8 | 0x80;
            value >>= 7;
            length += 1;
        }
        bytes[length] = value as u8;
        self.put(&bytes[..=length]);
    }

    fn key(&mut self, number: u32, wire_type: u32) {
        self.varint(u64::from(number << 3 | wire_type));
    }

    pub(super) fn integer(&mut self, number: u32, value: i64) {
        self.varint(value as u64);
        self.key(number, VARINT);
    }

    pub(super) fn double(&mut self, number: u32, value: f64) {
        self.put(&value.to_le_bytes());
        self.key(number, FIXED64);
    }

    pub(super) fn bytes(&mut self, number: u32, bytes: &[u8]) {
        self.put(bytes);
        self.varint(bytes.len() as u64);
        self.key(number, LENGTH);
    }

    /// A message that `body` writes.
    pub(super) fn message(
        &mut self,
        number: u32,
        body: impl FnOnce(&mut Self) -> Result<(), DecodeError>,
    ) -> Result<(), DecodeError> {
        let before = self.len();
        body(self)?;
        self.close(number, before);
        Ok(())
    }

    /// Makes a message of what was written since there were so many bytes.
    pub(super) fn close(&mut self, number: u32, before: usize) {
        self.varint((self.len() - before) as u64);
        self.key(number, LENGTH);
    }
}
