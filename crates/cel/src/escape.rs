//! Names of properties that expressions could not spell, escaped (`apiserver/pkg/cel/escaping.go`).

/// Words that no name of an expression may be (`celReservedSymbols` upstream).
pub const RESERVED: [&str; 21] = [
    "true",
    "false",
    "null",
    "in",
    "as",
    "break",
    "const",
    "continue",
    "else",
    "for",
    "function",
    "if",
    "import",
    "let",
    "loop",
    "package",
    "namespace",
    "return",
    "var",
    "void",
    "while",
];

/// The name that expressions use for a property; `None` if they cannot name it.
pub fn escape(name: &str) -> Option<String> {
    let ok = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-' | '/');
    if name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) || !name.chars().all(ok) {
        return None;
    }
    if RESERVED.contains(&name) {
        return Some(format!("__{name}__"));
    }
    let mut out = String::with_capacity(name.len());
    let mut rest = name;
    while let Some(c) = rest.chars().next() {
        let (escaped, length) = match c {
            '_' if rest.starts_with("__") => ("__underscores__", 2),
            '.' => ("__dot__", 1),
            '-' => ("__dash__", 1),
            '/' => ("__slash__", 1),
            _ => (&rest[..1], 1),
        };
        out.push_str(escaped);
        rest = &rest[length..];
    }
    Some(out)
}

/// The property that an escaped name means.
pub fn unescape(name: &str) -> String {
    let Some(inner) = name.strip_prefix("__").and_then(|rest| rest.strip_suffix("__")) else {
        return replaced(name);
    };
    if RESERVED.contains(&inner) { inner.to_owned() } else { replaced(name) }
}

fn replaced(name: &str) -> String {
    if !name.contains("__") {
        return name.to_owned();
    }
    name.replace("__dot__", ".").replace("__dash__", "-").replace("__slash__", "/").replace("__underscores__", "__")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_escaped_and_back() {
        for (name, escaped) in [
            ("a", "a"),
            ("a-b.c/d", "a__dash__b__dot__c__slash__d"),
            ("a__b", "a__underscores__b"),
            ("namespace", "__namespace__"),
            ("_a", "_a"),
        ] {
            assert_eq!(escape(name).as_deref(), Some(escaped));
            assert_eq!(unescape(escaped), name);
        }
        assert_eq!(escape("é"), None);
        assert_eq!(escape("1a"), None);
    }
}
