//! Rules for names, with upstream's messages.
//!
//! Every function returns what is wrong with a name; nothing for a good one. Follows
//! `k8s.io/apimachinery/pkg/util/validation`.

const LABEL_MAX: usize = 63;
const SUBDOMAIN_MAX: usize = 253;
const NAME_PART_MAX: usize = 63;
const LABEL_VALUE_MAX: usize = 63;
const PORT_NAME_MAX: usize = 15;

fn lower_or_digit(c: char) -> bool {
    c.is_ascii_lowercase() || c.is_ascii_digit()
}

/// Upstream counts bytes everywhere, but says so only in its newer rules, those of labels.
fn too_long(max: usize) -> String {
    format!("must be no more than {max} characters")
}

fn too_many_bytes(max: usize) -> String {
    format!("must be no more than {max} bytes")
}

fn is_label(text: &str) -> bool {
    text.starts_with(lower_or_digit)
        && text.ends_with(lower_or_digit)
        && text.chars().all(|c| lower_or_digit(c) || c == '-')
}

/// DNS-1123 label: lower-case letters, digits and `-`, at most 63 bytes.
pub fn dns1123_label(text: &str) -> Vec<String> {
    let mut messages = Vec::new();
    if text.len() > LABEL_MAX {
        messages.push(too_long(LABEL_MAX));
    }
    if !is_label(text) && text.split('.').all(is_label) {
        messages.push("must not contain dots".to_owned());
    } else if !is_label(text) {
        messages.push("a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')".to_owned());
    }
    messages
}

/// DNS-1123 subdomain: labels joined by dots, at most 253 bytes.
pub fn dns1123_subdomain(text: &str) -> Vec<String> {
    subdomain(text, too_long)
}

fn subdomain(text: &str, too_long: fn(usize) -> String) -> Vec<String> {
    let mut messages = Vec::new();
    if text.len() > SUBDOMAIN_MAX {
        messages.push(too_long(SUBDOMAIN_MAX));
    }
    if !text.split('.').all(is_label) {
        messages.push("a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')".to_owned());
    }
    messages
}

/// The same, as upstream's declared rules say it.
pub fn long_name(text: &str) -> Vec<String> {
    subdomain(text, too_many_bytes)
}

/// Like [`long_name`], with letters of either case.
pub fn long_name_caseless(text: &str) -> Vec<String> {
    let mut messages = Vec::new();
    if text.len() > SUBDOMAIN_MAX {
        messages.push(too_many_bytes(SUBDOMAIN_MAX));
    }
    if !text.to_ascii_lowercase().split('.').all(is_label) {
        messages.push("an RFC 1123 subdomain must consist of alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'Example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')".to_owned());
    }
    messages
}

/// DNS-1123 subdomain behind `*.`: hosts that an Ingress answers for.
pub fn wildcard_dns1123_subdomain(text: &str) -> Vec<String> {
    let mut messages = Vec::new();
    if text.len() > SUBDOMAIN_MAX {
        messages.push(too_long(SUBDOMAIN_MAX));
    }
    if !text.strip_prefix("*.").is_some_and(|rest| rest.split('.').all(is_label)) {
        messages.push("a wildcard DNS-1123 subdomain must start with '*.', followed by a valid DNS subdomain, which must consist of lower case alphanumeric characters, '-' or '.' and end with an alphanumeric character (e.g. '*.example.com', regex used for validation is '\\*\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')".to_owned());
    }
    messages
}

/// An identifier of C.
pub fn c_identifier(text: &str) -> Vec<String> {
    let word = |c: u8| c == b'_' || c.is_ascii_alphanumeric();
    if !text.is_empty() && text.bytes().all(word) && !text.starts_with(|c: char| c.is_ascii_digit()) {
        return Vec::new();
    }
    vec!["a valid C identifier must start with alphabetic character or '_', followed by a string of alphanumeric characters or '_' (e.g. 'my_name',  or 'MY_NAME',  or 'MyName', regex used for validation is '[A-Za-z_][A-Za-z0-9_]*')".to_owned()]
}

/// Like a DNS-1123 subdomain, but labels may have underscores and begin with one: paths that DNS resolvers search.
pub fn dns1123_subdomain_with_underscore(text: &str) -> Vec<String> {
    let mut messages = Vec::new();
    if text.len() > SUBDOMAIN_MAX {
        messages.push(too_long(SUBDOMAIN_MAX));
    }
    let label = |label: &str| {
        let label = label.strip_prefix('_').unwrap_or(label);
        label.starts_with(lower_or_digit)
            && label.ends_with(lower_or_digit)
            && label.chars().all(|c| lower_or_digit(c) || matches!(c, '-' | '_'))
    };
    if !text.split('.').all(label) {
        messages.push("a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '_', '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '_?[a-z0-9]([-_a-z0-9]*[a-z0-9])?(\\._?[a-z0-9]([-_a-z0-9]*[a-z0-9])?)*')".to_owned());
    }
    messages
}

/// DNS-1035 label: like DNS-1123, but begins with a letter.
pub fn dns1035_label(text: &str) -> Vec<String> {
    let mut messages = Vec::new();
    if text.len() > LABEL_MAX {
        messages.push(too_long(LABEL_MAX));
    }
    if !is_label(text) || !text.starts_with(|c: char| c.is_ascii_lowercase()) {
        messages.push("a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for validation is '[a-z]([-a-z0-9]*[a-z0-9])?')".to_owned());
    }
    messages
}

fn is_name_part(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text.ends_with(|c: char| c.is_ascii_alphanumeric())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'))
}

