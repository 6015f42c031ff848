//! What upstream's Go types wrote for the objects of these tests, as digests: `recorded.tsv` has a line
//! `API-VERSION  KIND  FULL  RANDOM` per kind, with the digest of the protobuf of the object with every field, and of the
//! random objects one after the other. The module `go` says how they were made.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use sha2::{Digest, Sha256};

use super::Kind;

/// Where the digests are.
pub(crate) const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/encodings/recorded.tsv");

/// The digests of kinds while objects are added.
#[derive(Default)]
pub(crate) struct Digests(BTreeMap<(String, &'static str), [Sha256; 2]>);

impl Digests {
    /// Adds the protobuf of an object: the one with every field, or a random one.
    pub(crate) fn add(&mut self, kind: Kind, full: bool, protobuf: &[u8]) {
        self.0.entry((kind.api_version(), kind.kind)).or_default()[usize::from(!full)].update(protobuf);
    }

    /// The text of the file.
    pub(crate) fn text(self) -> String {
        let mut text = String::new();
        for ((api_version, kind), digests) in self.0 {
            let [full, random] = digests.map(|digest| {
                // 64 bits tell mistakes apart.
                digest.finalize()[..8].iter().fold(String::new(), |mut text, byte| {
                    let _ = write!(text, "{byte:02x}");
                    text
                })
            });
            let _ = writeln!(text, "{api_version}\t{kind}\t{full}\t{random}");
        }
        text
    }
}
