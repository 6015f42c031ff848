//! How one step of a field path is named, ordered, printed and written.
//!
//! Follows `structured-merge-diff/fieldpath`: a step selects a member by name (`f:`), an element of a keyed list by its
//! keys (`k:`), an element of a set by its value (`v:`), or an element by its place (`i:`).

use std::cmp::Ordering;
use std::fmt;

use compact_str::CompactString;

use crate::value::Value;

/// One step of a field path.
#[derive(Clone, Debug)]
pub enum PathElement {
    /// A member of a struct or map.
    Field(CompactString),
    /// An element of a keyed list: key fields sorted by name, with their values.
    Key(Vec<(CompactString, Value)>),
    /// An element of a set.
    Value(Value),
    /// An element by its place. Upstream writes none, but reads them.
    Index(i64),
}

impl PathElement {
    fn rank(&self) -> u8 {
        match self {
            PathElement::Field(_) => 0,
            PathElement::Key(_) => 1,
            PathElement::Value(_) => 2,
            PathElement::Index(_) => 3,
        }
    }

    /// Reads the text of a step. `Ok(None)` for a kind of step that this version does not know, to be skipped.
    pub(super) fn parse(text: &str) -> Result<Option<Self>, String> {
        let Some((kind, rest)) = text.split_once(':').filter(|(kind, _)| kind.len() == 1) else {
            return Err(match text.len() {
                0 | 1 => "key must be 2 characters long:".into(),
                _ => format!("missing colon: {text}"),
            });
        };
        let json = |text: &str| crate::json::parse(text.as_bytes()).map_err(|error| error.to_string());
        Ok(Some(match kind {
            "f" => PathElement::Field(rest.into()),
            "v" => PathElement::Value(json(rest)?),
            "k" => match json(rest)? {
                Value::Object(keys) => PathElement::Key(keys.into_iter().collect()),
                _ => return Err(format!("not an object: {rest}")),
            },
            "i" => PathElement::Index(rest.parse().map_err(|_| format!("invalid index: {rest}"))?),
            _ => return Ok(None),
        }))
    }

    /// Writes the text of this step, not yet quoted.
    pub(super) fn write(&self, out: &mut String) {
        match self {
            PathElement::Field(name) => {
                out.push_str("f:");
                out.push_str(name);
            }
            PathElement::Key(keys) => {
                out.push_str("k:{");
                for (i, (name, value)) in keys.iter().enumerate() {
                    if i > 0 {
                        out.push(',');
                    }
                    quote(name, out);
                    out.push(':');
                    write_scalar(value, out);
                }
                out.push('}');
            }
            PathElement::Value(value) => {
                out.push_str("v:");
                write_scalar(value, out);
            }
            PathElement::Index(index) => {
                out.push_str("i:");
                out.push_str(&index.to_string());
            }
        }
    }
}

impl Ord for PathElement {
    fn cmp(&self, other: &Self) -> Ordering {
        match (self, other) {
            (PathElement::Field(a), PathElement::Field(b)) => a.cmp(b),
            (PathElement::Key(a), PathElement::Key(b)) => compare_keys(
                a.iter().map(|(name, value)| (name.as_str(), value)),
                b.iter().map(|(name, value)| (name.as_str(), value)),
            ),
            (PathElement::Value(a), PathElement::Value(b)) => compare_values(a, b),
            (PathElement::Index(a), PathElement::Index(b)) => a.cmp(b),
            _ => self.rank().cmp(&other.rank()),
        }
    }
}

impl PartialOrd for PathElement {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for PathElement {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for PathElement {}

/// As messages print it: `.name`, `[key="a"]`, `[="value"]`, `[0]`.
impl fmt::Display for PathElement {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PathElement::Field(name) => write!(formatter, ".{name}"),
            PathElement::Key(keys) => {
                formatter.write_str("[")?;
                for (i, (name, value)) in keys.iter().enumerate() {
                    let comma = if i > 0 { "," } else { "" };
                    write!(formatter, "{comma}{name}={}", Printed(value))?;
                }
                formatter.write_str("]")
            }
            PathElement::Value(value) => write!(formatter, "[={}]", Printed(value)),
            PathElement::Index(index) => write!(formatter, "[{index}]"),
        }
    }
}

