//! Field selectors in their text form.
//!
//! Follows `k8s.io/apimachinery/pkg/fields`: `a=b`, `a==b`, `a!=b`, joined by commas; `\` escapes.

/// One term of a selector.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Requirement {
    /// The field.
    pub field: String,
    /// Whether it must be equal to the value, or must not.
    pub equal: bool,
    /// The value.
    pub value: String,
}

/// All terms must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selector {
    requirements: Vec<Requirement>,
}

impl Selector {
    /// Parses the text form; the error says what is wrong.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut requirements = Vec::new();
        let mut terms = split_unescaped(text);
        terms.sort_unstable();
        for term in terms.into_iter().filter(|term| !term.is_empty()) {
            let Some((field, equal, value)) = split_term(term) else {
                return Err(format!("invalid selector: '{text}'; can't understand '{term}'"));
            };
            requirements.push(Requirement { field: field.to_owned(), equal, value: unescape(value)? });
        }
        Ok(Self { requirements })
    }

    /// The terms.
    pub fn requirements(&self) -> &[Requirement] {
        &self.requirements
    }
}

fn split_unescaped(text: &str) -> Vec<&str> {
    let (mut start, mut escaped) = (0, false);
    let mut terms = Vec::new();
    for (at, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            ',' => {
                terms.push(&text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    terms.push(&text[start..]);
    terms
}

/// Splits at the first operator.
fn split_term(term: &str) -> Option<(&str, bool, &str)> {
    term.char_indices().find_map(|(at, _)| {
        let (field, rest) = term.split_at(at);
        [("!=", false), ("==", true), ("=", true)]
            .into_iter()
            .find_map(|(sign, equal)| Some((field, equal, rest.strip_prefix(sign)?)))
    })
}

fn unescape(value: &str) -> Result<String, String> {
    let mut out = String::with_capacity(value.len());
    let mut chars = value.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.next() {
                Some(c @ ('\\' | ',' | '=')) => out.push(c),
                other => {
                    let escaped = other.map(String::from).unwrap_or_default();
                    return Err(format!("invalid field selector: invalid escape sequence: \\{escaped}"));
                }
            },
            // Upstream prints the number of the character.
            ',' | '=' => {
                return Err(format!("invalid field selector: unescaped character in value: {}", u32::from(c)));
            }
            c => out.push(c),
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn selectors() {
        let selector = Selector::parse(r"metadata.name=a\,b,spec.x!=1,status.phase==Running").expect("valid");
        let terms =
            selector.requirements().iter().map(|r| (r.field.as_str(), r.equal, r.value.as_str())).collect::<Vec<_>>();
        assert_eq!(terms, [("metadata.name", true, "a,b"), ("spec.x", false, "1"), ("status.phase", true, "Running")]);
        for (text, want) in [
            ("a", "invalid selector: 'a'; can't understand 'a'"),
            ("a=b=c", "invalid field selector: unescaped character in value: 61"),
            (r"a=b\c", r"invalid field selector: invalid escape sequence: \c"),
            (r"a=b\", r"invalid field selector: invalid escape sequence: \"),
        ] {
            assert_eq!(Selector::parse(text), Err(want.to_owned()), "{text}");
        }
    }
}
