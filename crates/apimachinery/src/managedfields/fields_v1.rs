//! Field sets as the JSON text of `metav1.FieldsV1`.
//!
//! Every step of a path is a key; `{}` below it makes the path a member, and where a member has others below it, the
//! key `.` does.

use std::sync::{Arc, LazyLock};

use quick_cache::sync::Cache;

use super::path::{PathElement, escape};
use super::set::{Node, Set};

/// Deepest nesting that is read; what is deeper is refused.
const MAX_DEPTH: usize = 256;

/// Sets that are kept: what one manager owns of one kind is mostly the same for all objects.
const KEPT_SETS: usize = 256;

/// Bytes of text up to which a set is kept.
const KEPT_TEXT: usize = 4096;

/// Reads a set, or finds the one that the same text was read as before.
pub(super) fn shared(text: &str) -> Result<Arc<Set>, String> {
    static SETS: LazyLock<Cache<Box<str>, Arc<Set>>> = LazyLock::new(|| Cache::new(KEPT_SETS));
    if text.len() > KEPT_TEXT {
        return parse(text).map(Arc::new);
    }
    if let Some(set) = SETS.get(text) {
        return Ok(set);
    }
    let set = Arc::new(parse(text)?);
    SETS.insert(text.into(), set.clone());
    Ok(set)
}

/// Reads a set. Steps of an unknown kind are skipped with all that is below them.
pub fn parse(text: &str) -> Result<Set, String> {
    let mut reader = Reader { bytes: text.as_bytes(), text, at: 0 };
    reader.skip_space();
    if reader.rest().starts_with(b"null") {
        reader.at += 4;
        reader.end()?;
        return Ok(Set::new());
    }
    let (set, _) = reader.object(MAX_DEPTH)?;
    reader.end()?;
    Ok(set)
}

/// Writes a set.
pub fn write(set: &Set) -> String {
    let mut out = String::with_capacity(256);
    let mut step = String::new();
    write_nodes(set, false, &mut step, &mut out);
    out
}

fn write_nodes(set: &Set, member: bool, step: &mut String, out: &mut String) {
    out.push('{');
    let mut first = true;
    if member && !set.is_empty() {
        out.push_str("\".\":{}");
        first = false;
    }
    for node in set.nodes() {
        if !first {
            out.push(',');
        }
        first = false;
        step.clear();
        node.element.write(step);
        out.push('"');
        escape(step, out);
        out.push_str("\":");
        write_nodes(&node.children, node.member, step, out);
    }
    out.push('}');
}

struct Reader<'a> {
    bytes: &'a [u8],
    text: &'a str,
    at: usize,
}

