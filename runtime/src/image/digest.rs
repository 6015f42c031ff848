//! SHA-256 digests in the form `sha256:HEX`, and readers that compute them.

use std::io::{self, Read};

use sha2::{Digest as _, Sha256};

use super::ImageError;

/// The digest of a document.
pub(super) fn of(bytes: &[u8]) -> String {
    format(Sha256::digest(bytes).as_slice())
}

fn format(hash: &[u8]) -> String {
    use std::fmt::Write;
    hash.iter().fold("sha256:".to_owned(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// The hexadecimal part of a digest; other algorithms and bad lengths are refused.
pub(super) fn hex(digest: &str) -> Result<&str, ImageError> {
    digest
        .strip_prefix("sha256:")
        .filter(|hex| hex.len() == 64 && hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')))
        .ok_or_else(|| ImageError::Invalid(format!("unsupported digest {digest:?}")))
}

/// Fails unless `content` has the digest `expected`.
pub(super) fn check(content: &[u8], expected: &str, what: &str) -> Result<(), ImageError> {
    hex(expected)?;
    let actual = of(content);
    if actual == expected { Ok(()) } else { Err(mismatch(what, expected, &actual)) }
}

pub(super) fn mismatch(what: &str, expected: &str, actual: &str) -> ImageError {
    ImageError::Invalid(format!("{what} is damaged: expected {expected}, got {actual}"))
}

/// The chain id of a layer on top of a chain (OCI image-spec, config.md).
pub(super) fn chain_id(parent: Option<&str>, diff_id: &str) -> String {
    match parent {
        Some(parent) => of(format!("{parent} {diff_id}").as_bytes()),
        None => diff_id.to_owned(),
    }
}

/// Hashes and counts what is read through it, and fails beyond a limit.
pub(super) struct Hashing<R> {
    inner: R,
    hash: Sha256,
    left: u64,
}

impl<R: Read> Hashing<R> {
    pub(super) fn new(inner: R, limit: u64) -> Self {
        Self { inner, hash: Sha256::new(), left: limit }
    }

    /// Reads to the end and returns the digest of everything read.
    pub(super) fn finish(mut self) -> io::Result<String> {
        io::copy(&mut self, &mut io::sink())?;
        Ok(format(self.hash.finalize().as_slice()))
    }
}

impl<R: Read> Read for Hashing<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.left = self
            .left
            .checked_sub(count as u64)
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "the content is larger than it may be"))?;
        self.hash.update(&buffer[..count]);
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EMPTY: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn digests() {
        assert_eq!(of(b""), EMPTY);
        assert_eq!(hex(EMPTY).expect("valid").len(), 64);
        for bad in ["", "sha256:", "sha256:../../etc/passwd", "sha512:00", &EMPTY.to_uppercase()] {
            assert!(hex(bad).is_err(), "{bad}");
        }
        assert!(check(b"x", EMPTY, "layer").expect_err("wrong").to_string().contains("layer is damaged"));
        assert_eq!(Hashing::new(&b""[..], 0).finish().expect("read"), EMPTY);
        assert!(Hashing::new(&b"abc"[..], 2).finish().is_err());
    }
}
