//! Whether a container's image is the latest one of its name.
//!
//! Follows `ParseImageName` of `pkg/util/parsers` and `ParseNormalizedNamed` of `github.com/distribution/reference`.

/// Longest name without tag and digest.
const MAX_NAME: usize = 255;
const MAX_TAG: usize = 128;
/// Digests that are known, with the length of their hexadecimal form.
const DIGESTS: [(&str, usize); 3] = [("sha256", 64), ("sha384", 96), ("sha512", 128)];

/// Whether this is a well-formed name with the tag `latest`, or with neither tag nor digest.
pub(super) fn is_latest(image: &str) -> bool {
    let (rest, digest) = image.split_once('@').map_or((image, None), |(rest, digest)| (rest, Some(digest)));
    if is_hex(image, 64) || digest.is_some_and(|digest| !is_digest(digest)) {
        return false;
    }
    // What looks like a host is one.
    let (domain, path) = match rest.split_once('/') {
        Some((first, path)) if first == "localhost" || first.contains(['.', ':']) || first.to_lowercase() != first => {
            (Some(first), path)
        }
        _ => (None, rest),
    };
    let (path, tag) = path.split_once(':').map_or((path, None), |(path, tag)| (path, Some(tag)));
    let valid = domain.is_none_or(is_domain)
        && !path.is_empty()
        && path.split('/').all(is_path_part)
        && domain.map_or(0, str::len) + path.len() < MAX_NAME
        && tag.is_none_or(is_tag);
    valid && (tag == Some("latest") || (tag.is_none() && digest.is_none()))
}

fn is_hex(text: &str, length: usize) -> bool {
    text.len() == length && text.bytes().all(|c| c.is_ascii_digit() || (b'a'..=b'f').contains(&c))
}

fn is_digest(text: &str) -> bool {
    let Some((algorithm, value)) = text.split_once(':') else { return false };
    DIGESTS.iter().any(|(name, length)| *name == algorithm && is_hex(value, *length))
}

fn is_tag(text: &str) -> bool {
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    text.len() <= MAX_TAG && text.starts_with(word) && text.chars().all(|c| word(c) || c == '.' || c == '-')
}

fn is_domain(text: &str) -> bool {
    let (host, port) = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((six, port)) => {
            let fits = six.bytes().all(|c| c.is_ascii_hexdigit() || c == b':') && !six.is_empty();
            return fits && (port.is_empty() || port.strip_prefix(':').is_some_and(is_port));
        }
        None => text.split_once(':').map_or((text, None), |(host, port)| (host, Some(port))),
    };
    let label = |label: &str| {
        let ends = |c: char| c.is_ascii_alphanumeric();
        label.starts_with(ends) && label.ends_with(ends) && label.chars().all(|c| ends(c) || c == '-')
    };
    host.split('.').all(label) && port.is_none_or(is_port)
}

fn is_port(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|c| c.is_ascii_digit())
}

/// Small letters and digits, with one dot, one or two underscores or any dashes between them.
fn is_path_part(text: &str) -> bool {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let separators = text.split(plain).filter(|separator| !separator.is_empty());
    let fits = |separator: &str| matches!(separator, "." | "_" | "__") || separator.bytes().all(|c| c == b'-');
    text.starts_with(plain) && text.ends_with(plain) && separators.into_iter().all(fits)
}

#[cfg(test)]
mod tests {
    use super::is_latest;

    #[test]
    fn names() {
        for latest in ["i", "i:latest", "a/b_c", "localhost:5000/a", "Host/a", "[::1]:5000/a:latest", "a.b/c/d--e"] {
            assert!(is_latest(latest), "{latest}");
        }
        let digest = format!("i@sha256:{}", "a".repeat(64));
        for other in ["", " i ", "I", "i:1", "a/B", "a__/b", "a/b:", "i:latest@x", "a//b", "a..b/c", &digest] {
            assert!(!is_latest(other), "{other}");
        }
    }
}