impl<'a> Reader<'a> {
    fn rest(&self) -> &'a [u8] {
        &self.bytes[self.at.min(self.bytes.len())..]
    }

    fn skip_space(&mut self) {
        while matches!(self.bytes.get(self.at), Some(b' ' | b'\t' | b'\r' | b'\n')) {
            self.at += 1;
        }
    }

    fn next_byte(&mut self) -> Option<u8> {
        self.skip_space();
        let byte = self.bytes.get(self.at).copied();
        self.at += 1;
        byte
    }

    fn expect(&mut self, byte: u8) -> Result<(), String> {
        match self.next_byte() {
            Some(found) if found == byte => Ok(()),
            _ => Err(format!("expected {:?} at byte {}", char::from(byte), self.at.saturating_sub(1))),
        }
    }

    fn end(&mut self) -> Result<(), String> {
        self.skip_space();
        if self.at == self.bytes.len() { Ok(()) } else { Err(format!("unexpected text at byte {}", self.at)) }
    }

    /// Reads an object: the paths below, and whether the path that leads here is a member.
    fn object(&mut self, depth: usize) -> Result<(Set, bool), String> {
        if depth == 0 {
            return Err(format!("nested deeper than {MAX_DEPTH} levels"));
        }
        let mut set = Set::new();
        let mut member = false;
        self.expect(b'{')?;
        self.skip_space();
        if self.bytes.get(self.at) == Some(&b'}') {
            self.at += 1;
            return Ok((set, true));
        }
        loop {
            let key = self.string()?;
            self.expect(b':')?;
            if key == "." {
                member = true;
                self.skip_value(depth - 1)?;
            } else {
                match PathElement::parse(&key)? {
                    Some(element) => {
                        let (children, member) = self.object(depth - 1)?;
                        set.add(Node { element, member, children });
                    }
                    None => self.skip_value(depth - 1)?,
                }
            }
            match self.next_byte() {
                Some(b',') => {}
                Some(b'}') => break,
                _ => return Err(format!("expected ',' or '}}' at byte {}", self.at.saturating_sub(1))),
            }
        }
        let member = member || set.is_empty();
        Ok((set, member))
    }

    fn string(&mut self) -> Result<std::borrow::Cow<'a, str>, String> {
        self.expect(b'"')?;
        let start = self.at;
        let mut escaped = false;
        loop {
            match self.bytes.get(self.at) {
                Some(b'"') => break,
                Some(b'\\') => {
                    escaped = true;
                    self.at += 2;
                }
                Some(_) => self.at += 1,
                None => return Err("unterminated string".into()),
            }
        }
        self.at += 1;
        if escaped {
            let quoted = &self.text[start - 1..self.at];
            return serde_json::from_str::<String>(quoted).map(Into::into).map_err(|error| error.to_string());
        }
        Ok(self.text[start..self.at - 1].into())
    }

    /// Skips any value; objects are all that a set is made of, so nothing else is expected.
    fn skip_value(&mut self, depth: usize) -> Result<(), String> {
        if depth == 0 {
            return Err(format!("nested deeper than {MAX_DEPTH} levels"));
        }
        self.expect(b'{')?;
        self.skip_space();
        if self.bytes.get(self.at) == Some(&b'}') {
            self.at += 1;
            return Ok(());
        }
        loop {
            self.string()?;
            self.expect(b':')?;
            self.skip_value(depth - 1)?;
            match self.next_byte() {
                Some(b',') => {}
                Some(b'}') => return Ok(()),
                _ => return Err(format!("expected ',' or '}}' at byte {}", self.at.saturating_sub(1))),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trips() {
        // text, as written back
        let cases = [
            ("{}", "{}"),
            ("null", "{}"),
            (r#"{"f:a":{}}"#, r#"{"f:a":{}}"#),
            (r#"{"f:a":{".":{}}}"#, r#"{"f:a":{}}"#),
            (r#"{"f:a":{"f:b":{}}}"#, r#"{"f:a":{"f:b":{}}}"#),
            (r#"{"f:a":{"f:b":{},".":{}}}"#, r#"{"f:a":{".":{},"f:b":{}}}"#),
            (" { \"f:a\" : { } ,\n\"f:b\":{}\t} ", r#"{"f:a":{},"f:b":{}}"#),
            // Sorted, and repeated keys are united.
            (
                r#"{"v:2":{},"f:b":{},"k:{\"n\":1}":{},"f:a":{},"v:1":{}}"#,
                r#"{"f:a":{},"f:b":{},"k:{\"n\":1}":{},"v:1":{},"v:2":{}}"#,
            ),
            (r#"{"f:a":{"f:x":{}},"f:a":{"f:y":{}}}"#, r#"{"f:a":{"f:x":{},"f:y":{}}}"#),
            // The keys of an element are sorted too.
            (r#"{"k:{\"b\":2,\"a\":1}":{}}"#, r#"{"k:{\"a\":1,\"b\":2}":{}}"#),
            // A newer version's kinds of steps.
            (r#"{"f:a":{},"z:future":{"f:b":{".":{}},"f:c":{}}}"#, r#"{"f:a":{}}"#),
            (r#"{"f:a":{"z:future":{}}}"#, r#"{"f:a":{}}"#),
            (r#"{"f:\u00e4\"\\":{}}"#, "{\"f:ä\\\"\\\\\":{}}"),
            (r#"{"i:3":{}}"#, r#"{"i:3":{}}"#),
        ];
        for (text, expected) in cases {
            assert_eq!(write(&parse(text).expect(text)), expected, "{text}");
        }
    }

    #[test]
    fn refuses() {
        let deep = format!("{}{}", "{\"f:a\":".repeat(MAX_DEPTH), "{}");
        let texts = [
            "",
            "{",
            "[]",
            "1",
            "{}x",
            r#"{"f:a"}"#,
            r#"{"f:a":1}"#,
            r#"{"f:a":{}"#,
            r#"{"a":{}}"#,
            r#"{"f:a":{},}"#,
            r#"{"f:a\"#,
            r#"{"f:a\x":{}}"#,
            r#"{"k:[]":{}}"#,
            &deep,
        ];
        for text in texts {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
