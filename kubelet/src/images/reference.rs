//! Image names: what a user writes, checked and completed (grammar of `distribution/reference`).

use std::sync::LazyLock;

use regex::Regex;

/// Longest repository name, with its registry.
const NAME_MAX: usize = 255;
const DEFAULT_REGISTRY: &str = "docker.io";
/// Folder of images without one in the default registry.
const DEFAULT_FOLDER: &str = "library";

/// Repository, tag and digest as written; the pattern is built from the grammar's parts.
static PATTERN: LazyLock<Option<Regex>> = LazyLock::new(|| {
    let part = "(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])";
    let registry = format!("(?:(?:{part}(?:\\.{part})*)|\\[[a-fA-F0-9:]+\\])(?::[0-9]+)?");
    let path = "[a-z0-9]+(?:(?:[._]|__|[-]+)[a-z0-9]+)*";
    let name = format!("(?:{registry}/)?{path}(?:/{path})*");
    let digest = "[A-Za-z][A-Za-z0-9]*(?:[-_+.][A-Za-z][A-Za-z0-9]*)*:[0-9a-fA-F]{32,}";
    Regex::new(&format!("^({name})(?::([\\w][\\w.-]{{0,127}}))?(?:@({digest}))?$")).ok()
});

/// An image name in its parts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ImageName {
    /// Host, and port if there is one.
    pub(crate) registry: String,
    /// Path within the registry.
    pub(crate) path: String,
    /// What is sent to the runtime: as written, with `:latest` if there was neither tag nor digest.
    pub(crate) reference: String,
}

impl ImageName {
    /// Parses a name. The error is upstream's text.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let invalid = |why: &str| format!("couldn't parse image name {text:?}: {why}");
        if text.len() == 64 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
            return Err(invalid("invalid repository name, cannot specify 64-byte hexadecimal strings"));
        }
        let captures = PATTERN.as_ref().and_then(|pattern| pattern.captures(text));
        let Some(captures) = captures else {
            let lower = PATTERN.as_ref().is_some_and(|pattern| pattern.is_match(&text.to_lowercase()));
            let why = if lower { "repository name must be lowercase" } else { "invalid reference format" };
            return Err(invalid(why));
        };
        let name = captures.get(1).map_or("", |m| m.as_str());
        if name.len() > NAME_MAX {
            return Err(invalid("repository name must not be more than 255 characters"));
        }
        let plain = captures.get(2).is_none() && captures.get(3).is_none();
        let reference = if plain { format!("{text}:latest") } else { text.to_owned() };
        let (registry, path) = split_registry(name);
        Ok(Self { registry, path, reference })
    }
}

/// The first part is a registry if it looks like a host: it has a dot or a colon, is `localhost`, or has capitals.
fn split_registry(name: &str) -> (String, String) {
    let (registry, path) = match name.split_once('/') {
        Some((first, rest)) if first.contains(['.', ':']) || first == "localhost" || first.to_lowercase() != first => {
            (first, rest)
        }
        _ => (DEFAULT_REGISTRY, name),
    };
    let registry = if registry == "index.docker.io" { DEFAULT_REGISTRY } else { registry };
    if registry == DEFAULT_REGISTRY && !path.contains('/') {
        return (registry.to_owned(), format!("{DEFAULT_FOLDER}/{path}"));
    }
    (registry.to_owned(), path.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_completed() {
        let digest = format!("sha256:{}", "a".repeat(64));
        for (text, registry, path, reference) in [
            ("nginx", "docker.io", "library/nginx", "nginx:latest"),
            ("nginx:1.27", "docker.io", "library/nginx", "nginx:1.27"),
            ("me/app", "docker.io", "me/app", "me/app:latest"),
            ("skiff.local/echo:v1", "skiff.local", "echo", "skiff.local/echo:v1"),
            ("localhost:5000/a/b", "localhost:5000", "a/b", "localhost:5000/a/b:latest"),
            ("localhost/a", "localhost", "a", "localhost/a:latest"),
            (&format!("r.io/a@{digest}"), "r.io", "a", &format!("r.io/a@{digest}")),
        ] {
            let name = ImageName::parse(text).expect(text);
            assert_eq!(
                (name.registry.as_str(), name.path.as_str(), name.reference.as_str()),
                (registry, path, reference)
            );
        }
    }

    #[test]
    fn broken_names_are_refused() {
        for (text, why) in [
            ("", "invalid reference format"),
            ("nginx:", "invalid reference format"),
            ("Nginx", "repository name must be lowercase"),
            ("a b", "invalid reference format"),
            ("a@sha256:12", "invalid reference format"),
            ("docker.io//x", "invalid reference format"),
            (&"a".repeat(64), "64-byte hexadecimal"),
            (&format!("x{}", "y".repeat(255)), "255 characters"),
        ] {
            let error = ImageName::parse(text).expect_err(text);
            assert!(error.contains(why), "{text}: {error}");
            assert!(error.starts_with("couldn't parse image name"), "{error}");
        }
    }
}
