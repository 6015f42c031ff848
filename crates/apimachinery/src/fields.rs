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
        for term in split_unescaped(text).into_iter().filter(|term| !term.is_empty()) {
            let found = [("!=", false), ("==", true), ("=", true)]
                .into_iter()
                .find_map(|(sign, equal)| term.split_once(sign).map(|(field, value)| (field, equal, value)));
            let Some((field, equal, value)) = found else {
                return Err(format!("invalid selector: '{text}'; can't understand '{term}'"));
            };
            requirements.push(Requirement { field: field.trim().to_owned(), equal, value: unescape(value)? });
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

fn unescape(value: &str) -> Result<String, String> {
    let mut out = String::with_capacity(value.len());
    let mut chars = value.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.next() {
                Some(c @ ('\\' | ',' | '=')) => out.push(c),
                other => {
                    let sequence = other.map(String::from).unwrap_or_default();
                    return Err(format!("invalid field selector: invalid escape sequence: \\{sequence}"));
                }
            },
            // As a number, which is how Go prints a rune.
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
        assert!(Selector::parse("abc").is_err());
        assert!(Selector::parse("a=b=c").is_err());
    }
}
