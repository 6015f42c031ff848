//! Header blocks: name-value pairs, compressed with a shared state per direction.

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress};

use super::SpdyError;
use super::dictionary::DICTIONARY;

/// Largest header block after decompression, in bytes.
const MAX_BLOCK: usize = 64 * 1024;
/// Most headers in a block.
const MAX_HEADERS: u32 = 128;
const STEP: usize = 4 * 1024;

/// Names (lower case) and values, in the order they were sent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Headers(Vec<(String, String)>);

/// Compresses the blocks of one direction.
pub(super) struct HeaderEncoder(Compress);

/// Decompresses the blocks of one direction.
pub(super) struct HeaderDecoder(Decompress);

// === impl Headers ===

impl Headers {
    /// The value of a header, if it is there.
    pub fn get(&self, name: &str) -> Option<&str> {
        let found = self.0.iter().find(|(key, _)| key.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }

    fn encode(&self) -> Vec<u8> {
        let mut block = Vec::new();
        // Blocks of our own are small; see MAX_HEADERS for the peer's.
        block.extend_from_slice(&(self.0.len() as u32).to_be_bytes());
        for text in self.0.iter().flat_map(|(name, value)| [name, value]) {
            block.extend_from_slice(&(text.len() as u32).to_be_bytes());
            block.extend_from_slice(text.as_bytes());
        }
        block
    }

    fn decode(mut block: &[u8]) -> Result<Self, SpdyError> {
        let count = number(&mut block)?;
        if count > MAX_HEADERS {
            return Err(SpdyError::TooLarge("too many headers"));
        }
        let mut headers = Vec::new();
        for _ in 0..count {
            headers.push((text(&mut block)?.to_ascii_lowercase(), text(&mut block)?));
        }
        Ok(Self(headers))
    }
}

impl<N: Into<String>, V: Into<String>> FromIterator<(N, V)> for Headers {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(pairs: I) -> Self {
        let pairs = pairs.into_iter();
        Self(pairs.map(|(name, value)| (name.into().to_ascii_lowercase(), value.into())).collect())
    }
}

fn number(block: &mut &[u8]) -> Result<u32, SpdyError> {
    let (bytes, rest) = block.split_first_chunk::<4>().ok_or(SpdyError::Invalid("a header block is cut off"))?;
    *block = rest;
    Ok(u32::from_be_bytes(*bytes))
}

fn text(block: &mut &[u8]) -> Result<String, SpdyError> {
    let length = number(block)? as usize;
    let bytes = block.split_off(..length).ok_or(SpdyError::Invalid("a header block is cut off"))?;
    Ok(String::from_utf8_lossy(bytes).into_owned())
}

// === impl HeaderEncoder ===

impl HeaderEncoder {
    pub(super) fn new() -> Result<Self, SpdyError> {
        let mut compress = Compress::new(Compression::best(), true);
        compress.set_dictionary(&DICTIONARY).map_err(|_| SpdyError::Compression)?;
        Ok(Self(compress))
    }

    pub(super) fn encode(&mut self, headers: &Headers) -> Result<Vec<u8>, SpdyError> {
        let block = headers.encode();
        let (mut out, start) = (Vec::new(), self.0.total_in());
        loop {
            out.reserve(STEP);
            let done = (self.0.total_in() - start) as usize;
            self.0.compress_vec(&block[done..], &mut out, FlushCompress::Sync).map_err(|_| SpdyError::Compression)?;
            // Room left over means that the flush is complete.
            if out.len() < out.capacity() {
                return Ok(out);
            }
        }
    }
}

// === impl HeaderDecoder ===

impl HeaderDecoder {
    pub(super) fn new() -> Self {
        Self(Decompress::new(true))
    }

    pub(super) fn decode(&mut self, compressed: &[u8]) -> Result<Headers, SpdyError> {
        let mut block = Vec::new();
        let start = self.0.total_in();
        loop {
            let done = (self.0.total_in() - start) as usize;
            block.reserve(STEP);
            let before = block.len();
            let outcome = self.0.decompress_vec(&compressed[done..], &mut block, FlushDecompress::Sync);
            match outcome {
                Err(error) if error.needs_dictionary().is_some() => {
                    self.0.set_dictionary(&DICTIONARY).map_err(|_| SpdyError::Compression)?;
                    continue;
                }
                Err(_) => return Err(SpdyError::Compression),
                Ok(_) => {}
            }
            if block.len() > MAX_BLOCK {
                return Err(SpdyError::TooLarge("a header block"));
            }
            let consumed = (self.0.total_in() - start) as usize;
            let progress = consumed > done || block.len() > before;
            if consumed == compressed.len() && block.len() < block.capacity() || !progress {
                return Headers::decode(&block);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_share_a_state() {
        let (mut encoder, mut decoder) = (HeaderEncoder::new().expect("encoder"), HeaderDecoder::new());
        let mut sizes = Vec::new();
        for id in 0..50 {
            let headers: Headers =
                [("streamType", "data".to_owned()), ("port", "80".to_owned()), ("requestID", id.to_string())]
                    .into_iter()
                    .collect();
            let block = encoder.encode(&headers).expect("encode");
            sizes.push(block.len());
            let decoded = decoder.decode(&block).expect("decode");
            assert_eq!(decoded, headers);
            assert_eq!(decoded.get("streamtype"), Some("data"));
        }
        assert!(sizes[10] < sizes[0], "{sizes:?}");
    }

    #[test]
    fn a_block_of_another_implementation() {
        // Two blocks written with C zlib and the dictionary of moby/spdystream, one after the other.
        let first = [
            0x78, 0xf9, 0xe3, 0xc6, 0xa7, 0xc2, 0x02, 0xa6, 0x23, 0x46, 0x70, 0x3a, 0x2b, 0x29, 0x4a, 0x4d, 0xcc, 0x85,
            0x16, 0x25, 0xac, 0xa9, 0xa0, 0x80, 0x06, 0x00, 0x00, 0x00, 0xff, 0xff,
        ];
        let second = [
            0x02, 0x65, 0x1c, 0x4c, 0xa9, 0xe2, 0x12, 0x60, 0x76, 0x01, 0xe9, 0xaa, 0x00, 0x12, 0x0c, 0x00, 0x00, 0x00,
            0x00, 0xff, 0xff,
        ];
        let mut decoder = HeaderDecoder::new();
        let headers = decoder.decode(&first).expect("the first block");
        assert_eq!(headers, [("streamtype", "error")].into_iter().collect());
        let headers = decoder.decode(&second).expect("the second block");
        assert_eq!(headers, [("streamtype", "stdin"), ("x", "")].into_iter().collect());
    }

    #[test]
    fn damage_and_bombs_are_refused() {
        assert!(HeaderDecoder::new().decode(b"garbage").is_err());
        let bomb: Headers = [("a", "x".repeat(MAX_BLOCK))].into_iter().collect();
        let block = HeaderEncoder::new().and_then(|mut encoder| encoder.encode(&bomb)).expect("encode");
        assert!(block.len() < 4_096, "{}", block.len());
        assert!(matches!(HeaderDecoder::new().decode(&block), Err(SpdyError::TooLarge(_))));
        let many: Headers = (0..200).map(|index| (format!("h{index}"), String::new())).collect();
        let block = HeaderEncoder::new().and_then(|mut encoder| encoder.encode(&many)).expect("encode");
        assert!(matches!(HeaderDecoder::new().decode(&block), Err(SpdyError::TooLarge(_))));
    }
}
