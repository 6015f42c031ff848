//! What a body says it is, against what is expected where it was sent.
//!
//! Follows the decoders of `k8s.io/apimachinery/pkg/runtime/serializer`: a body is read as the type that it names, and
//! then converted to the one that is wanted, so that the error says at which of these steps it ended.

use crate::body::Expected;

/// Kinds that every group version has besides its own.
const EVERYWHERE: [&str; 7] =
    ["WatchEvent", "ListOptions", "GetOptions", "DeleteOptions", "CreateOptions", "UpdateOptions", "PatchOptions"];

/// How a claim differs from what is expected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mismatch {
    /// The version is none at all.
    Malformed(String),
    /// No such kind, or one that cannot become the expected one; the error of the decoder.
    Undecodable(String),
    /// The expected kind in another version.
    OtherVersion,
}

/// Compares; what is not said is as expected.
pub fn compare(expected: Expected<'_>, api_version: &str, kind: &str) -> Result<(), Mismatch> {
    let wanted = expected.api_version();
    let api_version = if api_version.is_empty() { &wanted } else { api_version };
    let kind = if kind.is_empty() { expected.kind } else { kind };
    if (api_version, kind) == (wanted.as_str(), expected.kind) {
        return Ok(());
    }
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    if version.contains('/') {
        return Err(Mismatch::Malformed(format!("unexpected GroupVersion string: {api_version}")));
    }
    if !is_registered(group, version, kind) {
        return Err(Mismatch::Undecodable(format!(
            "no kind {kind:?} is registered for version {api_version:?} in scheme \"pkg/api/legacyscheme/scheme.go:30\""
        )));
    }
    if kind == expected.kind {
        Err(Mismatch::OtherVersion)
    } else {
        Err(Mismatch::Undecodable(unconvertible(expected, version, kind)))
    }
}

/// The error of a conversion that does not exist.
pub fn unconvertible(expected: Expected<'_>, version: &str, kind: &str) -> String {
    let package = expected.group.split('.').next().filter(|package| !package.is_empty()).unwrap_or("core");
    format!("converting ({version}.{kind}) to ({package}.{}): unknown conversion", expected.kind)
}

fn is_registered(group: &str, version: &str, kind: &str) -> bool {
    let builtin = skiff_api::builtin();
    let known = |kind: &str| builtin.schema_of(group, version, kind).is_some();
    known(kind)
        || kind.strip_suffix("List").is_some_and(known)
        || (EVERYWHERE.contains(&kind)
            && builtin.kinds.iter().any(|known| known.group == group && known.version == version))
}
