//! The hash of a pod template, in names and labels of ReplicaSets and of revisions of DaemonSets.
//!
//! Upstream (`ComputeHash` of `pkg/controller`) hashes how Go prints the template's struct: type names, field names and
//! all. Clusters that were upstream's, and tools that compute the hash, expect the same one; another hash would replace
//! every pod of a Deployment whose ReplicaSet was made elsewhere. So the struct is printed here ([`print`]) with the
//! names that it has in Go ([`layout`]).

mod layout;
mod print;
mod quantity;

use skiff_client::types::RawJson;

/// Characters of hashes: none that could make a word.
const ALPHABET: &[u8; 27] = b"bcdfghjklmnpqrstvwxz2456789";

/// The hash of a template: FNV-1a of 32 bits over its print and the number of collisions met, if there were any.
pub(crate) fn hash(template: &RawJson, collisions: Option<i32>) -> String {
    let text = print::print(&template.value());
    // The count is written as 32 bits into a buffer of twice that size.
    let collisions = collisions.map(|count| [count.to_le_bytes(), [0; 4]].concat());
    let bytes = text.bytes().chain(collisions.into_iter().flatten());
    safe(bytes.fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)))
}

/// A number in characters that make no words (upstream `rand.SafeEncodeString`).
pub(crate) fn safe(hash: u32) -> String {
    hash.to_string().bytes().map(|digit| ALPHABET[usize::from(digit) % ALPHABET.len()] as char).collect()
}

#[cfg(test)]
mod tests;