/// A value as paths and messages print it.
pub(super) struct Printed<'a>(pub(super) &'a Value);

impl fmt::Display for Printed<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Value::Null => formatter.write_str("null"),
            Value::Bool(b) => write!(formatter, "{b}"),
            Value::Int(n) => write!(formatter, "{n}"),
            Value::Float(n) => write!(formatter, "{n}"),
            Value::String(s) => {
                let mut quoted = String::new();
                quote(s, &mut quoted);
                formatter.write_str(&quoted)
            }
            Value::Raw(text) => formatter.write_str(text),
            Value::Array(items) => {
                formatter.write_str("[")?;
                for (i, item) in items.iter().enumerate() {
                    write!(formatter, "{}{}", if i > 0 { "," } else { "" }, Printed(item))?;
                }
                formatter.write_str("]")
            }
            Value::Object(object) => {
                object.iter().try_for_each(|(key, item)| write!(formatter, "{key}={}", Printed(item)))
            }
        }
    }
}

/// Compares the keys of two elements, field by field.
pub(super) fn compare_keys<'a>(
    a: impl IntoIterator<Item = (&'a str, &'a Value)>,
    b: impl IntoIterator<Item = (&'a str, &'a Value)>,
) -> Ordering {
    let (mut a, mut b) = (a.into_iter(), b.into_iter());
    loop {
        match (a.next(), b.next()) {
            (None, None) => return Ordering::Equal,
            (None, Some(_)) => return Ordering::Less,
            (Some(_), None) => return Ordering::Greater,
            (Some((name_a, value_a)), Some((name_b, value_b))) => {
                let order = name_a.cmp(name_b).then_with(|| compare_values(value_a, value_b));
                if order != Ordering::Equal {
                    return order;
                }
            }
        }
    }
}

/// A total order of values: numbers by size, then strings, booleans, lists, maps, null.
pub(super) fn compare_values(a: &Value, b: &Value) -> Ordering {
    fn rank(value: &Value) -> u8 {
        match value {
            Value::Int(_) | Value::Float(_) => 0,
            Value::String(_) => 1,
            Value::Bool(_) => 2,
            Value::Array(_) => 3,
            Value::Object(_) | Value::Raw(_) => 4,
            Value::Null => 5,
        }
    }
    match (a, b) {
        (Value::Int(a), Value::Int(b)) => a.cmp(b),
        (Value::Int(a), Value::Float(b)) => (*a as f64).total_cmp(b),
        (Value::Float(a), Value::Int(b)) => a.total_cmp(&(*b as f64)),
        (Value::Float(a), Value::Float(b)) => a.total_cmp(b),
        (Value::String(a), Value::String(b)) => a.cmp(b),
        (Value::Bool(a), Value::Bool(b)) => a.cmp(b),
        (Value::Raw(a), Value::Raw(b)) => a.cmp(b),
        (Value::Array(a), Value::Array(b)) => {
            let different = a.iter().zip(b).map(|(a, b)| compare_values(a, b)).find(|order| order.is_ne());
            different.unwrap_or_else(|| a.len().cmp(&b.len()))
        }
        (Value::Object(a), Value::Object(b)) => compare_keys(a.iter(), b.iter()),
        _ => rank(a).cmp(&rank(b)),
    }
}

/// Whether two values are the same; numbers by size, whatever their form.
pub(super) fn same(a: &Value, b: &Value) -> bool {
    compare_values(a, b) == Ordering::Equal
}

