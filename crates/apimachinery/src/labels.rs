//! Label selectors in their text form.
//!
//! Follows `k8s.io/apimachinery/pkg/labels`: `a=b`, `a==b`, `a!=b`, `a in (b,c)`, `a notin (b)`, `a`, `!a`, joined by commas.

use crate::names;

/// What one term asks of a label.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operator {
    /// The label has one of these values.
    In(Vec<String>),
    /// The label is absent or has none of these values.
    NotIn(Vec<String>),
    /// The label is there.
    Exists,
    /// The label is not there.
    DoesNotExist,
}

/// One term of a selector.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Requirement {
    /// The label.
    pub key: String,
    /// What is asked of it.
    pub operator: Operator,
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
        for term in split_terms(text) {
            if term.trim().is_empty() {
                if text.trim().is_empty() {
                    continue;
                }
                return Err("found '', expected: identifier".to_owned());
            }
            requirements.push(parse_term(term.trim())?);
        }
        Ok(Self { requirements })
    }

    /// The terms.
    pub fn requirements(&self) -> &[Requirement] {
        &self.requirements
    }

    /// Whether it selects everything.
    pub fn is_everything(&self) -> bool {
        self.requirements.is_empty()
    }

    /// Whether it selects an object whose labels `get` reads.
    pub fn matches_with<'a>(&self, get: impl Fn(&str) -> Option<&'a str>) -> bool {
        self.requirements.iter().all(|requirement| {
            let value = get(&requirement.key);
            match &requirement.operator {
                Operator::In(values) => value.is_some_and(|v| values.iter().any(|w| w == v)),
                Operator::NotIn(values) => !value.is_some_and(|v| values.iter().any(|w| w == v)),
                Operator::Exists => value.is_some(),
                Operator::DoesNotExist => value.is_none(),
            }
        })
    }
}

/// Splits at commas outside parentheses.
fn split_terms(text: &str) -> Vec<&str> {
    let (mut depth, mut start) = (0usize, 0);
    let mut terms = Vec::new();
    for (at, c) in text.char_indices() {
        match c {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            ',' if depth == 0 => {
                terms.push(&text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    terms.push(&text[start..]);
    terms
}

fn parse_term(term: &str) -> Result<Requirement, String> {
    if let Some(key) = term.strip_prefix('!') {
        return requirement(key.trim(), Operator::DoesNotExist);
    }
    for (sign, equal) in [("!=", false), ("==", true), ("=", true)] {
        if let Some((key, value)) = term.split_once(sign) {
            let values = vec![value.trim().to_owned()];
            let operator = if equal { Operator::In(values) } else { Operator::NotIn(values) };
            return requirement(key.trim(), operator);
        }
    }
    if let Some((head, list)) = term.split_once('(') {
        let Some(list) = list.trim_end().strip_suffix(')') else {
            return Err(format!("unable to parse requirement: found '', expected: ',' or ')' in {term:?}"));
        };
        let values = list.split(',').map(|v| v.trim().to_owned()).collect::<Vec<_>>();
        let mut words = head.split_whitespace();
        let (key, word) = (words.next().unwrap_or(""), words.next().unwrap_or(""));
        return match (word, words.next()) {
            ("in", None) => requirement(key, Operator::In(values)),
            ("notin", None) => requirement(key, Operator::NotIn(values)),
            _ => Err(format!("found '{word}', expected: in, notin, =, ==, !=, gt, lt")),
        };
    }
    if let Some((_, rest)) = term.split_once(char::is_whitespace) {
        return Err(format!("found '{}', expected: ',' or 'end of string'", rest.trim()));
    }
    requirement(term, Operator::Exists)
}

fn requirement(key: &str, operator: Operator) -> Result<Requirement, String> {
    let wrong_key = names::qualified_name(key);
    if !wrong_key.is_empty() {
        return Err(format!("key: Invalid value: {key:?}: {}", wrong_key.join("; ")));
    }
    if let Operator::In(values) | Operator::NotIn(values) = &operator {
        for (index, value) in values.iter().enumerate() {
            let wrong = names::label_value(value);
            if !wrong.is_empty() {
                return Err(format!("values[{index}][{key}]: Invalid value: {value:?}: {}", wrong.join("; ")));
            }
        }
    }
    Ok(Requirement { key: key.to_owned(), operator })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn selectors() {
        let labels = [("app", "web"), ("tier", "front")];
        let get = |key: &str| labels.iter().find(|(k, _)| *k == key).map(|(_, v)| *v);
        for (text, want) in [
            ("", true),
            ("app=web", true),
            ("app==web,tier!=back", true),
            ("app in (web, db),tier", true),
            ("app notin (web)", false),
            ("!missing", true),
            ("missing", false),
            ("missing!=x", true),
        ] {
            assert_eq!(Selector::parse(text).expect(text).matches_with(get), want, "{text}");
        }
        for text in ["a b", "a in b", "a=b c", "-x", ",", "a in (b"] {
            assert!(Selector::parse(text).is_err(), "{text}");
        }
    }
}