/// Qualified name: an optional DNS prefix and a slash, then letters, digits, `-`, `_` and `.`.
pub fn qualified_name(text: &str) -> Vec<String> {
    const SYNTAX: &str = "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')";
    let mut messages = Vec::new();
    let name = match text.split_once('/') {
        None => text,
        Some((_, rest)) if rest.contains('/') => {
            return vec![format!(
                "a valid label key {SYNTAX} with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')"
            )];
        }
        Some(("", name)) => {
            messages.push("prefix part must be non-empty".to_owned());
            name
        }
        Some((prefix, name)) => {
            messages.extend(subdomain(prefix, too_many_bytes).into_iter().map(|m| format!("prefix part {m}")));
            name
        }
    };
    if name.is_empty() {
        messages.push("name part must be non-empty".to_owned());
    } else if name.len() > NAME_PART_MAX {
        messages.push(format!("name part {}", too_many_bytes(NAME_PART_MAX)));
    }
    if !is_name_part(name) {
        messages.push(format!("name part {SYNTAX}"));
    }
    messages
}

/// Value of a label: empty, or like the name part of a qualified name.
pub fn label_value(text: &str) -> Vec<String> {
    let mut messages = Vec::new();
    if text.len() > LABEL_VALUE_MAX {
        messages.push(too_many_bytes(LABEL_VALUE_MAX));
    }
    if !text.is_empty() && !is_name_part(text) {
        messages.push("a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')".to_owned());
    }
    messages
}

/// A name that can be one segment of a URL path.
pub fn path_segment(text: &str) -> Vec<String> {
    if text == "." || text == ".." {
        return vec![format!("may not be '{text}'")];
    }
    path_segment_prefix(text)
}

/// The beginning of a name that can be one segment of a URL path.
pub fn path_segment_prefix(text: &str) -> Vec<String> {
    ['/', '%'].iter().filter(|c| text.contains(**c)).map(|c| format!("may not contain '{c}'")).collect()
}

/// Name of a port: at most 15 lower-case letters, digits and dashes, one letter at least.
pub fn port_name(text: &str) -> Vec<String> {
    let mut messages = Vec::new();
    if text.len() > PORT_NAME_MAX {
        messages.push(too_long(PORT_NAME_MAX));
    }
    if !text.chars().all(|c| lower_or_digit(c) || c == '-') || text.is_empty() {
        messages.push("must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)".to_owned());
    }
    if !text.chars().any(|c| c.is_ascii_lowercase()) {
        messages.push("must contain at least one letter (a-z)".to_owned());
    }
    if text.contains("--") {
        messages.push("must not contain consecutive hyphens".to_owned());
    }
    if text.starts_with('-') || text.ends_with('-') {
        messages.push("must not begin or end with a hyphen".to_owned());
    }
    messages
}

/// Key of a ConfigMap or Secret.
pub fn config_map_key(text: &str) -> Vec<String> {
    let mut messages = Vec::new();
    if text.len() > SUBDOMAIN_MAX {
        messages.push(too_long(SUBDOMAIN_MAX));
    }
    if text.is_empty() || !text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.')) {
        messages.push("a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or 'KEY_NAME',  or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')".to_owned());
    } else if text == "." {
        messages.push("must not be '.'".to_owned());
    } else if text == ".." {
        messages.push("must not be '..'".to_owned());
    } else if text.starts_with("..") {
        messages.push("must not start with '..'".to_owned());
    }
    messages
}

/// Name of an environment variable: printable ASCII without `=`.
pub fn env_var_name(text: &str) -> Vec<String> {
    if text.is_empty() {
        return vec!["environment variable name must not be empty".to_owned()];
    }
    if !text.chars().all(|c| matches!(c, ' '..='~') && c != '=') {
        return vec![
            "a valid environment variable name must consist only of printable ASCII characters other than '='"
                .to_owned(),
        ];
    }
    Vec::new()
}

/// Name of an HTTP header.
pub fn http_header_name(text: &str) -> Vec<String> {
    if text.is_empty() || !text.chars().all(|c| c.is_ascii_alphanumeric() || c == '-') {
        return vec!["a valid HTTP header must consist of alphanumeric characters or '-' (e.g. 'X-Header-Name', regex used for validation is '[-A-Za-z0-9]+')".to_owned()];
    }
    Vec::new()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_and_subdomains() {
        for (name, good) in
            [("a", true), ("a-1", true), ("1a", true), ("-a", false), ("A", false), ("", false), ("a.b", false)]
        {
            assert_eq!(dns1123_label(name).is_empty(), good, "{name}");
        }
        for (name, good) in [("a.b-c", true), ("a..b", false), (".a", false), ("a_b", false)] {
            assert_eq!(dns1123_subdomain(name).is_empty(), good, "{name}");
        }
        assert!(!dns1035_label("1a").is_empty());
        assert!(!dns1123_label(&"a".repeat(64)).is_empty());
    }

    #[test]
    fn qualified_names() {
        for (name, good) in
            [("a", true), ("example.com/A_b.c", true), ("/a", false), ("a/b/c", false), ("a/", false), ("-a", false)]
        {
            assert_eq!(qualified_name(name).is_empty(), good, "{name}");
        }
    }

    #[test]
    fn ports_and_keys() {
        assert!(port_name("http-2").is_empty());
        assert!(!port_name("80").is_empty());
        assert!(!port_name("a--b").is_empty());
        assert!(config_map_key("a_b.c-D").is_empty());
        assert!(!config_map_key("").is_empty());
        assert!(!config_map_key("..x").is_empty());
    }
}