/// Writes a value as JSON.
pub(super) fn write_scalar(value: &Value, out: &mut String) {
    match value {
        Value::Null => out.push_str("null"),
        Value::Bool(b) => out.push_str(if *b { "true" } else { "false" }),
        Value::Int(n) => out.push_str(&n.to_string()),
        Value::Float(n) => out.push_str(&n.to_string()),
        Value::String(s) => quote(s, out),
        Value::Raw(text) => out.push_str(text),
        Value::Array(items) => {
            out.push('[');
            for (i, item) in items.iter().enumerate() {
                if i > 0 {
                    out.push(',');
                }
                write_scalar(item, out);
            }
            out.push(']');
        }
        Value::Object(object) => {
            out.push('{');
            for (i, (key, item)) in object.iter().enumerate() {
                if i > 0 {
                    out.push(',');
                }
                quote(key, out);
                out.push(':');
                write_scalar(item, out);
            }
            out.push('}');
        }
    }
}

/// Writes a JSON string with its quotes.
pub(super) fn quote(text: &str, out: &mut String) {
    out.push('"');
    escape(text, out);
    out.push('"');
}

/// Writes the inside of a JSON string.
pub(super) fn escape(text: &str, out: &mut String) {
    let mut rest = text;
    while let Some(at) = rest.bytes().position(|b| b < 0x20 || b == b'"' || b == b'\\') {
        out.push_str(&rest[..at]);
        match rest.as_bytes()[at] {
            b'"' => out.push_str("\\\""),
            b'\\' => out.push_str("\\\\"),
            b'\n' => out.push_str("\\n"),
            b'\r' => out.push_str("\\r"),
            b'\t' => out.push_str("\\t"),
            other => {
                out.push_str("\\u00");
                out.push(char::from(b"0123456789abcdef"[usize::from(other >> 4)]));
                out.push(char::from(b"0123456789abcdef"[usize::from(other & 15)]));
            }
        }
        rest = &rest[at + 1..];
    }
    out.push_str(rest);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_writes_and_prints() {
        // text, printed
        let cases = [
            ("f:spec", ".spec"),
            ("f:a.b/c", ".a.b/c"),
            ("f:", "."),
            ("f:a:b", ".a:b"),
            (r#"k:{"name":"web"}"#, r#"[name="web"]"#),
            (r#"k:{"containerPort":80,"protocol":"TCP"}"#, r#"[containerPort=80,protocol="TCP"]"#),
            (r#"k:{"a":true,"b":1.5,"c":null}"#, "[a=true,b=1.5,c=null]"),
            (r#"v:"a\"b\n""#, r#"[="a\"b\n"]"#),
            ("v:-3", "[=-3]"),
            ("v:true", "[=true]"),
            ("i:7", "[7]"),
        ];
        for (text, printed) in cases {
            let element = PathElement::parse(text).expect(text).expect("a known kind");
            assert_eq!(element.to_string(), printed);
            let mut written = String::new();
            element.write(&mut written);
            assert_eq!(written, text);
        }
        assert_eq!(PathElement::parse("x:future"), Ok(None));
        for bad in ["", "f", "spec", "k:1", "k:{", "v:", "i:x"] {
            assert!(PathElement::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn orders() {
        let sorted = [
            "f:a",
            "f:ab",
            "f:b",
            r#"k:{"a":1}"#,
            r#"k:{"a":1,"b":0}"#,
            r#"k:{"a":2}"#,
            r#"k:{"a":"1"}"#,
            r#"k:{"b":0}"#,
            "v:1",
            "v:1.5",
            "v:2",
            r#"v:"1""#,
            r#"v:"a""#,
            "v:false",
            "v:true",
            "v:null",
            "i:1",
            "i:10",
        ];
        let elements: Vec<_> = sorted.iter().map(|text| PathElement::parse(text).expect(text)).collect();
        assert!(elements.is_sorted_by(|a, b| a < b));
        assert_eq!(PathElement::parse("v:1"), PathElement::parse("v:1.0"));
    }
}
