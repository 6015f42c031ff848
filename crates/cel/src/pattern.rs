//! Regular expressions as Go reads them, on an engine that matches in linear time as Go's does.

use std::cell::RefCell;
use std::sync::OnceLock;

use regex::{Regex, RegexBuilder};

/// Memory that a compiled expression may take, in bytes.
const MAX_COMPILED: usize = 10 << 20;
/// Nesting of groups in an expression.
const MAX_NESTING: u32 = 200;

/// An expression, compiled on first use.
#[derive(Debug)]
pub struct Pattern {
    text: String,
    compiled: OnceLock<Result<Regex, String>>,
}

impl Pattern {
    /// From Go's syntax.
    pub fn new(text: &str) -> Self {
        Self { text: text.to_owned(), compiled: OnceLock::new() }
    }

    /// As it was written.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The compiled expression, or why there is none.
    pub fn regex(&self) -> Result<&Regex, &str> {
        self.compiled.get_or_init(|| compile(&self.text)).as_ref().map_err(String::as_str)
    }
}

/// Compiled expressions that a thread remembers: a loop uses the same few for each element.
const MAX_RECENT: usize = 4;

thread_local! {
    static RECENT: RefCell<Vec<(String, Regex)>> = const { RefCell::new(Vec::new()) };
}

/// The same as [`compile`], for those that are used again soon.
pub fn recent(text: &str) -> Result<Regex, String> {
    RECENT.with_borrow_mut(|recent| {
        if let Some((_, regex)) = recent.iter().find(|(known, _)| known == text) {
            return Ok(regex.clone());
        }
        let regex = compile(text)?;
        recent.truncate(MAX_RECENT - 1);
        recent.insert(0, (text.to_owned(), regex.clone()));
        Ok(regex)
    })
}

/// Compiles an expression in Go's syntax.
pub fn compile(text: &str) -> Result<Regex, String> {
    let translated = translate(text);
    let built = RegexBuilder::new(&translated).size_limit(MAX_COMPILED).nest_limit(MAX_NESTING).build();
    built.map_err(|error| match error {
        regex::Error::CompiledTooBig(_) => format!("error parsing regexp: expression too large: `{text}`"),
        regex::Error::Syntax(problem) => format!("error parsing regexp: {}", syntax_error(text, &problem)),
        _ => format!("error parsing regexp: invalid expression: `{text}`"),
    })
}

/// What Go says of an expression that is none, for the common mistakes.
fn syntax_error(text: &str, problem: &str) -> String {
    let says = |what: &str| problem.contains(what);
    if says("unclosed character class") {
        format!("missing closing ]: `{}`", &text[open_class(text)..])
    } else if says("unclosed group") {
        format!("missing closing ): `{text}`")
    } else if says("unopened group") {
        format!("unexpected ): `{text}`")
    } else {
        format!("invalid expression: `{text}`")
    }
}

/// Where the class begins that nothing closes.
fn open_class(text: &str) -> usize {
    let (mut start, mut escaped) = (None, false);
    for (at, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '[' => start = start.or(Some(at)),
            // One that stands first is in the class.
            ']' if start.is_some_and(|start| !matches!(&text[start..at], "[" | "[^")) => start = None,
            _ => {}
        }
    }
    start.unwrap_or(0)
}

/// Go's `\d`, `\w`, `\s` and `\b` are those of ASCII, and `\Q...\E` quotes; the rest is read alike.
fn translate(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 16);
    let mut rest = text.chars();
    let mut in_class = false;
    while let Some(c) = rest.next() {
        match c {
            '\\' => match rest.next() {
                Some('d') if in_class => out.push_str("0-9"),
                Some('d') => out.push_str("[0-9]"),
                Some('D') => out.push_str("[^0-9]"),
                Some('w') if in_class => out.push_str("0-9A-Za-z_"),
                Some('w') => out.push_str("[0-9A-Za-z_]"),
                Some('W') => out.push_str("[^0-9A-Za-z_]"),
                Some('s') if in_class => out.push_str(r"\t\n\f\r "),
                Some('s') => out.push_str(r"[\t\n\f\r ]"),
                Some('S') => out.push_str(r"[^\t\n\f\r ]"),
                Some('b') if !in_class => out.push_str(r"(?-u:\b)"),
                Some('B') if !in_class => out.push_str(r"(?-u:\B)"),
                Some('Q') if !in_class => {
                    let quoted = rest.as_str();
                    let end = quoted.find("\\E").unwrap_or(quoted.len());
                    out.push_str(&regex::escape(&quoted[..end]));
                    rest = quoted.get(end + 2..).unwrap_or("").chars();
                }
                // Go takes these as the characters themselves.
                Some(c @ ('/' | '"' | '\'' | '<' | '>' | '@' | '%' | '`' | '=' | ':' | ';' | ',' | '!' | '_')) => {
                    out.push_str(&regex::escape(c.encode_utf8(&mut [0; 4])));
                }
                Some(other) => out.extend(['\\', other]),
                None => out.push('\\'),
            },
            '[' if in_class && !rest.as_str().starts_with(':') => out.push_str(r"\["),
            // A dash before a class is a dash.
            '-' if in_class && is_class(rest.as_str()) => out.push_str(r"\-"),
            // Set operations are not Go's.
            '&' | '~' if in_class => out.extend(['\\', c]),
            '[' => {
                out.push('[');
                if in_class {
                    // A class such as [:alpha:] is copied as it is.
                    let end = rest.as_str().find(":]").map_or(rest.as_str().len(), |end| end + 2);
                    out.push_str(&rest.as_str()[..end]);
                    rest = rest.as_str()[end..].chars();
                    continue;
                }
                in_class = true;
                if rest.as_str().starts_with('^') {
                    out.push('^');
                    rest.next();
                }
                // A bracket right behind the opening one is a member.
                if rest.as_str().starts_with(']') {
                    out.push_str(r"\]");
                    rest.next();
                }
            }
            ']' if in_class => {
                in_class = false;
                out.push(']');
            }
            other => out.push(other),
        }
    }
    out
}

/// Whether the text begins with the name of a class, such as `\d`.
fn is_class(text: &str) -> bool {
    let name = text.strip_prefix('\\').and_then(|rest| rest.chars().next());
    name.is_some_and(|name| matches!(name, 'd' | 'D' | 'w' | 'W' | 's' | 'S' | 'p' | 'P'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn go_syntax_is_understood() {
        for (pattern, yes, no) in [
            (r"^\d+$", "123", "١٢٣"),
            (r"^[\w.-]+$", "a_b.c-d", "é"),
            (r"^\Qa.b\E$", "a.b", "axb"),
            (r"^[[:alpha:]]+$", "abc", "a1"),
            (r"^[[a]+$", "[a", "]"),
            (r"^[]a]+$", "]a", "b"),
            (r"^[a-\d]+$", "a-1", "b"),
            (r"^a\/b$", "a/b", "a-b"),
            (r"^(?:a|b){2}$", "ab", "abc"),
            (r"^[a&&b]+$", "a&b", "c"),
        ] {
            let regex = compile(pattern).expect(pattern);
            assert!(regex.is_match(yes), "{pattern} {yes}");
            assert!(!regex.is_match(no), "{pattern} {no}");
        }
        assert!(compile("(").is_err());
        assert!(compile("a(?=b)").is_err());
    }
}
